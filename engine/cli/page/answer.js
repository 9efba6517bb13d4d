// An answer as people read it. Each part takes the fields that it knows, where they are there and
// are what it expects; what no part has taken is shown as it came.

import { h, icon, percent } from "./dom.js";
import { canJudge, judge, told, undo } from "./feedback.js";
import { Fields, isBool, isList, isNumber, isNumbers, isText } from "./fields.js";
import { folded, nsfwOf, numbersOf, restOf, similarOf, tagsOf } from "./sections.js";
import { hurry } from "./session.js";
import { snippets } from "./snippets.js";

/** Labels that are drawn where the answer names no best ones. */
const TOP = 5;
/** Rows of the table of all labels. */
const MOST_ROWS = 300;
/** Below this two scores are shown as one. */
const SAME = 0.0005;

let shown = {};

/** Shows a picture's answer; what has not changed since stays as it is, open parts too. */
export function showAnswer(place, item, onAgain) {
  const isSame = shown.item === item && shown.answer === item?.answer && shown.place === place;
  if (item === null) {
    shown = {};
    place.replaceChildren(nothing());
    return;
  }
  if (!isSame) {
    shown = { item, answer: item.answer, place };
    shown.status = h("div", { class: "answer-status" });
    shown.judge = h("div", { class: "judge" });
    shown.snippets = h("div", {});
    place.replaceChildren(...whole(item, shown));
  }
  place.setAttribute("aria-busy", String(item.state === "asking" || item.state === "waiting"));
  place.classList.toggle("is-old", isSame && item.answer !== null && item.state !== "answered");
  if (item.answer === null) {
    shown.title.textContent = item.state === "failed" ? "No answer" : "Looking";
    shown.bars.hidden = item.state === "failed";
  }
  showStatus(shown.status, item, onAgain);
  showJudge(shown.judge, item);
  const sent = item.judgement?.sent;
  if (item.answer !== null && (shown.sent !== sent || shown.snippets.childElementCount === 0)) {
    shown.sent = sent;
    shown.snippets.replaceChildren(snippets(item));
  }
}

function nothing() {
  return h(
    "div",
    { class: "card nothing" },
    h("div", { class: "nothing-mark" }, icon("picture")),
    h("p", { class: "nothing-title", text: "What does a picture show?" }),
    h("p", {
      class: "muted",
      text: "Choose, drop or paste one, or try an example. Several at once are fine.",
    }),
  );
}

function whole(item, parts) {
  const fields = new Fields(item.answer ?? {});
  const has = item.answer !== null;
  const head = headOf(item, fields, parts);
  const bars = has ? barsOf(item, fields) : skeleton();
  parts.bars = bars;
  const sections = has
    ? [
        numbersOf(item, fields),
        nsfwOf(item, fields),
        similarOf(fields),
        tagsOf(fields),
        ...restOf(item, fields),
        parts.snippets,
      ]
    : [];
  return [
    h("article", { class: "card verdict", "aria-label": item.name }, head, bars),
    ...sections,
  ].filter(Boolean);
}

function skeleton() {
  return h(
    "div",
    { class: "skeleton", "aria-hidden": "true" },
    ...[92, 34, 22, 16, 10].map((share) => h("i", { vars: { share: `${share}%` } })),
  );
}

function headOf(item, fields, parts) {
  const image = h("img", { src: item.url, alt: `The picture ${item.name}`, class: "picture" });
  const frame = h("div", { class: "picture-frame" }, image);
  image.addEventListener("error", () => {
    const type = item.file.type || "a file";
    frame.replaceChildren(
      h(
        "div",
        { class: "picture-none" },
        icon("picture"),
        h("span", { text: `${type}: no preview in this browser` }),
      ),
    );
  });
  const category = fields.take("category", isText);
  const confidence = fields.take("confidence", isNumber);
  const title = h("p", {
    class: `category${category === undefined ? " pending" : ""}`,
    text: category ?? "Answered",
  });
  parts.title = title;
  return h(
    "div",
    { class: "head" },
    frame,
    h(
      "div",
      { class: "headline" },
      h("p", { class: "file-name", title: item.name, text: item.name }),
      title,
      confidence !== undefined &&
        h("p", { class: "confidence", text: amongOf(confidence, fields.all.all_scores) }),
      h("div", { class: "badges" }, ...badges(fields)),
      parts.judge,
      parts.status,
    ),
  );
}

