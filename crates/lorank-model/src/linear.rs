//! Linear layers with low-rank updates, several adapters at once.

use lorank_kernels::Activation;

use crate::backend::Backend;
use crate::lora::Adapter;

/// `y = x Wᵀ + b`, and with an adapter `+ s (x Aᵀ) Bᵀ` (LoRA, arXiv 2106.09685).
#[derive(Debug)]
pub(crate) struct Linear<B: Backend> {
    /// The layer's index among the base model's adaptable layers.
    pub(crate) slot: usize,
    /// [n_out, n_in]
    pub(crate) weight: B::Matrix,
    /// [n_out]
    pub(crate) bias: Option<B::Vector>,
}

/// What an adapter changes in one linear layer.
#[derive(Debug)]
pub(crate) enum Delta<B: Backend> {
    /// A product of two thin matrices, added to the layer's own product.
    LowRank {
        /// [r, n_in]
        a: B::Matrix,
        /// [n_out, r]
        b: B::Matrix,
        scale: f64,
    },
    /// The whole layer, trained along (`modules_to_save`).
    Replaced {
        /// [n_out, n_in]
        weight: B::Matrix,
        /// [n_out]
        bias: Option<B::Vector>,
    },
}

/// Consecutive rows that are scored under one adapter, or under none.
pub(crate) struct AdapterRows<'a, B: Backend> {
    pub(crate) n_rows: usize,
    pub(crate) adapter: Option<&'a Adapter<B>>,
}

/// What comes right after a product: `activation(product + add)`.
pub(crate) struct Epilogue<'a, B: Backend> {
    /// [n, n_out], the shape of the product.
    pub(crate) add: Option<&'a B::Rows>,
    pub(crate) activation: Option<Activation>,
}

impl<B: Backend> Linear<B> {
    /// What an adapter changes in this layer.
    pub(crate) fn delta<'a>(&self, adapter: Option<&'a Adapter<B>>) -> Option<&'a Delta<B>> {
        adapter.and_then(|adapter| adapter.delta(self.slot))
    }

    /// The bytes that the weights take in memory.
    pub(crate) fn n_bytes(&self) -> usize {
        B::matrix_bytes(&self.weight)
    }
}

impl<'a, B: Backend> Epilogue<'a, B> {
    /// The product as it is.
    pub(crate) const NONE: Self = Self { add: None, activation: None };

    pub(crate) fn add(rows: &'a B::Rows) -> Self {
        Self { add: Some(rows), activation: None }
    }

    pub(crate) fn activate(activation: Activation) -> Self {
        Self { add: None, activation: Some(activation) }
    }
}
