// Query sets: import, a run, what came of it, files, and blind judging.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { DOCUMENTS, QUERY } from "./corpus.js";
import { ask, binary, checkAccessibility, checkFits, downloaded, hitsShown, idsIn, openPage, screenshot, startAll, stopAll, tabTo, until } from "./support.js";

let server;
let browser;
before(async () => ([server, browser] = await startAll()));
after(() => stopAll(server, browser));

const ADDRESS = "/?view=sets&adapters=minilm-qa,minilm-science";
const NAMES = ["first-stage", "minilm-qa", "minilm-science"];
const QUERIES = [["eggs", QUERY], ["hens", "hens"], ["boil", "boiling water"]];

const file = (name, text) => ({ name, mimeType: "text/plain", buffer: Buffer.from(text) });

async function importAll(page, judgments) {
  await page.locator("#queries-file").setInputFiles(file("queries.tsv", QUERIES.map((cells) => `${cells.join("\t")}\n`).join("")));
  await page.getByText("0 judgments and 3 queries imported.").waitFor();
  await page.locator("#judgments-file").setInputFiles(file("qrels.txt", judgments.map(([qid, id, grade]) => `${qid} 0 ${id} ${grade}\n`).join("")));
  await page.getByText(`${judgments.length} judgment${judgments.length === 1 ? "" : "s"} and 0 queries imported.`).waitFor();
}

async function runAll(page) {
  await page.getByRole("button", { name: "Run all queries" }).click();
  await page.getByText("3 of 3 queries answered.").waitFor();
  await until(page, () => document.querySelectorAll("#set-queries tbody tr").length === 3 && document.querySelector("#set-summary table"));
}

const cells = (page, selector) => page.locator(`${selector} tbody tr`).evaluateAll((rows) => rows.map((row) => [...row.children].map((cell) => cell.textContent.trim())));

function ndcg(ids, grades) {
  const dcg = (gains) => gains.reduce((sum, gain, n) => sum + gain / Math.log2(n + 2), 0);
  const best = dcg(Object.values(grades).toSorted((a, b) => b - a).slice(0, 10));
  return dcg(ids.slice(0, 10).map((id) => grades[id] ?? 0)) / best;
}

test("a set is imported, run, measured and exported", async () => {
  const page = await openPage(browser, server, ADDRESS);
  await page.getByText("A query set has queries").waitFor();
  await checkAccessibility(page);
  await screenshot(page, "sets-empty");
  const judgments = [["eggs", "e1", 2], ["eggs", "e2", 1], ["hens", "e3", 2]];
  await importAll(page, judgments);
  await runAll(page);

  const rankings = {};
  for (const [qid, query] of QUERIES) rankings[qid] = (await ask(server, "/v1/compare", { query, adapters: NAMES.slice(1), top_k: 10 })).rankers.map(({ hits }) => hits.map(({ id }) => id));
  const expected = { eggs: rankings.eggs.map((ids) => ndcg(ids, { e1: 2, e2: 1 })), hens: rankings.hens.map((ids) => ndcg(ids, { e3: 2 })) };
  const rows = await cells(page, "#set-queries");
  for (const [n, qid] of ["eggs", "hens"].entries()) {
    assert.deepEqual(rows[n].slice(1, 4).map((text) => text.slice(0, 5)), expected[qid].map((value) => value.toFixed(3)), qid);
  }
  assert.deepEqual(rows[2].slice(1, 4), ["–", "–", "–"], "nothing is judged");
  const means = await cells(page, "#set-summary");
  const mean = (n) => (expected.eggs[n] + expected.hens[n]) / 2;
  assert.deepEqual(means.map(([, value]) => value), NAMES.map((_, n) => mean(n).toFixed(4)));
  const gains = ["eggs", "hens"].map((qid) => expected[qid][1] - expected[qid][0]);
  const count = (holds) => gains.filter(holds).length;
  assert.equal(means[1][3], `${count((gain) => gain > 1e-9)} · ${count((gain) => gain < -1e-9)} · ${count((gain) => Math.abs(gain) <= 1e-9)}`);
  await page.getByText("Means over 2 queries").waitFor();
  await checkAccessibility(page);
  await checkFits(page);
  await screenshot(page, "sets-results", { fullPage: true });

  const save = async (name) => {
    await page.locator("#set-files summary").click();
    return downloaded(page, () => page.getByRole("button", { name }).click());
  };
  const tsv = (await save("Download results (TSV)")).text.trimEnd().split("\n").map((line) => line.split("\t"));
  assert.deepEqual(tsv[0].slice(0, 5), ["qid", "query", "ndcg@10:first-stage", "judged@10:first-stage", "fallback:first-stage"]);
  assert.deepEqual([tsv[1][0], tsv[1][1], tsv[1][2]], ["eggs", QUERY, expected.eggs[0].toFixed(6)]);
  const json = JSON.parse((await save("Download results (JSON)")).text);
  assert.deepEqual(json.queries.map(({ qid }) => qid), ["eggs", "hens", "boil"]);
  assert.deepEqual(json.queries[0].rankers["minilm-qa"].ids, rankings.eggs[1]);
  assert.equal(json.request.deadline_millis, 60_000);

  await page.getByLabel("Order").selectOption("gain");
  await page.getByLabel("Gains from", { exact: true }).selectOption("minilm-qa");
  assert.match(page.url(), /baseline=minilm-qa/);
  assert.equal((await cells(page, "#set-summary"))[1][2], "baseline");
  await page.getByRole("link", { name: QUERY, exact: true }).click();
  await hitsShown(page);
  assert.deepEqual(await idsIn(page, 1), rankings.eggs[1], "one query is opened as a search");
  assert.equal(await page.getByLabel("Query id").inputValue(), "eggs");
  await page.goBack();
  await page.getByText("3 of 3 queries answered.").waitFor();
  await page.getByRole("checkbox", { name: "minilm-science" }).uncheck();
  await page.getByText("The options have changed since; run again.").waitFor();
  await page.end();
});

