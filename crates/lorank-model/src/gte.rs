//! GTE as a sequence classifier (arXiv 2407.19669), such as gte-multilingual-reranker-base.
//!
//! Computes the same as `NewForSequenceClassification` of the published code, Alibaba-NLP/new-impl: norm after each block,
//! rotary positions, a gated feed-forward network (GeGLU) whose gate is the second half of its input layer, and BERT's
//! pooler and classifier over the first token's state. The last layer computes only that token's row.

use std::borrow::Cow;

use lorank_kernels::{Activation, Mask};

use crate::ModelError;
use crate::attention::AttentionShape;
use crate::backend::linear::{Epilogue, Linear};
use crate::backend::{Backend, Halves};
use crate::config::GteSettings;
use crate::embedding::Table;
use crate::head::HeadSpec;
use crate::loader::{Bias, Loader};
use crate::norm::Norm;
use crate::pass::{Attended, Norms, Pass, PassAttention, Stage};
use crate::rope::frequencies;
use crate::rotary::RotaryTable;
use crate::weights::Prefix;

/// `NewForSequenceClassification.classifier`.
pub(crate) const HEAD: HeadSpec = HeadSpec { weight: "classifier.weight", bias: Some("classifier.bias") };

/// How a checkpoint of the backbone alone names its tensors.
pub(crate) const PREFIX: Prefix = Prefix { prefix: "new.", names: &["embeddings.", "encoder.", "pooler."] };

/// The backbone and its pooler, without a head.
#[derive(Debug)]
pub(crate) struct Gte<B: Backend> {
    attention: AttentionShape,
    rotary: RotaryTable<B>,
    hidden: usize,
    /// [vocab, hidden]
    words: Table<B>,
    /// [type_vocab_size, hidden]
    types: Option<Table<B>>,
    norm: Norm<B>,
    layers: Vec<Layer<B>>,
    pooler: Linear<B>,
}

#[derive(Debug)]
struct Layer<B: Backend> {
    projections: Projections<B>,
    o: Linear<B>,
    attention_norm: Norm<B>,
    /// What the gate multiplies, and the gate: [2 * intermediate, hidden].
    up_gate: Linear<B>,
    activation: Activation,
    down: Linear<B>,
    output_norm: Norm<B>,
}

/// The layers that compute queries, keys and values.
#[derive(Debug)]
enum Projections<B: Backend> {
    /// One layer: [3 * hidden, hidden].
    Joint(Linear<B>),
    Separate([Linear<B>; 3]),
}

impl<B: Backend> Gte<B> {
    pub(crate) fn load(settings: &GteSettings, from: &mut Loader<'_, B>) -> Result<Self, ModelError> {
        let (hidden, n_heads, n_types) = (settings.hidden_size, settings.num_attention_heads, settings.type_vocab_size);
        let head_dim = hidden / n_heads;
        let words = from.embeddings("new.embeddings.word_embeddings", [settings.vocab_size, hidden])?;
        let types = (n_types > 0).then(|| from.embeddings("new.embeddings.token_type_embeddings", [n_types, hidden]));
        Ok(Self {
            attention: AttentionShape { n_heads, n_kv_heads: n_heads, head_dim, mask: Mask::NONE },
            rotary: RotaryTable::new(frequencies(settings.rope_theta, head_dim, &settings.rope)),
            hidden,
            words,
            types: types.transpose()?,
            norm: Norm::layer(from, "new.embeddings.LayerNorm", hidden, settings.layer_norm_eps, Bias::Given)?,
            layers: (0..settings.num_hidden_layers)
                .map(|n| Layer::load(settings, n, from))
                .collect::<Result<_, _>>()?,
            pooler: from.linear("new.pooler.dense", [hidden, hidden], Bias::Given)?,
        })
    }

    /// The memory of the linear layers and embeddings, in bytes.
    pub(crate) fn n_bytes(&self) -> usize {
        let tables = [&self.words].into_iter().chain(&self.types);
        let tables = tables.map(|table| B::embeddings_bytes(&table.rows)).sum::<usize>();
        tables + self.layers.iter().map(Layer::n_bytes).sum::<usize>() + self.pooler.n_bytes()
    }

