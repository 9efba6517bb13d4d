// The answers of this session, the most doubtful first: a person goes down the list by keys.

import { h, icon, meter, percent } from "./dom.js";
import { canJudge, choices, judge, judged, told, undo } from "./feedback.js";
import { imageOf, items, select } from "./session.js";

/** Labels to choose from in a row. */
const CHOICES = 5;

let by = "doubt";
let isOpenOnly = false;
let at = null;

/** How doubtful an answer is, from 0 to 1. */
export function doubtOf(answer) {
  const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
  if (answer?.no_match === true) return 1;
  if (isNumber(answer?.entropy_normalized)) return answer.entropy_normalized;
  if (isNumber(answer?.confidence)) return 1 - answer.confidence;
  return 0;
}

const ORDERS = {
  doubt: (a, b) =>
    doubtOf(b.answer) - doubtOf(a.answer) ||
    (a.answer.confidence_margin ?? 0) - (b.answer.confidence_margin ?? 0),
  newest: (a, b) => b.id - a.id,
  name: (a, b) => a.name.localeCompare(b.name, "en", { numeric: true }),
};

function listed() {
  const answered = items.filter((item) => item.answer !== null && item.state !== "gone");
  const open = isOpenOnly ? answered.filter((item) => !item.judgement || item === at) : answered;
  return [...open].sort(ORDERS[by]);
}

export function showReview(place, tools, summary, onOpen) {
  const answered = items.filter((item) => item.answer !== null);
  const unsure = answered.filter(
    (item) => item.answer.ambiguous === true || item.answer.no_match === true,
  ).length;
  summary.textContent =
    answered.length === 0
      ? "Answers of this session, the most doubtful first."
      : `${answered.length} ${answered.length === 1 ? "answer" : "answers"}, ${unsure} doubtful, ${judged()} judged`;
  showTools(tools, answered, () => showReview(place, tools, summary, onOpen));
  const rows = listed();
  if (!rows.includes(at)) at = rows[0] ?? null;
  const held = place.contains(document.activeElement)
    ? document.activeElement.dataset?.focus
    : null;
  if (rows.length === 0) {
    const text =
      answered.length === 0
        ? "No answers yet. Classify some pictures first."
        : "All answers are judged.";
    place.replaceChildren(
      h(
        "div",
        { class: "card nothing" },
        h("div", { class: "nothing-mark" }, icon("check")),
        h("p", { class: "muted", text }),
      ),
    );
    return;
  }
  place.replaceChildren(
    h("ul", { class: "review-list" }, ...rows.map((item) => row(item, onOpen))),
  );
  if (held) place.querySelector(`[data-focus="${held}"]`)?.focus({ preventScroll: true });
}

function showTools(tools, answered, again) {
  if (answered.length === 0) return tools.replaceChildren();
  if (tools.childElementCount > 0) return;
  const order = h(
    "select",
    { "aria-label": "Order" },
    h("option", { value: "doubt", text: "Most doubtful first" }),
    h("option", { value: "newest", text: "Newest first" }),
    h("option", { value: "name", text: "By name" }),
  );
  order.value = by;
  order.addEventListener("change", () => {
    by = order.value;
    at = null;
    again();
  });
  const open = h("input", { type: "checkbox", id: "open-only" });
  open.checked = isOpenOnly;
  open.addEventListener("change", () => {
    isOpenOnly = open.checked;
    again();
  });
  const save = h(
    "button",
    { type: "button", class: "quiet small", on: { click: download } },
    icon("save"),
    h("span", { text: "JSON Lines" }),
  );
  tools.replaceChildren(
    h("label", { class: "check", for: "open-only" }, open, h("span", { text: "To judge only" })),
    order,
    save,
  );
}

