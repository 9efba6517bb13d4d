// Shows /openapi.json of the service that this page is from. Texts become text nodes and nothing
// else, whatever they hold.

const METHODS = ["get", "post", "put", "patch", "delete"];
const SERVER = "http://127.0.0.1:8008";

const at = (id) => document.getElementById(id);

/** An element with attributes and children; a string is a text. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  for (const child of children.flat()) {
    if (child !== undefined && child !== null) element.append(child);
  }
  return element;
}

/** A text in which what stands between backticks is code. */
function prose(text) {
  return text.split("`").map((part, index) => (index % 2 ? make("code", {}, part) : part));
}

function paragraphs(text) {
  const parts = (text ?? "").split(/\n\n+/).filter((part) => part.trim());
  return parts.map((part) => make("p", {}, prose(part)));
}

/** What a reference of the document leads to; anything else is itself. */
function resolved(all, value) {
  let found = value;
  for (let steps = 0; found && typeof found.$ref === "string" && steps < 8; steps += 1) {
    const path = found.$ref.replace(/^#\//, "").split("/");
    found = path.reduce((inner, key) => inner?.[key.replaceAll("~1", "/").replaceAll("~0", "~")], all);
  }
  return found ?? {};
}

/** A type in a few words. */
function typeOf(all, given) {
  const schema = resolved(all, given);
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" or ");
  for (const key of ["anyOf", "oneOf"]) {
    if (schema[key]) return schema[key].map((one) => typeOf(all, one)).join(" or ");
  }
  if (schema.allOf) return "object";
  const types = [schema.type ?? "any JSON"].flat();
  const words = types.map((type) => {
    if (type === "array") return `list of ${typeOf(all, schema.items ?? {})}`;
    if (type === "object" && schema.additionalProperties?.type && !schema.properties) {
      return `object of ${typeOf(all, schema.additionalProperties)} by name`;
    }
    if (type === "string" && schema.format === "binary") return "file";
    if (type === "string" && schema.contentEncoding) return `text in ${schema.contentEncoding}`;
    if (type === "string") return schema.format ? `text (${schema.format})` : "text";
    if (type === "integer") return "whole number";
    if (type === "boolean") return "true or false";
    return type;
  });
  return words.join(" or ");
}

/** The bounds of a value, each in a few words. */
function limitsOf(schema) {
  const said = [];
  const { minimum, maximum } = schema;
  if (minimum !== undefined && maximum !== undefined) said.push(`${minimum} to ${maximum}`);
  else if (minimum !== undefined) said.push(`at least ${minimum}`);
  else if (maximum !== undefined) said.push(`at most ${maximum}`);
  if (schema.maxLength !== undefined) {
    const unit = schema.format === "binary" ? "bytes" : "characters";
    said.push(`at most ${schema.maxLength} ${unit}`);
  }
  if (schema.minItems) said.push(`at least ${schema.minItems} items`);
  if (schema.maxItems !== undefined) said.push(`at most ${schema.maxItems} items`);
  if (schema.items?.maxLength !== undefined) {
    said.push(`each at most ${schema.items.maxLength} characters`);
  }
  if (schema.pattern) said.push(`form ${schema.pattern}`);
  return said.join(", ");
}

/** A table of fields: name, type, what is without it or its bounds, what it is. */
function fields(all, caption, rows, isAnswer) {
  const head = isAnswer ? ["Field", "Type", "What it is"] : ["Field", "Type", "Without it", "Limits", "What it is"];
  const body = rows.map(({ name, schema: given, required, description, where }) => {
    const schema = resolved(all, given);
    const type = [typeOf(all, schema), where ? ` in the ${where}` : ""].join("");
    const cells = [make("th", { scope: "row" }, name), make("td", {}, type)];
    if (!isAnswer) {
      let without = required ? "refused" : "as if not sent";
      if (schema.default !== undefined) without = make("code", {}, JSON.stringify(schema.default));
      cells.push(make("td", {}, without), make("td", {}, limitsOf(schema)));
    }
    cells.push(make("td", {}, prose(description ?? schema.description ?? "")));
    return make("tr", {}, cells);
  });
  const table = make(
    "table",
    { class: "fields" },
    make("caption", {}, caption),
    make("thead", {}, make("tr", {}, head.map((text) => make("th", { scope: "col" }, text)))),
    make("tbody", {}, body),
  );
  return make("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": caption }, table);
}

