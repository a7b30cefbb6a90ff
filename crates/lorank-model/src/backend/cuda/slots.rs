//! The spare columns of the base model's matrices, which hold the updates of adapters.

use std::ops::Range;

/// The number of spare columns of a matrix: of eight adapters of rank 16.
pub(super) const SPARE_COLUMNS: usize = 128;

/// Updates begin at multiples of this, because tensor cores multiply as many numbers at once.
const COLUMNS_STEP: usize = 16;

/// The number of slots of an adapter of rank 16 or less.
pub(super) const N_SLOTS: usize = SPARE_COLUMNS / COLUMNS_STEP;

/// Which adapter has which columns, the same ones in every matrix. An adapter keeps them until another one needs them.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    /// The number of passes so far.
    n_passes: u64,
}

#[derive(Debug)]
struct Slot {
    /// The number of the adapter.
    adapter: u64,
    columns: Range<usize>,
    /// The pass that used it last.
    last_pass: u64,
}

impl Slots {
    /// The columns of each of a pass's adapters, which are given by their numbers and largest ranks. `None` for an adapter that does
    /// not fit beside the others.
    pub(super) fn of_pass(&mut self, adapters: &[(u64, usize)]) -> Vec<Option<Range<usize>>> {
        self.n_passes += 1;
        for slot in &mut self.slots {
            if adapters.iter().any(|(adapter, _)| *adapter == slot.adapter) {
                slot.last_pass = self.n_passes;
            }
        }
        adapters.iter().map(|(adapter, rank)| self.of_adapter(*adapter, rank.next_multiple_of(COLUMNS_STEP))).collect()
    }

    /// How many of the [slots](N_SLOTS) adapters have.
    pub(super) fn n_used(&self) -> usize {
        self.slots.iter().map(|slot| slot.columns.len() / COLUMNS_STEP).sum()
    }

    fn of_adapter(&mut self, adapter: u64, n_columns: usize) -> Option<Range<usize>> {
        if let Some(slot) = self.slots.iter().find(|slot| slot.adapter == adapter) {
            return Some(slot.columns.clone());
        }
        loop {
            if let Some(start) = self.first_gap(n_columns) {
                let columns = start..start + n_columns;
                self.slots.push(Slot { adapter, columns: columns.clone(), last_pass: self.n_passes });
                return Some(columns);
            }
            let unused = |slot: &&Slot| slot.last_pass < self.n_passes;
            let oldest = self.slots.iter().filter(unused).min_by_key(|slot| slot.last_pass)?.adapter;
            self.slots.retain(|slot| slot.adapter != oldest);
        }
    }

    /// The first of as many adjacent free columns.
    fn first_gap(&self, n_columns: usize) -> Option<usize> {
        let is_free = |start: &usize| {
            let end = start + n_columns;
            end <= SPARE_COLUMNS
                && self.slots.iter().all(|slot| slot.columns.end <= *start || end <= slot.columns.start)
        };
        let ends = self.slots.iter().map(|slot| slot.columns.end);
        std::iter::once(0).chain(ends).filter(is_free).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_keeps_its_columns_until_others_need_them() {
        let mut slots = Slots::default();
        let mut check = |adapters: &[(u64, usize)], expected: &[Option<Range<usize>>]| {
            assert_eq!(slots.of_pass(adapters), expected, "{adapters:?}");
        };
        check(&[(1, 8)], &[Some(0..16)]);
        check(&[(2, 33), (1, 8)], &[Some(16..64), Some(0..16)]);
        check(&[(1, 8)], &[Some(0..16)]);
        // The second adapter has not been used for longer than the first one.
        check(&[(3, 80)], &[Some(16..96)]);
        check(&[(4, 32), (1, 8)], &[Some(96..128), Some(0..16)]);
        // Two of one pass do not fit together.
        check(&[(5, 128), (6, 16)], &[Some(0..128), None]);
        check(&[(7, 129)], &[None]);
        check(&[(6, 16)], &[Some(0..16)]);
        assert_eq!(slots.n_used(), 1);
        slots.of_pass(&[(6, 16), (8, 33)]);
        assert_eq!(slots.n_used(), 4);
    }
}
