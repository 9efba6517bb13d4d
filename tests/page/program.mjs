// The real program, started with pipelines and data of its own, and a browser's view of it.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../../", import.meta.url));
const require = createRequire(join(root, "target/page/package.json"));
export const { chromium } = require("playwright-core");
export const AXE = require.resolve("axe-core/axe.min.js");
export const sample = (name) => join(root, "models/embedded/samples", name);

/** Within which the program answers. */
const START = 60_000;
/** Within which anything else happens, on cores that others use too. */
export const PATIENCE = 60_000;

export class Program {
  /** Starts it; `pipelines` are files of the repository, and `environment` more of its settings. */
  static async start({
    pipelines = ["pipelines/classify.toml", "pipelines/feedback.toml"],
    environment = {},
  } = {}) {
    const program = new Program();
    program.folder = await mkdtemp(join(tmpdir(), "omnizap-page-"));
    program.pipelines = join(program.folder, "pipelines");
    program.environment = environment;
    for (const path of pipelines)
      await cp(join(root, path), join(program.pipelines, path.split("/").pop()));
    await program.serve("127.0.0.1:0");
    return program;
  }

  async serve(address) {
    const { PATH, HOME } = process.env;
    const given = process.env.OMNIZAP_PROGRAM;
    const path = given === undefined ? join(root, "target/debug/omnizap") : given;
    this.child = spawn(path, ["serve", "--listen", address, "--pipelines", this.pipelines], {
      env: { PATH, HOME, OMNIZAP_DATA: join(this.folder, "data"), ...this.environment },
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.ended = new Promise((resolve) => this.child.once("exit", resolve));
    let log = "";
    this.url = await new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`the program did not start: ${log}`)), START);
      this.child.stderr.setEncoding("utf8").on("data", (text) => {
        log = (log + text).slice(-20_000);
        const found = /listening on (http:\/\/\S+)/.exec(log);
        if (found === null) return;
        clearTimeout(late);
        resolve(`${found[1]}/`);
      });
      this.child.once("exit", (code) =>
        reject(new Error(`the program ended with ${code}: ${log}`)),
      );
    });
  }

  async stop() {
    this.child.kill("SIGTERM");
    const late = setTimeout(() => this.child.kill("SIGKILL"), 5000);
    await this.ended;
    clearTimeout(late);
  }

  async end() {
    await this.stop();
    await rm(this.folder, { recursive: true, force: true });
  }

  async get(path, init) {
    const response = await fetch(new URL(path, this.url), init);
    return response.json();
  }
}

/** What a browser said that it should not: errors, refusals of the policy, requests to elsewhere. */
export async function open(
  browser,
  program,
  { width = 1280, height = 900, scheme = "light", hash = "", mayFail = false } = {},
) {
  const context = await browser.newContext({
    viewport: { width, height },
    colorScheme: scheme,
    reducedMotion: "reduce",
    permissions: ["clipboard-read", "clipboard-write"],
  });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const wrong = [];
  page.told = { mayFail, posts: [], wrong };
  page.on("console", (message) => {
    if (!["error", "warning"].includes(message.type())) return;
    // An answer that is an error is a line of the console, whatever a page makes of it.
    if (page.told.mayFail && message.text().startsWith("Failed to load resource")) return;
    wrong.push(`${message.type()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => wrong.push(`thrown: ${error.stack}`));
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (!["blob:", "data:"].includes(url.protocol) && url.origin !== new URL(program.url).origin) {
      wrong.push(`a request to ${url.origin}`);
    }
    if (request.method() === "POST")
      page.told.posts.push({ path: url.pathname, body: request.postData() });
  });
  await page.goto(program.url + hash);
  return page;
}

export async function close(page) {
  assert.deepEqual(page.told.wrong, []);
  await page.context().close();
}
