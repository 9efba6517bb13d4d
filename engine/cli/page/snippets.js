// The same by other means: what was just done, as a command or a few lines of a program. A key is
// never part of it, only the name of a variable that holds one.

import { h, copyButton } from "./dom.js";
import { address, key } from "./service.js";

const VARIABLE = "OMNIZAP_KEY";
const LANGUAGES = ["curl", "Python", "JavaScript"];
let language = LANGUAGES[0];

const quoted = (text) => `'${String(text).replaceAll("'", `'\\''`)}'`;
/** A word of a shell, in quotes only where it needs them. */
const word = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : quoted(text));
/** JSON is Python for texts and numbers, lists of them, and nothing else. */
const python = (value) =>
  typeof value === "boolean" ? (value ? "True" : "False") : JSON.stringify(value);
const asText = (value) => (Array.isArray(value) ? JSON.stringify(value) : String(value));

/** The name of a file within curl's `-F`: in quotes where it holds what means something there. */
function curlFile(name) {
  return /[";,\\]/.test(name) ? `"${name.replace(/["\\]/g, "\\$&")}"` : name;
}

function fieldsOf(asked, name) {
  const files = [[asked.file, name]];
  const texts = [];
  for (const [field, value] of Object.entries(asked.fields)) {
    if (typeof File === "function" && value instanceof File) files.push([field, value.name]);
    else texts.push([field, asText(value)]);
  }
  return { files, texts };
}

/** The request that sends a picture. */
export function ofPicture(language, asked, name, url, hasKey) {
  const { files, texts } = fieldsOf(asked, name);
  if (language === "curl") {
    const parts = [`curl ${word(url)}`];
    if (hasKey) parts.push(`-H "X-Api-Key: $${VARIABLE}"`);
    for (const [field, file] of files) parts.push(`-F ${word(`${field}=@${curlFile(file)}`)}`);
    for (const [field, text] of texts) parts.push(`--form-string ${word(`${field}=${text}`)}`);
    return parts.join(" \\\n  ");
  }
  if (language === "Python") {
    const lines = [
      hasKey && "import os",
      "import requests  # pip install requests",
      "",
      "answer = requests.post(",
    ];
    lines.push(`    ${python(url)},`);
    if (hasKey) lines.push(`    headers={"X-Api-Key": os.environ["${VARIABLE}"]},`);
    const opened = files.map(([field, file]) => `${python(field)}: open(${python(file)}, "rb")`);
    lines.push(`    files={${opened.join(", ")}},`);
    if (texts.length > 0) {
      lines.push(
        `    data={${texts.map(([field, text]) => `${python(field)}: ${python(text)}`).join(", ")}},`,
      );
    }
    lines.push("    timeout=30,", ")", "answer.raise_for_status()", "print(answer.json())");
    return lines.filter((line) => line !== false).join("\n");
  }
  const lines = [`import { openAsBlob } from "node:fs";`, "", "const form = new FormData();"];
  for (const [field, file] of files) {
    lines.push(
      `form.append(${JSON.stringify(field)}, await openAsBlob(${JSON.stringify(file)}), ${JSON.stringify(file)});`,
    );
  }
  for (const [field, text] of texts)
    lines.push(`form.append(${JSON.stringify(field)}, ${JSON.stringify(text)});`);
  lines.push("", `const answer = await fetch(${JSON.stringify(url)}, {`, `  method: "POST",`);
  if (hasKey) lines.push(`  headers: { "X-Api-Key": process.env.${VARIABLE} },`);
  lines.push("  body: form,", "});", "console.log(await answer.json());");
  return lines.join("\n");
}

/** The request that judges an answer. */
export function ofJudgement(language, body, url, hasKey) {
  if (language === "curl") {
    const parts = [`curl ${word(url)}`];
    if (hasKey) parts.push(`-H "X-Api-Key: $${VARIABLE}"`);
    parts.push(`-H 'Content-Type: application/json'`, `-d ${quoted(JSON.stringify(body))}`);
    return parts.join(" \\\n  ");
  }
  if (language === "Python") {
    const lines = [
      hasKey && "import os",
      "import requests  # pip install requests",
      "",
      "answer = requests.post(",
    ];
    lines.push(`    ${python(url)},`);
    if (hasKey) lines.push(`    headers={"X-Api-Key": os.environ["${VARIABLE}"]},`);
    const entries = Object.entries(body).map(
      ([name, value]) => `        ${python(name)}: ${python(value)},`,
    );
    lines.push(
      "    json={",
      ...entries,
      "    },",
      "    timeout=30,",
      ")",
      "answer.raise_for_status()",
    );
    return lines.filter((line) => line !== false).join("\n");
  }
  const lines = [
    `const answer = await fetch(${JSON.stringify(url)}, {`,
    `  method: "POST",`,
    "  headers: {",
  ];
  lines.push(`    "Content-Type": "application/json",`);
  if (hasKey) lines.push(`    "X-Api-Key": process.env.${VARIABLE},`);
  lines.push(
    "  },",
    `  body: JSON.stringify(${JSON.stringify(body)}),`,
    "});",
    "console.log(await answer.json());",
  );
  return lines.join("\n");
}

/** A card with the requests of a picture: the one that asked, and the last that judged. */
export function snippets(item) {
  const text = () => {
    const parts = [
      ofPicture(
        language,
        item.answered,
        item.name,
        address(item.answered.route).href,
        key() !== "",
      ),
    ];
    const sent = item.judgement?.sent;
    if (sent !== undefined) {
      parts.push(ofJudgement(language, sent.body, address(sent.path).href, key() !== ""));
    }
    return parts.join("\n\n");
  };
  const code = h("pre", {
    class: "code",
    tabindex: 0,
    role: "region",
    "aria-label": "The same request as a program",
  });
  const show = () => {
    code.textContent = text();
  };
  const group = h("div", { class: "segments", role: "group", "aria-label": "Language" });
  for (const name of LANGUAGES) {
    const button = h("button", {
      type: "button",
      "aria-pressed": String(name === language),
      text: name,
    });
    button.addEventListener("click", () => {
      language = name;
      for (const other of group.children)
        other.setAttribute("aria-pressed", String(other === button));
      show();
    });
    group.append(button);
  }
  show();
  return h(
    "section",
    { class: "card part", "aria-labelledby": "snippet-title" },
    h(
      "div",
      { class: "part-head" },
      h("h3", { id: "snippet-title", text: "The same by program" }),
      h("div", { class: "part-tools" }, group, copyButton("The request", text)),
    ),
    code,
    h(
      "p",
      { class: "hint api-link" },
      "All that this service can be asked is at ",
      h("a", { href: address("docs").href, text: "docs" }),
      ".",
    ),
  );
}
