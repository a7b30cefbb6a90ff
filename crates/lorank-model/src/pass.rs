//! One forward pass over one pack: what its layers share, and where its time goes.

use std::borrow::Cow;
use std::cell::RefCell;
use std::time::{Duration, Instant};

use crate::attention::{Angles, AttentionShape};
use crate::backend::Backend;
use crate::backend::linear::{AdapterRows, Epilogue, Linear};
use crate::embedding::{self, Table};
use crate::norm::Norm;
use crate::pack::Pack;

/// A pack on its way through a model.
pub(crate) struct Pass<'a, B: Backend> {
    pub(crate) backend: &'a B,
    pub(crate) pack: &'a Pack<'a, B>,
    /// The adapters of all rows.
    pub(crate) adapters: Vec<AdapterRows<'a, B>>,
    /// The adapters of the scored rows.
    pub(crate) scored_adapters: Vec<AdapterRows<'a, B>>,
    times: RefCell<StageTimes>,
}

/// The attention of a pass: of all rows, and in the last layer of the scored ones.
pub(crate) struct PassAttention<'a, B: Backend> {
    all: B::AttentionPlan<'a>,
    scored: B::AttentionPlan<'a>,
}

/// What goes on after attention.
pub(crate) struct Attended<'p, 'a, B: Backend> {
    /// The mixed values, [n, n_heads * head_dim].
    pub(crate) mixed: B::Rows,
    /// The rows of the layer's input that go on with them, [n, hidden].
    pub(crate) x: B::Rows,
    /// The adapters of those rows.
    pub(crate) adapters: &'p [AdapterRows<'a, B>],
}

/// A stage of a forward pass, whose time is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Embedding,
    Linear,
    Attention,
    Activation,
    Norm,
}

/// How long the stages of forward passes took, the times of all threads together, and over how many tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StageTimes {
    /// Turning texts into token ids.
    pub tokenise: Duration,
    /// Looking up embeddings.
    pub embedding: Duration,
    /// Linear layers: the products with the base model's weights and with adapters', and of BERT the activations too, which
    /// are done while the sums are at hand.
    pub linear: Duration,
    /// Attention: products of queries, keys and values, softmax, rotary positions.
    pub attention: Duration,
    /// What stands between Llama's gate and up projections and its down projection.
    pub activation: Duration,
    /// Norms.
    pub norm: Duration,
    /// How many tokens went through the model.
    pub n_tokens: usize,
}

impl StageTimes {
    /// Each stage by its name; the whole is their sum.
    pub fn by_name(&self) -> [(&'static str, Duration); 6] {
        [
            ("tokenise", self.tokenise),
            ("embedding", self.embedding),
            ("linear", self.linear),
            ("attention", self.attention),
            ("activation", self.activation),
            ("norm", self.norm),
        ]
    }

    /// Adds other times to these.
    pub fn add(&mut self, other: &Self) {
        self.tokenise += other.tokenise;
        self.embedding += other.embedding;
        self.linear += other.linear;
        self.attention += other.attention;
        self.activation += other.activation;
        self.norm += other.norm;
        self.n_tokens += other.n_tokens;
    }
}

impl<'a, B: Backend> Pass<'a, B> {
    pub(crate) fn new(backend: &'a B, pack: &'a Pack<'a, B>) -> Self {
        Self {
            backend,
            pack,
            adapters: pack.adapter_rows(),
            scored_adapters: pack.scored_adapter_rows(),
            times: RefCell::default(),
        }
    }

    /// How long each stage has taken so far.
    pub(crate) fn times(&self) -> StageTimes {
        *self.times.borrow()
    }

    /// Runs something and adds the time that it took to a stage's.
    pub(crate) fn time<T>(&self, stage: Stage, run: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let value = run();
        let mut times = self.times.borrow_mut();
        *match stage {
            Stage::Embedding => &mut times.embedding,
            Stage::Linear => &mut times.linear,
            Stage::Attention => &mut times.attention,
            Stage::Activation => &mut times.activation,
            Stage::Norm => &mut times.norm,
        } += started.elapsed();
        value
    }

    /// A linear layer alone with its input. x: [n, n_in]; the result: [n, n_out].
    pub(crate) fn linear(
        &self,
        layer: &Linear<B>,
        x: &B::Rows,
        adapters: &[AdapterRows<'_, B>],
        epilogue: &Epilogue<'_, B>,
    ) -> Result<B::Rows, B::Error> {
        self.time(Stage::Linear, || self.backend.linear(layer, x, adapters, epilogue))
    }

    /// Several linear layers of one input. x: [n, n_in]; the results: [n, n_out] of each layer.
    pub(crate) fn linears<const N: usize>(
        &self,
        layers: [&Linear<B>; N],
        x: &B::Rows,
        adapters: &[AdapterRows<'_, B>],
    ) -> Result<[B::Rows; N], B::Error> {
        self.time(Stage::Linear, || self.backend.linears(layers, x, adapters))
    }

    /// A norm of each row. x: [n, hidden]; the result: [n, hidden].
    pub(crate) fn norm(
        &self,
        norm: &Norm<B>,
        x: Cow<'_, B::Rows>,
        adapters: &[AdapterRows<'_, B>],
    ) -> Result<B::Rows, B::Error> {
        self.time(Stage::Norm, || norm.forward(self.backend, x, adapters))
    }

    /// For each token the sum of one row of each table, [n_tokens, width].
    pub(crate) fn look_up(&self, tables: &[(&Table<B>, &[u32])], width: usize) -> Result<B::Rows, B::Error> {
        self.time(Stage::Embedding, || embedding::look_up(self.backend, tables, width, &self.adapters))
    }

    /// Lays out the pack's sequences for the attention of every layer.
    pub(crate) fn plan_attention<'t>(
        &self,
        shape: &AttentionShape,
        angles: Option<&'t Angles>,
    ) -> Result<PassAttention<'t, B>, B::Error> {
        self.time(Stage::Attention, || {
            let plan = |spans| self.backend.attention_plan(shape, spans, angles);
            Ok(PassAttention { all: plan(self.pack.spans())?, scored: plan(self.pack.scored_spans())? })
        })
    }

    /// Attention with its query, key and value layers, after a norm where there is one. x: [n_tokens, hidden].
    ///
    /// All rows go on after it, or in the last layer the scored ones, since nothing reads the others.
    pub(crate) fn attention(
        &self,
        attention: &PassAttention<'_, B>,
        [q, k, v]: [&Linear<B>; 3],
        x: B::Rows,
        norm: Option<&Norm<B>>,
        is_last: bool,
    ) -> Result<Attended<'_, 'a, B>, B::Error> {
        let normed = norm.map(|norm| self.norm(norm, Cow::Borrowed(&x), &self.adapters)).transpose()?;
        let input = normed.as_ref().unwrap_or(&x);
        let mix = |plan, qkv| self.time(Stage::Attention, || self.backend.attention(plan, qkv));
        if !is_last {
            let [q, k, v] = self.linears([q, k, v], input, &self.adapters)?;
            return Ok(Attended { mixed: mix(&attention.all, [&q, &k, &v])?, x, adapters: &self.adapters });
        }
        let rows = self.pack.scored_rows();
        let [k, v] = self.linears([k, v], input, &self.adapters)?;
        let scored_input = self.backend.gather(input, &rows)?;
        let q = self.linear(q, &scored_input, &self.scored_adapters, &Epilogue::NONE)?;
        let mixed = mix(&attention.scored, [&q, &k, &v])?;
        Ok(Attended { mixed, x: self.backend.gather(&x, &rows)?, adapters: &self.scored_adapters })
    }
}
