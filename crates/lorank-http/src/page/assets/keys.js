// The keyboard. Keys of one letter work outside of fields and can be switched off, for those who dictate or use a screen reader.

import { openHelp } from "./dialogs.js";
import { byId } from "./dom.js";
import { toggleExplanation } from "./hits.js";
import { GRADES } from "./judgments.js";

const OFF = "lorank.keys-off";

/** `search` has the board, judges and turns pages; `pool` is the list that is judged blind. */
export function wireKeys(search, pool) {
  const box = byId("keys-on");
  box.checked = remembered() !== "yes";
  box.addEventListener("change", () => remember(box.checked ? "no" : "yes"));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (document.querySelector("dialog[open]")) return;
    const action = actionOf(event, search, pool, box.checked);
    if (!action) return;
    event.preventDefault();
    action();
  });
}

function actionOf({ key, target }, search, pool, areLettersOn) {
  if (key === "Escape") return escape(target, search);
  if (isField(target)) {
    return target.id === "query" && key === "ArrowDown" && search.isShown ? () => search.board.step(1) : null;
  }
  const isLetter = key.length === 1;
  if (isLetter && !areLettersOn) return null;
  if (pool.isShown) return inPool(key, target, pool) ?? anywhere(key, search);
  const hit = target.closest(".hit");
  return (hit && search.isShown && onHit(key, hit, search)) || anywhere(key, search);
}

function onHit(key, hit, search) {
  const { board, judging } = search;
  const grade = GRADES.find((one) => one.key === key)?.grade;
  if (grade !== undefined) return () => judging.grade(hit.dataset.id, grade);
  const actions = {
    0: () => judging.grade(hit.dataset.id, null),
    e: () => toggleExplanation(hit),
    ArrowLeft: () => board.turn(-1),
    ArrowRight: () => board.turn(1),
    ArrowDown: () => board.step(1),
    ArrowUp: () => board.step(-1),
  };
  return actions[key];
}

function inPool(key, target, pool) {
  const grade = GRADES.find((one) => one.key === key)?.grade;
  if (grade !== undefined) return () => pool.grade(grade);
  const actions = {
    0: () => pool.grade(null),
    j: () => pool.step(1),
    k: () => pool.step(-1),
    n: () => pool.turn(1),
    p: () => pool.turn(-1),
  };
  // Elsewhere arrows scroll.
  const onCard = { ArrowDown: actions.j, ArrowUp: actions.k };
  return actions[key] ?? (target.closest(".pooled") ? onCard[key] : undefined);
}

function anywhere(key, search) {
  const actions = { "/": () => toQuery(search), "?": openHelp };
  const onHits = {
    j: () => search.board.step(1),
    k: () => search.board.step(-1),
    n: () => search.turnPage(1),
    p: () => search.turnPage(-1),
  };
  return actions[key] ?? (search.isShown ? onHits[key] : undefined);
}

/** Closes what is open at the place; from a field it leads to the hits. */
function escape(target, search) {
  const menu = target.closest("details.menu[open]");
  if (menu) {
    return () => {
      menu.open = false;
      menu.querySelector("summary").focus();
    };
  }
  const hit = target.closest(".hit");
  if (hit?.querySelector(".explanation")) return () => toggleExplanation(hit);
  return isField(target) && search.isShown ? () => search.board.step(0) : null;
}

function toQuery(search) {
  search.open();
  byId("query").focus();
  byId("query").select();
}

function isField(element) {
  return element.matches("input:not([type=checkbox]), select, textarea, [contenteditable]");
}

function remembered() {
  try {
    return localStorage.getItem(OFF);
  } catch {
    return null;
  }
}

function remember(value) {
  try {
    localStorage.setItem(OFF, value);
  } catch {
    // It lasts until a reload.
  }
}
