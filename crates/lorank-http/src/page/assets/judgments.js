// Judgments of the hits, kept in the browser: for each query its id, its text and the grades of documents.

const KEY = "lorank.judgments";

export const GRADES = [
  { grade: 2, name: "relevant", key: "1" },
  { grade: 1, name: "partly", key: "2" },
  { grade: 0, name: "not relevant", key: "3" },
];

/** What a grade is called. Imported ones may be higher than those that are given here. */
export function gradeName(grade) {
  return GRADES.find((one) => one.grade === Math.min(grade, 2)).name;
}

/** The judgments of this browser. A topic is `{qid, text, grades}`; its text is null where only qrels were imported. */
export class Judgments {
  #topics = [];
  #storage;

  /** With the browser's storage, or anything with `getItem` and `setItem`. */
  constructor(storage) {
    this.#storage = storage;
    this.reload();
  }

  /** Reads what another tab may have written. */
  reload() {
    try {
      const kept = JSON.parse(this.#storage.getItem(KEY)) ?? [];
      this.#topics = kept.map(({ qid, text, grades }) => ({ qid, text, grades: new Map(grades) }));
    } catch {
      // Nothing that can be read: what this tab has stays.
    }
  }

  /** The grades by document of a query. */
  grades(text) {
    return this.#topic(text)?.grades ?? new Map();
  }

  /** The id of a query: its own, or the next free one. */
  idOf(text) {
    return this.#topic(text)?.qid ?? this.#freeId();
  }

  /** How many judgments there are, and how many queries have one. */
  counts() {
    const judged = this.#topics.filter((topic) => topic.grades.size > 0);
    return { judgments: judged.reduce((sum, topic) => sum + topic.grades.size, 0), queries: judged.length };
  }

  /** Grades a document, or takes the grade away where it is null. Returns whether the browser could keep it. */
  judge(text, docid, grade) {
    this.reload();
    const { grades } = this.#topic(text) ?? this.#add(this.#freeId(), text);
    if (grade === null) grades.delete(docid);
    else grades.set(docid, grade);
    return this.#save();
  }

  /** Gives a query an id. Imported judgments of that id become the query's. Throws where another query has it. */
  rename(text, qid) {
    this.reload();
    const owner = this.#topics.find((topic) => topic.qid === qid);
    const own = this.#topic(text);
    if (owner && owner === own) return;
    if (owner && owner.text !== null) throw new Error(`“${qid}” is the id of “${owner.text}”.`);
    const topic = owner ?? own ?? this.#add(qid, text);
    if (owner && own) {
      own.grades.forEach((grade, docid) => owner.grades.set(docid, grade));
      this.#topics = this.#topics.filter((one) => one !== own);
    }
    Object.assign(topic, { qid, text });
    this.#save();
  }

  /** Adds what was read from files. A grade that is there already gives way. */
  merge({ judgments, queries }) {
    this.reload();
    const topic = (qid) => this.#topics.find((one) => one.qid === qid) ?? this.#add(qid, null);
    for (const { qid, docid, grade } of judgments) topic(qid).grades.set(docid, grade);
    for (const { qid, text } of queries) {
      if (topic(qid).text === null && !this.#topic(text)) topic(qid).text = text;
    }
    return this.#save();
  }

  /** All judgments as `{qid, docid, grade}`, query by query. */
  all() {
    return this.#topics.flatMap(({ qid, grades }) => [...grades].map(([docid, grade]) => ({ qid, docid, grade })));
  }

  /** The queries that have judgments and whose text is known. */
  queries() {
    return this.#topics.filter(({ text, grades }) => text !== null && grades.size > 0).map(({ qid, text }) => ({ qid, text }));
  }

  clear() {
    this.#topics = [];
    return this.#save();
  }

  #topic(text) {
    return this.#topics.find((topic) => topic.text === text);
  }

  #add(qid, text) {
    const topic = { qid, text, grades: new Map() };
    this.#topics.push(topic);
    return topic;
  }

  #freeId() {
    let n = this.#topics.length + 1;
    while (this.#topics.some((topic) => topic.qid === `q${n}`)) n += 1;
    return `q${n}`;
  }

  #save() {
    const kept = this.#topics.map(({ qid, text, grades }) => ({ qid, text, grades: [...grades] }));
    try {
      this.#storage.setItem(KEY, JSON.stringify(kept));
      return true;
    } catch {
      return false;
    }
  }
}
