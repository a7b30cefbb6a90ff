//! The compute backends: the operations of a transformer on one engine's types.
//!
//! Models are written once, over [`Backend`]. [`Kernels`] runs them on a CPU, [`Cuda`] on an NVIDIA GPU, and [`Candle`] on a
//! GPU, and on a CPU as the reference for testing the others. The operations are those that an engine can fuse: several linear layers with
//! the same input are one call, the operations after a product are its epilogue, and attention takes all sequences of a pass.
//!
//! [`Train`] and [`CandleTrain`] are the same engines [with gradients](WithGradients), for training adapters.
//!
//! To add a backend, implement the trait in a new file here and select it in [`load`](crate::load_model::load).

mod candle;
mod cuda;
mod kernels;
pub(crate) mod linear;
mod train;

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use lorank_kernels::{Activation, Span};

pub(crate) use self::candle::{Candle, CandleTrain};
pub(crate) use self::cuda::Cuda;
pub(crate) use self::kernels::Kernels;
use self::linear::{Epilogue, Linear, Modules, RowAdapters};
pub(crate) use self::train::Train;
use crate::ModelError;
use crate::attention::{Angles, AttentionShape};
use crate::budget::PassBudget;
use crate::clock::StageClock;
use crate::gpu_facts::GpuFacts;
use crate::precision::ChosenPrecision;
use crate::weights::Weights;

