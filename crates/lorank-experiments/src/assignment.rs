//! Who sees which arm: a hash, so that every process gives the same answer at once, without asking another.
//!
//! Two independent hashes decide. The first sends a unit to one of [`N_SLOTS`] slots of the experiment's layer; experiments that
//! run at the same time in one layer own disjoint [`Slots`], so no unit meets two of them. The second, over the experiment's id and
//! salt, picks the arm by weight. A raised share adds slots and leaves the second hash alone, so it moves no unit between arms.

use serde::{Deserialize, Serialize};

use crate::Experiment;

/// How many slots a layer has: shares are held to a hundredth of a percent.
pub const N_SLOTS: u16 = 10_000;

/// What the hashes are for, as BLAKE3's key derivation wants it. Another text assigns every unit anew.
const SLOT_CONTEXT: &str = "lorank experiments 2025-11-25 slot of a unit in a layer v1";
const ARM_CONTEXT: &str = "lorank experiments 2025-11-25 arm of a unit in an experiment v1";

/// The slots of its layer that an experiment owns, given to it when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<(u16, u16)>", into = "Vec<(u16, u16)>")]
pub struct Slots {
    /// First slot and the one after the last, in ascending order, apart from each other.
    ranges: Vec<(u16, u16)>,
}

/// A layer has fewer free slots than a share needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the share needs {n_wanted} of the layer's {N_SLOTS} slots and {n_free} are free; stop an experiment of the layer, \
     or choose a smaller share or another layer"
)]
pub struct LayerFull {
    /// How many slots the share needs beyond those it has.
    pub n_wanted: u16,
    /// How many slots of the layer nobody owns.
    pub n_free: u16,
}

/// Ranges of slots that are empty, out of order, overlapping or past the layer's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ranges of slots are not ascending and apart within 0..{N_SLOTS}")]
pub struct InvalidSlots;

impl Slots {
    /// The lowest free slots of a layer, enough for `share` of it; `taken` are those of its other running experiments.
    ///
    /// # Errors
    /// [`LayerFull`] where too few are free.
    pub fn allot<'a>(share: f64, taken: impl IntoIterator<Item = &'a Self>) -> Result<Self, LayerFull> {
        Self::default().raise(share, taken)
    }

    /// These slots and as many more as `share` needs. None is ever given up: a smaller share changes nothing.
    ///
    /// # Errors
    /// [`LayerFull`] where too few are free.
    pub fn raise<'a>(&self, share: f64, taken: impl IntoIterator<Item = &'a Self>) -> Result<Self, LayerFull> {
        let mut owned = self.owned();
        let mut is_free = owned.map(|owned| !owned);
        for slot in taken.into_iter().flat_map(Self::iter) {
            is_free[usize::from(slot)] = false;
        }
        let n_wanted = n_slots(share).saturating_sub(self.len());
        let free: Vec<usize> = (0..is_free.len()).filter(|slot| is_free[*slot]).collect();
        if free.len() < usize::from(n_wanted) {
            return Err(LayerFull { n_wanted, n_free: free.len() as u16 });
        }
        free.iter().take(n_wanted.into()).for_each(|slot| owned[*slot] = true);
        Ok(Self::from_owned(&owned))
    }

    /// How many slots these are.
    pub fn len(&self) -> u16 {
        self.ranges.iter().map(|(from, to)| to - from).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether a slot is one of them.
    pub fn contains(&self, slot: u16) -> bool {
        self.ranges.iter().any(|(from, to)| (*from..*to).contains(&slot))
    }

    fn iter(&self) -> impl Iterator<Item = u16> {
        self.ranges.iter().flat_map(|(from, to)| *from..*to)
    }

    fn owned(&self) -> [bool; N_SLOTS as usize] {
        let mut owned = [false; N_SLOTS as usize];
        self.iter().for_each(|slot| owned[usize::from(slot)] = true);
        owned
    }

    fn from_owned(owned: &[bool]) -> Self {
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for (slot, _) in (0..N_SLOTS).zip(owned).filter(|(_, owned)| **owned) {
            match ranges.last_mut() {
                Some((_, end)) if *end == slot => *end += 1,
                _ => ranges.push((slot, slot + 1)),
            }
        }
        Self { ranges }
    }
}

impl TryFrom<Vec<(u16, u16)>> for Slots {
    type Error = InvalidSlots;

    fn try_from(ranges: Vec<(u16, u16)>) -> Result<Self, InvalidSlots> {
        let are_ranges = ranges.iter().all(|(from, to)| from < to && *to <= N_SLOTS);
        let are_apart = ranges.windows(2).all(|pair| pair[0].1 < pair[1].0);
        if are_ranges && are_apart { Ok(Self { ranges }) } else { Err(InvalidSlots) }
    }
}

impl From<Slots> for Vec<(u16, u16)> {
    fn from(slots: Slots) -> Self {
        slots.ranges
    }
}

/// Assigns the units of one experiment: what they have in common is hashed once.
#[derive(Debug, Clone)]
pub struct Assigner {
    slots: Slots,
    slot_hasher: blake3::Hasher,
    arm_hasher: blake3::Hasher,
    /// For each arm the sum of the weights up to and with its own.
    weights: Vec<u64>,
}

