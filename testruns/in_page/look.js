// What is on the page, as a visitor would say it: headings, messages, figures, links, buttons, forms; and, for
// each thing that can be used, the ways to find it again, best first. Declares `page()` and `element(el)`;
// browser.py wraps this text in a function, so that nothing is left in the page.
const squeeze = (text) => (text || "").replace(/[\s\0]+/g, " ").trim();
const cut = (text, length) => (text.length > length ? text.slice(0, length) : text);
const wellFormed = (text) => (text.toWellFormed ? text.toWellFormed() : text);

const visible = (el) => {
  if (!el.isConnected) return false;
  if (el.checkVisibility && !el.checkVisibility({ visibilityProperty: true })) return false;
  const box = el.getBoundingClientRect();
  return box.width > 0 && box.height > 0;
};

// ── role and name ────────────────────────────────────────────────────────────────────────────
const INPUT_ROLES = {
  checkbox: "checkbox", radio: "radio", range: "slider", number: "spinbutton", search: "searchbox",
  submit: "button", button: "button", image: "button", reset: "button",
};
const roleOf = (el) => {
  const stated = squeeze(el.getAttribute("role")).split(" ")[0];
  if (stated) return stated;
  const tag = el.localName;
  if (tag === "a") return el.hasAttribute("href") ? "link" : "";
  if (tag === "button" || tag === "summary") return "button";
  if (tag === "select") return el.multiple || el.size > 1 ? "listbox" : "combobox";
  if (tag === "textarea") return "textbox";
  if (tag === "input") return INPUT_ROLES[el.type] || "textbox";
  if (/^h[1-6]$/.test(tag)) return "heading";
  return "";
};
const textOf = (el) => {
  const parts = [];
  const walk = (node) => {
    if (node.nodeType === 3) parts.push(node.data);
    else if (node.nodeType === 1 && !["script", "style", "template"].includes(node.localName)) {
      if (node.getAttribute("aria-hidden") === "true" || node.hidden) return;
      if (node.localName === "img") parts.push(` ${node.alt} `);
      else {
        if (node.getAttribute("aria-label")) parts.push(` ${node.getAttribute("aria-label")} `);
        else node.childNodes.forEach(walk);
        if (getComputedStyle(node).display !== "inline") parts.push(" ");
      }
    }
  };
  el.childNodes.forEach(walk);
  return squeeze(parts.join(""));
};
const nameOf = (el) => {
  const by = squeeze(el.getAttribute("aria-labelledby"));
  if (by) {
    const name = squeeze(by.split(" ").map((id) => document.getElementById(id)).filter(Boolean).map(textOf).join(" "));
    if (name) return name;
  }
  const stated = squeeze(el.getAttribute("aria-label"));
  if (stated) return stated;
  if (el.localName === "input" && ["submit", "button", "reset"].includes(el.type)) {
    return squeeze(el.value) || (el.type === "submit" ? "Submit" : el.type === "reset" ? "Reset" : "");
  }
  if (["input", "select", "textarea"].includes(el.localName)) {
    if (el.type === "image" && el.alt) return squeeze(el.alt);
    const labels = squeeze(Array.from(el.labels || []).map(labelText).join(" "));
    return labels || squeeze(el.title) || squeeze(el.placeholder);
  }
  return textOf(el) || squeeze(el.title);
};
const labelText = (label) => {
  const copy = label.cloneNode(true);
  copy.querySelectorAll("select, textarea, script, style").forEach((el) => el.remove());
  return squeeze(copy.textContent);
};