/// An engine on a device.
///
/// A row of a result depends only on its input row and its sequence, and not on other rows, their number, or the number
/// of threads; on a CPU bit for bit, on a GPU up to rounding. Therefore no score depends on its batch.
pub(crate) trait Backend: fmt::Debug + Sized + Send + Sync + 'static {
    /// Activations, [n_rows, width]: one row per token, without padding.
    type Rows: Clone;
    /// The weights of a linear layer, [n_out, n_in].
    type Matrix: fmt::Debug + Send + Sync;
    /// A bias or the weights of a norm, [len].
    type Vector: fmt::Debug + Send + Sync;
    /// An embedding table, [n_rows, width].
    type Embeddings: fmt::Debug + Send + Sync;
    /// Sines and cosines of rotary positions.
    type Rotary: fmt::Debug + Send + Sync;
    /// The sequences of a pass, laid out once for the attention of every layer.
    type AttentionPlan;
    /// What linear layers need to know of a pass's adapters, laid out once for every layer.
    type AdapterLayout;
    /// A point in the order of the operations of this thread.
    type Mark;
    /// Why an operation failed.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Whether each thread of the current pool runs its own forward passes. Otherwise passes run one after another.
    const RUNS_PASSES_IN_PARALLEL: bool;

    /// The engine's name, with the instruction set in use.
    fn name(&self) -> String;

    /// The device: `cpu`, `cuda` or `metal`.
    fn device(&self) -> &'static str;

    /// The precision of the base model's linear layers, and the reason for it.
    fn precision(&self) -> ChosenPrecision;

    /// What the GPU is, with its memory now; `None` if that is unknown. What the backend does not know is left at its default: the
    /// device's number, the model's weights and its halved passes.
    fn gpu(&self, _budget: &PassBudget) -> Option<GpuFacts> {
        None
    }

    /// What the processor can do at most, measured on all threads of the current pool; `None` if there is no measurement.
    fn peaks(&self) -> Option<Peaks> {
        None
    }

    /// Waits for all operations that this thread has started. On a GPU each thread has its own stream, and streams are
    /// not ordered: data loaded by one thread may be used by another only after this call.
    fn synchronize(&self) -> Result<(), Self::Error>;

    /// The clock by which marks measure time.
    fn clock(&self) -> StageClock {
        StageClock::Host
    }

    /// Marks the end of the operations that this thread has started so far.
    fn mark(&self) -> Result<Self::Mark, Self::Error>;

    /// The time between two marks. The operations before the second one must be complete.
    fn time_between(&self, start: &Self::Mark, end: &Self::Mark) -> Result<Duration, Self::Error>;

    /// The best number of tokens for a forward pass.
    fn tokens_max(&self) -> NonZeroUsize;

    /// Prepares for reading matrices of these shapes, one after another.
    fn before_reading(&self, _matrices: &[[usize; 2]], _storage: Storage) -> Result<(), Self::Error> {
        Ok(())
    }

    /// Prepares for the passes of a model that has been read, in place of an earlier call. Returns the number of tokens that memory
    /// was reserved for: the wanted one, or as many as fit; `None` if none is reserved.
    fn before_passes(&self, _modules: &Modules, _wanted: NonZeroUsize) -> Result<Option<NonZeroUsize>, Self::Error> {
        Ok(None)
    }

    /// Whether a pass over as many tokens as one may have is run when a model is loaded, so that missing memory shows then, and not
    /// with the first request: `Some` if so. Passes take as much memory as they do with adapters until it is dropped.
    fn warm_up(&self) -> Option<Arc<()>> {
        None
    }

    /// Whether a pass over fewer tokens may succeed.
    fn is_out_of_memory(_error: &Self::Error) -> bool {
        false
    }

    /// Reads a matrix. `adjust` changes each row before it is rounded to the storage format.
    ///
    /// The layers that [`linears`](Backend::linears) runs together are read consecutively.
    fn matrix(
        &self,
        weights: &mut Weights,
        tensor: &str,
        shape: [usize; 2],
        storage: Storage,
        adjust: Option<AdjustRow<'_>>,
    ) -> Result<Self::Matrix, ModelError>;

    /// A vector with these values.
    fn vector(&self, values: Vec<f32>) -> Result<Self::Vector, Self::Error>;

    /// Reads an embedding table.
    fn embeddings(
        &self,
        weights: &mut Weights,
        tensor: &str,
        shape: [usize; 2],
    ) -> Result<Self::Embeddings, ModelError>;

    /// The memory of a matrix, in bytes.
    fn matrix_bytes(matrix: &Self::Matrix) -> usize;

    /// The memory of an embedding table, in bytes.
    fn embeddings_bytes(embeddings: &Self::Embeddings) -> usize;

    /// For each token the sum of one row of each table: [n_tokens, width]. All tables have equally many ids.
    fn look_up(&self, first: Lookup<'_, Self>, others: &[Lookup<'_, Self>]) -> Result<Self::Rows, Self::Error>;

    /// A linear layer with its adapters and epilogue. x: [n, n_in]; returns [n, n_out].
    fn linear(
        &self,
        layer: &Linear<Self>,
        x: &Self::Rows,
        adapters: &RowAdapters<'_, Self>,
        epilogue: &Epilogue<'_, Self>,
    ) -> Result<Self::Rows, Self::Error>;

    /// Several linear layers with the same input. x: [n, n_in]; returns [n, n_out] for each layer.
    fn linears<const N: usize>(
        &self,
        layers: [&Linear<Self>; N],
        x: &Self::Rows,
        adapters: &RowAdapters<'_, Self>,
    ) -> Result<[Self::Rows; N], Self::Error>;

    /// Layer norm of each row (arXiv 1607.06450). x: [n, width], weight and bias: [width]; returns [n, width].
    fn layer_norm(
        &self,
        x: Cow<'_, Self::Rows>,
        weight: &Self::Vector,
        bias: &Self::Vector,
        eps: f32,
    ) -> Result<Self::Rows, Self::Error>;

    /// RMS norm of each row (arXiv 1910.07467). x: [n, width], weight: [width]; returns [n, width].
    fn rms_norm(&self, x: Cow<'_, Self::Rows>, weight: &Self::Vector, eps: f32) -> Result<Self::Rows, Self::Error>;

    /// `activation(gate) * up` (SwiGLU and GeGLU, arXiv 2002.05202). Arguments and result: [n, width].
    fn gated(&self, gate: Self::Rows, up: &Self::Rows, activation: Activation) -> Result<Self::Rows, Self::Error>;

    /// The same with the gate and what it multiplies in one row, in the order of `order`: [n, 2 * width]; returns [n, width].
    fn gated_halves(
        &self,
        both: &Self::Rows,
        order: Halves,
        activation: Activation,
    ) -> Result<Self::Rows, Self::Error> {
        let [first, second] = self.split(both)?;
        match order {
            Halves::GateFirst => self.gated(first, &second, activation),
            Halves::GateLast => self.gated(second, &first, activation),
        }
    }

    /// Lays out rotary positions for the passes that follow.
    fn rotary(&self, angles: Angles) -> Result<Self::Rotary, Self::Error>;

    /// Lays out the sequences of a pass; with `rotary`, attention applies rotary positions to queries and keys.
    fn attention_plan(
        &self,
        shape: &AttentionShape,
        spans: Vec<Span>,
        rotary: Option<&Arc<Self::Rotary>>,
    ) -> Result<Self::AttentionPlan, Self::Error>;

    /// Attention within each sequence of the plan. It may change the rows in place, so no clone of them may be read later.
    ///
    /// q: [n_queries, n_heads * head_dim], k and v: [n_tokens, n_kv_heads * head_dim]; the result has q's shape.
    fn attention(&self, plan: &Self::AttentionPlan, qkv: [Self::Rows; 3]) -> Result<Self::Rows, Self::Error>;

    /// The same with a token's query, key and value in one row: [n_tokens, 3 * n_heads * head_dim]; returns [n_tokens, n_heads *
    /// head_dim].
    fn joint_attention(&self, plan: &Self::AttentionPlan, qkv: Self::Rows) -> Result<Self::Rows, Self::Error> {
        let [q, k, v] = self.split(&qkv)?;
        self.attention(plan, [q, k, v])
    }

    /// The rows at these indices, in their order: [indices.len(), width].
    fn gather(&self, rows: &Self::Rows, indices: &[usize]) -> Result<Self::Rows, Self::Error>;

    /// Splits each row into N equal parts. rows: [n, N * width]; returns [n, width] for each part.
    fn split<const N: usize>(&self, rows: &Self::Rows) -> Result<[Self::Rows; N], Self::Error>;

    /// The mean of the rows of each range. rows: [n, width]; returns [ranges.len(), width]. No range is empty.
    fn mean(&self, rows: &Self::Rows, ranges: &[Range<usize>]) -> Result<Self::Rows, Self::Error>;

    /// Concatenates rows. Each part: [n, width]; returns [sum of n, width].
    fn concat(&self, parts: Vec<Self::Rows>) -> Result<Self::Rows, Self::Error>;

    /// The same numbers in rows of another width. rows: [n, width]; returns [n * width / new width, new width].
    fn reshape(&self, rows: Self::Rows, width: usize) -> Result<Self::Rows, Self::Error>;

    /// Multiplies every number by a factor.
    fn scale(&self, rows: Self::Rows, factor: f32) -> Result<Self::Rows, Self::Error>;

    /// Adds values to rows. x: [n, width], values: [n * width], row by row.
    fn add_values(&self, x: Self::Rows, values: Vec<f32>) -> Result<Self::Rows, Self::Error>;

    /// All values, row by row: [n_rows * width].
    fn numbers<'a>(&self, rows: &'a Self::Rows) -> Result<Cow<'a, [f32]>, Self::Error>;

    /// Marks the states after a layer. A backend with gradients may keep only these rows, and compute the rows between them again
    /// in the backward pass (activation checkpointing, arXiv 1604.06174).
    fn after_layer(&self, rows: Self::Rows) -> Result<Self::Rows, Self::Error> {
        Ok(rows)
    }
}

