// Searching: columns, lines, the address, what is wrong with a request.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, test } from "node:test";
import { HOSTILE, QUERY } from "./corpus.js";
import { ask, checkAccessibility, checkFits, hitsShown, idsIn, openPage, screenshot, search, startAll, stopAll, until } from "./support.js";

let server;
let browser;
before(async () => ([server, browser] = await startAll()));
after(() => stopAll(server, browser));

const address = `/?${new URLSearchParams({ q: QUERY })}&adapters=minilm-qa,minilm-science`;

test("a search shows the first stage and each adapter, with lines between them", async () => {
  const page = await openPage(browser, server);
  await search(page, QUERY);
  const adapters = ["minilm-qa", "minilm-science"];
  const expected = await ask(server, "/v1/compare", { query: QUERY, adapters, top_k: 10 });
  assert.deepEqual(await page.locator(".column h3").allTextContents(), ["First stage", ...adapters]);
  for (const [n, { hits }] of expected.rankers.entries()) {
    assert.deepEqual(await idsIn(page, n), hits.map(({ id }) => id));
  }
  const shared = expected.rankers.slice(1).reduce((sum, { hits }) => sum + hits.length, 0);
  assert.equal(await page.locator(".lines .line:not(.gone)").count(), shared);
  const kinds = await page.locator(".lines .line").evaluateAll((lines) => lines.map((line) => line.classList[1]));
  assert.ok(kinds.includes("up") && kinds.includes("down"), kinds.join());

  const first = expected.rankers[1].hits[0];
  const card = page.locator('.column[data-column="1"] .hit').first();
  assert.match(await card.locator(".scores").textContent(), new RegExp(`rerank${first.rerank_score.toFixed(3)}`));
  assert.match(await card.locator(".scores").textContent(), new RegExp(`rank ${first.first_stage_rank}$`));
  const bars = await page.getByRole("img", { name: /^Latency: .*first stage/ }).count();
  assert.equal(bars, 3);
  assert.match(await page.getByRole("status").first().textContent(), /^14 candidates of depth 100 · 3 columns · [\d.]+ m?s$/);
  await checkAccessibility(page);
  await checkFits(page);
  await screenshot(page, "search-light");
  await card.hover();
  assert.equal(await page.locator(".hit.is-lit").count(), 3, "the document is lit in every column");
  await screenshot(page, "search-light-lit");
  await page.end();
});

test("the first stage is shown at once, and each model as it comes", async () => {
  const page = await openPage(browser, server);
  let release;
  const held = new Promise((resolve) => (release = resolve));
  await page.route("**/v1/compare", async (route) => {
    if (route.request().postDataJSON().adapters[0] === "minilm-science") await held;
    await route.continue();
  });
  await page.getByRole("searchbox", { name: "Query" }).fill(QUERY);
  await page.keyboard.press("Enter");
  await page.locator('.column[data-column="1"] .hit').first().waitFor();
  assert.equal((await idsIn(page, 0)).length, 10);
  assert.equal((await idsIn(page, 2)).length, 0);
  await page.locator('.column[data-column="2"]').getByText("Ranking…").waitFor();
  assert.match(await page.getByRole("status").first().textContent(), / 2 of 3 columns /);
  const hit = page.locator('.column[data-column="1"] .hit').nth(3);
  await hit.focus();
  await page.keyboard.press("e");
  await checkAccessibility(page);
  await screenshot(page, "search-one-model-to-come");
  release();
  await hitsShown(page);
  assert.equal((await idsIn(page, 2)).length, 10);
  assert.equal(await page.evaluate(() => document.activeElement.id), "hit-1-4", "the focus stays");
  assert.equal(await page.locator("#hit-1-4 .explanation").count(), 1, "and so does what was explained");
  await page.end();
});

