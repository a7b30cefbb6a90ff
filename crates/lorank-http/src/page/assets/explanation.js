// The explanation of a hit's rank, and the stored fields of its document.

import { columnName } from "./comparison.js";
import { h } from "./dom.js";
import { score } from "./numbers.js";

/** The most characters of a stored value that are shown. */
const VALUE_LENGTH_MAX = 600;

const ORIGINS = { cache: "from the score cache", model: "from the model, for this search" };

export function explanationOf(hit, column) {
  const isReranked = column.name !== "first-stage";
  const row = ([name, value]) => [h("dt", {}, name), h("dd", {}, value)];
  const facts = [
    ["document", hit.id],
    isReranked && ["rank, First stage", `${hit.first_stage_rank}${moved(hit.rank_change)}`],
    ...hit.elsewhere.filter(({ name }) => name !== "first-stage").map(({ name, rank }) => [`rank, ${columnName(name)}`, rank ?? "not on this page"]),
    ...(hit.stages ?? []).map((stage, n) => [`rank, stage ${n + 1}`, afterStage(stage)]),
    isReranked && ["rerank score", rerankScore(hit, column)],
    isReranked && ["passage", passageOf(hit)],
    ["first-stage score", score(hit.document.first_stage_score)],
    ["score gaps", gaps(hit, column, isReranked)],
  ];
  const fields = Object.entries(hit.document.fields).map(([name, value]) => [name, shortened(value)]);
  return h(
    "div",
    { class: "explanation" },
    h("dl", {}, facts.filter((fact) => fact && fact[1]).map(row)),
    fields.length > 0 && [h("h5", {}, "Stored fields"), h("dl", {}, fields.map(row))],
  );
}

function moved(change) {
  if (change === 0) return ", as here";
  return `, so it moved ${change > 0 ? "up" : "down"} ${Math.abs(change)}`;
}

function rerankScore({ rerank_score, score_origin }, column) {
  if (rerank_score !== null) return `${score(rerank_score)}, ${ORIGINS[score_origin] ?? "of unknown origin"}`;
  return column.reranked ? "none: below the depth" : "none: first-stage order";
}

/** The passage that the rerank score comes from. */
function passageOf({ passage }) {
  if (!passage) return "";
  const rest = passage.complete ? "" : "; the rest of the text was not scored";
  return `${passage.index + 1} of ${passage.of}, bytes ${passage.start} to ${passage.end}${rest}`;
}

/** How far the scores of the hits above and below are. */
function gaps(hit, column, isReranked) {
  const key = (one) => (isReranked ? one.rerank_score : one.document.first_stage_score);
  const at = column.hits.indexOf(hit);
  const gap = (other, words) => {
    const isKnown = other && key(other) !== null && key(hit) !== null;
    return isKnown && `${score(Math.abs(key(other) - key(hit)))} ${words}`;
  };
  return [gap(column.hits[at - 1], "below the hit above"), gap(column.hits[at + 1], "above the next")].filter(Boolean).join(", ");
}

function shortened(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.length > VALUE_LENGTH_MAX ? `${text.slice(0, VALUE_LENGTH_MAX)}…` : text;
}

/** Where a rerank stage put the hit, and with which score. */
function afterStage({ rank, rerank_score }) {
  return rerank_score === null ? `${rank}, not scored` : `${rank}, score ${score(rerank_score)}`;
}
