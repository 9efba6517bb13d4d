// What is asked beside the picture: a field for each of the pipeline's request, labels as chips,
// thresholds as sliders, and for what this page has never heard of a plain field.

import { h, icon, keep, kept, say, words } from "./dom.js";
import { filesOf, forPictures, pathOf, settingsOf } from "./pipelines.js";

const KEPT = "omnizap.options";
/** The theme that judgements of who names none are counted under. It moves no answer that has none. */
const THEME = "general";
/** Most labels that chips are made of. */
const MOST_LABELS = 1024;

/** What a pipeline's request may hold that it makes itself of the file. */
const ECHOES = new Set(["filename", "content_type"]);
/** Where a field stands: those first that people change most. */
const FIRST = ["labels", "theme", "nsfw_threshold"];
/** Settings that say what a field is where it is left out. */
const DEFAULTS = {
  nsfw_threshold: "nsfw_threshold",
  similar_threshold: "similarity_threshold",
  similar_limit: "similarity_limit",
};
const NAMES = {
  labels: "Labels",
  theme: "Theme",
  nsfw_threshold: "NSFW from",
  similar_threshold: "Similar from",
  similar_limit: "Similar pictures at most",
  asset_id: "Your id of the picture",
  asset_sha256: "Your hash of the picture",
};
const HINTS = {
  theme: `Feedback moves the next answers of its theme. Without one it is kept under "${THEME}".`,
  asset_sha256: "64 hexadecimal digits, in the place of the picture's own.",
};

/** Tells `change`. */
export const events = new EventTarget();

const values = read();
let chosen = null;

function read() {
  try {
    return { ...JSON.parse(kept("localStorage", KEPT) ?? "{}") };
  } catch {
    return {};
  }
}

function set(name, value) {
  if (value === undefined || value === "" || (Array.isArray(value) && value.length === 0))
    delete values[name];
  else values[name] = value;
  // What names one picture, and files, are not for the next visit.
  const { theme, labels, nsfw_threshold } = values;
  keep("localStorage", KEPT, JSON.stringify({ theme, labels, nsfw_threshold }));
  events.dispatchEvent(new Event("change"));
}

/** The pipeline that pictures go to, or null. */
export function pipeline() {
  const all = forPictures();
  return all.find((one) => one.pipeline === chosen) ?? all[0] ?? null;
}

const settings = () => settingsOf(pipeline()?.pipeline);

/** What is asked now, or null where nothing can be. */
export function asked() {
  const to = pipeline();
  if (to === null) return null;
  const fields = {};
  for (const name of Object.keys(to.request)) {
    const value = values[name];
    if (value !== undefined && value !== "" && name !== filesOf(to)[0]) {
      fields[name] = Array.isArray(value) ? [...value] : value;
    }
  }
  return { pipeline: to.pipeline, route: pathOf(to), file: filesOf(to)[0], fields };
}

/** True where two requests ask the same. */
export function sameAsked(a, b) {
  const text = (asked) => JSON.stringify([asked?.route, asked?.fields]);
  return text(a) === text(b);
}

/** What judgements are counted under. */
export const theme = () => values.theme ?? THEME;

/** Fills the form of a place. What a person is typing is not taken from under their hands. */
export function showOptions(place) {
  const to = pipeline();
  if (to === null) {
    const none = "None of the service's pipelines takes a picture by POST.";
    place.replaceChildren(h("p", { class: "notice", text: none }));
    return;
  }
  const [file, ...otherFiles] = filesOf(to);
  const names = Object.keys(to.request).filter((name) => name !== file && !ECHOES.has(name));
  const first = FIRST.filter((name) => names.includes(name));
  const rest = names.filter((name) => !first.includes(name));
  const field = (name) => fieldOf(name, to.request[name]);
  const more = rest.filter((name) => !otherFiles.includes(name));
  place.replaceChildren(
    pipelineField(place),
    ...otherFiles.map(field),
    ...first.map(field),
    ...(more.length === 0
      ? []
      : [
          h(
            "details",
            { class: "more", open: more.some((name) => values[name] !== undefined) },
            h("summary", {}, h("span", { text: "More options" }), icon("fold")),
            ...more.map(field),
          ),
        ]),
  );
}

function pipelineField(place) {
  const all = forPictures();
  if (all.length < 2) return "";
  const select = h("select", { id: "option-pipeline" });
  for (const one of all) {
    select.append(h("option", { value: one.pipeline, text: `${one.pipeline} (${pathOf(one)})` }));
  }
  select.value = pipeline().pipeline;
  select.addEventListener("change", () => {
    chosen = select.value;
    showOptions(place);
    document.getElementById("option-pipeline")?.focus();
    events.dispatchEvent(new Event("change"));
  });
  return h("div", { class: "field" }, h("label", { for: select.id, text: "Pipeline" }), select);
}

function fieldOf(name, type) {
  const id = `option-${name}`;
  const label = NAMES[name] ?? words(name);
  const fallback = settings()[DEFAULTS[name]];
  if (type === "text_list") return chips(name, id, label);
  if (type === "bool") return choice(name, id, label);
  if (type === "bytes") return fileField(name, id, label);
  // A number that is 0 to 1 wherever it is known.
  if (type === "number" && name.endsWith("threshold")) return slider(name, id, label, fallback);
  const isNumber = type === "number" || type === "integer";
  const input = h("input", {
    id,
    type: isNumber ? "number" : "text",
    step: type === "integer" ? 1 : isNumber ? "any" : null,
    placeholder: isNumber && fallback !== undefined ? `${fallback}` : null,
    autocomplete: "off",
    spellcheck: "false",
    "aria-describedby": HINTS[name] === undefined ? null : `${id}-hint`,
  });
  input.value = values[name] ?? "";
  input.addEventListener("input", () => set(name, input.value.trim()));
  return h(
    "div",
    { class: "field" },
    h("label", { for: id, text: label }),
    input,
    HINTS[name] === undefined
      ? null
      : h("p", { class: "hint", id: `${id}-hint`, text: HINTS[name] }),
  );
}

