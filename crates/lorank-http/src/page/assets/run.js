// Runs the queries of a set under rankers, a few at a time. It goes on while other views are shown, as long as the tab is open.

import { ApiError, compare, firstStage } from "./api.js";
import { DEPTH } from "./evaluation.js";

/** How many queries are under way at once. The model is one for all requests; two keep it busy, and leave room for searches. */
const CONCURRENCY = 2;

/** How often a query that is turned away for load is sent again, and after how long where the service does not say. */
const TRIES_MAX = 20;
const RETRY_SECONDS = 1;

export class Run {
  /** By query text: `{rankers: {name: {ids, fallback, digest}}}` or `{error}`. */
  results = new Map();
  /** Why the run stopped before its end. */
  error = null;
  #queries;
  #settings;
  #abort = null;
  #next = 0;
  #onChange;

  /**
   * Over these texts. `settings` are `{body, index}`: what is the same in all requests, and the index. `onChange` is called after each
   * answer, and when the run begins and ends.
   */
  constructor(queries, settings, onChange) {
    this.#queries = queries;
    this.#settings = settings;
    this.#onChange = onChange;
  }

  get settings() {
    return this.#settings;
  }

  get isRunning() {
    return this.#abort !== null;
  }

  get nQueries() {
    return this.#queries.length;
  }

  get nDone() {
    return this.results.size;
  }

  /** Begins, or goes on after a stop. Returns at the end. */
  async go() {
    if (this.isRunning) return;
    const abort = new AbortController();
    this.#abort = abort;
    this.error = null;
    this.#queries = [...this.#queries.filter((text) => this.results.has(text)), ...this.#queries.filter((text) => !this.results.has(text))];
    this.#next = this.results.size;
    this.#onChange();
    try {
      await Promise.all(Array.from({ length: CONCURRENCY }, () => this.#work(abort.signal)));
    } catch (error) {
      if (!abort.signal.aborted) this.error = error;
      abort.abort();
    }
    this.#abort = null;
    this.#onChange();
  }

  stop() {
    this.#abort?.abort();
  }

  async #work(signal) {
    while (this.#next < this.#queries.length && !signal.aborted) {
      const text = this.#queries[this.#next];
      this.#next += 1;
      const result = await this.#ask(text, signal);
      if (signal.aborted) return;
      this.results.set(text, result);
      this.#onChange();
    }
  }

  /** The answer to a query. What is wrong with this query alone is its result; what will be wrong with all of them is thrown. */
  async #ask(text, signal) {
    const { body, index } = this.#settings;
    const request = { ...body, query: text, top_k: DEPTH, snippets: false, fields: [] };
    const ask = body.adapters.length > 0 || body.stages ? compare : firstStage;
    for (let tries = 1; ; tries += 1) {
      try {
        return resultOf(await ask(request, index, signal));
      } catch (error) {
        const isBusy = error instanceof ApiError && [429, 503].includes(error.status);
        if (isBusy && tries < TRIES_MAX) await pause(error.retryAfter ?? RETRY_SECONDS, signal);
        else if (error instanceof ApiError && error.field === "query") return { error: error.message };
        else throw error;
      }
    }
  }
}

function resultOf({ rankers }) {
  const one = ({ hits, fallback, adapter }) => ({ ids: hits.map(({ id }) => id), fallback: fallback?.reason ?? null, digest: adapter?.digest ?? null });
  return { rankers: Object.fromEntries(rankers.map((ranker) => [ranker.name, one(ranker)])) };
}

/** Waits, or until it is stopped. */
function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    }, { once: true });
  });
}
