// The search form: its values, its chips, and what is wrong with them beside the control they are about.

import { columnName } from "./comparison.js";
import { byId, h, sentence } from "./dom.js";

const FIELDS = ["q", "depth", "top_k", "deadline_millis", "syntax", "fuzzy", "passages", "passage_tokens", "stride", "stages", "index", "filters"];

/** The most adapters that the service compares at once. */
const ADAPTERS_MAX = 7;

/** How many adapters are compared where the address names none: each costs a pass of the model over all candidates. */
const ADAPTERS_AT_FIRST = 2;

/** What the chips were made from. */
let offered = null;

const form = () => byId("search-form");

/** Calls `onSubmit` when the form is sent, and `onChange` when a value changes: with whether it is an adapter. */
export function wireForm({ onSubmit, onChange }) {
  form().addEventListener("submit", (event) => {
    event.preventDefault();
    onSubmit();
  });
  form().addEventListener("input", summarise);
  form().addEventListener("change", ({ target }) => onChange(byId("adapter-chips").contains(target)));
}

/** Shows a state's values. */
export function fillForm(state) {
  offerIndex(state.index);
  for (const name of FIELDS) form().elements[name].value = state[name];
  summarise();
  if (summaryOf().length > 0) byId("options").open = true;
}

/** The values of the form, with the adapters that are ticked. */
export function readForm() {
  const values = Object.fromEntries(FIELDS.map((name) => [name, form().elements[name].value.trim()]));
  return { ...values, adapters: chosenAdapters() };
}

function chosenAdapters() {
  return [...byId("adapter-chips").querySelectorAll("input:checked")].map((box) => box.value);
}

/** The adapters to begin with. */
export function firstChoice(names) {
  const adapters = names.filter((name) => name !== "none" && name !== "default");
  return adapters.length > 0 ? adapters.slice(0, ADAPTERS_AT_FIRST) : names.slice(0, 1);
}

/**
 * Offers the adapters. Those that are chosen come first, in their order, which is that of the columns. One that the service
 * does not list is offered too: the service will say so by its name.
 */
export function offerAdapters(names, chosen, { adapters, aliases, bases }) {
  const offer = JSON.stringify([names, adapters, aliases, bases]);
  // What is there already stays in its order, with the focus where it is.
  if (offer === offered && chosenAdapters().join() === chosen.join()) return;
  offered = offer;
  const facts = new Map(adapters.map((adapter) => [adapter.id, adapter]));
  const all = [...chosen, ...names.filter((name) => !chosen.includes(name))];
  const chip = (name) => {
    const target = aliases[name] ?? bases[name];
    const about = facts.get(target ?? name);
    const title = about && `${about.id}: rank ${about.rank} on ${about.base_model}, digest ${about.digest.slice(0, 12)}`;
    const box = h("input", { type: "checkbox", value: name, checked: chosen.includes(name), on: { change: limitChips } });
    return h("label", { class: "chip", title }, box, columnName(name), target && h("span", { class: "target" }, `→ ${target}`));
  };
  byId("adapter-chips").replaceChildren(...all.map(chip));
  limitChips();
}

/** Offers the indexes, where there are several. One that the service does not list is offered too, and refused by its name. */
export function offerIndexes(names, chosen) {
  const others = names.filter((name) => name !== "default");
  byId("index").replaceChildren(h("option", { value: "" }, "default"), ...others.map((name) => h("option", { value: name }, name)));
  byId("index-field").hidden = others.length === 0;
  offerIndex(chosen);
  byId("index").value = chosen;
}

function offerIndex(name) {
  const isOffered = [...byId("index").options].some((option) => option.value === name);
  if (!isOffered) byId("index").append(h("option", { value: name }, name));
  if (name) byId("index-field").hidden = false;
}

function limitChips() {
  const boxes = [...byId("adapter-chips").querySelectorAll("input")];
  const isFull = boxes.filter((box) => box.checked).length >= ADAPTERS_MAX;
  for (const box of boxes) box.disabled = isFull && !box.checked;
}

/** Shows the error of a field. Returns whether there is a control for it. */
export function showFieldError(field, message) {
  const control = controlOf(field);
  if (!control) return false;
  byId(`${control}-error`).replaceChildren(...sentence(message));
  const element = byId(control);
  element.setAttribute("aria-describedby", `${control}-error`);
  if (byId("options").contains(element)) byId("options").open = true;
  // A group of boxes is not invalid itself; the first of them takes the focus.
  if (element.tagName === "FIELDSET") element.querySelector("input")?.focus();
  else {
    element.setAttribute("aria-invalid", "true");
    element.focus();
  }
  return true;
}

export function clearFieldErrors() {
  for (const error of form().querySelectorAll(".field-error")) error.textContent = "";
  for (const control of form().querySelectorAll("[aria-describedby]")) {
    control.removeAttribute("aria-invalid");
    control.removeAttribute("aria-describedby");
  }
}

/** The control for a field of the API, which is a path: `filters.year.gte`, `adapters[1]`. */
function controlOf(field) {
  const name = (field ?? "").split(/[.[]/)[0];
  const names = ["adapters", "query", "depth", "top_k", "deadline_millis", "filters", "syntax", "fuzzy", "passages", "passage_tokens", "stride", "stages"];
  return name === "adapter" ? "adapters" : names.find((known) => known === name);
}

/** The summary of the closed options. */
export function summarise() {
  byId("options-summary").textContent = summaryOf().join(" · ");
}

function summaryOf() {
  const { depth, top_k, deadline_millis, syntax, fuzzy, passages, passage_tokens, stride, stages, index, filters } = readForm();
  const part = (value, text) => (value ? [text] : []);
  return [
    ...part(depth, `depth ${depth}`),
    ...part(top_k, `${top_k} hits`),
    ...part(deadline_millis, `${deadline_millis} ms`),
    ...part(syntax, `${syntax} syntax`),
    ...part(fuzzy, `typos ${fuzzy}`),
    ...part(passages, `passages ${passages}`),
    ...part(passage_tokens, `passages of ${passage_tokens} tokens`),
    ...part(stride, `stride ${stride}`),
    ...part(stages, `stages ${stages}`),
    ...part(index, `index ${index}`),
    ...part(filters, filters),
  ];
}
