// Parts of the page that need no browser: the plan of a graph, and requests as programs.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

// The page's modules are no package of Node's: they are read as what they are.
const folder = new URL("../../engine/cli/page/", import.meta.url);
async function part(name, cut = []) {
  let text = await readFile(new URL(name, folder), "utf8");
  for (const line of cut) text = text.replace(line, "");
  return import(`data:text/javascript;base64,${Buffer.from(text).toString("base64")}`);
}

const { layout, reduced, spaced } = await part("layout.js");
const { ofPicture, ofJudgement } = await part("snippets.js", [
  'import { h, copyButton } from "./dom.js";',
  'import { address, key } from "./service.js";',
]);

const SIZES = { width: 100, height: 50, gapX: 20, gapY: 30 };

test("an edge that others imply is left out", () => {
  const edges = [
    ["a", "b"],
    ["b", "c"],
    ["a", "c"],
    ["a", "a"],
    ["a", "x"],
  ];
  assert.deepEqual(reduced(["a", "b", "c"], edges), [
    ["a", "b"],
    ["b", "c"],
  ]);
});

test("boxes of a row keep their order and their distance, and stay near where they want to be", () => {
  assert.deepEqual(spaced([0, 0], [100, 100], 20), [-60, 60]);
  assert.deepEqual(spaced([0, 500], [100, 100], 20), [0, 500]);
  const close = spaced([10, 5, 0, 400], [50, 50, 50, 50], 10);
  for (let at = 1; at < close.length; at += 1)
    assert.ok(close[at] - close[at - 1] >= 60 - 1e-9, `${close}`);
});

test("no two boxes overlap, and every edge goes down", () => {
  let seed = 7;
  const random = () => {
    seed = (seed * 1103515245 + 12345) % 2147483648;
    return seed / 2147483648;
  };
  for (let round = 0; round < 60; round += 1) {
    const nodes = Array.from({ length: 1 + Math.floor(random() * 24) }, (_, at) => `n${at}`);
    const edges = nodes.flatMap((to, at) =>
      nodes
        .slice(0, at)
        .filter(() => random() < 0.2)
        .map((from) => [from, to]),
    );
    const { width, height, places, lines } = layout(nodes, edges, SIZES);
    assert.equal(places.size, nodes.length);
    const all = [...places.values()];
    for (const [at, one] of all.entries()) {
      assert.ok(one.x >= 50 - 1e-6 && one.x <= width - 50 + 1e-6, `${one.x} of ${width}`);
      assert.ok(one.y >= 25 && one.y <= height - 25 + 1e-6);
      for (const other of all.slice(at + 1)) {
        assert.ok(
          one.row !== other.row || Math.abs(one.x - other.x) >= 100 - 1e-6,
          "boxes overlap",
        );
      }
    }
    for (const { from, to, points } of lines) {
      assert.ok(places.get(from).row < places.get(to).row);
      for (let at = 1; at < points.length; at += 1) assert.ok(points[at].y > points[at - 1].y);
    }
  }
});

test("an empty graph and one box have a plan", () => {
  assert.equal(layout(["a"], [], SIZES).width, 100);
  assert.deepEqual(layout(["a"], [], SIZES).places.get("a"), { x: 50, y: 25, row: 0 });
});

const NAMES = [
  "cat.webp",
  'a cat\'s "best".png',
  "a;b,c\\d.png",
  "$(touch x) `id`.png",
  "ação 猫.png",
];
const asked = {
  file: "file",
  fields: { labels: ["it's", 'a "dog"', "$HOME"], theme: "@one two;three", nsfw_threshold: 0.5 },
};

test("what a shell makes of the request is what was asked", () => {
  for (const name of NAMES) {
    const command = ofPicture("curl", asked, name, "http://127.0.0.1:8008/classify", true);
    // A function in the place of curl prints what it was given.
    const script = `curl() { printf '%s\\0' "$@"; }; OMNIZAP_KEY=k; ${command}`;
    const given = execFileSync("bash", ["-c", script]).toString().split("\0");
    assert.ok(given.includes("X-Api-Key: k"));
    assert.ok(given.includes("http://127.0.0.1:8008/classify"));
    assert.ok(given.includes(`labels=${JSON.stringify(asked.fields.labels)}`), `${given}`);
    assert.ok(given.includes("theme=@one two;three"));
    const file = given[given.indexOf("-F") + 1];
    const path = file.slice("file=@".length);
    const read = path.startsWith('"') ? path.slice(1, -1).replace(/\\(["\\])/g, "$1") : path;
    assert.equal(read, name);
    assert.ok(path.startsWith('"') || !/[;,"]/.test(name), path);
  }
});

test("the programs are whole, and hold no key", () => {
  const body = { image_hash: "ab", theme: "it's", accepted: true, labels: ["a", 'b"'] };
  const programs = (language) => [
    ...NAMES.map((name) => ofPicture(language, asked, name, "http://h/classify", true)),
    ofPicture(language, { file: "file", fields: {} }, NAMES[0], "http://h/classify", false),
    ofJudgement(language, body, "http://h/feedback", true),
    ofJudgement(language, body, "http://h/feedback", false),
  ];
  // One process for all of them: imports stand at the top of a module, each other part in a block.
  const modules = programs("JavaScript").map(
    (text) => `{\n${text.replace(/^import .*$/gm, "")}\n}`,
  );
  execFileSync("node", ["--input-type=module", "--check"], { input: modules.join("\n") });
  if (hasPython) {
    const check = "import ast, sys; [ast.parse(text) for text in sys.stdin.read().split(chr(0))]";
    execFileSync("python3", ["-c", check], { input: programs("Python").join("\0") });
  }
  assert.match(ofJudgement("Python", body, "http://h/feedback", false), /"accepted": True/);
});

const hasPython = (() => {
  try {
    execFileSync("python3", ["-V"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
})();
