//! BERT as a sequence classifier.
//!
//! Computes the same as Hugging Face's `BertForSequenceClassification`: norm after each block, absolute positions, and
//! the classifier over the pooled state of the first token. The last layer computes only that token's row.

use std::borrow::Cow;

use lorank_kernels::Activation;

use crate::ModelError;
use crate::attention::AttentionShape;
use crate::backend::Backend;
use crate::backend::linear::{Epilogue, Linear};
use crate::config::BertSettings;
use crate::embedding::Table;
use crate::head::HeadSpec;
use crate::loader::{Bias, Loader};
use crate::norm::Norm;
use crate::pass::{Attended, Pass, PassAttention};

/// `BertForSequenceClassification.classifier`.
pub(crate) const HEAD: HeadSpec = HeadSpec { weight: "classifier.weight", bias: Some("classifier.bias") };

/// The backbone and its pooler, without a head.
#[derive(Debug)]
pub(crate) struct Bert<B: Backend> {
    attention: AttentionShape,
    activation: Activation,
    hidden: usize,
    /// [vocab, hidden]
    words: Table<B>,
    /// [max_position_embeddings, hidden]
    positions: Table<B>,
    /// [type_vocab_size, hidden]
    types: Table<B>,
    norm: Norm<B>,
    layers: Vec<Layer<B>>,
    pooler: Linear<B>,
}

#[derive(Debug)]
struct Layer<B: Backend> {
    q: Linear<B>,
    k: Linear<B>,
    v: Linear<B>,
    o: Linear<B>,
    attention_norm: Norm<B>,
    up: Linear<B>,
    down: Linear<B>,
    output_norm: Norm<B>,
}

impl<B: Backend> Bert<B> {
    pub(crate) fn load(config: &BertSettings, from: &mut Loader<'_, B>) -> Result<Self, ModelError> {
        let hidden = config.hidden_size;
        let table = |name: &str| format!("bert.embeddings.{name}_embeddings");
        Ok(Self {
            attention: AttentionShape {
                n_heads: config.num_attention_heads,
                n_kv_heads: config.num_attention_heads,
                head_dim: hidden / config.num_attention_heads,
                is_causal: false,
            },
            activation: config.activation,
            hidden,
            words: from.embeddings(&table("word"), [config.vocab_size, hidden])?,
            positions: from.embeddings(&table("position"), [config.max_position_embeddings, hidden])?,
            types: from.embeddings(&table("token_type"), [config.type_vocab_size, hidden])?,
            norm: Norm::layer(from, "bert.embeddings.LayerNorm", hidden, config.layer_norm_eps)?,
            layers: (0..config.num_hidden_layers).map(|n| Layer::load(config, n, from)).collect::<Result<_, _>>()?,
            pooler: from.linear("bert.pooler.dense", [hidden, hidden], Bias::Given)?,
        })
    }

    /// The memory of the linear layers and embeddings, in bytes.
    pub(crate) fn n_bytes(&self) -> usize {
        let tables = [&self.words, &self.positions, &self.types];
        let tables = tables.into_iter().map(|table| B::embeddings_bytes(&table.rows)).sum::<usize>();
        let of_layer = |layer: &Layer<B>| {
            let Layer { q, k, v, o, up, down, .. } = layer;
            [q, k, v, o, up, down].into_iter().map(Linear::n_bytes).sum::<usize>()
        };
        tables + self.pooler.n_bytes() + self.layers.iter().map(of_layer).sum::<usize>()
    }

    /// The pooled states for the head: [n_entries, hidden].
    pub(crate) fn scored_states(&self, pass: &Pass<'_, B>) -> Result<B::Rows, B::Error> {
        let states = self.states(pass)?;
        pass.linear(&self.pooler, &states, &pass.scored_adapters, &Epilogue::activate(Activation::Tanh))
    }

    /// The final hidden states of the scored tokens: [n_entries, hidden].
    pub(crate) fn states(&self, pass: &Pass<'_, B>) -> Result<B::Rows, B::Error> {
        let attention = pass.plan_attention(&self.attention, None)?;
        let mut x = self.embed(pass)?;
        for (n, layer) in self.layers.iter().enumerate() {
            x = layer.forward(x, pass, &attention, self.activation, n + 1 == self.layers.len())?;
        }
        Ok(x)
    }

    /// The embedded tokens: [n_tokens, hidden].
    fn embed(&self, pass: &Pass<'_, B>) -> Result<B::Rows, B::Error> {
        let pack = pass.pack;
        let positions: Vec<u32> = pack.positions().map(|at| at as u32).collect();
        let tables = [(&self.words, &*pack.ids), (&self.types, &*pack.type_ids), (&self.positions, &*positions)];
        let sum = pass.look_up(&tables, self.hidden)?;
        pass.norm(&self.norm, Cow::Owned(sum), &pass.adapters)
    }
}

impl<B: Backend> Layer<B> {
    fn load(config: &BertSettings, n: usize, from: &mut Loader<'_, B>) -> Result<Self, ModelError> {
        let (hidden, inner, eps) = (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
        let name = |module: &str| format!("bert.encoder.layer.{n}.{module}");
        Ok(Self {
            q: from.linear(&name("attention.self.query"), [hidden, hidden], Bias::Given)?,
            k: from.linear(&name("attention.self.key"), [hidden, hidden], Bias::Given)?,
            v: from.linear(&name("attention.self.value"), [hidden, hidden], Bias::Given)?,
            o: from.linear(&name("attention.output.dense"), [hidden, hidden], Bias::Given)?,
            attention_norm: Norm::layer(from, &name("attention.output.LayerNorm"), hidden, eps)?,
            up: from.linear(&name("intermediate.dense"), [inner, hidden], Bias::Given)?,
            down: from.linear(&name("output.dense"), [hidden, inner], Bias::Given)?,
            output_norm: Norm::layer(from, &name("output.LayerNorm"), hidden, eps)?,
        })
    }

    /// x: [n_tokens, hidden]; returns the same shape, or [n_entries, hidden] in the last layer.
    fn forward(
        &self,
        x: B::Rows,
        pass: &Pass<'_, B>,
        attention: &PassAttention<'_, B>,
        activation: Activation,
        is_last: bool,
    ) -> Result<B::Rows, B::Error> {
        let Attended { mixed, x, adapters } =
            pass.attention(attention, [&self.q, &self.k, &self.v], x, None, is_last)?;
        let x = pass.linear(&self.o, &mixed, adapters, &Epilogue::add(&x))?;
        let x = pass.norm(&self.attention_norm, Cow::Owned(x), adapters)?;
        let inner = pass.linear(&self.up, &x, adapters, &Epilogue::activate(activation))?;
        let x = pass.linear(&self.down, &inner, adapters, &Epilogue::add(&x))?;
        pass.norm(&self.output_norm, Cow::Owned(x), adapters)
    }
}
