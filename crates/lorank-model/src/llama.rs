//! Llama as a sequence classifier.
//!
//! Computes the same as Hugging Face's `LlamaForSequenceClassification`: RMS norm before each block, rotary positions
//! on halves, grouped-query attention, SwiGLU, and the logit of the last token that is not the pad token. The last
//! layer computes only that token's row.

use std::borrow::Cow;

use lorank_kernels::{Activation, Mask};

use crate::ModelError;
use crate::attention::{Angles, AttentionShape};
use crate::backend::Backend;
use crate::backend::linear::{Epilogue, Linear};
use crate::config::LlamaSettings;
use crate::embedding::Table;
use crate::head::HeadSpec;
use crate::loader::{Bias, Loader};
use crate::norm::Norm;
use crate::pass::{Attended, Pass, PassAttention, Stage};
use crate::rope::frequencies;

/// `LlamaForSequenceClassification.score`: no bias.
pub(crate) const HEAD: HeadSpec = HeadSpec { weight: "score.weight", bias: None };

/// The backbone, without a head.
#[derive(Debug)]
pub(crate) struct Llama<B: Backend> {
    attention: AttentionShape,
    hidden: usize,
    /// [vocab, hidden]
    embeddings: Table<B>,
    layers: Vec<Layer<B>>,
    norm: Norm<B>,
    /// One frequency per pair of dimensions, in radians per position. [head_dim / 2]
    frequencies: Vec<f32>,
}

#[derive(Debug)]
struct Layer<B: Backend> {
    attention_norm: Norm<B>,
    q: Linear<B>,
    k: Linear<B>,
    v: Linear<B>,
    o: Linear<B>,
    mlp_norm: Norm<B>,
    gate: Linear<B>,
    up: Linear<B>,
    down: Linear<B>,
}

impl<B: Backend> Llama<B> {
    pub(crate) fn load(settings: &LlamaSettings, from: &mut Loader<'_, B>) -> Result<Self, ModelError> {
        let numbers = &settings.numbers;
        let embeddings = from.embeddings("model.embed_tokens", [numbers.vocab_size, numbers.hidden_size])?;
        let layers =
            (0..numbers.num_hidden_layers).map(|n| Layer::load(settings, n, from)).collect::<Result<_, _>>()?;
        let norm = Norm::rms(from, "model.norm", numbers.hidden_size, numbers.rms_norm_eps)?;
        let frequencies = frequencies(numbers.rope_theta, settings.head_dim, &settings.rope);
        let attention = AttentionShape {
            n_heads: numbers.num_attention_heads,
            n_kv_heads: numbers.num_key_value_heads(),
            head_dim: settings.head_dim,
            mask: Mask::CAUSAL,
        };
        Ok(Self { attention, hidden: numbers.hidden_size, embeddings, layers, norm, frequencies })
    }

    /// The memory of the linear layers and embeddings, in bytes.
    pub(crate) fn n_bytes(&self) -> usize {
        let of_layer = |layer: &Layer<B>| {
            let Layer { q, k, v, o, gate, up, down, .. } = layer;
            [q, k, v, o, gate, up, down].into_iter().map(Linear::n_bytes).sum::<usize>()
        };
        B::embeddings_bytes(&self.embeddings.rows) + self.layers.iter().map(of_layer).sum::<usize>()
    }

    /// The hidden states for the head: [n_entries, hidden].
    pub(crate) fn scored_states(&self, pass: &Pass<'_, B>) -> Result<B::Rows, B::Error> {
        let angles = Angles::new(&self.frequencies, pass.pack.n_positions());
        let attention = pass.plan_attention(&self.attention, Some(&angles))?;
        let mut x = pass.look_up(&[(&self.embeddings, &*pass.pack.ids)], self.hidden)?;
        for (n, layer) in self.layers.iter().enumerate() {
            x = layer.forward(x, pass, &attention, n + 1 == self.layers.len())?;
        }
        pass.norm(&self.norm, Cow::Owned(x), &pass.scored_adapters)
    }
}

impl<B: Backend> Layer<B> {
    fn load(settings: &LlamaSettings, n: usize, from: &mut Loader<'_, B>) -> Result<Self, ModelError> {
        let numbers = &settings.numbers;
        let (hidden, inner, eps) = (numbers.hidden_size, numbers.intermediate_size, numbers.rms_norm_eps);
        let q_dim = numbers.num_attention_heads * settings.head_dim;
        let kv_dim = numbers.num_key_value_heads() * settings.head_dim;
        let name = |module: &str| format!("model.layers.{n}.{module}");
        let (of_attention, of_mlp) = (Bias::given(settings.attention_bias), Bias::given(settings.mlp_bias));
        Ok(Self {
            attention_norm: Norm::rms(from, &name("input_layernorm"), hidden, eps)?,
            q: from.linear(&name("self_attn.q_proj"), [q_dim, hidden], of_attention)?,
            k: from.linear(&name("self_attn.k_proj"), [kv_dim, hidden], of_attention)?,
            v: from.linear(&name("self_attn.v_proj"), [kv_dim, hidden], of_attention)?,
            o: from.linear(&name("self_attn.o_proj"), [hidden, q_dim], of_attention)?,
            mlp_norm: Norm::rms(from, &name("post_attention_layernorm"), hidden, eps)?,
            gate: from.linear(&name("mlp.gate_proj"), [inner, hidden], of_mlp)?,
            up: from.linear(&name("mlp.up_proj"), [inner, hidden], of_mlp)?,
            down: from.linear(&name("mlp.down_proj"), [hidden, inner], of_mlp)?,
        })
    }

    /// x: [n_tokens, hidden]; returns the same shape, or [n_entries, hidden] in the last layer.
    fn forward(
        &self,
        x: B::Rows,
        pass: &Pass<'_, B>,
        attention: &PassAttention<'_, B>,
        is_last: bool,
    ) -> Result<B::Rows, B::Error> {
        let norm = Some(&self.attention_norm);
        let Attended { mixed, x, adapters } =
            pass.attention(attention, [&self.q, &self.k, &self.v], x, norm, is_last)?;
        let x = pass.linear(&self.o, &mixed, adapters, &Epilogue::add(&x))?;
        let h = pass.norm(&self.mlp_norm, Cow::Borrowed(&x), adapters)?;
        let [gate, up] = pass.linears([&self.gate, &self.up], &h, adapters)?;
        let inner = pass.time(Stage::Activation, || pass.backend.gated(gate, &up, Activation::Silu))?;
        pass.linear(&self.down, &inner, adapters, &Epilogue::add(&x))
    }
}
