// The parts of an answer below its verdict: how sure it is, the nsfw check, similar pictures, tags,
// what identifies it, and what this page has never heard of.

import { copyButton, h, icon, meter, milliseconds, percent, short, words } from "./dom.js";
import { choices } from "./feedback.js";
import { isBool, isList, isNumber, isNumbers, isObject, isText } from "./fields.js";
import { settingsOf } from "./pipelines.js";
import { items, select } from "./session.js";
import { recall } from "./thumbs.js";

export function folded(title, ...content) {
  return h(
    "details",
    { class: "folded" },
    h("summary", {}, h("span", { text: title }), icon("fold")),
    ...content,
  );
}

function part(id, title, ...content) {
  return h(
    "section",
    { class: "card part", "aria-labelledby": id },
    h("h3", { id, text: title }),
    ...content,
  );
}

function mark(share, text) {
  return h("i", {
    class: "meter-mark",
    title: text,
    vars: { at: `${Math.max(0, Math.min(1, share)) * 100}%` },
  });
}

export function numbersOf(item, fields) {
  const settings = settingsOf(item.answered.pipeline);
  const count = isNumbers(fields.all.all_scores) ? Object.keys(fields.all.all_scores).length : 0;
  const k = choices(item).length;
  const tiles = [];
  const tile = (name, value, most, hint, limit) => {
    const share = most > 0 ? value / most : 0;
    const has = isNumber(limit) && most > 0 && limit < most;
    tiles.push(
      h(
        "div",
        { class: "tile" },
        h("p", { class: "tile-name", text: name }),
        h("p", { class: "tile-value", text: value.toFixed(value < 1 ? 3 : 2) }),
        meter(name, share, value.toFixed(3), {
          class: has && value > limit ? "warn" : "",
          mark: has ? mark(limit / most, `ambiguous above ${short(limit)}`) : null,
        }),
        h("p", { class: "hint", text: hint }),
      ),
    );
  };
  const margin = fields.take("confidence_margin", isNumber);
  const normalized = fields.take("entropy_normalized", isNumber);
  const entropy = fields.take("entropy", isNumber);
  const topK = fields.take("entropy_top_k", isNumber);
  if (margin !== undefined) tile("Margin", margin, 1, "first less second");
  if (normalized !== undefined) {
    tile(
      "Doubt",
      normalized,
      1,
      `over the best ${k > 0 ? k : "few"}`,
      settings.entropy_normalized_threshold,
    );
  }
  if (entropy !== undefined) {
    const most = count > 1 ? Math.log(count) : Math.max(entropy, 1);
    tile("Entropy", entropy, most, `nats, at most ${short(most)}`, settings.entropy_threshold);
  }
  if (topK !== undefined) {
    const most = k > 1 ? Math.log(k) : Math.max(topK, 1);
    tile(
      k > 0 ? `Entropy of ${k}` : "Entropy of the best",
      topK,
      most,
      `nats, at most ${short(most)}`,
    );
  }
  return tiles.length === 0
    ? null
    : part("numbers-title", "How sure", h("div", { class: "tiles" }, ...tiles));
}

export function nsfwOf(item, fields) {
  const score = fields.take("nsfw_score", isNumber);
  const flagged = fields.take("is_nsfw", isBool);
  const classes = fields.take("nsfw_classes", (value) => isNumbers(value) || value === null);
  if (score === undefined && flagged === undefined && !isNumbers(classes)) return null;
  const limit =
    item.answered.fields.nsfw_threshold ?? settingsOf(item.answered.pipeline).nsfw_threshold;
  const entries = isNumbers(classes) ? Object.entries(classes) : [];
  return part(
    "nsfw-title",
    "NSFW check",
    h(
      "div",
      { class: "nsfw" },
      h(
        "div",
        { class: `gauge ${flagged ? "bad" : "good"}` },
        flagged !== undefined &&
          h("p", { class: "gauge-verdict", text: flagged ? "Flagged" : "Not flagged" }),
        score !== undefined &&
          meter("NSFW score", score, percent(score), {
            class: flagged ? "bad tall" : "good tall",
            mark: isNumber(limit) ? mark(limit, `flagged from ${limit}`) : null,
          }),
        score !== undefined &&
          h("p", {
            class: "hint",
            text: `score ${score.toFixed(3)}${isNumber(limit) ? `, flagged from ${short(limit)}` : ""}`,
          }),
      ),
      entries.length > 0 &&
        h(
          "dl",
          { class: "classes" },
          ...entries
            .sort((a, b) => b[1] - a[1])
            .map(([name, share]) =>
              h(
                "div",
                {},
                h("dt", { text: words(name) }),
                h(
                  "dd",
                  {},
                  h(
                    "span",
                    {
                      class: "bar thin",
                      "aria-hidden": "true",
                      vars: { share: `${share * 100}%` },
                    },
                    h("i", { class: "bar-fill" }),
                  ),
                  h("span", { class: "class-share", text: percent(share) }),
                ),
              ),
            ),
        ),
    ),
  );
}

