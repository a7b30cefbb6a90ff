//! Decisions that stand, and effects that do not.
//!
//! Each interval holds at all looks together, so their intersection does too: a running confidence sequence only narrows (Howard,
//! Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics 2021,
//! section 2.2). What was decided once is not taken back by a later, less lucky look.
//!
//! Of several arms that are better than the control one is recommended: the first that was found to be better, among those found at
//! the same look the one with the highest estimate. Another takes its place only when the whole of its running interval lies above
//! that of the first. Intervals only narrow, so no arm comes back, and the recommendation cannot alternate.
//!
//! That holds for an effect that stays as it is. Where the intersection is empty it did not; and units are kept in blocks by when
//! they first came, so that the effect among the later units can be held against that among the earlier ones.

use super::sequence::{Estimate, Interval, RatioSums, Sequence};

/// The units of the first block; each later block ends at half as many units more than the one before.
const FIRST_BLOCK: u64 = 250;

/// Changes are looked for after so many new units.
const STEP: u64 = 10;

/// Tells the estimates of the arms that are compared with the control from sums of the measure that decides.
pub(crate) type Estimates = fn(&[RatioSums], usize) -> Option<Estimate>;

/// What an arm's running interval came to say first. It is kept: a narrower interval of the same effect says no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The arm is better than the control.
    Better,
    /// It is worse.
    Worse,
    /// It differs by less than matters.
    Alike,
}

/// The effects as they were, and as they are.
#[derive(Debug, Clone)]
pub(crate) struct Stability {
    estimate: Estimates,
    /// By challenger, the ends of its running interval; none before its first.
    running: Vec<Option<(f64, f64)>>,
    decisions: Vec<Option<Decision>>,
    /// The challenger that is recommended.
    leader: Option<usize>,
    /// The sums of each block's units.
    blocks: Vec<Vec<RatioSums>>,
    block_end: u64,
    n_sums: usize,
    change: Option<Change>,
}

/// An effect that did not stay as it was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Change {
    /// The arm, counted from the first that is compared with the control.
    pub challenger: usize,
    /// The units until then, over all arms.
    pub n_units: u64,
    /// How the arm differed until then.
    pub before: Interval,
    /// How it differs among the units that came since.
    pub since: Interval,
}

impl Stability {
    pub(crate) fn new(n_challengers: usize, n_sums: usize, estimate: Estimates) -> Self {
        let blocks = vec![vec![RatioSums::default(); n_sums]];
        let (running, decisions) = (vec![None; n_challengers], vec![None; n_challengers]);
        Self { estimate, running, decisions, leader: None, blocks, block_end: FIRST_BLOCK, n_sums, change: None }
    }

    /// The block of a unit that is new when there are so many, itself included.
    pub(crate) fn block(&mut self, n_units: u64) -> u16 {
        if n_units > self.block_end {
            self.block_end += self.block_end / 2;
            self.blocks.push(vec![RatioSums::default(); self.n_sums]);
        }
        // 2^16 blocks would take 1.5^65,535 units.
        u16::try_from(self.blocks.len() - 1).unwrap_or(u16::MAX)
    }

    /// Puts a unit's new values of one of the sums in the place of its old ones.
    pub(crate) fn replace(&mut self, block: u16, sums: usize, old: (f64, f64), new: (f64, f64)) {
        self.blocks[usize::from(block)][sums].replace(old, new);
    }

    /// Takes a look at an arm's interval. Differences smaller than `smallest` do not matter.
    pub(crate) fn narrow(&mut self, challenger: usize, n_units: u64, now: Interval, smallest: f64) {
        let ends = &mut self.running[challenger];
        let (low, high) = ends.map_or((now.low, now.high), |(low, high)| (low.max(now.low), high.min(now.high)));
        if low <= high {
            *ends = Some((low, high));
            let decision = match () {
                () if low > 0.0 => Some(Decision::Better),
                () if high < 0.0 => Some(Decision::Worse),
                () if low >= -smallest && high <= smallest => Some(Decision::Alike),
                () => None,
            };
            self.decisions[challenger] = self.decisions[challenger].or(decision);
        } else if let (None, Some((low, high))) = (self.change, *ends) {
            let before = Interval { estimate: (low + high) / 2.0, low, high };
            self.change = Some(Change { challenger, n_units, before, since: now });
        }
    }

