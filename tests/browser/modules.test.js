// The modules that only compute, called in the browser that will run them.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openPage, startAll, stopAll } from "./support.js";

let server;
let browser;
let page;
before(async () => {
  [server, browser] = await startAll({ adapters: [] });
  page = await openPage(browser, server);
});
after(async () => {
  await page?.end();
  await stopAll(server, browser);
});

/** Calls a module's function with plain values. An error is its message, a map its entries. */
function call(module, name, ...values) {
  return page.evaluate(async ([module, name, values]) => {
    const { [name]: exported } = await import(`/assets/${module}.js`);
    try {
      return exported(...values.map((value) => (Array.isArray(value?.entries) ? new Map(value.entries) : value)));
    } catch (error) {
      return error.message;
    }
  }, [module, name, values]);
}

async function check(module, name, rows) {
  for (const [values, expected] of rows) {
    assert.deepEqual(await call(module, name, ...values), expected, `${name}(${JSON.stringify(values)})`);
  }
}

test("filters are read as they are typed", async () => {
  await check("filters", "readFilters", [
    [[""], null],
    [["lang=en"], { lang: ["en"] }],
    [["lang=en lang=de"], { lang: ["en", "de"] }],
    [["year=1990"], { year: ["1990", 1990] }],
    [["open=true"], { open: ["true", true] }],
    [['title="a \\"b\\" c"'], { title: ['a "b" c'] }],
    [["year>=1990 year<2000"], { year: { gte: 1990, lt: 2000 } }],
    [["score>-0.5"], { score: { gt: -0.5 } }],
    [['{"year": {"lte": 3}}'], { year: { lte: 3 } }],
    [["lang"], '“lang” is no filter; write field=value or year>=1990, with "quotes" around spaces.'],
    [["year=1 year>0"], "year has both a value and a bound; give one of them."],
  ]);
});

test("snippets become parts, and nothing else becomes markup", async () => {
  await check("snippets", "snippetParts", [
    [["a <b>boiled</b> egg"], [{ text: "a ", isMarked: false }, { text: "boiled", isMarked: true }, { text: " egg", isMarked: false }]],
    [["&lt;b&gt; &amp;lt; &quot;"], [{ text: '<b> &lt; "', isMarked: false }]],
    [["<img src=x> <B>"], [{ text: "<img src=x> <B>", isMarked: false }]],
    [[""], []],
  ]);
});

test("nDCG is that of trec_eval", async () => {
  await check("measures", "ndcg", [
    [[["a", "b"], { entries: [["a", 2], ["b", 1]] }, 10], 1],
    [[["b", "a"], { entries: [["a", 1]] }, 10], 1 / Math.log2(3)],
    [[["x", "a"], { entries: [["a", 1]] }, 1], 0],
    [[["a"], { entries: [["a", 0]] }, 10], null],
    [[["a"], { entries: [] }, 10], null],
  ]);
});

test("an interval of a share is Wilson's", async () => {
  const [low, high] = await call("measures", "wilson", 0.5, 100);
  assert.ok(Math.abs(low - 0.4038) < 1e-4 && Math.abs(high - 0.5962) < 1e-4, `${low} ${high}`);
  assert.deepEqual((await call("measures", "wilson", 0, 10))[0], 0);
});

test("qrels are read and written in both forms", async () => {
  const judgments = [{ qid: "q1", docid: "d 1", grade: 2 }];
  await check("qrels", "readQrels", [
    [["q1 0 d1 2\nq1\tQ0\td2\t0\n"], { judgments: [{ qid: "q1", docid: "d1", grade: 2 }, { qid: "q1", docid: "d2", grade: 0 }], queries: [] }],
    [["query-id\tcorpus-id\tscore\r\nq1\td 1\t2\r\n"], { judgments, queries: [] }],
    [['{"_id": "q1", "text": "egg"}'], { judgments: [], queries: [{ qid: "q1", text: "egg" }] }],
    [["q1 0 d1 -2"], { judgments: [{ qid: "q1", docid: "d1", grade: 0 }], queries: [] }],
    [["q1 0 d1 much"], "Line 1 is no judgment: it should be “qid 0 docid grade”, or three cells between tabs."],
    [["q1 0 d1 1\n{}"], 'Line 2 is no query: it needs an "_id" and a "text".'],
  ]);
  await check("qrels", "writeTrec", [
    [[[{ qid: "q1", docid: "d1", grade: 2 }]], "q1 0 d1 2\n"],
    [[judgments], "“d 1” has a space in it, which TREC qrels cannot hold; download the BEIR form."],
  ]);
  await check("qrels", "writeBeir", [[[judgments], "query-id\tcorpus-id\tscore\nq1\td 1\t2\n"]]);
});

test("an address and a state say the same", async () => {
  for (const address of ["?q=a+b", "?q=egg&adapters=", "?q=egg&adapters=a,none&depth=5&top_k=3&filters=x%3D1&syntax=advanced&offset=3", "?view=experiments&experiment=x"]) {
    assert.equal(await call("state", "writeState", await call("state", "readState", address)), address);
  }
});

test("the parts of a latency add up to its whole", async () => {
  const timings = { first_stage: 1, cache: 0.5, queue: 2, rerank: 7, total: 30 };
  const stages = await call("latency", "stagesOf", timings);
  assert.deepEqual(Object.fromEntries(stages.map(({ key, millis }) => [key, millis])), { first: 1, cache: 0.5, queue: 2, model: 5 });
});

test("links tell who moves where", async () => {
  const hit = (id, rank) => ({ id, rank, first_stage_rank: rank, rank_change: 0 });
  const rankers = [{ name: "first-stage", hits: [hit("a", 1), hit("b", 2), hit("c", 3), hit("d", 4)] }, { name: "x", hits: [hit("b", 1), hit("a", 2), hit("c", 3), hit("e", 4)] }];
  const columns = await call("comparison", "columnsOf", { rankers, documents: {} });
  const links = await call("comparison", "linksOf", columns);
  assert.deepEqual(Object.fromEntries(links.map(({ id, kind }) => [id, kind])), { b: "up", a: "down", c: "same", e: "new", d: "gone" });
});