/// A backend with gradients of the matrices of low-rank updates. The base model is frozen.
pub(crate) trait WithGradients: Backend {
    /// A trained matrix, laid out for forward passes.
    type Parameter: fmt::Debug + Send + Sync + 'static;
    /// The dropout of a pass.
    type Dropouts;

    /// Lays out a trained matrix of this shape, row by row.
    fn parameter(&self, values: &[f32], shape: [usize; 2]) -> Result<Self::Parameter, Self::Error>;

    /// Prepares the dropout of a pass.
    fn dropouts(&self, dropout: PassDropout) -> Result<Self::Dropouts, Self::Error>;

    /// A trained matrix in a pass without gradients.
    fn frozen(parameter: &Self::Parameter) -> Self::Matrix;

    /// The matrices of a low-rank update, the number of its layer among those with an update, in a pass with gradients. Their own
    /// numbers among the parameters are `2 * number` and `2 * number + 1`.
    fn trained(update: &[Self::Parameter; 2], number: usize, dropouts: &Self::Dropouts) -> [Self::Matrix; 2];

    /// This backend for passes with gradients, whose rows remember how they were computed.
    fn recording(&self) -> Self;

    /// Adds the gradients of all matrices that `rows` depend on, given that of the rows, [n_rows, width].
    ///
    /// `parameters` has a gradient for each matrix's number: of the first matrix of an update [r, n_in], and of the second one
    /// transposed [r, n_out].
    fn add_gradients(
        &self,
        rows: Self::Rows,
        gradient: Vec<f32>,
        parameters: &mut [Vec<f32>],
    ) -> Result<(), Self::Error>;
}

/// Dropout of the inputs of a pass's low-rank updates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct PassDropout {
    /// From 0 to below 1.
    pub(crate) probability: f32,
    /// Passes with equal seeds drop the same inputs.
    pub(crate) seed: u64,
    /// The number of tokens of the pass, or more.
    pub(crate) n_tokens: usize,
    /// The width of the widest input.
    pub(crate) width_max: usize,
}

/// Multiply-adds a second of a thread, by the instructions of a stage, without reading memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peaks {
    /// Of linear layers.
    pub linear: f64,
    /// Of attention.
    pub attention: f64,
}

/// Changes a row of a matrix, given its index.
pub(crate) type AdjustRow<'a> = &'a dyn Fn(usize, &mut [f32]);

/// An embedding table, and the row id of each token.
pub(crate) type Lookup<'a, B> = (&'a <B as Backend>::Embeddings, &'a [u32]);

/// The order of a gate and what it multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Halves {
    GateFirst,
    GateLast,
}

/// The storage format of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Storage {
    /// The backend's precision: linear layers of the base model, and those that replace them.
    Precision,
    /// bf16 if the file has bf16, else f32: low-rank updates take no more memory than their file. Also bf16 where products in f32
    /// would take longer than those of the base model.
    AsInFile,
}

/// Maps each item; returns the first error.
fn try_map<T, U, E, const N: usize>(items: [T; N], run: impl FnMut(T) -> Result<U, E>) -> Result<[U; N], E> {
    let mut results = items.into_iter().map(run).collect::<Result<Vec<U>, E>>()?.into_iter();
    Ok(std::array::from_fn(|_| results.next().expect("each item has a result")))
}