    /// Chooses the challenger to recommend, once all intervals are narrowed. `estimates` are those of now.
    pub(crate) fn lead(&mut self, estimates: &[Option<f64>]) {
        let better = (0..self.running.len()).filter(|n| self.decisions[*n] == Some(Decision::Better));
        let value = |n: usize| self.interval(n, estimates[n].unwrap_or(f64::NEG_INFINITY)).map(|it| it.estimate);
        let best = |among: &mut dyn Iterator<Item = usize>| {
            among.filter_map(|n| Some((n, value(n)?))).max_by(|a, b| a.1.total_cmp(&b.1)).map(|(n, _)| n)
        };
        self.leader = match self.leader {
            None => best(&mut better.into_iter()),
            Some(leader) => {
                let high = self.running[leader].map_or(f64::INFINITY, |(_, high)| high);
                let is_above = |n: &usize| self.running[*n].is_some_and(|(low, _)| low > high);
                best(&mut better.into_iter().filter(is_above)).or(Some(leader))
            }
        };
    }

    /// The challenger that is recommended, if one was found to be better than the control.
    pub(crate) fn leader(&self) -> Option<usize> {
        self.leader
    }

    /// Looks for an effect that is another among the later units, each part of them with at least so many units in each arm.
    pub(crate) fn look(&mut self, n_units: u64, n_units_min: u64, sequence: Sequence) {
        if self.change.is_some() || !n_units.is_multiple_of(STEP) {
            return;
        }
        // The sums of the blocks before each one.
        let mut earlier = vec![vec![RatioSums::default(); self.n_sums]];
        for (n, block) in self.blocks.iter().enumerate() {
            let mut sums = earlier[n].clone();
            add(&mut sums, block);
            earlier.push(sums);
        }
        let mut since = vec![RatioSums::default(); self.n_sums];
        for n in (1..self.blocks.len()).rev() {
            add(&mut since, &self.blocks[n]);
            let before = &earlier[n];
            let is_enough = |sums: &[RatioSums]| sums.iter().all(|sums| sums.n_units() >= n_units_min as f64);
            if !is_enough(&since) || !is_enough(before) {
                continue;
            }
            // The parts of the error, 1 / (n (n + 1)), sum to one.
            let sequence = Sequence { alpha: sequence.alpha / (n * (n + 1)) as f64, ..sequence };
            for challenger in 0..self.running.len() {
                let estimates = (self.estimate)(before, challenger).zip((self.estimate)(&since, challenger));
                let Some((before, since)) = estimates else { continue };
                let differs = sequence.interval(since - before);
                if differs.low > 0.0 || differs.high < 0.0 {
                    let n_before = self.blocks[..n].iter().map(|block| units(block)).sum();
                    let (before, since) = (sequence.interval(before), sequence.interval(since));
                    self.change = Some(Change { challenger, n_units: n_before, before, since });
                    return;
                }
            }
        }
    }

    /// The effect that changed.
    pub(crate) fn change(&self) -> Option<Change> {
        self.change
    }

    /// What is decided of an arm.
    pub(crate) fn decision(&self, challenger: usize) -> Option<Decision> {
        self.decisions[challenger]
    }

    /// An arm's running interval, with the estimate moved into it.
    pub(crate) fn interval(&self, challenger: usize, estimate: f64) -> Option<Interval> {
        let (low, high) = self.running[challenger]?;
        Some(Interval { estimate: estimate.clamp(low, high), low, high })
    }
}

fn add(sums: &mut [RatioSums], block: &[RatioSums]) {
    sums.iter_mut().zip(block).for_each(|(sum, of_block)| *sum += *of_block);
}

