// The view of experiments: which there are, and the report of one, read again every few seconds while somebody can see it.

import { ApiError, experiments, exported, report, reportPage, shadows } from "./api.js";
import { byId, download, h } from "./dom.js";
import { Notice } from "./notices.js";
import { percent } from "./numbers.js";
import { reportElements, table } from "./report.js";
import { writeState } from "./state.js";

const REFRESH_MILLIS = 10_000;

export class Experiments {
  #state = null;
  #timer = null;
  #running = null;
  #isPaused = false;
  /** What is shown, so that nothing is drawn anew under somebody's eyes unless it changed. */
  #drawn = { list: "", report: "", id: null };
  #notice = new Notice(byId("experiments-notice"));
  #onKeyNeeded;

  constructor({ onKeyNeeded }) {
    this.#onKeyNeeded = onKeyNeeded;
    byId("pause").addEventListener("click", () => this.#pause(!this.#isPaused));
    document.addEventListener("visibilitychange", () => document.hidden || this.#refresh());
    new ResizeObserver(() => requestAnimationFrame(() => this.#redraw())).observe(byId("report"));
  }

  show(state) {
    this.#state = state;
    document.title = "Experiments – lorank";
    this.#refresh();
  }

  hide() {
    this.#state = null;
    clearTimeout(this.#timer);
    this.#running?.abort();
  }

  #pause(isPaused) {
    this.#isPaused = isPaused;
    byId("pause").setAttribute("aria-pressed", String(isPaused));
    if (!isPaused) this.#refresh();
  }

  async #refresh() {
    if (!this.#state) return;
    clearTimeout(this.#timer);
    this.#running?.abort();
    const running = new AbortController();
    this.#running = running;
    try {
      await this.#read(running.signal);
      this.#notice.clear();
      byId("refreshed").textContent = `as of ${new Date().toLocaleTimeString()}`;
    } catch (error) {
      if (running.signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      this.#fail(error);
      // Whoever has no key, or no experiments, will not have them in ten seconds either.
      if (error.status >= 400 && error.status < 500 && error.status !== 429) return;
    }
    this.#timer = setTimeout(() => this.#isPaused || document.hidden || this.#refresh(), REFRESH_MILLIS);
  }

  async #read(signal) {
    const [all, watched] = await Promise.all([experiments(signal), shadows(signal)]);
    const chosen = all.find(({ id }) => id === this.#state.experiment) ?? all.find(({ state }) => state === "running") ?? all[0];
    this.#showList(all, watched, chosen?.id);
    if (!chosen) {
      byId("report").replaceChildren(emptyText());
      return;
    }
    const found = await report(chosen.id, signal);
    this.#showReport(chosen, found);
  }

  #fail(error) {
    const retry = () => this.#refresh();
    const askForKey = () => this.#onKeyNeeded(error);
    if (error.status === 404) {
      byId("experiment-list").replaceChildren();
      byId("report").replaceChildren(h("p", { class: "welcome" }, "This service runs without experiments. ", h("code", {}, "lorank serve"), " keeps them in its data folder."));
      return;
    }
    this.#notice.show(error, { retry, askForKey });
    if (error.status === 401) askForKey();
  }

  #showList(all, watched, chosen) {
    const key = JSON.stringify([all, watched, chosen]);
    if (key === this.#drawn.list) return;
    this.#drawn.list = key;
    const entry = ({ id, state, method, arms }) => {
      const href = writeState({ view: "experiments", experiment: id });
      const words = `${method === "interleave" ? "interleaved" : "split"} · ${arms.map(({ name }) => name).join(", ")}`;
      const link = { href, "data-view": "experiments", "aria-current": id === chosen ? "page" : null };
      return h("li", {}, h("a", link, h("b", {}, id), h("span", { class: `state ${state}` }, state), h("span", { class: "note" }, words)));
    };
    byId("experiment-list").replaceChildren(h("ul", {}, all.map(entry)), ...shadowElements(watched));
  }

  #showReport(experiment, found) {
    const key = JSON.stringify([experiment, found]);
    if (key === this.#drawn.report) return;
    const host = byId("report");
    if (this.#drawn.id !== experiment.id) host.replaceChildren(head(experiment, this.#notice), h("div", { class: "report-body" }));
    else host.firstElementChild.replaceWith(head(experiment, this.#notice));
    if (this.#drawn.sentence !== found.sentence) byId("verdict-status").textContent = `${experiment.id}: ${found.sentence}`;
    this.#drawn = { ...this.#drawn, report: key, id: experiment.id, sentence: found.sentence, found, width: 0 };
    this.#redraw();
  }

  #redraw() {
    const body = byId("report").querySelector(".report-body");
    if (!body || !this.#state || this.#drawn.width === body.clientWidth) return;
    this.#drawn.width = body.clientWidth;
    body.replaceChildren(...reportElements(this.#drawn.found, body.clientWidth - 34));
  }
}

/** An experiment's name, what is compared in it, and its files. */
function head({ id, state, method, arms, traffic_share, unit, layer, start_millis }, notice) {
  const arm = ({ name, model, weight }) => `${name} (${model === "none" ? "base model" : model}, weight ${weight})`;
  const how = method === "interleave" ? "arms interleaved in one answer" : "traffic split by unit";
  const since = start_millis ? `, since ${new Date(start_millis).toLocaleString()}` : "";
  const save = (name, read, type) => () => {
    read(id).then((text) => download(`${id}${name}`, text, type), (error) => notice.show(error, {}));
  };
  return h(
    "div",
    { class: "report-head" },
    h("div", {}, h("h3", {}, id, " ", h("span", { class: `state ${state}` }, state)),
      h("p", { class: "note" }, `${how}; ${percent(traffic_share, traffic_share < 0.01 ? 2 : 0)} of ${unit === "query" ? "queries" : "units"} in layer ${layer}${since}.`),
      h("p", { class: "note" }, arms.map(arm).join(" · "))),
    h("div", { class: "buttons" },
      h("button", { type: "button", on: { click: save(".html", reportPage, "text/html") } }, "Report (HTML)"),
      h("button", { type: "button", on: { click: save(".csv", exported, "text/csv") } }, "Answers (CSV)")),
  );
}

function shadowElements(watched) {
  if (watched.length === 0) return [];
  const row = ({ name, n_answers, n_failures, mean_rbo, mean_overlap_at_10 }) => [name, String(n_answers), String(n_failures), mean_rbo?.toFixed(3) ?? "–", mean_overlap_at_10?.toFixed(2) ?? "–"];
  return [h("h3", {}, "Shadows"), table(["", "answers", "failed", "RBO", "overlap at 10"], watched.map(row))];
}

function emptyText() {
  const command = "lorank experiments create qa-or-science --arm science=science --arm qa=qa --start";
  return h("div", { class: "welcome" }, h("p", {}, "No experiments yet. One that compares two adapters is made with"), h("p", {}, h("code", {}, command)));
}
