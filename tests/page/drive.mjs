// The page as people use it, over the real program: by mouse, by keys alone, on a phone, with a key,
// while the service refuses, is gone, and comes back.

import assert from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { AXE, PATIENCE, Program, chromium, close, open, root, sample } from "./program.mjs";

const SHOTS = process.env.OMNIZAP_PAGE_SHOTS ?? join(root, "target/page/shots");
const KEY = "key-of-the-page-0123456789";
const ALL = [
  "cat-sticker.webp",
  "dog-sticker.webp",
  "pizza-sticker.webp",
  "bar-chart.png",
  "chat.png",
  "qr-code.png",
];
const WIDE = { width: 1280, height: 900 };
const PHONE = { width: 390, height: 844 };

await mkdir(SHOTS, { recursive: true });
const browser = await chromium.launch({
  executablePath: process.env.OMNIZAP_CHROMIUM ?? "/usr/bin/chromium",
  // As root, in a container, there is no sandbox to be had; what is opened is the program's own.
  args: ["--no-sandbox", "--disable-dev-shm-usage"],
});
const tests = [];
const test = (name, run) => tests.push({ name, run });

/** Drops files on the page, as a hand does: they come over the window first. */
async function drop(page, names) {
  const files = await Promise.all(
    names.map(async (name) => ({ name, data: (await readFile(sample(name))).toString("base64") })),
  );
  const transfer = await page.evaluateHandle((files) => {
    const transfer = new DataTransfer();
    for (const { name, data } of files) {
      const bytes = Uint8Array.from(atob(data), (char) => char.charCodeAt(0));
      transfer.items.add(
        new File([bytes], name, { type: name.endsWith("png") ? "image/png" : "image/webp" }),
      );
    }
    return transfer;
  }, files);
  await page.dispatchEvent("body", "dragenter", { dataTransfer: transfer });
  assert.ok(await page.isVisible("#veil"));
  await page.dispatchEvent("body", "dragover", { dataTransfer: transfer });
  await page.dispatchEvent("body", "drop", { dataTransfer: transfer });
  assert.ok(!(await page.isVisible("#veil")));
}

const category = (page) => page.textContent(".category");
const answered = (page, count = 1) =>
  count === 1
    ? page.waitForSelector("#answer[aria-busy=false] .bar-row")
    : page.waitForFunction(
        (count) => document.querySelectorAll(".strip-item.is-answered").length === count,
        count,
      );

