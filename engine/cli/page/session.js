// The pictures of this session: each a file, what was asked of it and what came back. They are sent
// a few at a time, and again where the service says that it may be later.

import { Offline, ask, timings } from "./service.js";
import { draw, remember } from "./thumbs.js";

/** Requests at one time. */
const AT_ONCE = 2;
/** Most pictures that are kept; the oldest go first. */
const MOST = 300;
/** How often a request that may be tried again is. */
const MOST_TRIES = 6;
/** Longest wait that is not asked about, in seconds. */
const MOST_WAIT = 60;

/** Tells `list` (a picture came, went or was chosen) and `item` (one changed; `detail` is it). */
export const events = new EventTarget();

/** Newest last. */
export const items = [];
let selected = null;
let number = 0;
let running = 0;

const tell = (name, detail) => events.dispatchEvent(new CustomEvent(name, { detail }));

/** Writes to a picture, and tells it. */
export function change(item, values) {
  Object.assign(item, values);
  tell("item", item);
}

export const current = () => selected;

export function select(item) {
  if (selected === item) return;
  selected = item;
  tell("list");
}

const images = new Map();

/**
 * A picture to put somewhere: for one place (`where`) always the same element, so that a list that is
 * made anew does not flicker.
 */
export function imageOf(item, where) {
  const name = `${where} ${item.id}`;
  let image = images.get(name);
  if (image === undefined) {
    image = document.createElement("img");
    image.alt = "";
    image.decoding = "async";
    image.addEventListener("error", () => image.classList.add("is-broken"));
    image.src = item.url;
    images.set(name, image);
  }
  return image;
}

/** Chooses the picture `step` places on. */
export function move(step) {
  const at = items.indexOf(selected);
  const next = items[Math.max(0, Math.min(items.length - 1, at + step))];
  if (next !== undefined) select(next);
}

export function remove(item) {
  const at = items.indexOf(item);
  if (at < 0) return;
  items.splice(at, 1);
  item.stop?.abort();
  clearTimeout(item.timer);
  URL.revokeObjectURL(item.url);
  for (const name of images.keys()) if (name.endsWith(` ${item.id}`)) images.delete(name);
  item.state = "gone";
  if (selected === item) selected = items[Math.min(at, items.length - 1)] ?? null;
  tell("list");
  next();
}

/** Takes files in, to be asked with `asked` (`{ pipeline, route, file, fields }`). */
export function add(files, asked) {
  let first = null;
  for (const file of files) {
    number += 1;
    const item = {
      id: number,
      file,
      name: file.name || "pasted picture",
      url: URL.createObjectURL(file),
      asked,
      state: "waiting",
      tries: 0,
      answer: null,
      error: null,
      judgement: null,
    };
    items.push(item);
    first ??= item;
    if (items.length > MOST) remove(items[0]);
  }
  if (first !== null) select(first);
  tell("list");
  next();
}

/** Asks again, with other options. What is there stays until the new answer has come. */
export function again(item, asked) {
  if (item.state === "asking") item.stop?.abort();
  clearTimeout(item.timer);
  change(item, { asked, state: "waiting", tries: 0, error: null });
  next();
}

/** Those that the service did not answer at all are sent once more. */
export function resume() {
  for (const item of items) {
    if (item.state === "failed" && item.error instanceof Offline)
      change(item, { state: "waiting", tries: 0 });
  }
  next();
}

function next() {
  while (running < AT_ONCE) {
    const item = items.find((item) => item.state === "waiting");
    if (item === undefined) return;
    running += 1;
    send(item).finally(() => {
      running -= 1;
      next();
    });
  }
}

/** The form of a request. */
export function formOf(asked, file) {
  const form = new FormData();
  for (const [name, value] of Object.entries(asked.fields)) {
    if (value instanceof File) form.append(name, value, value.name);
    else form.append(name, Array.isArray(value) ? JSON.stringify(value) : String(value));
  }
  form.append(asked.file, file, file.name || "pasted.png");
  return form;
}

async function send(item) {
  const { asked } = item;
  const stop = new AbortController();
  change(item, { state: "asking", stop, error: null });
  try {
    const { json, headers, ms } = await ask("POST", asked.route, {
      body: formOf(asked, item.file),
      signal: stop.signal,
    });
    const isNew = item.answer?.category !== json?.category;
    change(item, {
      state: "answered",
      answer: json,
      answered: asked,
      ms,
      timings: timings(headers.get("server-timing")),
      requestId: headers.get("x-request-id"),
      unknown: headers.get("x-unknown-fields"),
      judgement: isNew ? null : item.judgement,
    });
    await picture(item);
  } catch (error) {
    // Another request of this picture is on its way, or it was taken away.
    if (error.name === "AbortError" || item.stop !== stop || item.state === "gone") return;
    failed(item, error);
  }
}

function failed(item, error) {
  const isTransient = error.status === 429 || error.status === 503 || error.status === 504;
  const wait = error.retryAfter ?? 2 ** item.tries;
  const tries = item.tries + 1;
  if (!isTransient || tries >= MOST_TRIES || wait > MOST_WAIT) {
    return change(item, { state: "failed", error, tries });
  }
  const timer = setTimeout(() => {
    if (item.state !== "delayed") return;
    change(item, { state: "waiting" });
    next();
  }, wait * 1000);
  change(item, { state: "delayed", error, tries, timer, until: Date.now() + wait * 1000 });
}

/** Sends one that waits for its time now. */
export function hurry(item) {
  clearTimeout(item.timer);
  change(item, { state: "waiting", tries: 0 });
  next();
}

/** Keeps a small picture under the hash that later answers may name. */
async function picture(item) {
  const hash = item.answer?.image_hash;
  if (typeof hash !== "string" || item.hasThumb === hash) return;
  const blob = await draw(item.file);
  item.hasThumb = hash;
  if (blob !== null) {
    await remember(hash, blob, item.name);
    tell("thumb", hash);
  }
}
