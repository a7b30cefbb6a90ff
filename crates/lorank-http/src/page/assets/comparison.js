// A comparison as columns, and who moves where between them. Plain values; `columns.js` shows them.

/** The names of rankers that are not adapters. */
const NAMES = { "first-stage": "First stage", none: "Base model" };

/** The shown name of a ranker. */
export function columnName(name) {
  return NAMES[name] ?? name;
}

/**
 * The columns of a comparison, each hit with its document, its places in the other columns and its move from the baseline, which
 * is one column for all. A ranker without an answer yet has `isWaiting`, one that failed an `error`; both have no hits.
 */
export function columnsOf({ rankers, documents }, baselineName = "first-stage") {
  const isReady = ({ isWaiting, error }) => !isWaiting && !error;
  const ranks = rankers.map(({ hits }) => new Map(hits.map((hit) => [hit.id, hit.rank])));
  const named = rankers.findIndex((ranker) => ranker.name === baselineName && isReady(ranker));
  const base = Math.max(0, named);
  return rankers.map((ranker, n) => {
    const hits = ranker.hits.map((hit) => ({
      ...hit,
      document: documents[hit.id],
      ...moveOf(hit, rankers[base], ranks[base]),
      // Only the hits of this page are known: one that is not among them may be on another.
      isNew: n !== base && !ranks[base].has(hit.id),
      missingIn: n === base ? rankers.filter((other, m) => m !== base && isReady(other) && !ranks[m].has(hit.id)).map(({ name }) => name) : [],
      elsewhere: rankers.map((other, m) => ({ name: other.name, rank: ranks[m].get(hit.id) ?? null, isReady: isReady(other) })).filter((one, m) => m !== n && one.isReady),
    }));
    return { ...ranker, n, hits, isReady: isReady(ranker), isBaseline: n === base };
  });
}

/** How far a hit moved up from the baseline, null where that is not known, and from which rank. */
function moveOf(hit, baseline, ranks) {
  // The first stage's rank is known wherever it lies; that of another ranker only on this page.
  const from = baseline.name === "first-stage" ? hit.first_stage_rank : (ranks.get(hit.id) ?? null);
  return { change: from === null ? null : from - hit.rank, baselineRank: from, baselineName: columnName(baseline.name) };
}

/**
 * The lines from each column to the next: `{id, column, from, to, kind}`. `from` and `to` say whether the document is in the left and
 * in the right column; `kind` is its move from the baseline to the right column (`up`, `down`, `same`, or `apart` where that is
 * not known), or `new` or `gone` where only one of the two has it.
 */
export function linksOf(columns) {
  return columns.slice(1).flatMap((right, column) => {
    const left = columns[column];
    if (!left.isReady || !right.isReady) return [];
    const [inLeft, inRight] = [left, right].map(({ hits }) => new Set(hits.map(({ id }) => id)));
    const kind = (hit) => (!inLeft.has(hit.id) ? "new" : hit.change === null ? "apart" : kindOf(right.isBaseline ? moveIn(left, hit) : hit.change));
    const arrived = right.hits.map((hit) => ({ id: hit.id, column, from: inLeft.has(hit.id), to: true, kind: kind(hit) }));
    const gone = left.hits.filter(({ id }) => !inRight.has(id)).map(({ id }) => ({ id, column, from: true, to: false, kind: "gone" }));
    return [...arrived, ...gone];
  });
}

/** A document's move in a column. */
function moveIn(column, { id }) {
  return column.hits.find((hit) => hit.id === id).change;
}

/** The kind of a rank change; positive is up. */
export function kindOf(change) {
  return change > 0 ? "up" : change < 0 ? "down" : "same";
}
