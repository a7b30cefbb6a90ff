// The search view: from the form to the columns, and what is said when there are none.

import { ApiError, compare, rankerNames, registry } from "./api.js";
import { Board } from "./board.js";
import { clearFieldErrors, fillForm, firstChoice, offerAdapters, readForm, showFieldError, summarise } from "./controls.js";
import { byId } from "./dom.js";
import { readFilters } from "./filters.js";
import { Judging } from "./judging.js";
import { Notice } from "./notices.js";
import { counted, grouped, millis } from "./numbers.js";
import { pageSize, readState, searchBody } from "./state.js";

export class Search {
  #state = readState("");
  #names = null;
  #running = null;
  #ticking = null;
  #notice = new Notice(byId("notice"));
  #navigate;
  #onKeyNeeded;

  /** `navigate` goes to another state; `onKeyNeeded` asks for a key because of an error. */
  constructor({ navigate, onKeyNeeded }) {
    this.#navigate = navigate;
    this.#onKeyNeeded = onKeyNeeded;
    this.judging = new Judging(this.#notice);
    this.board = new Board((docid, grade) => this.judging.toggle(docid, grade));
    byId("search-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    byId("search-form").addEventListener("input", summarise);
    byId("adapter-chips").addEventListener("change", () => byId("query").value.trim() && this.#submit());
    byId("previous").addEventListener("click", () => this.turnPage(-1));
    byId("next").addEventListener("click", () => this.turnPage(1));
  }

  /** Whether there are hits on the screen. */
  get isShown() {
    return !byId("results").hidden && !byId("search-view").hidden;
  }

  /** Goes to this view, if another is shown. */
  open() {
    if (byId("search-view").hidden) this.#navigate({ ...this.#state, view: "search" });
  }

  /** Shows a state: fills the form, and searches where there is a query. */
  async show(state) {
    this.#state = state;
    fillForm(state);
    if (!(await this.#loadAdapters())) return;
    await this.#run();
  }

  /** Asks anew which adapters there are, as with another key. */
  forgetAdapters() {
    this.#names = null;
  }

  turnPage(pages) {
    const button = pages > 0 ? byId("next") : byId("previous");
    if (button.disabled || !this.isShown) return;
    const offset = Math.max(0, Number(this.#state.offset || 0) + pages * pageSize(this.#state));
    this.#navigate({ ...this.#state, offset: offset > 0 ? String(offset) : "" });
  }

  #submit() {
    this.#navigate({ ...this.#state, ...readForm(), view: "search", offset: "" });
  }

  async #loadAdapters() {
    try {
      if (!this.#names) {
        this.#names = await rankerNames();
        this.#offer({ adapters: [], aliases: {} });
        // Only an operator's key tells more about them; nothing waits for it.
        registry().then((known) => this.#offer(known));
      } else {
        this.#offer(this.#registry);
      }
      return true;
    } catch (error) {
      this.#fail(error);
      return false;
    }
  }

  #registry = { adapters: [], aliases: {} };

  #offer(known) {
    this.#registry = known;
    offerAdapters(this.#names, this.#chosen(), known);
  }

  #chosen() {
    return this.#state.adapters ?? firstChoice(this.#names);
  }

  async #run() {
    this.#running?.abort();
    clearFieldErrors();
    this.#notice.clear();
    document.title = this.#state.q ? `${this.#state.q} – lorank` : "lorank";
    byId("welcome").hidden = this.#state.q !== "";
    const body = this.#state.q === "" ? this.#showNothing("") : this.#body();
    if (!body) return;
    const running = new AbortController();
    this.#running = running;
    this.#tick(performance.now());
    try {
      const comparison = await compare(body, running.signal);
      if (running.signal.aborted) return;
      this.#showAnswer(comparison);
    } catch (error) {
      if (running.signal.aborted) return;
      this.#fail(error);
    } finally {
      if (this.#running === running) this.#stopTicking();
    }
  }

  #body() {
    try {
      return searchBody(this.#state, this.#chosen(), readFilters(this.#state.filters));
    } catch (error) {
      this.#showNothing("");
      showFieldError("filters", error.message);
      return null;
    }
  }

  #showAnswer(comparison) {
    const { rankers, n_candidates, depth } = comparison;
    const nHits = Math.max(...rankers.map(({ hits }) => hits.length));
    if (nHits === 0) {
      this.#showNothing(this.#nothingFound());
      return;
    }
    byId("results").hidden = false;
    this.board.show(comparison);
    this.judging.begin(this.#state.q, this.board);
    const slowest = Math.max(...rankers.map(({ timings_millis }) => timings_millis.total));
    const fallbacks = rankers.filter(({ fallback }) => fallback).length;
    const late = fallbacks > 0 ? ` · ${counted(fallbacks, "column")} in first-stage order` : "";
    const text = `${counted(n_candidates, "candidate")} of depth ${grouped(depth)} · ${counted(rankers.length, "column")} · ${millis(slowest)}${late}`;
    this.#say(text, `request ${comparison.request_id}`);
    this.#showPaging(nHits, rankers[0].hits[0]?.rank ?? 1);
  }

  #nothingFound() {
    if (Number(this.#state.offset) > 0) return "No more hits: this page lies behind the last one.";
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
