//! A forward pass over one pack: the data shared by its layers, and its timings.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::time::Duration;

use lorank_kernels::Span;

use crate::Measure;
use crate::attention::AttentionShape;
use crate::backend::Backend;
use crate::backend::linear::{AdapterRows, Epilogue, Linear, RowAdapters};
use crate::embedding::{self, Table};
use crate::norm::{HeadNorm, Norm};
use crate::pack::Pack;
use crate::rotary::RotaryTable;

/// The state of a forward pass over a pack.
pub(crate) struct Pass<'a, B: Backend> {
    pub(crate) backend: &'a B,
    pub(crate) pack: &'a Pack<'a, B>,
    /// The adapters of all rows.
    pub(crate) adapters: RowAdapters<'a, B>,
    /// The adapters of the scored rows.
    pub(crate) scored_adapters: RowAdapters<'a, B>,
    measure: Measure,
    /// The measured stages so far, in their order.
    stages: RefCell<Vec<MarkedStage<B>>>,
    /// The multiply-adds of linear layers and of attention.
    linear_products: Cell<u64>,
    attention_products: Cell<u64>,
}

/// What a pass leaves behind: its times can be read when its operations are complete.
pub(crate) struct PassRecord<B: Backend> {
    stages: Vec<MarkedStage<B>>,
    /// The numbers of tokens and of multiply-adds.
    counts: StageTimes,
}

/// A stage with its start and its end.
struct MarkedStage<B: Backend> {
    stage: Stage,
    start: B::Mark,
    end: B::Mark,
}

/// The attention plans of a pass: for all rows, and for the scored rows in the last layer.
pub(crate) struct PassAttention<B: Backend> {
    all: PlanOfSpans<B>,
    scored: PlanOfSpans<B>,
}

/// A plan with the number of its multiply-adds.
struct PlanOfSpans<B: Backend> {
    plan: B::AttentionPlan,
    n_products: u64,
}

/// The norms within the attention of a layer.
pub(crate) struct Norms<'l, B: Backend> {
    /// Of the layer's input.
    pub(crate) input: Option<&'l Norm<B>>,
    /// Of each head's queries and keys.
    pub(crate) heads: Option<&'l [HeadNorm<B>; 2]>,
}

impl<B: Backend> Norms<'_, B> {
    /// No norms.
    pub(crate) const NONE: Self = Self { input: None, heads: None };
}

/// The result of attention.
pub(crate) struct Attended<'p, 'a, B: Backend> {
    /// The attention output: [n, n_heads * head_dim].
    pub(crate) mixed: B::Rows,
    /// The corresponding rows of the layer's input: [n, hidden].
    pub(crate) x: B::Rows,
    /// The adapters of those rows.
    pub(crate) adapters: &'p RowAdapters<'a, B>,
}

/// A measured stage of a forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Embedding,
    Linear,
    Attention,
    Activation,
    Norm,
}

/// The time of each stage of forward passes, summed over threads, and the number of tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StageTimes {
    /// Turning texts into token ids.
    pub tokenise: Duration,
    /// Whole forward passes, summed over a CPU's threads, or over GPUs. The stages below are parts of it, and zero if they
    /// [were not measured](Measure::Total).
    pub forward: Duration,
    /// Embedding lookups.
    pub embedding: Duration,
    /// Linear layers: products with the base model's and adapters' weights, and for BERT the activations that are fused
    /// with them.
    pub linear: Duration,
    /// Attention: products, softmax, rotary positions.
    pub attention: Duration,
    /// Gates: the activation between Llama's gate and up projections and its down projection, and ModernBERT's.
    pub activation: Duration,
    /// Norms.
    pub norm: Duration,
    /// The number of tokens that went through the model.
    pub n_tokens: usize,
    /// The multiply-adds of rows with the base model's weights in linear layers; those of adapters are not counted.
    pub linear_products: u64,
    /// The multiply-adds of attention: of queries with the keys that they attend to, and of these weights with values.
    pub attention_products: u64,
}

impl StageTimes {
    /// Each stage by name.
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

    /// Adds other times.
    pub fn add(&mut self, other: &Self) {
        self.tokenise += other.tokenise;
        self.forward += other.forward;
        self.embedding += other.embedding;
        self.linear += other.linear;
        self.attention += other.attention;
        self.activation += other.activation;
        self.norm += other.norm;
        self.n_tokens += other.n_tokens;
        self.linear_products += other.linear_products;
        self.attention_products += other.attention_products;
    }
}

