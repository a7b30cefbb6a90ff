// The view of query sets: which set, its files, running it, and what came of it.

import { ApiError } from "./api.js";
import { clearFieldErrors, readForm, showFieldError } from "./controls.js";
import { ask, field } from "./dialogs.js";
import { byId, download, h } from "./dom.js";
import { scored, summarized } from "./evaluation.js";
import { EvaluationView, readEvaluation } from "./evaluationview.js";
import { countedQueries, importFiles, importText, openFiles } from "./files.js";
import { Notice } from "./notices.js";
import { counted } from "./numbers.js";
import { Pool } from "./pool.js";
import { readQrels, readQueries, writeQueries, writeTrec } from "./qrels.js";
import { resultsJson, resultsTsv } from "./results.js";
import { Run } from "./run.js";
import { QueryTable, summaryElements } from "./settable.js";
import { stagesName } from "./stages.js";
import { readState, searchBody } from "./state.js";
import { readTyped } from "./typed.js";

/** How long a query of a run may take where nothing else is said. A fallback would be measured as if it were a ranking. */
const DEADLINE_MILLIS = 60_000;

/** How often the table follows a run. */
const REDRAW_MILLIS = 400;

export class SetsView {
  #state = readState("?view=sets");
  #run = null;
  #redrawing = null;
  #notice = new Notice(byId("sets-notice"));
  #rankers;
  #sets;
  #navigate;
  #replace;
  #onKeyNeeded;
  #table;
  #evaluation = new EvaluationView(byId("evaluation"), () => this.#state);

