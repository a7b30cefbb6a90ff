// The search view: from the form to the columns or to a message.

import { ApiError, compare, firstStage } from "./api.js";
import { Board } from "./board.js";
import { columnName } from "./comparison.js";
import { clearFieldErrors, readForm, showFieldError } from "./controls.js";
import { byId, h } from "./dom.js";
import { Judging } from "./judging.js";
import { Notice } from "./notices.js";
import { counted, grouped, millis } from "./numbers.js";
import { stagesName } from "./stages.js";
import { pageSize, readState, searchBody } from "./state.js";
import { readTyped } from "./typed.js";

export class Search {
  #state = readState("");
  #running = null;
  #ticking = null;
  /** What is shown: the rankers' answers so far, the first stage's the first, and the documents of all of them. */
  #comparison = null;
  #notice = new Notice(byId("notice"));
  #rankers;
  #navigate;
  #replace;
  #onKeyNeeded;

  /**
   * `navigate` goes to another state, `replace` does without a new entry for the back button; `onKeyNeeded` asks for a key because
   * of an error. `rankers` are the adapters that there are, `sets` the sets of queries.
   */
  constructor({ rankers, sets, navigate, replace, onKeyNeeded }) {
    this.#rankers = rankers;
    this.#navigate = navigate;
    this.#replace = replace;
    this.#onKeyNeeded = onKeyNeeded;
    this.judging = new Judging(this.#notice, sets, (qid) => navigate({ ...this.#state, view: "sets", judge: qid }));
    this.board = new Board((docid, grade) => this.judging.toggle(docid, grade));
    byId("previous").addEventListener("click", () => this.turnPage(-1));
    byId("next").addEventListener("click", () => this.turnPage(1));
    byId("baseline").addEventListener("change", (event) => this.#setBaseline(event.target.value));
  }

  /** Whether there are hits on the screen. */
  get isShown() {
    return !byId("results").hidden && !byId("search-view").hidden;
  }

  /** Goes to this view, if another is shown. */
  open() {
    if (byId("search-view").hidden) this.#navigate({ ...this.#state, view: "search" });
  }

  /** Shows a state: searches where there is a query. */
  async show(state) {
    this.#state = state;
    document.title = state.q ? `${state.q} – lorank` : "lorank";
    try {
      await this.#rankers.offer(state);
    } catch (error) {
      this.#fail(error);
      return;
    }
    await this.#run();
  }

  hide() {
    this.#running?.abort();
    this.#stopTicking();
  }

  turnPage(pages) {
    const button = pages > 0 ? byId("next") : byId("previous");
    if (button.disabled || !this.isShown) return;
    const offset = Math.max(0, Number(this.#state.offset || 0) + pages * pageSize(this.#state));
    this.#navigate({ ...this.#state, offset: offset > 0 ? String(offset) : "" });
  }

  submit() {
    this.#navigate({ ...this.#state, ...readForm(), view: "search", offset: "" });
  }

  async #run() {
    this.#running?.abort();
    clearFieldErrors();
    this.#notice.clear();
    byId("welcome").hidden = this.#state.q !== "";
    const body = this.#state.q === "" ? this.#showNothing("") : this.#body();
    if (!body) return;
    const running = new AbortController();
    this.#running = running;
    this.#tick(performance.now());
    try {
      await this.#ask(body, running.signal);
    } catch (error) {
      if (running.signal.aborted) return;
      this.#fail(error);
    } finally {
      if (this.#running === running) this.#stopTicking();
    }
  }

  /** Shows the first stage's order at once, and each adapter's as it comes. */
  async #ask(body, signal) {
    const { index } = this.#state;
    const first = await firstStage(body, index, signal);
    if (signal.aborted) return;
    if (first.rankers[0].hits.length === 0) {
      this.#showNothing(this.#nothingFound());
      return;
    }
    const rankers = rankersOf(body);
    const waiting = rankers.map(({ name }) => ({ name, isWaiting: true, hits: [] }));
    this.#comparison = { ...first, rankers: [...first.rankers, ...waiting] };
    this.#showAnswers();
    const ask = async ({ name, adapters, stages }, n) => {
      const answer = await compare({ ...body, adapters, stages }, index, signal).catch((error) => this.#failOne(error, name, signal));
      if (!signal.aborted) this.#add(answer, n + 1);
    };
    await Promise.all(rankers.map(ask));
    const failed = this.#comparison.rankers.find(({ error }) => error)?.error;
    if (failed) this.#notice.show(failed, { retry: () => this.show(this.#state), askForKey: () => this.#onKeyNeeded(failed) });
  }

  /** A column that says why it has no ranking. What is wrong with the request itself is said beside its control instead. */
  #failOne(error, name, signal) {
    if (signal.aborted || !(error instanceof ApiError) || error.field) throw error;
    return { rankers: [{ name, error, hits: [] }], documents: {} };
  }

  #add({ rankers, documents }, place) {
    const all = this.#comparison;
    all.rankers[place] = rankers.at(-1);
    all.documents = { ...documents, ...all.documents };
    this.#showAnswers();
  }

  #body() {
    try {
      return searchBody(this.#state, this.#rankers.chosen(this.#state), readTyped(this.#state));
    } catch (error) {
      this.#showNothing("");
      showFieldError(error.field, error.message);
      return null;
    }
  }

  #showAnswers() {
    const { rankers, n_candidates, depth, request_id } = this.#comparison;
    byId("results").hidden = false;
    byId("results").classList.remove("is-old");
    this.board.show(this.#comparison, this.#state.baseline || undefined);
    this.judging.begin(this.#state.q, this.board);
    this.#offerBaselines(rankers);
    const ready = rankers.filter(({ isWaiting, error }) => !isWaiting && !error);
    const slowest = Math.max(...ready.map(({ timings_millis }) => timings_millis.total));
    const fallbacks = ready.filter(({ fallback }) => fallback).length;
    const late = fallbacks > 0 ? ` · ${counted(fallbacks, "column")} in first-stage order` : "";
    const nColumns = ready.length < rankers.length ? `${ready.length} of ${counted(rankers.length, "column")}` : counted(rankers.length, "column");
    this.#say(`${counted(n_candidates, "candidate")} of depth ${grouped(depth)} · ${nColumns} · ${millis(slowest)}${late}`, `request ${request_id}`);
    this.#showPaging(Math.max(...ready.map(({ hits }) => hits.length)), rankers[0].hits[0].rank);
  }

  /** The columns from which moves and gains can be counted. */
  #offerBaselines(rankers) {
    byId("baseline-field").hidden = rankers.length < 2;
    const chosen = rankers.some(({ name }) => name === this.#state.baseline) ? this.#state.baseline : "first-stage";
    byId("baseline").replaceChildren(...rankers.map(({ name }) => h("option", { value: name, selected: name === chosen }, columnName(name))));
    byId("legend-baseline").textContent = columnName(chosen);
  }

  #setBaseline(name) {
    this.#state = { ...this.#state, baseline: name === "first-stage" ? "" : name };
    this.#replace(this.#state);
    this.#showAnswers();
  }

  #nothingFound() {
    if (Number(this.#state.offset) > 0) return "No more hits: this page is after the last one.";
    const filters = this.#state.filters ? " and these filters" : "";
    return `No hits for “${this.#state.q}”${filters}. Try fewer or other words.`;
  }

  #showPaging(nHits, first) {
    byId("previous").disabled = first === 1;
    // A page that is not full is the last one.
    byId("next").disabled = nHits < pageSize(this.#state);
    byId("page-range").textContent = `Hits ${first} to ${first + nHits - 1}`;
  }

  #showNothing(text) {
    byId("results").hidden = true;
    byId("judging").hidden = true;
    this.#say(text);
  }

  #fail(error) {
    if (!(error instanceof ApiError)) throw error;
    // Hits of another query would be taken for the answer.
    this.#running?.abort();
    this.#showNothing("");
    const isNamed = error.field && error.status < 500 && showFieldError(error.field, error.message);
    if (isNamed) return;
    const askForKey = () => this.#onKeyNeeded(error);
    this.#notice.show(error, { retry: () => this.show(this.#state), askForKey });
    if (error.status === 401) askForKey();
  }

  /** Says how long a search already takes, once that is long enough to wonder. */
  #tick(began) {
    byId("search-view").setAttribute("aria-busy", "true");
    byId("results").classList.add("is-old");
    clearInterval(this.#ticking);
    this.#ticking = setInterval(() => {
      const seconds = (performance.now() - began) / 1000;
      // Not a status: a screen reader would count along.
      byId("search-view").dataset.waiting = `Searching… ${seconds.toFixed(0)} s`;
    }, 500);
  }

  #stopTicking() {
    clearInterval(this.#ticking);
    byId("search-view").removeAttribute("aria-busy");
    delete byId("search-view").dataset.waiting;
  }

  #say(text, title = "") {
    byId("status").textContent = text;
    byId("status").title = title;
  }
}

/** The rankers of a body, each with what a comparison of it alone asks for. */
function rankersOf({ adapters, stages }) {
  const ofAdapters = adapters.map((name) => ({ name, adapters: [name] }));
  return stages ? [...ofAdapters, { name: stagesName(stages), adapters: [], stages }] : ofAdapters;
}
