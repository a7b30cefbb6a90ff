//! The looks, stable decisions, and changes of effects.
//!
//! The intervals hold simultaneously at all looks, so their intersection does too: a running confidence sequence only narrows (Howard,
//! Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics 2021,
//! section 2.2). A later look cannot revert a decision.
//!
//! If several arms are better than the control, one is recommended: the first that was found to be better, or of several found at the
//! same look, the one with the highest estimate. Another arm replaces it only when its whole running interval is above that of the
//! first. Intervals only narrow, so the recommendation cannot alternate.
//!
//! This assumes a constant effect. An empty intersection shows that the effect has changed. Units are also grouped in blocks by their
//! time of arrival, to compare the effects among later and earlier units.
//!
//! Looks are taken at predetermined numbers of units, which grow by about half a percent. The sums of each look are stored, so that a
//! late click can be added to all looks after its answer.

use super::rules::Rules;
use super::sequence::{Interval, Part, RatioSums};

/// Up to this number of units there is a look after each, then after every [`STEP`] units.
const EACH_UNIT_MAX: u64 = 200;

/// The initial number of units between two looks.
const STEP: u64 = 10;

/// The distance between looks grows by one step after each of these numbers of units.
const STEP_GROWS_AFTER: u64 = 2_000;

/// The number of units of the first block; each later block ends at 1.5 times the units of the one before.
const FIRST_BLOCK: u64 = 250;

/// The first decision of an arm's running interval. It is final, because a narrower interval cannot contradict it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The arm is better than the control.
    Better,
    /// The arm is worse than the control.
    Worse,
    /// There is no relevant difference.
    Alike,
}

/// A change of an effect.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Change {
    /// The index of the arm among those compared with the control.
    pub challenger: usize,
    /// The number of units before the change, over all arms.
    pub n_units: u64,
    /// The difference before the change.
    pub before: Interval,
    /// The difference among later units.
    pub since: Interval,
}

/// The sums of the primary measure at a look.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    /// The units until then, over all arms.
    pub n_units: u64,
    /// The time of the query of the last unit.
    pub at_millis: i64,
    pub sums: Vec<RatioSums>,
    /// The sums of each block's units.
    blocks: Vec<Vec<RatioSums>>,
}

/// The combined findings of all looks up to one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Findings {
    /// The bounds of the running interval of each challenger; `None` before its first interval.
    running: Vec<Option<(f64, f64)>>,
    decisions: Vec<Option<Decision>>,
    /// The recommended challenger, if any is better than the control.
    pub leader: Option<usize>,
    /// The changed effect, if any.
    pub change: Option<Change>,
}

/// The looks and their findings.
#[derive(Debug, Clone)]
pub(crate) struct Path {
    rules: Rules,
    n_challengers: usize,
    /// The current sums.
    sums: Vec<RatioSums>,
    blocks: Vec<Vec<RatioSums>>,
    block_end: u64,
    next_look: u64,
    looks: Vec<Look>,
    /// The findings of each look; fewer than looks while revised looks are not settled.
    findings: Vec<Findings>,
}

impl Path {
    /// A path without looks, for rules and a number of sums.
    pub(crate) fn new(rules: Rules, n_challengers: usize, n_sums: usize) -> Self {
        let sums = vec![RatioSums::default(); n_sums];
        Self {
            rules,
            n_challengers,
            blocks: vec![sums.clone()],
            sums,
            block_end: FIRST_BLOCK,
            next_look: 1,
            looks: Vec::new(),
            findings: Vec::new(),
        }
    }

    /// The current sums.
    pub(crate) fn sums(&self) -> &[RatioSums] {
        &self.sums
    }

    /// The number of looks, which is the index of the next look.
    pub(crate) fn n_looks(&self) -> usize {
        self.looks.len()
    }

    pub(crate) fn looks(&self) -> &[Look] {
        &self.looks
    }

    /// The block of a new unit, given the number of units including it.
    pub(crate) fn block(&mut self, n_units: u64) -> u16 {
        if n_units > self.block_end {
            self.block_end += self.block_end / 2;
            self.blocks.push(vec![RatioSums::default(); self.sums.len()]);
        }
        // 2^16 blocks would take 1.5^65,535 units.
        u16::try_from(self.blocks.len() - 1).unwrap_or(u16::MAX)
    }

    /// Replaces a unit's part of one of the sums.
    pub(crate) fn replace(&mut self, block: u16, sums: usize, old: Part, new: Part, z: i64) {
        self.sums[sums].replace_with(old, new, z);
        self.blocks[usize::from(block)][sums].replace_with(old, new, z);
    }

