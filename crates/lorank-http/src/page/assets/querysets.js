// Query sets: each has queries and their judgments, and is kept in the browser under its name. One is chosen; searches judge into it.

import { Judgments } from "./judgments.js";

const NAMES = "lorank.sets";
const CHOSEN = "lorank.set";
const JUDGMENTS = "lorank.judgments";

/** The set that is always there. */
const FIRST = "default";

export class QuerySets {
  #storage;
  #names = [FIRST];
  #chosen = FIRST;
  #judgments = null;

  /** With the browser's storage, or anything with `getItem`, `setItem` and `removeItem`. */
  constructor(storage) {
    this.#storage = storage;
    this.reload();
  }

  get names() {
    return this.#names;
  }

  get chosen() {
    return this.#chosen;
  }

  /** The queries and judgments of the chosen set. */
  get judgments() {
    this.#judgments ??= new Judgments(this.#storage, keyOf(this.#chosen));
    return this.#judgments;
  }

  /** Reads what another tab may have written. Which set is chosen is this tab's own affair. */
  reload() {
    this.#names = [FIRST, ...this.#read(NAMES, []).filter((name) => name !== FIRST)];
    if (this.#judgments) this.#judgments.reload();
    else this.#chosen = this.#read(CHOSEN, FIRST);
    if (!this.#names.includes(this.#chosen)) this.choose(FIRST);
  }

  choose(name) {
    if (name === this.#chosen) return;
    this.#chosen = name;
    this.#judgments = null;
    this.#write(CHOSEN, name);
  }

  /** Adds an empty set and chooses it. Throws where the name is taken or empty. */
  add(name) {
    this.reload();
    if (!name) throw new Error("A query set needs a name.");
    if (this.#names.includes(name)) throw new Error(`A query set “${name}” exists already.`);
    this.#names.push(name);
    this.#write(NAMES, this.#names);
    this.choose(name);
  }

  /** Deletes the chosen set; the first one is emptied. */
  remove() {
    this.judgments.clear();
    if (this.#chosen === FIRST) return;
    this.#storage.removeItem(keyOf(this.#chosen));
    this.#names = this.#names.filter((name) => name !== this.#chosen);
    this.#write(NAMES, this.#names);
    this.choose(FIRST);
  }

  #read(key, otherwise) {
    try {
      return JSON.parse(this.#storage.getItem(key)) ?? otherwise;
    } catch {
      return otherwise;
    }
  }

  #write(key, value) {
    try {
      this.#storage.setItem(key, JSON.stringify(value));
    } catch {
      // It lasts until a reload; whoever judges is told.
    }
  }
}

function keyOf(name) {
  return name === FIRST ? JUDGMENTS : `${JUDGMENTS}:${name}`;
}

/** The browser's storage, or a stand-in where it keeps nothing. */
export function browserStorage() {
  try {
    return window.localStorage;
  } catch {
    return {
      getItem: () => null,
      removeItem: () => {},
      setItem: () => {
        throw new Error("nothing is kept");
      },
    };
  }
}
