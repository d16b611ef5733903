// Makes a page do the same thing twice: its clock starts where the trace says, its randomness is seeded,
// nothing is animated. Runs before any script of the page. Timers keep their real pace, so debounced inputs work.
(config) => {
  const RealDate = Date;
  const shift = config.clock - config.started;
  const now = () => RealDate.now() + shift;
  const SteadyDate = new Proxy(RealDate, {
    construct: (target, args, made) =>
      Reflect.construct(target, args.length ? args : [now()], made === SteadyDate ? target : made),
    apply: () => new RealDate(now()).toString(),
    get: (target, key) => (key === "now" ? now : Reflect.get(target, key)),
  });
  RealDate.prototype.constructor = SteadyDate;
  globalThis.Date = SteadyDate;

  // Another page of the same visit must not draw the same numbers: applications make ids from them.
  let opened = 0;
  try {
    if (window === top) sessionStorage.setItem("previewkit.opened", Number(sessionStorage.getItem("previewkit.opened")) + 1);
    opened = sessionStorage.getItem("previewkit.opened");
  } catch {
    // A page without an origin has no storage.
  }
  let state = config.seed >>> 0;
  for (const character of location.pathname + opened) {
    state = Math.imul(state ^ character.charCodeAt(0), 0x01000193) >>> 0;
  }
  const draw = () => {
    // mulberry32
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  };
  Math.random = () => draw() / 4294967296;
  if (globalThis.crypto) {
    const fill = (array) => {
      const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
      for (let i = 0; i < bytes.length; i++) bytes[i] = draw() & 255;
      return array;
    };
    crypto.getRandomValues = fill;
    if (crypto.randomUUID) {
      crypto.randomUUID = () => {
        const b = fill(new Uint8Array(16));
        b[6] = (b[6] & 15) | 64;
        b[8] = (b[8] & 63) | 128;
        const hex = Array.from(b, (byte) => byte.toString(16).padStart(2, "0")).join("");
        return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
      };
    }
  }

  // 1 ms, not 0: `transitionend` and `animationend` still fire.
  const still = new CSSStyleSheet();
  still.replaceSync(
    "*,*::before,*::after{animation-duration:1ms!important;animation-delay:0s!important;" +
      "animation-iteration-count:1!important;transition-duration:1ms!important;transition-delay:0s!important;" +
      "scroll-behavior:auto!important;caret-color:transparent!important}",
  );
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, still];
}