function fileField(name, id, label) {
  const input = h("input", { id, type: "file" });
  input.addEventListener("change", () => set(name, input.files[0]));
  return h("div", { class: "field" }, h("label", { for: id, text: label }), input);
}

function choice(name, id, label) {
  const select = h(
    "select",
    { id },
    h("option", { value: "", text: "as the service has it" }),
    h("option", { value: "true", text: "yes" }),
    h("option", { value: "false", text: "no" }),
  );
  select.value = values[name] ?? "";
  select.addEventListener("change", () => set(name, select.value));
  return h("div", { class: "field" }, h("label", { for: id, text: label }), select);
}

function slider(name, id, label, fallback) {
  const input = h("input", { id, type: "range", min: 0, max: 1, step: 0.01 });
  const shown = h("output", { for: id });
  const reset = h("button", {
    type: "button",
    class: "link",
    text: "Reset",
    "aria-label": `${label}: take the service's own`,
  });
  const show = () => {
    const own = values[name];
    const now = own ?? fallback;
    input.value = now ?? 0.5;
    shown.textContent = now === undefined ? "the service's" : Number(now).toFixed(2);
    input.style.setProperty("--share", `${Number(input.value) * 100}%`);
    // It keeps its place, so that nothing moves.
    reset.classList.toggle("unseen", own === undefined);
    reset.disabled = own === undefined;
  };
  input.addEventListener("input", () => {
    set(name, Number(input.value));
    show();
  });
  reset.addEventListener("click", () => {
    set(name, undefined);
    show();
    input.focus();
  });
  show();
  return h(
    "div",
    { class: "field" },
    h("div", { class: "field-head" }, h("label", { for: id, text: label }), reset, shown),
    input,
  );
}

function chips(name, id, label) {
  const list = h("ul", { class: "chips", "aria-label": label });
  const known = settings()[`default_${name}`];
  const has = Array.isArray(known) && known.length > 0;
  const input = h("input", {
    id,
    type: "text",
    autocomplete: "off",
    spellcheck: "false",
    autocapitalize: "none",
    enterkeyhint: "enter",
    list: has ? `${id}-known` : null,
    "aria-describedby": `${id}-hint`,
  });
  const clear = h("button", {
    type: "button",
    class: "link",
    text: "Clear",
    "aria-label": `${label}: remove all`,
  });
  const labels = () => values[name] ?? [];
  const hint = h("p", { class: "hint", id: `${id}-hint` });
  const show = () => {
    const now = labels();
    input.placeholder = now.length > 0 ? "Add another" : "a cat, a dog, a chart";
    hint.textContent =
      now.length > 0
        ? "Enter or a comma adds one."
        : has
          ? `None: the service's own ${known.length}.`
          : "None: the service's own.";
    clear.classList.toggle("unseen", now.length === 0);
    clear.disabled = now.length === 0;
    list.hidden = now.length === 0;
    list.replaceChildren(
      ...now.map((text, at) =>
        h(
          "li",
          { class: "chip" },
          h("span", { text }),
          h(
            "button",
            { type: "button", "aria-label": `Remove ${text}`, on: { click: () => take(at) } },
            icon("close"),
          ),
        ),
      ),
    );
  };
  const take = (at) => {
    const [gone] = labels().slice(at, at + 1);
    set(
      name,
      labels().filter((_, index) => index !== at),
    );
    show();
    say(`${gone} removed`);
    (list.querySelectorAll("button")[at] ?? input).focus();
  };
  const add = (text) => {
    const now = [...labels()];
    const lower = new Set(now.map((label) => label.toLowerCase()));
    for (const one of text.split(/[,\n\t]/).map((part) => part.trim())) {
      if (one === "" || lower.has(one.toLowerCase()) || now.length >= MOST_LABELS) continue;
      lower.add(one.toLowerCase());
      now.push(one);
    }
    input.value = "";
    set(name, now);
    show();
  };
  input.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Enter") {
      event.preventDefault();
      if (input.value.trim() !== "") add(input.value);
    } else if (event.key === "Backspace" && input.value === "" && labels().length > 0) {
      take(labels().length - 1);
      input.focus();
    }
  });
  input.addEventListener("input", () => {
    if (input.value.includes(",")) add(input.value);
  });
  input.addEventListener("paste", (event) => {
    const text = event.clipboardData?.getData("text/plain") ?? "";
    if (!/[,\n\t]/.test(text)) return;
    event.preventDefault();
    add(input.value + text);
  });
  // What was typed counts, also for who goes on without Enter.
  input.addEventListener("blur", () => {
    if (input.value.trim() !== "") add(input.value);
  });
  clear.addEventListener("click", () => {
    set(name, []);
    show();
    input.focus();
  });
  show();
  return h(
    "div",
    { class: "field" },
    h("div", { class: "field-head" }, h("label", { for: id, text: label }), clear),
    h("div", { class: "chip-box" }, list, input),
    has
      ? h("datalist", { id: `${id}-known` }, ...known.map((text) => h("option", { value: text })))
      : null,
    hint,
  );
}
