// A server on a small corpus, a browser, and pages that notice what goes wrong in them.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { DOCUMENTS } from "./corpus.js";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export function binary() {
  const places = [process.env.LORANK_BIN, join(ROOT, "target/release/lorank"), join(ROOT, "target/debug/lorank")];
  const found = places.find((place) => place && existsSync(place));
  assert.ok(found, "there is no lorank: run cargo build, or name it with LORANK_BIN");
  return found;
}

/** Starts `lorank serve` over the corpus. `config` is its configuration file; `registry` has sources of adapters by their ids. */
async function startServer({ adapters = ["minilm-qa", "minilm-science"], registry = {}, config = "" } = {}) {
  const folder = mkdtempSync(join(tmpdir(), "lorank-browser-"));
  const [index, corpus, file] = ["index", "corpus.jsonl", "lorank.toml"].map((name) => join(folder, name));
  writeFileSync(corpus, DOCUMENTS.map((document) => `${JSON.stringify(document)}\n`).join(""));
  writeFileSync(file, config);
  const env = { ...process.env, LORANK_DATA: join(folder, "data") };
  execFileSync(binary(), ["index", "--index", index, corpus], { env, stdio: "pipe" });
  for (const [id, source] of Object.entries(registry)) execFileSync(binary(), ["adapters", "add", id, source], { env, stdio: "pipe" });
  const named = adapters.flatMap((adapter) => ["--adapter", adapter]);
  const args = ["serve", "--index", index, "--config", file, "--listen", "127.0.0.1:0", ...named];
  const child = spawn(binary(), args, { env, stdio: ["ignore", "pipe", "inherit"] });
  const [line] = await Promise.race([
    createInterface({ input: child.stdout })[Symbol.asyncIterator]().next().then(({ value }) => [value]),
    new Promise((_, reject) => child.once("exit", (code) => reject(new Error(`lorank serve ended with ${code}`)))),
  ]);
  const url = line.replace("listening on ", "");
  const stop = async () => {
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill();
    await ended;
    rmSync(folder, { recursive: true, force: true });
  };
  return { url, stop };
}

/** Asks the API. */
export async function ask(server, path, body) {
  const headers = { "content-type": "application/json" };
  const response = await fetch(server.url + path, { method: body === undefined ? "GET" : "POST", headers, body: JSON.stringify(body) });
  assert.ok(response.ok, `${path}: ${response.status} ${response.ok ? "" : await response.text()}`);
  return response.json();
}

/** A server and a browser, for the tests of a file. */
export async function startAll(options) {
  const server = await startServer(options);
  try {
    return [server, await launch()];
  } catch (error) {
    await server.stop();
    throw error;
  }
}

export async function stopAll(server, browser) {
  await browser?.close();
  await server?.stop();
}

export function launch() {
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  return chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"] });
}

/**
 * A page at an address of the server. `page.problems` lists what the console and the security policy complained of;
 * `close` fails if there is any. Answers that are refusals are no problem where the test expects them.
 */
export async function openPage(browser, server, path = "/", { expectRefusals = false, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1360, height: 900 }, acceptDownloads: true, reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  if (process.env.PAGE) await serveFromTree(page);
  page.problems = [];
  page.on("pageerror", (error) => page.problems.push(String(error)));
  page.on("console", (message) => {
    const isRefusal = message.text().startsWith("Failed to load resource");
    if (message.type() === "error" && !(expectRefusals && isRefusal)) page.problems.push(message.text());
  });
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) => console.error(`${event.violatedDirective}: ${event.blockedURI} ${event.sample}`));
  });
  await page.goto(server.url + path);
  page.end = async () => {
    assert.deepEqual(page.problems, []);
    await context.close();
  };
  return page;
}

/** Answers requests of the page's files from the tree in place of the binary, which was built with an older copy of them. */
async function serveFromTree(page) {
  const assets = join(ROOT, "crates/lorank-http/src/page/assets");
  await page.route(/:\d+\/(assets\/|($|\?))/, async (route) => {
    const answer = await route.fetch();
    const name = new URL(route.request().url()).pathname.replace("/assets/", "").replace("/", "") || "index.html";
    const types = { html: "text/html", css: "text/css", js: "text/javascript", svg: "image/svg+xml" };
    const contentType = `${types[name.split(".").at(-1)]}; charset=utf-8`;
    const headers = { ...answer.headers(), "content-type": contentType };
    if (answer.status() === 404) headers["content-security-policy"] = "default-src 'none'";
    await route.fulfill({ status: 200, headers, body: readFileSync(join(assets, name)) });
  });
}

/**
 * Waits until something holds in the page. Playwright's own `waitForFunction` evaluates a text in the page, which the
 * Content-Security-Policy forbids.
 */
export async function until(page, holds, ...values) {
  const deadline = Date.now() + 15_000;
  while (!(await page.evaluate(holds, ...values))) {
    assert.ok(Date.now() < deadline, `it does not come to hold that ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Waits until the hits of a search are there. */
export async function hitsShown(page) {
  await page.locator("#results .hit").first().waitFor();
  await until(page, () => !document.querySelector("[aria-busy]"));
}

/** The ids of the documents in a column, in their order. */
export function idsIn(page, column) {
  return page.locator(`.column[data-column="${column}"] .hit`).evaluateAll((cards) => cards.map((card) => card.dataset.id));
}

/** Searches with the form. */
export async function search(page, query) {
  await page.getByRole("searchbox", { name: "Query" }).fill(query);
  await page.keyboard.press("Enter");
  await hitsShown(page);
}

/** Moves the focus with the Tab key alone until it is on an element. */
export async function tabTo(page, target) {
  for (let n = 0; n < 120; n += 1) {
    await page.keyboard.press("Tab");
    if (await target.evaluate((element) => element === document.activeElement)) return;
  }
  assert.fail(`the Tab key does not lead to ${target}`);
}

/** The text of what a click downloads. */
export async function downloaded(page, click) {
  const [download] = await Promise.all([page.waitForEvent("download"), click()]);
  return { name: download.suggestedFilename(), text: readFileSync(await download.path(), "utf8") };
}

/** Fails on what axe finds, with the elements. */
export async function checkAccessibility(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const told = violations.map(({ id, help, nodes }) => `${id}: ${help}\n  ${nodes.map((node) => node.html + "\n    " + node.failureSummary).join("\n  ")}`);
  assert.deepEqual(told, []);
}

/** Fails where the page as a whole can be scrolled sideways. */
export async function checkFits(page) {
  const [content, window] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  assert.ok(content <= window, `the page is ${content} px wide in a window of ${window}`);
}

export async function screenshot(page, name, options = {}) {
  const folder = process.env.SCREENSHOTS;
  if (!folder) return;
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `${name}.png`), ...options });
}
