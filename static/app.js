// What the dashboard does in the browser: live state, times that stay true, the log's end, copying.
"use strict";

document.documentElement.classList.add("js");

// ── htmx: fragments are morphed in, so focus, open parts and scroll positions stay ──────────

const keepOpenParts = {
  beforeAttributeUpdated: (name, node) => !(name === "open" && node.nodeName === "DETAILS"),
};

htmx.defineExtension("morph", {
  isInlineSwap: (style) => style === "morph",
  handleSwap: (style, target, fragment) =>
    style === "morph" &&
    Idiomorph.morph(target, fragment.children, { morphStyle: "outerHTML", callbacks: keepOpenParts }),
});

htmx.config.wsReconnectDelay = (tries) => Math.min(250 * 2 ** tries, 5000) * (0.75 + Math.random() / 2);

// ── live: what this page shows is said each time it connects ────────────────────────────────

const live = { socket: null };

const lines = () => document.querySelector("#log .lines");

function shown(kind) {
  const message = { kind, query: location.search };
  const log = lines();
  if (log) {
    const last = log.querySelector(".chunk:last-of-type");
    message.watch = {
      deployment: Number(log.dataset.deployment),
      layer: log.dataset.layer,
      after: last ? Number(last.dataset.chunk) : 0,
    };
  }
  return JSON.stringify(message);
}

function say(kind) {
  // Unsent when not connected: all of it is said again on connecting.
  if (live.socket) live.socket.sendImmediately(shown(kind));
}

const LIVE_WORDS = {
  connecting: "Connecting…",
  live: "Live",
  lost: "Reconnecting…",
  out: "Signed out: load the page again",
};

function setLive(state) {
  const element = document.getElementById("live");
  if (!element) return;
  element.dataset.state = state;
  document.getElementById("live-word").textContent = LIVE_WORDS[state];
}

document.body.addEventListener("htmx:wsOpen", (event) => {
  live.socket = event.detail.socketWrapper;
  setLive("live");
  say("page");
});

document.body.addEventListener("htmx:wsClose", (event) => {
  live.socket = null;
  setLive(event.detail.event.code === 4401 ? "out" : "lost");
});

document.body.addEventListener("htmx:pushedIntoHistory", () => say("page"));

document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") say("page");
});

// ── the log: follows its end while asked to; keeps a bounded number of chunks ───────────────

const MOST_CHUNKS = 1500;
const follow = () => document.getElementById("follow");

function toEnd() {
  const log = lines();
  if (log && follow().checked) log.scrollTop = log.scrollHeight;
}

function dropOldest() {
  const log = lines();
  if (!log || !follow().checked) return;
  const chunks = log.querySelectorAll(".chunk");
  for (let i = 0; i < chunks.length - MOST_CHUNKS; i += 1) chunks[i].remove();
  if (chunks.length > MOST_CHUNKS) document.getElementById("log-more").hidden = false;
}

document.body.addEventListener("htmx:wsAfterMessage", () => {
  dropOldest();
  toEnd();
});

document.body.addEventListener("htmx:load", (event) => {
  if (event.detail.elt.id !== "log") return;
  watchScroll();
  toEnd();
  say("log");
});

document.body.addEventListener("htmx:configRequest", (event) => {
  if (event.detail.elt.id !== "log-more") return;
  const first = lines().querySelector(".chunk");
  event.detail.parameters.before = first ? first.dataset.chunk : "0";
});

let heightBefore = 0;
document.body.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.target.classList.contains("lines")) {
    follow().checked = false;
    heightBefore = event.detail.target.scrollHeight;
  }
});
document.body.addEventListener("htmx:afterSwap", (event) => {
  const target = event.detail.target;
  if (!target.classList.contains("lines")) return;
  // What was the first line stays in sight, low down: the earlier ones are above it.
  target.scrollTop = Math.max(0, target.scrollHeight - heightBefore - 0.7 * target.clientHeight);
});

function watchScroll() {
  const log = lines();
  if (!log) return;
  log.addEventListener("wheel", (event) => {
    if (event.deltaY < 0) follow().checked = false;
  }, { passive: true });
  log.addEventListener("keydown", (event) => {
    if (["ArrowUp", "PageUp", "Home"].includes(event.key)) follow().checked = false;
  });
  log.addEventListener("touchmove", () => { follow().checked = false; }, { passive: true });
  log.addEventListener("scrollend", () => {
    if (log.scrollHeight - log.scrollTop - log.clientHeight < 4) follow().checked = true;
  });
}

document.body.addEventListener("change", (event) => {
  if (event.target.id === "follow") toEnd();
});

watchScroll();
toEnd();

// ── times ───────────────────────────────────────────────────────────────────────────────────

const skew = Date.now() - Date.parse(document.body.dataset.now);
const since = (iso) => Math.max(0, (Date.now() - skew - Date.parse(iso)) / 1000);

function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(2)} s`;
  if (seconds < 100) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${String(whole % 60).padStart(2, "0")} s`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

function ago(seconds) {
  for (const [length, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= length) return `${Math.floor(seconds / length)} ${unit} ago`;
  }
  return "just now";
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

setInterval(() => {
  for (const element of document.querySelectorAll("[data-since]")) write(element, duration(since(element.dataset.since)));
  for (const element of document.querySelectorAll("[data-ago]")) write(element, ago(since(element.dateTime)));
}, 1000);

// ── small things ────────────────────────────────────────────────────────────────────────────

document.body.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }
  const stop = document.querySelector("details.confirm[open]");
  if (stop && (!stop.contains(event.target) || event.target.closest(".confirm-box button"))) stop.open = false;
});

document.body.addEventListener("keydown", (event) => {
  const stop = document.querySelector("details.confirm[open]");
  if (event.key === "Escape" && stop) {
    stop.open = false;
    stop.querySelector("summary").focus();
  }
});

document.body.addEventListener("htmx:sendError", () => {
  document.getElementById("notices").textContent = "PreviewKit does not answer. Nothing was changed; try again.";
});
document.body.addEventListener("htmx:responseError", (event) => {
  const why = event.detail.xhr.status === 403 ? "You may not do this." : "PreviewKit could not do this.";
  document.getElementById("notices").textContent = `${why} Load the page again.`;
});
