// Single keys, which can be switched off for who dictates or leans on a key, and their list.

import { byId, h, icon, keep, kept } from "./dom.js";

const KEPT = "omnizap.keys";

const LIST = [
  [
    "Pictures",
    [
      ["O", "choose pictures"],
      ["Ctrl V", "paste one"],
      ["J, K", "next, previous"],
      ["R", "ask again"],
    ],
  ],
  [
    "Judging",
    [
      ["1 – 9", "that label is right"],
      ["Y", "the best label is right"],
      ["N", "it is wrong"],
      ["U", "undo, within six seconds"],
    ],
  ],
  [
    "Views",
    [
      ["C", "classify"],
      ["V", "review"],
      ["P", "pipeline"],
      ["?", "this list"],
    ],
  ],
];

const isOn = () => kept("localStorage", KEPT) !== "off";

/** Fields that take letters themselves. */
function isTyping(target) {
  if (!(target instanceof HTMLElement)) return false;
  if (target.isContentEditable || target.tagName === "TEXTAREA" || target.tagName === "SELECT")
    return true;
  return (
    target.tagName === "INPUT" && !["checkbox", "radio", "button", "file"].includes(target.type)
  );
}

/** `keys` are functions by key; one that gives false lets the browser have it. */
export function listen(keys) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing || document.querySelector("dialog[open]"))
      return;
    if (isTyping(event.target)) return;
    const isUndo =
      (event.ctrlKey || event.metaKey) && !event.shiftKey && event.key.toLowerCase() === "z";
    if (!isUndo && (event.ctrlKey || event.metaKey || event.altKey || !isOn())) return;
    const key = isUndo ? "u" : event.key.toLowerCase();
    const act = /^[1-9]$/.test(key) ? keys.digit && (() => keys.digit(Number(key))) : keys[key];
    if (act !== undefined && act() !== false) event.preventDefault();
  });
}

export function showHelp() {
  const dialog = byId("help");
  if (dialog.open) return;
  const on = h("input", { type: "checkbox", id: "keys-on" });
  on.checked = isOn();
  on.addEventListener("change", () => keep("localStorage", KEPT, on.checked ? null : "off"));
  dialog.replaceChildren(
    h(
      "div",
      { class: "dialog-head" },
      h("h2", { id: "help-title", text: "Keyboard" }),
      h(
        "button",
        {
          type: "button",
          class: "icon-button",
          "aria-label": "Close",
          on: { click: () => dialog.close() },
        },
        icon("close"),
      ),
    ),
    h(
      "div",
      { class: "help-groups" },
      ...LIST.map(([title, keys]) =>
        h(
          "section",
          {},
          h("h3", { text: title }),
          h(
            "dl",
            { class: "help-keys" },
            ...keys.map(([key, what]) =>
              h(
                "div",
                {},
                h("dt", {}, ...key.split(", ").map((one) => h("kbd", { text: one }))),
                h("dd", { text: what }),
              ),
            ),
          ),
        ),
      ),
    ),
    h(
      "label",
      { class: "check", for: "keys-on" },
      on,
      h("span", { text: "Single keys do these things" }),
    ),
  );
  dialog.showModal();
}
