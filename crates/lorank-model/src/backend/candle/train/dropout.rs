//! Dropout on a device: each matrix has a window of numbers that are drawn once for a pass.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};
use lorank_core::split_mix;
use lorank_kernels::{Dropout, Isa};

use crate::backend::PassDropout;

/// The number of different windows. Two matrices of a pass rarely have the same one.
const N_WINDOWS: usize = 1 << 16;

/// The width of the rows in which numbers are drawn.
const DRAWN: usize = 4096;

/// The factors of all inputs of a pass.
///
/// To draw them for each matrix would take longer than the pass, and candle has no integer operations with which a device could
/// compute them where they are needed, as the kernels do.
#[derive(Debug, Clone)]
pub(crate) struct Factors {
    /// Zero for dropped inputs. `None` without dropout.
    drawn: Option<Arc<Tensor>>,
    seed: u64,
}

/// The factors of a matrix's inputs.
#[derive(Debug, Clone)]
pub(super) struct Window {
    drawn: Arc<Tensor>,
    start: usize,
}

impl Factors {
    pub(super) fn draw(dropout: &PassDropout, isa: Isa, device: &Device) -> Result<Self> {
        let draw = |drawn: Dropout| {
            let len = (dropout.n_tokens * dropout.width_max + N_WINDOWS).next_multiple_of(DRAWN);
            let factors = drawn.of(&vec![1.0; len], DRAWN, isa);
            Tensor::from_vec(factors, len, device)?.to_dtype(DType::F32).map(Arc::new)
        };
        let drawn = Dropout::new(dropout.probability, dropout.seed).map(draw).transpose()?;
        Ok(Self { drawn, seed: dropout.seed })
    }

    /// The window of a layer's update.
    pub(super) fn window(&self, number: usize) -> Option<Window> {
        let start = split_mix(self.seed.wrapping_add(number as u64)) as usize % N_WINDOWS;
        self.drawn.clone().map(|drawn| Window { drawn, start })
    }
}

impl Window {
    /// Drops numbers of a matrix of f32. x: [n, width]; returns the same shape.
    pub(super) fn of(&self, x: &Tensor) -> Result<Tensor> {
        x * self.drawn.narrow(0, self.start, x.elem_count())?.reshape(x.shape())?
    }
}
