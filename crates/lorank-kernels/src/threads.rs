//! Matrices that several threads of the current rayon pool write in parallel.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use rayon::prelude::*;

use crate::recycled;

/// A slice of which several threads write disjoint parts.
///
/// Overlapping parts would be two `&mut` to one element, so all access is `unsafe`, and the code that divides the work
/// must guarantee disjointness. Bounds are checked.
pub(crate) struct Disjoint<'a, T> {
    start: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: all access goes through `slice` and `rows`, whose callers vouch that no two threads touch one element. Elements
// travel to other threads that way, hence `Send`.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// A part of the slice.
    ///
    /// # Safety
    /// No other reference to these elements exists while the part is alive.
    ///
    /// # Panics
    /// If the part is not within the slice.
    #[expect(clippy::mut_from_ref, reason = "the caller guarantees that the parts do not overlap")]
    pub(crate) unsafe fn slice(&self, start: usize, len: usize) -> &mut [T] {
        assert!(start.checked_add(len).is_some_and(|end| end <= self.len), "a part lies within its slice");
        // SAFETY: within the slice, as was just checked, and not shared, as the caller guarantees.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }

    /// `n_rows` parts of equal length, `stride` elements apart.
    ///
    /// # Safety
    /// No other reference to their elements exists while they are alive.
    ///
    /// # Panics
    /// If a part is not within the slice, or overlaps the next one.
    #[inline(always)]
    pub(crate) unsafe fn rows(
        &self,
        start: usize,
        stride: usize,
        n_rows: usize,
        len: usize,
    ) -> impl Iterator<Item = &mut [T]> {
        let end = n_rows.saturating_sub(1).checked_mul(stride).and_then(|n| n.checked_add(start)?.checked_add(len));
        assert!(n_rows == 0 || end.is_some_and(|end| end <= self.len), "the parts lie within their slice");
        assert!(n_rows <= 1 || len <= stride, "the parts do not overlap");
        // SAFETY: within the slice and apart, as was just checked, and not shared, as the caller guarantees.
        (0..n_rows).map(move |row| unsafe { std::slice::from_raw_parts_mut(self.start.add(start + row * stride), len) })
    }
}

/// Calls `task` with parts of `n` rows (the last may have fewer) and the number of each part's first row.
pub(crate) fn for_each_rows<T: Send>(
    rows: &mut [T],
    width: usize,
    n: usize,
    task: impl Fn(usize, &mut [T]) + Sync + Send,
) {
    rows.par_chunks_mut(width * n).enumerate().for_each(|(part, rows)| task(part * n, rows));
}

/// A vector of `len` numbers that `fill` initializes.
///
/// Large matrices are created all the time, and zeroing them first costs as much as some layers.
///
/// # Safety
/// `fill` initializes every element, unless it panics.
pub(crate) unsafe fn filled(len: usize, fill: impl FnOnce(&Disjoint<'_, MaybeUninit<f32>>)) -> Vec<f32> {
    let mut numbers: Vec<f32> = recycled::with_capacity(len);
    fill(&Disjoint::new(&mut numbers.spare_capacity_mut()[..len]));
    // SAFETY: the capacity is at least `len`, and `fill` has written every element, as the caller guarantees.
    unsafe { numbers.set_len(len) };
    numbers
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn every_task_writes_its_own_rows() {
        const WIDTH: usize = 5;
        // SAFETY: the tasks cover rows 0 to 7 and, in each, both parts of its columns.
        let numbers = unsafe {
            filled(8 * WIDTH, |out| {
                (0..16_usize).into_par_iter().for_each(|task| {
                    let (row, (first, len)) = (task / 2, [(0, 2), (2, 3)][task % 2]);
                    for number in out.rows(row * WIDTH + first, WIDTH, 1, len).flatten() {
                        number.write(task as f32);
                    }
                });
            })
        };
        for (at, number) in numbers.into_iter().enumerate() {
            let (row, column) = (at / WIDTH, at % WIDTH);
            assert_eq!(number, (2 * row + usize::from(column >= 2)) as f32, "row {row}, column {column}");
        }
    }

    #[test]
    fn parts_of_several_rows_stand_a_stride_apart() {
        let mut numbers = [0; 12];
        let all = Disjoint::new(&mut numbers);
        // SAFETY: nobody else has them.
        unsafe { all.rows(1, 4, 3, 2) }.enumerate().for_each(|(n, part)| part.fill(n + 1));
        assert_eq!(numbers, [0, 1, 1, 0, 0, 2, 2, 0, 0, 3, 3, 0]);
    }

    /// Start, stride, number and length of parts of a slice of 10.
    #[test]
    fn parts_outside_the_slice_are_refused() {
        let refused = |start, stride, n_rows, len| {
            let mut numbers = [0; 10];
            let all = Disjoint::new(&mut numbers);
            // SAFETY: nobody else has them.
            catch_unwind(AssertUnwindSafe(|| unsafe { all.rows(start, stride, n_rows, len).count() })).is_err()
        };
        for (start, stride, n_rows, len, expected) in [
            (0, 5, 2, 5, false),
            (10, 5, 1, 0, false),
            (11, 5, 0, 5, false),
            (0, 5, 2, 6, true),
            (0, 3, 2, 4, true),
            (6, 5, 1, 5, true),
            (0, usize::MAX, 3, 1, true),
            (usize::MAX, 1, 1, 2, true),
            (2, usize::MAX, 2, 1, true),
            (0, 1, 2, usize::MAX, true),
        ] {
            assert_eq!(refused(start, stride, n_rows, len), expected, "{start} {stride} {n_rows} {len}");
        }
    }

    #[test]
    fn a_part_outside_the_slice_is_refused() {
        let mut numbers = [0; 10];
        let all = Disjoint::new(&mut numbers);
        for (start, len, expected) in
            [(0, 10, false), (10, 0, false), (10, 1, true), (usize::MAX, 2, true), (2, usize::MAX, true)]
        {
            // SAFETY: nobody else has them.
            let refused = catch_unwind(AssertUnwindSafe(|| unsafe { all.slice(start, len).len() })).is_err();
            assert_eq!(refused, expected, "{start} {len}");
        }
    }
}
