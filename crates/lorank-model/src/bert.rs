//! BERT, RoBERTa, DistilBERT and ELECTRA as sequence classifiers.
//!
//! Computes the same as Hugging Face's `BertForSequenceClassification` and its relatives: norm after each block, absolute
//! positions, and a dense layer and a classifier over the first token's state. The last layer computes only that token's
//! row.
//!
//! The relatives have the same layers as BERT under other names. In RoBERTa and XLM-RoBERTa, positions start after the id of
//! the padding token. DistilBERT has no token types. ELECTRA's embeddings may be narrower than its states. In all of them,
//! the dense layer, BERT's pooler, belongs to the head.

use std::borrow::Cow;

use lorank_kernels::{Activation, Mask};

use crate::ModelError;
use crate::attention::AttentionShape;
use crate::backend::Backend;
use crate::backend::linear::{Epilogue, Linear};
use crate::config::{BertSettings, BertVariant};
use crate::embedding::Table;
use crate::head::HeadSpec;
use crate::loader::{Bias, Loader};
use crate::norm::Norm;
use crate::pass::{Attended, Norms, Pass, PassAttention};
use crate::weights::Prefix;

/// `BertForSequenceClassification.classifier`, or `RobertaForSequenceClassification.classifier.out_proj`.
pub(crate) fn head_spec(variant: BertVariant) -> HeadSpec {
    match variant {
        BertVariant::Bert | BertVariant::DistilBert => {
            HeadSpec { weight: "classifier.weight", bias: Some("classifier.bias") }
        }
        BertVariant::Roberta { .. } | BertVariant::Electra { .. } => {
            HeadSpec { weight: "classifier.out_proj.weight", bias: Some("classifier.out_proj.bias") }
        }
    }
}

/// How a checkpoint of the backbone alone names its tensors.
pub(crate) fn prefix(variant: BertVariant) -> Prefix {
    let prefix = match variant {
        BertVariant::Bert => "bert.",
        BertVariant::Roberta { .. } => "roberta.",
        BertVariant::DistilBert => "distilbert.",
        BertVariant::Electra { .. } => "electra.",
    };
    Prefix { prefix, names: &["embeddings.", "embeddings_project.", "encoder.", "transformer.", "pooler."] }
}

/// The dense layer before the classifier, and its activation.
fn pooler(variant: BertVariant) -> (&'static str, Activation) {
    match variant {
        BertVariant::Bert => ("bert.pooler.dense", Activation::Tanh),
        BertVariant::Roberta { .. } => ("classifier.dense", Activation::Tanh),
        BertVariant::DistilBert => ("pre_classifier", Activation::Relu),
        BertVariant::Electra { .. } => ("classifier.dense", Activation::Gelu),
    }
}