/** A line a picture: its name, its answer, and what was said of it. */
function download() {
  const lines = listed().map((item) =>
    JSON.stringify({
      name: item.name,
      judgement: item.judgement
        ? { accepted: item.judgement.accepted, label: item.judgement.label }
        : null,
      answer: item.answer,
    }),
  );
  const url = URL.createObjectURL(
    new Blob([`${lines.join("\n")}\n`], { type: "application/x-ndjson" }),
  );
  h("a", { href: url, download: "answers.jsonl" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

function row(item, onOpen) {
  const { answer, judgement } = item;
  const doubt = doubtOf(answer);
  const isCurrent = item === at;
  const own = answer.category;
  const note = judgement ? told(judgement) : null;
  return h(
    "li",
    {
      class: `card review-row${isCurrent ? " is-current" : ""}${judgement ? " is-judged" : ""}`,
      "data-id": item.id,
      on: {
        focusin: () => {
          if (at === item) return;
          at = item;
          for (const other of document.querySelectorAll(".review-row")) {
            other.classList.toggle("is-current", other.dataset.id === String(item.id));
          }
        },
      },
    },
    h(
      "button",
      {
        type: "button",
        class: "review-open",
        "data-focus": `open-${item.id}`,
        title: "Open it",
        on: {
          click: () => {
            select(item);
            onOpen();
          },
        },
      },
      h("span", { class: "review-thumb" }, icon("picture"), imageOf(item, "review")),
      h(
        "span",
        { class: "review-what" },
        h("span", { class: "review-label", text: own ?? "Answered" }),
        h("span", {
          class: "review-name",
          text:
            typeof answer.confidence === "number"
              ? `${percent(answer.confidence)} · ${item.name}`
              : item.name,
        }),
      ),
    ),
    h(
      "div",
      { class: "review-doubt" },
      h("span", {
        class: "hint",
        text: answer.no_match === true ? "no match" : `doubt ${doubt.toFixed(2)}`,
      }),
      meter("Doubt", doubt, doubt.toFixed(2), {
        class: answer.ambiguous || answer.no_match ? "warn" : "",
      }),
    ),
    h(
      "div",
      { class: "review-choices" },
      canJudge(item) &&
        choices(item)
          .slice(0, CHOICES)
          .map((label, index) =>
            h(
              "button",
              {
                type: "button",
                class: "choice",
                "data-focus": `choice-${item.id}-${index}`,
                "aria-pressed": String(judgement?.accepted === true && judgement.label === label),
                title: `"${label}" is right`,
                on: { click: () => judge(item, true, label) },
              },
              h("kbd", { text: index + 1, "aria-hidden": "true" }),
              h("span", { text: label }),
            ),
          ),
      canJudge(item) &&
        h(
          "button",
          {
            type: "button",
            class: "choice is-no",
            "data-focus": `no-${item.id}`,
            "aria-pressed": String(judgement?.accepted === false),
            title: "The best label is wrong",
            on: { click: () => judge(item, false) },
          },
          h("kbd", { text: "N", "aria-hidden": "true" }),
          h("span", { text: "wrong" }),
        ),
    ),
    h(
      "p",
      { class: "review-note" },
      note && h("span", { class: `judge-state ${judgement.state}`, text: note.note }),
      judgement?.state === "held" &&
        h("button", {
          type: "button",
          class: "link",
          "data-focus": `undo-${item.id}`,
          text: "Undo",
          on: { click: () => undo(judgement) },
        }),
    ),
  );
}

/** The picture that keys judge. */
export const reviewed = () => at;

export function goTo(place, item) {
  at = item;
  for (const other of place.querySelectorAll(".review-row")) {
    const isIt = other.dataset.id === String(item?.id);
    other.classList.toggle("is-current", isIt);
    if (isIt) {
      other.querySelector(".review-open").focus({ preventScroll: true });
      other.scrollIntoView({ block: "nearest" });
    }
  }
}

/** Goes `step` rows on. */
export function step(place, by) {
  const rows = listed();
  const next = rows[Math.max(0, Math.min(rows.length - 1, rows.indexOf(at) + by))];
  if (next) goTo(place, next);
}

/** After a judgement: the next that has none, below first. */
export function goOn(place) {
  const rows = listed();
  const here = rows.indexOf(at);
  const next = [...rows.slice(here + 1), ...rows.slice(0, here)].find((item) => !item.judgement);
  if (next) goTo(place, next);
}