impl Assigner {
    /// For an experiment and the slots that it was given.
    pub fn new(experiment: &Experiment, slots: Slots) -> Self {
        let sum = |sum: &mut u64, weight: u32| {
            *sum += u64::from(weight);
            Some(*sum)
        };
        Self {
            slots,
            slot_hasher: hasher(SLOT_CONTEXT, &[&experiment.layer]),
            arm_hasher: hasher(ARM_CONTEXT, &[&experiment.id, &experiment.salt]),
            weights: experiment.arms.iter().map(|arm| arm.weight.get()).scan(0, sum).collect(),
        }
    }

    /// The place of the unit's arm in [`Experiment::arms`]; `None` where the unit takes no part.
    pub fn arm(&self, unit: &str) -> Option<usize> {
        self.slots.contains(self.slot(unit)).then(|| {
            let point = below(&self.arm_hasher, unit, self.weights.last().copied().unwrap_or(0));
            self.weights.partition_point(|sum| *sum <= point)
        })
    }

    /// The slot of the layer that the unit falls into, whoever owns it.
    pub fn slot(&self, unit: &str) -> u16 {
        below(&self.slot_hasher, unit, N_SLOTS.into()) as u16
    }
}

/// The slots that a share needs: at least one, so that a running experiment is never empty.
fn n_slots(share: f64) -> u16 {
    ((share * f64::from(N_SLOTS)).round() as u16).clamp(1, N_SLOTS)
}

/// Each part's length goes first, so that no two lists of parts give the same bytes.
fn hasher(context: &str, parts: &[&str]) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    hasher
}

/// A number below `end`, uniform over units. The bias of multiply and shift is below `end / 2^64`.
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

    fn whole() -> Slots {
        Slots::allot(1.0, []).unwrap()
    }

    /// Pearson's statistic of counts against expectations.
    fn chi_squared(counts: &[f64], expected: &[f64]) -> f64 {
        counts.iter().zip(expected).map(|(n, e)| (n - e).powi(2) / e).sum()
    }

    #[test]
    fn a_million_units_split_as_weighted() {
        let assigner = Assigner::new(&experiment(&[5, 3, 2]), whole());
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
            let (first, second) = (Assigner::new(&one, whole()), Assigner::new(&second, whole()));
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

    /// Recorded once: another process, machine or version must give the same.
    #[test]
    fn assignments_are_stable() {
        let assigner = Assigner::new(&experiment(&[1, 1]), Slots::allot(0.5, []).unwrap());
        let found =
            ["", "user-1", "user-2", "user-3", "user-4", "ünit"].map(|unit| (assigner.slot(unit), assigner.arm(unit)));
        let recorded = [(4743, Some(1)), (5310, None), (2030, Some(1)), (2125, Some(1)), (6244, None), (6515, None)];
        assert_eq!(found, recorded);
    }

    #[test]
    fn slots_are_given_once() {
        let first = Slots::allot(0.3, []).unwrap();
        let second = Slots::allot(0.5, [&first]).unwrap();
        assert_eq!(Slots::allot(0.3, [&first, &second]), Err(LayerFull { n_wanted: 3000, n_free: 2000 }));
        // The first has a neighbour, so what it gets more lies apart.
        let raised = first.raise(0.4, [&second]).unwrap();
        assert_eq!(Vec::from(raised.clone()), [(0, 3000), (8000, 9000)]);
        assert_eq!(raised.raise(0.1, [&second]).unwrap(), raised);
        let json = serde_json::to_string(&raised).unwrap();
        assert_eq!(serde_json::from_str::<Slots>(&json).unwrap(), raised);
        for bad in ["[[3,3]]", "[[0,10001]]", "[[5,6],[0,2]]", "[[0,5],[4,6]]"] {
            assert!(serde_json::from_str::<Slots>(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn raising_the_share_moves_nobody(from in 0.0..1.0, to in 0.0..1.0, neighbour in 0.0..0.5) {
            let (from, to) = if from < to { (from, to) } else { (to, from) };
            let neighbour = Slots::allot(neighbour, []).unwrap();
            let Ok(before) = Slots::allot(from, [&neighbour]) else { return Ok(()) };
            let Ok(after) = before.raise(to, [&neighbour]) else { return Ok(()) };
            let experiment = experiment(&[2, 1]);
            let (before, after) = (Assigner::new(&experiment, before), Assigner::new(&experiment, after));
            for unit in (0..500).map(|n| format!("u{n}")) {
                if let Some(arm) = before.arm(&unit) {
                    prop_assert_eq!(after.arm(&unit), Some(arm));
                }
            }
        }

        #[test]
        fn no_unit_meets_two_experiments_of_a_layer(shares in prop::collection::vec(0.01..0.6, 2..6)) {
            let mut running: Vec<Slots> = Vec::new();
            for share in shares {
                running.extend(Slots::allot(share, &running));
            }
            let assigner = |(n, slots): (usize, &Slots)| {
                Assigner::new(&Experiment { id: format!("e{n}"), ..experiment(&[1, 1]) }, slots.clone())
            };
            let assigners: Vec<_> = running.iter().enumerate().map(assigner).collect();
            for unit in (0..500).map(|n| format!("u{n}")) {
                prop_assert!(assigners.iter().filter(|assigner| assigner.arm(&unit).is_some()).count() <= 1);
            }
        }
    }
}
