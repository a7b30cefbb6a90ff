//! The assignment of units to arms by a hash, so that every process has the same result without communication.
//!
//! There are two independent hashes. The first maps a unit to one of [`N_BUCKETS`] buckets of the experiment's layer; concurrent
//! experiments of a layer own [disjoint buckets](Experiment::buckets), so a unit takes part in at most one of them. The second, over
//! the experiment's id and salt, selects the arm by weight. An increased share adds buckets and does not change the second hash, so
//! units stay in their arms.

use crate::{BucketRange, Experiment, N_BUCKETS};

/// The contexts of BLAKE3's key derivation. Changing them reassigns every unit.
const BUCKET_CONTEXT: &str = "lorank experiments 2025-11-25 slot of a unit in a layer v1";
const ARM_CONTEXT: &str = "lorank experiments 2025-11-25 arm of a unit in an experiment v1";

/// Assigns the units of an experiment. The common part of the hashes is computed once.
#[derive(Debug, Clone)]
pub struct Assigner {
    buckets: Vec<BucketRange>,
    bucket_hasher: blake3::Hasher,
    arm_hasher: blake3::Hasher,
    /// The cumulative weights of the arms.
    weights: Vec<u64>,
}

impl Assigner {
    /// An assigner for an experiment with its current buckets.
    pub fn new(experiment: &Experiment) -> Self {
        let sum = |sum: &mut u64, weight: u32| {
            *sum += u64::from(weight);
            Some(*sum)
        };
        Self {
            buckets: experiment.buckets.clone(),
            bucket_hasher: hasher(BUCKET_CONTEXT, &[&experiment.layer]),
            arm_hasher: hasher(ARM_CONTEXT, &[&experiment.id, &experiment.salt]),
            weights: experiment.arms.iter().map(|arm| arm.weight.get()).scan(0, sum).collect(),
        }
    }

    /// The index of the unit's arm in [`Experiment::arms`]; `None` if the unit does not take part.
    pub fn arm(&self, unit: &str) -> Option<usize> {
        let bucket = self.bucket(unit);
        self.buckets.iter().any(|range| range.contains(bucket)).then(|| {
            let point = below(&self.arm_hasher, unit, self.weights.last().copied().unwrap_or(0));
            self.weights.partition_point(|sum| *sum <= point)
        })
    }

    /// The unit's bucket of the layer.
    pub fn bucket(&self, unit: &str) -> u16 {
        below(&self.bucket_hasher, unit, N_BUCKETS.into()) as u16
    }
}

/// Hashes the parts with their lengths, so that different lists of parts have different bytes.
fn hasher(context: &str, parts: &[&str]) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    hasher
}

/// A number below `end`, uniformly distributed over units. The bias of multiply-and-shift is below `end / 2^64`.
fn below(hasher: &blake3::Hasher, unit: &str, end: u64) -> u64 {
    let mut bytes = [0; 8];
    hasher.clone().update(unit.as_bytes()).finalize_xof().fill(&mut bytes);
    ((u128::from(u64::from_le_bytes(bytes)) * u128::from(end)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::examples::experiment;
    use crate::layer::allot;

    fn with(buckets: Vec<BucketRange>, experiment: &Experiment) -> Assigner {
        Assigner::new(&Experiment { buckets, ..experiment.clone() })
    }

    fn of_all(experiment: &Experiment) -> Assigner {
        with(vec![BucketRange { start: 0, end: N_BUCKETS }], experiment)
    }

    /// Pearson's chi-squared statistic.
    fn chi_squared(counts: &[f64], expected: &[f64]) -> f64 {
        counts.iter().zip(expected).map(|(n, e)| (n - e).powi(2) / e).sum()
    }

    #[test]
    fn a_million_units_split_as_weighted() {
        let assigner = of_all(&experiment(&[5, 3, 2]));
        let mut counts = [0.0; 3];
        (0..1_000_000).for_each(|n| counts[assigner.arm(&format!("user-{n}")).unwrap()] += 1.0);
        // With two degrees of freedom the tail of chi-squared is e^(-x/2).
        let p = (-chi_squared(&counts, &[5e5, 3e5, 2e5]) / 2.0).exp();
        println!("assignment: 1,000,000 units, {counts:?} against 5:3:2, p = {p:.3}");
        assert!(p > 0.01, "{counts:?} against 5:3:2 has p = {p}");
    }

    #[test]
    fn two_experiments_split_independently() {
        let one = experiment(&[1, 1, 1]);
        let other = Experiment { id: "other".into(), layer: "other".into(), ..one.clone() };
        let resalted = Experiment { salt: "other".into(), ..one.clone() };
        for second in [other, resalted] {
            let (first, second) = (of_all(&one), of_all(&second));
            let mut counts = [0.0; 9];
            for unit in (0..300_000).map(|n| format!("user-{n}")) {
                counts[first.arm(&unit).unwrap() * 3 + second.arm(&unit).unwrap()] += 1.0;
            }
            let total = |part: &dyn Fn(usize) -> bool| -> f64 { (0..9).filter(|n| part(*n)).map(|n| counts[n]).sum() };
            let expected: Vec<f64> =
                (0..9).map(|n| total(&|m| m / 3 == n / 3) * total(&|m| m % 3 == n % 3) / 300_000.0).collect();
            // Four degrees of freedom: e^(-x/2) (1 + x/2).
            let x = chi_squared(&counts, &expected) / 2.0;
            let p = (-x).exp() * (1.0 + x);
            assert!(p > 0.01, "{counts:?} has p = {p}");
        }
    }

    /// Recorded results, which must be the same in every process, on every machine and in every version.
    #[test]
    fn assignments_are_stable() {
        let assigner = with(allot(&[], 5_000).unwrap(), &experiment(&[1, 1]));
        let found = ["", "user-1", "user-2", "user-3", "user-4", "ünit"]
            .map(|unit| (assigner.bucket(unit), assigner.arm(unit)));
        let recorded = [(4743, Some(1)), (5310, None), (2030, Some(1)), (2125, Some(1)), (6244, None), (6515, None)];
        assert_eq!(found, recorded);
    }

    proptest! {
        #[test]
        fn raising_the_share_moves_nobody(n in 0_u16..5_000, more in 0_u16..3_000, neighbour in 0_u16..2_000) {
            let neighbour = allot(&[], neighbour).unwrap();
            let before = allot(&neighbour, n).unwrap();
            let added = allot(&[neighbour, before.clone()].concat(), more).unwrap();
            let experiment = experiment(&[2, 1]);
            let (before, after) = (with(before.clone(), &experiment), with([before, added].concat(), &experiment));
            for unit in (0..500).map(|n| format!("u{n}")) {
                if let Some(arm) = before.arm(&unit) {
                    prop_assert_eq!(after.arm(&unit), Some(arm));
                }
            }
        }

        #[test]
        fn no_unit_meets_two_experiments_of_a_layer(sizes in prop::collection::vec(100_u16..6_000, 2..6)) {
            let mut taken: Vec<BucketRange> = Vec::new();
            let mut assigners = Vec::new();
            for (n, size) in sizes.into_iter().enumerate() {
                let Ok(own) = allot(&taken, size) else { continue };
                taken.extend_from_slice(&own);
                assigners.push(with(own, &Experiment { id: format!("e{n}"), ..experiment(&[1, 1]) }));
            }
            for unit in (0..500).map(|n| format!("u{n}")) {
                prop_assert!(assigners.iter().filter(|assigner| assigner.arm(&unit).is_some()).count() <= 1);
            }
        }
    }
}
