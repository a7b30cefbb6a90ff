// The columns with the lines between them: which hit is active, which document is lit, and moving among the hits.

import { columnName, columnsOf, linksOf } from "./comparison.js";
import { columnElement, showQuality } from "./columns.js";
import { byId, h } from "./dom.js";
import { setReachable, showGrade, toggleExplanation } from "./hits.js";
import { ownMillis } from "./latency.js";
import { drawLines } from "./lines.js";

export class Board {
  #columns = [];
  #links = [];
  #lines = [];
  /** For each column, its cards by document, in their order. */
  #cards = [];
  #active = null;
  /** The columns that the buttons are for. */
  #offered = null;
  #onGrade;
  /** An explanation that opens moves what is below it in its column, and the lines with it. */
  #sizes = new ResizeObserver(() => requestAnimationFrame(() => this.#draw()));

  constructor(onGrade) {
    this.#onGrade = onGrade;
    const host = byId("columns");
    host.addEventListener("focusin", (event) => this.#activate(event.target.closest(".hit")));
    host.addEventListener("focusout", () => this.#light(null));
    host.addEventListener("pointerover", (event) => this.#light(event.target.closest(".hit")));
    host.addEventListener("pointerleave", () => this.#light(document.activeElement.closest(".hit")));
    this.#sizes.observe(byId("board"));
    this.#watchColumn();
  }

  get active() {
    return this.#active;
  }

  /** The documents that are shown, each once. */
  get documents() {
    return [...new Set(this.#cards.flatMap((cards) => [...cards.keys()]))];
  }

  /** Shows a comparison, with its moves counted from the column of this name. What of it was shown before keeps its focus. */
  show(comparison, baseline) {
    const before = this.#remembered();
    this.#columns = columnsOf(comparison, baseline);
    this.#links = linksOf(this.#columns);
    const ready = this.#columns.filter(({ isReady }) => isReady);
    const slowest = Math.max(...ready.map((column) => ownMillis(column.timings_millis)));
    const hadFocus = byId("columns").contains(document.activeElement);
    const elements = this.#columns.map((column) => columnElement(column, slowest, this.#onGrade));
    byId("columns").replaceChildren(...elements);
    for (const element of elements) this.#sizes.observe(element.querySelector(".hits"));
    const cards = (element) => [...element.querySelectorAll(".hit")].map((card) => [card.dataset.id, card]);
    this.#cards = elements.map((element) => new Map(cards(element)));
    this.#active = null;
    this.#activate(this.#recalled(before) ?? this.#card(0, 0));
    this.#light(null);
    this.#offerColumns();
    this.#draw();
    // Who was among the hits of the page before stays among hits.
    if (hadFocus) this.#focus(this.#active);
  }

  /** What is active and what is explained, by the columns' names. */
  #remembered() {
    const place = (card) => ({ column: this.#columns[this.#placeOf(card)[0]].name, id: card.dataset.id });
    const cards = this.#cards.flatMap((column) => [...column.values()]);
    const explained = cards.filter((card) => card.querySelector(".explanation")).map(place);
    return { active: this.#active && place(this.#active), explained };
  }

  /** Explains again what was explained; the card that was active, if it is still there. */
  #recalled({ active, explained }) {
    const card = ({ column, id }) => this.#cards[this.#columns.findIndex(({ name }) => name === column)]?.get(id);
    for (const one of explained) {
      const found = card(one);
      if (found) toggleExplanation(found);
    }
    return active && card(active);
  }

  /** Shows the grades of the documents and what they say of the columns. */
  showGrades(grades) {
    this.#columns.forEach((column, n) => {
      for (const [id, card] of this.#cards[n]) showGrade(card, grades.get(id));
      const element = byId("columns").children[n].querySelector(".quality");
      showQuality(element, column, this.#columns, grades);
    });
  }

  /** To the hit so many places further down, or to the active one where none has the focus. */
  step(places) {
    if (!this.#active) return;
    const isFocused = this.#active.contains(document.activeElement);
    const [column, place] = this.#placeOf(this.#active);
    const last = this.#cards[column].size - 1;
    this.#focus(this.#card(column, isFocused ? Math.min(last, Math.max(0, place + places)) : place));
  }

  /** To the same document in the next column, or to the same place where that column lacks it. */
  turn(columns) {
    if (!this.#active) return;
    const [column, place] = this.#placeOf(this.#active);
    const there = this.#cards[column + columns];
    if (!there || there.size === 0) return;
    this.#focus(there.get(this.#active.dataset.id) ?? this.#card(column + columns, Math.min(place, there.size - 1)));
  }

  #card(column, place) {
    return [...(this.#cards[column]?.values() ?? [])][place] ?? null;
  }

  #placeOf(card) {
    const column = this.#cards.findIndex((cards) => cards.get(card.dataset.id) === card);
    return [column, [...this.#cards[column].values()].indexOf(card)];
  }

  #focus(card) {
    card?.focus();
  }

  #activate(card) {
    if (!card) return;
    if (this.#active && this.#active !== card) setReachable(this.#active, false);
    this.#active = card;
    setReachable(card, true);
    this.#light(card);
  }

  /** Lights a card's document in all columns. */
  #light(card) {
    const id = card?.dataset.id;
    for (const cards of this.#cards) {
      for (const [other, element] of cards) element.classList.toggle("is-lit", other === id);
    }
    for (const { id: other, element } of this.#lines) element.classList.toggle("is-lit", other === id);
    byId("lines").classList.toggle("has-lit", id !== undefined);
  }

  #draw() {
    const canvas = byId("lines");
    // On a narrow screen there is one column at a time.
    if (getComputedStyle(canvas).display === "none" || byId("results").hidden) return;
    this.#lines = drawLines(canvas, byId("board"), this.#links, (column, id) => this.#cards[column].get(id));
    this.#light(document.activeElement.closest(".hit"));
  }

  /** The buttons that bring a column into view on a narrow screen. */
  #offerColumns() {
    const scroller = byId("scroller");
    const button = ({ name }, n) => {
      const click = () => scroller.scrollTo({ left: byId("columns").children[n].offsetLeft });
      return h("button", { type: "button", "aria-pressed": String(n === 0), on: { click } }, columnName(name));
    };
    const shown = this.#columns.map(({ name }) => name).join();
    if (shown === this.#offered) return;
    this.#offered = shown;
    byId("chooser").replaceChildren(...this.#columns.map(button));
    scroller.scrollTo({ left: 0, behavior: "instant" });
  }

  #watchColumn() {
    const scroller = byId("scroller");
    scroller.addEventListener("scroll", () => {
      const middle = scroller.scrollLeft + scroller.clientWidth / 2;
      const n = [...byId("columns").children].findLastIndex((column) => column.offsetLeft <= middle);
      [...byId("chooser").children].forEach((button, m) => button.setAttribute("aria-pressed", String(m === n)));
    }, { passive: true });
  }
}
