// Judgements. One is held back for some seconds, so that it can be undone as if it had not been
// said, and then told to the service, which answers once it is on disk.

import { byId, h, icon, say } from "./dom.js";
import { theme } from "./options.js";
import { judging } from "./pipelines.js";
import { ask } from "./service.js";
import { change, items } from "./session.js";

/** How long a judgement can be undone, in milliseconds. */
const HOLD = 6000;
/** How often one that may be told later is told again. */
const MOST_TRIES = 5;
/** Most letters of one that is told to its end where the page goes meanwhile: browsers let few bytes. */
const MOST_KEPT_ALIVE = 16_000;

/** Judgements that can be undone, the newest last. */
const held = [];
/** Those that are told again later. */
const later = new Set();

/** True where an answer can be judged. */
export function canJudge(item) {
  return (
    judging() !== null && item.state === "answered" && typeof item.answer?.image_hash === "string"
  );
}

/** The labels of an answer, as number keys choose them. */
export function choices(item) {
  const top = item.answer?.top_labels;
  return Array.isArray(top)
    ? top.map((entry) => entry?.label).filter((label) => typeof label === "string")
    : [];
}

/** Says of an answer that a label (its own where none is named) is right or not. */
export function judge(item, accepted, label = item.answer?.category) {
  const to = judging();
  if (to === null || !canJudge(item)) return false;
  const sent = item.answered.fields;
  const all = {
    image_hash: item.answer.image_hash,
    theme: sent.theme ?? theme(),
    accepted,
    category: label,
    labels: sent.labels,
    asset_id: sent.asset_id,
  };
  const body = Object.fromEntries(
    Object.entries(all).filter(
      ([name, value]) => name in to.fields && value !== undefined && value !== null,
    ),
  );
  let previous = item.judgement;
  if (previous?.state === "held") {
    forget(previous);
    previous = previous.previous;
  }
  const judgement = {
    item,
    accepted,
    label,
    state: "held",
    previous,
    tries: 0,
    sent: { path: to.path, body },
  };
  judgement.timer = setTimeout(() => send(judgement), HOLD);
  held.push(judgement);
  change(item, { judgement });
  const text = accepted ? `Right: ${label ?? item.name}` : `Wrong: not ${label ?? item.name}`;
  toast(text, judgement);
  say(`${text}. Press U to undo.`);
  return true;
}

function forget(judgement) {
  clearTimeout(judgement.timer);
  const at = held.indexOf(judgement);
  if (at >= 0) held.splice(at, 1);
  later.delete(judgement);
}

/** Takes the newest judgement back that was not told yet; the picture that it was of, or null. */
export function undo(judgement = held.at(-1)) {
  if (judgement === undefined || judgement.state !== "held") {
    toast("Nothing to undo: the last judgement has been counted.", null);
    return null;
  }
  forget(judgement);
  change(judgement.item, { judgement: judgement.previous });
  toast(null, null);
  say("Undone");
  return judgement.item;
}

async function send(judgement, isLast = false) {
  forget(judgement);
  if (toasted === judgement) toast(null, null);
  const { item, sent } = judgement;
  judgement.state = "telling";
  change(item, {});
  const keepalive = isLast || JSON.stringify(sent.body).length <= MOST_KEPT_ALIVE;
  try {
    await ask("POST", sent.path, { json: sent.body, keepalive, quiet: isLast });
    judgement.state = "counted";
  } catch (error) {
    judgement.tries += 1;
    const mayPass = error.status === 0 || error.status === 429 || error.status === 503;
    if (mayPass && judgement.tries < MOST_TRIES) {
      const wait = error.retryAfter ?? 2 ** judgement.tries;
      judgement.state = "later";
      judgement.error = error;
      later.add(judgement);
      judgement.timer = setTimeout(() => send(judgement), wait * 1000);
    } else {
      judgement.state = "refused";
      judgement.error = error;
      toast(`The judgement was not counted: ${error.message}`, null);
    }
  }
  change(item, {});
}

/** Tells all that was held back: the page goes. What is being told is told to its end. */
function flush() {
  for (const judgement of [...held, ...later]) send(judgement, true);
}
addEventListener("pagehide", flush);

/** What a judgement is, in words. */
export function told(judgement) {
  const what = judgement.accepted
    ? `Right: ${judgement.label ?? "yes"}`
    : `Wrong: ${judgement.label ?? "no"}`;
  switch (judgement.state) {
    case "held":
      return { what, note: "not sent yet" };
    case "telling":
      return { what, note: "sending" };
    case "counted":
      return { what, note: "counted" };
    case "later":
      return { what, note: "will be sent again" };
    default:
      return { what, note: judgement.error?.message ?? "not counted" };
  }
}

/** How many answers were judged. */
export const judged = () =>
  items.filter((item) => item.judgement !== null && item.judgement !== undefined).length;

let toasted = null;
let toastTimer = null;

function toast(text, judgement) {
  const place = byId("toasts");
  clearTimeout(toastTimer);
  toasted = judgement;
  if (text === null) return place.replaceChildren();
  const undoing =
    judgement === null
      ? null
      : h(
          "button",
          { type: "button", class: "toast-undo", on: { click: () => undo(judgement) } },
          icon("undo"),
          h("span", { text: "Undo" }),
          h("kbd", { text: "U", "aria-hidden": "true" }),
        );
  place.replaceChildren(
    h(
      "div",
      { class: "toast", role: judgement === null ? "status" : null },
      h("span", { class: "toast-text", text }),
      undoing,
      judgement === null
        ? null
        : h("i", { class: "toast-time", vars: { time: `${HOLD}ms` }, "aria-hidden": "true" }),
    ),
  );
  if (judgement === null) toastTimer = setTimeout(() => place.replaceChildren(), HOLD);
}
