// Plots as SVG, drawn at the width they are shown in so that text keeps its size. Each says in words what it shows.

import { svg } from "./dom.js";
import { grouped, percent, signed } from "./numbers.js";

const LEFT = 64;
const RIGHT = 12;

/** What is in points of a percentage, and how many decimals the other measures have. */
const IN_POINTS = ["click-through", "top-click", "preference"];
const DECIMALS = { "reciprocal-rank": 3, ndcg: 3, "time-to-first-click": 2 };
/** Measures that no share can be compared with. */
const SCALES = { value: "value", "time-to-first-click": "seconds" };

/** A difference as people read it, without its unit. */
export function difference(measure, value) {
  if (IN_POINTS.includes(measure)) return signed(value * 100, 1);
  return signed(value, DECIMALS[measure] ?? (Math.abs(value) >= 10 ? 2 : 4));
}

/** The unit of a measure's differences. */
export function unit(measure) {
  if (measure === "time-to-first-click") return " s";
  return IN_POINTS.includes(measure) ? " points" : "";
}

/** On which scale a measure is: those on one scale fit into one plot. */
export function scale(measure) {
  return SCALES[measure] ?? "share";
}

/** How the interval of a difference narrowed while units came. Null before the first interval. */
export function sequencePlot({ looks, measure, smallest_difference }, n, width) {
  const points = looks.filter(({ differences }) => differences[n]).map((look) => ({ at: look.n_units, ...look.differences[n] }));
  if (points.length === 0) return null;
  const [height, top, bottom] = [220, 10, 28];
  const last = points.at(-1);
  // The first intervals are so wide that they would flatten the rest.
  const reach = 1.3 * Math.max(Math.abs(last.high), Math.abs(last.low), 2 * smallest_difference);
  const x = (at) => LEFT + (at / last.at) * (width - LEFT - RIGHT);
  const y = (value) => top + ((1 - Math.max(-reach, Math.min(reach, value)) / reach) / 2) * (height - top - bottom);
  const line = (key, all) => all.map((point) => `${x(point.at).toFixed(1)},${y(point[key]).toFixed(1)}`).join(" ");
  const band = `${line("high", points)} ${line("low", points.toReversed())}`;
  const said = `Difference by units: ${difference(measure, last.estimate)}, between ${difference(measure, last.low)} and ${difference(measure, last.high)} after ${grouped(last.at)} units`;
  return frame(width, height, said, [
    grid([0, smallest_difference, -smallest_difference, reach, -reach], reach, y, width, (value) => difference(measure, value)),
    svg("polygon", { class: "band", points: band }),
    svg("polyline", { class: "curve", points: line("estimate", points) }),
    points.length === 1 && svg("circle", { class: "dot", cx: x(last.at), cy: y(last.estimate), r: 4 }),
    label(LEFT, height - 8, "0", "start"),
    label(width - RIGHT, height - 8, `${grouped(last.at)} units`, "end"),
  ]);
}

/** The differences of a comparison as intervals around their estimates, measure by measure. */
export function intervalPlot(rows, smallest, width) {
  const known = rows.filter(({ interval }) => interval);
  if (known.length === 0) return null;
  const { row, left, name: place } = rowsFor(width, 170);
  const reach = 1.15 * Math.max(...known.flatMap(({ interval }) => [Math.abs(interval.low), Math.abs(interval.high)]), smallest);
  const height = known.length * row + 24;
  const x = (value) => left + ((value / reach + 1) / 2) * (width - left - RIGHT);
  const said = known.map(({ name, measure, interval }) => `${name} ${difference(measure, interval.estimate)}, between ${difference(measure, interval.low)} and ${difference(measure, interval.high)}`);
  const marks = known.map(({ name, interval, decides }, n) => {
    const y = (n + 1) * row - 17;
    return svg(
      "g",
      { class: decides ? "interval decides" : "interval" },
      place(y, name),
      svg("path", { d: `M${x(interval.low)} ${y}H${x(interval.high)}M${x(interval.low)} ${y - 6}v12M${x(interval.high)} ${y - 6}v12` }),
      svg("circle", { cx: x(interval.estimate), cy: y, r: 5 }),
    );
  });
  const zone = svg("rect", { class: "zone", x: x(-smallest), y: 0, width: x(smallest) - x(-smallest), height: height - 24 });
  const zero = svg("line", { class: "zero", x1: x(0), x2: x(0), y1: 0, y2: height - 24 });
  const [less, more] = known[0].measure === "time-to-first-click" ? ["faster", "slower"] : ["worse", "better"];
  const ends = [label(x(0), height - 8, "0", "middle"), label(left, height - 8, less, "start"), label(width - RIGHT, height - 8, more, "end")];
  return frame(width, height, said.join("; "), [zone, zero, marks, ends]);
}

