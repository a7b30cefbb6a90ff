//! The contribution of a unit to the sums, now and at each look.

use super::sequence::Part;

/// The state of a unit, identified by a hash of its name.
#[derive(Debug, Clone)]
pub(crate) struct Unit {
    pub arm: usize,
    /// The block by its time of arrival.
    pub block: u16,
    /// Its value from before the experiment, in fixed point.
    pub past: i64,
    /// Its contributions to its sums.
    pub parts: Box<[Part]>,
    /// Its contributions to the primary measure at the looks before which they changed.
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
struct Step {
    /// The first look with these parts.
    look: u32,
    deciding: Box<[Part]>,
}

/// The key of a unit: 128 bits of the hash of its name, so collisions are negligible.
pub(crate) fn key(name: &str) -> u128 {
    let hash = blake3::hash(name.as_bytes());
    u128::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
}

impl Unit {
    pub(crate) fn new(arm: usize, block: u16, past: i64, n_parts: usize) -> Self {
        Self { arm, block, past, parts: vec![Part::default(); n_parts].into(), steps: Vec::new() }
    }

    /// The parts of the primary measure at a look.
    pub(crate) fn at(&self, look: usize) -> Option<&[Part]> {
        let after = self.steps.partition_point(|step| step.look as usize <= look);
        Some(&self.steps[after.checked_sub(1)?].deciding)
    }

    /// Adds to the parts of the primary measure from a look on.
    pub(crate) fn add_from(&mut self, look: usize, more: &[Part]) {
        let at = self.steps.partition_point(|step| (step.look as usize) < look);
        if self.steps.get(at).is_none_or(|step| step.look as usize != look) {
            let before = at.checked_sub(1).map(|before| self.steps[before].deciding.clone());
            let deciding = before.unwrap_or_else(|| vec![Part::default(); more.len()].into());
            self.steps.insert(at, Step { look: u32::try_from(look).unwrap_or(u32::MAX), deciding });
        }
        for step in &mut self.steps[at..] {
            step.deciding.iter_mut().zip(more).for_each(|(part, more)| *part = *part + *more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_what_it_was_at_each_look() {
        let part = |x: f64| [Part::new(x, 1.0)];
        let mut unit = Unit::new(0, 0, 0, 1);
        assert_eq!(unit.at(3), None);
        for (look, x) in [(2, 1.0), (2, 2.0), (5, 4.0), (3, 8.0)] {
            unit.add_from(look, &part(x));
        }
        let found: Vec<Option<Part>> = (1..7).map(|look| unit.at(look).map(|parts| parts[0])).collect();
        let expected =
            [None, Some((3.0, 2.0)), Some((11.0, 3.0)), Some((11.0, 3.0)), Some((15.0, 4.0)), Some((15.0, 4.0))];
        assert_eq!(found, expected.map(|part| part.map(|(x, n)| Part::new(x, n))));
    }
}
