//! Work over rows, split over the threads of the current rayon pool.

use std::marker::PhantomData;

use rayon::prelude::*;

/// A slice of which several threads write parts that do not overlap.
pub(crate) struct Disjoint<'a, T> {
    start: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: all access goes through `slice` and `pointer`, whose callers vouch that no two threads touch one element.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// Part of the slice.
    ///
    /// # Safety
    /// Nobody else touches these elements while the part is alive.
    #[allow(clippy::mut_from_ref, reason = "the caller vouches that the parts do not overlap")]
    pub(crate) unsafe fn slice(&self, start: usize, len: usize) -> &mut [T] {
        assert!(start.checked_add(len).is_some_and(|end| end <= self.len), "a part lies within its slice");
        // SAFETY: within the slice, as was just checked, and not shared, as the caller vouches.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }
}

impl<T> Disjoint<'_, T> {
    /// Parts of one length, as far from each other as said.
    ///
    /// # Safety
    /// They do not overlap, and nobody else touches their elements while they are alive.
    #[inline(always)]
    pub(crate) unsafe fn rows(
        &self,
        start: usize,
        stride: usize,
        n_rows: usize,
        len: usize,
    ) -> impl Iterator<Item = &mut [T]> {
        assert!(n_rows == 0 || start + (n_rows - 1) * stride + len <= self.len, "the parts lie within their slice");
        // SAFETY: within the slice, as was just checked, and not shared, as the caller vouches.
        (0..n_rows).map(move |row| unsafe { std::slice::from_raw_parts_mut(self.start.add(start + row * stride), len) })
    }
}

/// Calls `work` with parts of `n` rows (the last may have fewer) and the number of each part's first row.
pub(crate) fn for_each_rows<T: Send>(
    rows: &mut [T],
    width: usize,
    n: usize,
    work: impl Fn(usize, &mut [T]) + Sync + Send,
) {
    rows.par_chunks_mut(width * n).enumerate().for_each(|(part, rows)| work(part * n, rows));
}

/// A vector of `len` numbers, every one of which `fill` writes.
///
/// Large matrices are made and dropped all the time, and setting them to zero first costs as much as some layers.
///
/// # Safety
/// `fill` writes every element and reads none before that.
pub(crate) unsafe fn filled(len: usize, fill: impl FnOnce(&Disjoint<'_, f32>)) -> Vec<f32> {
    let mut numbers: Vec<f32> = Vec::with_capacity(len);
    fill(&Disjoint { start: numbers.as_mut_ptr(), len, slice: PhantomData });
    // SAFETY: the capacity is at least `len`, and `fill` has written every element.
    unsafe { numbers.set_len(len) };
    numbers
}
