// The page: its views, chosen by the address.

import { wireForm } from "./controls.js";
import { askForKey, whyAKey, wireDialogs } from "./dialogs.js";
import { byId } from "./dom.js";
import { Experiments } from "./experiments.js";
import { wireKeys } from "./keys.js";
import { browserStorage, QuerySets } from "./querysets.js";
import { Rankers } from "./rankers.js";
import { wireRequests } from "./requests.js";
import { Search } from "./search.js";
import { ServicePanels } from "./service.js";
import { SetsView } from "./setsview.js";
import { readState, usesAdapters, VIEWS, writeState } from "./state.js";

const rankers = new Rankers();
const sets = new QuerySets(browserStorage());
const parts = { rankers, sets, navigate, replace, onKeyNeeded };
const views = {
  search: new Search(parts),
  sets: new SetsView(parts),
  experiments: new Experiments(parts),
  service: new ServicePanels(parts),
};

/** The last state of each view, which its link restores. */
const last = Object.fromEntries(VIEWS.map((view) => [view, readState(`?view=${view}`)]));

/** Goes to a state, with an entry in the browser's history. */
function navigate(state) {
  const address = writeState(state);
  if (address !== location.search) history.pushState(null, "", address);
  show();
}

/** Replaces the address of the current state. */
function replace(state) {
  history.replaceState(null, "", writeState(state));
  keep(state);
}

/** Shows the state in the address. */
function show() {
  const state = readState(location.search);
  keep(state);
  for (const view of VIEWS) {
    byId(`${view}-view`).hidden = view !== state.view;
    const link = document.querySelector(`nav a[data-view=${view}]`);
    if (view === state.view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    if (view !== state.view) views[view].hide();
  }
  byId("search-form").hidden = !usesAdapters(state.view) || state.judge !== "";
  byId("search-form").classList.toggle("is-in-sets", state.view === "sets");
  for (const id of ["query-row", "top_k-field"]) byId(id).hidden = state.view !== "search";
  views[state.view].show(state);
}

/** Remembers a state for the link to its view. Searches and query sets share the adapters and the options. */
function keep(state) {
  last[state.view] = state;
  const { q, top_k, offset } = last.search;
  if (state.view === "search") last.sets = { ...state, view: "sets", judge: "" };
  if (state.view === "sets") last.search = { ...state, view: "search", q, top_k, offset };
  for (const link of document.querySelectorAll("nav a[data-view]")) link.href = writeState(last[link.dataset.view]);
}

async function onKeyNeeded(error) {
  if (await askForKey(whyAKey(error))) onKey();
}

function onKey() {
  rankers.forget();
  show();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-view]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
  event.preventDefault();
  navigate(readState(new URL(link.href).search));
});
window.addEventListener("popstate", show);
// Adapters may change while the page is open, so the list is refreshed for the next search when the page becomes visible.
document.addEventListener("visibilitychange", () => document.hidden || rankers.forget());
wireDialogs(onKey);
wireRequests();
wireForm({
  onSubmit: () => (byId("search-view").hidden ? views.sets.setOptions() : views.search.submit()),
  onChange: (isAdapter) => {
    if (!byId("sets-view").hidden) views.sets.setOptions();
    else if (isAdapter && byId("query").value.trim()) views.search.submit();
  },
});
wireKeys(views.search, views.sets.pool);
show();
if (!location.search) byId("query").focus();
