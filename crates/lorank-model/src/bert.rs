//! BERT as a sequence classifier: the reference forward pass, one sequence at a time.
//!
//! The arithmetic is that of Hugging Face's `BertForSequenceClassification` in f32: norm after each block, absolute
//! positions, and the classifier over the pooled state of the first token.

use candle_core::{Device, Tensor};
use candle_nn::ops::{layer_norm, softmax_last_dim};
use candle_transformers::models::bert::{Config, HiddenAct};

use crate::ModelError;
use crate::linear::{HeadSpec, Linear, Loader};
use crate::lora::Adapter;
use crate::tokenize::Pair;

/// `BertForSequenceClassification.classifier`.
pub(crate) const HEAD: HeadSpec = HeadSpec { weight: "classifier.weight", bias: Some("classifier.bias") };

/// The backbone and its pooler, without a head.
#[derive(Debug)]
pub(crate) struct Bert {
    config: Config,
    /// [vocab, hidden]
    words: Tensor,
    /// [max_position_embeddings, hidden]
    positions: Tensor,
    /// [type_vocab_size, hidden]
    types: Tensor,
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

/// Layer norm over each token's state.
#[derive(Debug)]
struct Norm {
    /// [hidden]
    weight: Tensor,
    /// [hidden]
    bias: Tensor,
    eps: f32,
}

impl Bert {
    pub(crate) fn load(config: Config, from: &mut Loader<'_>) -> Result<Self, ModelError> {
        let hidden = config.hidden_size;
        let table = |name: &str| format!("bert.embeddings.{name}_embeddings.weight");
        Ok(Self {
            words: from.tensor(&table("word"), &[config.vocab_size, hidden])?,
            positions: from.tensor(&table("position"), &[config.max_position_embeddings, hidden])?,
            types: from.tensor(&table("token_type"), &[config.type_vocab_size, hidden])?,
            norm: Norm::load(&config, "bert.embeddings.LayerNorm", from)?,
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

    /// The pooled state that the head reads, [1, hidden].
    pub(crate) fn scored_state(&self, pair: &Pair, adapter: Option<&Adapter>) -> candle_core::Result<Tensor> {
        let first = self.states(pair, adapter)?.narrow(0, 0, 1)?;
        self.pooler.forward(&first, adapter)?.tanh()
    }

    /// The final hidden states, [n, hidden].
    pub(crate) fn states(&self, pair: &Pair, adapter: Option<&Adapter>) -> candle_core::Result<Tensor> {
        let mut x = self.embed(pair, self.words.device())?;
        for layer in &self.layers {
            x = layer.forward(&x, &self.config, adapter)?;
        }
        Ok(x)
    }

    fn embed(&self, pair: &Pair, device: &Device) -> candle_core::Result<Tensor> {
        let rows = |table: &Tensor, ids: &[u32]| table.index_select(&Tensor::new(ids, device)?, 0);
        let words = rows(&self.words, &pair.ids)?;
        let types = rows(&self.types, &pair.type_ids)?;
        let positions = self.positions.narrow(0, 0, pair.ids.len())?;
        self.norm.forward(&((words + types)? + positions)?)
    }
}

impl Layer {
    fn load(config: &Config, n: usize, from: &mut Loader<'_>) -> Result<Self, ModelError> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let name = |part: &str| format!("bert.encoder.layer.{n}.{part}");
        Ok(Self {
            q: from.linear(&name("attention.self.query"), hidden, hidden)?,
            k: from.linear(&name("attention.self.key"), hidden, hidden)?,
            v: from.linear(&name("attention.self.value"), hidden, hidden)?,
            o: from.linear(&name("attention.output.dense"), hidden, hidden)?,
            attention_norm: Norm::load(config, &name("attention.output.LayerNorm"), from)?,
            up: from.linear(&name("intermediate.dense"), inner, hidden)?,
            down: from.linear(&name("output.dense"), hidden, inner)?,
            output_norm: Norm::load(config, &name("output.LayerNorm"), from)?,
        })
    }

    /// x: [n, hidden]; the result too.
    fn forward(&self, x: &Tensor, config: &Config, adapter: Option<&Adapter>) -> candle_core::Result<Tensor> {
        let x = self.attention_norm.forward(&(x + self.attention(x, config, adapter)?)?)?;
        let inner = activation(config.hidden_act, &self.up.forward(&x, adapter)?)?;
        self.output_norm.forward(&(&x + self.down.forward(&inner, adapter)?)?)
    }

    fn attention(&self, x: &Tensor, config: &Config, adapter: Option<&Adapter>) -> candle_core::Result<Tensor> {
        let (n, hidden) = x.dims2()?;
        let heads = config.num_attention_heads;
        let dim = hidden / heads;
        let split = |y: Tensor| y.reshape((n, heads, dim))?.transpose(0, 1)?.contiguous();
        let q = (split(self.q.forward(x, adapter)?)? / (dim as f64).sqrt())?;
        let k = split(self.k.forward(x, adapter)?)?;
        let v = split(self.v.forward(x, adapter)?)?;
        let weights = softmax_last_dim(&q.matmul(&k.t()?)?)?;
        let mixed = weights.matmul(&v)?.transpose(0, 1)?.reshape((n, hidden))?;
        self.o.forward(&mixed, adapter)
    }
}

impl Norm {
    fn load(config: &Config, name: &str, from: &mut Loader<'_>) -> Result<Self, ModelError> {
        let mut part = |part: &str| from.tensor(&format!("{name}.{part}"), &[config.hidden_size]);
        Ok(Self { weight: part("weight")?, bias: part("bias")?, eps: config.layer_norm_eps as f32 })
    }

    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        layer_norm(x, &self.weight, &self.bias, self.eps)
    }
}

fn activation(act: HiddenAct, x: &Tensor) -> candle_core::Result<Tensor> {
    match act {
        HiddenAct::Gelu => x.gelu_erf(),
        HiddenAct::GeluApproximate => x.gelu(),
        HiddenAct::Relu => x.relu(),
    }
}
