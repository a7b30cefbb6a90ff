//! Gradients of activations and norms, in f32.

use candle_core::{D, DType, Result, Tensor};
use lorank_kernels::Activation;

/// The derivative of an activation at each number: f32, in x's shape.
pub(super) fn derivative(x: &Tensor, activation: Activation) -> Result<Tensor> {
    let x = &x.to_dtype(DType::F32)?;
    match activation {
        Activation::Relu => x.gt(0_f32)?.to_dtype(DType::F32),
        Activation::Tanh => x.tanh()?.sqr()?.affine(-1.0, 1.0),
        Activation::Silu => {
            let sigmoid = x.neg()?.exp()?.affine(1.0, 1.0)?.recip()?;
            // sigmoid * (1 + x * (1 - sigmoid))
            &sigmoid * (x * sigmoid.affine(-1.0, 1.0)?)?.affine(1.0, 1.0)?
        }
        Activation::Gelu => {
            // The distribution function of the normal distribution, and x times its density.
            let below = x.affine(std::f64::consts::FRAC_1_SQRT_2, 0.0)?.erf()?.affine(0.5, 0.5)?;
            let density = x.sqr()?.affine(-0.5, 0.0)?.exp()?.affine(std::f64::consts::TAU.sqrt().recip(), 0.0)?;
            below + (x * density)?
        }
        Activation::GeluTanh => {
            const CUBIC: f64 = 0.044_715;
            let scale = (2.0 / std::f64::consts::PI).sqrt();
            let square = x.sqr()?;
            let tanh = (x * square.affine(scale * CUBIC, scale)?)?.tanh()?;
            let inner = square.affine(3.0 * scale * CUBIC, scale)?;
            let second = ((x * tanh.sqr()?.affine(-1.0, 1.0)?)? * inner)?;
            (tanh + second)?.affine(0.5, 0.5)
        }
    }
}

/// The gradient of a norm's input. gradient and x: [n, width], weight: [width]; returns f32, [n, width].
///
/// `(g - mean(g) - z mean(g z)) / deviation`, where g is the gradient times the weights and z the normalized row. An RMS norm
/// subtracts no mean, and so has no second term.
pub(super) fn of_norm(gradient: &Tensor, x: &Tensor, weight: &Tensor, eps: f32, has_mean: bool) -> Result<Tensor> {
    let [gradient, x, weight] = [gradient, x, weight].map(|tensor| tensor.to_dtype(DType::F32));
    let mut x = x?;
    if has_mean {
        x = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    }
    let factor = (x.sqr()?.mean_keepdim(D::Minus1)? + f64::from(eps))?.sqrt()?.recip()?;
    let z = x.broadcast_mul(&factor)?;
    let mut g = gradient?.broadcast_mul(&weight?)?;
    let along = (&g * &z)?.mean_keepdim(D::Minus1)?;
    if has_mean {
        g = g.broadcast_sub(&g.mean_keepdim(D::Minus1)?)?;
    }
    (g - z.broadcast_mul(&along)?)?.broadcast_mul(&factor)
}