    /// The pooled states for the head: [n_entries, hidden].
    pub(crate) fn scored_states(&self, pass: &Pass<'_, B>) -> Result<B::Rows, B::Error> {
        let attention = pass.plan_attention(&self.attention, Some(&self.rotary))?;
        let types = self.types.as_ref().map(|types| (types, &*pass.pack.type_ids));
        let tables: Vec<_> = [(&self.words, &*pass.pack.ids)].into_iter().chain(types).collect();
        let sum = pass.look_up(&tables, self.hidden)?;
        let mut x = pass.norm(&self.norm, Cow::Owned(sum), &pass.adapters)?;
        for (n, layer) in self.layers.iter().enumerate() {
            x = layer.forward(x, pass, &attention, n + 1 == self.layers.len())?;
            x = pass.backend.after_layer(x)?;
        }
        pass.linear(&self.pooler, &x, &pass.scored_adapters, &Epilogue::activate(Activation::Tanh))
    }
}

impl<B: Backend> Layer<B> {
    fn load(settings: &GteSettings, n: usize, from: &mut Loader<'_, B>) -> Result<Self, ModelError> {
        let (hidden, inner, eps) = (settings.hidden_size, settings.intermediate_size, settings.layer_norm_eps);
        let name = |module: &str| format!("new.encoder.layer.{n}.{module}");
        let mut projection = |module: &str, n_out| from.linear(&name(module), [n_out, hidden], Bias::Given);
        Ok(Self {
            projections: match settings.pack_qkv {
                true => Projections::Joint(projection("attention.qkv_proj", 3 * hidden)?),
                false => Projections::Separate([
                    projection("attention.q_proj", hidden)?,
                    projection("attention.k_proj", hidden)?,
                    projection("attention.v_proj", hidden)?,
                ]),
            },
            o: projection("attention.o_proj", hidden)?,
            attention_norm: Norm::layer(from, &name("attn_ln"), hidden, eps, Bias::Given)?,
            up_gate: from.linear(&name("mlp.up_gate_proj"), [2 * inner, hidden], Bias::None)?,
            activation: settings.activation,
            down: from.linear(&name("mlp.down_proj"), [hidden, inner], Bias::Given)?,
            output_norm: Norm::layer(from, &name("mlp_ln"), hidden, eps, Bias::Given)?,
        })
    }

    fn n_bytes(&self) -> usize {
        let projections = match &self.projections {
            Projections::Joint(qkv) => qkv.n_bytes(),
            Projections::Separate(qkv) => qkv.iter().map(Linear::n_bytes).sum(),
        };
        projections + [&self.o, &self.up_gate, &self.down].into_iter().map(Linear::n_bytes).sum::<usize>()
    }

    /// x: [n_tokens, hidden]; returns the same shape, or [n_entries, hidden] in the last layer.
    fn forward(
        &self,
        x: B::Rows,
        pass: &Pass<'_, B>,
        attention: &PassAttention<B>,
        is_last: bool,
    ) -> Result<B::Rows, B::Error> {
        let Attended { mixed, x, adapters } = match &self.projections {
            Projections::Joint(qkv) => pass.joint_attention(attention, qkv, x, None, is_last)?,
            Projections::Separate([q, k, v]) => pass.attention(attention, [q, k, v], x, Norms::NONE, is_last)?,
        };
        let x = pass.linear(&self.o, &mixed, adapters, &Epilogue::add(&x))?;
        let x = pass.norm(&self.attention_norm, Cow::Owned(x), adapters)?;
        let both = pass.linear(&self.up_gate, &x, adapters, &Epilogue::NONE)?;
        let gate = || pass.backend.gated_halves(&both, Halves::GateLast, self.activation);
        let inner = pass.time(Stage::Activation, gate)?;
        let x = pass.linear(&self.down, &inner, adapters, &Epilogue::add(&x))?;
        pass.norm(&self.output_norm, Cow::Owned(x), adapters)
    }
}
