//! Measures of agreement between two rankings, for shadows.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// Extrapolated rank-biased overlap: 1 for equal rankings, 0 for disjoint ones.
///
/// Equation 32 of Webber, Moffat and Zobel, "A similarity measure for indefinite rankings" (TOIS 2010). `p`, between 0 and 1
/// exclusively, is the probability that a reader continues to the next rank: 0.9 gives 86 % of the weight to the first ten ranks. The
/// lists may have different lengths, and must not have duplicate ids. Two empty lists agree.
pub fn rank_biased_overlap<T: Eq + Hash>(one: &[T], other: &[T], p: f64) -> f64 {
    let (short, long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    if short.is_empty() {
        return if long.is_empty() { 1.0 } else { 0.0 };
    }
    let overlaps = overlaps(short, long);
    let (s, l) = (short.len() as f64, long.len() as f64);
    let (x_s, x_l) = (overlaps[short.len() - 1], overlaps[long.len() - 1]);
    let (mut sum, mut weight) = (0.0, 1.0);
    for (x_d, d) in overlaps.iter().zip(1u32..) {
        weight *= p;
        // Beyond its end, the short list is assumed to continue with the same agreement.
        let beyond = (f64::from(d) - s).max(0.0) * x_s / s;
        sum += (x_d + beyond) / f64::from(d) * weight;
    }
    (1.0 - p) / p * sum + ((x_l - x_s) / l + x_s / s) * weight
}

/// For each depth of the longer list, the number of ids that both lists have up to that depth.
fn overlaps<T: Eq + Hash>(short: &[T], long: &[T]) -> Vec<f64> {
    let (mut seen_short, mut seen_long) = (HashSet::new(), HashSet::new());
    let mut n_common = 0.0;
    let mut depths = Vec::with_capacity(long.len());
    for (depth, id) in long.iter().enumerate() {
        seen_long.insert(id);
        if let Some(other) = short.get(depth) {
            seen_short.insert(other);
            if other != id && seen_long.contains(other) {
                n_common += 1.0;
            }
        }
        if seen_short.contains(id) {
            n_common += 1.0;
        }
        depths.push(n_common);
    }
    depths
}

/// Kendall's tau over the ids in both rankings: 1 if all pairs have the same order, -1 if none has.
///
/// `None` for fewer than two common ids. (Kendall, Biometrika 1938.)
pub fn kendall_tau<T: Eq + Hash>(one: &[T], other: &[T]) -> Option<f64> {
    let ranks: HashMap<&T, usize> = other.iter().zip(0..).collect();
    let ranks: Vec<usize> = one.iter().filter_map(|id| ranks.get(id).copied()).collect();
    let n_pairs = ranks.len() * ranks.len().saturating_sub(1) / 2;
    let n_swapped = (0..ranks.len()).map(|n| ranks[n + 1..].iter().filter(|rank| **rank < ranks[n]).count());
    (n_pairs > 0).then(|| 1.0 - 2.0 * n_swapped.sum::<usize>() as f64 / n_pairs as f64)
}

/// The share of the first `k` ids that both rankings have in common, relative to the longer one. Two empty lists agree.
pub fn overlap_at<T: Eq + Hash>(k: usize, one: &[T], other: &[T]) -> f64 {
    let first: HashSet<&T> = one.iter().take(k).collect();
    let n_common = other.iter().take(k).filter(|id| first.contains(id)).count();
    let n = k.min(one.len().max(other.len()));
    if n == 0 { 1.0 } else { n_common as f64 / n as f64 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chars(text: &str) -> Vec<char> {
        text.chars().collect()
    }

    /// Each list a word, each id a letter.
    fn check(one: &str, other: &str, rbo: f64, tau: Option<f64>, overlap_at_3: f64) {
        let (one, other) = (chars(one), chars(other));
        for (a, b) in [(&one, &other), (&other, &one)] {
            assert!((rank_biased_overlap(a, b, 0.9) - rbo).abs() < 1e-12, "{}", rank_biased_overlap(a, b, 0.9));
            assert_eq!(kendall_tau(a, b).is_some(), tau.is_some());
            assert!(kendall_tau(a, b).zip(tau).is_none_or(|(found, tau)| (found - tau).abs() < 1e-12));
            assert!((overlap_at(3, a, b) - overlap_at_3).abs() < 1e-12);
        }
    }

    #[test]
    fn agreement_is_as_by_hand() {
        check("", "", 1.0, None, 1.0);
        check("", "abc", 0.0, None, 0.0);
        check("abcd", "abcd", 1.0, Some(1.0), 1.0);
        check("abc", "xyz", 0.0, None, 0.0);
        // Agreements 0, 1/2, 1: (0.1 / 0.9) (0.81 / 2 + 0.729) + 0.729.
        check("abc", "cab", 0.855, Some(-1.0 / 3.0), 1.0);
        // The lists of Webber et al.'s running example; agreements 0, 0, 2/3, 2/4, 2/5, 2/6, 2/7.
        let sum: f64 = (3..=7).map(|d| 2.0 / f64::from(d) * 0.9f64.powi(d)).sum();
        check("abcdefg", "zcavwxy", sum / 9.0 + 2.0 / 7.0 * 0.9f64.powi(7), Some(-1.0), 2.0 / 3.0);
        check("abcd", "dcba", 0.1 / 0.9 * (2.0 / 3.0 * 0.729 + 0.6561) + 0.6561, Some(-1.0), 2.0 / 3.0);
        // Of unequal length: X is 0, 1, 2, 2, and the short list is taken to go on at 1/2.
        let short = [0.0, 0.5 * 0.81, (2.0 + 0.5) / 3.0 * 0.729, (2.0 + 1.0) / 4.0 * 0.6561];
        check("ab", "bcad", short.iter().sum::<f64>() / 9.0 + (1.0 / 4.0 + 1.0 / 2.0) * 0.6561, Some(-1.0), 2.0 / 3.0);
    }

    #[test]
    fn a_smaller_p_looks_at_the_top() {
        let (one, other) = (chars("abcdefgh"), chars("badcfehg"));
        assert!(rank_biased_overlap(&one, &other, 0.5) < rank_biased_overlap(&one, &other, 0.95));
    }

    proptest! {
        #[test]
        fn agreement_is_bounded(one in ranking(), other in ranking(), p in 0.05..0.99) {
            prop_assert!((-1e-12..=1.0 + 1e-12).contains(&rank_biased_overlap(&one, &other, p)));
            prop_assert!((rank_biased_overlap(&one, &one, p) - 1.0).abs() < 1e-9);
            prop_assert!(kendall_tau(&one, &other).is_none_or(|tau| (-1.0..=1.0).contains(&tau)));
            prop_assert!((0.0..=1.0).contains(&overlap_at(10, &one, &other)));
        }
    }

    fn ranking() -> impl Strategy<Value = Vec<u8>> {
        (Just((0..20).collect::<Vec<u8>>()).prop_shuffle(), 0..20usize).prop_map(|(ids, n)| ids[..n].to_vec())
    }
}
