//! Functions of one number, written so that the compiler vectorizes loops over them.

use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, LN_2, LOG2_E, SQRT_2};

use crate::tile::Kernel;

/// An activation function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x Φ(x)`, with the error function (arXiv 1606.08415).
    Gelu,
    /// Its approximation by a hyperbolic tangent, from the same paper.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
    /// The hyperbolic tangent.
    Tanh,
    /// `x / (1 + e^-x)` (arXiv 1606.08415).
    Silu,
}

impl Activation {
    #[inline(always)]
    pub(crate) fn apply<K: Kernel>(self, xs: &mut [f32]) {
        match self {
            Self::Gelu => each(xs, gelu::<K>),
            Self::GeluTanh => each(xs, gelu_tanh::<K>),
            Self::Relu => each(xs, |x| x.max(0.0)),
            Self::Tanh => each(xs, |x| mul_add::<K>(2.0, sigmoid::<K>(2.0 * x), -1.0)),
            Self::Silu => each(xs, silu::<K>),
        }
    }

    /// Multiplies each gradient by the derivative at the corresponding argument.
    #[inline(always)]
    pub(crate) fn apply_derivative<K: Kernel>(self, gradient: &mut [f32], xs: &[f32]) {
        match self {
            Self::Gelu => each_with(gradient, xs, gelu_derivative::<K>),
            Self::GeluTanh => each_with(gradient, xs, gelu_tanh_derivative::<K>),
            Self::Relu => each_with(gradient, xs, |x| if x > 0.0 { 1.0 } else { 0.0 }),
            Self::Tanh => each_with(gradient, xs, |x| {
                let tanh = mul_add::<K>(2.0, sigmoid::<K>(2.0 * x), -1.0);
                1.0 - tanh * tanh
            }),
            Self::Silu => each_with(gradient, xs, |x| {
                let s = sigmoid::<K>(x);
                s * mul_add::<K>(x, 1.0 - s, 1.0)
            }),
        }
    }
}

/// Multiplies each gradient by `f` of the corresponding number.
#[inline(always)]
fn each_with(gradient: &mut [f32], xs: &[f32], f: impl Fn(f32) -> f32) {
    let (chunks, rest) = gradient.as_chunks_mut::<16>();
    let (xs, xs_rest) = xs.as_chunks::<16>();
    for (chunk, xs) in chunks.iter_mut().zip(xs) {
        for lane in 0..16 {
            chunk[lane] *= f(xs[lane]);
        }
    }
    for (gradient, x) in rest.iter_mut().zip(xs_rest) {
        *gradient *= f(*x);
    }
}

/// `Φ(x) + x φ(x)`.
#[inline(always)]
fn gelu_derivative<K: Kernel>(x: f32) -> f32 {
    /// `1 / sqrt(2 pi)`.
    const DENSITY: f32 = 0.398_942_3;
    let x = if x < -LAST { -LAST } else { x };
    mul_add::<K>(x * DENSITY, exp_low::<K>(-0.5 * x * x), normal_cdf::<K>(x))
}

/// With `s` the sigmoid in [`gelu_tanh`] and `u` its argument: `s + x s (1 - s) u'`.
#[inline(always)]
fn gelu_tanh_derivative<K: Kernel>(x: f32) -> f32 {
    let s = sigmoid::<K>(TWICE * x * mul_add::<K>(0.044_715 * x, x, 1.0));
    let slope = TWICE * mul_add::<K>(3.0 * 0.044_715 * x, x, 1.0);
    mul_add::<K>(x * s * (1.0 - s), slope, s)
}

#[inline(always)]
fn each(xs: &mut [f32], f: impl Fn(f32) -> f32) {
    // Two AVX2 vectors at a time, which share the constants that do not fit in registers.
    let (chunks, rest) = xs.as_chunks_mut::<16>();
    for chunk in chunks {
        for x in chunk {
            *x = f(*x);
        }
    }
    for x in rest {
        *x = f(*x);
    }
}

/// Combines lanes by halving, for sums and similar reductions.
#[inline(always)]
pub(crate) fn fold<const N: usize>(mut lanes: [f32; N], f: impl Fn(f32, f32) -> f32) -> f32 {
    const { assert!(N.is_power_of_two()) };
    let mut n = N;
    while n > 1 {
        n /= 2;
        for lane in 0..n {
            lanes[lane] = f(lanes[lane], lanes[lane + n]);
        }
    }
    lanes[0]
}

/// `a * b + c`, rounded once if the CPU has a fused instruction.
#[inline(always)]
pub(crate) fn mul_add<K: Kernel>(a: f32, b: f32, c: f32) -> f32 {
    if K::FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `e^x` within 2 units in the last place; below -87 it is `e^-87`, which is negligible in every sum.
///
/// Follows Cephes' `expf`: `2^n` by exponent arithmetic, and a polynomial for the rest.
#[inline(always)]
pub(crate) fn exp<K: Kernel>(x: f32) -> f32 {
    exp_low::<K>(if x > 88.0 { 88.0 } else { x })
}

/// `e^x` for numbers up to 88.
#[inline(always)]
pub(crate) fn exp_low<K: Kernel>(x: f32) -> f32 {
    /// Adding this to a number below 2^22 leaves the nearest integer in the lowest bits.
    const TO_INTEGER: f32 = 12_582_912.0;
    /// The leading bits of ln 2, so that their product with an exponent is exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = LN_2 - LN_2_HIGH - 2.319_046_8e-17;
    let x = if x < -87.0 { -87.0 } else { x };
    let shifted = mul_add::<K>(x, LOG2_E, TO_INTEGER);
    let n = shifted - TO_INTEGER;
    let r = mul_add::<K>(n, -LN_2_LOW, mul_add::<K>(n, -LN_2_HIGH, x));
    let mut p = 1.987_569_1e-4;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = mul_add::<K>(p, r, coefficient);
    }
    let p = mul_add::<K>(p * r, r, r) + 1.0;
    f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
fn sigmoid<K: Kernel>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<K>(-x))
}

