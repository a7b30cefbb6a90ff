//! Norms and gates.

use crate::isa::{Computation, dispatch};
use crate::math::mul_add;
use crate::tile::Kernel;
use crate::{Activation, Isa, recycled, threads};

/// The number of rows that a thread processes at a time.
const ROWS_PER_TASK: usize = 32;

/// The number of partial sums, so that the compiler can vectorize without changing the order of additions.
const LANES: usize = 16;

/// `(x - mean) / sqrt(variance + eps) * weight + bias` in place, for each row of `x` (arXiv 1607.06450).
///
/// `x` is `[n, width]`, `weight` and `bias` are `[width]`.
///
/// # Panics
/// If `weight` is empty or the shapes disagree.
pub fn layer_norm(x: &mut [f32], weight: &[f32], bias: &[f32], eps: f32, isa: Isa) {
    assert!(!weight.is_empty(), "the width is at least 1");
    assert!(weight.len() == bias.len() && x.len().is_multiple_of(weight.len()), "rows, weight and bias are as wide");
    threads::for_each_rows(x, weight.len(), ROWS_PER_TASK, |_, x| dispatch(isa, LayerNorm { x, weight, bias, eps }));
}

/// `x / sqrt(mean(x²) + eps) * weight` in place, for each row of `x` (arXiv 1910.07467).
///
/// `x` is `[n, width]`, `weight` is `[width]`.
///
/// # Panics
/// If `weight` is empty or the shapes disagree.
pub fn rms_norm(x: &mut [f32], weight: &[f32], eps: f32, isa: Isa) {
    assert!(!weight.is_empty(), "the width is at least 1");
    assert!(x.len().is_multiple_of(weight.len()), "rows and weight are as wide");
    threads::for_each_rows(x, weight.len(), ROWS_PER_TASK, |_, x| dispatch(isa, RmsNorm { x, weight, eps }));
}

/// `gate = activation(gate) * up` in place (SwiGLU and GeGLU, arXiv 2002.05202).
///
/// # Panics
/// If the lengths disagree.
pub fn gated(gate: &mut [f32], up: &[f32], activation: Activation, isa: Isa) {
    assert_eq!(gate.len(), up.len(), "gate and up have one shape");
    const PER_TASK: usize = 16 << 10;
    threads::for_each_rows(gate, 1, PER_TASK, |first, gate| {
        let up = &up[first..][..gate.len()];
        dispatch(isa, Gated { gate, up, activation });
    });
}

/// `activation(gate) * up` of rows that have both, one after the other: `[n, 2 * width]`. Returns `[n, width]`.
///
/// # Panics
/// If the width is 0, or the rows have another one.
pub fn gated_halves(both: &[f32], width: usize, gate_is_first: bool, activation: Activation, isa: Isa) -> Vec<f32> {
    assert!(width > 0, "the width is at least 1");
    assert!(
        both.len().is_multiple_of(2) && (both.len() / 2).is_multiple_of(width),
        "rows have a gate and what it multiplies"
    );
    let mut out = recycled::with_capacity(both.len() / 2);
    for row in both.chunks_exact(2 * width) {
        out.extend_from_slice(&row[if gate_is_first { 0 } else { width }..][..width]);
    }
    threads::for_each_rows(&mut out, width, ROWS_PER_TASK, |first, out| {
        let up = &both[2 * first * width + if gate_is_first { width } else { 0 }..];
        dispatch(isa, GatedHalves { gate: out, up, width, activation });
    });
    out
}

/// The activation of each number, in place.
pub fn activate(x: &mut [f32], activation: Activation, isa: Isa) {
    threads::for_each_rows(x, 1, 16 << 10, |_, x| dispatch(isa, Activate { x, activation }));
}

struct Activate<'a> {
    x: &'a mut [f32],
    activation: Activation,
}

impl Computation for Activate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self) {
        self.activation.apply::<K>(self.x);
    }
}

struct LayerNorm<'a> {
    x: &'a mut [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    eps: f32,
}

impl Computation for LayerNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self) {
        let width = self.weight.len();
        for row in self.x.chunks_exact_mut(width) {
            let mean = sum(row, |x| x) / width as f32;
            let variance = sum(row, |x| (x - mean) * (x - mean)) / width as f32;
            let inverse = 1.0 / (variance + self.eps).sqrt();
            for ((x, w), b) in row.iter_mut().zip(self.weight).zip(self.bias) {
                *x = mul_add::<K>((*x - mean) * inverse, *w, *b);
            }
        }
    }
}

struct RmsNorm<'a> {
    x: &'a mut [f32],
    weight: &'a [f32],
    eps: f32,
}

impl Computation for RmsNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self) {
        let width = self.weight.len();
        for row in self.x.chunks_exact_mut(width) {
            let inverse = 1.0 / (sum(row, |x| x * x) / width as f32 + self.eps).sqrt();
            for (x, w) in row.iter_mut().zip(self.weight) {
                *x = *x * inverse * w;
            }
        }
    }
}

struct Gated<'a> {
    gate: &'a mut [f32],
    up: &'a [f32],
    activation: Activation,
}

impl Computation for Gated<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self) {
        // Few enough numbers to stay in the fastest cache between the two loops.
        const PER_STEP: usize = 1 << 10;
        for (gate, up) in self.gate.chunks_mut(PER_STEP).zip(self.up.chunks(PER_STEP)) {
            self.activation.apply::<K>(gate);
            for (gate, up) in gate.iter_mut().zip(up) {
                *gate *= up;
            }
        }
    }
}

struct GatedHalves<'a> {
    gate: &'a mut [f32],
    /// Rows of the width, each followed by as many other numbers.
    up: &'a [f32],
    width: usize,
    activation: Activation,
}

impl Computation for GatedHalves<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self) {
        let Self { gate, up, width, activation } = self;
        for (gate, up) in gate.chunks_exact_mut(width).zip(up.chunks(2 * width)) {
            activation.apply::<K>(gate);
            for (gate, up) in gate.iter_mut().zip(up) {
                *gate *= up;
            }
        }
    }
}

/// The number of elements that are copied at a time: every vector's length is a multiple of it.
const CHUNK: usize = 8;

/// Copies numbers until `to` is full: with vectors, where the standard library would call a function.
#[inline(always)]
pub(crate) fn copy(numbers: &[f32], to: &mut [f32]) {
    let (chunks, rest) = to.as_chunks_mut::<CHUNK>();
    let (numbers, numbers_rest) = numbers.as_chunks::<CHUNK>();
    for (to, numbers) in chunks.iter_mut().zip(numbers) {
        *to = *numbers;
    }
    let last = numbers.get(chunks.len()).map_or(numbers_rest, |chunk| chunk.as_slice());
    for (to, number) in rest.iter_mut().zip(last) {
        *to = *number;
    }
}

/// The sum of `f` over a row, always in the same order.
#[inline(always)]
pub(crate) fn sum(row: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += f(chunk[lane]);
        }
    }
    lanes.into_iter().sum::<f32>() + rest.iter().map(|x| f(*x)).sum::<f32>()
}
