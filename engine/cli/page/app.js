// The page: its parts put together, pictures let in, views changed.

import { showAnswer } from "./answer.js";
import { byId, h, icon, keep, kept, percent, say } from "./dom.js";
import { examples } from "./examples.js";
import { choices, judge, judged, undo } from "./feedback.js";
import { showGraph, watch } from "./graph.js";
import { listen, showHelp } from "./keyboard.js";
import { asked, events as options, sameAsked, showOptions } from "./options.js";
import { events as pipelines, look, state } from "./pipelines.js";
import { goOn, goTo, reviewed, showReview, step } from "./review.js";
import { keyButton } from "./service.js";
import {
  add,
  again,
  current,
  events as session,
  imageOf,
  items,
  move,
  remove,
  resume,
  select,
} from "./session.js";

const VIEWS = ["classify", "review", "pipeline"];
/** Widest page whose parts stand below each other, in pixels; as the style sheets have it. */
const NARROW = 900;
let view = "classify";

// --- Pictures ------------------------------------------------------------------------------------

function take(files) {
  const list = [...files];
  if (list.length === 0) return;
  const now = asked();
  if (now === null) return say("None of the service's pipelines takes a picture");
  add(list, now);
  if (view !== "classify") location.hash = "classify";
  say(
    list.length === 1
      ? `Looking at ${list[0].name || "the picture"}`
      : `Looking at ${list.length} pictures`,
  );
  if (innerWidth <= NARROW)
    byId("answer").scrollIntoView({ block: "start", behavior: calm() ? "auto" : "smooth" });
}

const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

const picker = h("input", {
  type: "file",
  id: "files",
  class: "hidden",
  multiple: true,
  accept: "image/*,.tif,.tiff",
});
picker.addEventListener("change", () => {
  take(picker.files);
  picker.value = "";
});
byId("drop").append(
  h(
    "label",
    { class: "drop", for: "files" },
    h("span", { class: "drop-mark" }, icon("picture")),
    h(
      "span",
      { class: "drop-title" },
      h("b", { text: "Choose pictures" }),
      h("span", { class: "only-wide", text: " or drop them here" }),
    ),
    h(
      "span",
      { class: "hint" },
      h("span", { class: "only-wide", text: "Pasting works too. " }),
      "JPEG, PNG, WebP, GIF, BMP, TIFF.",
    ),
  ),
  picker,
);
byId("examples").append(examples(take));

const veil = byId("veil");
let depth = 0;
const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
addEventListener("dragenter", (event) => {
  if (!hasFiles(event)) return;
  depth += 1;
  veil.hidden = false;
});
addEventListener("dragleave", (event) => {
  if (!hasFiles(event)) return;
  depth = Math.max(0, depth - 1);
  veil.hidden = depth === 0;
});
// Without this a browser leaves the page for a file that misses.
addEventListener("dragover", (event) => {
  if (hasFiles(event)) event.preventDefault();
});
addEventListener("drop", (event) => {
  depth = 0;
  veil.hidden = true;
  if (!hasFiles(event)) return;
  event.preventDefault();
  take(event.dataTransfer.files);
});
addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (files.length === 0) return;
  event.preventDefault();
  take(files);
});

// --- The answer ----------------------------------------------------------------------------------

function askAgain(item) {
  const now = asked();
  if (item !== null && now !== null) again(item, now);
}

const rerun = h(
  "button",
  { type: "button", class: "primary wide", on: { click: () => askAgain(current()) } },
  icon("again"),
  h("span", { text: "Ask again with these" }),
  h("kbd", { text: "R", "aria-hidden": "true" }),
);

/** Offered where the answer that is seen was made with other options. */
function showRerun() {
  const item = current();
  const differs =
    item !== null && item.answered !== undefined && !sameAsked(item.answered, asked());
  rerun.hidden = !differs;
  rerun.disabled = item?.state === "asking" || item?.state === "waiting";
}
byId("ask-options").after(h("div", { class: "rerun" }, rerun));

