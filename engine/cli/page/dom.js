// Small helpers: elements without markup in strings, numbers as people read them.

/**
 * An element. `props` are attributes, but for `class`, `text`, `on` (listeners), `vars` (CSS custom
 * properties) and those that are true, false or null.
 */
export function h(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** The same of SVG. */
export function svg(tag, props = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), props, children);
}

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") node.setAttribute("class", value);
    else if (name === "text") node.textContent = value;
    else if (name === "on") {
      for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    } else if (name === "vars") {
      for (const [key, set] of Object.entries(value)) node.style.setProperty(`--${key}`, set);
    } else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(
    ...children
      .flat(Infinity)
      .filter((child) => child !== null && child !== undefined && child !== false),
  );
  return node;
}

export const byId = (id) => document.getElementById(id);

/** Icons, drawn for this page: one path each, on a field of 24 by 24. */
const ICONS = {
  up: "M7.5 10.5v9.5H4.4a.9.9 0 0 1-.9-.9v-7.7c0-.5.4-.9.9-.9zm0 0 3.7-7c1.5.1 2.6 1.2 2.6 2.7v3.3h4.6c1.4 0 2.4 1.2 2.1 2.6l-1.2 6.2c-.2 1-1.1 1.7-2.1 1.7H7.5",
  down: "M16.5 13.5V4h3.1c.5 0 .9.4.9.9v7.7c0 .5-.4.9-.9.9zm0 0-3.7 7c-1.5-.1-2.6-1.2-2.6-2.7v-3.3H5.6c-1.4 0-2.4-1.2-2.1-2.6l1.2-6.2C4.9 4.7 5.8 4 6.8 4h9.7",
  undo: "M8.5 5 4 9.5 8.5 14M4.5 9.5h9.7a5.3 5.3 0 0 1 0 10.5H9",
  again: "M19.5 12a7.5 7.5 0 1 1-2.4-5.5M19.5 3.5v4.3h-4.3",
  close: "M6 6l12 12M18 6 6 18",
  copy: "M9 9h10.5v10.5H9zM15 9V4.5H4.5V15H9",
  check: "M5 12.5 10 17.5 19.5 7",
  picture: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.2 9.2h.1",
  system: "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16",
  light:
    "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4",
  dark: "M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10z",
  keyboard: "M3 6.5h18v11H3zM6.5 10h.1M10 10h.1M13.5 10h.1M17 10h.1M8 14h8",
  lock: "M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 7 0v3",
  fold: "M7 10l5 5 5-5",
  save: "M12 4v11M7.5 10.5 12 15l4.5-4.5M5 19.5h14",
};

export function icon(name) {
  return svg(
    "svg",
    { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" },
    svg("path", { d: ICONS[name] }),
  );
}

/** A share of 1 as people read it: never a rounded 0 or 100 that is not one. */
export function percent(share) {
  const hundred = share * 100;
  if (share > 0 && hundred < 0.1) return "< 0.1 %";
  if (share < 1 && hundred > 99.9) return "> 99.9 %";
  return `${hundred.toFixed(1)} %`;
}

/** A number to three figures. */
export function short(number) {
  if (Number.isInteger(number)) return number.toLocaleString("en");
  return Math.abs(number) < 0.001 ? number.toExponential(1) : String(Number(number.toPrecision(3)));
}

export function milliseconds(ms) {
  if (ms < 0.01) return "0 ms";
  if (ms < 1) return `${ms.toFixed(2)} ms`;
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < 10_000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

export function bytes(count) {
  const units = ["bytes", "KiB", "MiB", "GiB"];
  let unit = 0;
  let shown = count;
  while (shown >= 1024 && unit + 1 < units.length) {
    shown /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? shown : Number(shown.toPrecision(3))} ${units[unit]}`;
}

/** `similar_complete` as "similar complete". */
export const words = (name) => name.replaceAll("_", " ").trim();

/** Says something to who listens instead of looking. */
export function say(text) {
  const place = byId("say");
  place.textContent = "";
  requestAnimationFrame(() => {
    place.textContent = text;
  });
}

/** A bar that says its value too. */
export function meter(name, value, text, props = {}) {
  const share = Math.max(0, Math.min(1, value));
  return h(
    "div",
    {
      role: "meter",
      "aria-label": name,
      "aria-valuemin": 0,
      "aria-valuemax": 1,
      "aria-valuenow": share,
      "aria-valuetext": text,
      ...props,
      class: `meter ${props.class ?? ""}`,
      vars: { share: `${share * 100}%`, ...props.vars },
    },
    h("i", { class: "meter-fill" }),
    props.mark,
  );
}

export function copyButton(what, text) {
  const label = h("span", { text: "Copy" });
  const button = h(
    "button",
    { type: "button", class: "quiet small", "aria-label": `Copy ${what}` },
    icon("copy"),
    label,
  );
  button.addEventListener("click", async () => {
    const copied = await copy(text());
    label.textContent = copied ? "Copied" : "Not copied";
    say(copied ? `${what} copied` : `${what} could not be copied`);
    setTimeout(() => {
      label.textContent = "Copy";
    }, 1600);
  });
  return button;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // The clipboard is for pages of https and of this machine alone; elsewhere there is the old way.
    const field = h("textarea", { class: "hidden", "aria-hidden": "true", tabindex: -1 });
    field.value = text;
    const before = document.activeElement;
    document.body.append(field);
    field.select();
    const copied = document.execCommand("copy");
    field.remove();
    before?.focus();
    return copied;
  }
}

/** What a browser keeps for this page, where it keeps anything. */
export function kept(storage, name) {
  try {
    return window[storage].getItem(name);
  } catch {
    return null;
  }
}

export function keep(storage, name, value) {
  try {
    if (value === null) window[storage].removeItem(name);
    else window[storage].setItem(name, value);
  } catch {
    // Then it is forgotten with the page.
  }
}