/** Waits for what the page does not show. */
async function until(what, holds) {
  const deadline = Date.now() + PATIENCE;
  while (!(await holds())) {
    assert.ok(Date.now() < deadline, `${what}: not within ${PATIENCE} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** What was told to the service as feedback. */
const judgements = (page) =>
  page.told.posts.filter(({ path }) => path === "/feedback").map(({ body }) => JSON.parse(body));

async function isAccessible(page, where) {
  // By the debugger: the policy lets nothing else in.
  await page.evaluate(axeText);
  const found = await page.evaluate(async () => {
    const { violations } = await globalThis.axe.run(document, { resultTypes: ["violations"] });
    return violations.map(({ id, impact, nodes }) => ({
      id,
      impact,
      nodes: nodes
        .slice(0, 3)
        .map(({ html, failureSummary }) => `${html.slice(0, 160)} ${failureSummary}`),
    }));
  });
  const serious = found.filter(({ impact }) => impact === "serious" || impact === "critical");
  assert.deepEqual(serious, [], where);
  for (const { id, impact } of found) console.log(`    ${where}: ${impact ?? "minor"} ${id}`);
}
const axeText = await readFile(AXE, "utf8");

async function fits(page, where) {
  const over = await page.evaluate(
    () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
  );
  assert.ok(over <= 0, `${where} is ${over} pixels too wide`);
}

const shot = (page, name) => page.screenshot({ path: join(SHOTS, `${name}.png`) });

test("the page comes with a strict policy, and is fresh after an upgrade", async (program) => {
  for (const path of [
    "",
    "page/app.js",
    "page/base.css",
    "page/icon.svg",
    "page/examples/cat-sticker.webp",
  ]) {
    const response = await fetch(program.url + path);
    assert.equal(response.status, 200, path);
    const policy = response.headers.get("content-security-policy");
    assert.match(policy, /default-src 'none'; script-src 'self'; style-src 'self'/);
    assert.doesNotMatch(policy, /unsafe/);
    assert.equal(response.headers.get("x-content-type-options"), "nosniff");
    assert.equal(response.headers.get("referrer-policy"), "no-referrer");
    assert.equal(response.headers.get("cache-control"), "no-cache");
  }
});

test("a picture is dropped, its answer seen and judged, and the judgement counted", async (program) => {
  const page = await open(browser, program, WIDE);
  await page.evaluate(() => {
    globalThis.moved = 0;
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) globalThis.moved += entry.value;
    }).observe({ type: "layout-shift", buffered: true });
  });
  await drop(page, ["cat-sticker.webp"]);
  await answered(page);
  assert.equal(await category(page), "cat");
  assert.equal(await page.locator(".bars .bar-row").count(), 5);
  assert.equal((await page.locator(".bars .bar-label").allTextContents())[0], "cat");
  const told = page.told.posts.filter(({ path }) => path === "/classify");
  assert.equal(told.length, 1);
  assert.match(
    await page.textContent("#answer"),
    /Margin.*Doubt.*NSFW check.*Not flagged.*neutral/s,
  );
  assert.ok((await page.evaluate(() => globalThis.moved)) < 0.1, "parts of the page jump");

  await page.click(".judge-up");
  await page.click(".toast-undo");
  await page.waitForSelector(".judge-up[aria-pressed=false]");
  await page.click(".bar-row[data-label=love]");
  await page.click(".judge-up");
  await page.waitForSelector(".judge-state.counted");
  const [judged, ...others] = judgements(page);
  assert.deepEqual(others, []);
  assert.equal(judged.category, "cat");
  assert.equal(judged.accepted, true);
  // The service counted one, not the two that were taken back.
  await page.fill("#option-theme", "general");
  await page.click(".rerun button");
  await page.waitForFunction(() =>
    document.querySelector("#answer").textContent.includes("Accepted before"),
  );
  assert.match(await page.textContent("#answer"), /Accepted before100\.0 %/);
  assert.match(await page.textContent("#answer"), /model \d/);

  // A copy of it is found, with the picture that this browser sent.
  const other = await page.evaluateHandle(async () => {
    const image = await createImageBitmap(
      await (await fetch("page/examples/cat-sticker.webp")).blob(),
    );
    const canvas = Object.assign(document.createElement("canvas"), {
      width: image.width,
      height: image.height,
    });
    canvas.getContext("2d").drawImage(image, 0, 0);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
    const transfer = new DataTransfer();
    transfer.items.add(new File([blob], "copy.png", { type: "image/png" }));
    return transfer;
  });
  await page.evaluate((transfer) => {
    const event = new Event("paste", { bubbles: true });
    event.clipboardData = transfer;
    document.body.dispatchEvent(event);
  }, other);
  await page.waitForSelector(".similar-entry img");
  assert.match(await page.textContent(".similar"), /cat-sticker\.webp/);
  await shot(page, "similar");
  await close(page);
});

/** Waits until what a key did is on the screen. */
const drawn = (page) =>
  page.evaluate(
    () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))),
  );

/** How often a stage of the program ran. */
const ran = async (program, pipeline, stage) => {
  const { pipelines } = await program.get("pipelines");
  const { stages } = pipelines.find((one) => one.pipeline === pipeline);
  return stages.find(({ name }) => name === stage).counters.ran;
};

// A browser tells nobody of what a page sends as it goes: the service is asked what came.
test("a page that is left tells what was held back", async (program) => {
  for (const leave of [
    (page) => page.goto("about:blank"),
    (page) => page.reload(),
    (page) => page.close({ runBeforeUnload: true }),
    // Left while it is being told, which begins once it cannot be undone any more.
    async (page) => {
      await page.evaluate(() => {
        const { fetch } = globalThis;
        globalThis.fetch = (to, how) => {
          const answer = fetch(to, how);
          if (String(to).endsWith("/feedback")) location.href = "about:blank";
          return answer;
        };
      });
      await page.waitForURL("about:blank");
    },
  ]) {
    const before = await ran(program, "feedback", "feedback");
    const page = await open(browser, program, WIDE);
    await page.setInputFiles("#files", [sample("pizza-sticker.webp")]);
    await answered(page);
    await page.keyboard.press("y");
    await page.waitForSelector(".judge-up[aria-pressed=true]");
    // It is of the theme that the answer was made with.
    await page.fill("#option-theme", "left");
    await leave(page);
    await until(
      "the judgement is counted",
      async () => (await ran(program, "feedback", "feedback")) > before,
    );
    await page.context().close();
  }
  const page = await open(browser, program, WIDE);
  await page.waitForSelector("#status[data-state=ready]");
  for (const [theme, isKnown] of [
    ["general", true],
    ["left", false],
  ]) {
    await page.fill("#option-theme", theme);
    await page.setInputFiles("#files", [sample("pizza-sticker.webp")]);
    await page.waitForFunction(
      (isKnown) => {
        const answer = document.querySelector("#answer[aria-busy=false]:has(.bar-row)");
        return answer !== null && answer.textContent.includes("Accepted before") === isKnown;
      },
      isKnown,
    );
  }
  await close(page);
});

test("keys alone do everything", async (program) => {
  const page = await open(browser, program, WIDE);
  await page.waitForSelector("#status[data-state=ready]");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");
  // The first field behind it is the one for pictures, then come the examples.
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.id), "files");
  await page.keyboard.press("Tab");
  for (let at = 0; at < ALL.length; at += 1) {
    await page.keyboard.press("Enter");
    if (at + 1 < ALL.length) await page.keyboard.press("Tab");
  }
  await answered(page, ALL.length);
  await page.keyboard.press("Tab");
  await page.keyboard.type("a cat, a dog");
  await page.keyboard.press("Enter");
  assert.deepEqual(await page.locator(".chip span").allTextContents(), ["a cat", "a dog"]);
  await page.keyboard.press("Backspace");
  await page.keyboard.press("Backspace");
  assert.equal(await page.locator(".chip").count(), 0);

  await page.evaluate(() => document.activeElement.blur());
  const first = await category(page);
  await page.keyboard.press("j");
  await page.waitForFunction(
    (first) => document.querySelector(".category").textContent !== first,
    first,
  );
  await page.keyboard.press("k");
  await page.waitForFunction(
    (first) => document.querySelector(".category").textContent === first,
    first,
  );
  await page.keyboard.press("2");
  await page.waitForSelector(".bar-row.is-chosen");
  await page.keyboard.press("Control+z");
  await page.waitForFunction(() => document.querySelector(".bar-row.is-chosen") === null);

  await page.keyboard.press("v");
  await page.waitForSelector(".review-row");
  const doubts = await page.locator(".review-doubt .hint").allTextContents();
  const numbers = doubts.map((text) => Number(text.replace("doubt ", "").replace("no match", "1")));
  assert.deepEqual(
    numbers,
    [...numbers].sort((a, b) => b - a),
  );
  for (const key of ["1", "n", "2", "1", "1", "1"]) {
    const row = await page.getAttribute(".review-row.is-current", "data-id");
    await page.keyboard.press(key);
    await page.waitForFunction(
      (row) => document.querySelector(`.review-row[data-id="${row}"].is-judged`),
      row,
    );
    // It goes on to the next that is not judged, where there is one.
    await page.waitForFunction((row) => {
      const isLast = document.querySelector(".review-row:not(.is-judged)") === null;
      return isLast || document.querySelector(".review-row.is-current").dataset.id !== row;
    }, row);
  }
  await page.keyboard.press("u");
  await page.waitForFunction(() => document.querySelectorAll(".review-row.is-judged").length === 5);
  await page.waitForFunction(() => document.querySelectorAll(".judge-state.counted").length === 5);
  assert.equal(judgements(page).length, 5);
  assert.equal(judgements(page).filter(({ accepted }) => !accepted).length, 1);

  await page.keyboard.press("p");
  await page.waitForSelector(".graph-box");
  await page.keyboard.press("?");
  assert.ok(await page.isVisible("#help"));
  await page.keyboard.press("Tab");
  await page.keyboard.press("Space");
  await page.keyboard.press("Escape");
  assert.ok(!(await page.isVisible("#help")));
  await page.keyboard.press("c");
  await drawn(page);
  assert.ok(await page.isVisible("#view-pipeline"), "single keys were switched off");
  await close(page);
});

test("a stage that is switched off is seen gray, with the reason", async (program) => {
  const page = await open(browser, program, { ...WIDE, hash: "#pipeline" });
  const box = (name) => page.locator(`.graph-box[data-name="${name}"]`);
  await box("adaptive").waitFor();
  assert.notEqual(await box("adaptive").getAttribute("data-state"), "off");
  const file = join(program.pipelines, "classify.toml");
  const text = await readFile(file, "utf8");
  const off = text.replace(/(uses = "adaptive"\n)enabled = .*/, "$1enabled = false");
  assert.notEqual(off, text);
  await writeFile(file, off);
  await page.locator('.graph-box[data-name="adaptive"][data-state="off"]').waitFor();
  await box("adaptive").click();
  assert.match(await page.textContent(".graph-detail"), /enabled = false/);
  assert.match(await page.textContent("#pipeline-summary"), /1 off/);
  await shot(page, "stage-off");
  await isAccessible(page, "a stage that is off");
  await writeFile(file, text);
  await page.waitForFunction(
    () => document.querySelector('.graph-box[data-name="adaptive"]').dataset.state !== "off",
  );
  await close(page);
});

test("what the service refuses is told in its own words", async (program) => {
  const page = await open(browser, program, { ...WIDE, mayFail: true });
  const refused = async (file, words) => {
    await page.setInputFiles("#files", file);
    await page.waitForFunction(
      (words) => document.querySelector("#answer .alert")?.textContent.includes(words),
      words,
    );
  };
  const text = {
    name: "notes.png",
    mimeType: "image/png",
    buffer: Buffer.from("no picture at all"),
  };
  await refused(text, "file is no picture; send JPEG, PNG, WebP, GIF, BMP or TIFF");
  await refused({ ...text, name: "notes.txt", mimeType: "text/plain" }, "text/plain");
  const large = join(program.folder, "large.png");
  await writeFile(large, Buffer.alloc(34_000_000));
  await refused(large, "the request body is larger than");
  await page.click("[data-view=pipeline]");
  await shot(page, "refused");
  await isAccessible(page, "a refusal");
  await close(page);
});

test("a service that is gone is waited for", async (program) => {
  const page = await open(browser, program, { ...WIDE, mayFail: true });
  await page.waitForSelector("#status[data-state=ready]");
  const address = new URL(program.url).host;
  await program.stop();
  await page.setInputFiles("#files", [sample("dog-sticker.webp")]);
  await page.waitForSelector("#status[data-state=offline]");
  assert.match(await page.textContent("#banner"), /does not answer/);
  await shot(page, "offline");
  await program.serve(address);
  await answered(page);
  assert.equal(await category(page), "dog");
  assert.ok(!(await page.isVisible("#banner")));
  await close(page);
});

for (const [name, size] of [
  ["1280", WIDE],
  ["390", PHONE],
]) {
  for (const scheme of ["light", "dark"]) {
    test(`${name} pixels, ${scheme}`, async (program) => {
      const page = await open(browser, program, { ...size, scheme });
      await page.waitForSelector("#status[data-state=ready]");
      await shot(page, `${name}-${scheme}-empty`);
      await isAccessible(page, `empty, ${name} ${scheme}`);
      await page.setInputFiles("#files", ALL.map(sample));
      await answered(page, ALL.length);
      if (size === PHONE) {
        await page.click("#ask-options summary");
        await fits(page, "the options");
        await page.click("#ask-options summary");
      }
      await page.keyboard.press("y");
      await page.waitForSelector(".judge-up[aria-pressed=true]");
      await page.waitForSelector(".toast-undo");
      await shot(page, `${name}-${scheme}-answer`);
      await fits(page, "an answer");
      await isAccessible(page, `an answer, ${name} ${scheme}`);
      for (const details of await page.locator("details.folded > summary").all())
        await details.click();
      await fits(page, "an answer with all parts open");
      await isAccessible(page, `all of an answer, ${name} ${scheme}`);
      await page.click("[data-view=review]");
      await page.waitForSelector(".review-row");
      await shot(page, `${name}-${scheme}-review`);
      await fits(page, "the review");
      await isAccessible(page, `the review, ${name} ${scheme}`);
      await page.click("[data-view=pipeline]");
      await page.locator('.graph-box[data-name="embed"]').click();
      await shot(page, `${name}-${scheme}-pipeline`);
      await fits(page, "the pipeline");
      await isAccessible(page, `the pipeline, ${name} ${scheme}`);
      await page.keyboard.press("?");
      await isAccessible(page, `the keys, ${name} ${scheme}`);
      await close(page);
    });
  }
}

/** Tests with a program of their own. */
async function withKeys() {
  const program = await Program.start({ environment: { OMNIZAP_API_KEYS: KEY } });
  try {
    const page = await open(browser, program, { ...WIDE, mayFail: true });
    await page.waitForSelector("#key[open]");
    assert.match(await page.textContent("#key"), /there is no key/);
    await isAccessible(page, "asked for a key");
    await page.fill("#key-field", "wrong-key-0123456789");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() =>
      document.querySelector("#key").textContent.includes("not one of this service's"),
    );
    await page.fill("#key-field", KEY);
    await page.keyboard.press("Enter");
    await page.waitForSelector("#status[data-state=ready]");
    await page.setInputFiles("#files", [sample("cat-sticker.webp")]);
    await answered(page);
    assert.equal(await category(page), "cat");
    const text = await page.content();
    assert.ok(!text.includes(KEY), "the key is in the page");
    assert.ok(text.includes("$OMNIZAP_KEY"));
    const kept = await page.evaluate(() => [
      JSON.stringify(localStorage),
      sessionStorage.getItem("omnizap.key"),
    ]);
    assert.ok(!kept[0].includes(KEY));
    assert.equal(kept[1], KEY);
    await close(page);
  } finally {
    await program.end();
  }
}

/**
 * Sends so much to a pipeline with one place that others find it taken; comes back once some of it
 * was refused, with what ends it.
 */
async function crowd(program, path) {
  const data = await readFile(sample("chat.png"));
  const deadline = Date.now() + PATIENCE;
  let isOver = false;
  let full;
  const isFull = new Promise((resolve) => {
    full = resolve;
  });
  const one = async (_, who) => {
    for (let turn = 0; !isOver; turn += 1) {
      assert.ok(Date.now() < deadline, `${path} refused nobody within ${PATIENCE} ms`);
      const form = new FormData();
      form.set("file", new Blob([data], { type: "image/png" }), "chat.png");
      // Labels that nobody sent before take the text tower's time.
      for (let at = 0; at < 10; at += 1) form.append("labels", `crowd ${who} ${turn} ${at}`);
      const response = await fetch(new URL(path, program.url), { method: "POST", body: form });
      const text = await response.text();
      assert.ok([200, 429].includes(response.status), text);
      if (response.status === 429) full();
    }
  };
  const all = Promise.all(Array.from({ length: 4 }, one));
  await Promise.race([isFull, all]);
  return () => {
    isOver = true;
    return all;
  };
}

/** Other pipelines, with fields and answers that the page has never heard of, and one that is full. */
async function withOthers() {
  const recipes = ["moderation", "two-pictures", "limits"].map(
    (name) => `pipelines/recipes/${name}.toml`,
  );
  const program = await Program.start({
    pipelines: ["pipelines/classify.toml", "pipelines/feedback.toml", ...recipes],
  });
  try {
    const file = join(program.pipelines, "limits.toml");
    await writeFile(
      file,
      (await readFile(file, "utf8")).replace("max_in_flight = 8", "max_in_flight = 1"),
    );
    const page = await open(browser, program, { ...WIDE, mayFail: true });
    await page.waitForSelector("#option-pipeline");
    for (const name of ["moderation", "two-pictures", "limits"]) {
      await page.selectOption("#option-pipeline", name);
      if (name === "two-pictures")
        await page.setInputFiles("#option-right", sample("bar-chart.png"));
      // Where the one place is taken, the page sends again what is refused in its time.
      const isFull = name === "limits";
      const end = isFull ? await crowd(program, name) : () => {};
      const told = page.waitForResponse((response) => response.status() === (isFull ? 429 : 200));
      await page.setInputFiles("#files", ALL.map(sample));
      await told.finally(end);
      await page.waitForFunction(
        () => document.querySelectorAll(".strip-item:not(.is-answered)").length === 0,
      );
      await shot(page, `other-${name}`);
      if (name === "moderation") assert.match(await page.textContent("#answer"), /Not flagged/);
      if (name === "two-pictures")
        assert.match(await page.textContent("#answer"), /left tags.*right tags/s);
      await fits(page, name);
      await isAccessible(page, name);
    }
    await close(page);
  } finally {
    await program.end();
  }
}

let failed = 0;
async function one(name, run) {
  const begun = Date.now();
  try {
    await run();
    console.log(`ok    ${name} (${((Date.now() - begun) / 1000).toFixed(1)} s)`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL  ${name}\n${error.stack}`);
    for (const context of browser.contexts()) {
      for (const page of context.pages()) {
        await shot(page, `failed-${failed}`).catch(() => {});
        if (page.told?.wrong.length > 0) console.log(page.told.wrong.join("\n"));
      }
      await context.close();
    }
  }
}

const wanted = process.argv.slice(2);
const isWanted = (name) => wanted.length === 0 || wanted.some((part) => name.includes(part));
const chosen = tests.filter(({ name }) => isWanted(name));
if (chosen.length > 0) {
  const program = await Program.start();
  for (const { name, run } of chosen) await one(name, () => run(program));
  await program.end();
}
if (isWanted("a key")) await one("a key is asked for, and kept in this tab alone", withKeys);
if (isWanted("other pipelines")) await one("other pipelines are asked and shown", withOthers);
await browser.close();
console.log(
  failed === 0 ? `all fine, screenshots in ${SHOTS}` : `${failed} failed, screenshots in ${SHOTS}`,
);
process.exit(failed === 0 ? 0 : 1);