// ── ways to find it again ────────────────────────────────────────────────────────────────────
const matches = (selector) => {
  try {
    return document.querySelectorAll(selector).length;
  } catch {
    return 0;
  }
};
const quoted = (text) => `"${text.replace(/\\/g, "\\\\").replace(/"/g, '\\"')}"`;
const byName = new Map();
const sameRoleAndName = (role, name) => {
  if (!byName.size) {
    for (const el of document.querySelectorAll("a[href],button,summary,input,select,textarea,[role]")) {
      if (!visible(el)) continue;
      const key = `${roleOf(el)}\n${nameOf(el)}`;
      byName.set(key, (byName.get(key) || 0) + 1);
    }
  }
  return byName.get(`${role}\n${name}`) || 0;
};
const pathOf = (el) => {
  const parts = [];
  for (let node = el; node && node.nodeType === 1 && node.localName !== "html"; node = node.parentElement) {
    const siblings = node.parentElement
      ? Array.from(node.parentElement.children).filter((other) => other.localName === node.localName) : [node];
    parts.unshift(siblings.length > 1 ? `${node.localName}:nth-of-type(${siblings.indexOf(node) + 1})` : node.localName);
  }
  return parts.join(" > ");
};
const attributeSelector = (el) => {
  const tag = el.localName;
  const own = (name) => (el.getAttribute(name) ? `[${name}=${quoted(el.getAttribute(name))}]` : "");
  const form = el.form || el.closest("form");
  const scope = form && form.getAttribute("action") ? `form[action=${quoted(form.getAttribute("action"))}] ` : "";
  if (tag === "form") return own("action") ? `form${own("action")}` : own("name") ? `form${own("name")}` : "";
  if (tag === "a") return own("href") ? `a${own("href")}` : "";
  if (own("name")) return `${scope}${tag}${own("name")}${["radio", "checkbox"].includes(el.type) ? own("value") : ""}`;
  if (tag === "button" || tag === "input") return scope ? `${scope}${tag}${own("type")}` : "";
  return "";
};
const locatorsOf = (el) => {
  const found = [];
  const add = (engine, value, score, count) =>
    value && value.length <= 1000 && found.push({ engine, value: wellFormed(value), score, unique: count === 1 });
  const test = el.getAttribute("data-testid");
  if (test) add("test_id", test, 95, matches(`[data-testid=${quoted(test)}]`));
  const role = roleOf(el);
  const name = nameOf(el);
  if (role && name && name.length <= 120) add("role", `${role}[name=${quoted(name)}]`, 90, sameRoleAndName(role, name));
  if (el.labels && el.labels.length) {
    const label = squeeze(Array.from(el.labels).map(labelText).join(" "));
    if (label) add("label", label, 85, sameRoleAndName(role, name));
  }
  if (el.id) {
    const made = /\d{3,}|[0-9a-f]{8,}|:r/.test(el.id);
    add("id", el.id, made ? 30 : 75, matches(`[id=${quoted(el.id)}]`));
  }
  if (el.placeholder) add("placeholder", squeeze(el.placeholder), 70, matches(`[placeholder=${quoted(el.placeholder)}]`));
  const attribute = attributeSelector(el);
  if (attribute) add("css", attribute, 60, matches(attribute));
  if (el.localName !== "form") add("css", pathOf(el), 20, 1);
  return found.sort((a, b) => b.score - a.score);
};
const fingerprintOf = (el) => {
  const attributes = {};
  for (const name of ["id", "name", "type", "href", "action", "method", "placeholder", "class", "data-testid"]) {
    if (el.getAttribute(name)) attributes[name] = cut(wellFormed(el.getAttribute(name)), 200);
  }
  const form = el.form || (el.localName === "form" ? null : el.closest("form"));
  if (form && form.getAttribute("action")) attributes.form = cut(form.getAttribute("action"), 200);
  return {
    tag: el.localName, role: roleOf(el), name: wellFormed(cut(nameOf(el), 200)),
    text: wellFormed(cut(textOf(el), 200)), attributes,
  };
};
const element = (el) => ({
  role: roleOf(el),
  name: wellFormed(cut(nameOf(el), 200)),
  locators: locatorsOf(el),
  fingerprint: fingerprintOf(el),
  href: el.localName === "a" && el.href ? el.href.split("#")[0] : "",
  disabled: !!el.disabled || el.getAttribute("aria-disabled") === "true",
  opens: [el.getAttribute("target"), el.hasAttribute("download") ? "download" : ""].filter(Boolean).join(" "),
});

