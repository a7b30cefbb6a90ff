// The bar of judgments: the query's id, how much is judged, files in and out.

import { byId, download, spoken } from "./dom.js";
import { Judgments, gradeName } from "./judgments.js";
import { counted } from "./numbers.js";
import { readQrels, writeBeir, writeQueries, writeTrec } from "./qrels.js";

export class Judging {
  #judgments = new Judgments(storage());
  #board;
  #notice;
  #query = "";

  /** `notice` tells what could not be done. */
  constructor(notice) {
    this.#notice = notice;
    this.#wireFiles();
    byId("qid").addEventListener("change", () => this.#try(() => this.#rename(byId("qid").value.trim())));
    window.addEventListener("storage", () => {
      this.#judgments.reload();
      this.refresh();
    });
  }

  /** Judges the hits of this query from now on. */
  begin(query, board) {
    this.#query = query;
    this.#board = board;
    byId("judging").hidden = false;
    this.refresh();
  }

  /** Grades a document; the grade that it has already is taken back, as a second press of its button means it. */
  toggle(docid, grade) {
    const has = this.#judgments.grades(this.#query).get(docid);
    this.grade(docid, has !== undefined && Math.min(has, 2) === grade ? null : grade);
  }

  /** Grades a document; null takes its grade away. */
  grade(docid, grade) {
    const isKept = this.#judgments.judge(this.#query, docid, grade);
    if (!isKept) this.#notice.say("This browser keeps nothing for this page: download the judgments before you close it.");
    byId("said").textContent = grade === null ? "judgment taken back" : gradeName(grade);
    this.refresh();
  }

  refresh() {
    if (!this.#board) return;
    const grades = this.#judgments.grades(this.#query);
    this.#board.showGrades(grades);
    const { documents } = this.#board;
    const nJudged = documents.filter((id) => grades.has(id)).length;
    const { judgments, queries } = this.#judgments.counts();
    byId("qid").value = this.#judgments.idOf(this.#query);
    byId("judged-count").replaceChildren(
      `${nJudged} of ${documents.length} judged`,
      spoken(` of the documents on this page; ${counted(judgments, "judgment")} in all, of ${queries} queries`),
    );
    byId("judged-count").title = `${counted(judgments, "judgment")} in all, ${queries === 1 ? "of 1 query" : `of ${queries} queries`}`;
  }

  #rename(qid) {
    if (!qid) throw new Error("A query id cannot be empty.");
    this.#judgments.rename(this.#query, qid);
  }

  #wireFiles() {
    const saves = {
      "save-trec": () => download("qrels.txt", writeTrec(this.#judgments.all())),
      "save-beir": () => download("qrels.tsv", writeBeir(this.#judgments.all()), "text/tab-separated-values"),
      "save-queries": () => download("queries.jsonl", writeQueries(this.#judgments.queries()), "application/jsonl"),
      "open-qrels": () => byId("qrels-file").click(),
      "clear-judgments": () => this.#clear(),
    };
    for (const [id, save] of Object.entries(saves)) {
      byId(id).addEventListener("click", () => {
        byId("files").open = false;
        this.#try(save);
      });
    }
    document.addEventListener("click", ({ target }) => byId("files").contains(target) || (byId("files").open = false));
    byId("qrels-file").addEventListener("change", (event) => this.#import(event.target));
  }

  #clear() {
    const { judgments, queries } = this.#judgments.counts();
    const question = `Delete all ${counted(judgments, "judgment")} of ${queries} ${queries === 1 ? "query" : "queries"}?`;
    if (judgments > 0 && confirm(question)) this.#judgments.clear();
  }

  async #import(field) {
    const files = [...field.files];
    // The same file can be chosen again.
    field.value = "";
    for (const file of files) {
      const text = await file.text();
      this.#try(() => {
        const read = readQrels(text);
        this.#judgments.merge(read);
        const queries = read.queries.length === 1 ? "1 query" : `${read.queries.length} queries`;
        this.#notice.say(`${file.name}: ${counted(read.judgments.length, "judgment")} and ${queries} imported.`);
      }, `${file.name}: `);
    }
  }

  /** Does it, or says why it cannot be done. */
  #try(action, prefix = "") {
    try {
      this.#notice.clear();
      action();
    } catch (error) {
      this.#notice.say(prefix + error.message);
    }
    this.refresh();
  }
}

/** The browser's storage, or a stand-in where it keeps nothing. */
function storage() {
  try {
    return window.localStorage;
  } catch {
    return {
      getItem: () => null,
      setItem: () => {
        throw new Error("nothing is kept");
      },
    };
  }
}
