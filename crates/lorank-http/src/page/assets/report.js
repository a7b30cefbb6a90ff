// An experiment's report: the verdict in words, what it rests on, and the guardrails.

import { h, sentence } from "./dom.js";
import { wilson } from "./measures.js";
import { grouped, percent } from "./numbers.js";
import { difference, duelPlot, intervalPlot, sequencePlot, sharePlot } from "./plots.js";

const MEASURES = {
  "click-through": "click-through",
  "top-click": "clicks on ranks 1 to 3",
  "reciprocal-rank": "MRR of the first click",
  preference: "preference",
};

const PLOT_WIDTH_MAX = 860;

/** From which share of fallbacks, and from how many times the control's latency, an arm deserves a look. */
const FALLBACKS_MAX = 0.01;
const LATENCY_FACTOR_MAX = 1.5;

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

/** Two digits are more than is known. */
function rounded(n) {
  const magnitude = 10 ** Math.max(0, Math.floor(Math.log10(n)) - 1);
  return Math.ceil(n / magnitude) * magnitude;
}

function comparisonSection(report, comparison, n, width) {
  const { arm, control, differences, duel } = comparison;
  const rows = differences.map((one) => ({ ...one, name: MEASURES[one.measure] ?? one.measure }));
  const sure = percent(report.confidence, 0);
  return h(
    "section",
    { class: "panel" },
    h("h4", {}, `${arm} against ${control}`),
    duel && duelPlot(duel, arm, control, width),
    figure(sequencePlot(report, n, width), `The difference in ${MEASURES[report.measure]} as units came, with an interval that holds at ${sure} however often you look. Dashed: the smallest difference that matters.`),
    figure(intervalPlot(rows, report.smallest_difference, width), `The differences so far, ${sure} at every look. Filled: the measure that decides. Shaded: too small to matter.`),
    table(["", "difference", "interval", ""], rows.map(differenceRow)),
  );
}

function differenceRow({ name, measure, interval, decides }) {
  if (!interval) return [name, "–", "too few units", decides ? "decides" : ""];
  const unit = measure === "reciprocal-rank" ? "" : " points";
  const span = `${difference(measure, interval.low)} to ${difference(measure, interval.high)}`;
  return [name, difference(measure, interval.estimate) + unit, span, decides ? "decides" : ""];
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
      row("abandoned", (arm) => percent(arm.abandonment)),
      row("latency, median", (arm) => millis(arm.latency_p50_millis)),
      row("latency, 95 %", (arm) => millis(arm.latency_p95_millis)),
      row("fallbacks", (arm) => grouped(arm.n_fallbacks)),
      row("forced, left out", (arm) => grouped(arm.n_forced)),
    ]),
  );
}

function guardrails(report) {
  const checks = [splitCheck(report), inconsistentCheck(report), ...report.arms.map(fallbackCheck), ...latencyChecks(report)];
  const line = ({ isFine, name, text }) =>
    h("li", { class: isFine ? "fine" : "look" }, h("b", {}, isFine ? "✓ fine" : "! look"), " ", h("span", {}, `${name}: ${text}`));
  return h("section", { class: "panel" }, h("h4", {}, "Guardrails"), h("ul", { class: "guardrails" }, checks.filter(Boolean).map(line)));
}

/** What each arm was: the adapter and the digest of its files, and since when it is pinned to them. */
function servedSection({ served }) {
  const pinnedTo = ({ pinned }) => (pinned ? [pinned.adapter ?? "base model", pinned.digest ? h("code", {}, pinned.digest.slice(0, 12)) : "–", new Date(pinned.since_millis).toLocaleString()] : ["–", "–", "–"]);
  const rows = served.map((one) => [one.arm, one.model === "none" ? "base model" : one.model, ...pinnedTo(one), String(one.versions.length)]);
  return h("section", { class: "panel served" }, h("h4", {}, "What the arms served"), table(["arm", "ranked by", "adapter", "digest", "pinned since", "versions seen"], rows));
}

function splitCheck({ sample_ratio, arms }) {
  if (!sample_ratio) return null;
  const total = sample_ratio.n_units.reduce((sum, n) => sum + n, 0);
  const share = (arm, n) => `${arm.arm} ${percent(total > 0 ? sample_ratio.n_units[n] / total : null)} (weighted ${percent(sample_ratio.expected[n], 0)})`;
  const text = `${arms.map(share).join(", ")}; p = ${sample_ratio.p_value.toPrecision(2)}`;
  return { isFine: !sample_ratio.is_mismatch, name: "units arrive as weighted", text };
}

function inconsistentCheck({ n_inconsistent }) {
  return { isFine: n_inconsistent === 0, name: "each unit meets one arm", text: `${grouped(n_inconsistent)} queries left out` };
}

function fallbackCheck({ arm, n_fallbacks, n_queries }) {
  if (n_queries === 0) return null;
  const share = n_fallbacks / n_queries;
  return { isFine: share <= FALLBACKS_MAX, name: `fallbacks of ${arm}`, text: `${percent(share)} of queries, at most ${percent(FALLBACKS_MAX, 0)}` };
}

function latencyChecks({ arms: [control, ...others] }) {
  return others.filter((arm) => arm.latency_p95_millis !== null && control.latency_p95_millis > 0).map((arm) => {
    const factor = arm.latency_p95_millis / control.latency_p95_millis;
    const text = `${factor.toFixed(2)} times that of ${control.arm} at 95 %, at most ${LATENCY_FACTOR_MAX}`;
    return { isFine: factor <= LATENCY_FACTOR_MAX, name: `latency of ${arm.arm}`, text };
  });
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