/** A share says how a label compares with the others that were asked for, so that those are said too. */
function amongOf(confidence, scores) {
  const count = isNumbers(scores) ? Object.keys(scores).length : 0;
  return count > 1 ? `${percent(confidence)} among ${count} labels` : percent(confidence);
}

function badges(fields) {
  const found = [];
  const noMatch = fields.take("no_match", (value) => isBool(value) || value === null);
  const badge = (kind, text, title) =>
    found.push(h("span", { class: `badge ${kind}`, title, text }));
  if (noMatch === true)
    badge("warn", "None of the labels fits", "no_match: no label describes it better than chance");
  if (noMatch === null)
    badge(
      "plain",
      "Fit not known yet",
      "no_match: the model is still embedding what it compares with",
    );
  if (fields.take("ambiguous", isBool) === true)
    badge("warn", "Ambiguous", "The doubt is over the service's threshold");
  if (fields.all.is_nsfw === true) badge("bad", "NSFW", "The check's score reaches the threshold");
  return found;
}

function showStatus(place, item, onAgain) {
  const { error } = item;
  if (item.state === "delayed") {
    const seconds = Math.max(1, Math.ceil((item.until - Date.now()) / 1000));
    place.replaceChildren(
      alertOf(
        "warn",
        error,
        `Tried again in ${seconds} s.`,
        h("button", {
          type: "button",
          class: "small",
          text: "Try now",
          on: { click: () => hurry(item) },
        }),
      ),
    );
    clearTimeout(place.timer);
    place.timer = setTimeout(() => {
      if (item.state === "delayed" && place.isConnected) showStatus(place, item, onAgain);
    }, 1000);
  } else if (item.state === "failed") {
    place.replaceChildren(
      alertOf(
        "bad",
        error,
        null,
        h("button", {
          type: "button",
          class: "small",
          text: "Try again",
          on: { click: () => onAgain(item) },
        }),
      ),
    );
  } else place.replaceChildren();
}

/** A refusal in the service's own words. */
function alertOf(kind, error, more, action) {
  const facts = [
    error.status > 0 && `${error.status}`,
    error.code,
    error.stage && `stage ${error.stage}`,
    error.requestId && `request ${error.requestId}`,
  ];
  return h(
    "div",
    { class: `alert ${kind}`, role: "alert" },
    h("p", { text: error.message }),
    h("p", { class: "alert-facts", text: facts.filter(Boolean).join(" · ") }),
    h("div", { class: "alert-row" }, action, more && h("span", { text: more })),
  );
}

function showJudge(place, item) {
  if (item.state !== "answered" || !canJudge(item)) return place.replaceChildren();
  const { judgement } = item;
  const own = item.answer.category;
  const isUp = judgement?.accepted === true && judgement.label === own;
  const isDown = judgement?.accepted === false;
  const button = (name, text, key, pressed, accepted) =>
    h(
      "button",
      {
        type: "button",
        class: `judge-${name}`,
        "aria-pressed": String(pressed),
        "aria-keyshortcuts": key,
        title: `${text} (${key})`,
        on: { click: () => judge(item, accepted) },
      },
      icon(name),
      h("span", { text }),
    );
  // Who pressed one of them stays there.
  const focused = [...place.querySelectorAll("button")].indexOf(document.activeElement);
  const note = h("span", { class: "judge-note" });
  if (judgement) {
    const { what, note: how } = told(judgement);
    const label = judgement.label === own || judgement.label === undefined ? "" : `${what}, `;
    note.append(h("span", { class: `judge-state ${judgement.state}`, text: `${label}${how}` }));
    if (judgement.state === "held") {
      note.append(
        h("button", {
          type: "button",
          class: "link",
          text: "Undo",
          on: { click: () => undo(judgement) },
        }),
      );
    }
  }
  place.replaceChildren(
    button("up", "Right", "Y", isUp, true),
    button("down", "Wrong", "N", isDown, false),
    note,
  );
  if (focused >= 0) place.querySelectorAll("button")[Math.min(focused, 1)]?.focus();
  for (const row of document.querySelectorAll(".bar-row[data-label]")) {
    row.classList.toggle(
      "is-chosen",
      judgement?.accepted === true && row.dataset.label === judgement.label,
    );
  }
}

