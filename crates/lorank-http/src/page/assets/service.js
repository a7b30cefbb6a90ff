// The view of the service: its index, its adapters, its cache and its queue.

import { AdaptersPanel } from "./adapterspanel.js";
import { ApiError, adapters, indexes, registry, stats } from "./api.js";
import { byId, h } from "./dom.js";
import { IndexPanel } from "./indexpanel.js";
import { LoadPanel } from "./loadpanel.js";
import { Notice } from "./notices.js";

const REFRESH_MILLIS = 5_000;

export class ServicePanels {
  #state = null;
  #timer = null;
  #running = null;
  #notice = new Notice(byId("service-notice"));
  #onKeyNeeded;
  #index;
  #adapters;
  #load = new LoadPanel(byId("load-panel"));

  constructor({ navigate, rankers, onKeyNeeded }) {
    this.#onKeyNeeded = onKeyNeeded;
    this.#index = new IndexPanel(byId("index-panel"), navigate);
    const onChange = () => {
      rankers.forget();
      this.#refresh();
    };
    this.#adapters = new AdaptersPanel(byId("adapters-panel"), onChange);
    document.addEventListener("visibilitychange", () => document.hidden || this.#refresh());
  }

  show(state) {
    this.#state = state;
    document.title = "Service – lorank";
    this.#refresh();
  }

  hide() {
    this.#state = null;
    clearTimeout(this.#timer);
    this.#running?.abort();
  }

  async #refresh() {
    if (!this.#state) return;
    clearTimeout(this.#timer);
    this.#running?.abort();
    const running = new AbortController();
    this.#running = running;
    try {
      const [all, now] = await Promise.all([indexes(running.signal), stats(running.signal)]);
      this.#notice.clear();
      this.#index.show(all, this.#state.index);
      this.#load.show(now);
      await this.#showAdapters(running.signal);
    } catch (error) {
      if (running.signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      const askForKey = () => this.#onKeyNeeded(error);
      this.#notice.show(error, { retry: () => this.#refresh(), askForKey });
      if (error.status === 401) askForKey();
      if (error.status >= 400 && error.status < 500 && error.status !== 429) return;
    }
    this.#timer = setTimeout(() => document.hidden || this.#refresh(), REFRESH_MILLIS);
  }

  /** Adapters need another key than the rest, so their refusal is their panel's affair. */
  async #showAdapters(signal) {
    try {
      const [all, { aliases, bases }] = await Promise.all([adapters(signal), registry()]);
      this.#adapters.show(all, aliases, bases);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status === 0 || error.status >= 500) throw error;
      const key = error.status === 401 || error.status === 403;
      const button = key && h("button", { type: "button", on: { click: () => this.#onKeyNeeded(error) } }, "Enter an admin key…");
      this.#adapters.refuse(error.message, button);
    }
  }
}
