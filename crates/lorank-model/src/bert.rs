//! BERT and RoBERTa as sequence classifiers.
//!
//! Computes the same as Hugging Face's `BertForSequenceClassification` and `RobertaForSequenceClassification`: norm after each
//! block, absolute positions, and a dense layer with tanh and a classifier over the first token's state. The last layer
//! computes only that token's row.
//!
//! RoBERTa and XLM-RoBERTa have the same layers as BERT, with three differences: the names of the tensors; positions start
//! after the id of the padding token; and the dense layer, BERT's pooler, belongs to the head (`classifier.dense`).

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
use crate::pass::{Attended, Pass, PassAttention};
use crate::weights::Prefix;

/// `BertForSequenceClassification.classifier`, or `RobertaForSequenceClassification.classifier.out_proj`.
pub(crate) fn head_spec(variant: BertVariant) -> HeadSpec {
    match variant {
        BertVariant::Bert => HeadSpec { weight: "classifier.weight", bias: Some("classifier.bias") },
        BertVariant::Roberta { .. } => {
            HeadSpec { weight: "classifier.out_proj.weight", bias: Some("classifier.out_proj.bias") }
        }
    }
}

/// How a checkpoint of the backbone alone names its tensors.
pub(crate) fn prefix(variant: BertVariant) -> Prefix {
    let prefix = match variant {
        BertVariant::Bert => "bert.",
        BertVariant::Roberta { .. } => "roberta.",
    };
    Prefix { prefix, names: &["embeddings.", "encoder.", "pooler."] }
}

/// The backbone and its pooler, without a head.
#[derive(Debug)]
pub(crate) struct Bert<B: Backend> {
    attention: AttentionShape,
    activation: Activation,
    hidden: usize,
    variant: BertVariant,
    /// [vocab, hidden]
    words: Table<B>,
    /// [max_position_embeddings, hidden]
    positions: Table<B>,
    /// [type_vocab_size, hidden]
    types: Table<B>,
    norm: Norm<B>,
    layers: Vec<Layer<B>>,
    /// The dense layer before the head.
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
        let prefix = prefix(config.variant).prefix;
        let table = |name: &str| format!("{prefix}embeddings.{name}_embeddings");
        let pooler = match config.variant {
            BertVariant::Bert => "bert.pooler.dense",
            BertVariant::Roberta { .. } => "classifier.dense",
        };
        Ok(Self {
            attention: AttentionShape {
                n_heads: config.num_attention_heads,
                n_kv_heads: config.num_attention_heads,
                head_dim: hidden / config.num_attention_heads,
                mask: Mask::NONE,
            },
            activation: config.activation,
            hidden,
            variant: config.variant,
            words: from.embeddings(&table("word"), [config.vocab_size, hidden])?,
            positions: from.embeddings(&table("position"), [config.max_position_embeddings, hidden])?,
            types: from.embeddings(&table("token_type"), [config.type_vocab_size, hidden])?,
            norm: Norm::layer(
                from,
                &format!("{prefix}embeddings.LayerNorm"),
                hidden,
                config.layer_norm_eps,
                Bias::Given,
            )?,
            layers: (0..config.num_hidden_layers).map(|n| Layer::load(config, n, from)).collect::<Result<_, _>>()?,
            pooler: from.linear(pooler, [hidden, hidden], Bias::Given)?,
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
        let positions: Vec<u32> = match self.variant {
            BertVariant::Bert => pack.positions().map(|at| at as u32).collect(),
            BertVariant::Roberta { pad_token_id, .. } => positions_after(pad_token_id, &pack.ids, pack.positions()),
        };
        let tables = [(&self.words, &*pack.ids), (&self.types, &*pack.type_ids), (&self.positions, &*positions)];
        let sum = pass.look_up(&tables, self.hidden)?;
        pass.norm(&self.norm, Cow::Owned(sum), &pass.adapters)
    }
}

impl<B: Backend> Layer<B> {
    fn load(config: &BertSettings, n: usize, from: &mut Loader<'_, B>) -> Result<Self, ModelError> {
        let (hidden, inner, eps) = (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
        let name = |module: &str| format!("{}encoder.layer.{n}.{module}", prefix(config.variant).prefix);
        Ok(Self {
            q: from.linear(&name("attention.self.query"), [hidden, hidden], Bias::Given)?,
            k: from.linear(&name("attention.self.key"), [hidden, hidden], Bias::Given)?,
            v: from.linear(&name("attention.self.value"), [hidden, hidden], Bias::Given)?,
            o: from.linear(&name("attention.output.dense"), [hidden, hidden], Bias::Given)?,
            attention_norm: Norm::layer(from, &name("attention.output.LayerNorm"), hidden, eps, Bias::Given)?,
            up: from.linear(&name("intermediate.dense"), [inner, hidden], Bias::Given)?,
            down: from.linear(&name("output.dense"), [hidden, inner], Bias::Given)?,
            output_norm: Norm::layer(from, &name("output.LayerNorm"), hidden, eps, Bias::Given)?,
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
