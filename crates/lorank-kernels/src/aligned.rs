//! Numbers that start at a cache line.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// A cache line. Vector and tile instructions are several times slower on rows that lie across two.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; LINE]);

const LINE: usize = 64;

/// A type of which all bit patterns are numbers, and whose size divides a cache line.
///
/// # Safety
/// So it is, and the type has no padding.
pub(crate) unsafe trait Number: Copy + PartialEq + fmt::Debug {}

// SAFETY: primitive numbers of 1, 2 and 4 bytes.
unsafe impl Number for i8 {}
// SAFETY: as above.
unsafe impl Number for u8 {}
// SAFETY: as above.
unsafe impl Number for u16 {}
// SAFETY: as above.
unsafe impl Number for i32 {}
// SAFETY: as above.
unsafe impl Number for f32 {}

/// A slice of numbers, on the heap, that starts at a cache line.
#[derive(Clone)]
pub(crate) struct Aligned<T> {
    lines: Vec<Line>,
    len: usize,
    numbers: PhantomData<T>,
}

impl<T: Number> Aligned<T> {
    /// # Panics
    /// If the numbers do not fit into the address space.
    pub(crate) fn zeros(len: usize) -> Self {
        let n_lines = len.div_ceil(LINE / size_of::<T>());
        Self { lines: vec![Line([0; LINE]); n_lines], len, numbers: PhantomData }
    }

    /// The first `len` numbers: all zeros if there were fewer, else what they were.
    pub(crate) fn first(&mut self, len: usize) -> &mut [T] {
        if self.len < len {
            *self = Self::zeros(len);
        }
        &mut self[..len]
    }
}

impl<T: Number> Default for Aligned<T> {
    fn default() -> Self {
        Self::zeros(0)
    }
}

/// Numbers as bytes.
pub(crate) fn bytes<T: Number>(numbers: &[T]) -> &[u8] {
    // SAFETY: numbers have no padding, and bytes no alignment.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}

impl<T: Number> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the lines are at least as many bytes as the numbers, aligned to more than they need, initialized, and any
        // bits are numbers.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl<T: Number> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and numbers have no padding, so that the lines stay initialized.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

impl<T: Number> PartialEq for Aligned<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Number> fmt::Debug for Aligned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_start_at_a_line() {
        for len in [0, 1, 63, 64, 65, 1000] {
            let mut numbers = Aligned::<u16>::zeros(len);
            assert_eq!((numbers.len(), numbers.as_ptr().align_offset(LINE)), (len, 0));
            numbers.fill(7);
            assert_eq!(*numbers.clone(), vec![7; len]);
        }
    }
}