// ── the page ─────────────────────────────────────────────────────────────────────────────────
const field = (el) => ({
  ...element(el),
  field: el.name || "",
  type: el.localName === "input" ? el.type : el.localName,
  required: !!el.required,
  value: cut(el.value || "", 500),
  checked: !!el.checked,
  placeholder: el.placeholder || "",
  autocomplete: el.getAttribute("autocomplete") || "",
  pattern: el.getAttribute("pattern") || "",
  min: el.getAttribute("min") || "",
  max: el.getAttribute("max") || "",
  max_length: el.maxLength === undefined ? -1 : el.maxLength,
  options: el.localName === "select"
    ? Array.from(el.options).slice(0, 50).filter((o) => !o.disabled).map((o) => ({ value: o.value, label: squeeze(o.label) }))
    : [],
});
const headingBefore = (el) => {
  for (let box = el; box && box !== document.body; box = box.parentElement) {
    const heading = box.querySelector("legend,h1,h2,h3,h4");
    if (heading && visible(heading)) return textOf(heading);
  }
  return "";
};
const form = (el) => {
  const controls = Array.from(el.elements);
  const action = new URL(el.getAttribute("action") || location.href, location.href);
  const submits = controls.filter((c) =>
    (c.localName === "button" && c.type === "submit") || (c.localName === "input" && ["submit", "image"].includes(c.type)));
  const fields = controls.filter((c) => ["input", "select", "textarea"].includes(c.localName) &&
    !["hidden", "submit", "image", "button", "reset"].includes(c.type));
  return {
    action: action.origin === location.origin ? action.pathname + action.search : "",
    method: el.method === "post" ? "post" : "get",
    name: cut(squeeze(el.getAttribute("aria-label")) || headingBefore(el), 120),
    fields: fields.filter(visible).slice(0, 40).map(field),
    submits: submits.filter(visible).slice(0, 6).map(element),
    locators: locatorsOf(el),
  };
};
const MESSAGES = "[role=alert],[role=status],[aria-live]:not([aria-live=off]),output,.message,.messages li,.error," +
  ".errors,.errorlist li,.flash,.alert,.notice,.invalid-feedback";
const FIGURE = /(?:[$€£¥]\s?\d|\d[\d.,]*\s?(?:[$€£¥]|USD|EUR|GBP|CHF)\b|\b(?:sub)?total\b|\b\d+ (?:items?|results?|products?|entries|matches|orders?|found)\b|\b(?:cart|basket|bag) ?\(?\d)/i;
const lines = () => {
  const found = [];
  const taken = new Set();
  const main = document.querySelector("main") || document.body;
  const add = (text, kind, everywhere = false) => {
    text = wellFormed(squeeze(text));
    if (!text || text.length > 160 || taken.has(text)) return;
    taken.add(text);
    found.push({ text, kind, everywhere });
  };
  const figures = (box, everywhere) => {
    let before = "";
    for (const raw of cut(box ? box.innerText : "", 100000).split("\n")) {
      const line = squeeze(raw);
      if (!line) continue;
      // A figure alone says nothing: "Total" stands in the line before it.
      const bare = !/\p{L}{2,}/u.test(line);
      if (FIGURE.test(line) && /\d/.test(line)) add(bare && before ? `${before} ${line}` : line, "figure", everywhere);
      before = line.length <= 80 ? line : "";
    }
  };
  for (const el of document.querySelectorAll(MESSAGES)) {
    if (visible(el) && !el.querySelector("form,nav,table")) add(el.innerText, "message");
  }
  figures(main, false);
  if (main !== document.body) figures(document.body, true);
  for (const el of main ? main.querySelectorAll("li a,td a,article a,h2,h3,h4") : []) {
    if (visible(el)) add(textOf(el), "item");
    if (found.length > 80) break;
  }
  return found.slice(0, 80);
};
const usable = (selector, most) => {
  const found = [];
  for (const el of document.querySelectorAll(selector)) {
    if (found.length >= most) break;
    if (visible(el)) found.push(element(el));
  }
  return found;
};
const shape = () => {
  const outline = [location.pathname.split("/").length];
  for (const el of document.querySelectorAll("form,h1,h2,table,nav,input,select,textarea,button")) {
    outline.push(el.localName + (el.localName === "form" ? el.method : el.getAttribute("name") || ""));
  }
  return outline.slice(0, 120).join(" ");
};
const page = () => ({
  url: location.href,
  title: wellFormed(cut(squeeze(document.title), 300)),
  headings: Array.from(document.querySelectorAll("h1,h2,[role=heading]")).filter(visible).slice(0, 12)
    .map((el) => wellFormed(cut(textOf(el), 200))).filter(Boolean),
  text: wellFormed(squeeze(cut(document.body ? document.body.innerText : "", 100000))),
  lines: lines(),
  links: usable("a[href]", 150),
  buttons: usable("button,input[type=submit],input[type=button],input[type=image],[role=button],summary", 60),
  forms: Array.from(document.forms).slice(0, 30).filter((f) => visible(f) || Array.from(f.elements).some(visible)).map(form),
  counts: Object.fromEntries(["main li", "tbody tr", "main article"].map((selector) =>
    [selector, Array.from(document.querySelectorAll(selector)).filter(visible).length])),
  shape: shape(),
});
