// Judgments of the hits, kept in the browser: for each query its id, its text and the grades of documents.

export const GRADES = [
  { grade: 2, name: "relevant", key: "1" },
  { grade: 1, name: "partly", key: "2" },
  { grade: 0, name: "not relevant", key: "3" },
];

/** The grades as icons: paths, 16 units wide. */
export const GRADE_ICONS = { 2: "M3 8.5 6.5 12 13 4.5", 1: "M3 9.5c2-3 4-3 5-1.5s3 1.5 5-1.5", 0: "M4 4l8 8M12 4l-8 8" };

/** What a grade is called. Imported ones may be higher than those that are given here. */
export function gradeName(grade) {
  return GRADES.find((one) => one.grade === Math.min(grade, 2)).name;
}

/** The judgments of one query set. A topic is `{qid, text, grades}`; its text is null where only qrels were imported. */
export class Judgments {
  #topics = [];
  #storage;
  #key;
  /** Whether the storage has what this tab has. If not, it must not be read again. */
  #isKept = true;

  /** With the browser's storage, or anything with `getItem` and `setItem`, and the key under which it keeps them. */
  constructor(storage, key) {
    this.#storage = storage;
    this.#key = key;
    this.reload();
  }

  /** Each query with its id, text and grades, in the order in which they came. */
  get topics() {
    return this.#topics;
  }

  /** Reads what another tab may have written. */
  reload() {
    if (!this.#isKept) return;
    try {
      const kept = JSON.parse(this.#storage.getItem(this.#key)) ?? [];
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
    this.#name(owner ?? own ?? this.#add(qid, text), qid, text);
    this.#save();
  }

  /** Makes a topic that of a query. What was judged of this query under another id is taken over. */
  #name(topic, qid, text) {
    const other = this.#topics.find((one) => one !== topic && one.text === text);
    other?.grades.forEach((grade, docid) => topic.grades.set(docid, grade));
    this.#topics = this.#topics.filter((one) => one !== other);
    Object.assign(topic, { qid, text });
  }

  /**
   * Adds what was read from files: grades, which take the place of those that are there, and queries. A query without an id gets the
   * next free one; one whose id is that of another text is left out. Returns how many were left out, and whether the browser
   * could keep the rest.
   */
  merge({ judgments, queries }) {
    this.reload();
    const byQid = new Map(this.#topics.map((topic) => [topic.qid, topic]));
    const topic = (qid) => {
      if (!byQid.has(qid)) byQid.set(qid, this.#add(qid, null));
      return byQid.get(qid);
    };
    for (const { qid, docid, grade } of judgments) topic(qid).grades.set(docid, grade);
    const known = new Map(this.#topics.map((one) => [one.text, one]));
    let nLeftOut = 0;
    for (const { qid, text } of queries) {
      const own = known.get(text);
      if (own && (qid === null || own.qid === qid)) continue;
      const named = topic(qid ?? this.#freeId());
      if (named.text !== null && named.text !== text) {
        nLeftOut += 1;
        continue;
      }
      if (own) {
        this.#name(named, named.qid, text);
        byQid.delete(own.qid);
      }
      named.text = text;
      known.set(text, named);
    }
    return { nLeftOut, isKept: this.#save() };
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
      this.#storage.setItem(this.#key, JSON.stringify(kept));
      this.#isKept = true;
    } catch {
      this.#isKept = false;
    }
    return this.#isKept;
  }
}