/** A share for each arm, with the interval it lies in: `[{name, value, low, high}]`. */
export function sharePlot(rows, width) {
  const { row, left, name: place } = rowsFor(width, 130);
  const most = Math.max(...rows.map(({ high }) => high), 0.01);
  const x = (value) => left + (value / most) * (width - left - RIGHT - 64);
  const said = rows.map(({ name, value, low, high }) => `${name} ${percent(value)}, between ${percent(low)} and ${percent(high)}`);
  const marks = rows.map(({ name, value, low, high }, n) => {
    const y = (n + 1) * row - 17;
    return svg(
      "g",
      { class: "share" },
      place(y, name),
      svg("rect", { x: left, y: y - 9, width: Math.max(0, x(value) - left), height: 18 }),
      svg("path", { d: `M${x(low)} ${y}H${x(high)}M${x(low)} ${y - 5}v10M${x(high)} ${y - 5}v10` }),
      label(x(high) + 8, y + 4, percent(value), "start"),
    );
  });
  return frame(width, rows.length * row, said.join("; "), marks);
}

/** Who won how many of the interleaved answers. */
export function duelPlot({ n_won, n_drawn, n_lost }, arm, control, width) {
  const total = n_won + n_drawn + n_lost;
  if (total === 0) return null;
  const parts = [
    ["won", n_won, `${arm} won ${grouped(n_won)}`],
    ["drawn", n_drawn, `${grouped(n_drawn)} drawn`],
    ["lost", n_lost, `${control} won ${grouped(n_lost)}`],
  ];
  let from = 0;
  const bars = parts.map(([kind, n]) => {
    const size = (n / total) * width;
    const bar = svg("rect", { class: `duel ${kind}`, x: from, y: 0, width: size, height: 24 });
    from += size;
    return bar;
  });
  const anchors = [[0, "start"], [width / 2, "middle"], [width, "end"]];
  const words = parts.map(([, , text], n) => label(anchors[n][0], 42, text, anchors[n][1]));
  return frame(width, 48, parts.map(([, , text]) => text).join(", "), [bars, words]);
}

/** Names stand before their marks, or above them where there is no room. */
function rowsFor(width, left) {
  const isNarrow = width < 460;
  const name = (y, text) => (isNarrow ? label(0, y - 14, text, "start") : label(left - 10, y + 4, text, "end"));
  return { row: isNarrow ? 46 : 34, left: isNarrow ? 4 : left, name };
}

function frame(width, height, said, content) {
  return svg("svg", { class: "plot", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": said }, content);
}

/** Level lines, labelled where there is room: zero, the smallest difference that matters, the plot's ends. */
function grid(values, reach, y, width, text) {
  const [, small] = values;
  const kind = (value) => (value === 0 ? "zero" : Math.abs(value) === small ? "small" : "grid");
  const isApart = (value) => value === 0 || Math.abs(value) === reach || Math.abs(value) > reach / 8;
  return values.map((value) => [
    svg("line", { class: kind(value), x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
    isApart(value) && label(LEFT - 8, y(value) + 4, text(value), "end"),
  ]);
}

function label(x, y, text, anchor) {
  return svg("text", { x, y, "text-anchor": anchor }, text);
}