export function similarOf(fields) {
  const isSimilar = (value) => isList(value) && value.every((entry) => isText(entry?.image_hash));
  const similar = fields.take("similar_images", isSimilar);
  const complete = fields.take("similar_complete", isBool);
  if (similar === undefined) return null;
  const note =
    complete === false &&
    h("p", {
      class: "hint",
      text: "Some may be missing: the service is still loading what it knows.",
    });
  if (similar.length === 0) {
    return part(
      "similar-title",
      "Similar pictures",
      h("p", { class: "muted", text: "None that this service has seen." }),
      note,
    );
  }
  return part(
    "similar-title",
    "Similar pictures",
    h("ul", { class: "similar" }, ...similar.map(similarEntry)),
    note,
  );
}

function similarEntry({ image_hash: hash, asset_id: asset, similarity }) {
  const frame = h(
    "span",
    { class: "similar-frame" },
    h("span", { class: "similar-none", text: hash.slice(0, 6) }),
  );
  const name = h("span", {
    class: "similar-name",
    text: isText(asset) ? asset : `${hash.slice(0, 10)}…`,
    title: asset ?? hash,
  });
  const share = isNumber(similarity) ? similarity.toFixed(3) : "";
  const inside = [frame, h("span", { class: "similar-share", text: share }), name];
  const here = items.find((item) => item.answer?.image_hash === hash);
  recall(hash).then((found) => {
    if (!found) return;
    const url = URL.createObjectURL(found.blob);
    const image = h("img", { src: url, alt: "" });
    image.addEventListener("load", () => URL.revokeObjectURL(url), { once: true });
    frame.replaceChildren(image);
    if (!isText(asset) && isText(found.name)) name.textContent = found.name;
  });
  if (here === undefined) return h("li", {}, h("div", { class: "similar-entry" }, ...inside));
  return h(
    "li",
    {},
    h(
      "button",
      { type: "button", class: "similar-entry", on: { click: () => select(here) } },
      ...inside,
    ),
  );
}

const REASONS = {
  no_api_key: "not asked: the service has no key for one",
  disabled: "off",
  entropy_gate: "not asked: too much doubt",
  margin_gate: "not asked: the second label is too near",
  error: "did not answer",
};

export function tagsOf(fields) {
  const used = fields.take("llm_expansion_used", isBool);
  const groups = fields.take(
    "llm_expansion",
    (value) => isObject(value) && Object.values(value).every(isList),
  );
  const filled = Object.entries(groups ?? {}).filter(([, tags]) => tags.length > 0);
  if (!used && filled.length === 0) return null;
  fields.take("llm_expansion_gate_reason", isText);
  return part(
    "tags-title",
    "Tags of the language model",
    h(
      "dl",
      { class: "tag-groups" },
      ...filled.map(([name, tags]) =>
        h(
          "div",
          {},
          h("dt", { text: words(name) }),
          h(
            "dd",
            {},
            ...tags.map((tag) =>
              h("span", {
                class: "tag",
                text: typeof tag === "string" ? tag : JSON.stringify(tag),
              }),
            ),
          ),
        ),
      ),
    ),
  );
}

/** What identifies the answer, what no part has shown, how long it took, and all of it as it came. */
export function restOf(item, fields) {
  const facts = [];
  const fact = (name, value, copied = false) => facts.push([name, value, copied]);
  const hash = fields.take("image_hash", isText);
  if (hash !== undefined) fact("Image hash", hash, true);
  const model = fields.take("model", isText);
  const device = fields.take("device", isText);
  if (model !== undefined) fact("Model", device === undefined ? model : `${model} on ${device}`);
  const frame = fields.take("frame", isNumber);
  const seen = fields.take("frames_seen", isNumber);
  if (seen > 1) fact("Frame", `${frame + 1}, of ${seen} that were looked at`);
  const type = fields.take("content_type", isText);
  fields.take("filename", (value) => isText(value) || value === null);
  if (type !== undefined) fact("Content type", type);
  const weight = fields.take("affinity_weight", isNumber);
  const raw = fields.take("affinity_weight_raw", isNumber);
  // 0 says that nothing is known.
  if (weight) fact("Weight of feedback", `${short(weight)} on the best label, from -1 to 1`);
  if (raw) fact("Accepted before", `${percent(raw)} of this picture's judgements`);
  const reason = fields.take("llm_expansion_gate_reason", isText);
  if (reason !== undefined) fact("Language model", REASONS[reason] ?? words(reason));
  if (isText(item.unknown)) fact("Not taken", `The service takes nothing from: ${item.unknown}`);
  if (isText(item.requestId)) fact("Request", item.requestId, true);
  const others = fields.rest();
  return [
    others.length > 0 &&
      part(
        "others-title",
        "Also in the answer",
        h("div", { class: "others" }, ...others.map(other)),
      ),
    part(
      "facts-title",
      "Details",
      h(
        "dl",
        { class: "facts" },
        ...facts.map(([name, value, copied]) =>
          h(
            "div",
            {},
            h("dt", { text: name }),
            h(
              "dd",
              {},
              h("span", { class: copied ? "mono" : null, text: value }),
              copied && copyButton(name, () => value),
            ),
          ),
        ),
      ),
      took(item),
      folded(
        "The whole answer as JSON",
        copyButton("The answer", () => JSON.stringify(item.answer, null, 2)),
        h("pre", {
          class: "code",
          tabindex: 0,
          role: "region",
          "aria-label": "The answer as JSON",
          text: JSON.stringify(item.answer, null, 2),
        }),
      ),
    ),
  ];
}