function showStrip() {
  const place = byId("strip");
  if (items.length < 2) return place.replaceChildren();
  const scroll = place.querySelector(".strip")?.scrollLeft ?? 0;
  const held = place.contains(document.activeElement);
  const list = h("ul", { class: "strip", "aria-label": "Pictures of this session" });
  for (const item of [...items].reverse()) {
    const isCurrent = item === current();
    const text =
      item.state === "failed"
        ? "no answer"
        : (item.answer?.category ?? (item.answer ? "answered" : "looking"));
    list.append(
      h(
        "li",
        { class: `strip-item is-${item.state}${item.judgement ? " is-judged" : ""}` },
        h(
          "button",
          {
            type: "button",
            class: "strip-open",
            "aria-current": isCurrent ? "true" : null,
            "aria-label": `${item.name}: ${text}`,
            title: `${item.name}: ${text}`,
            on: { click: () => select(item) },
          },
          icon("picture"),
          imageOf(item, "strip"),
        ),
        h(
          "button",
          {
            type: "button",
            class: "strip-remove",
            tabindex: isCurrent ? 0 : -1,
            "aria-label": `Remove ${item.name}`,
            title: "Remove",
            on: { click: () => remove(item) },
          },
          icon("close"),
        ),
      ),
    );
  }
  place.replaceChildren(list);
  list.scrollLeft = scroll;
  const now = list.querySelector("[aria-current]");
  if (held) now?.focus({ preventScroll: true });
  if (now) {
    const { offsetLeft, offsetWidth } = now.parentElement;
    if (
      offsetLeft < list.scrollLeft ||
      offsetLeft + offsetWidth > list.scrollLeft + list.clientWidth
    ) {
      list.scrollLeft = offsetLeft - list.clientWidth / 2;
    }
  }
}

function showCount() {
  const count = byId("review-count");
  const open = items.filter((item) => item.answer !== null).length - judged();
  count.hidden = open <= 0;
  count.textContent = open;
  count.title = `${open} to judge`;
}

function show() {
  showStrip();
  showAnswer(byId("answer"), current(), askAgain);
  showRerun();
  showCount();
  if (view === "review")
    showReview(byId("review"), byId("review-tools"), byId("review-summary"), toAnswer);
  if (view === "pipeline")
    showGraph(byId("pipeline"), byId("pipeline-tools"), byId("pipeline-summary"));
}

const toAnswer = () => {
  location.hash = "classify";
};

// Of many changes at once the page is drawn once.
let isDue = false;
function due() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    show();
  });
}

const spoken = new WeakMap();
session.addEventListener("list", due);
session.addEventListener("thumb", due);
session.addEventListener("item", ({ detail: item }) => {
  due();
  if (item !== current() || spoken.get(item) === item.answer) return;
  if (item.state !== "answered") return;
  spoken.set(item, item.answer);
  const { category, confidence } = item.answer ?? {};
  const sure = typeof confidence === "number" ? `, ${percent(confidence)}` : "";
  say(typeof category === "string" ? `${category}${sure}` : "Answered");
});
options.addEventListener("change", showRerun);

// --- Views ---------------------------------------------------------------------------------------

function go() {
  const wanted = location.hash.slice(1);
  const isFirst = document.documentElement.dataset.view === undefined;
  view = VIEWS.includes(wanted) ? wanted : "classify";
  document.documentElement.dataset.view = view;
  for (const name of VIEWS) byId(`view-${name}`).hidden = name !== view;
  for (const link of document.querySelectorAll(".views a")) {
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  watch(view === "pipeline");
  show();
  if (!isFirst) {
    scrollTo(0, 0);
    if (view === "review" && reviewed() !== null) goTo(byId("review"), reviewed());
    else if (!document.activeElement?.closest?.(".views"))
      byId("main").focus({ preventScroll: true });
  }
}
addEventListener("hashchange", go);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("main").focus();
});
let width = 0;
addEventListener("resize", () => {
  if (width !== innerWidth && view === "pipeline") due();
  width = innerWidth;
});

// --- How the service is --------------------------------------------------------------------------