/// The names of a layer's modules.
struct LayerNames {
    layers: &'static str,
    /// Queries, keys, values, and the projection after attention.
    attention: [&'static str; 4],
    attention_norm: &'static str,
    up: &'static str,
    down: &'static str,
    output_norm: &'static str,
}

const NAMES: LayerNames = LayerNames {
    layers: "encoder.layer",
    attention: ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"],
    attention_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    output_norm: "output.LayerNorm",
};

const DISTILBERT_NAMES: LayerNames = LayerNames {
    layers: "transformer.layer",
    attention: ["attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"],
    attention_norm: "sa_layer_norm",
    up: "ffn.lin1",
    down: "ffn.lin2",
    output_norm: "output_layer_norm",
};

/// The backbone and its pooler, without a head.
#[derive(Debug)]
pub(crate) struct Bert<B: Backend> {
    attention: AttentionShape,
    activation: Activation,
    /// The width of the embeddings.
    width: usize,
    variant: BertVariant,
    /// [vocab, width]
    words: Table<B>,
    /// [max_position_embeddings, width]
    positions: Table<B>,
    /// [type_vocab_size, width]
    types: Option<Table<B>>,
    norm: Norm<B>,
    /// From narrower embeddings to the hidden states: [hidden, width].
    projection: Option<Linear<B>>,
    layers: Vec<Layer<B>>,
    /// The dense layer before the head.
    pooler: Linear<B>,
    pooler_activation: Activation,
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
        let (hidden, width) = (config.hidden_size, config.embedding_size());
        let prefix = prefix(config.variant).prefix;
        let table = |name: &str| format!("{prefix}embeddings.{name}_embeddings");
        let (pooler, pooler_activation) = pooler(config.variant);
        let n_types = (config.variant != BertVariant::DistilBert).then_some(config.type_vocab_size);
        let is_projected = width != hidden;
        Ok(Self {
            attention: AttentionShape {
                n_heads: config.num_attention_heads,
                n_kv_heads: config.num_attention_heads,
                head_dim: hidden / config.num_attention_heads,
                mask: Mask::NONE,
            },
            activation: config.activation,
            width,
            variant: config.variant,
            words: from.embeddings(&table("word"), [config.vocab_size, width])?,
            positions: from.embeddings(&table("position"), [config.max_position_embeddings, width])?,
            types: n_types.map(|n_types| from.embeddings(&table("token_type"), [n_types, width])).transpose()?,
            norm: Norm::layer(
                from,
                &format!("{prefix}embeddings.LayerNorm"),
                width,
                config.layer_norm_eps,
                Bias::Given,
            )?,
            projection: is_projected
                .then(|| from.linear(&format!("{prefix}embeddings_project"), [hidden, width], Bias::Given))
                .transpose()?,
            layers: (0..config.num_hidden_layers).map(|n| Layer::load(config, n, from)).collect::<Result<_, _>>()?,
            pooler: from.linear(pooler, [hidden, hidden], Bias::Given)?,
            pooler_activation,
        })
    }

    /// The memory of the linear layers and embeddings, in bytes.
    pub(crate) fn n_bytes(&self) -> usize {
        let tables = [&self.words, &self.positions].into_iter().chain(&self.types);
        let tables = tables.map(|table| B::embeddings_bytes(&table.rows)).sum::<usize>();
        let of_layer = |layer: &Layer<B>| {
            let Layer { q, k, v, o, up, down, .. } = layer;
            [q, k, v, o, up, down].into_iter().map(Linear::n_bytes).sum::<usize>()
        };
        let others = [&self.pooler].into_iter().chain(&self.projection).map(Linear::n_bytes).sum::<usize>();
        tables + others + self.layers.iter().map(of_layer).sum::<usize>()
    }

    /// The pooled states for the head: [n_entries, hidden].
    pub(crate) fn scored_states(&self, pass: &Pass<'_, B>) -> Result<B::Rows, B::Error> {
        let states = self.states(pass)?;
        pass.linear(&self.pooler, &states, &pass.scored_adapters, &Epilogue::activate(self.pooler_activation))
    }

    /// The final hidden states of the scored tokens: [n_entries, hidden].
    pub(crate) fn states(&self, pass: &Pass<'_, B>) -> Result<B::Rows, B::Error> {
        let attention = pass.plan_attention(&self.attention, None)?;
        let mut x = self.embed(pass)?;
        for (n, layer) in self.layers.iter().enumerate() {
            x = layer.forward(x, pass, &attention, self.activation, n + 1 == self.layers.len())?;
            x = pass.backend.after_layer(x)?;
        }
        Ok(x)
    }

    /// The embedded tokens: [n_tokens, hidden].
    fn embed(&self, pass: &Pass<'_, B>) -> Result<B::Rows, B::Error> {
        let pack = pass.pack;
        let positions: Vec<u32> = match self.variant {
            BertVariant::Roberta { pad_token_id, .. } => positions_after(pad_token_id, &pack.ids, pack.positions()),
            _ => pack.positions().map(|at| at as u32).collect(),
        };
        let types = self.types.as_ref().map(|types| (types, &*pack.type_ids));
        let tables: Vec<_> =
            [(&self.words, &*pack.ids)].into_iter().chain(types).chain([(&self.positions, &*positions)]).collect();
        let sum = pass.look_up(&tables, self.width)?;
        let normed = pass.norm(&self.norm, Cow::Owned(sum), &pass.adapters)?;
        match &self.projection {
            Some(projection) => pass.linear(projection, &normed, &pass.adapters, &Epilogue::NONE),
            None => Ok(normed),
        }
    }
}

