// The queries of a set in a table, with what each ranking is worth, and the means above it.

import { columnName } from "./comparison.js";
import { h, spoken } from "./dom.js";
import { bestGain, DEPTH } from "./evaluation.js";
import { grouped, percent, signed } from "./numbers.js";
import { table } from "./report.js";
import { writeState } from "./state.js";

/** How many rows are shown before the button that shows more. */
const ROWS = 200;

const ORDERS = [
  { value: "set", name: "as in the set", key: null },
  { value: "gain", name: "largest gain first", key: (row) => -(row.gain ?? -Infinity) },
  { value: "loss", name: "largest loss first", key: (row) => row.gain ?? Infinity },
  { value: "judged", name: "least judged first", key: (row) => row.judgedShare ?? Infinity },
];

const MEASURE = `nDCG@${DEPTH} as in trec_eval: the grade is the gain, discounted by log2(rank + 1); unjudged hits count as not relevant.`;

/** The means of all rankers. `onBaseline` takes the name of another baseline. */
export function summaryElements({ nQueries, isAlike, rankers }, names, baseline, onBaseline) {
  const unsure = isAlike ? null : "unsure";
  const row = (name) => {
    const { mean, gain, nBetter, nWorse, nSame, judgedShare, nFallbacks } = rankers[name];
    const isBase = name === baseline;
    return [
      columnName(name),
      h("span", { class: unsure }, mean === null ? "–" : mean.toFixed(4)),
      isBase ? "baseline" : gain === null ? "–" : h("span", { class: unsure ?? (gain < 0 ? "worse" : "better") }, signed(gain, 4)),
      isBase ? "" : `${grouped(nBetter)} · ${grouped(nWorse)} · ${grouped(nSame)}`,
      percent(judgedShare),
      nFallbacks > 0 ? h("b", { class: "worse" }, grouped(nFallbacks)) : "0",
    ];
  };
  const choice = h("select", { id: "set-baseline", on: { change: (event) => onBaseline(event.target.value) } },
    names.map((name) => h("option", { value: name, selected: name === baseline }, columnName(name))));
  const notAlike = !isAlike && h("p", { class: "fallback" }, h("b", {}, "Not comparable yet: "), "the rankings have different numbers of judged hits, so nDCG is gray. Judge blind to complete them.");
  return [
    h("section", { class: "panel" },
      h("div", { class: "panel-head" }, h("h3", {}, `Means over ${nQueries === 1 ? "1 query" : `${grouped(nQueries)} queries`}`), h("label", { for: "set-baseline" }, "Gains from"), choice),
      nQueries === 0 ? h("p", { class: "fallback" }, "No query has a relevant judgment and a ranking in every row yet. Import judgments, or judge blind.") : notAlike,
      table(["", `nDCG@${DEPTH}`, "gain", "better · worse · same", "judged", "fell back"], names.map(row)),
      h("p", { class: "note" }, `${MEASURE} Means are over the queries that have a relevant judgment and a ranking in every row.`)),
  ];
}

export class QueryTable {
  #host;
  #stateOf;
  #order = "set";
  #limit = ROWS;
  #shown = null;

  /** `stateOf` gives the state whose options the links to a query take along. */
  constructor(host, stateOf) {
    this.#host = host;
    this.#stateOf = stateOf;
  }

  /** Shows the rows (`scored` queries), with a column for each name. */
  show(rows, names, baseline) {
    this.#shown = [rows, names, baseline];
    if (rows.length === 0) {
      this.#host.replaceChildren();
      return;
    }
    const ordered = this.#ordered(rows.map((row) => ({ ...row, gain: bestGain(row, names, baseline), judgedShare: judgedShare(row) })));
    const visible = ordered.slice(0, this.#limit);
    const more = ordered.length > visible.length && h("button", { type: "button", on: { click: () => this.#showAll() } }, `Show all ${grouped(ordered.length)}`);
    const head = ["query", ...names.map(columnName), names.length > 0 && "judged", "judgments", ""].filter((cell) => cell !== false);
    const focused = document.activeElement?.id;
    this.#host.replaceChildren(h("section", { class: "panel" },
      h("div", { class: "panel-head" }, h("h3", {}, "Queries"), names.length > 0 && this.#orderChoice()),
      h("div", { class: "query-table" }, table(head, visible.map((row) => this.#row(row, names, baseline)))),
      more));
    // The table is drawn anew while a run goes on; whoever is in it stays where they are.
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  }

  #orderChoice() {
    const change = (event) => {
      this.#order = event.target.value;
      this.show(...this.#shown);
    };
    return [h("label", { for: "query-order" }, "Order"), h("select", { id: "query-order", on: { change } },
      ORDERS.map(({ value, name }) => h("option", { value, selected: value === this.#order }, name)))];
  }

  #ordered(rows) {
    const { key } = ORDERS.find(({ value }) => value === this.#order);
    return key ? rows.toSorted((a, b) => key(a) - key(b) || 0) : rows;
  }

  #showAll() {
    this.#limit = Infinity;
    this.show(...this.#shown);
  }

  #row(row, names, baseline) {
    const { qid, text, scores, isAlike, result, grades } = row;
    const state = this.#stateOf();
    const open = h("a", { id: `open-${qid}`, href: writeState({ ...state, view: "search", q: text, top_k: "", offset: "" }), "data-view": "search" }, text);
    const judge = h("a", { id: `judge-${qid}`, href: writeState({ ...state, view: "sets", judge: qid }), "data-view": "sets" }, "Judge blind", spoken(` ${text}`));
    const cells = names.map((name) => scoreCell(scores[name], name === baseline ? null : scores[baseline], isAlike));
    const failed = result?.error && h("span", { class: "worse" }, ` ${result.error}`);
    return [[h("span", { class: "qid" }, qid), " ", open, failed], ...cells, ...(names.length > 0 ? [judgedCell(scores)] : []), grouped(grades.size), judge];
  }
}

/** A ranking's nDCG, gray where the rankings of the query are not judged alike, with its sign against the baseline. */
function scoreCell(score, base, isAlike) {
  if (!score) return "";
  if (score.fallback) return h("span", { class: "worse" }, "fell back");
  if (score.nDCG === null) return "–";
  const gain = base && base.nDCG !== null ? score.nDCG - base.nDCG : 0;
  const kind = !isAlike ? "unsure" : gain > 1e-9 ? "better" : gain < -1e-9 ? "worse" : null;
  const sign = gain > 1e-9 ? " ▲" : gain < -1e-9 ? " ▼" : "";
  return h("span", { class: kind, title: isAlike ? null : "Not comparable yet: the rankings have different numbers of judged hits" }, score.nDCG.toFixed(3), sign && h("span", { "aria-hidden": "true" }, sign));
}

/** `7–10 of 10`: how much of the rankings is judged. */
function judgedCell(scores) {
  const all = Object.values(scores);
  if (all.length === 0) return "";
  const counts = all.map(({ nJudged }) => nJudged);
  const [low, high] = [Math.min(...counts), Math.max(...counts)];
  return `${low === high ? low : `${low}–${high}`} of ${Math.max(...all.map(({ nHits }) => nHits))}`;
}

function judgedShare({ scores }) {
  const all = Object.values(scores);
  const nHits = all.reduce((sum, one) => sum + one.nHits, 0);
  return nHits > 0 ? all.reduce((sum, one) => sum + one.nJudged, 0) / nHits : null;
}
