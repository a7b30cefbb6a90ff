// The dialog that creates an experiment.

import { createExperiment, rankerNames, setExperimentState } from "./api.js";
import { columnName } from "./comparison.js";
import { ask, field } from "./dialogs.js";
import { h } from "./dom.js";

const MEASURES = [["click-through", "click-through"], ["reciprocal-rank", "MRR of the first click"], ["top-click", "clicks on ranks 1 to 3"]];

/** What an arm may set in place of a request's own. */
const SETTINGS = [
  { key: "depth", label: "Depth", inputmode: "numeric" },
  { key: "blend_weight", label: "Blend weight, 0 to 1", inputmode: "decimal" },
  { key: "passages", label: "Passages: first, max or mean-top-3" },
  { key: "instruction", label: "Instruction", size: 24 },
];

/** The settings that are filled in, from the values of their fields. */
function settingsOf(values) {
  const isNumber = (key) => key === "depth" || key === "blend_weight";
  const filled = SETTINGS.map(({ key }, n) => [key, values[n]]).filter(([, value]) => value !== "");
  return Object.fromEntries(filled.map(([key, value]) => [key, isNumber(key) ? Number(value) : value]));
}

/** Asks for an experiment and creates it. Resolves to its id, or to null. */
export async function askForExperiment() {
  const models = ["first-stage", ...(await rankerNames())];
  const id = input("experiment-id", { placeholder: "qa-or-science" });
  const method = select("experiment-method", [["split", "split: each unit sees one arm"], ["interleave", "interleave: each answer mixes all arms"]]);
  const unit = select("experiment-unit", [["unit-id", "the request's unit_id"], ["query", "the query"]]);
  const measure = select("experiment-measure", MEASURES);
  const share = input("experiment-share", { inputmode: "decimal", value: "10", size: 6 });
  const layer = input("experiment-layer", { value: "main" });
  const isStarted = h("input", { type: "checkbox", id: "experiment-started" });
  const arms = new ArmRows(models);
  const body = [
    field("Id", id, "1 to 128 of a-z A-Z 0-9 . _ -"),
    arms.element,
    h("div", { class: "options" }, field("Method", method), field("What decides", measure)),
    h("div", { class: "options" }, field("Share of units, %", share), field("Unit", unit), field("Layer", layer, "A unit takes part in at most one experiment of a layer.")),
    h("p", {}, h("label", {}, isStarted, " Start it immediately")),
  ];
  const draft = () => ({
    id: id.value.trim(),
    arms: arms.values(),
    method: method.value,
    unit: unit.value,
    salt: id.value.trim(),
    traffic_share: Number(share.value) / 100,
    layer: layer.value.trim(),
    primary_measure: measure.value,
  });
  const act = async () => {
    await createExperiment(draft());
    if (isStarted.checked) await setExperimentState(id.value.trim(), "start");
  };
  return (await ask({ title: "New experiment", body, yes: "Create it", act })) ? id.value.trim() : null;
}

/** The rows of arms, the control the first. */
class ArmRows {
  #models;
  #rows = h("div", { class: "arm-rows" });
  #n = 0;

  constructor(models) {
    this.#models = models;
    this.#add("control", models.includes("default") ? "default" : models[0]);
    this.#add("treatment", models.find((model) => !["first-stage", "default", "none"].includes(model)) ?? models.at(-1));
    const more = h("button", { type: "button", on: { click: () => this.#add("", models[0]) } }, "Add an arm");
    this.element = h("fieldset", { class: "arms" }, h("legend", {}, "Arms, the control first"), this.#rows, more);
  }

  values() {
    return [...this.#rows.children].map((row) => {
      const [name, model, weight, ...settings] = [...row.querySelectorAll("input, select")].map(({ value }) => value.trim());
      return { name, model, weight: Number(weight), ...settingsOf(settings) };
    });
  }

  #add(name, model) {
    this.#n += 1;
    const [n, isExtra] = [this.#n, this.#n > 2];
    const models = this.#models.map((value) => [value, columnName(value)]);
    const row = h("div", { class: "arm-row" },
      field("Name", input(`arm-name-${n}`, { value: name, size: 12 })),
      field("Ranked by", select(`arm-model-${n}`, models, model)),
      field("Weight", input(`arm-weight-${n}`, { value: "1", inputmode: "numeric", size: 4 })),
      h("details", {}, h("summary", {}, "Settings"), SETTINGS.map(({ key, label, ...properties }) => field(label, input(`arm-${key}-${n}`, { placeholder: "the request's", size: 12, ...properties })))),
      isExtra && h("button", { type: "button", "aria-label": `Remove arm ${n}`, on: { click: () => row.remove() } }, "Remove"));
    this.#rows.append(row);
  }
}

function input(id, properties) {
  return h("input", { id, autocomplete: "off", spellcheck: "false", ...properties });
}

function select(id, options, chosen) {
  return h("select", { id }, options.map(([value, text]) => h("option", { value, selected: value === chosen }, text)));
}