    /// The same in an earlier look. Its findings and those of later looks are recomputed.
    pub(crate) fn revise(&mut self, look: usize, block: u16, sums: usize, old: Part, new: Part, z: i64) {
        let Some(revised) = self.looks.get_mut(look) else { return };
        revised.sums[sums].replace_with(old, new, z);
        revised.blocks[usize::from(block)][sums].replace_with(old, new, z);
        self.findings.truncate(look);
    }

    /// Takes a look if one is due at this number of units.
    pub(crate) fn observe(&mut self, n_units: u64, at_millis: i64) {
        if n_units < self.next_look {
            return;
        }
        self.next_look += if n_units < EACH_UNIT_MAX { 1 } else { STEP * (n_units / STEP_GROWS_AFTER).max(1) };
        self.looks.push(Look { n_units, at_millis, sums: self.sums.clone(), blocks: self.blocks.clone() });
        if self.findings.len() + 1 == self.looks.len() {
            self.settle();
        }
    }

    /// Recomputes the findings of revised looks.
    pub(crate) fn settle(&mut self) {
        for look in self.findings.len()..self.looks.len() {
            let found = self.after(self.findings.last(), &self.looks[look]);
            self.findings.push(found);
        }
    }

    /// The findings of each look.
    pub(crate) fn findings(&self) -> std::borrow::Cow<'_, [Findings]> {
        if self.findings.len() == self.looks.len() {
            return (&self.findings[..]).into();
        }
        let mut settled = self.clone();
        settled.settle();
        settled.findings.into()
    }

    fn after(&self, before: Option<&Findings>, look: &Look) -> Findings {
        let none = || Findings {
            running: vec![None; self.n_challengers],
            decisions: vec![None; self.n_challengers],
            leader: None,
            change: None,
        };
        let mut found = before.cloned().unwrap_or_else(none);
        for challenger in 0..self.n_challengers {
            if let Some(now) = self.rules.signed_interval(&look.sums, challenger) {
                found.narrow(challenger, look.n_units, now, self.rules.smallest_difference(&look.sums));
            }
        }
        found.lead(|challenger| self.rules.signed_difference(&look.sums, challenger).map(|it| it.value));
        if found.change.is_none() {
            found.change = self.change(look);
        }
        found
    }

    /// A change of an effect between earlier and later units, each part with enough units in each arm.
    fn change(&self, look: &Look) -> Option<Change> {
        // The sums of the blocks before each block.
        let mut earlier = vec![vec![RatioSums::default(); self.sums.len()]];
        for (n, block) in look.blocks.iter().enumerate() {
            let mut sums = earlier[n].clone();
            add(&mut sums, block);
            earlier.push(sums);
        }
        let mut since = vec![RatioSums::default(); self.sums.len()];
        for n in (1..look.blocks.len()).rev() {
            add(&mut since, &look.blocks[n]);
            let before = &earlier[n];
            if !self.rules.is_enough(&since) || !self.rules.is_enough(before) {
                continue;
            }
            // The parts of the error probability, 1 / (n (n + 1)), sum to one.
            let part = 1.0 / (n * (n + 1)) as f64;
            for challenger in 0..self.n_challengers {
                if let Some((before, since)) = self.rules.change(before, &since, challenger, part) {
                    let n_units = look.blocks[..n].iter().map(|block| units(block)).sum();
                    return Some(Change { challenger, n_units, before, since });
                }
            }
        }
        None
    }
}

