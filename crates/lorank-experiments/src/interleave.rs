//! Team-draft interleaving: mixes the arms' rankings in one answer, and attributes clicks to arms.
//!
//! The arms pick hits in rounds, in a new random order each round; each picks the best hit of its ranking that is not yet picked.
//! Radlinski, Kurup and Joachims, "How does clickthrough data reflect retrieval quality?" (CIKM 2008), for two
//! arms; Schuth et al., "Multileaved comparisons for fast online evaluation" (CIKM 2014), for more. The order depends only on the
//! request id, so answers are reproducible.
//!
//! If all arms want the same hit next at the start of a round, it belongs to no team: its team would be random, and clicks on it would
//! only add noise. Chapelle et al., "Large-scale validation and analysis of interleaved search evaluation" (TOIS 2012),
//! show that this loses no signal. The teams stay exchangeable in every round, so random clicks do not favor any of them.

use std::collections::{BTreeSet, HashSet};
use std::hash::Hash;

use crate::Click;

/// The team of hits without an arm.
pub const NO_TEAM: u8 = u8::MAX;

const CONTEXT: &str = "lorank experiments 2025-11-25 order of the arms in an interleaved answer v1";

/// A hit of an interleaved answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drafted<T> {
    /// The hit.
    pub id: T,
    /// The index of the arm that gets credit for clicks, or [`NO_TEAM`].
    pub team: u8,
}

/// The first `length` hits of the arms' rankings, interleaved; at most [`NO_TEAM`] arms.
///
/// An arm that failed is `None`; the others are interleaved. When too few hits remain for each arm to be certain of one in a round, the
/// rest has no team, and so has an answer with only one arm.
pub fn team_draft<T: Eq + Hash + Clone>(request_id: &str, rankings: &[Option<&[T]>], length: usize) -> Vec<Drafted<T>> {
    let mut draft = Draft::new(request_id, rankings, length);
    while draft.drafted.len() < length && !draft.teams.is_empty() {
        draft.round();
    }
    draft.drafted
}

/// The credit of each arm for the clicks on an interleaved answer: 1 / rank for each of its hits with at least one click.
///
/// Clicks at lower ranks are more often random. Each arm has the same probability of every rank within a round, so the weight favors
/// none.
pub fn credits(teams: &[u8], clicks: &[Click], n_arms: usize) -> Vec<f64> {
    let mut credits = vec![0.0; n_arms];
    let ranks: BTreeSet<usize> = clicks.iter().map(|click| click.rank).collect();
    for rank in ranks {
        let team = rank.checked_sub(1).and_then(|n| teams.get(n));
        if let Some(credit) = team.and_then(|team| credits.get_mut(usize::from(*team))) {
            *credit += 1.0 / rank as f64;
        }
    }
    credits
}

struct Team<'a, T> {
    name: u8,
    /// The rest of the arm's ranking. It may contain hits of others, but not at its head.
    left: Vec<&'a T>,
}

struct Draft<'a, T> {
    teams: Vec<Team<'a, T>>,
    placed: HashSet<&'a T>,
    drafted: Vec<Drafted<T>>,
    length: usize,
    n_arms: usize,
    random: blake3::OutputReader,
}

impl<'a, T: Eq + Hash + Clone> Draft<'a, T> {
    fn new(request_id: &str, rankings: &[Option<&'a [T]>], length: usize) -> Self {
        let team = |(name, ranking): (u8, &Option<&'a [T]>)| {
            let mut seen = HashSet::new();
            // Reversed, so that the best hit can be popped.
            let mut left: Vec<&T> = (*ranking)?.iter().filter(|id| seen.insert(*id)).collect();
            left.reverse();
            Some(Team { name, left })
        };
        let teams: Vec<_> = (0..NO_TEAM).zip(rankings).filter_map(team).filter(|team| !team.left.is_empty()).collect();
        let random = blake3::Hasher::new_derive_key(CONTEXT).update(request_id.as_bytes()).finalize_xof();
        Self { n_arms: teams.len(), teams, placed: HashSet::new(), drafted: Vec::new(), length, random }
    }

    fn round(&mut self) {
        if let Some(wanted) = self.wanted_by_all() {
            self.place(wanted, NO_TEAM);
            return self.teams.retain(|team| !team.left.is_empty());
        }
        let is_fair = self.is_fair();
        for n in self.order() {
            if let Some((id, name)) = self.teams[n].left.last().map(|id| (*id, self.teams[n].name)) {
                self.place(id, if is_fair { name } else { NO_TEAM });
            }
        }
        self.teams.retain(|team| !team.left.is_empty());
    }

    fn place(&mut self, id: &'a T, team: u8) {
        if self.drafted.len() < self.length {
            self.drafted.push(Drafted { id: id.clone(), team });
        }
        self.placed.insert(id);
        for team in &mut self.teams {
            while team.left.last().is_some_and(|id| self.placed.contains(id)) {
                team.left.pop();
            }
        }
    }
}

impl<'a, T: Eq + Hash> Draft<'a, T> {
    fn wanted_by_all(&self) -> Option<&'a T> {
        let (first, others) = self.teams.split_first()?;
        let wanted = *first.left.last()?;
        others.iter().all(|team| team.left.last() == Some(&wanted)).then_some(wanted)
    }

    /// Whether each arm gets a hit this round in any order.
    fn is_fair(&self) -> bool {
        let n_free =
            |team: &Team<T>| team.left.iter().filter(|id| !self.placed.contains(*id)).take(self.n_arms).count();
        self.teams.len() == self.n_arms && self.teams.iter().all(|team| n_free(team) == self.n_arms)
    }

