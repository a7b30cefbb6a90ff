// The page over a search engine as the first stage. `LORANK_URL` is a running server, which tests/engines starts, with the adapter
// minilm-qa and the starter's corpus in the engine; `npm test` leaves this file out.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ask, checkAccessibility, checkFits, idsIn, launch, openPage, screenshot, search } from "./support.js";

const QUERY = "who invented the light bulb";
const server = { url: process.env.LORANK_URL };
let browser;
before(async () => (browser = await launch()));
after(() => browser?.close());

test("a search shows the engine's order beside the adapter's", async () => {
  const page = await openPage(browser, server, "/?adapters=minilm-qa");
  await search(page, QUERY);
  const { rankers } = await ask(server, "/v1/compare", { query: QUERY, adapters: ["minilm-qa"], top_k: 10 });
  assert.deepEqual(await page.locator(".column h3").allTextContents(), ["First stage", "minilm-qa"]);
  assert.deepEqual(await idsIn(page, 1), rankers[1].hits.map(({ id }) => id));
  // Documents with equal scores may come in another order from another copy of a shard.
  const scores = new Map(rankers[0].hits.map(({ id, first_stage_score }) => [id, first_stage_score]));
  const shown = (await idsIn(page, 0)).filter((id) => scores.has(id)).map((id) => scores.get(id));
  assert.ok(shown.length >= 9, `${shown.length} of the first ten`);
  assert.deepEqual(shown, [...shown].sort((a, b) => b - a));
  assert.ok((await page.locator(".hit b, .hit mark").count()) > 0, "the engine's highlights");
  await checkAccessibility(page);
  await checkFits(page);
  await screenshot(page, "engine");
  await page.end();
});

test("a filter of the engine's fields narrows the search, and its refusal has the engine's reason", async () => {
  const page = await openPage(browser, server, `/?${new URLSearchParams({ q: QUERY, adapters: "minilm-qa", filters: "lang=de" })}`);
  await page.locator("#results .hit").first().waitFor();
  const { hits } = await ask(server, "/v1/search", { query: QUERY, filters: { lang: "de" }, depth: 100, top_k: 10 });
  const german = new Set((await ask(server, "/v1/search", { query: QUERY, filters: { lang: "de" }, depth: 100, top_k: 100 })).hits.map(({ id }) => id));
  assert.ok(hits.length === 10 && (await idsIn(page, 1)).every((id) => german.has(id)));
  await page.end();

  const refused = await openPage(browser, server, `/?${new URLSearchParams({ q: QUERY, adapters: "minilm-qa", filters: "nix=1" })}`, { expectRefusals: true });
  await refused.getByText("no such field").first().waitFor();
  await checkAccessibility(refused);
  await refused.end();
});
