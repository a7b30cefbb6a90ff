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
    [["lang"], '“lang” is not a filter; use field=value or year>=1990, with "quotes" around spaces.'],
    [["year=1 year>0"], "year has both a value and a bound; give one of them."],
  ]);
});

test("rerank stages are read as they are typed, and named as the service names them", async () => {
  const rows = [
    ["none:100, qa:10", [{ depth: 100, adapter: "none" }, { depth: 10, adapter: "qa" }], "none:100,qa:10"],
    ["default:9", [{ depth: 9 }], "default:9"],
    ["none@minilm:1000:0.4,a.rerank-v1:0:50:1.0", [{ depth: 1000, adapter: "none", base: "minilm", deadline_share: 0.4 }, { depth: 50, adapter: "a.rerank-v1:0", deadline_share: 1 }], "none@minilm:1000:0.4,a.rerank-v1:0:50:1.0"],
  ];
  for (const [text, stages, name] of rows) {
    await check("stages", "readStages", [[[text], stages]]);
    await check("stages", "stagesName", [[[stages], name]]);
  }
  await check("stages", "readStages", [
    [[" "], null],
    [["qa"], "“qa” is not a stage; use ADAPTER[@BASE]:DEPTH[:SHARE], as in none:100, qa:10."],
    [["qa:5,"], "“” is not a stage; use ADAPTER[@BASE]:DEPTH[:SHARE], as in none:100, qa:10."],
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
    [["q1 0 d1 much"], "Line 1 is not a judgment; it should be “qid 0 docid grade”, or three columns separated by tabs."],
    [["q1 0 d1 1\n{}"], 'Line 2 is not a query: it needs an "_id" and a "text".'],
  ]);
  await check("qrels", "writeTrec", [
    [[[{ qid: "q1", docid: "d1", grade: 2 }]], "q1 0 d1 2\n"],
    [[judgments], "“d 1” has a space, which TREC qrels cannot represent; download the BEIR format."],
  ]);
  await check("qrels", "writeBeir", [[[judgments], "query-id\tcorpus-id\tscore\nq1\td 1\t2\n"]]);
});

test("JSON and lists of queries are read", async () => {
  const judged = [{ qid: "q1", docid: "d1", grade: 2 }];
  await check("qrels", "readQrels", [
    [['{"q1": {"d1": 2}}'], { judgments: judged, queries: [] }],
    [['[{"qid": "q1", "query": "egg", "judgments": {"d1": 2}}, {"query": "hen"}]'], { judgments: judged, queries: [{ qid: "q1", text: "egg" }, { qid: null, text: "hen" }] }],
    [['{"queries": [{"qid": 1, "query": "egg"}]}'], { judgments: [], queries: [{ qid: "1", text: "egg" }] }],
    [['{"q1": {"d1": "2"}}'], 'The grade of “d1” for “q1” is not an integer: "2".'],
    [['[{"qid": "q1"}]'], 'Entry 1 of the list is not a query: it needs a "query", and can have a "qid" and "judgments".'],
    [['[{"query": "egg", "judgments": {"d1": 1}}]'], 'Entry 1 of the list has judgments but no "qid".'],
  ]);
  await check("qrels", "readQueries", [
    [["how long\n\nq7\thens \n"], { judgments: [], queries: [{ qid: null, text: "how long" }, { qid: "q7", text: "hens" }] }],
    [['{"_id": "a", "text": "egg"}\n{"_id": "b", "text": "hen"}'], { judgments: [], queries: [{ qid: "a", text: "egg" }, { qid: "b", text: "hen" }] }],
    [['["egg", "hen"]'], { judgments: [], queries: [{ qid: null, text: "egg" }, { qid: null, text: "hen" }] }],
    [["a\tb\tc"], "Line 1 has 3 columns; it should be a query, or an id, a tab and a query."],
    [["a\t "], "Line 1 is not a query: its id or its text is empty."],
  ]);
});

test("a filter is added to those that are there", async () => {
  await check("filters", "withCondition", [
    [["", "lang", "en"], 'lang="en"'],
    [["year>=1990", "name", 'a "b"'], 'year>=1990 name="a \\"b\\""'],
    [["", "year", 1990], "year=1990"],
    [["", "open", true], "open=true"],
    [['{"year": {"gte": 1990}}', "lang", "en"], '{"year":{"gte":1990},"lang":["en"]}'],
    [["year=1990", "two words", "x"], '{"year":["1990",1990],"two words":["x"]}'],
  ]);
});

