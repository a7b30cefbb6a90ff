// The bar of judgments: the query's id, how much is judged, files in and out.

import { byId, download, spoken } from "./dom.js";
import { importFiles, NOTHING_KEPT, openFiles } from "./files.js";
import { gradeName } from "./judgments.js";
import { counted } from "./numbers.js";
import { readQrels, writeBeir, writeQueries, writeTrec } from "./qrels.js";

export class Judging {
  #sets;
  #board;
  #onJudgeBlind;
  #notice;
  #query = "";

  /**
   * `notice` tells what could not be done. Judgments go into the chosen one of the sets; `onJudgeBlind` is given the id of a query
   * whose hits are to be judged without their columns.
   */
  constructor(notice, sets, onJudgeBlind) {
    this.#notice = notice;
    this.#onJudgeBlind = onJudgeBlind;
    this.#sets = sets;
    this.#wireFiles();
    byId("judge-blind").addEventListener("click", () => this.#judgeBlind());
    byId("qid").addEventListener("change", () => this.#try(() => this.#rename(byId("qid").value.trim())));
    window.addEventListener("storage", () => {
      this.#sets.reload();
      this.refresh();
    });
  }

  get #judgments() {
    return this.#sets.judgments;
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
    if (!isKept) this.#notice.say(NOTHING_KEPT);
    byId("said").textContent = grade === null ? "judgment removed" : gradeName(grade);
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
    byId("judged-into").textContent = this.#sets.names.length > 1 ? `set ${this.#sets.chosen}` : "";
    byId("judged-count").replaceChildren(
      `${nJudged} of ${documents.length} judged`,
      spoken(` of the documents on this page; ${counted(judgments, "judgment")} in all, of ${queries} queries`),
    );
    byId("judged-count").title = `${counted(judgments, "judgment")} in all, ${queries === 1 ? "of 1 query" : `of ${queries} queries`}`;
  }

  /** Goes to the list of this query that names no column. The query becomes part of the set. */
  #judgeBlind() {
    const qid = this.#judgments.idOf(this.#query);
    this.#judgments.merge({ judgments: [], queries: [{ qid, text: this.#query }] });
    this.#onJudgeBlind(qid);
  }

  #rename(qid) {
    if (!qid) throw new Error("A query id cannot be empty.");
    this.#judgments.rename(this.#query, qid);
  }

  #wireFiles() {
    const actions = {
      "save-trec": () => download("qrels.txt", writeTrec(this.#judgments.all())),
      "save-beir": () => download("qrels.tsv", writeBeir(this.#judgments.all()), "text/tab-separated-values"),
      "save-queries": () => download("queries.jsonl", writeQueries(this.#judgments.queries()), "application/jsonl"),
      "open-qrels": () => byId("qrels-file").click(),
      "clear-judgments": () => this.#clear(),
    };
    openFiles(byId("files"), actions, (action) => this.#try(action));
    byId("qrels-file").addEventListener("change", (event) => this.#import(event.target));
  }

  #clear() {
    const { judgments, queries } = this.#judgments.counts();
    const question = `Delete all ${counted(judgments, "judgment")} of ${queries} ${queries === 1 ? "query" : "queries"}?`;
    if (judgments > 0 && confirm(question)) this.#judgments.clear();
  }

  async #import(field) {
    await importFiles(field, readQrels, this.#judgments, this.#notice);
    this.refresh();
  }

  /** Does it, or says why it cannot be done. */
  #try(action) {
    try {
      this.#notice.clear();
      action();
    } catch (error) {
      this.#notice.say(error.message);
    }
    this.refresh();
  }
}