  constructor({ rankers, sets, navigate, replace, onKeyNeeded }) {
    this.#rankers = rankers;
    this.#sets = sets;
    this.#navigate = navigate;
    this.#replace = replace;
    this.#onKeyNeeded = onKeyNeeded;
    this.#table = new QueryTable(byId("set-queries"), () => this.#state);
    this.pool = new Pool({ sets, notice: this.#notice, navigate, body: () => this.#settings() });
    this.#wire();
  }

  async show(state) {
    this.#state = state;
    document.title = "Query sets – lorank";
    byId("set-table").hidden = state.judge !== "";
    byId("pool").hidden = state.judge === "";
    clearFieldErrors();
    try {
      await this.#rankers.offer(state);
    } catch (error) {
      this.#fail(error);
      return;
    }
    this.#offerSets();
    if (state.judge) this.pool.show(state);
    else this.#draw();
  }

  hide() {
    this.pool.hide();
  }

  /** Takes over what the form says. */
  setOptions() {
    const { q: _, ...options } = readForm();
    this.#state = { ...this.#state, ...options };
    this.#replace(this.#state);
    clearFieldErrors();
    this.#draw();
  }

  get #judgments() {
    return this.#sets.judgments;
  }

  #wire() {
    byId("set-name").addEventListener("change", (event) => this.#choose(event.target.value));
    byId("set-new").addEventListener("click", () => this.#askForSet());
    byId("run-start").addEventListener("click", () => this.#start());
    byId("run-stop").addEventListener("click", () => this.#run?.stop());
    byId("type-queries").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#try(() => this.#notice.say(importText(byId("typed-queries").value, readQueries, this.#judgments)));
      byId("typed-queries").value = "";
    });
    const actions = {
      "import-judgments": () => byId("judgments-file").click(),
      "import-queries": () => byId("queries-file").click(),
      "export-trec": () => download("qrels.txt", writeTrec(this.#judgments.all())),
      "export-queries": () => download("queries.jsonl", writeQueries(this.#texts()), "application/jsonl"),
      "export-tsv": () => download("results.tsv", resultsTsv(this.#exported()), "text/tab-separated-values"),
      "export-json": () => download("results.json", resultsJson(this.#exported()), "application/json"),
      "open-evaluation": () => byId("evaluation-file").click(),
      "set-delete": () => this.#delete(),
    };
    openFiles(byId("set-files"), actions, (action) => this.#try(action));
    for (const [id, read] of [["judgments-file", readQrels], ["queries-file", readQueries]]) {
      byId(id).addEventListener("change", async (event) => {
        await importFiles(event.target, read, this.#judgments, this.#notice);
        this.#draw();
      });
    }
    byId("evaluation-file").addEventListener("change", async ({ target }) => {
      const [file] = target.files;
      target.value = "";
      if (!file) return;
      const text = await file.text();
      this.#try(() => this.#evaluation.show(readEvaluation(text)));
    });
    window.addEventListener("storage", () => byId("sets-view").hidden || this.show(this.#state));
  }

  #offerSets() {
    const option = (name) => h("option", { value: name, selected: name === this.#sets.chosen }, name);
    byId("set-name").replaceChildren(...this.#sets.names.map(option));
  }

  #choose(name) {
    this.#run?.stop();
    this.#run = null;
    this.#sets.choose(name);
    this.#notice.clear();
    this.show(this.#state);
  }

  async #askForSet() {
    const name = h("input", { id: "new-set", maxlength: 60, autocomplete: "off" });
    const act = () => this.#sets.add(name.value.trim());
    if (await ask({ title: "New query set", body: field("Name", name), yes: "Create the set", act })) this.#choose(this.#sets.chosen);
  }

  async #delete() {
    const { judgments } = this.#judgments.counts();
    const what = `“${this.#sets.chosen}” has ${countedQueries(this.#judgments.topics.length)} and ${counted(judgments, "judgment")}. This browser has the only copy, unless you downloaded them.`;
    const act = () => {
      this.#run?.stop();
      this.#run = null;
      this.#sets.remove();
    };
    if (await ask({ title: "Delete this query set?", body: h("p", {}, what), yes: "Delete it", act })) this.show(this.#state);
  }

  /** The queries whose text is known. */
  #texts() {
    return this.#judgments.topics.filter(({ text }) => text !== null);
  }

  /** What a run of the form's options asks for. Throws where the filters cannot be read. */
  #settings() {
    const state = { ...this.#state, q: "" };
    const { query: _, ...body } = searchBody(state, this.#rankers.chosen(state), readTyped(state));
    return { body: { deadline_millis: DEADLINE_MILLIS, ...body }, index: state.index };
  }

  #start() {
    this.#notice.clear();
    let settings;
    try {
      settings = this.#settings();
    } catch (error) {
      showFieldError(error.field, error.message);
      return;
    }
    const isSame = this.#run && JSON.stringify(this.#run.settings) === JSON.stringify(settings);
    const isComplete = this.#run && this.#run.nDone === this.#texts().length;
    if (!isSame || isComplete) this.#run = new Run(this.#texts().map(({ text }) => text), settings, () => this.#redraw());
    this.#run.go().then(() => this.#run?.error && this.#fail(this.#run.error));
  }

  #fail(error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.field && showFieldError(error.field, error.message)) return;
    const askForKey = () => this.#onKeyNeeded(error);
    this.#notice.show(error, { retry: () => (this.#run ? this.#start() : this.show(this.#state)), askForKey });
    if (error.status === 401) askForKey();
  }

  /** Draws soon while a run goes on, as answers come faster than anybody reads, and at once at its end. */
  #redraw() {
    this.#showProgress();
    const draw = () => {
      clearTimeout(this.#redrawing);
      this.#redrawing = null;
      if (!byId("sets-view").hidden && !this.#state.judge) this.#draw();
    };
    if (this.#run?.isRunning) this.#redrawing ??= setTimeout(draw, REDRAW_MILLIS);
    else draw();
  }

  #draw() {
    this.#judgments.reload();
    this.#showProgress();
    const [texts, names, baseline] = [this.#texts(), this.#names(), this.#baseline()];
    const rows = texts.map((topic) => ({ ...topic, result: this.#run?.results.get(topic.text) ?? null, ...scored(this.#run?.results.get(topic.text), topic.grades) }));
    byId("set-empty").hidden = texts.length > 0;
    byId("set-summary").replaceChildren(...(this.#run?.nDone > 0 ? summaryElements(summarized(rows, names, baseline), names, baseline, (name) => this.#setBaseline(name)) : []));
    this.#table.show(rows, this.#run ? names : [], baseline);
  }

  /** The rankers of the run, the first stage the first. */
  #names() {
    const { adapters = [], stages } = this.#run?.settings.body ?? {};
    return ["first-stage", ...adapters, ...(stages ? [stagesName(stages)] : [])];
  }

  #baseline() {
    return this.#names().includes(this.#state.baseline) ? this.#state.baseline : "first-stage";
  }

  #setBaseline(name) {
    this.#state = { ...this.#state, baseline: name === "first-stage" ? "" : name };
    this.#replace(this.#state);
    this.#draw();
  }

  #showProgress() {
    const run = this.#run;
    const nQueries = this.#texts().length;
    const isRunning = run?.isRunning ?? false;
    byId("run-start").hidden = isRunning || nQueries === 0;
    byId("run-stop").hidden = !isRunning;
    byId("run-progress").hidden = !isRunning;
    if (run) Object.assign(byId("run-progress"), { max: run.nQueries, value: run.nDone });
    byId("run-share").textContent = isRunning ? ` ${Math.floor((100 * run.nDone) / run.nQueries)} %` : "";
    const isStopped = run && !isRunning && run.nDone < run.nQueries;
    byId("run-start").textContent = isStopped && !this.#isStale() ? "Go on" : "Run all queries";
    byId("run-text").textContent = this.#progressText(run, nQueries, isRunning);
  }

  #progressText(run, nQueries, isRunning) {
    const unnamed = this.#judgments.topics.length - nQueries;
    const missing = unnamed > 0 ? ` ${unnamed.toLocaleString("en")} judged ids have no query text yet; import the queries.` : "";
    if (!run) return nQueries > 0 ? `${countedQueries(nQueries)}.${missing}` : missing.trim();
    if (isRunning) return `${run.nDone} of ${countedQueries(run.nQueries)} answered; other views can be used meanwhile.`;
    const stale = this.#isStale() ? " The options have changed since; run again." : "";
    return `${run.nDone} of ${countedQueries(nQueries)} answered.${stale}${missing}`;
  }

  /** Whether the results are of other options than those of the form. */
  #isStale() {
    try {
      return JSON.stringify(this.#run.settings) !== JSON.stringify(this.#settings());
    } catch {
      return true;
    }
  }

  #exported() {
    if (!this.#run || this.#run.nDone === 0) throw new Error("There are no results yet; run the queries first.");
    const rows = this.#texts().map((topic) => ({ ...topic, result: this.#run.results.get(topic.text) ?? null, ...scored(this.#run.results.get(topic.text), topic.grades) }));
    const [names, baseline] = [this.#names(), this.#baseline()];
    return { set: this.#sets.chosen, settings: this.#run.settings, names, baseline, rows, summary: summarized(rows, names, baseline) };
  }

  /** Does it, or says why it cannot be done. */
  #try(action) {
    try {
      this.#notice.clear();
      action();
    } catch (error) {
      this.#notice.say(error.message);
    }
    this.#draw();
  }
}