#[inline(always)]
fn silu<K: Kernel>(x: f32) -> f32 {
    x * sigmoid::<K>(x)
}

/// The largest argument of [`normal_cdf`]. Beyond it, the nearest f32 is 1.
const LAST: f32 = 3.832_506_9 * SQRT_2;

/// GELU within 1e-6.
#[inline(always)]
fn gelu<K: Kernel>(x: f32) -> f32 {
    // This comparison preserves NaN.
    let x = if x < -LAST { -LAST } else { x };
    x * normal_cdf::<K>(x)
}

/// The distribution function of the normal distribution for numbers from [`-LAST`](LAST), with the rational approximation of
/// the error function in XLA and Eigen, evaluated at `x / sqrt(2)` and halved.
#[inline(always)]
fn normal_cdf<K: Kernel>(x: f32) -> f32 {
    /// The coefficient of `x^(2k)` from that of `(x / sqrt(2))^(2k)`.
    const fn of_half<const N: usize>(mut coefficients: [f32; N], factor: f32) -> [f32; N] {
        let mut k = 0;
        while k < N {
            coefficients[k] *= factor / (1 << (N - 1 - k)) as f32;
            k += 1;
        }
        coefficients
    }
    const ABOVE: [f32; 5] =
        of_half([2.290_506_6e-4, 3.408_291e-3, 5.095_569_5e-2, 1.852_083_2e-1, FRAC_2_SQRT_PI], 0.5 * FRAC_1_SQRT_2);
    const BELOW: [f32; 7] = of_half(
        [-1.179_160_3e-7, 2.354_796_6e-5, 1.017_962_5e-3, 1.407_047e-2, 1.109_850_5e-1, 4.974_692_5e-1, 1.0],
        1.0,
    );
    let inner = if x > LAST { LAST } else { x };
    let square = inner * inner;
    let polynomial = |coefficients: &[f32]| {
        coefficients[1..].iter().fold(coefficients[0], |sum, coefficient| mul_add::<K>(sum, square, *coefficient))
    };
    0.5 + inner * polynomial(&ABOVE) / polynomial(&BELOW)
}

/// `2 sqrt(2 / pi)`.
const TWICE: f32 = 1.595_769_1;

#[inline(always)]
fn gelu_tanh<K: Kernel>(x: f32) -> f32 {
    // 0.5 (1 + tanh u) is the sigmoid of 2u; this is 2u = 2 sqrt(2 / pi) (x + 0.044715 x^3).
    x * sigmoid::<K>(TWICE * x * mul_add::<K>(0.044_715 * x, x, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tile::Portable;

    /// The largest difference to `expected`, computed in f64, over -20 to 20; relative above one.
    fn check(ours: impl Fn(f32) -> f32, expected: impl Fn(f64) -> f64, tolerance: f64) {
        for step in -20_000..=20_000 {
            let x = step as f32 * 1e-3;
            let (ours, expected) = (f64::from(ours(x)), expected(f64::from(x)));
            let difference = (ours - expected).abs() / expected.abs().max(1.0);
            assert!(difference <= tolerance, "at {x}: {ours}, not {expected}");
        }
    }

    /// The error function by its series, and by its continued fraction where that is slow.
    fn exact_erf(x: f64) -> f64 {
        if x.abs() > 3.0 {
            let fraction = (1..60).rev().fold(x.abs(), |below, k| x.abs() + f64::from(k) / 2.0 / below);
            return (1.0 - (-x * x).exp() / fraction / std::f64::consts::PI.sqrt()).copysign(x);
        }
        let mut term = x;
        let mut sum = x;
        for n in 1..80 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn functions_are_what_they_are_called() {
        let one = |f: Activation| {
            move |x: f32| {
                let mut xs = [x];
                f.apply::<Portable>(&mut xs);
                xs[0]
            }
        };
        check(exp::<Portable>, f64::exp, 3e-7);
        check(one(Activation::Gelu), |x| 0.5 * x * (1.0 + exact_erf(x / 2.0_f64.sqrt())), 1e-6);
        let inner = |x: f64| (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
        check(one(Activation::GeluTanh), |x| 0.5 * x * (1.0 + inner(x).tanh()), 5e-7);
        check(one(Activation::Tanh), f64::tanh, 3e-7);
        check(one(Activation::Relu), |x| x.max(0.0), 0.0);
        check(one(Activation::Silu), |x| x / (1.0 + (-x).exp()), 5e-7);
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        for f in [gelu::<Portable>, gelu_tanh::<Portable>, silu::<Portable>] {
            assert!(f(f32::NAN).is_nan());
            assert!(!f(f32::INFINITY).is_finite());
        }
        assert!(exp::<Portable>(-1e30) < 1e-37 && exp::<Portable>(f32::NEG_INFINITY) < 1e-37);
    }
}
