//! Rotary positions of a model, on its backend.

use std::sync::{Arc, PoisonError, RwLock};

use crate::attention::Angles;
use crate::backend::Backend;

/// The smallest number of positions of a table.
const POSITIONS_MIN: usize = 512;

/// Sines and cosines of the positions that passes have needed so far: one table, which passes share.
#[derive(Debug)]
pub(crate) struct RotaryTable<B: Backend> {
    /// One frequency per pair of dimensions, in radians per position. [head_dim / 2]
    frequencies: Vec<f32>,
    /// The table, and its number of positions.
    table: RwLock<Option<(usize, Arc<B::Rotary>)>>,
}

impl<B: Backend> RotaryTable<B> {
    /// `frequencies`: one per pair of dimensions, in radians per position, [head_dim / 2].
    pub(crate) fn new(frequencies: Vec<f32>) -> Self {
        Self { frequencies, table: RwLock::new(None) }
    }

    /// A table of the first `n_positions` positions, or more.
    pub(crate) fn get(&self, backend: &B, n_positions: usize) -> Result<Arc<B::Rotary>, B::Error> {
        let is_long_enough = |table: &&(usize, _)| table.0 >= n_positions;
        let found = self.table.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, table)) = found.as_ref().filter(is_long_enough) {
            return Ok(table.clone());
        }
        drop(found);
        let mut found = self.table.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have made it in the meantime.
        if let Some((_, table)) = found.as_ref().filter(is_long_enough) {
            return Ok(table.clone());
        }
        let n_positions = n_positions.next_power_of_two().max(POSITIONS_MIN);
        let table = Arc::new(backend.rotary(Angles::new(&self.frequencies, n_positions))?);
        backend.synchronize()?;
        *found = Some((n_positions, table.clone()));
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PrecisionChoice;
    use crate::backend::Kernels;
    use crate::precision::{Int8Effect, Int8Form};

    #[test]
    fn a_table_is_shared_until_a_pass_needs_more_positions() {
        let kernels = Kernels::new(PrecisionChoice::Auto, Int8Effect::Unmeasured, Int8Form::Rows).unwrap();
        let table = RotaryTable::<Kernels>::new(vec![1.0, 0.1]);
        let tables = [3, 512, 513, 7].map(|n| table.get(&kernels, n).unwrap());
        assert!(Arc::ptr_eq(&tables[0], &tables[1]) && Arc::ptr_eq(&tables[2], &tables[3]));
        let [short, long] = [&tables[0], &tables[2]];
        assert_eq!((short.cos.len(), long.sin.len()), (512 * 2, 1024 * 2));
        assert_eq!(short.cos[..], long.cos[..512 * 2]);
        assert_eq!(long.sin[5 * 2 + 1], (5.0_f32 * 0.1).sin());
    }
}