test("nDCG is gray until the rankings are judged alike, and blind judging makes them so", async () => {
  const page = await openPage(browser, server, `${ADDRESS}`);
  await page.getByLabel("Queries, one per line").fill("boiling water");
  await page.getByRole("button", { name: "Add these queries" }).click();
  const { rankers } = await ask(server, "/v1/compare", { query: "boiling water", adapters: NAMES.slice(1), top_k: 10 });
  const rankings = rankers.map(({ hits }) => hits.map(({ id }) => id));
  const pool = new Set(rankings.flat());
  const lonely = [...pool].find((id) => rankings.some((ids) => !ids.includes(id)));
  await page.locator("#judgments-file").setInputFiles(file("qrels.tsv", `q1\t${rankings[0][0]}\t2\n`));
  await page.getByRole("button", { name: "Run all queries" }).click();
  await page.getByText("1 of 1 query answered.").waitFor();

  await page.getByRole("link", { name: /^Judge blind/ }).click();
  await page.locator(".pooled").first().waitFor();
  const ids = await page.locator(".pooled").evaluateAll((cards) => cards.map((card) => card.dataset.id));
  assert.deepEqual(new Set(ids), pool, "the hits of all rankings, each once");
  const text = await page.locator("#pool").innerText();
  for (const name of ["minilm", "First stage", "rerank", "Rank"]) assert.ok(!text.includes(name), `${name} is shown`);
  await checkAccessibility(page);
  await checkFits(page);
  await screenshot(page, "sets-blind");
  assert.equal(await page.evaluate(() => document.activeElement.closest(".pooled") !== null), true);
  const first = await page.evaluate(() => document.activeElement.dataset.id);
  await page.keyboard.press("2");
  assert.equal(await page.locator(`.pooled[data-id="${quotedId(first)}"]`).getAttribute("data-grade"), "1");
  await page.keyboard.press("k");
  assert.equal(await page.evaluate(() => document.activeElement.classList.contains("pooled")), true);
  await page.locator(`.pooled[data-id="${quotedId(first)}"]`).focus();
  await page.keyboard.press("0");
  assert.equal(await page.locator(".pooled:not([data-grade])").count(), pool.size - 1);
  if (lonely && lonely !== rankings[0][0]) {
    await page.locator(`.pooled[data-id="${quotedId(lonely)}"]`).getByRole("button", { name: "not relevant" }).click();
    await page.getByRole("link", { name: "Back to the set" }).click();
    await page.getByText("Not comparable yet").waitFor();
    assert.ok(await page.locator("#set-summary .unsure").count() > 0);
    await checkAccessibility(page);
    await screenshot(page, "sets-not-alike", { fullPage: true });
    await page.goBack();
    await page.locator(".pooled").first().waitFor();
  }
  await page.locator(".pooled:not([data-grade])").first().focus();
  while ((await page.locator(".pooled:not([data-grade])").count()) > 0) await page.keyboard.press("3");
  await page.getByText(`${pool.size} of ${pool.size} judged`).waitFor();
  await page.getByRole("link", { name: "Back to the set" }).click();
  await page.getByText("Means over 1 query").waitFor();
  assert.equal(await page.locator("#set-summary .unsure, #set-queries .unsure").count(), 0);
  const shares = (await cells(page, "#set-summary")).map((row) => row[4]);
  assert.deepEqual(shares, ["100.0 %", "100.0 %", "100.0 %"]);
  await page.end();
});

