// How long the stages of a search took: a bar whose parts are also said in words.

import { h, svg } from "./dom.js";
import { millis } from "./numbers.js";

export const STAGES = [
  { key: "first", name: "first stage" },
  { key: "cache", name: "cache" },
  { key: "queue", name: "queue" },
  { key: "model", name: "model" },
  { key: "other", name: "other" },
];

/** The stages of an answer's timings, none of them twice: the time in the queue is a part of `rerank`. */
export function stagesOf({ first_stage, cache, queue, rerank, total }) {
  const model = Math.max(0, rerank - queue);
  const times = { first: first_stage, cache, queue, model, other: Math.max(0, total - first_stage - cache - rerank) };
  return STAGES.map((stage) => ({ ...stage, millis: times[stage.key] })).filter((stage) => stage.millis >= 0.0005);
}

/** The bar, as long as its part of the slowest of the columns. */
export function latencyBar(timings, slowest) {
  const stages = stagesOf(timings);
  const said = stages.map((stage) => `${stage.name} ${millis(stage.millis)}`).join(", ");
  let from = 0;
  const parts = stages.map((stage) => {
    const width = (stage.millis / (slowest || 1)) * 100;
    const part = svg("rect", { class: `stage-${stage.key}`, x: from, y: 0, width, height: 8 });
    from += width;
    return part;
  });
  const label = `Latency: ${millis(timings.total)} in all; ${said}`;
  const bar = { class: "latency-bar", viewBox: "0 0 100 8", preserveAspectRatio: "none", role: "img", "aria-label": label };
  // In words, what took a tenth of the time or more; the rest is in the label.
  const large = stages.filter((stage) => stage.millis * 10 >= timings.total && stage.key !== "other");
  const words = large.map((stage) => h("span", { class: `stage stage-${stage.key}` }, stage.name, " ", millis(stage.millis)));
  return h(
    "div",
    { class: "latency", title: said },
    svg("svg", bar, parts),
    h("p", { "aria-hidden": "true" }, h("b", {}, millis(timings.total)), " ", words),
  );
}