test("moves and gains have one baseline, which is said and can be chosen", async () => {
  const page = await openPage(browser, server, address);
  await hitsShown(page);
  const expected = await ask(server, "/v1/compare", { query: QUERY, adapters: ["minilm-qa", "minilm-science"], top_k: 10 });
  const ranks = expected.rankers.map(({ hits }) => new Map(hits.map(({ id, rank }) => [id, rank])));
  const moves = (column) => page.locator(`.column[data-column="${column}"] .hit`).evaluateAll((cards) => cards.map((card) => card.querySelector(".move .spoken")?.textContent ?? ""));
  const words = (n, base, name) => expected.rankers[n].hits.map(({ id, rank }) => {
    const from = base === 0 ? expected.rankers[n].hits.find((hit) => hit.id === id).first_stage_rank : ranks[base].get(id);
    if (from === undefined) return "";
    if (from === rank) return `same rank as in ${name}`;
    return `${from > rank ? "up" : "down"} ${Math.abs(from - rank)} from rank ${from} of ${name}`;
  });
  assert.deepEqual(await moves(2), words(2, 0, "First stage"));
  await page.getByLabel("Moves and gains from").selectOption("minilm-qa");
  assert.match(page.url(), /baseline=minilm-qa/);
  assert.deepEqual(await moves(0), words(0, 1, "minilm-qa"));
  assert.deepEqual(await moves(1), Array(10).fill(""));
  assert.deepEqual(await moves(2), words(2, 1, "minilm-qa"));
  assert.equal(await page.locator("#legend-baseline").textContent(), "minilm-qa");
  await checkAccessibility(page);
  await screenshot(page, "search-other-baseline");
  await page.reload();
  await hitsShown(page);
  assert.equal(await page.getByLabel("Moves and gains from").inputValue(), "minilm-qa");
  await page.end();
});

test("every request can be copied as curl and read as JSON", async () => {
  const page = await openPage(browser, server, address);
  await hitsShown(page);
  await page.getByRole("button", { name: "Request and answer of minilm-qa" }).click();
  const command = await page.locator("#request-curl").textContent();
  const answer = JSON.parse(await page.locator("#request-answer").textContent());
  assert.deepEqual(answer.rankers.map(({ name }) => name), ["first-stage", "minilm-qa"]);
  await checkAccessibility(page);
  await screenshot(page, "requests");
  const again = JSON.parse(execFileSync("sh", ["-c", command], { encoding: "utf8" }));
  assert.deepEqual(again.rankers[1].hits.map(({ id }) => id), await idsIn(page, 1), "the command gives the same hits");
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.getByRole("button", { name: "Copy as curl" }).click();
  await page.getByText("Copied.").waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), command);
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Requests…" }).click();
  const listed = await page.locator("#request-choice option").allTextContents();
  assert.ok(listed.some((title) => /GET \/v1\/models +200/.test(title)), listed.join("\n"));
  await page.end();
});

test("typos can be switched off, and warnings are shown", async () => {
  const page = await openPage(browser, server, "/?q=omelete&adapters=minilm-qa");
  await hitsShown(page);
  await page.getByText("Options").click();
  await page.getByLabel("Typos").selectOption("off");
  await page.getByRole("searchbox", { name: "Query" }).press("Enter");
  await page.getByText("No hits for “omelete”.").waitFor();
  assert.match(page.url(), /fuzzy=off/);
  await page.getByLabel("Typos").selectOption("on");
  await search(page, "omelete");
  assert.deepEqual(await idsIn(page, 0), ["e7"]);
  const warning = { reason: "unknown_tokens", message: "40 % of the tokens are unknown to the model" };
  await page.route("**/v1/compare", async (route) => {
    const answer = await (await route.fetch()).json();
    answer.rankers[1].warnings = [warning];
    await route.fulfill({ json: answer });
  });
  await search(page, "eggs");
  assert.deepEqual(await page.locator(".column .fallback").allTextContents(), [`Warning: ${warning.message}.`]);
  await checkAccessibility(page);
  await screenshot(page, "search-warning");
  await page.end();
});

