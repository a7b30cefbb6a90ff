// The columns on the page: headings, quality, latency, hits.

import { columnName } from "./comparison.js";
import { h, sentence, spoken } from "./dom.js";
import { hitCard } from "./hits.js";
import { latencyBar } from "./latency.js";
import { ndcg } from "./measures.js";
import { signed } from "./numbers.js";
import { openRequests } from "./requests.js";

const FALLBACKS = {
  deadline_passed: "deadline passed",
  reranker_failed: "the model failed",
  queue_full: "the queue is full",
  would_miss_deadline: "the deadline would be missed",
  cancelled: "cancelled",
};

const QUALITY_TITLE =
  "By the judgments so far. Unjudged hits count as not relevant; gains are grades, as in trec_eval.";

/** A column. `slowest` is the longest time of all columns, in milliseconds; `onGrade` takes a document and a grade. */
export function columnElement(column, slowest, onGrade) {
  const heading = `column-${column.n}`;
  return h(
    "section",
    { class: "column", "aria-labelledby": heading, "data-column": column.n },
    h(
      "header",
      { class: "column-head" },
      h("div", { class: "column-title" }, h("h3", { id: heading }, columnName(column.name)), column.isReady && about(column), requestButton(column)),
      h("p", { class: "quality", title: QUALITY_TITLE }),
      column.isReady && latencyBar(column.timings_millis, slowest),
      column.isWaiting && h("p", { class: "waiting" }, "Ranking…"),
      column.error && failedNote(column.error),
      column.fallback && fallbackNote(column.fallback),
      (column.warnings ?? []).map(warningNote),
    ),
    h(
      "ol",
      { class: "hits", role: "list", start: column.hits[0]?.rank },
      column.hits.map((hit) => h("li", {}, hitCard(hit, column, onGrade))),
    ),
  );
}

/**
 * Shows in a column's heading how good it is by the judgments so far, and how much better than the baseline. It is gray until all
 * columns are judged alike: of two rankings, the one with more judged hits looks better than it is.
 */
export function showQuality(element, column, columns, grades) {
  const k = Math.min(10, column.hits.length);
  const measure = `nDCG@${k}`;
  if (column.hits[0]?.rank !== 1) return element.replaceChildren(k > 0 ? "nDCG is of the first page" : "");
  const baseline = columns.find((one) => one.isBaseline);
  const quality = qualityOf(column, k, grades);
  const nJudged = nJudgedOf(column, k, grades);
  const isAlike = columns.every((one) => !one.isReady || nJudgedOf(one, k, grades) === nJudged);
  element.classList.toggle("unsure", quality !== null && !isAlike);
  element.title = isAlike ? QUALITY_TITLE : `Not comparable yet: the columns have different numbers of judged hits. ${QUALITY_TITLE}`;
  const gain = quality === null || column.isBaseline ? null : quality - qualityOf(baseline, k, grades);
  const difference = h("span", { class: gain < 0 ? "worse" : "better" }, gain === null ? "" : signed(gain, 3));
  return element.replaceChildren(
    `${measure} `,
    h("b", {}, quality === null ? "–" : quality.toFixed(3)),
    " ",
    ...(gain === null ? [] : [difference, spoken(` against ${columnName(baseline.name)}`), " "]),
    h("span", { class: "judged" }, `${nJudged} of ${k} judged`, !isAlike && quality !== null && ", not all columns alike"),
  );
}

function nJudgedOf({ hits }, k, grades) {
  return hits.slice(0, k).filter((hit) => grades.has(hit.id)).length;
}

function qualityOf(column, k, grades) {
  return ndcg(column.hits.map((hit) => hit.id), grades, k);
}

/** The text beside a column's name: its ranker, and the number of cached scores. */
function about({ name, adapter, cache }) {
  const words = [];
  if (name === "first-stage") words.push("no reranking");
  if (name === "none") words.push("no adapter");
  if (adapter && adapter.id !== name) words.push(`is ${adapter.id}`);
  const nScores = cache.hits + cache.misses;
  if (nScores > 0) words.push(`${cache.hits} of ${nScores} scores cached`);
  return h("p", { class: "about", title: adapter && `${adapter.id}, digest ${adapter.digest}` }, words.join(" · "));
}

function fallbackNote({ reason, message }) {
  return h("p", { class: "fallback" }, h("b", {}, `First-stage order: ${FALLBACKS[reason] ?? reason}.`), " ", sentence(message));
}

/** Warnings about the quality of the ranking. */
function warningNote({ message }) {
  return h("p", { class: "fallback" }, h("b", {}, "Warning: "), sentence(message));
}

function failedNote(error) {
  return h("p", { class: "fallback" }, h("b", {}, "No ranking: "), sentence(error.message));
}

/** Opens the request that the column is from. */
function requestButton({ name, exchange }) {
  const properties = { type: "button", class: "quiet request", "aria-label": `Request and answer of ${columnName(name)}`, title: "Request and answer (JSON, curl)" };
  return exchange && h("button", { ...properties, on: { click: () => openRequests(exchange) } }, "{ }");
}
