//! Fusion of several ranked lists into one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use crate::{Candidate, DocumentId, ListRank, Score};

/// The constant k of reciprocal rank fusion: the value of Cormack, Clarke and Buettcher, "Reciprocal rank fusion
/// outperforms Condorcet and individual rank learning methods" (SIGIR 2009).
pub const RECIPROCAL_RANK_K: f32 = 60.0;

/// Candidates from one source, best first.
#[derive(Debug, Clone, PartialEq)]
pub struct CandidateList {
    /// The source's name, for explanations.
    pub name: Arc<str>,
    /// The candidates, best first, each id once.
    pub candidates: Vec<Candidate>,
}

/// Fuses lists by reciprocal rank: a candidate's score is the sum of `1 / (60 + rank)` over the lists that have it, and
/// ties are in the order of the lists. The title, text, fields and snippet are those of the first list that has the
/// candidate. A single list is returned as it is.
pub fn fuse(mut lists: Vec<CandidateList>) -> Vec<Candidate> {
    if lists.len() < 2 {
        return lists.pop().map_or_else(Vec::new, |list| list.candidates);
    }
    let mut fused: Vec<(f32, Candidate, Vec<ListRank>)> = Vec::new();
    let mut places: HashMap<DocumentId, usize> = HashMap::new();
    for list in lists {
        for (n, candidate) in list.candidates.into_iter().enumerate() {
            let part = 1.0 / (RECIPROCAL_RANK_K + (n + 1) as f32);
            let rank = ListRank { list: list.name.clone(), rank: n + 1, score: candidate.first_stage_score };
            match places.entry(candidate.id.clone()) {
                Entry::Occupied(place) => {
                    let (score, _, ranks) = &mut fused[*place.get()];
                    *score += part;
                    ranks.push(rank);
                }
                Entry::Vacant(place) => {
                    place.insert(fused.len());
                    fused.push((part, candidate, vec![rank]));
                }
            }
        }
    }
    // The sort is stable: ties stay in the order of the lists.
    fused.sort_by(|(a, ..), (b, ..)| b.total_cmp(a));
    let finish = |(score, candidate, ranks): (f32, Candidate, Vec<ListRank>)| Candidate {
        first_stage_score: Score::new(score).expect("a sum of a few fractions is finite"),
        fused_from: ranks.into(),
        ..candidate
    };
    fused.into_iter().map(finish).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(name: &str, ids: &[&str]) -> CandidateList {
        let candidate = |(n, id): (usize, &&str)| {
            Candidate::new(*id, format!("{id} of {name}"), Score::new(9.0 - n as f32).unwrap())
        };
        CandidateList { name: name.into(), candidates: ids.iter().enumerate().map(candidate).collect() }
    }

    #[test]
    fn ranks_are_summed_and_ties_are_in_the_lists_order() {
        let fused = fuse(vec![list("words", &["a", "b", "c"]), list("vectors", &["c", "d"])]);
        let found: Vec<_> = fused.iter().map(|it| (it.id.as_str(), it.first_stage_score.get())).collect();
        let (first, second, third) = (1.0 / 61.0_f32, 1.0 / 62.0_f32, 1.0 / 63.0_f32);
        assert_eq!(found, [("c", third + first), ("a", first), ("b", second), ("d", second)]);
        assert_eq!(&*fused[0].text, "c of words");
        let ranks: Vec<_> = fused[0].fused_from.iter().map(|it| (&*it.list, it.rank, it.score.get())).collect();
        assert_eq!(ranks, [("words", 3, 7.0), ("vectors", 1, 9.0)]);
    }

    #[test]
    fn one_list_stays_as_it_is() {
        let alone = list("words", &["b", "a"]);
        assert_eq!(fuse(vec![alone.clone()]), alone.candidates);
        assert_eq!(fuse(Vec::new()), []);
    }
}