impl<B: Backend> Layer<B> {
    fn load(config: &BertSettings, n: usize, from: &mut Loader<'_, B>) -> Result<Self, ModelError> {
        let (hidden, inner, eps) = (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
        let names = if config.variant == BertVariant::DistilBert { &DISTILBERT_NAMES } else { &NAMES };
        let layer = format!("{}{}.{n}", prefix(config.variant).prefix, names.layers);
        let name = |module: &str| format!("{layer}.{module}");
        let [q, k, v, o] = names.attention;
        Ok(Self {
            q: from.linear(&name(q), [hidden, hidden], Bias::Given)?,
            k: from.linear(&name(k), [hidden, hidden], Bias::Given)?,
            v: from.linear(&name(v), [hidden, hidden], Bias::Given)?,
            o: from.linear(&name(o), [hidden, hidden], Bias::Given)?,
            attention_norm: Norm::layer(from, &name(names.attention_norm), hidden, eps, Bias::Given)?,
            up: from.linear(&name(names.up), [inner, hidden], Bias::Given)?,
            down: from.linear(&name(names.down), [hidden, inner], Bias::Given)?,
            output_norm: Norm::layer(from, &name(names.output_norm), hidden, eps, Bias::Given)?,
        })
    }

    /// x: [n_tokens, hidden]; returns the same shape, or [n_entries, hidden] in the last layer.
    fn forward(
        &self,
        x: B::Rows,
        pass: &Pass<'_, B>,
        attention: &PassAttention<B>,
        activation: Activation,
        is_last: bool,
    ) -> Result<B::Rows, B::Error> {
        let Attended { mixed, x, adapters } =
            pass.attention(attention, [&self.q, &self.k, &self.v], x, Norms::NONE, is_last)?;
        let x = pass.linear(&self.o, &mixed, adapters, &Epilogue::add(&x))?;
        let x = pass.norm(&self.attention_norm, Cow::Owned(x), adapters)?;
        let inner = pass.linear(&self.up, &x, adapters, &Epilogue::activate(activation))?;
        let x = pass.linear(&self.down, &inner, adapters, &Epilogue::add(&x))?;
        pass.norm(&self.output_norm, Cow::Owned(x), adapters)
    }
}

/// Hugging Face's `create_position_ids_from_input_ids`: positions start after the padding token's id. A padding token within a
/// text gets its id as position, and is not counted.
fn positions_after(pad_token_id: u32, ids: &[u32], positions: impl Iterator<Item = usize>) -> Vec<u32> {
    let mut n_counted = 0;
    let position = |(id, at): (&u32, usize)| {
        n_counted = if at == 0 { 0 } else { n_counted };
        n_counted += u32::from(*id != pad_token_id);
        if *id == pad_token_id { pad_token_id } else { pad_token_id + n_counted }
    };
    ids.iter().zip(positions).map(position).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roberta_positions_start_after_the_padding_token_and_skip_it() {
        let check = |ids: &[u32], at: &[usize], expected: &[u32]| {
            assert_eq!(positions_after(1, ids, at.iter().copied()), expected);
        };
        check(&[0, 7, 8, 2], &[0, 1, 2, 3], &[2, 3, 4, 5]);
        check(&[0, 7, 1, 8, 2, 0, 9], &[0, 1, 2, 3, 4, 0, 1], &[2, 3, 1, 4, 5, 2, 3]);
        check(&[1, 7, 1, 2], &[0, 1, 0, 1], &[1, 2, 1, 2]);
    }
}
