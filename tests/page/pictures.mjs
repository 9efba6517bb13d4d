// The pictures of the page for people who read about it: of the program's own examples, made anew by
// `node tests/page/pictures.mjs` after tests/page/run has seen to what it needs.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import { Program, chromium, close, open, root, sample } from "./program.mjs";

const FOLDER = process.env.OMNIZAP_PAGE_PICTURES ?? join(root, "docs");
const ALL = ["qr-code.png", "chat.png", "bar-chart.png", "dog-sticker.webp", "cat-sticker.webp"];

await mkdir(FOLDER, { recursive: true });
const browser = await chromium.launch({
  executablePath: process.env.OMNIZAP_CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-dev-shm-usage"],
});
const program = await Program.start();

/** Shows the answer to the last of them, with what feedback made of it. */
async function answer(options, name) {
  const page = await open(browser, program, options);
  await page.waitForSelector("#status[data-state=ready]");
  // Where a scroll bar would be there is none in a picture.
  await page.evaluate(() => {
    document.documentElement.style.scrollbarGutter = "auto";
  });
  await page.setInputFiles("#files", ALL.map(sample));
  await page.waitForFunction(
    (count) => document.querySelectorAll(".strip-item.is-answered").length === count,
    ALL.length,
  );
  await page.click(`.strip-open[title^="${ALL.at(-1)}"]`);
  await page.waitForSelector("#answer[aria-busy=false] .bar-row[data-label=cat]");
  await page.evaluate(() => document.activeElement.blur());
  await page.mouse.move(options.width - 2, options.height - 2);
  if (options.width < 900) {
    await page.evaluate(() => {
      const { top } = document.querySelector("#strip").getBoundingClientRect();
      const { height } = document.querySelector(".top").getBoundingClientRect();
      scrollBy({ top: top - height - 16, behavior: "instant" });
    });
  }
  await page.waitForFunction(() =>
    [...document.images].every((image) => image.complete && image.naturalWidth > 0),
  );
  await page.screenshot({ path: join(FOLDER, name) });
  await close(page);
}

await answer({ width: 1280, height: 900 }, "page-light.png");
await answer({ width: 390, height: 844, scheme: "dark" }, "page-phone.png");
await browser.close();
await program.end();