fn units(block: &[RatioSums]) -> u64 {
    block.iter().map(|sums| sums.n_units() as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(sums: &[RatioSums], _: usize) -> Option<Estimate> {
        sums[0].ratio()
    }

    fn interval(low: f64, high: f64) -> Interval {
        Interval { estimate: (low + high) / 2.0, low, high }
    }

    #[test]
    fn intervals_only_narrow_and_an_empty_intersection_is_a_change() {
        let mut stability = Stability::new(1, 1, only);
        assert_eq!(stability.interval(0, 0.0), None);
        for (low, high) in [(-1.0, 3.0), (0.5, 4.0), (-0.5, 2.0)] {
            stability.narrow(0, 100, interval(low, high), 0.1);
        }
        assert_eq!(stability.interval(0, 1.0), Some(Interval { estimate: 1.0, low: 0.5, high: 2.0 }));
        assert_eq!(stability.interval(0, -3.0).map(|interval| interval.estimate), Some(0.5));
        assert_eq!(stability.change(), None);
        assert_eq!(stability.decision(0), Some(Decision::Better));
        stability.narrow(0, 900, interval(-2.0, 0.2), 0.1);
        let change = stability.change().expect("a change");
        assert_eq!((change.n_units, change.before.low, change.since.high), (900, 0.5, 0.2));
        stability.narrow(0, 1_000, interval(0.4, 0.6), 0.1);
        assert_eq!(stability.change(), Some(change), "the first is kept");
    }

    #[test]
    fn the_first_decision_stands() {
        let mut stability = Stability::new(1, 1, only);
        let decisions = [(-0.3, 0.2), (-0.05, 0.08), (0.01, 0.05)].map(|(low, high)| {
            stability.narrow(0, 100, interval(low, high), 0.1);
            stability.decision(0)
        });
        assert_eq!(decisions, [None, Some(Decision::Alike), Some(Decision::Alike)]);
    }

    #[test]
    fn the_first_better_arm_leads_until_another_is_wholly_above() {
        let mut stability = Stability::new(3, 3, only);
        let mut look = |intervals: [(f64, f64); 3]| {
            for (challenger, (low, high)) in intervals.into_iter().enumerate() {
                stability.narrow(challenger, 100, interval(low, high), 0.1);
            }
            stability.lead(&intervals.map(|(low, high)| Some((low + high) / 2.0)));
            stability.leader()
        };
        assert_eq!(look([(-1.0, 1.0), (-1.0, 2.0), (-1.0, 2.5)]), None);
        assert_eq!(look([(0.1, 0.9), (-0.1, 1.5), (0.2, 1.6)]), Some(2), "of two at once the higher");
        assert_eq!(look([(0.1, 0.9), (0.3, 1.5), (0.2, 1.2)]), Some(2), "a higher estimate alone is no reason");
        assert_eq!(look([(0.1, 0.9), (1.3, 1.5), (0.2, 1.2)]), Some(1));
        assert_eq!(look([(0.1, 0.9), (1.3, 1.5), (1.0, 1.2)]), Some(1));
    }

    #[test]
    fn later_units_are_held_against_earlier_ones() {
        let run = |later: f64| {
            let mut stability = Stability::new(1, 1, only);
            for n in 1..=2_000 {
                let block = stability.block(n);
                // 0 or 1 in turn, or mostly what `later` says.
                let value = if n <= 1_000 { (n % 2) as f64 } else { f64::from((n % 10) as f64 / 10.0 < later) };
                stability.replace(block, 0, (0.0, 0.0), (value, 1.0));
                stability.look(n, 30, Sequence { alpha: 0.05, tau: 0.03 });
            }
            stability.change()
        };
        assert_eq!(run(0.5), None);
        let change = run(0.2).expect("a change");
        assert!(change.before.estimate > change.since.estimate + 0.1 && change.n_units >= 800, "{change:?}");
    }
}