function took(item) {
  const stages = [...(item.timings ?? [])].filter(([name]) => name !== "total");
  const total = item.timings?.get("total");
  if (stages.length === 0 && total === undefined) return null;
  const most = Math.max(...stages.map(([, ms]) => ms), 0.001);
  return folded(
    `Took ${milliseconds(total ?? item.ms)}, ${milliseconds(item.ms)} with the way here and back`,
    h(
      "dl",
      { class: "classes took" },
      ...stages.map(([name, ms]) =>
        h(
          "div",
          {},
          h("dt", { text: name }),
          h(
            "dd",
            {},
            h(
              "span",
              {
                class: "bar thin",
                "aria-hidden": "true",
                vars: { share: `${(ms / most) * 100}%` },
              },
              h("i", { class: "bar-fill" }),
            ),
            h("span", { class: "class-share", text: milliseconds(ms) }),
          ),
        ),
      ),
    ),
  );
}

/** A field that this page has never heard of. */
function other([name, value]) {
  const title = h("dt", { text: words(name) });
  const line = (text) => h("dl", { class: "facts" }, h("div", {}, title, h("dd", { text })));
  if (value === null) return line("none");
  if (isNumber(value)) return line(short(value));
  if (isBool(value)) return line(value ? "yes" : "no");
  if (typeof value === "string" && value.length <= 200) return line(value === "" ? "empty" : value);
  if (isList(value) && value.length === 0) return line("none");
  if (
    isList(value) &&
    value.every((entry) => typeof entry === "string" && entry.length < 60) &&
    value.length <= 60
  ) {
    return h(
      "dl",
      { class: "facts" },
      h(
        "div",
        {},
        title,
        h("dd", { class: "tags" }, ...value.map((text) => h("span", { class: "tag", text }))),
      ),
    );
  }
  const scored = scoredOf(value);
  if (scored !== null) {
    return h(
      "div",
      { class: "other" },
      h("h4", { text: words(name) }),
      h(
        "dl",
        { class: "classes" },
        ...scored.map(([label, share]) =>
          h(
            "div",
            {},
            h("dt", { text: label }),
            h(
              "dd",
              {},
              h(
                "span",
                { class: "bar thin", "aria-hidden": "true", vars: { share: `${share * 100}%` } },
                h("i", { class: "bar-fill" }),
              ),
              h("span", { class: "class-share", text: percent(share) }),
            ),
          ),
        ),
      ),
    );
  }
  const text = JSON.stringify(value, null, 2);
  return h(
    "div",
    { class: "other" },
    h("h4", { text: words(name) }),
    h("pre", { class: "code", tabindex: 0, role: "region", "aria-label": words(name), text }),
  );
}

/** Names with shares of 1, where a value is that: an object of them, or a list of objects with a label. */
function scoredOf(value) {
  const isShare = (number) => isNumber(number) && number >= 0 && number <= 1;
  if (isObject(value)) {
    const entries = Object.entries(value);
    return entries.length > 0 &&
      entries.length <= 50 &&
      entries.every(([, share]) => isShare(share))
      ? entries
      : null;
  }
  if (!isList(value) || value.length === 0 || value.length > 50) return null;
  const pairs = value.map((entry) => {
    if (!isObject(entry) || !isText(entry.label)) return null;
    const shares = Object.entries(entry).filter(
      ([name, share]) => name !== "label" && isShare(share),
    );
    return shares.length === 1 ? [entry.label, shares[0][1]] : null;
  });
  return pairs.every((pair) => pair !== null) ? pairs : null;
}