/** An id inside of a quoted attribute selector. */
function quotedId(id) {
  return id.replace(/["\\]/g, "\\$&");
}

test("a run goes on in the background, waits where the service is busy, and can be stopped", async () => {
  const page = await openPage(browser, server, ADDRESS, { expectRefusals: true });
  let nRefused = 0;
  let isHeld = true;
  const waiting = [];
  await page.route("**/v1/compare", async (route) => {
    if (nRefused < 2) {
      nRefused += 1;
      const body = JSON.stringify({ error: { kind: "overloaded", message: "too many" } });
      await route.fulfill({ status: 429, headers: { "retry-after": "1" }, contentType: "application/json", body });
      return;
    }
    if (isHeld) await new Promise((resolve) => waiting.push(resolve));
    await route.continue().catch(() => {});
  });
  await page.locator("#queries-file").setInputFiles(file("queries.txt", "eggs\nhens\nboil\nwater\nomelette\n"));
  await page.getByText("5 queries imported.").waitFor();
  await page.getByRole("button", { name: "Run all queries" }).click();
  await page.getByText("0 of 5 queries answered; other views can be used meanwhile.").waitFor();
  await until(page, () => true);
  for (let n = 0; waiting.length < 2 && n < 100; n += 1) await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(waiting.length, 2, "two at a time, after the wait that the service asked for");
  await page.getByRole("button", { name: "Stop" }).click();
  await page.getByText("0 of 5 queries answered.").waitFor();
  isHeld = false;
  waiting.forEach((go) => go());
  await page.getByRole("button", { name: "Go on" }).click();
  await page.getByRole("link", { name: "Experiments" }).click();
  await page.getByRole("heading", { name: "Experiments" }).waitFor();
  await page.getByRole("link", { name: /^Query sets/ }).click();
  await page.getByText("5 of 5 queries answered.").waitFor();
  await page.end();
});

test("queries are typed, run, opened and judged with the keyboard alone", async () => {
  const page = await openPage(browser, server, ADDRESS);
  await page.getByText("A query set has queries").waitFor();
  await tabTo(page, page.getByLabel("Queries, one per line"));
  await page.keyboard.type("eggs\nhens");
  await tabTo(page, page.getByRole("button", { name: "Add these queries" }));
  await page.keyboard.press("Enter");
  await page.getByText("2 queries imported.").waitFor();
  await tabTo(page, page.getByRole("button", { name: "Run all queries" }));
  await page.keyboard.press("Enter");
  await page.getByText("2 of 2 queries answered.").waitFor();
  await until(page, () => document.querySelectorAll("#set-queries tbody tr").length === 2);

  await tabTo(page, page.getByRole("link", { name: "hens", exact: true }));
  await page.keyboard.press("Enter");
  await hitsShown(page);
  assert.equal(await page.getByRole("searchbox", { name: "Query" }).inputValue(), "hens");
  await page.goBack();
  await page.getByText("2 of 2 queries answered.").waitFor();

  await tabTo(page, page.getByRole("link", { name: /^Judge blind/ }).first());
  await page.keyboard.press("Enter");
  await page.locator(".pooled").first().waitFor();
  await until(page, () => document.activeElement.closest(".pooled") !== null);
  const isLeft = () => page.locator(".pooled:not([data-grade])").count();
  const nBefore = await isLeft();
  await page.keyboard.press("3");
  assert.equal(await isLeft(), nBefore - 1);
  await tabTo(page, page.getByRole("link", { name: "Back to the set" }));
  await page.keyboard.press("Enter");
  await page.getByText("2 of 2 queries answered.").waitFor();

  await tabTo(page, page.getByRole("button", { name: "New set…" }));
  await page.keyboard.press("Enter");
  await until(page, () => document.activeElement.id === "new-set");
  await page.keyboard.press("Escape");
  await until(page, () => document.activeElement.id === "set-new");
  await tabTo(page, page.locator("#set-files summary"));
  await page.keyboard.press("Enter");
  await tabTo(page, page.getByRole("button", { name: "Delete this set…" }));
  await page.keyboard.press("Enter");
  await page.getByText("has 2 queries and 1 judgment.").waitFor();
  await page.keyboard.press("Escape");
  await page.getByText("2 of 2 queries answered.").waitFor();
  await page.end();
});

test("there can be several sets, each with its judgments", async () => {
  const page = await openPage(browser, server, ADDRESS);
  await page.getByRole("button", { name: "New set…" }).click();
  await checkAccessibility(page);
  await page.getByLabel("Name").fill("default");
  await page.keyboard.press("Enter");
  await page.getByText("A query set “default” exists already.").waitFor();
  await page.getByLabel("Name").fill("shop");
  await page.keyboard.press("Enter");
  await until(page, () => document.querySelector("#set-name").value === "shop");
  await importAll(page, [["hens", "e3", 2]]);
  await page.locator("#judgments-file").setInputFiles(file("bad.json", '{"hens": {"e3": "high"}}'));
  await page.getByText("bad.json: The grade of “e3” for “hens” is not an integer").waitFor();
  await page.getByLabel("Set", { exact: true }).selectOption("default");
  await page.getByText("A query set has queries").waitFor();
  await page.getByLabel("Set", { exact: true }).selectOption("shop");
  await page.reload();
  await page.getByRole("link", { name: "hens", exact: true }).waitFor();
  await page.locator("#set-files summary").click();
  await page.getByRole("button", { name: "Delete this set…" }).click();
  await page.getByText("“shop” has 3 queries and 1 judgment.").waitFor();
  await page.getByRole("button", { name: "Delete it" }).click();
  await until(page, () => document.querySelectorAll("#set-name option").length === 1);
  await page.end();
});

for (const [name, options] of [
  ["dark", { colorScheme: "dark" }],
  ["phone", { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true }],
]) {
  test(`query sets, ${name}`, async () => {
    const page = await openPage(browser, server, ADDRESS, options);
    await importAll(page, [["eggs", "e1", 2], ["hens", "e3", 2], ["boil", "e4", 1]]);
    await runAll(page);
    await checkAccessibility(page);
    await checkFits(page);
    await screenshot(page, `sets-${name}`, { fullPage: true });
    await page.getByRole("link", { name: /^Judge blind/ }).first().click();
    await page.locator(".pooled").first().waitFor();
    await checkAccessibility(page);
    await checkFits(page);
    await screenshot(page, `sets-blind-${name}`);
    await page.end();
  });
}

/** What `lorank eval --json` prints for the corpus. */
function evaluated() {
  const folder = mkdtempSync(join(tmpdir(), "lorank-evaluation-"));
  mkdirSync(join(folder, "eggs/qrels"), { recursive: true });
  writeFileSync(join(folder, "eggs/corpus.jsonl"), DOCUMENTS.map((document) => `${JSON.stringify(document)}\n`).join(""));
  writeFileSync(join(folder, "eggs/queries.jsonl"), QUERIES.map(([id, text]) => `${JSON.stringify({ _id: id, text })}\n`).join(""));
  writeFileSync(join(folder, "eggs/qrels/test.tsv"), "eggs\te1\t2\nhens\te3\t1\n");
  const args = ["eval", "--dataset", "eggs", "--adapter", "minilm-qa", "--depths", "5,10", "--json"];
  const text = execFileSync(binary(), args, { cwd: folder, env: { ...process.env, LORANK_DATA: join(folder, "data") }, stdio: "pipe" }).toString();
  rmSync(folder, { recursive: true });
  return text;
}

test("an evaluation is opened from its file", async () => {
  const page = await openPage(browser, server, ADDRESS);
  const text = evaluated();
  const { rankers, queries } = JSON.parse(text);
  await page.locator("#evaluation-file").setInputFiles(file("evaluation.json", text));
  await page.getByRole("heading", { name: "Evaluation on eggs" }).waitFor();
  const [means, compared, depths, byQuery] = await Promise.all([0, 1, 2, 3].map((n) => page.locator("#evaluation table").nth(n).locator("tbody tr").evaluateAll((rows) => rows.map((row) => [...row.children].map((cell) => cell.textContent.trim())))));
  assert.deepEqual(means.map(([name, value]) => [name, value]), rankers.map(({ name, means: [value] }) => [name, value.toFixed(4)]));
  assert.deepEqual(compared.map(([name]) => name), ["minilm-qa"]);
  assert.deepEqual(depths.map(([depth]) => depth), ["5", "10"]);
  assert.equal(byQuery.length, queries.length);
  assert.deepEqual(byQuery.find(([name]) => name.startsWith("hens")).slice(1, 3).map((value) => value.slice(0, 5)), queries.find(({ id }) => id === "hens").values.map(([value]) => value.toFixed(3)));
  await checkAccessibility(page);
  await checkFits(page);
  await screenshot(page, "sets-evaluation", { fullPage: true });
  await page.locator("#evaluation").getByRole("link", { name: "hens", exact: true }).click();
  await page.waitForURL(/q=hens/);
  await page.goBack();
  await page.getByRole("button", { name: "Close" }).click();
  await until(page, () => document.querySelector("#evaluation").hidden);
  for (const [text, problem] of [["no", "This is not JSON"], ["{}", "This is not an evaluation"], ['{"measures": ["a"], "rankers": [{}], "queries": [{"id": "q", "values": []}]}', "does not have a value for each"]]) {
    await page.locator("#evaluation-file").setInputFiles(file("broken.json", text));
    await page.getByText(problem).waitFor();
  }
  await page.end();
});
