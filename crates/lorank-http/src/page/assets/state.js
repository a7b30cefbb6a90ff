// What is shown, as the address says it: a link shows the same again, and the browser's back button works.

/** The views, the first where the address names none. */
export const VIEWS = ["search", "sets", "experiments", "service"];

/** The keys of each view besides `adapters`, as they were typed. */
const KEYS = {
  search: ["q", "depth", "top_k", "deadline_millis", "filters", "syntax", "fuzzy", "passages", "passage_tokens", "stride", "stages", "index", "baseline", "offset"],
  sets: ["depth", "deadline_millis", "filters", "syntax", "fuzzy", "passages", "passage_tokens", "stride", "stages", "index", "baseline", "judge"],
  experiments: ["experiment"],
  service: ["index"],
};

/** Reads the part of an address after `?`. `adapters` is null where it names none: the page then chooses. */
export function readState(search) {
  const params = new URLSearchParams(search);
  const text = (key) => params.get(key) ?? "";
  const adapters = params.has("adapters") ? text("adapters").split(",").filter(Boolean) : null;
  const state = { view: VIEWS.includes(params.get("view")) ? params.get("view") : VIEWS[0], adapters };
  for (const key of new Set(Object.values(KEYS).flat())) state[key] = text(key);
  return state;
}

/** The address of a state, without what is the default. */
export function writeState(state) {
  const params = new URLSearchParams();
  if (state.view !== VIEWS[0]) params.set("view", state.view);
  if (state.q && state.view === "search") params.set("q", state.q);
  if (state.adapters && usesAdapters(state.view)) params.set("adapters", state.adapters.join(","));
  for (const key of KEYS[state.view]) if (state[key] && key !== "q") params.set(key, state[key]);
  // A comma needs no escape, and addresses are read by people too.
  const text = params.toString().replaceAll("%2C", ",");
  return text ? `?${text}` : location.pathname;
}

/** Whether a view has the form with the adapters and the options. */
export function usesAdapters(view) {
  return view === "search" || view === "sets";
}

/** How many hits a page has where nothing else is said. */
const TOP_K = 10;

/** How many hits a page of this state has. */
export function pageSize({ top_k }) {
  return Number(top_k) || TOP_K;
}

/** The body of a search. What is no number goes as it is: the service says what is wrong with it, and in which field. */
export function searchBody(state, adapters, { filters, stages }) {
  const number = (text) => (/^\d+$/.test(text) ? Number(text) : text);
  const body = { query: state.q, adapters, top_k: TOP_K };
  for (const key of ["depth", "top_k", "deadline_millis", "passage_tokens", "stride", "offset"]) if (state[key]) body[key] = number(state[key]);
  if (filters) body.filters = filters;
  if (stages) body.stages = stages;
  for (const key of ["syntax", "fuzzy", "passages"]) if (state[key]) body[key] = state[key];
  return body;
}