/** The members of an object and of the objects in it, under their paths. */
function members(all, given, prefix = "", depth = 0) {
  const schema = resolved(all, given);
  const parts = schema.allOf ? schema.allOf.map((part) => resolved(all, part)) : [schema];
  return parts.flatMap((part) =>
    Object.entries(part.properties ?? {}).flatMap(([name, inner]) => {
      const own = resolved(all, inner);
      const path = `${prefix}${name}`;
      const row = { name: path, schema: inner, required: (part.required ?? []).includes(name) };
      if (depth > 2) return [row];
      const items = own.items ? resolved(all, own.items) : undefined;
      const below = items?.properties ? members(all, items, `${path}[].`, depth + 1) : [];
      const inside = own.properties ? members(all, own, `${path}.`, depth + 1) : [];
      return [row, ...inside, ...below];
    }),
  );
}

function code(text) {
  const button = make("button", { type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      // Without permission it can be selected by hand.
      button.textContent = "Select it by hand";
    }
  });
  return make("div", { class: "sample" }, make("pre", { tabindex: "0" }, make("code", {}, text)), button);
}

function wanted(all, operation) {
  const security = operation.security ?? all.security ?? [];
  if (security.length === 0) return "no key is needed";
  const isAdmin = security.some((one) => Object.keys(one).some((name) => name.startsWith("admin")));
  return isAdmin ? "wants a key of administrators" : "wants a key";
}

function bodies(all, body) {
  if (!body) return [];
  const parts = [make("h4", {}, body.required ? "Body" : "Body, which may be left out"), ...paragraphs(body.description)];
  for (const [type, content] of Object.entries(body.content ?? {})) {
    const what = type === "multipart/form-data" ? "As a form (multipart/form-data)" : `As JSON (${type})`;
    parts.push(fields(all, what, members(all, content.schema), false));
    const example = content.example;
    if (example !== undefined) {
      const shown = JSON.stringify(example, null, 2);
      parts.push(make("details", {}, make("summary", {}, "An example"), code(shown)));
    }
  }
  return parts;
}

function answers(all, responses) {
  const parts = [make("h4", {}, "Answer")];
  const others = [];
  for (const [status, given] of Object.entries(responses)) {
    const answer = resolved(all, given);
    const isFine = status.startsWith("2");
    if (!isFine) {
      const headers = Object.keys(answer.headers ?? {}).filter((name) => name !== "X-Request-Id");
      const more = headers.length ? ` Headers: ${headers.join(", ")}.` : "";
      others.push(
        make("tr", {}, make("th", { scope: "row" }, status), make("td", {}, prose(`${answer.description}.${more}`))),
      );
      continue;
    }
    for (const [type, content] of Object.entries(answer.content ?? {})) {
      const rows = members(all, content.schema);
      const caption = `${status}, ${type}: ${answer.description}`;
      parts.push(rows.length ? fields(all, caption, rows, true) : make("p", {}, `${caption}.`));
    }
  }
  const table = make(
    "table",
    {},
    make("caption", {}, "Each has the same body, see below."),
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Status"), make("th", { scope: "col" }, "When"))),
    make("tbody", {}, others),
  );
  parts.push(make("details", {}, make("summary", {}, `Errors (${others.length})`), table));
  return parts;
}

function samples(operation) {
  const own = (operation["x-codeSamples"] ?? []).map((sample) =>
    code(sample.source.replaceAll(SERVER, window.location.origin)),
  );
  return own.length ? [make("h4", {}, "By curl"), ...own] : [];
}

function article(all, { path, method, operation, id }) {
  const parameters = (operation.parameters ?? []).map((given) => {
    const parameter = resolved(all, given);
    const content = Object.values(parameter.content ?? {})[0];
    return {
      name: parameter.name,
      schema: parameter.schema ?? content?.schema ?? {},
      required: parameter.required,
      description: parameter.description,
      where: parameter.in,
    };
  });
  return make(
    "article",
    { id, "aria-labelledby": `${id}-title` },
    make(
      "h3",
      { id: `${id}-title` },
      make("span", { class: `method ${method}` }, method.toUpperCase()),
      ` ${path}`,
    ),
    make("p", {}, prose(operation.summary ?? "")),
    paragraphs(operation.description),
    make("p", { class: "who" }, wanted(all, operation)),
    samples(operation),
    parameters.length ? [make("h4", {}, "Parameters"), fields(all, "In the path, the query and the headers", parameters, false)] : [],
    bodies(all, operation.requestBody),
    answers(all, operation.responses ?? {}),
  );
}

