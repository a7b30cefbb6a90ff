// One hit: its place and move, both scores, a snippet, the judgment, and on demand how it came to its place.

import { columnName, kindOf } from "./comparison.js";
import { h, icon, spoken } from "./dom.js";
import { explanationOf } from "./explanation.js";
import { GRADE_ICONS, GRADES, gradeName } from "./judgments.js";
import { score } from "./numbers.js";
import { snippetParts } from "./snippets.js";

const CHEVRON = "M4 6l4 4 4-4";
const SIGNS = { up: "▲", down: "▼", same: "=" };

/** What each card shows. */
const shown = new WeakMap();

/** A hit's card. `onGrade` takes a document and a grade. */
export function hitCard(hit, column, onGrade) {
  const id = `hit-${column.n}-${hit.rank}`;
  const { title } = hit.document.fields;
  const hasTitle = typeof title === "string" && title.trim() !== "";
  const properties = { class: "hit", id, tabindex: "-1", "aria-labelledby": `${id}-name`, "data-id": hit.id };
  const card = h(
    "article",
    properties,
    h(
      "div",
      { class: "hit-head" },
      h("span", { class: "rank" }, spoken("Rank "), hit.rank),
      h("h4", { id: `${id}-name`, class: hasTitle ? null : "is-id" }, hasTitle ? title : hit.id),
      tags(hit),
      !column.isBaseline && !column.fallback && hit.change !== null && moveBadge(hit),
      explainButton(() => toggleExplanation(card)),
    ),
    excerpt(hit),
    h("div", { class: "hit-foot" }, scores(hit, column), judge(hit, onGrade)),
  );
  shown.set(card, { hit, column });
  return card;
}

/** Shows the grade of a card's document; undefined for none. */
export function showGrade(card, grade) {
  const known = grade === undefined ? "" : String(Math.min(grade, 2));
  card.dataset.grade = known;
  card.querySelector(".grade").textContent = known && gradeName(grade);
  for (const button of card.querySelectorAll("button[data-gives]")) {
    button.setAttribute("aria-pressed", String(button.dataset.gives === known));
  }
}

/** Opens the explanation of a card, or closes it. */
export function toggleExplanation(card) {
  const open = card.querySelector(".explanation");
  card.querySelector(".explain").setAttribute("aria-expanded", String(!open));
  if (open) return open.remove();
  const { hit, column } = shown.get(card);
  return card.append(explanationOf(hit, column));
}

/** Makes the buttons of a card reachable with the tab key, or not: one card at a time, or there would be hundreds. */
export function setReachable(card, isReachable) {
  card.tabIndex = isReachable ? 0 : -1;
  for (const button of card.querySelectorAll("button")) button.tabIndex = isReachable ? 0 : -1;
}

function tags({ isNew, missingIn, baselineName }) {
  const tag = (word, title) => h("span", { class: `tag ${word}`, title }, word);
  const others = missingIn.map(columnName).join(", ");
  return [isNew && tag("new", `Not among these hits of ${baselineName}`), others && tag("gone", `Not among these hits of ${others}`)];
}

/** The move from the baseline. Sign and number say it without colour. */
function moveBadge({ change, baselineRank, baselineName }) {
  const kind = kindOf(change);
  const places = Math.abs(change) || "";
  const words = places ? `${kind} ${places} from rank ${baselineRank} of ${baselineName}` : `same rank as in ${baselineName}`;
  return h("span", { class: `move ${kind}`, title: words }, h("span", { "aria-hidden": "true" }, SIGNS[kind], places), spoken(words));
}

function scores({ rerank_score, first_stage_rank, document }, column) {
  const pair = (name, value, note) => h("div", {}, h("dt", {}, name), h("dd", {}, h("b", {}, value), note));
  const isFirst = column.name === "first-stage";
  return h(
    "dl",
    { class: "scores" },
    !isFirst && pair("rerank", score(rerank_score)),
    pair("first stage", score(document.first_stage_score), !isFirst && [h("span", { "aria-hidden": "true" }, ` #${first_stage_rank}`), spoken(` rank ${first_stage_rank}`)]),
  );
}

/** The passage that the model scored best, where the document has several; else the first stage's snippet. */
function excerpt({ passage, document }) {
  if (passage?.of > 1) {
    const place = `passage ${passage.index + 1} of ${passage.of}`;
    return h("p", { class: "snippet" }, h("span", { class: "tag passage", title: "Scored best by the model" }, place), " ", passage.text);
  }
  return document.snippet && h("p", { class: "snippet" }, marked(document.snippet));
}

function marked(snippet) {
  return snippetParts(snippet).map(({ text, isMarked }) => (isMarked ? h("mark", {}, text) : text));
}

function judge({ id }, onGrade) {
  const button = ({ grade, name, key }) => {
    const properties = { "aria-label": name, "aria-pressed": "false", title: `${name} (${key})`, "data-gives": grade };
    return h("button", { type: "button", tabindex: "-1", ...properties, on: { click: () => onGrade(id, grade) } }, icon(GRADE_ICONS[grade]));
  };
  return h("div", { class: "judge", role: "group", "aria-label": "Judgment" }, GRADES.map(button), h("span", { class: "grade spoken" }));
}

function explainButton(click) {
  return h("button", { type: "button", class: "explain", tabindex: "-1", "aria-expanded": "false", "aria-label": "Explain", title: "Explain (e)", on: { click } }, icon(CHEVRON));
}
