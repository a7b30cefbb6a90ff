// The lines between columns: from a document's place in one to its place in the next. Kinds differ in dash and colour.
// They are drawn for the eye alone; each card says its move in words.

import { svg } from "./dom.js";

/** How far a line's ends stand off the cards. */
const GAP = 3;
/** How long the line of a hit is that only one of two columns has. */
const STUB = 22;

/**
 * Draws all lines into `canvas`, which covers `board`. `cardOf(column, id)` gives a card's element.
 * Returns the lines, each with its element.
 */
export function drawLines(canvas, board, links, cardOf) {
  const origin = board.getBoundingClientRect();
  const place = (card) => {
    const box = card.getBoundingClientRect();
    const head = card.firstElementChild.getBoundingClientRect();
    return { left: box.left - origin.left - GAP, right: box.right - origin.left + GAP, y: head.top + head.height / 2 - origin.top };
  };
  canvas.setAttribute("width", board.scrollWidth);
  canvas.setAttribute("height", board.scrollHeight);
  const lines = links.map((link) => ({ ...link, element: line(link, place, cardOf) }));
  canvas.replaceChildren(...lines.map(({ element }) => element));
  return lines;
}

function line({ id, column, from, to, kind }, place, cardOf) {
  const left = from ? place(cardOf(column, id)) : null;
  const right = to ? place(cardOf(column + 1, id)) : null;
  const start = left ? [left.right, left.y] : [right.left - STUB, right.y];
  const end = right ? [right.left, right.y] : [left.right + STUB, left.y];
  const middle = (start[0] + end[0]) / 2;
  const path = svg("path", { d: `M${start} C${middle},${start[1]} ${middle},${end[1]} ${end}` });
  const dot = ([cx, cy]) => svg("circle", { cx, cy, r: 3 });
  return svg("g", { class: `line ${kind}` }, path, from && dot(start), to && dot(end));
}
