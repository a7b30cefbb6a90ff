// An experiment's report: the verdict, its data, and the guardrails.

import { h, sentence } from "./dom.js";
import { wilson } from "./measures.js";
import { grouped, percent } from "./numbers.js";
import { difference, duelPlot, intervalPlot, scale, sequencePlot, sharePlot, unit } from "./plots.js";

const MEASURES = {
  "click-through": "click-through",
  "top-click": "clicks on ranks 1 to 3",
  "reciprocal-rank": "MRR of the first click",
  value: "value per query",
  "time-to-first-click": "time to the first click",
  ndcg: "judged nDCG@10",
  preference: "preference",
};

const PLOT_WIDTH_MAX = 860;

/** The report as elements, for a place so wide. */
export function reportElements(report, width) {
  const plotWidth = Math.max(260, Math.min(PLOT_WIDTH_MAX, width));
  return [
    verdict(report),
    ...report.comparisons.map((comparison, n) => comparisonSection(report, comparison, n, plotWidth)),
    armsSection(report, plotWidth),
    guardrails(report),
    servedSection(report),
  ];
}

function verdict({ verdict, sentence: words, arms }) {
  const nUnits = arms.reduce((sum, arm) => sum + arm.n_units, 0);
  const more = verdict.forecast?.n_units;
  const progress = more && [
    h("progress", { max: nUnits + more, value: nUnits, "aria-label": "Units so far, of those needed" }),
    h("span", {}, `${grouped(nUnits)} of about ${grouped(rounded(nUnits + more))} units`),
  ];
  return h("div", { class: `verdict ${verdict.do}` }, h("p", {}, sentence(words)), progress && h("p", { class: "needed" }, progress));
}

/** Rounds to one digit, because forecasts are not more precise. */
function rounded(n) {
  const magnitude = 10 ** Math.max(0, Math.floor(Math.log10(n)) - 1);
  return Math.ceil(n / magnitude) * magnitude;
}

function comparisonSection(report, comparison, n, width) {
  const { arm, control, differences, duel } = comparison;
  const rows = differences.map((one) => ({ ...one, name: MEASURES[one.measure] ?? one.measure }));
  const onOneScale = rows.filter(({ measure }) => scale(measure) === scale(report.measure));
  const sure = percent(report.confidence, 0);
  return h(
    "section",
    { class: "panel" },
    h("h4", {}, `${arm} against ${control}`),
    duel && duelPlot(duel, arm, control, width),
    figure(sequencePlot(report, n, width), `The difference in ${MEASURES[report.measure]} by the number of units, with a ${sure} confidence interval that holds at every look. Dashed: the smallest relevant difference.`),
    figure(intervalPlot(onOneScale, report.smallest_difference, width), `The differences so far, with ${sure} confidence intervals that hold at every look. Filled: the primary measure. Shaded: differences that are not relevant.`),
    table(["", "difference", "interval", ""], rows.map(differenceRow)),
  );
}

function differenceRow({ name, measure, interval, decides }) {
  if (!interval) return [name, "–", "too few units", decides ? "decides" : ""];
  const span = `${difference(measure, interval.low)} to ${difference(measure, interval.high)}`;
  return [name, difference(measure, interval.estimate) + unit(measure), span, decides ? "decides" : ""];
}

