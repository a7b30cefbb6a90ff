// How good a ranking is by the judgments.

/**
 * nDCG at `k` as trec_eval has it (Järvelin & Kekäläinen 2002): the grade is the gain, discounted by log2(rank + 1), against
 * the best order of all that is judged (`grades`, a map by document). What is not judged counts as 0. Null where no document is judged relevant.
 */
export function ndcg(ids, grades, k) {
  const dcg = (gains) => gains.slice(0, k).reduce((sum, gain, n) => sum + gain / Math.log2(n + 2), 0);
  const best = dcg([...grades.values()].sort((a, b) => b - a));
  return best === 0 ? null : dcg(ids.map((id) => grades.get(id) ?? 0)) / best;
}

/**
 * The Wilson score interval of a share: where it lies, at 95 %, if `share` of `n` independent trials were seen (Wilson 1927).
 */
export function wilson(share, n) {
  const z = 1.96;
  const middle = (share + (z * z) / (2 * n)) / (1 + (z * z) / n);
  const half = ((z / (1 + (z * z) / n)) * Math.sqrt((share * (1 - share)) / n + (z * z) / (4 * n * n)));
  return [Math.max(0, middle - half), Math.min(1, middle + half)];
}
