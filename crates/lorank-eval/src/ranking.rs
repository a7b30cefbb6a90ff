//! The order of documents by their scores.

use std::cmp::Ordering;

/// A document with its score.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// The document's id.
    pub document: String,
    /// Its score, finite. trec_eval holds scores with this precision too.
    pub score: f32,
}

/// Which of two documents with equal scores is first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ties {
    /// As in trec_eval: the document whose id is greater, byte by byte.
    #[default]
    TrecEval,
    /// The document that was first before, as in the answers of lorank's searches.
    Input,
}

/// Sorts documents as trec_eval does: by score, highest first, and ties by id, greatest first.
pub fn by_trec_eval(ranking: &mut [Scored]) {
    ranking.sort_by(|a, b| descending(a.score, b.score).then_with(|| b.document.cmp(&a.document)));
}

/// Orders scores, highest first. The two zeros are equal, as they are for trec_eval.
fn descending(a: f32, b: f32) -> Ordering {
    (b + 0.0).total_cmp(&(a + 0.0))
}

/// The places of the candidates after the first `depth` of them were reordered by `scores`; the others follow as they are.
///
/// # Panics
/// If there are fewer scores than candidates to reorder.
pub(crate) fn reranked(ids: &[String], scores: &[f32], depth: usize, ties: Ties) -> Vec<usize> {
    let n_scored = depth.min(ids.len());
    assert!(n_scored <= scores.len(), "each of the first {n_scored} candidates has a score");
    let mut order: Vec<usize> = (0..ids.len()).collect();
    let by_tie = |a: usize, b: usize| match ties {
        Ties::TrecEval => ids[b].cmp(&ids[a]),
        Ties::Input => Ordering::Equal,
    };
    // The sort is stable.
    order[..n_scored].sort_by(|a, b| descending(scores[*a], scores[*b]).then_with(|| by_tie(*a, *b)));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_reordered_and_the_others_follow() {
        let ids = ["a", "b", "c", "d"].map(str::to_owned);
        let scores = [0.1, 0.5, 0.5, 0.9];
        assert_eq!(reranked(&ids, &scores, 3, Ties::Input), [1, 2, 0, 3]);
        assert_eq!(reranked(&ids, &scores, 3, Ties::TrecEval), [2, 1, 0, 3]);
        assert_eq!(reranked(&ids, &scores, 10, Ties::Input), [3, 1, 2, 0]);
        assert_eq!(reranked(&ids, &scores[..1], 1, Ties::Input), [0, 1, 2, 3]);
        assert_eq!(reranked(&[], &[], 10, Ties::Input), [0; 0]);
    }
}