test("lines end at the cards that they are about", async () => {
  const page = await openPage(browser, server, address);
  await hitsShown(page);
  await page.locator('.column[data-column="0"] .hit').first().locator(".explain").click();
  await page.waitForTimeout(100);
  const misses = await page.evaluate(() => {
    const board = document.getElementById("board").getBoundingClientRect();
    const heads = [...document.querySelectorAll(".hit-head")].map((head) => head.getBoundingClientRect());
    const isOnHead = (y) => heads.some((head) => Math.abs(head.top + head.height / 2 - board.top - y) < 1.5);
    return [...document.querySelectorAll(".lines circle")].filter((dot) => !isOnHead(Number(dot.getAttribute("cy")))).length;
  });
  assert.equal(misses, 0);
  await page.end();
});

test("the address says what is shown, and back leads back", async () => {
  const page = await openPage(browser, server);
  await search(page, "egg");
  await page.getByText("Options").click();
  await page.getByLabel("Depth").fill("5");
  await page.getByLabel("Hits").fill("4");
  await page.getByLabel("Filters").fill("lang=en year>=1998");
  await search(page, QUERY);
  assert.equal(new URL(page.url()).search, "?q=how+long+do+you+boil+eggs&adapters=minilm-qa,minilm-science&depth=5&top_k=4&filters=lang%3Den+year%3E%3D1998");
  assert.equal((await idsIn(page, 0)).length, 4);
  assert.match(await page.getByRole("status").first().textContent(), /^5 candidates of depth 5/);
  const shown = await idsIn(page, 1);

  const copy = await openPage(browser, server, new URL(page.url()).search);
  await hitsShown(copy);
  assert.deepEqual(await idsIn(copy, 1), shown);
  assert.equal(await copy.getByLabel("Filters").inputValue(), "lang=en year>=1998");
  await copy.end();

  await page.getByRole("button", { name: "Next" }).click();
  await until(page, () => document.querySelector("#page-range").textContent === "Hits 5 to 8");
  assert.match(page.url(), /offset=4/);
  await page.goBack();
  await until(page, () => document.querySelector("#page-range").textContent === "Hits 1 to 4");
  await page.goBack();
  await until(page, () => document.querySelector("#query").value === "egg" && document.querySelectorAll(".hit").length > 12);
  assert.equal(await page.title(), "egg – lorank");
  await page.getByRole("link", { name: "Experiments" }).click();
  await page.getByText("No experiments yet").waitFor();
  await page.goBack();
  await hitsShown(page);
  await page.end();
});

test("adapters are chosen with boxes, and none leaves the first stage alone", async () => {
  const page = await openPage(browser, server, address);
  await hitsShown(page);
  await page.getByRole("checkbox", { name: "Base model" }).check();
  await until(page, () => document.querySelectorAll(".column").length === 4);
  await checkFits(page);
  await screenshot(page, "search-four-columns");
  for (const name of ["minilm-qa", "minilm-science", "Base model"]) await page.getByRole("checkbox", { name }).uncheck();
  await until(page, () => document.querySelectorAll(".column").length === 1);
  assert.match(page.url(), /adapters=(&|$)/);
  await page.end();
});

test("a hit that only one of two columns has is marked", async () => {
  const page = await openPage(browser, server, `${address}&top_k=3`);
  await hitsShown(page);
  const [before, behind] = [await idsIn(page, 0), await idsIn(page, 1)];
  const other = await idsIn(page, 2);
  const nNew = behind.filter((id) => !before.includes(id)).length;
  assert.ok(nNew > 0);
  assert.equal(await page.locator('.column[data-column="1"] .tag.new').count(), nNew);
  const missing = before.filter((id) => !behind.includes(id) || !other.includes(id));
  assert.equal(await page.locator('.column[data-column="0"] .tag.gone').count(), missing.length);
  await screenshot(page, "search-new-and-gone");
  await page.end();
});

