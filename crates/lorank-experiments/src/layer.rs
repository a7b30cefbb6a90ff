//! The buckets of a layer and their owners.
//!
//! Each unit belongs to one of [`N_BUCKETS`] buckets of a layer, and experiments of the layer own disjoint sets of them, so a unit
//! takes part in at most one of them. This is the design of layers in
//! Tang et al., "Overlapping Experiment Infrastructure: More, Better, Faster Experimentation" (KDD 2010).

use serde::{Deserialize, Serialize};

/// The number of buckets of a layer. Traffic is allocated in steps of 0.01 %.
pub const N_BUCKETS: u16 = 10_000;

/// A range of buckets of a layer, from `start` to `end` exclusively.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketRange {
    /// The first bucket.
    pub start: u16,
    /// The bucket after the last one.
    pub end: u16,
}

impl BucketRange {
    /// Whether a bucket is in the range.
    pub const fn contains(self, bucket: u16) -> bool {
        self.start <= bucket && bucket < self.end
    }

    /// The number of buckets.
    pub const fn n_buckets(self) -> u16 {
        self.end.saturating_sub(self.start)
    }
}

/// The number of buckets for a share of the traffic, rounded.
pub(crate) fn buckets_of(traffic_share: f64) -> u16 {
    // Casts of floats saturate, and NaN becomes 0.
    (traffic_share * f64::from(N_BUCKETS)).round() as u16
}

/// The total number of buckets of the ranges.
pub(crate) fn n_buckets(ranges: &[BucketRange]) -> u16 {
    ranges.iter().fold(0, |sum, range| sum.saturating_add(range.n_buckets()))
}

/// Allocates the lowest `n` free buckets; the error is the number of free buckets, if there are fewer.
pub(crate) fn allot(taken: &[BucketRange], n: u16) -> Result<Vec<BucketRange>, u16> {
    let free = gaps(taken);
    if n_buckets(&free) < n {
        return Err(n_buckets(&free));
    }
    let mut missing = n;
    let cut = free.into_iter().map_while(|range| {
        let part = range.n_buckets().min(missing);
        missing -= part;
        (part > 0).then_some(BucketRange { start: range.start, end: range.start + part })
    });
    Ok(cut.collect())
}

/// The same buckets in order, with adjacent ranges merged.
pub(crate) fn joined(mut ranges: Vec<BucketRange>) -> Vec<BucketRange> {
    ranges.sort_unstable();
    ranges.dedup_by(|next, last| {
        let touches = next.start <= last.end;
        if touches {
            last.end = last.end.max(next.end);
        }
        touches
    });
    ranges
}

/// The buckets of a layer that are not in any of the ranges.
fn gaps(taken: &[BucketRange]) -> Vec<BucketRange> {
    let mut start = 0;
    let mut free = Vec::new();
    for range in joined(taken.to_vec()) {
        free.push(BucketRange { start, end: range.start });
        start = range.end;
    }
    free.push(BucketRange { start, end: N_BUCKETS });
    free.retain(|range| range.n_buckets() > 0);
    free
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(start: u16, end: u16) -> BucketRange {
        BucketRange { start, end }
    }

    #[track_caller]
    fn check(taken: &[(u16, u16)], n: u16, expected: Result<&[(u16, u16)], u16>) {
        let ranges = |pairs: &[(u16, u16)]| pairs.iter().map(|&(start, end)| range(start, end)).collect::<Vec<_>>();
        assert_eq!(allot(&ranges(taken), n), expected.map(ranges));
    }

    #[test]
    fn an_empty_layer_gives_its_first_buckets() {
        check(&[], 2_500, Ok(&[(0, 2_500)]));
        check(&[], 10_000, Ok(&[(0, 10_000)]));
    }

    #[test]
    fn gaps_are_filled_lowest_first() {
        check(&[(0, 100), (300, 10_000)], 150, Ok(&[(100, 250)]));
        check(&[(100, 200), (300, 400)], 250, Ok(&[(0, 100), (200, 300), (400, 450)]));
        check(&[(300, 400), (100, 200)], 100, Ok(&[(0, 100)]));
    }

    #[test]
    fn a_layer_without_room_says_how_much_is_left() {
        check(&[(0, 9_000)], 1_001, Err(1_000));
        check(&[(0, 10_000)], 1, Err(0));
    }

    #[test]
    fn shares_are_whole_buckets() {
        for (share, n) in [(1.0, 10_000), (0.5, 5_000), (0.0001, 1), (0.000_149, 1), (0.1 + 0.2, 3_000), (f64::NAN, 0)]
        {
            assert_eq!(buckets_of(share), n, "{share}");
        }
    }

    proptest! {
        /// Against one flag a bucket: what is allotted was free, is as much as asked for, and nothing is allotted twice.
        #[test]
        fn allotments_never_overlap(asked in prop::collection::vec(1_u16..4_000, 1..12), freed: prop::sample::Index) {
            let mut owned: Vec<Vec<BucketRange>> = Vec::new();
            for n in asked {
                let taken = owned.concat();
                let free = (0..N_BUCKETS).filter(|&bucket| !taken.iter().any(|range| range.contains(bucket))).count() as u16;
                match allot(&taken, n) {
                    Ok(ranges) => {
                        prop_assert_eq!(n_buckets(&ranges), n);
                        prop_assert!(ranges.iter().all(|range| range.end <= N_BUCKETS));
                        let mut all = [taken, ranges.clone()].concat();
                        all.sort_unstable();
                        prop_assert!(all.windows(2).all(|pair| pair[0].end <= pair[1].start), "{:?}", all);
                        owned.push(ranges);
                    }
                    Err(left) => {
                        prop_assert!(left == free && free < n);
                        // One of them stops, so that gaps arise.
                        owned.swap_remove(freed.index(owned.len()));
                    }
                }
            }
        }

        #[test]
        fn joining_keeps_the_buckets(pairs in prop::collection::vec((0_u16..60, 1_u16..9), 0..9)) {
            let ranges: Vec<_> = pairs.iter().map(|&(start, n)| range(start, start + n)).collect();
            let joined = joined(ranges.clone());
            for bucket in 0..80 {
                prop_assert_eq!(
                    joined.iter().any(|range| range.contains(bucket)),
                    ranges.iter().any(|range| range.contains(bucket))
                );
            }
            prop_assert!(joined.windows(2).all(|pair| pair[0].end < pair[1].start));
        }
    }
}
