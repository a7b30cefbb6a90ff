// The view of experiments: the list, and the report of one, refreshed every few seconds while the page is visible.

import { ApiError, experiments, exported, report, reportPage, shadows } from "./api.js";
import { byId, download, h } from "./dom.js";
import { actionButtons } from "./experimentactions.js";
import { askForExperiment } from "./experimentform.js";
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
  /** The shown state, so that only changes are redrawn. */
  #drawn = { list: "", report: "", id: null };
  /** All experiments and shadows, as they were read last. */
  #known = { all: [], watched: [] };
  #notice = new Notice(byId("experiments-notice"));
  #navigate;
  #onKeyNeeded;

  constructor({ navigate, onKeyNeeded }) {
    this.#navigate = navigate;
    this.#onKeyNeeded = onKeyNeeded;
    byId("new-experiment").addEventListener("click", () => this.#create());
    for (const [id, event] of [["experiment-filter", "input"], ["experiment-state", "change"]]) {
      byId(id).addEventListener(event, () => this.#showList());
    }
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
      // A missing key or a server without experiments will not change within seconds.
      if (error.status >= 400 && error.status < 500 && error.status !== 429) return;
    }
    this.#timer = setTimeout(() => this.#isPaused || document.hidden || this.#refresh(), REFRESH_MILLIS);
  }

  async #read(signal) {
    const [found, watched] = await Promise.all([experiments(signal), shadows(signal)]);
    const all = ordered(found);
    const chosen = all.find(({ id }) => id === this.#state.experiment) ?? all[0];
    this.#known = { all, watched, chosen: chosen?.id };
    this.#showList();
    byId("experiment-tools").hidden = all.length === 0;
    if (!chosen) {
      this.#drawn = { list: "", report: "", id: null };
      byId("report").replaceChildren(emptyText());
      return;
    }
    // What was not started has no report.
    this.#showReport(chosen, chosen.state === "draft" ? null : await report(chosen.id, signal));
  }

  async #create() {
    try {
      const id = await askForExperiment();
      if (id) this.#navigate({ ...this.#state, experiment: id });
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#fail(error);
    }
  }

  #fail(error) {
    const retry = () => this.#refresh();
    const askForKey = () => this.#onKeyNeeded(error);
    if (error.status === 404) {
      byId("experiment-list").replaceChildren();
      byId("report").replaceChildren(h("p", { class: "welcome" }, "This server runs without experiments. ", h("code", {}, "lorank serve"), " stores them in its data folder."));
      return;
    }
    this.#notice.show(error, { retry, askForKey });
    if (error.status === 401) askForKey();
  }

  #showList() {
    const { all, watched, chosen } = this.#known;
    const listed = filtered(all, byId("experiment-filter").value, byId("experiment-state").value);
    const key = JSON.stringify([listed, watched, chosen]);
    if (key === this.#drawn.list) return;
    this.#drawn.list = key;
    const entry = ({ id, state, method, arms }) => {
      const href = writeState({ view: "experiments", experiment: id });
      const words = `${method === "interleave" ? "interleaved" : "split"} · ${arms.map(({ name }) => name).join(", ")}`;
      const link = { href, "data-view": "experiments", "aria-current": id === chosen ? "page" : null };
      return h("li", {}, h("a", link, h("b", {}, id), h("span", { class: `state ${state}` }, state), h("span", { class: "note" }, words)));
    };
    const none = all.length > 0 && listed.length === 0 && h("p", { class: "note" }, "No experiment matches.");
    byId("experiment-list").replaceChildren(none || h("ul", {}, listed.map(entry)), ...shadowElements(watched));
  }

  #showReport(experiment, found) {
    const key = JSON.stringify([experiment, found]);
    if (key === this.#drawn.report) return;
    const host = byId("report");
    const top = head(experiment, found, this.#notice, () => this.#refresh());
    if (this.#drawn.id !== experiment.id) host.replaceChildren(top, h("div", { class: "report-body" }));
    else if (this.#drawn.head !== headKey(experiment, found)) host.firstElementChild.replaceWith(top);
    const sentence = found?.sentence ?? "a draft";
    if (this.#drawn.sentence !== sentence) byId("verdict-status").textContent = `${experiment.id}: ${sentence}`;
    this.#drawn = { ...this.#drawn, report: key, head: headKey(experiment, found), id: experiment.id, sentence, found, width: 0 };
    this.#redraw();
  }

  #redraw() {
    const body = byId("report").querySelector(".report-body");
    if (!body || !this.#state || this.#drawn.width === body.clientWidth) return;
    this.#drawn.width = body.clientWidth;
    const { found } = this.#drawn;
    body.replaceChildren(...(found ? reportElements(found, body.clientWidth - 34) : [h("p", { class: "verdict" }, "A draft: it assigns no units until it is started.")]));
  }
}

/** What runs first, then drafts, then what is over; the newest of each first. */
function ordered(all) {
  const places = { running: 0, draft: 1 };
  const place = ({ state }) => places[state] ?? 2;
  return all.toReversed().sort((a, b) => place(a) - place(b) || (b.start_millis ?? 0) - (a.start_millis ?? 0));
}

/** Those in a state (empty for any) whose id, arms or models hold a text. */
function filtered(all, text, state) {
  const wanted = text.trim().toLowerCase();
  const words = ({ id, arms }) => [id, ...arms.flatMap(({ name, model }) => [name, model])].join(" ").toLowerCase();
  return all.filter((one) => (state === "" || one.state === state) && words(one).includes(wanted));
}

/** What the head of a report depends on. */
function headKey(experiment, found) {
  return JSON.stringify([experiment, found?.verdict.do, found?.verdict.arm]);
}

/** An experiment's name, what is compared in it, what can be done with it, and its files. */
function head(experiment, found, notice, onChange) {
  const { id, state, method, arms, traffic_share, unit, layer, start_millis, end_millis } = experiment;
  const arm = ({ name, model, weight }) => `${name} (${model === "none" ? "base model" : model}, weight ${weight})`;
  const how = method === "interleave" ? "arms interleaved in one answer" : "traffic split by unit";
  const date = (at) => new Date(at).toLocaleString();
  const since = start_millis ? `, ${end_millis ? "from" : "since"} ${date(start_millis)}` : "";
  const until = end_millis ? ` until ${date(end_millis)}` : "";
  const save = (name, read, type) => () => {
    read(id).then((text) => download(`${id}${name}`, text, type), (error) => notice.show(error, {}));
  };
  return h(
    "div",
    { class: "report-head" },
    h("div", {}, h("h3", {}, id, " ", h("span", { class: `state ${state}` }, state)),
      h("p", { class: "note" }, `${how}; ${percent(traffic_share, traffic_share < 0.01 ? 2 : 0)} of ${unit === "query" ? "queries" : "units"} in layer ${layer}${since}${until}.`),
      h("p", { class: "note" }, arms.map(arm).join(" · "))),
    h("div", { class: "buttons" },
      actionButtons(experiment, found?.verdict ?? null, onChange),
      found && h("button", { type: "button", on: { click: save(".html", reportPage, "text/html") } }, "Report (HTML)"),
      found && h("button", { type: "button", on: { click: save(".csv", exported, "text/csv") } }, "Answers (CSV)")),
  );
}

function shadowElements(watched) {
  if (watched.length === 0) return [];
  const row = ({ name, n_answers, n_failures, mean_rbo, mean_overlap_at_10 }) => [name, String(n_answers), String(n_failures), mean_rbo?.toFixed(3) ?? "–", mean_overlap_at_10?.toFixed(2) ?? "–"];
  return [h("h3", {}, "Shadows"), table(["", "answers", "failed", "RBO", "overlap at 10"], watched.map(row))];
}

function emptyText() {
  const command = "lorank experiments create qa-or-science --arm science=science --arm qa=qa --start";
  return h("div", { class: "welcome" }, h("p", {}, "No experiments yet. Create one with the button above, or on the command line:"), h("p", {}, h("code", {}, command)));
}
