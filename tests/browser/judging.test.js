// Judging with the keyboard; judgments as files.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { QUERY } from "./corpus.js";
import { checkAccessibility, downloaded, hitsShown, idsIn, openPage, screenshot, search, startAll, stopAll } from "./support.js";

let server;
let browser;
before(async () => ([server, browser] = await startAll()));
after(() => stopAll(server, browser));

/** The place of the hit that has the focus: its column and its rank. */
function focused(page) {
  return page.evaluate(() => document.activeElement.id);
}

async function save(page, name) {
  await page.locator("#files summary").click();
  return downloaded(page, () => page.getByRole("button", { name }).click());
}

test("the keyboard alone searches, moves, judges and explains", async () => {
  const page = await openPage(browser, server);
  await page.locator("h1").click();
  await page.keyboard.press("/");
  await page.keyboard.type(`${QUERY} 123`);
  assert.equal(await page.getByRole("searchbox").inputValue(), `${QUERY} 123`, "in a field digits are digits");
  await page.keyboard.press("Enter");
  await hitsShown(page);
  await page.keyboard.press("ArrowDown");
  assert.equal(await focused(page), "hit-0-1");
  const moves = [
    ["j", "hit-0-2"],
    ["ArrowDown", "hit-0-3"],
    ["k", "hit-0-2"],
    ["ArrowUp", "hit-0-1"],
    ["k", "hit-0-1"],
    ["ArrowLeft", "hit-0-1"],
  ];
  for (const [key, place] of moves) {
    await page.keyboard.press(key);
    assert.equal(await focused(page), place, key);
  }
  const [here, beside] = [await idsIn(page, 0), await idsIn(page, 1)];
  const shared = here.findIndex((id) => beside.includes(id));
  for (let n = 0; n < shared; n += 1) await page.keyboard.press("j");
  const there = beside.indexOf(here[shared]) + 1;
  await page.keyboard.press("ArrowRight");
  assert.equal(await focused(page), `hit-1-${there}`, "to the right is the same document");

  const graded = () => page.evaluate(() => document.activeElement.dataset.grade);
  for (const [key, grade] of [["1", "2"], ["2", "1"], ["3", "0"], ["0", ""], ["1", "2"]]) {
    await page.keyboard.press(key);
    assert.equal(await graded(), grade, key);
  }
  assert.equal(await page.locator('.hit[data-grade="2"]').count(), 3, "it is judged in every column");
  assert.equal(await page.locator("#said").textContent(), "relevant");
  await page.keyboard.press("e");
  assert.equal(await page.locator(".explanation").count(), 1);
  await page.keyboard.press("Escape");
  assert.equal(await page.locator(".explanation").count(), 0);

  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Keys" }).waitFor();
  await checkAccessibility(page);
  await screenshot(page, "help");
  await page.keyboard.press("Escape");
  assert.equal(await focused(page), `hit-1-${there}`, "the focus is where it was");
  await page.keyboard.press("/");
  await page.keyboard.press("Escape");
  assert.equal(await focused(page), `hit-1-${there}`);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.closest("button").parentElement.closest(".hit").id), `hit-1-${there}`, "the buttons of the active hit follow it");
  await page.end();
});

test("keys of one letter can be switched off", async () => {
  const page = await openPage(browser, server, `/?q=${encodeURIComponent(QUERY)}`);
  await hitsShown(page);
  await page.keyboard.press("?");
  await page.getByLabel("Enable single-letter keys").uncheck();
  await page.getByRole("button", { name: "Close" }).click();
  await page.locator(".hit").first().focus();
  await page.keyboard.press("1");
  assert.equal(await page.locator('.hit[data-grade="2"]').count(), 0);
  await page.keyboard.press("ArrowDown");
  assert.equal(await focused(page), "hit-0-2", "arrows still move");
  await page.reload();
  await hitsShown(page);
  await page.locator(".hit").first().focus();
  await page.keyboard.press("1");
  assert.equal(await page.locator('.hit[data-grade="2"]').count(), 0, "that is remembered");
  await page.end();
});