function armsSection({ arms }, width) {
  const shares = arms.filter(({ n_queries }) => n_queries > 0).map(({ arm, click_through, n_queries }) => {
    const [low, high] = wilson(click_through, n_queries);
    return { name: arm, value: click_through, low, high };
  });
  const plot = shares.length > 0 ? sharePlot(shares, width) : null;
  const row = (name, value) => [name, ...arms.map(value)];
  const millis = (value) => (value === null ? "–" : `${value.toFixed(1)} ms`);
  return h(
    "section",
    { class: "panel" },
    h("h4", {}, "Arms"),
    figure(plot, "Click-through by query, each with its 95 % Wilson interval as if queries were independent. The verdict rests on the intervals by unit above."),
    table(["", ...arms.map(({ arm }) => arm)], [
      row("units", (arm) => grouped(arm.n_units)),
      row("queries", (arm) => grouped(arm.n_queries)),
      row("clicks", (arm) => grouped(arm.n_clicks)),
      row("click-through", (arm) => percent(arm.click_through)),
      row("clicks on ranks 1 to 3", (arm) => percent(arm.top_click)),
      row("MRR of the first click", (arm) => arm.reciprocal_rank?.toFixed(3) ?? "–"),
      ...measuredRows(arms, row),
      row("abandoned", (arm) => percent(arm.abandonment)),
      row("latency, median", (arm) => millis(arm.latency_p50_millis)),
      row("latency, 95 %", (arm) => millis(arm.latency_p95_millis)),
      row("fallbacks", (arm) => grouped(arm.n_fallbacks)),
      row("forced, excluded", (arm) => grouped(arm.n_forced)),
    ]),
  );
}

/** The rows of what only some experiments measure. */
function measuredRows(arms, row) {
  const has = (key) => arms.some((arm) => arm[key]);
  const number = (value, decimals) => value?.toFixed(decimals) ?? "–";
  return [
    has("value") && row("value per query", ({ value }) => number(value, 4)),
    has("time_to_first_click_seconds") && row("time to the first click", ({ time_to_first_click_seconds: seconds }) => (seconds === null ? "–" : `${seconds.toFixed(2)} s`)),
    has("ndcg_at_10") && row("judged nDCG@10", ({ ndcg_at_10 }) => number(ndcg_at_10, 3)),
    has("ndcg_at_10") && row("answers to judged queries", ({ n_judged }) => grouped(n_judged)),
    has("ndcg_at_10") && row("judged share of their first ten hits", ({ judged_share }) => percent(judged_share)),
  ].filter(Boolean);
}

function guardrails(report) {
  const line = ({ is_fine, name, found }) =>
    h("li", { class: is_fine ? "fine" : "look" }, h("b", {}, is_fine ? "✓ fine" : "! look"), " ", h("span", {}, `${name}: ${found}`));
  return h("section", { class: "panel" }, h("h4", {}, "Guardrails"), h("ul", { class: "guardrails" }, report.guardrails.map(line)));
}

/** What each arm was: the adapter or base model and its digest, since when it is pinned to them, and its settings. */
function servedSection({ served }) {
  const pinnedTo = ({ pinned }) => (pinned ? [pinned.adapter ?? pinned.base_model?.name ?? "base model", digestOf(pinned), new Date(pinned.since_millis).toLocaleString()] : ["–", "–", "–"]);
  const settingsOf = ({ settings }) => Object.entries(settings ?? {}).map(([key, value]) => `${key} ${value}`).join(", ") || "–";
  const rows = served.map((one) => [one.arm, one.model === "none" ? "base model" : one.model, settingsOf(one), ...pinnedTo(one), String(one.versions.length)]);
  return h("section", { class: "panel served" }, h("h4", {}, "Versions by arm"), table(["arm", "ranked by", "settings", "model", "digest", "pinned since", "versions seen"], rows));
}

function digestOf({ digest, base_model }) {
  const found = digest ?? base_model?.digest;
  return found ? h("code", {}, found.slice(0, 12)) : "–";
}

function figure(plot, caption) {
  return plot && h("figure", {}, plot, h("figcaption", {}, caption));
}

/** A table that scrolls by itself where it is too wide. */
export function table(head, rows) {
  const cell = (text, n) => (n === 0 ? h("th", { scope: "row" }, text) : h("td", {}, text));
  const heading = (text) => (text ? h("th", { scope: "col" }, text) : h("td", {}));
  return h(
    "div",
    { class: "table-scroll", tabindex: "0", role: "group", "aria-label": "Table" },
    h("table", {}, h("thead", {}, h("tr", {}, head.map(heading))), h("tbody", {}, rows.map((row) => h("tr", {}, row.map(cell))))),
  );
}
