// Pictures to try. They come with the program.

import { h } from "./dom.js";
import { address } from "./service.js";

const EXAMPLES = [
  ["cat-sticker.webp", "a sticker of a cat"],
  ["dog-sticker.webp", "a sticker of a dog"],
  ["pizza-sticker.webp", "a sticker of a pizza"],
  ["bar-chart.png", "a bar chart"],
  ["chat.png", "a chat"],
  ["qr-code.png", "a QR code"],
];

const TYPES = { webp: "image/webp", png: "image/png" };

export function examples(onFiles) {
  const list = h("ul", { class: "examples", "aria-labelledby": "examples-title" });
  for (const [name, what] of EXAMPLES) {
    const url = address(`page/examples/${name}`).href;
    const button = h(
      "button",
      {
        type: "button",
        "aria-label": `Example: ${what}`,
        title: what,
        on: {
          click: async () => {
            const response = await fetch(url);
            if (!response.ok) return;
            onFiles([
              new File([await response.blob()], name, { type: TYPES[name.split(".").pop()] }),
            ]);
          },
        },
      },
      h("img", { src: url, alt: "", width: 48, height: 48, decoding: "async" }),
    );
    list.append(h("li", {}, button));
  }
  return h(
    "div",
    { class: "field" },
    h("p", { class: "label", id: "examples-title", text: "Or try one of these" }),
    list,
  );
}