test("rankings of a query set are compared over the same queries, and only where they are judged alike", async () => {
  const score = (nDCG, nJudged, fallback = null) => ({ nDCG, nJudged, nHits: 10, fallback });
  const row = (a, b) => ({ scores: { a, b } });
  const rows = [row(score(0.5, 10), score(0.7, 10)), row(score(0.5, 10), score(0.4, 10)), row(score(1, 10), score(null, 10, "deadline_passed")), { scores: {} }];
  const { nQueries, isAlike, rankers } = await call("evaluation", "summarized", rows, ["a", "b"], "a");
  assert.deepEqual([nQueries, isAlike], [2, true]);
  assert.ok(Math.abs(rankers.b.gain - 0.05) < 1e-12, `${rankers.b.gain}`);
  assert.deepEqual([rankers.b.nBetter, rankers.b.nWorse, rankers.b.nSame, rankers.b.nFallbacks], [1, 1, 0, 1]);
  const uneven = await call("evaluation", "summarized", [row(score(0.5, 10), score(0.7, 9))], ["a", "b"], "a");
  assert.equal(uneven.isAlike, false);

  const result = { rankers: { a: { ids: ["x", "y"], fallback: null }, b: { ids: ["y", "z"], fallback: null }, c: { ids: ["x", "y"], fallback: "queue_full" } } };
  const graded = await call("evaluation", "scored", result, { entries: [["x", 1], ["y", 0]] });
  assert.deepEqual(graded, { scores: { a: { nDCG: 1, nJudged: 2, nHits: 2, fallback: null }, b: { nDCG: 0, nJudged: 1, nHits: 2, fallback: null }, c: { nDCG: null, nJudged: 2, nHits: 2, fallback: "queue_full" } }, isAlike: false });
});

test("the order of a pool depends on the query and the documents alone", async () => {
  const ids = Array.from({ length: 10 }, (_, n) => `d${n}`);
  const order = await call("evaluation", "pooled", "q1", [ids, ids.toReversed()]);
  assert.deepEqual(order.toSorted(), ids);
  assert.deepEqual(await call("evaluation", "pooled", "q1", [ids.toReversed()]), order, "who ranked them changes nothing");
  assert.notDeepEqual(order, ids);
  assert.notDeepEqual(await call("evaluation", "pooled", "q2", [ids]), order);
});

test("a command quotes what a shell would read", async () => {
  const exchange = { method: "PUT", path: "v1/aliases/default", body: `{"adapter":"it's"}`, hasKey: true };
  assert.equal(
    await call("requests", "curlOf", exchange, "http://127.0.0.1:1/sub/?q=x"),
    `curl -sS -X PUT -H "authorization: Bearer $LORANK_KEY" -H 'content-type: application/json' 'http://127.0.0.1:1/sub/v1/aliases/default' -d '{"adapter":"it'\\''s"}'`,
  );
});

test("an address and a state say the same", async () => {
  const addresses = [
    "?q=a+b",
    "?q=egg&adapters=",
    "?q=egg&adapters=a,none&depth=5&top_k=3&filters=x%3D1&syntax=advanced&fuzzy=off&baseline=a&offset=3",
    "?view=sets&adapters=a,none&depth=5&judge=q1",
    "?q=egg&passages=max&passage_tokens=32&stride=16&stages=none%3A10,a%3A5",
    "?view=sets&passages=max&passage_tokens=32&stages=a%3A5",
    "?view=experiments&experiment=x",
    "?view=service&index=shop",
  ];
  for (const address of addresses) {
    assert.equal(await call("state", "writeState", await call("state", "readState", address)), address);
  }
});

test("the parts of a latency add up to its whole", async () => {
  const timings = { first_stage: 1, cache: 0.5, queue: 2, rerank: 7, total: 30 };
  const stages = await call("latency", "stagesOf", timings);
  assert.deepEqual(Object.fromEntries(stages.map(({ key, millis }) => [key, millis])), { first: 1, cache: 0.5, queue: 2, model: 5 });
});

test("links tell who moves where", async () => {
  const ranker = (name, ids) => ({ name, hits: [...ids].map((id, n) => ({ id, rank: n + 1, first_stage_rank: "abcde".indexOf(id) + 1 })) });
  const rankers = [ranker("first-stage", "abcd"), ranker("x", "bace"), ranker("y", "dbae"), { name: "z", isWaiting: true, hits: [] }];
  for (const [baseline, expected] of [
    ["first-stage", ["b up, a down, c same, e new, d gone", "d new, b same, a down, e up, c gone", ""]],
    ["x", ["b down, a up, c same, e new, d gone", "d new, b down, a down, e same, c gone", ""]],
    ["z", ["b up, a down, c same, e new, d gone", "d new, b same, a down, e up, c gone", ""]],
  ]) {
    const columns = await call("comparison", "columnsOf", { rankers, documents: {} }, baseline);
    const links = await call("comparison", "linksOf", columns);
    const between = (column) => links.filter((link) => link.column === column).map(({ id, kind }) => `${id} ${kind}`).join(", ");
    assert.deepEqual([0, 1, 2].map(between), expected, baseline);
  }
});
