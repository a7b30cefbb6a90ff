//! What computes a forward pass: the operations of a transformer on the types of one engine.
//!
//! Models are written once, over [`Backend`]. [`Kernels`] runs them on a CPU. [`Candle`] runs them on a GPU, and on a CPU as
//! the reference that the kernels are judged by. The operations are the steps that an engine can fuse: several linear layers
//! that read one input are one call, what follows a product is its epilogue, and attention takes all sequences of a pass.
//!
//! To add a backend, implement the trait in a file here and choose it in [`load`](crate::model::load).

mod candle;
mod kernels;
pub(crate) mod linear;

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroUsize;

use lorank_kernels::Span;

pub(crate) use self::candle::Candle;
pub(crate) use self::kernels::Kernels;
use self::linear::{AdapterRows, Epilogue, Linear};
use crate::ModelError;
use crate::attention::{Angles, AttentionShape};
use crate::precision::ChosenPrecision;
use crate::weights::Weights;

/// An engine, and where it runs.
///
/// A row of a result depends on that row of the input alone, and on the sequence that it belongs to: not on the other rows,
/// their number, or the number of threads; on a CPU to the bit, on a GPU up to rounding. So no score depends on its batch.
pub(crate) trait Backend: fmt::Debug + Sized + Send + Sync + 'static {
    /// Activations, [n_rows, width]: one row per token, without padding between sequences.
    type Rows: Clone;
    /// The weights of a linear layer, [n_out, n_in].
    type Matrix: fmt::Debug + Send + Sync;
    /// A bias or the weights of a norm, [len].
    type Vector: fmt::Debug + Send + Sync;
    /// An embedding table, [n_rows, width].
    type Embeddings: fmt::Debug + Send + Sync;
    /// The sequences of a pass, laid out once for the attention of every layer.
    type AttentionPlan<'a>;
    /// Why an operation failed.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Whether each thread of the current pool runs forward passes of its own. Otherwise they run one after another.
    const RUNS_PASSES_IN_PARALLEL: bool;

    /// What computes, with the instructions that were found.
    fn name(&self) -> String;

    /// Where it computes: `cpu`, `cuda` or `metal`.
    fn device(&self) -> &'static str;

    /// The precision of the base model's linear layers, and why it was taken.
    fn precision(&self) -> ChosenPrecision;

    /// Waits for all that this thread has asked the device to do. Each thread has a stream of its own on a GPU, and streams are not
    /// ordered among each other: what one has loaded, another may use only after this.
    fn synchronize(&self) -> Result<(), Self::Error>;

    /// How many tokens are best run together in a forward pass.
    fn tokens_max(&self) -> NonZeroUsize;

    /// Reads a matrix. `adjust` may change each row before it is rounded to the format that it is stored in.
    ///
    /// The layers that [`linears`](Backend::linears) runs together are read one after another.
    fn matrix(
        &self,
        weights: &mut Weights,
        tensor: &str,
        shape: [usize; 2],
        storage: Storage,
        adjust: impl FnMut(usize, &mut [f32]),
    ) -> Result<Self::Matrix, ModelError>;

    /// A vector of these numbers.
    fn vector(&self, values: Vec<f32>) -> Result<Self::Vector, Self::Error>;

    /// Reads an embedding table.
    fn embeddings(
        &self,
        weights: &mut Weights,
        tensor: &str,
        shape: [usize; 2],
    ) -> Result<Self::Embeddings, ModelError>;

    /// The bytes that a matrix takes in memory.
    fn matrix_bytes(matrix: &Self::Matrix) -> usize;

    /// The bytes that an embedding table takes in memory.
    fn embeddings_bytes(embeddings: &Self::Embeddings) -> usize;

    /// For each token the sum of one row of each table, [n_tokens, width]. Every table has as many ids as the first.
    fn look_up(&self, first: Lookup<'_, Self>, others: &[Lookup<'_, Self>]) -> Result<Self::Rows, Self::Error>;

    /// A linear layer with its adapters and what follows it. x: [n, n_in]; the result: [n, n_out].
    fn linear(
        &self,
        layer: &Linear<Self>,
        x: &Self::Rows,
        adapters: &[AdapterRows<'_, Self>],
        epilogue: &Epilogue<'_, Self>,
    ) -> Result<Self::Rows, Self::Error>;

    /// Several linear layers of one input. x: [n, n_in]; the results: [n, n_out] of each layer.
    fn linears<const N: usize>(
        &self,
        layers: [&Linear<Self>; N],
        x: &Self::Rows,
        adapters: &[AdapterRows<'_, Self>],
    ) -> Result<[Self::Rows; N], Self::Error>;

    /// Layer norm of each row (arXiv 1607.06450). x: [n, width], weight and bias: [width]; the result: [n, width].
    fn layer_norm(
        &self,
        x: Cow<'_, Self::Rows>,
        weight: &Self::Vector,
        bias: &Self::Vector,
        eps: f32,
    ) -> Result<Self::Rows, Self::Error>;

    /// RMS norm of each row (arXiv 1910.07467). x: [n, width], weight: [width]; the result: [n, width].
    fn rms_norm(&self, x: Cow<'_, Self::Rows>, weight: &Self::Vector, eps: f32) -> Result<Self::Rows, Self::Error>;

    /// `silu(gate) * up` (SwiGLU, arXiv 2002.05202). Both: [n, width]; the result too.
    fn gated(&self, gate: Self::Rows, up: &Self::Rows) -> Result<Self::Rows, Self::Error>;

    /// Lays out the sequences of a pass; with `angles`, queries and keys are turned by their positions.
    fn attention_plan<'a>(
        &self,
        shape: &AttentionShape,
        spans: Vec<Span>,
        angles: Option<&'a Angles>,
    ) -> Result<Self::AttentionPlan<'a>, Self::Error>;

    /// Attention within each sequence of the plan.
    ///
    /// q: [n_queries, n_heads * head_dim], k and v: [n_tokens, n_kv_heads * head_dim]; the result has q's shape.
    fn attention(&self, plan: &Self::AttentionPlan<'_>, qkv: [&Self::Rows; 3]) -> Result<Self::Rows, Self::Error>;

    /// The rows at these indices, in their order: [indices.len(), width].
    fn gather(&self, rows: &Self::Rows, indices: &[usize]) -> Result<Self::Rows, Self::Error>;

    /// Rows one after another. Each part: [n, width]; the result: [sum of n, width].
    fn concat(&self, parts: Vec<Self::Rows>) -> Result<Self::Rows, Self::Error>;

    /// Adds numbers to rows. x: [n, width], values: as many numbers, row by row.
    fn add_values(&self, x: Self::Rows, values: Vec<f32>) -> Result<Self::Rows, Self::Error>;

    /// All numbers, row by row: [n_rows * width].
    fn numbers<'a>(&self, rows: &'a Self::Rows) -> Result<Cow<'a, [f32]>, Self::Error>;
}

/// An embedding table, and the row of it that each token looks up.
pub(crate) type Lookup<'a, B> = (&'a <B as Backend>::Embeddings, &'a [u32]);

/// How the numbers of a matrix are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Storage {
    /// In the backend's precision: the linear layers of the base model, and those that replace them.
    Precision,
    /// In bf16 where the file has bf16, else in f32: low-rank updates take no more memory than their file.
    AsInFile,
}

/// Does something to each item; the first error where there is one.
fn try_map<T, U, E, const N: usize>(items: [T; N], run: impl FnMut(T) -> Result<U, E>) -> Result<[U; N], E> {
    let mut results = items.into_iter().map(run).collect::<Result<Vec<U>, E>>()?.into_iter();
    Ok(std::array::from_fn(|_| results.next().expect("there is a result for each item")))
}