impl<B: Backend> PassRecord<B> {
    /// The times of the stages, and the counts. The pass's operations must be complete.
    pub(crate) fn times(&self, backend: &B) -> Result<StageTimes, B::Error> {
        let mut times = self.counts;
        for MarkedStage { stage, start, end } in &self.stages {
            *match stage {
                Stage::Embedding => &mut times.embedding,
                Stage::Linear => &mut times.linear,
                Stage::Attention => &mut times.attention,
                Stage::Activation => &mut times.activation,
                Stage::Norm => &mut times.norm,
            } += backend.time_between(start, end)?;
        }
        Ok(times)
    }
}

impl<'a, B: Backend> Pass<'a, B> {
    pub(crate) fn new(backend: &'a B, pack: &'a Pack<'a, B>, measure: Measure) -> Self {
        Self {
            backend,
            pack,
            adapters: RowAdapters::new(pack.adapter_rows()),
            scored_adapters: RowAdapters::new(pack.scored_adapter_rows()),
            measure,
            stages: RefCell::default(),
            linear_products: Cell::default(),
            attention_products: Cell::default(),
        }
    }

    /// Ends the pass, whose operations may not be complete yet.
    pub(crate) fn into_record(self) -> PassRecord<B> {
        let counts = StageTimes {
            n_tokens: self.pack.n_tokens(),
            linear_products: self.linear_products.get(),
            attention_products: self.attention_products.get(),
            ..StageTimes::default()
        };
        PassRecord { stages: self.stages.into_inner(), counts }
    }

    /// Runs `run`, and measures it as part of a stage.
    pub(crate) fn time<T>(&self, stage: Stage, run: impl FnOnce() -> Result<T, B::Error>) -> Result<T, B::Error> {
        if self.measure == Measure::Total {
            return run();
        }
        let start = self.backend.mark()?;
        let value = run()?;
        let end = self.backend.mark()?;
        self.stages.borrow_mut().push(MarkedStage { stage, start, end });
        Ok(value)
    }

    /// A linear layer. x: [n, n_in]; returns [n, n_out].
    pub(crate) fn linear(
        &self,
        layer: &Linear<B>,
        x: &B::Rows,
        adapters: &RowAdapters<'_, B>,
        epilogue: &Epilogue<'_, B>,
    ) -> Result<B::Rows, B::Error> {
        self.count(&[layer], adapters);
        self.time(Stage::Linear, || self.backend.linear(layer, x, adapters, epilogue))
    }

    /// Several linear layers with the same input. x: [n, n_in]; returns [n, n_out] for each layer.
    pub(crate) fn linears<const N: usize>(
        &self,
        layers: [&Linear<B>; N],
        x: &B::Rows,
        adapters: &RowAdapters<'_, B>,
    ) -> Result<[B::Rows; N], B::Error> {
        self.count(&layers, adapters);
        self.time(Stage::Linear, || self.backend.linears(layers, x, adapters))
    }