impl Findings {
    /// Intersects an arm's running interval with that of a look. Differences below `smallest` are not relevant.
    fn narrow(&mut self, challenger: usize, n_units: u64, now: Interval, smallest: f64) {
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

    /// Chooses the challenger to recommend, after all intervals are narrowed.
    fn lead(&mut self, estimate: impl Fn(usize) -> Option<f64>) {
        let better = (0..self.running.len()).filter(|n| self.decisions[*n] == Some(Decision::Better));
        let value = |n: usize| Some(self.interval(n, estimate(n)?)?.estimate);
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

    /// The decision on an arm.
    pub(crate) fn decision(&self, challenger: usize) -> Option<Decision> {
        self.decisions[challenger]
    }

    /// An arm's running interval, with the estimate clamped to it.
    pub(crate) fn interval(&self, challenger: usize, estimate: f64) -> Option<Interval> {
        let (low, high) = self.running[challenger]?;
        Some(Interval { estimate: estimate.clamp(low, high), low, high })
    }
}

fn add(sums: &mut [RatioSums], block: &[RatioSums]) {
    sums.iter_mut().zip(block).for_each(|(sum, of_block)| *sum += *of_block);
}

fn units(block: &[RatioSums]) -> u64 {
    block.iter().map(RatioSums::n_units).sum()
}

#[cfg(test)]
mod tests {
    use super::super::Measure;
    use super::*;
    use crate::Method;

    fn findings(n_challengers: usize) -> Findings {
        let (running, decisions) = (vec![None; n_challengers], vec![None; n_challengers]);
        Findings { running, decisions, leader: None, change: None }
    }

    fn interval(low: f64, high: f64) -> Interval {
        Interval { estimate: (low + high) / 2.0, low, high }
    }

    #[test]
    fn intervals_only_narrow_and_an_empty_intersection_is_a_change() {
        let mut found = findings(1);
        assert_eq!(found.interval(0, 0.0), None);
        for (low, high) in [(-1.0, 3.0), (0.5, 4.0), (-0.5, 2.0)] {
            found.narrow(0, 100, interval(low, high), 0.1);
        }
        assert_eq!(found.interval(0, 1.0), Some(Interval { estimate: 1.0, low: 0.5, high: 2.0 }));
        assert_eq!(found.interval(0, -3.0).map(|interval| interval.estimate), Some(0.5));
        assert_eq!((found.change, found.decision(0)), (None, Some(Decision::Better)));
        found.narrow(0, 900, interval(-2.0, 0.2), 0.1);
        let change = found.change.expect("a change");
        assert_eq!((change.n_units, change.before.low, change.since.high), (900, 0.5, 0.2));
        found.narrow(0, 1_000, interval(0.4, 0.6), 0.1);
        assert_eq!(found.change, Some(change), "the first is kept");
    }

    #[test]
    fn the_first_decision_stands() {
        let mut found = findings(1);
        let decisions = [(-0.3, 0.2), (-0.05, 0.08), (0.01, 0.05)].map(|(low, high)| {
            found.narrow(0, 100, interval(low, high), 0.1);
            found.decision(0)
        });
        assert_eq!(decisions, [None, Some(Decision::Alike), Some(Decision::Alike)]);
    }

    #[test]
    fn the_first_better_arm_leads_until_another_is_wholly_above() {
        let mut found = findings(3);
        let mut look = |intervals: [(f64, f64); 3]| {
            for (challenger, (low, high)) in intervals.into_iter().enumerate() {
                found.narrow(challenger, 100, interval(low, high), 0.1);
            }
            found.lead(|challenger| Some((intervals[challenger].0 + intervals[challenger].1) / 2.0));
            found.leader
        };
        assert_eq!(look([(-1.0, 1.0), (-1.0, 2.0), (-1.0, 2.5)]), None);
        assert_eq!(look([(0.1, 0.9), (-0.1, 1.5), (0.2, 1.6)]), Some(2), "of two at once the higher");
        assert_eq!(look([(0.1, 0.9), (0.3, 1.5), (0.2, 1.2)]), Some(2), "a higher estimate alone is no reason");
        assert_eq!(look([(0.1, 0.9), (1.3, 1.5), (0.2, 1.2)]), Some(1));
        assert_eq!(look([(0.1, 0.9), (1.3, 1.5), (1.0, 1.2)]), Some(1));
    }

    #[test]
    fn later_units_are_held_against_earlier_ones() {
        let rules = Rules {
            method: Method::Interleave,
            measure: Measure::ClickThrough,
            alpha: 0.05,
            smallest_difference: None,
            n_units_min: 30,
        };
        let run = |later: f64| {
            let mut path = Path::new(rules.clone(), 1, 1);
            for n in 1..=2_000 {
                let block = path.block(n);
                // 0 or 1 in turn, or mostly what `later` says.
                let value = if n <= 1_000 { (n % 2) as f64 } else { f64::from((n % 10) as f64 / 10.0 < later) };
                path.replace(block, 0, Part::default(), Part::new(value, 1.0), 0);
                path.observe(n, 0);
            }
            path.findings().last().and_then(|found| found.change)
        };
        assert_eq!(run(0.5), None);
        let change = run(0.2).expect("a change");
        assert!(change.before.estimate > change.since.estimate + 0.1 && change.n_units >= 800, "{change:?}");
    }
}
