// An evaluation of `lorank eval --json`: its means, comparisons and queries, as tables.

import { h } from "./dom.js";
import { countedQueries } from "./files.js";
import { counted, grouped, signed } from "./numbers.js";
import { table } from "./report.js";
import { writeState } from "./state.js";

/** How many queries are shown before the button that shows more. */
const ROWS = 200;

/** Reads an evaluation. Throws where the text is something else. */
export function readEvaluation(text) {
  let found;
  try {
    found = JSON.parse(text);
  } catch {
    throw new Error("This is not JSON; write the file with `lorank eval --json`.");
  }
  const lists = ["measures", "rankers", "queries"];
  if (!lists.every((name) => Array.isArray(found?.[name]) && found[name].length > 0)) {
    throw new Error("This is not an evaluation; write the file with `lorank eval --json`.");
  }
  const isWhole = ({ values }) => values?.length === found.rankers.length && values.every((of) => of.length === found.measures.length);
  const broken = found.queries.find((query) => !isWhole(query));
  if (broken) throw new Error(`The query “${broken.id}” does not have a value for each ranker and measure.`);
  return found;
}

/** The evaluation as panels. `stateOf` gives the state whose options the links to a query take along. */
export class EvaluationView {
  #host;
  #stateOf;
  #evaluation = null;
  #limit = ROWS;

  constructor(host, stateOf) {
    this.#host = host;
    this.#stateOf = stateOf;
  }

  show(evaluation) {
    this.#evaluation = evaluation;
    this.#limit = ROWS;
    this.#draw();
    this.#host.querySelector("h3").focus();
  }

  close() {
    this.#evaluation = null;
    this.#draw();
  }

  #draw() {
    const evaluation = this.#evaluation;
    this.#host.hidden = evaluation === null;
    this.#host.replaceChildren(...(evaluation ? [this.#summary(evaluation), this.#queries(evaluation)] : []));
  }

  #summary(evaluation) {
    const { collection, n_queries, depth, base_model, precision, base_models, measures, rankers, baseline, depths = [] } = evaluation;
    const close = h("button", { type: "button", id: "evaluation-close", on: { click: () => this.close() } }, "Close");
    const means = rankers.map((ranker) => [ranker.name, ...ranker.means.map((mean) => mean.toFixed(4)), seconds(ranker.seconds_per_query)]);
    return h("section", { class: "panel" },
      h("div", { class: "panel-head" }, h("h3", { tabindex: "-1" }, `Evaluation on ${collection}`), close),
      h("p", { class: "note" }, `${countedQueries(n_queries)}, depth ${depth}, ${basesOf(base_models ?? [{ name: base_model, precision }])}.`),
      table(["", ...measures, "seconds a query"], means),
      h("h4", {}, `${measures[0]} compared with ${baseline}`),
      table(["", "difference", "95 % interval", "p (Holm)", "wins · ties · losses"], rankers.filter(({ comparisons }) => comparisons.length > 0).map(compared)),
      depths.length > 0 && [h("h4", {}, `${measures[0]} by depth`), table(["depth", ...rankers.map(({ name }) => name)], depths.map((row) => [grouped(row.depth), ...row.means.map((mean) => mean.toFixed(4))]))]);
  }

  /** The queries, those in which a ranker loses most against the baseline first. */
  #queries({ queries, rankers, baseline, measures }) {
    const base = Math.max(0, rankers.findIndex(({ name }) => name === baseline));
    const loss = ({ values }) => Math.min(...values.map(([value]) => value - values[base][0]));
    const ordered = queries.toSorted((a, b) => loss(a) - loss(b));
    const showAll = () => {
      this.#limit = Infinity;
      this.#draw();
    };
    const more = ordered.length > this.#limit && h("button", { type: "button", on: { click: showAll } }, `Show all ${grouped(ordered.length)}`);
    return h("section", { class: "panel" },
      h("div", { class: "panel-head" }, h("h3", {}, `${measures[0]} by query, largest losses first`)),
      h("div", { class: "query-table" }, table(["query", ...rankers.map(({ name }) => name), "relevant"], ordered.slice(0, this.#limit).map((query) => this.#row(query, base)))),
      more);
  }

  #row({ id, text, n_relevant, values }, base) {
    const href = writeState({ ...this.#stateOf(), view: "search", q: text, top_k: "", offset: "" });
    const cell = ([value]) => {
      const gain = value - values[base][0];
      const kind = gain > 1e-9 ? "better" : gain < -1e-9 ? "worse" : null;
      return h("span", { class: kind }, value.toFixed(3), kind && h("span", { "aria-hidden": "true" }, gain > 0 ? " ▲" : " ▼"));
    };
    return [[h("span", { class: "qid" }, id), " ", h("a", { href, "data-view": "search" }, text)], ...values.map(cell), counted(n_relevant, "document")];
  }
}

function compared({ name, comparisons: [first] }) {
  const { difference, low, high, p_holm, wins, ties, losses } = first;
  const kind = low > 0 ? "better" : high < 0 ? "worse" : "unsure";
  return [name, h("span", { class: kind }, signed(difference, 4)), `${signed(low, 4)} to ${signed(high, 4)}`, p_holm.toFixed(4), `${grouped(wins)} · ${grouped(ties)} · ${grouped(losses)}`];
}

/** The base models with their precisions; evaluations of former versions name one. */
function basesOf(bases) {
  return bases.map(({ name, precision }) => `${name} in ${precision}`).join(", ");
}

function seconds(value) {
  return value === null ? "–" : value.toFixed(4);
}
