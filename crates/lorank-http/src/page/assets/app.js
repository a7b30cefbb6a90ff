// The page: two views, chosen by the address.

import { askForKey, whyAKey, wireDialogs } from "./dialogs.js";
import { byId } from "./dom.js";
import { Experiments } from "./experiments.js";
import { wireKeys } from "./keys.js";
import { Search } from "./search.js";
import { readState, writeState } from "./state.js";

const search = new Search({ navigate, onKeyNeeded });
const experiments = new Experiments({ onKeyNeeded });

/** The search that was last shown: the link to the search view leads back to it. */
let lastSearch = readState("");

/** Goes to a state; the one before stays behind the browser's back button. */
function navigate(state) {
  const address = writeState(state);
  if (address !== location.search) history.pushState(null, "", address);
  show();
}

/** Shows what the address says. */
function show() {
  const state = readState(location.search);
  for (const view of ["search", "experiments"]) {
    byId(`${view}-view`).hidden = view !== state.view;
    const link = document.querySelector(`nav a[data-view=${view}]`);
    if (view === state.view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (state.view === "experiments") {
    experiments.show(state);
    return;
  }
  experiments.hide();
  lastSearch = state;
  document.querySelector("nav a[data-view=search]").href = writeState(state);
  search.show(state);
}

async function onKeyNeeded(error) {
  if (await askForKey(whyAKey(error))) onKey();
}

function onKey() {
  search.forgetAdapters();
  show();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-view]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
  event.preventDefault();
  navigate(link.dataset.view === "search" ? lastSearch : readState(new URL(link.href).search));
});
window.addEventListener("popstate", show);
// Adapters come and go while the page stays open: whoever comes back to it is offered those of today with the next search.
document.addEventListener("visibilitychange", () => document.hidden || search.forgetAdapters());
wireDialogs(onKey);
wireKeys(search);
show();
if (!location.search) byId("query").focus();