/** The best labels, as `{ label, score, alone, logit }`. */
function bestOf(fields) {
  const top = fields.take(
    "top_labels",
    (value) => isList(value) && value.every((entry) => isText(entry?.label)),
  );
  if (top !== undefined) {
    return top.map(({ label, score, clip_score, logit }) => ({
      label,
      score,
      alone: clip_score,
      logit,
    }));
  }
  const scores = fields.all.all_scores;
  if (!isNumbers(scores)) return [];
  const best = Object.entries(scores).sort((a, b) => b[1] - a[1]);
  return best.slice(0, TOP).map(([label, score]) => ({ label, score }));
}

function barsOf(item, fields) {
  const best = bestOf(fields);
  const all = fields.take("all_scores", isNumbers);
  const logits = fields.take("raw_logits", isNumbers);
  fields.take("labels", isList);
  if (best.length === 0) return null;
  const moved = best.some(({ score, alone }) => isNumber(alone) && Math.abs(score - alone) > SAME);
  const list = h("ol", { class: "bars", "aria-label": "Best labels" });
  for (const [at, entry] of best.entries()) list.append(barOf(item, entry, at, moved));
  return h(
    "div",
    { class: "bars-part" },
    list,
    moved &&
      h(
        "p",
        { class: "legend" },
        h("span", {}, h("i", { class: "swatch" }), "with feedback"),
        h("span", {}, h("i", { class: "swatch tick" }), "the model alone"),
      ),
    all !== undefined && Object.keys(all).length > best.length && everyLabel(all, logits ?? {}),
  );
}

function barOf(item, { label, score, alone }, at, moved) {
  const hasAlone = moved && isNumber(alone);
  const value = isNumber(score) ? score : 0;
  const row = [
    at < 9 ? h("kbd", { text: at + 1, "aria-hidden": "true" }) : h("span", {}),
    h("span", { class: "bar-label", text: label, title: label }),
    h(
      "span",
      {
        class: "bar",
        "aria-hidden": "true",
        vars: { share: `${value * 100}%`, alone: `${(alone ?? 0) * 100}%` },
      },
      h("i", { class: "bar-fill" }),
      hasAlone && h("i", { class: "bar-tick" }),
    ),
    h(
      "span",
      { class: "bar-score" },
      h("span", { text: isNumber(score) ? percent(score) : "" }),
      hasAlone && h("small", { text: ` model ${percent(alone)}` }),
    ),
  ];
  if (item.state !== "answered" || !canJudge(item)) {
    return h("li", {}, h("div", { class: "bar-row" }, ...row));
  }
  return h(
    "li",
    {},
    h(
      "button",
      {
        type: "button",
        class: "bar-row",
        "data-label": label,
        title: `Say that "${label}" is right${at < 9 ? ` (${at + 1})` : ""}`,
        on: { click: () => judge(item, true, label) },
      },
      ...row,
    ),
  );
}

function everyLabel(scores, logits) {
  const sorted = Object.entries(scores).sort((a, b) => b[1] - a[1]);
  const body = h("tbody");
  const filter = h("input", {
    type: "search",
    placeholder: "Filter",
    "aria-label": "Filter the labels",
    autocomplete: "off",
  });
  const more = h("p", { class: "hint" });
  const fill = () => {
    const wanted = filter.value.trim().toLowerCase();
    const found = sorted.filter(([label]) => label.toLowerCase().includes(wanted));
    body.replaceChildren(
      ...found
        .slice(0, MOST_ROWS)
        .map(([label, score]) =>
          h(
            "tr",
            {},
            h("th", { scope: "row", text: label }),
            h("td", { text: percent(score) }),
            h("td", { text: isNumber(logits[label]) ? logits[label].toFixed(2) : "" }),
          ),
        ),
    );
    more.textContent =
      found.length > MOST_ROWS ? `${found.length - MOST_ROWS} more: filter to see them` : "";
  };
  filter.addEventListener("input", fill);
  const table = h(
    "div",
    { class: "table-scroll", tabindex: 0, role: "region", "aria-label": "All labels" },
    h(
      "table",
      {},
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          ...["Label", "Score", "Logit"].map((name) => h("th", { scope: "col", text: name })),
        ),
      ),
      body,
    ),
  );
  const details = folded(`All ${sorted.length} labels`, filter, table, more);
  details.addEventListener("toggle", fill, { once: true });
  return details;
}
