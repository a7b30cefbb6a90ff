// The adapters that there are, and which of them are chosen: for searches and for query sets alike.

import { indexNames, rankerNames, registry } from "./api.js";
import { fillForm, firstChoice, offerAdapters, offerIndexes } from "./controls.js";

export class Rankers {
  #names = null;
  #registry = { adapters: [], aliases: {}, bases: {} };
  #state = null;

  /** Asks anew which there are, as with another key. */
  forget() {
    this.#names = null;
  }

  /** Fills the form with a state and what can be chosen in it. Throws an `ApiError` where the service does not say what there is. */
  async offer(state) {
    this.#state = state;
    fillForm(state);
    if (!this.#names) {
      this.#names = await rankerNames();
      // Only an operator's key tells more about them; nothing waits for it.
      registry().then((known) => {
        this.#registry = known;
        if (this.#names) this.#offer();
      });
      indexNames().then((names) => offerIndexes(names, this.#state.index));
    }
    this.#offer();
  }

  #offer() {
    offerAdapters(this.#names, this.chosen(this.#state), this.#registry);
  }

  /** The adapters of a state, or those to begin with. */
  chosen(state) {
    return state.adapters ?? firstChoice(this.#names ?? []);
  }
}
