//! Gradients of norms and activations, for training.

use crate::elementwise::sum;
use crate::isa::{Computation, dispatch};
use crate::threads;
use crate::tile::Kernel;
use crate::{Activation, Isa};

/// The number of rows that a thread processes at a time.
const ROWS_PER_TASK: usize = 32;

/// The gradient of [`layer_norm`](crate::layer_norm)'s input, in place of that of its result.
///
/// With `n = (x - mean) / deviation` and `d = dy * weight`: `dx = (d - mean(d) - n mean(d n)) / deviation`.
///
/// `gradient` and `x` are `[n, width]`, `weight` is `[width]`.
///
/// # Panics
/// If `weight` is empty or the shapes disagree.
pub fn layer_norm_gradient(gradient: &mut [f32], x: &[f32], weight: &[f32], eps: f32, isa: Isa) {
    norm_gradient::<true>(gradient, x, weight, eps, isa);
}

/// The gradient of [`rms_norm`](crate::rms_norm)'s input, in place of that of its result.
///
/// With `n = x / rms` and `d = dy * weight`: `dx = (d - n mean(d n)) / rms`.
///
/// `gradient` and `x` are `[n, width]`, `weight` is `[width]`.
///
/// # Panics
/// If `weight` is empty or the shapes disagree.
pub fn rms_norm_gradient(gradient: &mut [f32], x: &[f32], weight: &[f32], eps: f32, isa: Isa) {
    norm_gradient::<false>(gradient, x, weight, eps, isa);
}

/// Multiplies each gradient by the derivative of an activation at the corresponding number.
///
/// # Panics
/// If the lengths disagree.
pub fn activation_gradient(gradient: &mut [f32], x: &[f32], activation: Activation, isa: Isa) {
    assert_eq!(gradient.len(), x.len(), "a gradient for each number");
    threads::for_each_rows(gradient, 1, 16 << 10, |first, gradient| {
        let x = &x[first..][..gradient.len()];
        dispatch(isa, ActivationGradient { gradient, x, activation });
    });
}

fn norm_gradient<const IS_CENTERED: bool>(gradient: &mut [f32], x: &[f32], weight: &[f32], eps: f32, isa: Isa) {
    let width = weight.len();
    assert!(width > 0, "the width is at least 1");
    assert!(gradient.len() == x.len() && x.len().is_multiple_of(width), "rows, gradients and weight are as wide");
    threads::for_each_rows(gradient, width, ROWS_PER_TASK, |first, gradient| {
        let x = &x[first * width..][..gradient.len()];
        dispatch(isa, NormGradient::<IS_CENTERED> { gradient, x, weight, eps });
    });
}

/// `to += scale * numbers`, until `to` ends.
#[inline(always)]
pub(crate) fn add_scaled(to: &mut [f32], numbers: &[f32], scale: f32) {
    for (to, number) in to.iter_mut().zip(numbers) {
        *to += scale * number;
    }
}

struct NormGradient<'a, const IS_CENTERED: bool> {
    gradient: &'a mut [f32],
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
}

impl<const IS_CENTERED: bool> Computation for NormGradient<'_, IS_CENTERED> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self) {
        let width = self.weight.len();
        let mut product = vec![0.0; width];
        for (row, x) in self.gradient.chunks_exact_mut(width).zip(self.x.chunks_exact(width)) {
            let mean = if IS_CENTERED { sum(x, |x| x) / width as f32 } else { 0.0 };
            let variance = sum(x, |x| (x - mean) * (x - mean)) / width as f32;
            let inverse = 1.0 / (variance + self.eps).sqrt();
            for ((d, w), (x, product)) in row.iter_mut().zip(self.weight).zip(x.iter().zip(&mut product)) {
                *d *= w;
                *product = *d * (x - mean);
            }
            let of_d = if IS_CENTERED { sum(row, |d| d) / width as f32 } else { 0.0 };
            let of_product = sum(&product, |p| p) / width as f32 * inverse * inverse;
            for (d, x) in row.iter_mut().zip(x) {
                *d = (*d - of_d - (x - mean) * of_product) * inverse;
            }
        }
    }
}

struct ActivationGradient<'a> {
    gradient: &'a mut [f32],
    x: &'a [f32],
    activation: Activation,
}

impl Computation for ActivationGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self) {
        self.activation.apply_derivative::<K>(self.gradient, self.x);
    }
}
