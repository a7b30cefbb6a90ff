// A comparison as columns, and who moves where between them. Plain values; `columns.js` shows them.

/** What rankers that are no adapters are called. */
const NAMES = { "first-stage": "First stage", none: "Base model" };

/** What people read for a ranker's name. */
export function columnName(name) {
  return NAMES[name] ?? name;
}

/** The columns of a comparison, each hit with its document and its places in the other columns. */
export function columnsOf({ rankers, documents }) {
  const ranks = rankers.map(({ hits }) => new Map(hits.map((hit) => [hit.id, hit.rank])));
  return rankers.map((ranker, n) => {
    const hits = ranker.hits.map((hit) => ({
      ...hit,
      document: documents[hit.id],
      // Only the hits of this page are known: one that is not among them may be on another.
      isNew: n > 0 && !ranks[n - 1].has(hit.id),
      isGone: n + 1 < rankers.length && !ranks[n + 1].has(hit.id),
      elsewhere: rankers.map(({ name }, m) => ({ name, rank: ranks[m].get(hit.id) ?? null })).filter((_, m) => m !== n),
    }));
    return { ...ranker, n, hits };
  });
}

/** The lines from each column to the next: `{id, column, kind}`, where `kind` is `up`, `down`, `same`, `new` or `gone`. */
export function linksOf(columns) {
  return columns.slice(1).flatMap((to, column) => {
    const before = new Map(columns[column].hits.map((hit) => [hit.id, hit.rank]));
    const kind = (hit) => (hit.isNew ? "new" : kindOf(before.get(hit.id) - hit.rank));
    const arrived = to.hits.map((hit) => ({ id: hit.id, column, kind: kind(hit) }));
    const left = columns[column].hits.filter((hit) => hit.isGone).map(({ id }) => ({ id, column, kind: "gone" }));
    return [...arrived, ...left];
  });
}

/** What a rank change is called, counted upwards. */
export function kindOf(change) {
  return change > 0 ? "up" : change < 0 ? "down" : "same";
}
