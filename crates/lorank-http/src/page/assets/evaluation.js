// What the rankings of a query set are worth by its judgments. Plain values in, plain values out.

import { ndcg } from "./measures.js";

/** How far down rankings are measured and judged. */
export const DEPTH = 10;

/** By how much the judged shares of two columns may differ if their means are to be compared. */
const JUDGED_DIFFERENCE_MAX = 0.02;

/** Differences below this are none: sums of the same gains in another order. */
const EPSILON = 1e-9;

/**
 * A query under each ranker: `{nDCG, nJudged, nHits, fallback}` by name, and whether the columns are judged alike. `result` is
 * `{rankers: {name: {ids, fallback}}}` or null, `grades` a map by document. A ranker that fell back has no nDCG: the order is not its own.
 */
export function scored(result, grades) {
  const scores = {};
  for (const [name, { ids, fallback }] of Object.entries(result?.rankers ?? {})) {
    const top = ids.slice(0, DEPTH);
    const nJudged = top.filter((id) => grades.has(id)).length;
    scores[name] = { nDCG: fallback ? null : ndcg(top, grades, DEPTH), nJudged, nHits: top.length, fallback };
  }
  const shares = Object.values(scores).map(({ nJudged, nHits }) => nJudged / Math.max(1, nHits));
  return { scores, isAlike: shares.every((share) => share === shares[0]) };
}

/**
 * The means of each ranker over the queries of which all rankers have an nDCG, against those of the baseline: `{nQueries, isAlike,
 * rankers: {name: {mean, gain, nBetter, nWorse, nSame, judgedShare, nFallbacks}}}`. `rows` are `scored` queries.
 */
export function summarized(rows, names, baseline) {
  const all = rows.filter(({ scores }) => names.every((name) => scores[name]));
  const paired = all.filter(({ scores }) => names.every((name) => scores[name].nDCG !== null));
  const rankers = {};
  for (const name of names) {
    const gains = paired.map(({ scores }) => scores[name].nDCG - scores[baseline].nDCG);
    const sum = (key) => all.reduce((total, { scores }) => total + scores[name][key], 0);
    rankers[name] = {
      mean: mean(paired.map(({ scores }) => scores[name].nDCG)),
      gain: mean(gains),
      nBetter: gains.filter((gain) => gain > EPSILON).length,
      nWorse: gains.filter((gain) => gain < -EPSILON).length,
      nSame: gains.filter((gain) => Math.abs(gain) <= EPSILON).length,
      judgedShare: all.length > 0 ? sum("nJudged") / Math.max(1, sum("nHits")) : null,
      nFallbacks: all.filter(({ scores }) => scores[name].fallback).length,
    };
  }
  const shares = Object.values(rankers).map(({ judgedShare }) => judgedShare ?? 0);
  const isAlike = Math.max(...shares) - Math.min(...shares) <= JUDGED_DIFFERENCE_MAX;
  return { nQueries: paired.length, isAlike, rankers };
}

/** How much better the best of the other rankers is than the baseline; null where that is not known. */
export function bestGain({ scores }, names, baseline) {
  const base = scores[baseline]?.nDCG ?? null;
  const others = names.filter((name) => name !== baseline).map((name) => scores[name]?.nDCG ?? null).filter((value) => value !== null);
  return base === null || others.length === 0 ? null : Math.max(...others) - base;
}

/**
 * The documents to judge for a query, each once, in an order that tells nothing of who ranked them: by a hash of query and id, so
 * that it stays the same while they are judged.
 */
export function pooled(qid, rankings) {
  const ids = [...new Set(rankings.flatMap((all) => all.slice(0, DEPTH)))];
  const keyed = ids.map((id) => ({ id, key: hashOf(`${qid}\n${id}`) }));
  return keyed.sort((a, b) => a.key - b.key || (a.id < b.id ? -1 : 1)).map(({ id }) => id);
}

/** FNV-1a, 32 bits, with the last rounds of MurmurHash3 so that similar texts part. */
function hashOf(text) {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

function mean(values) {
  return values.length > 0 ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
}
