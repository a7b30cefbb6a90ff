//! BERT as a sequence classifier.
//!
//! The arithmetic is that of Hugging Face's `BertForSequenceClassification`: norm after each block, absolute positions, and
//! the classifier over the pooled state of the first token. Of the last layer only that token's row is computed.

use candle_transformers::models::bert::{Config, HiddenAct};
use lorank_kernels::Activation;

use crate::ModelError;
use crate::attention::Attention;
use crate::engine::{Embeddings, Rows};
use crate::linear::{HeadSpec, Linear, Loader, Then};
use crate::norm::Norm;
use crate::pack::Scored;
use crate::pass::{Pass, Piece};

/// `BertForSequenceClassification.classifier`.
pub(crate) const HEAD: HeadSpec = HeadSpec { weight: "classifier.weight", bias: Some("classifier.bias") };

/// Which token is scored.
pub(crate) const SCORED: Scored = Scored::First;

/// The backbone and its pooler, without a head.
#[derive(Debug)]
pub(crate) struct Bert {
    config: Config,
    /// [vocab, hidden]
    words: Embeddings,
    /// [max_position_embeddings, hidden]
    positions: Embeddings,
    /// [type_vocab_size, hidden]
    types: Embeddings,
    norm: Norm,
    layers: Vec<Layer>,
    pooler: Linear,
}

#[derive(Debug)]
struct Layer {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    attention_norm: Norm,
    up: Linear,
    down: Linear,
    output_norm: Norm,
}

impl Bert {
    pub(crate) fn load(config: Config, from: &mut Loader<'_>) -> Result<Self, ModelError> {
        let hidden = config.hidden_size;
        let table = |name: &str| format!("bert.embeddings.{name}_embeddings.weight");
        Ok(Self {
            words: from.embeddings(&table("word"), [config.vocab_size, hidden])?,
            positions: from.embeddings(&table("position"), [config.max_position_embeddings, hidden])?,
            types: from.embeddings(&table("token_type"), [config.type_vocab_size, hidden])?,
            norm: Norm::layer(from, "bert.embeddings.LayerNorm", hidden, config.layer_norm_eps)?,
            layers: (0..config.num_hidden_layers).map(|n| Layer::load(&config, n, from)).collect::<Result<_, _>>()?,
            pooler: from.linear("bert.pooler.dense", hidden, hidden)?,
            config,
        })
    }

    pub(crate) fn hidden_size(&self) -> usize {
        self.config.hidden_size
    }

    pub(crate) fn max_position_embeddings(&self) -> usize {
        self.config.max_position_embeddings
    }

    /// How many token ids have an embedding.
    pub(crate) fn n_tokens_known(&self) -> usize {
        self.words.n_rows()
    }

    /// The bytes that the linear layers and the embeddings take in memory.
    pub(crate) fn n_bytes(&self) -> usize {
        let tables = self.words.n_bytes() + self.positions.n_bytes() + self.types.n_bytes();
        let of_layer = |layer: &Layer| {
            let Layer { q, k, v, o, up, down, .. } = layer;
            [q, k, v, o, up, down].into_iter().map(Linear::n_bytes).sum::<usize>()
        };
        tables + self.pooler.n_bytes() + self.layers.iter().map(of_layer).sum::<usize>()
    }

    /// The pooled states that the head reads, [n_entries, hidden].
    pub(crate) fn scored_states(&self, pass: &Pass<'_>) -> candle_core::Result<Rows> {
        let states = self.states(pass)?;
        pass.linear(&self.pooler, &states, &pass.scored_parts, Then::activate(Activation::Tanh))
    }

    /// The final hidden states of the scored tokens, [n_entries, hidden].
    pub(crate) fn states(&self, pass: &Pass<'_>) -> candle_core::Result<Rows> {
        let mut x = pass.time(Piece::Embedding, || self.embed(pass))?;
        for (n, layer) in self.layers.iter().enumerate() {
            x = layer.forward(x, pass, &self.config, n + 1 == self.layers.len())?;
        }
        Ok(x)
    }

    fn embed(&self, pass: &Pass<'_>) -> candle_core::Result<Rows> {
        let pack = pass.pack;
        let positions: Vec<u32> = pack.positions().map(|at| at as u32).collect();
        let tables = [(&self.words, &*pack.ids), (&self.types, &*pack.type_ids), (&self.positions, &*positions)];
        self.norm.forward(pass.engine.look_up(&tables)?)
    }
}

impl Layer {
    fn load(config: &Config, n: usize, from: &mut Loader<'_>) -> Result<Self, ModelError> {
        let (hidden, inner, eps) = (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
        let name = |part: &str| format!("bert.encoder.layer.{n}.{part}");
        Ok(Self {
            q: from.linear(&name("attention.self.query"), hidden, hidden)?,
            k: from.linear(&name("attention.self.key"), hidden, hidden)?,
            v: from.linear(&name("attention.self.value"), hidden, hidden)?,
            o: from.linear(&name("attention.output.dense"), hidden, hidden)?,
            attention_norm: Norm::layer(from, &name("attention.output.LayerNorm"), hidden, eps)?,
            up: from.linear(&name("intermediate.dense"), inner, hidden)?,
            down: from.linear(&name("output.dense"), hidden, inner)?,
            output_norm: Norm::layer(from, &name("output.LayerNorm"), hidden, eps)?,
        })
    }

    /// x: [n_tokens, hidden]; the result too, or in the last layer [n_entries, hidden].
    fn forward(&self, x: Rows, pass: &Pass<'_>, config: &Config, is_last: bool) -> candle_core::Result<Rows> {
        let attention = Attention {
            n_heads: config.num_attention_heads,
            n_kv_heads: config.num_attention_heads,
            head_dim: config.hidden_size / config.num_attention_heads,
            is_causal: false,
        };
        let (mixed, x, parts) = pass.attention(&attention, [&self.q, &self.k, &self.v], x, None, None, is_last)?;
        let x = pass.linear(&self.o, &mixed, parts, Then::add(&x))?;
        let x = pass.time(Piece::Norm, || self.attention_norm.forward(x))?;
        let inner = pass.linear(&self.up, &x, parts, Then::activate(activation(config.hidden_act)))?;
        let x = pass.linear(&self.down, &inner, parts, Then::add(&x))?;
        pass.time(Piece::Norm, || self.output_norm.forward(x))
    }
}

fn activation(act: HiddenAct) -> Activation {
    match act {
        HiddenAct::Gelu => Activation::Gelu,
        HiddenAct::GeluApproximate => Activation::GeluTanh,
        HiddenAct::Relu => Activation::Relu,
    }
}