function showState() {
  const place = byId("status");
  const banner = byId("banner");
  const { ready, facts, isOffline } = state;
  const status = isOffline ? "offline" : (ready?.status ?? "connecting");
  place.dataset.state = status;
  const model = facts.model ?? state.settings.model;
  const text =
    { offline: "No answer", connecting: "Connecting", ready: model ?? "Ready" }[status] ??
    words(status);
  byId("status-text").textContent = text;
  place.title = model ? `${status}: ${model}${facts.device ? ` on ${facts.device}` : ""}` : status;
  const reasons = ["failing", "starting", "degraded"].flatMap((kind) =>
    (ready?.[kind] ?? []).map(({ stage, reason }) => `${stage} is ${kind}: ${reason}`),
  );
  const told = isOffline
    ? "The service does not answer. This page goes on by itself as soon as it does."
    : ready?.shutting_down
      ? "The service is shutting down."
      : reasons.slice(0, 3).join(" · ");
  if (banner.textContent !== told) banner.textContent = told;
  banner.hidden = told === "";
  banner.dataset.state = status;
}

const words = (status) => status[0].toUpperCase() + status.slice(1);

pipelines.addEventListener("ready", showState);
pipelines.addEventListener("back", () => {
  resume();
  look();
});
pipelines.addEventListener("changed", () => {
  const place = byId("options");
  // What a person is typing stays; the next change, or the next visit, has the new form.
  if (!place.contains(document.activeElement)) showOptions(place);
  due();
});
pipelines.addEventListener("pipelines", () => {
  showState();
  if (view === "pipeline") due();
});

// --- Tools ---------------------------------------------------------------------------------------

const COLOURS = ["system", "light", "dark"];
function colours() {
  const button = byId("colours");
  const chosen = kept("localStorage", "omnizap.colours") ?? "system";
  const name = COLOURS.includes(chosen) ? chosen : "system";
  if (name === "system") delete document.documentElement.dataset.colours;
  else document.documentElement.dataset.colours = name;
  const text = `Colours: ${name === "system" ? "as the system has them" : name}`;
  button.replaceChildren(icon(name));
  button.setAttribute("aria-label", text);
  button.title = text;
}
byId("colours").addEventListener("click", () => {
  const now = kept("localStorage", "omnizap.colours") ?? "system";
  const next = COLOURS[(COLOURS.indexOf(now) + 1) % COLOURS.length];
  keep("localStorage", "omnizap.colours", next === "system" ? null : next);
  colours();
});
colours();
byId("help-button").append(icon("keyboard"));
byId("help-button").addEventListener("click", showHelp);
keyButton();
byId("ask").addEventListener("submit", (event) => event.preventDefault());

/** The picture that keys are about. */
const at = () => (view === "review" ? reviewed() : view === "classify" ? current() : null);

function judgeBy(accepted, label) {
  const item = at();
  if (item === null || !judge(item, accepted, label)) return false;
  if (view === "review")
    requestAnimationFrame(() => requestAnimationFrame(() => goOn(byId("review"))));
  return true;
}

listen({
  digit: (number) => {
    const label = at() === null ? undefined : choices(at())[number - 1];
    return label === undefined ? false : judgeBy(true, label);
  },
  y: () => judgeBy(true),
  n: () => judgeBy(false),
  u: () => {
    const item = undo();
    if (item !== null && view === "review")
      requestAnimationFrame(() => requestAnimationFrame(() => goTo(byId("review"), item)));
    else if (item !== null) select(item);
  },
  o: () => picker.click(),
  r: () => (view === "classify" ? askAgain(current()) : false),
  j: () => (view === "review" ? step(byId("review"), 1) : move(-1)),
  k: () => (view === "review" ? step(byId("review"), -1) : move(1)),
  c: () => {
    location.hash = "classify";
  },
  v: () => {
    location.hash = "review";
  },
  p: () => {
    location.hash = "pipeline";
  },
  "?": showHelp,
});

// On a phone the answer comes first, and what is asked beside the picture is folded away.
byId("ask-options").open = innerWidth > NARROW;
showOptions(byId("options"));
go();
look({ quiet: false });