/** Every operation, those of pipelines first. */
function operationsOf(all) {
  const order = (all.tags ?? []).map((tag) => tag.name);
  const found = Object.entries(all.paths ?? {}).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => {
      const operation = item[method];
      const id = `operation-${operation.operationId ?? `${method}${path}`}`.replace(/[^\w-]/g, "_");
      return { path, method, operation, id, tag: operation.tags?.[0] ?? "" };
    }),
  );
  return found.sort((a, b) => order.indexOf(a.tag) - order.indexOf(b.tag));
}

function show(all) {
  at("title").textContent = all.info?.title ?? "";
  const link = make("a", { href: "/openapi.json" }, "openapi.json");
  at("version").replaceChildren(`${all.info?.summary ?? ""}, version ${all.info?.version ?? ""}, as `, link);
  at("about").replaceChildren(...paragraphs(all.info?.description));
  const operations = operationsOf(all);
  const shown = [];
  const listed = [];
  for (const tag of all.tags ?? []) {
    const own = operations.filter((one) => one.tag === tag.name);
    if (own.length === 0) continue;
    const articles = own.map((one) => article(all, one));
    const links = own.map((one) =>
      make(
        "li",
        {},
        make(
          "a",
          { href: `#${one.id}` },
          make("span", { class: `method ${one.method}` }, one.method.toUpperCase()),
          ` ${one.path}`,
        ),
      ),
    );
    const heading = make("h2", {}, tag.description ?? tag.name);
    shown.push(make("section", {}, heading, articles));
    listed.push(make("section", {}, make("h2", {}, tag.description ?? tag.name), make("ul", {}, links)));
  }
  at("operations").replaceChildren(...shown);
  at("list").replaceChildren(...listed);
  const error = all.components?.schemas?.Error;
  const rows = Object.values(all.components?.responses ?? {});
  at("errors").replaceChildren(
    make("h2", {}, "The body of every error"),
    ...paragraphs(error?.description),
    error ? fields(all, "A JSON object", members(all, error), true) : "",
    make("ul", {}, rows.map((row) => make("li", {}, prose(row.description)))),
  );
  const count = operations.length;
  at("state").textContent = `${count} operations.`;
  filter();
}

/** Leaves those whose text holds all of the words. */
function filter() {
  const words = at("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  let left = 0;
  for (const section of document.querySelectorAll("#operations section")) {
    let any = false;
    for (const own of section.querySelectorAll("article")) {
      const text = own.textContent.toLowerCase();
      const isLeft = words.every((word) => text.includes(word));
      own.hidden = !isLeft;
      const link = document.querySelector(`#list a[href="#${own.id}"]`);
      if (link) link.parentElement.hidden = !isLeft;
      any ||= isLeft;
      left += isLeft ? 1 : 0;
    }
    section.hidden = !any;
  }
  for (const section of document.querySelectorAll("#list section")) {
    section.hidden = !section.querySelector("li:not([hidden])");
  }
  at("found").textContent = words.length ? `${left} found` : "";
}

async function load(key) {
  const headers = key ? { "X-Api-Key": key } : {};
  let answer;
  try {
    answer = await fetch("/openapi.json", { headers, cache: "no-store" });
  } catch {
    at("state").textContent = "The service does not answer. Load the page again once it does.";
    return;
  }
  if (answer.status === 401) {
    at("key").hidden = false;
    at("state").textContent = key ? "The service does not know this key." : "";
    at("secret").focus();
    return;
  }
  if (!answer.ok) {
    at("state").textContent = `The document could not be read: status ${answer.status}.`;
    return;
  }
  const all = await answer.json();
  at("key").hidden = true;
  at("secret").value = "";
  show(all);
  // What the address names is there only now.
  const named = window.location.hash && document.getElementById(window.location.hash.slice(1));
  if (named) named.scrollIntoView();
}

at("filter").addEventListener("input", filter);
at("key").addEventListener("submit", (event) => {
  event.preventDefault();
  load(at("secret").value);
});
load();
