// The actions on an experiment, each with a confirmation: start, stop, increase the share, promote the winner, delete a draft.

import { changeExperiment, deleteDraft, registry, setAlias, setExperimentState } from "./api.js";
import { ask, field } from "./dialogs.js";
import { h } from "./dom.js";
import { percent } from "./numbers.js";

/** The names of what can rank without an adapter. */
const WITHOUT_ADAPTER = ["none", "first-stage"];

/** The buttons for an experiment. `verdict` is that of its report, or null; `onChange` is called after a change. */
export function actionButtons(experiment, verdict, onChange) {
  const { state, traffic_share } = experiment;
  const winner = verdict?.do === "ship" ? experiment.arms.find(({ name }) => name === verdict.arm) : null;
  const button = (text, open, isPrimary) => {
    const click = async () => (await open(experiment)) && onChange();
    return h("button", { type: "button", class: isPrimary ? "primary" : null, on: { click } }, text);
  };
  return [
    winner && !WITHOUT_ADAPTER.includes(winner.model) && button(`Promote ${winner.name}…`, () => promote(experiment, winner), true),
    state === "draft" && button("Start…", start, true),
    state === "running" && traffic_share < 1 && button("Increase the share…", raise),
    state === "running" && button("Stop…", stop),
    state === "draft" && button("Delete…", remove),
  ];
}

function start({ id, traffic_share, layer }) {
  const body = h("p", {}, `It will assign ${percent(traffic_share)} of the units of layer ${layer}. Its arms and weights cannot be changed after the start.`);
  return ask({ title: `Start ${id}?`, body, yes: "Start it", act: () => setExperimentState(id, "start") });
}

function stop({ id }) {
  const body = h("p", {}, "It cannot be started again. All units get the default ranking, and the report is kept.");
  return ask({ title: `Stop ${id}?`, body, yes: "Stop it", act: () => setExperimentState(id, "stop") });
}

function remove({ id }) {
  return ask({ title: `Delete ${id}?`, body: h("p", {}, "The draft will be deleted."), yes: "Delete it", act: () => deleteDraft(id) });
}

function raise({ id, traffic_share }) {
  const share = h("input", { id: "share", inputmode: "decimal", value: Math.min(100, Math.round(200 * traffic_share)), size: 6 });
  const body = field("Share of units, %", share, `It is ${percent(traffic_share)} now, and can only be increased. Units that take part stay in their arms.`);
  return ask({ title: `Increase the share of ${id}`, body, yes: "Raise it", act: () => changeExperiment(id, { traffic_share: Number(share.value) / 100 }) });
}

/** Points `default` to the winner's adapter or base model, after a stop of the experiment where that is wanted. */
async function promote({ id, state }, { name, model }) {
  const { adapters, aliases, bases } = await registry();
  const winner = aliases[model] ?? bases[model] ?? model;
  const now = aliases.default ?? bases.default;
  const before = now ? `It points to ${now} now.` : "The alias does not exist yet.";
  const isAdapter = adapters.some((one) => one.id === winner);
  const stops = h("input", { type: "checkbox", id: "stops", checked: true });
  const body = [
    h("p", {}, `The alias “default” will point to ${winner}; requests that name no adapter will use it. ${before}`),
    !isAdapter && h("p", { class: "note" }, `${winner} is not in the adapter registry: the alias will point to the base model of this name.`),
    state === "running" && h("p", {}, h("label", {}, stops, " Stop the experiment first")),
  ].filter(Boolean);
  const act = async () => {
    const target = isAdapter ? { adapter: winner } : { base: winner };
    if (state === "running" && stops.checked) await setExperimentState(id, "stop");
    await setAlias("default", target);
  };
  return ask({ title: `Promote ${name}?`, body, yes: "Promote it", act });
}
