// Blind judging: the first hits of all rankers in one shuffled list, without the names of the rankers.

import { ApiError, compare, firstStage } from "./api.js";
import { byId, h, icon } from "./dom.js";
import { DEPTH, pooled } from "./evaluation.js";
import { NOTHING_KEPT } from "./files.js";
import { GRADE_ICONS, GRADES, gradeName } from "./judgments.js";
import { writeState } from "./state.js";

/** The most characters of a document that are shown. */
const TEXT_LENGTH_MAX = 1500;

export class Pool {
  #state = null;
  #topic = null;
  #loading = null;
  #sets;
  #notice;
  #navigate;
  #settings;

  /** `body` gives the options of a search and its index. */
  constructor({ sets, notice, navigate, body }) {
    this.#sets = sets;
    this.#notice = notice;
    this.#navigate = navigate;
    this.#settings = body;
  }

  get isShown() {
    return !byId("pool").hidden && !byId("sets-view").hidden && this.#topic !== null;
  }

  async show(state) {
    this.#state = state;
    this.#sets.reload();
    this.#topic = this.#topics().find(({ qid }) => qid === state.judge) ?? null;
    const host = byId("pool");
    if (!this.#topic) {
      host.replaceChildren(h("p", { class: "welcome" }, `The set “${this.#sets.chosen}” has no query with the id “${state.judge}”. `, this.#backLink()));
      return;
    }
    document.title = `Judge ${this.#topic.text} – lorank`;
    host.replaceChildren(this.#head(), h("p", { class: "waiting" }, "Searching…"));
    this.#loading?.abort();
    const loading = new AbortController();
    this.#loading = loading;
    try {
      const list = await this.#load(loading.signal);
      if (loading.signal.aborted) return;
      host.replaceChildren(this.#head(), list);
      this.#refresh();
      (host.querySelector(".pooled:not([data-grade])") ?? host.querySelector(".pooled"))?.focus();
    } catch (error) {
      if (loading.signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      host.replaceChildren(this.#head());
      this.#notice.show(error, { retry: () => this.show(state) });
    }
  }

  hide() {
    this.#loading?.abort();
  }

  /** Grades the active document and goes to the next one that has no grade; null takes the grade back, and stays. */
  grade(grade) {
    const card = document.activeElement.closest(".pooled");
    if (!card) return;
    this.#judge(card, grade);
    if (grade === null) return;
    const cards = this.#cards();
    const behind = [...cards.slice(cards.indexOf(card) + 1), ...cards.slice(0, cards.indexOf(card))];
    const next = behind.find((one) => !one.dataset.grade);
    if (next) next.focus();
    else byId("pool-said").textContent = `${gradeName(grade)}; all documents of this query are judged`;
  }

  /** To the document so many places further down. */
  step(places) {
    const cards = this.#cards();
    const at = cards.indexOf(document.activeElement.closest(".pooled"));
    cards[Math.min(cards.length - 1, Math.max(0, at + places))]?.focus();
  }

  /** To the query so many places further down in the set. */
  turn(queries) {
    const topics = this.#topics();
    const other = topics[topics.findIndex(({ qid }) => qid === this.#topic.qid) + queries];
    if (other) this.#navigate({ ...this.#state, judge: other.qid });
  }

  leave() {
    this.#navigate({ ...this.#state, judge: "" });
  }

  #topics() {
    return this.#sets.judgments.topics.filter(({ text }) => text !== null);
  }

  #cards() {
    return [...byId("pool").querySelectorAll(".pooled")];
  }

  async #load(signal) {
    const { body, index } = this.#settings();
    const request = { ...body, query: this.#topic.text, top_k: DEPTH, snippets: false };
    const answer = await (body.adapters.length > 0 || body.stages ? compare : firstStage)(request, index, signal);
    const ids = pooled(this.#topic.qid, answer.rankers.map(({ hits }) => hits.map(({ id }) => id)));
    if (ids.length === 0) return h("p", { class: "welcome" }, "No ranking has a hit for this query.");
    return h("ol", { class: "pool-list", role: "list" }, ids.map((id, n) => h("li", {}, this.#card(id, answer.documents[id].fields, n))));
  }

  #head() {
    const topics = this.#topics();
    const at = topics.findIndex(({ qid }) => qid === this.#topic.qid);
    const button = (text, places, title) => h("button", { type: "button", title, disabled: !topics[at + places], on: { click: () => this.turn(places) } }, text);
    return h("div", { class: "pool-head" },
      h("p", {}, this.#backLink()),
      h("h3", {}, this.#topic.text),
      h("p", { class: "note" }, `Query ${at + 1} of ${topics.length}, id ${this.#topic.qid}. The documents of all rankings, shuffled. `, h("kbd", {}, "1"), " relevant, ", h("kbd", {}, "2"), " partly, ", h("kbd", {}, "3"), " not."),
      h("div", { class: "buttons" }, button("Previous query", -1, "Previous query (p)"), button("Next query", 1, "Next query (n)"), h("span", { id: "pool-count" })));
  }

  #backLink() {
    return h("a", { href: writeState({ ...this.#state, judge: "" }), "data-view": "sets" }, "Back to the set");
  }

  #card(id, fields, n) {
    const { title, ...others } = fields;
    const hasTitle = typeof title === "string" && title.trim() !== "";
    const heading = `pooled-${n}`;
    const judge = ({ grade, name, key }) => {
      const properties = { type: "button", "aria-label": name, "aria-pressed": "false", title: `${name} (${key})`, "data-gives": grade };
      return h("button", { ...properties, on: { click: () => this.#judge(card, card.dataset.grade === String(grade) ? null : grade) } }, icon(GRADE_ICONS[grade]));
    };
    const card = h("article", { class: "hit pooled", tabindex: "0", "aria-labelledby": heading, "data-id": id },
      h("h4", { id: heading, class: hasTitle ? null : "is-id" }, hasTitle ? title : id),
      h("p", { class: "pool-text" }, textOf(others)),
      h("div", { class: "hit-foot" }, h("span", { class: "note" }, id), h("div", { class: "judge", role: "group", "aria-label": "Judgment" }, GRADES.map(judge), h("span", { class: "grade spoken" }))));
    return card;
  }

  #judge(card, grade) {
    const isKept = this.#sets.judgments.judge(this.#topic.text, card.dataset.id, grade);
    if (!isKept) this.#notice.say(NOTHING_KEPT);
    byId("pool-said").textContent = grade === null ? "judgment removed" : gradeName(grade);
    this.#refresh();
  }

  #refresh() {
    const grades = this.#sets.judgments.grades(this.#topic.text);
    const cards = this.#cards();
    for (const card of cards) {
      const grade = grades.get(card.dataset.id);
      const known = grade === undefined ? "" : String(Math.min(grade, 2));
      if (known) card.dataset.grade = known;
      else delete card.dataset.grade;
      card.querySelector(".grade").textContent = known && gradeName(grade);
      for (const button of card.querySelectorAll("button[data-gives]")) button.setAttribute("aria-pressed", String(button.dataset.gives === known));
    }
    const nJudged = cards.filter((card) => grades.has(card.dataset.id)).length;
    const count = byId("pool-count");
    if (count) count.textContent = cards.length > 0 ? `${nJudged} of ${cards.length} judged` : "";
  }
}

/** What a document says: its field `text`, or the longest of its texts. */
function textOf(fields) {
  const texts = Object.values(fields).filter((value) => typeof value === "string");
  const text = typeof fields.text === "string" ? fields.text : texts.toSorted((a, b) => b.length - a.length)[0] ?? "";
  return text.length > TEXT_LENGTH_MAX ? `${text.slice(0, TEXT_LENGTH_MAX)}…` : text;
}
