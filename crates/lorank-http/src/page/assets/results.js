// The results of a run as files.

import { DEPTH } from "./evaluation.js";

/** A row for each query: its id and text, and for each ranker nDCG, how many of the first hits are judged, and why it fell back. */
export function resultsTsv({ names, rows }) {
  const head = ["qid", "query", ...names.flatMap((name) => [`ndcg@${DEPTH}:${name}`, `judged@${DEPTH}:${name}`, `fallback:${name}`])];
  const row = ({ qid, text, scores }) => {
    const cells = (score) => (score ? [score.nDCG === null ? "" : score.nDCG.toFixed(6), score.nJudged, score.fallback ?? ""] : ["", "", ""]);
    return [cell(qid), cell(text), ...names.flatMap((name) => cells(scores[name]))];
  };
  return [head, ...rows.map(row)].map((cells) => `${cells.join("\t")}\n`).join("");
}

/** A text without what would end a cell, and with a `'` before what a spreadsheet would run as a formula. */
function cell(text) {
  const flat = text.replace(/[\t\r\n]+/g, " ");
  return /^[=+\-@]/.test(flat) ? `'${flat}` : flat;
}

/** All of it: the options, the means, and for each query its judgments, rankings and nDCG. It can be imported as judgments again. */
export function resultsJson({ set, settings, names, baseline, rows, summary }) {
  const query = ({ qid, text, grades, result, scores }) => {
    const ranker = (name) => [name, { ...result.rankers[name], ndcg: scores[name].nDCG, n_judged: scores[name].nJudged }];
    const rankers = result?.rankers ? Object.fromEntries(names.map(ranker)) : null;
    return { qid, query: text, judgments: Object.fromEntries(grades), rankers, error: result?.error ?? null };
  };
  const means = ([name, one]) => [name, {
    mean_ndcg: one.mean, gain: one.gain, n_better: one.nBetter, n_worse: one.nWorse, n_same: one.nSame,
    judged_share: one.judgedShare, n_fallbacks: one.nFallbacks,
  }];
  const value = {
    set,
    at: new Date().toISOString(),
    measure: `ndcg@${DEPTH}, linear gain`,
    request: settings.body,
    index: settings.index || "default",
    baseline,
    n_queries_compared: summary.nQueries,
    is_judged_alike: summary.isAlike,
    means: Object.fromEntries(Object.entries(summary.rankers).map(means)),
    queries: rows.map(query),
  };
  return `${JSON.stringify(value, null, 1)}\n`;
}