    /// The teams in a random order (Fisher-Yates shuffle).
    fn order(&mut self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.teams.len()).collect();
        for n in (1..order.len()).rev() {
            let mut bytes = [0; 8];
            self.random.fill(&mut bytes);
            let point = (u128::from(u64::from_le_bytes(bytes)) * (n as u128 + 1)) >> 64;
            order.swap(n, point as usize);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::examples::record;

    /// Rankings as words, hits as letters, `-` for an arm that failed; the answer as ids and teams (`.` for nobody's).
    fn draft(request_id: &str, rankings: &[&str], length: usize) -> (String, String) {
        let rankings: Vec<Vec<char>> = rankings.iter().map(|word| word.chars().collect()).collect();
        let rankings: Vec<_> = rankings.iter().map(|ids| (ids[..] != ['-']).then_some(&ids[..])).collect();
        let drafted = team_draft(request_id, &rankings, length);
        let name = |team: u8| if team == NO_TEAM { '.' } else { char::from(b'0' + team) };
        drafted.iter().map(|hit| (hit.id, name(hit.team))).unzip()
    }

    #[test]
    fn teams_pick_in_turn() {
        let check = |rankings: &[&str], length, answers: &[(&str, &str)]| {
            for n in 0..20 {
                let (ids, teams) = draft(&format!("r{n}"), rankings, length);
                assert!(answers.contains(&(&ids[..], &teams[..])), "{rankings:?}: {ids} {teams}");
            }
        };
        check(&["abcd", "wxyz"], 2, &[("aw", "01"), ("wa", "10")]);
        // The top that both want is nobody's.
        check(&["abcx", "acby"], 3, &[("abc", ".01"), ("acb", ".10")]);
        check(&["abc", "abc"], 9, &[("abc", "...")]);
        check(&["abc", "-"], 2, &[("ab", "..")]);
        check(&["abab", "-", "aabb"], 9, &[("ab", "..")]);
        check(&["ab", "-", "ba"], 9, &[("ab", "02"), ("ba", "20")]);
        // In the second round not both are sure of a hit.
        check(&["abc", "bac"], 9, &[("abc", "01."), ("bac", "10.")]);
        check(&["", ""], 3, &[("", "")]);
    }

    /// Recorded once: an answer must come out the same when it is replayed elsewhere.
    #[test]
    fn answers_are_stable() {
        let found = ["r1", "r2", "r3"].map(|request| draft(request, &["abcdef", "fedcba", "cafebd"], 6));
        let recorded = [("cafbed", "201012"), ("facbed", "102021"), ("fcaedb", "120210")]
            .map(|(ids, teams)| (ids.to_owned(), teams.to_owned()));
        assert_eq!(found, recorded);
    }

    #[test]
    fn a_hit_clicked_twice_counts_once() {
        let clicks = record("u", 0, &[1, 1, 2, 3, 99, 0]).clicks;
        assert_eq!(credits(&[1, NO_TEAM, 0], &clicks, 2), [1.0 / 3.0, 1.0]);
    }

    #[test]
    fn clicks_at_random_favour_no_arm() {
        for rankings in
            [&["abcdefgh", "acbxyedw"][..], &["abcdef", "bcafed", "xabcde"], &["abc", "cabdefg"], &["ab", "bac", "a"]]
        {
            // Reading from the top, so that every rank counts differently.
            let weight = |rank: usize| 1.0 / (rank as f64 + 1.0);
            let (mut sum, mut squares) = (0.0, 0.0);
            for n in 0..20_000 {
                let (_, teams) = draft(&format!("{n}"), rankings, 5);
                let credit =
                    |team| teams.chars().enumerate().filter(|hit| hit.1 == team).map(|hit| weight(hit.0)).sum::<f64>();
                let lead = credit('0') - credit('1');
                sum += lead;
                squares += lead * lead;
            }
            assert!(sum.abs() <= 3.5 * f64::sqrt(squares), "{rankings:?}: {sum} of {}", squares.sqrt());
        }
    }

    fn rankings() -> impl Strategy<Value = Vec<Option<Vec<u8>>>> {
        prop::collection::vec(prop::option::weighted(0.9, prop::collection::vec(0..12u8, 0..10)), 1..5)
    }

    proptest! {
        #[test]
        fn an_answer_holds_each_hit_once_and_is_fair(rankings in rankings(), request in "[a-z]{3}", length in 0..14usize) {
            let rankings: Vec<Option<&[u8]>> = rankings.iter().map(Option::as_deref).collect();
            let drafted = team_draft(&request, &rankings, length);
            prop_assert_eq!(&drafted, &team_draft(&request, &rankings, length));
            let union: HashSet<u8> = rankings.iter().flatten().flat_map(|ids| ids.iter().copied()).collect();
            let ids: HashSet<u8> = drafted.iter().map(|hit| hit.id).collect();
            prop_assert!(ids.is_subset(&union) && ids.len() == drafted.len());
            prop_assert_eq!(ids.len(), union.len().min(length));
            let present: Vec<usize> = (0..rankings.len()).filter(|n| rankings[*n].is_some_and(|ids| !ids.is_empty())).collect();
            let mut sizes = vec![0; rankings.len()];
            for hit in drafted.iter().filter(|hit| hit.team != NO_TEAM) {
                sizes[usize::from(hit.team)] += 1;
                prop_assert!(rankings[usize::from(hit.team)].unwrap().contains(&hit.id));
                let (least, most) = (present.iter().map(|n| sizes[*n]).min(), present.iter().map(|n| sizes[*n]).max());
                prop_assert!(most.unwrap() - least.unwrap() <= 1, "{:?}", drafted);
            }
        }
    }
}
