// What is shown, as the address says it: a link shows the same again, and the browser's back button works.

/** The keys of a search besides `q` and `adapters`, as they were typed. */
const KEYS = ["depth", "top_k", "deadline_millis", "filters", "syntax", "offset"];

/** Reads the part of an address after `?`. `adapters` is null where it names none: the page then chooses. */
export function readState(search) {
  const params = new URLSearchParams(search);
  const text = (key) => params.get(key) ?? "";
  const adapters = params.has("adapters") ? text("adapters").split(",").filter(Boolean) : null;
  const state = { view: params.get("view") === "experiments" ? "experiments" : "search", q: text("q"), adapters };
  for (const key of KEYS) state[key] = text(key);
  return { ...state, experiment: text("experiment") };
}

/** The address of a state, without what is the default. */
export function writeState(state) {
  const params = new URLSearchParams();
  if (state.view === "experiments") {
    params.set("view", "experiments");
    if (state.experiment) params.set("experiment", state.experiment);
    return `?${params}`;
  }
  if (state.q) params.set("q", state.q);
  if (state.adapters) params.set("adapters", state.adapters.join(","));
  for (const key of KEYS) if (state[key]) params.set(key, state[key]);
  // A comma needs no escape, and addresses are read by people too.
  const text = params.toString().replaceAll("%2C", ",");
  return text ? `?${text}` : location.pathname;
}

/** How many hits a page has where nothing else is said. */
const TOP_K = 10;

/** How many hits a page of this state has. */
export function pageSize({ top_k }) {
  return Number(top_k) || TOP_K;
}

/** The body of a search. What is no number goes as it is: the service says what is wrong with it, and in which field. */
export function searchBody(state, adapters, filters) {
  const number = (text) => (/^\d+$/.test(text) ? Number(text) : text);
  const body = { query: state.q, adapters, top_k: TOP_K };
  for (const key of ["depth", "top_k", "deadline_millis", "offset"]) if (state[key]) body[key] = number(state[key]);
  if (filters) body.filters = filters;
  if (state.syntax) body.syntax = state.syntax;
  return body;
}
