//! Buffers that are used again.
//!
//! A training step creates hundreds of megabytes of activations and gradients and drops them in the next moment. The allocator
//! gives that memory back to the system and gets it again, page by page, which costs as much as some layers.

use std::cell::RefCell;
use std::collections::BTreeMap;

thread_local! {
    /// Unused buffers of this thread, by capacity.
    static UNUSED: RefCell<BTreeMap<usize, Vec<Vec<f32>>>> = const { RefCell::new(BTreeMap::new()) };
}

/// Smaller buffers are left to the allocator.
const LEN_MIN: usize = 16 << 10;

/// Gives a buffer to later results of this thread.
///
/// Buffers are kept until the thread ends, or until a result that fits into none takes their place: their memory is never more
/// than what was in use at one time. Threads that recycle nothing keep nothing.
pub fn recycle(mut buffer: Vec<f32>) {
    if buffer.capacity() < LEN_MIN {
        return;
    }
    buffer.clear();
    // While a thread ends, there is nothing to add to.
    let _ = UNUSED.try_with(|unused| unused.borrow_mut().entry(buffer.capacity()).or_default().push(buffer));
}

/// An empty buffer with room for `len` numbers.
pub(crate) fn with_capacity(len: usize) -> Vec<f32> {
    if len < LEN_MIN {
        return Vec::with_capacity(len);
    }
    let found = UNUSED.try_with(|unused| take(&mut unused.borrow_mut(), len)).ok().flatten();
    found.unwrap_or_else(|| Vec::with_capacity(len))
}

/// The smallest buffer with enough room. Of those with too much room none is taken; if none is left, smaller ones that together
/// have as much memory are dropped.
fn take(unused: &mut BTreeMap<usize, Vec<Vec<f32>>>, len: usize) -> Option<Vec<f32>> {
    let fitting = unused.range(len..=len.saturating_mul(2)).next().map(|(capacity, _)| *capacity);
    if let Some(capacity) = fitting {
        return pop(unused, capacity);
    }
    let mut n_dropped = 0;
    while n_dropped < len
        && let Some(capacity) = unused.range(..len).next_back().map(|(capacity, _)| *capacity)
    {
        drop(pop(unused, capacity));
        n_dropped += capacity;
    }
    None
}

fn pop(unused: &mut BTreeMap<usize, Vec<Vec<f32>>>, capacity: usize) -> Option<Vec<f32>> {
    let buffers = unused.get_mut(&capacity)?;
    let buffer = buffers.pop();
    if buffers.is_empty() {
        unused.remove(&capacity);
    }
    buffer
}

/// Numbers in a buffer that may have been used before.
pub fn copied(numbers: &[f32]) -> Vec<f32> {
    let mut buffer = with_capacity(numbers.len());
    buffer.extend_from_slice(numbers);
    buffer
}

/// Zeros in a buffer that may have been used before.
pub fn zeros(len: usize) -> Vec<f32> {
    let mut buffer = with_capacity(len);
    buffer.resize(len, 0.0);
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n_unused() -> usize {
        UNUSED.with(|unused| unused.borrow().iter().map(|(capacity, buffers)| capacity * buffers.len()).sum())
    }

    #[test]
    fn buffers_are_used_again_and_make_room() {
        let (large, small) = (64 << 10, 20 << 10);
        recycle(vec![1.0; 10]);
        assert_eq!(n_unused(), 0, "too small");
        let buffers = [vec![1.0; large], vec![2.0; small], vec![3.0; small]];
        let address = buffers[0].as_ptr();
        buffers.into_iter().for_each(recycle);
        assert_eq!(n_unused(), large + 2 * small);
        let again = zeros(large - 7);
        assert!(again.as_ptr() == address && again.len() == large - 7 && again.iter().all(|x| *x == 0.0));
        assert_eq!(copied(&[4.0; 17 << 10]).len(), 17 << 10);
        assert_eq!(n_unused(), small);
        recycle(again);
        drop(zeros(3 * large));
        assert_eq!(n_unused(), 0, "both have made room for the new one");
    }
}
