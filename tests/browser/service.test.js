// The view of the service: index and facets, adapters, cache and queue.

import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { DOCUMENTS } from "./corpus.js";
import { ROOT, ask, checkAccessibility, checkFits, hitsShown, idsIn, openPage, screenshot, startAll, stopAll, tabTo, until } from "./support.js";

let server;
let browser;
const SOURCES = join(ROOT, "crates/lorank-starter/data/adapters");
const config = `adapter_sources = [${JSON.stringify(SOURCES)}]\n`;
before(async () => ([server, browser] = await startAll({ adapters: [], registry: { qa: "minilm-qa" }, config })));
after(() => stopAll(server, browser));

test("an index shows its documents and fields, and their values lead to filters", async () => {
  const page = await openPage(browser, server, "/?view=service");
  await page.getByText(`${DOCUMENTS.length} documents in `).waitFor();
  await page.getByText("Searched: title, text.").waitFor();
  const rows = await page.locator("#index-panel tbody tr").evaluateAll((all) => all.map((row) => [row.children[0].textContent, row.children[1].textContent]));
  assert.deepEqual(rows, [["lang", "texts"], ["year", "numbers"]]);
  await page.getByRole("button", { name: "Values of lang" }).click();
  await page.locator(".values li").first().waitFor();
  const values = await page.locator(".values li").allTextContents();
  assert.deepEqual(values, [`en ${DOCUMENTS.length - 1}`, "de 1"]);
  await checkAccessibility(page);
  await checkFits(page);
  await screenshot(page, "service", { fullPage: true });
  await page.getByRole("link", { name: "de", exact: true }).click();
  assert.equal(await page.getByLabel("Filters").inputValue(), 'lang="de"');
  await page.getByRole("searchbox", { name: "Query" }).fill("eggs");
  await page.keyboard.press("Enter");
  await hitsShown(page);
  assert.deepEqual(await idsIn(page, 0), ["e11"]);
  await page.end();
});

test("adapters are added, named, verified and removed", async () => {
  const page = await openPage(browser, server, "/?view=service", { expectRefusals: true });
  await page.getByRole("button", { name: "Add an adapter…" }).click();
  await page.getByLabel("Id", { exact: true }).fill("science");
  await page.getByLabel("Source", { exact: true }).fill("/etc");
  await page.keyboard.press("Enter");
  await page.locator("#ask-error:not(:empty)").waitFor();
  assert.match(await page.locator("#ask-error").textContent(), /\/etc/);
  await checkAccessibility(page);
  await screenshot(page, "service-add");
  await page.getByLabel("Source", { exact: true }).fill(join(SOURCES, "minilm-science"));
  await page.getByRole("button", { name: "Add the adapter" }).click();
  await page.getByRole("rowheader", { name: "science" }).waitFor();

  await page.getByRole("button", { name: "Alias… science" }).click();
  assert.equal(await page.getByLabel("Alias", { exact: true }).inputValue(), "default");
  await page.getByRole("button", { name: "Set the alias" }).click();
  await page.getByRole("button", { name: "Remove the alias default" }).waitFor();
  assert.deepEqual((await ask(server, "/v1/aliases")).aliases, { default: "science" });

  await page.getByRole("button", { name: "Verify" }).click();
  await page.getByText("All files of 2 adapters are unchanged.").waitFor();
  await page.getByRole("button", { name: "Remove… science" }).click();
  await page.getByRole("button", { name: "Remove it" }).click();
  await page.locator("#ask-error:not(:empty)").waitFor();
  await page.getByRole("button", { name: "Cancel" }).click();
  await page.getByRole("button", { name: "Remove the alias default" }).click();
  await page.getByRole("button", { name: "Remove it" }).click();
  await until(page, () => !document.querySelector("#adapters-panel .chip"));
  await page.getByRole("button", { name: "Remove… science" }).click();
  await page.getByRole("button", { name: "Remove it" }).click();
  await until(page, () => document.querySelectorAll("#adapters-panel tbody tr").length === 1);
  assert.deepEqual((await ask(server, "/v1/adapters")).adapters.map(({ id }) => id), ["qa"]);
  await page.end();
});

test("fields, adapters and aliases are reached with the keyboard alone", async () => {
  const page = await openPage(browser, server, "/?view=service");
  await page.getByRole("rowheader", { name: "qa" }).waitFor();
  await tabTo(page, page.getByRole("button", { name: "Alias… qa" }));
  await page.keyboard.press("Enter");
  await until(page, () => document.activeElement.matches("dialog input"));
  await page.keyboard.press("Control+A");
  await page.keyboard.type("best");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Remove the alias best" }).waitFor();
  assert.deepEqual((await ask(server, "/v1/aliases")).aliases, { best: "qa" });
  await tabTo(page, page.getByRole("button", { name: "Verify" }));
  await page.keyboard.press("Enter");
  await page.getByText("All files of 1 adapter").waitFor();
  await tabTo(page, page.getByRole("button", { name: "Remove the alias best" }));
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Remove it" }).waitFor();
  await page.keyboard.press("Enter");
  await until(page, () => !document.querySelector("#adapters-panel .chip"));

  await tabTo(page, page.getByRole("button", { name: "Add an adapter…" }));
  await page.keyboard.press("Enter");
  await until(page, () => document.activeElement.matches("dialog input"));
  await page.keyboard.press("Escape");
  await until(page, () => document.activeElement.textContent === "Add an adapter…");

  await tabTo(page, page.getByRole("button", { name: "Values of lang" }));
  await page.keyboard.press("Enter");
  await page.getByRole("link", { name: "de", exact: true }).waitFor();
  await tabTo(page, page.getByRole("link", { name: "de", exact: true }));
  await page.keyboard.press("Enter");
  await until(page, () => document.querySelector("#filters").value === 'lang="de"');
  await page.end();
});

test("cache and queue are shown as the service counts them", async () => {
  for (let n = 0; n < 2; n += 1) await ask(server, "/v1/search", { query: "boiled eggs", adapter: "qa" });
  const page = await openPage(browser, server, "/?view=service");
  const { cache, adapters } = await ask(server, "/v1/stats");
  assert.ok(cache.hits > 0);
  await page.getByText(`${cache.hits} of ${cache.hits + cache.misses} since the start`).waitFor();
  await page.getByText(`${adapters.n_in_memory} of ${adapters.n_registered}`, { exact: true }).waitFor();
  await page.end();
});

for (const [name, options] of [
  ["dark", { colorScheme: "dark" }],
  ["phone", { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true }],
]) {
  test(`the service, ${name}`, async () => {
    const page = await openPage(browser, server, "/?view=service", options);
    await page.getByRole("button", { name: "Values of year" }).click();
    await page.locator(".values li").first().waitFor();
    await checkAccessibility(page);
    await checkFits(page);
    await screenshot(page, `service-${name}`, { fullPage: true });
    await page.end();
  });
}