test("what documents say is text, whatever they say", async () => {
  const page = await openPage(browser, server, "/?q=boiled+eggs+script");
  await hitsShown(page);
  const card = page.locator('.column[data-column="1"] .hit').filter({ hasText: "<script>" });
  assert.equal(await card.locator("h4").textContent(), HOSTILE.title);
  assert.match(await card.locator(".snippet").textContent(), /<img src=x onerror='window\.isOwned = true'>/);
  assert.ok((await card.locator(".snippet mark").allTextContents()).includes("boiled"));
  await card.locator(".explain").click();
  assert.match(await card.locator(".explanation").textContent(), /document<img src=x onerror=alert\(1\)>/);
  assert.equal(await page.locator(".hit img, .hit script, .hit b:not(.scores b)").count(), 0);
  assert.equal(await page.evaluate(() => window.isOwned), undefined);
  await screenshot(page, "search-hostile");
  await page.end();
});

test("an explanation tells where a hit stands elsewhere and where its score is from", async () => {
  const page = await openPage(browser, server, address);
  await hitsShown(page);
  const card = page.locator('.column[data-column="1"] .hit').first();
  await card.locator(".explain").click();
  const text = await card.locator(".explanation").textContent();
  for (const part of ["rank, First stage", "rank, minilm-science", "below the hit above|above the next", "from the (model|score cache)", "Stored fields"]) {
    assert.match(text, new RegExp(part));
  }
  await checkAccessibility(page);
  await screenshot(page, "search-explained");
  await page.end();
});

test("a passed deadline is said in the column", async () => {
  const page = await openPage(browser, server, "/?q=never+asked+before+egg&adapters=minilm-qa&deadline_millis=0");
  await hitsShown(page);
  assert.match(await page.locator(".fallback").textContent(), /First-stage order: deadline passed\./);
  assert.match(await page.getByRole("status").first().textContent(), /1 column in first-stage order/);
  await checkAccessibility(page);
  await screenshot(page, "search-fallback");
  await page.end();
});

test("rerank stages are one more column, and long documents are cut as the form says", async () => {
  const page = await openPage(browser, server);
  const asked = [];
  page.on("request", (request) => request.url().endsWith("/v1/compare") && asked.push(request.postDataJSON()));
  await page.getByText("Options").click();
  await page.getByLabel("Rerank stages").fill("none:10, minilm-qa:5");
  await page.getByLabel("Long documents").selectOption("max");
  await page.getByLabel("Passage, tokens").fill("32");
  await page.getByLabel("Stride, tokens").fill("16");
  await search(page, QUERY);
  assert.match(page.url(), /passage_tokens=32&stride=16&stages=none%3A10,\+minilm-qa%3A5/);
  const ofStages = asked.find(({ stages }) => stages);
  assert.deepEqual(ofStages.stages, [{ depth: 10, adapter: "none" }, { depth: 5, adapter: "minilm-qa" }]);
  assert.deepEqual(ofStages.adapters, []);
  assert.ok(asked.length > 1 && asked.every(({ passage_tokens, stride }) => passage_tokens === 32 && stride === 16));
  const names = await page.locator(".column h3").allTextContents();
  assert.ok(names.at(-1).includes("none:10,minilm-qa:5"), names.join());
  const body = { query: QUERY, stages: ofStages.stages, passages: "max", passage_tokens: 32, stride: 16 };
  const { hits } = await ask(server, "/v1/search", body);
  assert.deepEqual(await idsIn(page, names.length - 1), hits.map(({ id }) => id));
  const last = page.locator(".column").last();
  await last.locator(".explain").first().click();
  assert.match(await last.locator(".explanation").textContent(), /rank, stage 1\d+, score .*rank, stage 2\d+, score /);
  await checkAccessibility(page);
  await page.end();
});

