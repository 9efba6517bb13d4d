// Asking the service: its address, its key, its refusals in its own words.

import { byId, h, icon, keep, kept } from "./dom.js";

/** Where the service is: beside this page, also behind a proxy that puts it into a folder. */
export const base = new URL(".", document.baseURI);

const KEY = "omnizap.key";

/** Tells `online`, `offline` and `key` (one was set or forgotten). */
export const events = new EventTarget();

/** An answer that is none. */
export class Refused extends Error {
  constructor(status, body, headers) {
    super(typeof body?.detail === "string" ? body.detail : `The service answered ${status}.`);
    this.body = body;
    this.status = status;
    this.code = body?.code ?? null;
    this.stage = body?.stage ?? null;
    this.requestId = body?.request_id ?? headers.get("x-request-id");
    const after = Number(headers.get("retry-after"));
    this.retryAfter = Number.isFinite(after) && after > 0 ? after : null;
  }
}

/** No answer at all. */
export class Offline extends Error {
  constructor() {
    super("The service does not answer.");
    this.status = 0;
  }
}

export const address = (path) => new URL(path.replace(/^\//, ""), base);

export const key = () => kept("sessionStorage", KEY) ?? "";

export function setKey(text) {
  keep("sessionStorage", KEY, text === "" ? null : text);
  events.dispatchEvent(new Event("key"));
}

/**
 * One request. Where the service wants a key, the person is asked for it, unless `quiet`.
 * Gives `{ json, headers, ms }`, or throws `Refused` or `Offline`.
 */
export async function ask(
  method,
  path,
  { body, json, quiet = false, keepalive = false, signal } = {},
) {
  for (;;) {
    const used = key();
    const headers = {};
    if (used !== "") headers["X-Api-Key"] = used;
    if (json !== undefined) headers["Content-Type"] = "application/json";
    const begun = performance.now();
    let response;
    try {
      response = await fetch(address(path), {
        method,
        headers,
        body: json === undefined ? body : JSON.stringify(json),
        keepalive,
        signal,
        cache: "no-store",
        credentials: "same-origin",
        redirect: "error",
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      events.dispatchEvent(new Event("offline"));
      throw new Offline();
    }
    events.dispatchEvent(new Event("online"));
    let answer = null;
    try {
      answer = await response.json();
    } catch {
      // What is no JSON is told by its status.
    }
    const ms = performance.now() - begun;
    if (response.ok) return { json: answer, headers: response.headers, ms };
    const refused = new Refused(response.status, answer, response.headers);
    if (response.status !== 401 || quiet) throw refused;
    // Another request may have got a key meanwhile.
    if (key() === used && !(await askForKey(refused.message))) throw refused;
  }
}

let asking = null;

/** Asks for a key; true where one was given. All who wait for one wait for the same. */
export function askForKey(reason) {
  asking ??= keyDialog(reason).finally(() => {
    asking = null;
  });
  return asking;
}

function keyDialog(reason) {
  const dialog = byId("key");
  const field = h("input", {
    id: "key-field",
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    "aria-describedby": "key-reason",
  });
  field.value = key();
  return new Promise((resolve) => {
    let given = false;
    const form = h(
      "form",
      { class: "dialog-form" },
      h("h2", { id: "key-title", text: "This service wants a key" }),
      h("p", { id: "key-reason", class: "muted", text: reason }),
      h("label", { for: "key-field", text: "API key" }),
      field,
      h("p", {
        class: "hint",
        text: "It is kept until this tab is closed, and goes to this service alone.",
      }),
      h(
        "div",
        { class: "dialog-actions" },
        key() !== "" &&
          h("button", {
            type: "button",
            class: "quiet",
            text: "Forget it",
            on: {
              click: () => {
                setKey("");
                dialog.close();
              },
            },
          }),
        h("button", {
          type: "button",
          class: "quiet",
          text: "Cancel",
          on: { click: () => dialog.close() },
        }),
        h("button", { type: "submit", class: "primary", text: "Use this key" }),
      ),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const text = field.value.trim();
      if (text === "") return field.focus();
      given = true;
      setKey(text);
      dialog.close();
    });
    dialog.replaceChildren(form);
    dialog.addEventListener("close", () => resolve(given), { once: true });
    dialog.showModal();
    field.select();
  });
}

export function keyButton() {
  const button = byId("key-button");
  button.append(icon("lock"));
  const show = () => {
    button.hidden = key() === "";
  };
  button.addEventListener("click", () => askForKey("Requests of this tab bring the key below."));
  events.addEventListener("key", show);
  show();
}

/** Stages and how long each ran, of a `Server-Timing` header. */
export function timings(header) {
  const found = new Map();
  for (const entry of (header ?? "").match(/(?:[^,"]|"(?:\\.|[^"\\])*")+/g) ?? []) {
    const name = entry.trim().split(";")[0].trim();
    const described = /;\s*desc="((?:\\.|[^"\\])*)"/.exec(entry);
    const took = /;\s*dur=([0-9.]+)/.exec(entry);
    if (name === "" || took === null) continue;
    let shown = name;
    if (described !== null) {
      try {
        shown = decodeURIComponent(described[1].replace(/\\(.)/g, "$1"));
      } catch {
        // It was cut within a character.
      }
    }
    found.set(shown, Number(took[1]));
  }
  return found;
}
