// How long the stages of a search took: a bar whose parts are also said in words.

import { h, svg } from "./dom.js";
import { millis } from "./numbers.js";

export const STAGES = [
  { key: "first", name: "first stage" },
  { key: "cache", name: "cache" },
  { key: "queue", name: "queue" },
  { key: "model", name: "model" },
];

/** The stages of an answer's timings, none of them twice: the time in the queue is a part of `rerank`. */
export function stagesOf({ first_stage, cache, queue, rerank }) {
  const times = { first: first_stage, cache, queue, model: Math.max(0, rerank - queue) };
  return STAGES.map((stage) => ({ ...stage, millis: times[stage.key] })).filter((stage) => stage.millis > 0);
}

/** The time of a column's own stages. The answer's `total` is that of the whole comparison, other columns included. */
export function ownMillis({ first_stage, cache, rerank }) {
  return first_stage + cache + rerank;
}

/** The bar, as long as its part of the slowest of the columns. */
export function latencyBar(timings, slowest) {
  const [stages, total] = [stagesOf(timings), ownMillis(timings)];
  const said = stages.map((stage) => `${stage.name} ${millis(stage.millis)}`).join(", ");
  let from = 0;
  const parts = stages.map((stage) => {
    const width = (stage.millis / (slowest || 1)) * 100;
    const part = svg("rect", { class: `stage-${stage.key}`, x: from, y: 0, width, height: 8 });
    from += width;
    return part;
  });
  const label = `Latency: ${millis(total)} in all; ${said}`;
  const bar = { class: "latency-bar", viewBox: "0 0 100 8", preserveAspectRatio: "none", role: "img", "aria-label": label };
  // In words, what took a tenth of the time or more; the rest is in the label.
  const large = stages.filter((stage) => stage.millis * 10 >= total);
  const words = large.map((stage) => h("span", { class: `stage stage-${stage.key}` }, stage.name, " ", millis(stage.millis)));
  return h(
    "div",
    { class: "latency", title: said },
    svg("svg", bar, parts),
    h("p", { "aria-hidden": "true" }, h("b", {}, millis(total)), " ", words),
  );
}
