//! Linear layers with low-rank updates, several adapters at once.

use std::cell::OnceCell;
use std::ops::Deref;

use lorank_kernels::Activation;

use super::Backend;
use crate::head::Head;

/// `y = x Wᵀ + b`, and with an adapter `+ s (x Aᵀ) Bᵀ` (LoRA, arXiv 2106.09685).
#[derive(Debug)]
pub(crate) struct Linear<B: Backend> {
    /// The layer's index among the base model's adaptable layers.
    pub(crate) slot: usize,
    /// [n_out, n_in]
    pub(crate) weight: B::Matrix,
    /// n_out * n_in
    pub(crate) n_weights: usize,
    /// [n_out]
    pub(crate) bias: Option<B::Vector>,
}

/// An adapter's change to one linear layer.
#[derive(Debug)]
pub(crate) struct Delta<B: Backend> {
    pub(crate) weight: WeightDelta<B>,
    /// Replaces the layer's bias. [n_out]
    pub(crate) bias: Option<B::Vector>,
}

/// An adapter's change to the weights of one linear layer.
#[derive(Debug)]
pub(crate) enum WeightDelta<B: Backend> {
    /// No change.
    None,
    /// Adds a product of two low-rank matrices to the layer's product.
    LowRank {
        /// [r, n_in]
        a: B::Matrix,
        /// [n_out, r]
        b: B::Matrix,
        scale: f64,
    },
    /// Replaces the matrix, which was fully trained (`modules_to_save`). [n_out, n_in]
    Replaced(B::Matrix),
}

/// Replaces a norm's weights and bias.
#[derive(Debug)]
pub(crate) struct NormDelta<B: Backend> {
    /// [hidden]
    pub(crate) weight: Option<B::Vector>,
    /// [hidden]
    pub(crate) bias: Option<B::Vector>,
}

/// A low-rank update of an embedding table, to which `scale * b a` is added.
#[derive(Debug)]
pub(crate) struct TableDelta {
    /// [n_rows, r]: the transpose of PEFT's matrix, because lookups read one of its columns at a time.
    pub(crate) a: Vec<f32>,
    /// [width, r]
    pub(crate) b: Vec<f32>,
    pub(crate) rank: usize,
    pub(crate) scale: f64,
}

impl TableDelta {
    /// Adds the update of a table row to `row`: [width].
    pub(crate) fn add_row(&self, id: u32, row: &mut [f32]) {
        let a = &self.a[id as usize * self.rank..][..self.rank];
        for (x, b) in row.iter_mut().zip(self.b.chunks(self.rank)) {
            let sum: f64 = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            *x += (self.scale * sum) as f32;
        }
    }
}

/// A linear layer of the base model that adapters may change.
#[derive(Debug, Clone)]
pub(crate) struct Module {
    /// Its name in the checkpoint, without `.weight`.
    pub(crate) name: String,
    pub(crate) n_in: usize,
    pub(crate) n_out: usize,
    /// [n_out]
    pub(crate) bias: Option<Vec<f32>>,
}

/// A norm that adapters may change.
#[derive(Debug, Clone)]
pub(crate) struct NormModule {
    pub(crate) name: String,
    pub(crate) width: usize,
    pub(crate) has_bias: bool,
    /// What is added to its weights in the file.
    pub(crate) offset: f32,
}

/// An embedding table that adapters may change.
#[derive(Debug, Clone)]
pub(crate) struct TableModule {
    pub(crate) name: String,
    pub(crate) n_rows: usize,
    pub(crate) width: usize,
}

/// The parts of a base model that adapters may change, except the head. A module's slot is its index in its list.
#[derive(Debug, Default)]
pub(crate) struct Modules {
    pub(crate) linears: Vec<Module>,
    pub(crate) norms: Vec<NormModule>,
    pub(crate) tables: Vec<TableModule>,
}

/// The weights of an adapter, laid out for a base model.
#[derive(Debug)]
pub(crate) struct Adapter<B: Backend> {
    /// The change to each linear layer of the base model, by slot.
    pub(crate) deltas: Vec<Option<Delta<B>>>,
    /// The same for each norm.
    pub(crate) norms: Vec<Option<NormDelta<B>>>,
    /// The same for each embedding table.
    pub(crate) tables: Vec<Option<TableDelta>>,
    pub(crate) head: Option<Head>,
    pub(crate) n_parameters: usize,
    pub(crate) n_targets: usize,
}

/// Consecutive rows with the same adapter, or without one.
pub(crate) struct AdapterRows<'a, B: Backend> {
    pub(crate) n_rows: usize,
    pub(crate) adapter: Option<&'a Adapter<B>>,
}

/// The adapters of a pass's rows, in the order of the rows.
pub(crate) struct RowAdapters<'a, B: Backend> {
    rows: Vec<AdapterRows<'a, B>>,
    layout: OnceCell<B::AdapterLayout>,
}

impl<'a, B: Backend> RowAdapters<'a, B> {
    pub(crate) fn new(rows: Vec<AdapterRows<'a, B>>) -> Self {
        Self { rows, layout: OnceCell::new() }
    }

    /// The backend's layout, made by the first call.
    pub(crate) fn layout(
        &self,
        make: impl FnOnce(&[AdapterRows<'a, B>]) -> Result<B::AdapterLayout, B::Error>,
    ) -> Result<&B::AdapterLayout, B::Error> {
        match self.layout.get() {
            Some(layout) => Ok(layout),
            None => {
                let layout = make(&self.rows)?;
                Ok(self.layout.get_or_init(|| layout))
            }
        }
    }
}

impl<'a, B: Backend> Deref for RowAdapters<'a, B> {
    type Target = [AdapterRows<'a, B>];

    fn deref(&self) -> &Self::Target {
        &self.rows
    }
}

/// The operations fused after a product: `activation(product + add)`.
pub(crate) struct Epilogue<'a, B: Backend> {
    /// [n, n_out], the shape of the product.
    pub(crate) add: Option<&'a B::Rows>,
    pub(crate) activation: Option<Activation>,
}

impl<B: Backend> Linear<B> {
    /// The adapter's change to this layer.
    pub(crate) fn delta<'a>(&self, adapter: Option<&'a Adapter<B>>) -> Option<&'a Delta<B>> {
        adapter.and_then(|adapter| adapter.delta(self.slot))
    }

    /// The memory of the weights, in bytes.
    pub(crate) fn n_bytes(&self) -> usize {
        B::matrix_bytes(&self.weight)
    }
}

impl<'a, B: Backend> Epilogue<'a, B> {
    /// The product unchanged.
    pub(crate) const NONE: Self = Self { add: None, activation: None };

    pub(crate) fn add(rows: &'a B::Rows) -> Self {
        Self { add: Some(rows), activation: None }
    }

    pub(crate) fn activate(activation: Activation) -> Self {
        Self { add: None, activation: Some(activation) }
    }
}

impl<B: Backend> Adapter<B> {
    /// The change to the layer of this slot.
    pub(crate) fn delta(&self, slot: usize) -> Option<&Delta<B>> {
        self.deltas[slot].as_ref()
    }

    /// The adapter without its low-rank updates, for weights that they are merged into.
    pub(crate) fn without_updates(mut self) -> Self {
        for delta in &mut self.deltas {
            if let Some(Delta { weight: weight @ WeightDelta::LowRank { .. }, .. }) = delta {
                *weight = WeightDelta::None;
            }
            delta.take_if(|delta| matches!(delta, Delta { weight: WeightDelta::None, bias: None }));
        }
        self
    }
}