test("judgments are kept, counted, measured and downloaded", async () => {
  const page = await openPage(browser, server, `/?q=${encodeURIComponent(QUERY)}&adapters=minilm-qa,minilm-science`);
  await hitsShown(page);
  const ids = await idsIn(page, 1);
  const grades = [2, 1, 0];
  await page.locator('.column[data-column="1"] .hit').first().focus();
  for (const key of ["1", "j", "2", "j", "3"]) await page.keyboard.press(key);
  const qualities = () => page.locator(".quality").allTextContents();
  const shown = (await qualities())[1];
  assert.match(shown, /^nDCG@10 1\.000 [+−]?[\d.]+ against First stage 3 of 10 judged(, not all columns alike)?$/);
  const first = await idsIn(page, 0);
  const gain = (id) => grades[ids.indexOf(id)] ?? 0;
  const dcg = first.reduce((sum, id, n) => sum + gain(id) / Math.log2(n + 2), 0);
  const expected = dcg / (2 + 1 / Math.log2(3));
  assert.match((await qualities())[0], new RegExp(`^nDCG@10 ${expected.toFixed(3).replace(".", "\\.")}`));
  await screenshot(page, "judged-light");

  await search(page, "hens");
  const [hen] = await idsIn(page, 0);
  await page.locator('.column[data-column="0"] .hit').first().getByRole("button", { name: "relevant", exact: true }).click();
  await page.reload();
  await hitsShown(page);
  assert.equal(await page.locator('.column[data-column="0"] .hit').first().getAttribute("data-grade"), "2", "a reload keeps them");
  await page.getByLabel("Query id").fill("hens-1");
  await page.keyboard.press("Enter");

  const judged = [...ids.slice(0, 3).map((id, n) => ["q1", id, grades[n]]), ["hens-1", hen, 2]];
  const isTrecSafe = judged.every(([, id]) => !/\s/.test(id));
  if (isTrecSafe) {
    const trec = await save(page, "Download qrels (TREC)");
    assert.deepEqual(trec, { name: "qrels.txt", text: judged.map(([qid, id, grade]) => `${qid} 0 ${id} ${grade}\n`).join("") });
  }
  const beir = await save(page, "Download qrels (BEIR TSV)");
  assert.deepEqual(beir, { name: "qrels.tsv", text: `query-id\tcorpus-id\tscore\n${judged.map((row) => `${row.join("\t")}\n`).join("")}` });
  const queries = await save(page, "Download queries.jsonl");
  assert.deepEqual(queries.text.trim().split("\n").map((line) => JSON.parse(line)), [{ _id: "q1", text: QUERY }, { _id: "hens-1", text: "hens" }]);

  await page.locator("#files summary").click();
  await checkAccessibility(page);
  page.once("dialog", (dialog) => dialog.accept());
  await page.getByRole("button", { name: "Delete all judgments" }).click();
  assert.equal(await page.locator('.hit[data-grade="2"]').count(), 0);
  await page.end();
});

test("qrels and queries are imported, and what cannot be read is named", async () => {
  const page = await openPage(browser, server, `/?q=${encodeURIComponent(QUERY)}&adapters=minilm-qa`);
  await hitsShown(page);
  const file = (name, text) => ({ name, mimeType: "text/plain", buffer: Buffer.from(text) });
  await page.locator("#qrels-file").setInputFiles([
    file("qrels.txt", "t7 0 e1 3\nt7 0 e3 0\n"),
    file("queries.jsonl", `{"_id": "t7", "text": ${JSON.stringify(QUERY)}}\n`),
  ]);
  await page.getByText("queries.jsonl: 0 judgments and 1 query imported.").waitFor();
  assert.equal(await page.getByLabel("Query id").inputValue(), "t7");
  const gradeOf = (id) => page.locator(`.column[data-column="0"] .hit[data-id="${id}"]`).getAttribute("data-grade");
  assert.deepEqual([await gradeOf("e1"), await gradeOf("e3")], ["2", "0"]);
  const saved = await save(page, "Download qrels (TREC)");
  assert.equal(saved.text, "t7 0 e1 3\nt7 0 e3 0\n", "an imported grade stays what it was");
  await page.locator("#qrels-file").setInputFiles(file("notes.txt", "t7 0 e1 3\nread me\n"));
  await page.getByText("notes.txt: Line 2 is not a judgment").waitFor();
  await page.end();
});