test("what is refused is said beside its control", async () => {
  const page = await openPage(browser, server, "/", { expectRefusals: true });
  const wrong = [
    ["depth=100000", "depth", /above the limit of 1000/],
    ["top_k=ten", "top_k", /ten/],
    ["deadline_millis=soon", "deadline_millis", /soon/],
    ["filters=lang", "filters", /“lang” is not a filter/],
    ["filters=%7B%22year%22", "filters", /not valid JSON/],
    ["filters=title%3E1", "filters", /title/],
    ["adapters=gone", "adapters", /gone/],
    ["stages=none", "stages", /“none” is not a stage/],
    ["stages=none:5,none:6", "stages", /depth of stage 2 is 6/],
    ["stages=none:100000", "stages", /above/],
    ["passages=max&passage_tokens=3", "passage_tokens", /16/],
    ["passages=max&passage_tokens=32&stride=64", "stride", /above passage_tokens/],
  ];
  for (const [params, control, message] of wrong) {
    await page.goto(`${server.url}/?q=egg&${params}`);
    await page.locator(`#${control}-error:not(:empty)`).waitFor();
    assert.match(await page.locator(`#${control}-error`).textContent(), message);
    assert.ok(await page.locator("#results").isHidden());
  }
  await page.goto(`${server.url}/?q=egg&depth=100000`);
  await page.locator("#depth-error:not(:empty)").waitFor();
  assert.equal(await page.getByLabel("Depth").getAttribute("aria-invalid"), "true");
  await checkAccessibility(page);
  await screenshot(page, "search-refused");
  await page.end();
});

test("nothing found, a busy service and one that is gone are told apart", async () => {
  const page = await openPage(browser, server, "/?q=zzzzz", { expectRefusals: true });
  await page.getByText("No hits for “zzzzz”.").waitFor();
  const body = JSON.stringify({ error: { kind: "overloaded", message: "too many concurrent searches (limit 128); retry later" } });
  await page.route("**/v1/compare", (route) => route.fulfill({ status: 429, headers: { "retry-after": "2" }, contentType: "application/json", body }));
  await page.getByRole("searchbox").fill("egg");
  await page.keyboard.press("Enter");
  const retry = page.getByRole("button", { name: /^Try again/ });
  await page.getByRole("alert").getByText("too many concurrent searches").waitFor();
  assert.ok(await retry.isDisabled());
  await checkAccessibility(page);
  await screenshot(page, "search-busy");
  await page.unroute("**/v1/compare");
  await until(page, () => !document.querySelector("#notice button").disabled);
  await retry.click();
  await hitsShown(page);
  assert.ok(await page.getByRole("alert").first().isHidden());

  await page.route("**/v1/compare", (route) => route.abort());
  await page.getByRole("searchbox").fill("hens");
  await page.keyboard.press("Enter");
  await page.getByRole("alert").getByText("does not respond").waitFor();
  assert.ok((await idsIn(page, 0)).includes("e3"), "the first stage's order stays");
  await page.end();
});

for (const colorScheme of ["light", "dark"]) {
  test(`on a phone, ${colorScheme}, one column is shown at a time`, async () => {
    const phone = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true, colorScheme };
    const page = await openPage(browser, server, address, phone);
    await hitsShown(page);
    await checkFits(page);
    assert.ok(await page.locator("#lines").isHidden());
    await checkAccessibility(page);
    await screenshot(page, `phone-${colorScheme}`);
    await page.getByRole("button", { name: "minilm-qa", exact: true }).click();
    await until(page, () => document.querySelector("#scroller").scrollLeft === 390);
    await until(page, () => document.querySelector("#chooser [aria-pressed=true]").textContent === "minilm-qa");
    const moved = page.locator('.column[data-column="1"] .move').filter({ hasText: "▲" }).first();
    assert.ok(await moved.isVisible());
    await page.locator('.column[data-column="1"] .hit').first().getByRole("button", { name: "relevant", exact: true }).tap();
    await screenshot(page, `phone-${colorScheme}-adapter`);
    await page.end();
  });
}

test("in dark mode everything can still be read", async () => {
  const page = await openPage(browser, server, address, { colorScheme: "dark" });
  await hitsShown(page);
  await page.locator('.column[data-column="1"] .hit').first().focus();
  for (const key of ["1", "j", "2", "j", "3", "e"]) await page.keyboard.press(key);
  await checkAccessibility(page);
  await screenshot(page, "search-dark");
  await page.end();
});
