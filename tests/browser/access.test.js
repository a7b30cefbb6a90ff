// A service with keys, and the headers that hold the page to its own files.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, test } from "node:test";
import { binary, checkAccessibility, hitsShown, openPage, screenshot, startAll, stopAll } from "./support.js";

let server;
let browser;
const keys = {};
before(async () => {
  const made = ["search", "admin"].map((role) => execFileSync(binary(), ["key", role, "--role", role], { encoding: "utf8" }));
  for (const text of made) {
    const [, key] = /not stored anywhere: (\w+)/.exec(text);
    keys[/role = "(\w+)"/.exec(text)[1]] = key;
  }
  [server, browser] = await startAll({ adapters: ["minilm-qa"], config: made.join("\n") });
});
after(() => stopAll(server, browser));

async function giveKey(page, key) {
  await page.getByLabel("Key", { exact: true }).fill(key);
  await page.getByRole("button", { name: "Use this key" }).click();
}

test("the page asks for a key, and keeps it as long as the tab lives", async () => {
  const page = await openPage(browser, server, "/?q=egg", { expectRefusals: true });
  const dialog = page.getByRole("dialog", { name: "API key" });
  await dialog.waitFor();
  await page.getByText("This server requires a key").waitFor();
  await checkAccessibility(page);
  await screenshot(page, "key");
  await giveKey(page, "guessed");
  await page.getByText("does not know this key").waitFor();
  await giveKey(page, keys.search);
  await hitsShown(page);
  await page.reload();
  await hitsShown(page);
  assert.ok(await dialog.isHidden());

  await page.getByRole("link", { name: "Experiments" }).click();
  await page.getByText("The key's role is insufficient").waitFor();
  await checkAccessibility(page);
  await screenshot(page, "key-of-another-role");
  await page.getByRole("button", { name: "Enter a key" }).click();
  await giveKey(page, keys.admin);
  await page.getByText("No experiments yet").waitFor();
  assert.equal(await page.evaluate(() => localStorage.length), 0, "keys are not kept beyond the tab");
  await page.end();
});

test("the browser itself refuses what the policy forbids", async () => {
  const page = await openPage(browser, server, "/");
  const made = await page.evaluate(() => {
    const tried = { style: document.createElement("p"), image: new Image() };
    tried.style.setAttribute("style", "color: red");
    document.body.append(tried.style);
    let markup = "taken";
    try {
      tried.style.innerHTML = "<b>bold</b>";
    } catch {
      markup = "refused";
    }
    return { markup, color: getComputedStyle(tried.style).color };
  });
  assert.equal(made.markup, "refused");
  assert.notEqual(made.color, "rgb(255, 0, 0)");
  assert.ok(page.problems.length > 0, "and says so");
  page.problems.length = 0;
  await page.end();
});