    /// Counts the multiply-adds of layers.
    fn count(&self, layers: &[&Linear<B>], adapters: &[AdapterRows<'_, B>]) {
        let n_rows: usize = adapters.iter().map(|part| part.n_rows).sum();
        let n_weights: usize = layers.iter().map(|layer| layer.n_weights).sum();
        self.linear_products.update(|n| n + n_rows as u64 * n_weights as u64);
    }

    /// A norm of each row. x: [n, hidden]; returns [n, hidden].
    pub(crate) fn norm(
        &self,
        norm: &Norm<B>,
        x: Cow<'_, B::Rows>,
        adapters: &[AdapterRows<'_, B>],
    ) -> Result<B::Rows, B::Error> {
        self.time(Stage::Norm, || norm.forward(self.backend, x, adapters))
    }

    /// For each token the sum of one row of each table: [n_tokens, width].
    pub(crate) fn look_up(&self, tables: &[(&Table<B>, &[u32])], width: usize) -> Result<B::Rows, B::Error> {
        self.time(Stage::Embedding, || embedding::look_up(self.backend, tables, width, &self.adapters))
    }

    /// Lays out the pack's sequences for attention.
    pub(crate) fn plan_attention(
        &self,
        shape: &AttentionShape,
        rotary: Option<&RotaryTable<B>>,
    ) -> Result<PassAttention<B>, B::Error> {
        self.time(Stage::Attention, || {
            let rotary = rotary.map(|table| table.get(self.backend, self.pack.n_positions())).transpose()?;
            let plan = |spans: Vec<Span>| {
                let n_products = shape.n_products(&spans);
                Ok(PlanOfSpans { plan: self.backend.attention_plan(shape, spans, rotary.as_ref())?, n_products })
            };
            Ok(PassAttention { all: plan(self.pack.spans())?, scored: plan(self.pack.scored_spans())? })
        })
    }

    /// Attention with its query, key and value layers, and the norms before and after them. x: [n_tokens, hidden].
    ///
    /// Returns all rows, or in the last layer the scored rows only, because nothing reads the others.
    pub(crate) fn attention(
        &self,
        attention: &PassAttention<B>,
        [q, k, v]: [&Linear<B>; 3],
        x: B::Rows,
        norms: Norms<'_, B>,
        is_last: bool,
    ) -> Result<Attended<'_, 'a, B>, B::Error> {
        let normed = norms.input.map(|norm| self.norm(norm, Cow::Borrowed(&x), &self.adapters)).transpose()?;
        let input = normed.as_ref().unwrap_or(&x);
        let mix = |plan, qkv| self.time(Stage::Attention, || self.mixed(plan, qkv));
        let [q_norm, k_norm] = norms.heads.map_or([None, None], |[q, k]| [Some(q), Some(k)]);
        if !is_last {
            let [q, k, v] = self.linears([q, k, v], input, &self.adapters)?;
            let q = self.head_norm(q_norm, q, &self.adapters)?;
            let k = self.head_norm(k_norm, k, &self.adapters)?;
            return Ok(Attended { mixed: mix(&attention.all, [q, k, v])?, x, adapters: &self.adapters });
        }
        let rows = self.pack.scored_rows();
        let [k, v] = self.linears([k, v], input, &self.adapters)?;
        let scored_input = self.backend.gather(input, &rows)?;
        let q = self.linear(q, &scored_input, &self.scored_adapters, &Epilogue::NONE)?;
        let q = self.head_norm(q_norm, q, &self.scored_adapters)?;
        let k = self.head_norm(k_norm, k, &self.adapters)?;
        let mixed = mix(&attention.scored, [q, k, v])?;
        Ok(Attended { mixed, x: self.backend.gather(&x, &rows)?, adapters: &self.scored_adapters })
    }

    fn mixed(&self, PlanOfSpans { plan, n_products }: &PlanOfSpans<B>, qkv: [B::Rows; 3]) -> Result<B::Rows, B::Error> {
        self.attention_products.update(|n| n + n_products);
        self.backend.attention(plan, qkv)
    }

    /// The norm of each head of queries or keys, if there is one.
    fn head_norm(
        &self,
        norm: Option<&HeadNorm<B>>,
        x: B::Rows,
        adapters: &[AdapterRows<'_, B>],
    ) -> Result<B::Rows, B::Error> {
        match norm {
            Some(norm) => self.time(Stage::Norm, || norm.forward(self.backend, x, adapters)),
            None => Ok(x),
        }
    }

    /// Attention of queries, keys and values that one layer computed, and the norm before it if there is one. x:
    /// [n_tokens, hidden].
    ///
    /// Returns all rows, or the scored rows only.
    pub(crate) fn joint_attention(
        &self,
        attention: &PassAttention<B>,
        qkv: &Linear<B>,
        x: B::Rows,
        norm: Option<&Norm<B>>,
        scored_only: bool,
    ) -> Result<Attended<'_, 'a, B>, B::Error> {
        let normed = norm.map(|norm| self.norm(norm, Cow::Borrowed(&x), &self.adapters)).transpose()?;
        let qkv = self.linear(qkv, normed.as_ref().unwrap_or(&x), &self.adapters, &Epilogue::NONE)?;
        self.time(Stage::Attention, || {
            if !scored_only {
                let PlanOfSpans { plan, n_products } = &attention.all;
                self.attention_products.update(|n| n + n_products);
                let mixed = self.backend.joint_attention(plan, qkv)?;
                return Ok(Attended { mixed, x, adapters: &self.adapters });
            }
            let [q, k, v] = self.backend.split(&qkv)?;
            let rows = self.pack.scored_rows();
            let q = self.backend.gather(&q, &rows)?;
            let mixed = self.mixed(&attention.scored, [q, k, v])?;
            Ok(Attended { mixed, x: self.backend.gather(&x, &rows)?, adapters: &self.scored_adapters })
        })
    }
}
