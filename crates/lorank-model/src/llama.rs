//! Llama, Mistral, Qwen2, Qwen3, Gemma and bidirectional Llamas as sequence classifiers.
//!
//! Computes the same as Hugging Face's `LlamaForSequenceClassification` and its relatives: RMS norm before each block,
//! rotary positions on halves, grouped-query attention, a gated feed-forward network (SwiGLU), and the logit of the last
//! token that is not the pad token. The last layer computes only that token's row.
//!
//! The relatives have the same layers. In Mistral and some Qwens a token attends to a window of tokens before it. Qwen2
//! has biases of queries, keys and values, and Qwen3 has norms of each head's queries and keys. Gemma scales its
//! embeddings, adds one to the weights of its norms, and has GeGLU instead of SwiGLU. In NVIDIA's bidirectional Llamas, a
//! token attends to all others, and the head scores the first state, the last one, or the mean of all.

use std::borrow::Cow;

use lorank_kernels::{Activation, Mask};

use crate::ModelError;
use crate::attention::AttentionShape;
use crate::backend::Backend;
use crate::backend::linear::{Epilogue, Linear};
use crate::config::{Direction, LlamaSettings, LlamaVariant, StatePooling};
use crate::embedding::Table;
use crate::head::HeadSpec;
use crate::loader::{Bias, Loader};
use crate::norm::{HeadNorm, Norm};
use crate::pass::{Attended, Norms, Pass, PassAttention, Stage};
use crate::rope::frequencies;
use crate::rotary::RotaryTable;

/// `LlamaForSequenceClassification.score`: no bias.
pub(crate) const HEAD: HeadSpec = HeadSpec { weight: "score.weight", bias: None };

/// The backbone, without a head.
#[derive(Debug)]
pub(crate) struct Llama<B: Backend> {
    /// The kinds of attention, which differ in their masks.
    attentions: Vec<AttentionShape>,
    /// Whether the mean of all states is scored, and not the state of one token.
    is_mean: bool,
    hidden: usize,
    /// [vocab, hidden]
    embeddings: Table<B>,
    /// The factor of the embeddings.
    embedding_scale: Option<f32>,
    activation: Activation,
    layers: Vec<Layer<B>>,
    norm: Norm<B>,
    rotary: RotaryTable<B>,
}

#[derive(Debug)]
struct Layer<B: Backend> {
    /// The index of its kind of attention.
    attention: usize,
    attention_norm: Norm<B>,
    q: Linear<B>,
    k: Linear<B>,
    v: Linear<B>,
    /// The norms of queries and keys.
    head_norms: Option<[HeadNorm<B>; 2]>,
    o: Linear<B>,
    mlp_norm: Norm<B>,
    gate: Linear<B>,
    up: Linear<B>,
    down: Linear<B>,
}

impl<B: Backend> Llama<B> {
    pub(crate) fn load(settings: &LlamaSettings, from: &mut Loader<'_, B>) -> Result<Self, ModelError> {
        let numbers = &settings.numbers;
        let hidden = numbers.hidden_size;
        let embeddings = from.embeddings("model.embed_tokens", [numbers.vocab_size, hidden])?;
        let mut windows = settings.windows.clone();
        windows.sort_unstable();
        windows.dedup();
        let layers = (0..numbers.num_hidden_layers)
            .map(|n| Layer::load(settings, &windows, n, from))
            .collect::<Result<_, _>>()?;
        let norm = Norm::rms(from, "model.norm", hidden, numbers.rms_norm_eps, norm_offset(settings))?;
        let frequencies = frequencies(numbers.rope_theta, settings.head_dim, &settings.rope);
        let attention = |window: &Option<usize>| AttentionShape {
            n_heads: numbers.num_attention_heads,
            n_kv_heads: numbers.num_key_value_heads(),
            head_dim: settings.head_dim,
            // The window includes the token itself.
            mask: Mask { is_causal: settings.direction == Direction::Causal, window: window.map(|window| window - 1) },
        };
        Ok(Self {
            attentions: windows.iter().map(attention).collect(),
            is_mean: matches!(settings.direction, Direction::Both { pooling: StatePooling::Mean, .. }),
            hidden,
            embeddings,
            embedding_scale: (settings.variant == LlamaVariant::Gemma).then_some((hidden as f32).sqrt()),
            activation: settings.activation,
            layers,
            norm,
            rotary: RotaryTable::new(frequencies),
        })
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
        let plan = |shape| pass.plan_attention(shape, Some(&self.rotary));
        let attentions = self.attentions.iter().map(plan).collect::<Result<Vec<_>, _>>()?;
        let mut x = pass.look_up(&[(&self.embeddings, &*pass.pack.ids)], self.hidden)?;
        if let Some(factor) = self.embedding_scale {
            x = pass.time(Stage::Embedding, || pass.backend.scale(x, factor))?;
        }
        for (n, layer) in self.layers.iter().enumerate() {
            let attention = &attentions[layer.attention];
            let scored_only = n + 1 == self.layers.len() && !self.is_mean;
            x = layer.forward(x, pass, attention, self.activation, scored_only)?;
            x = pass.backend.after_layer(x)?;
        }
        if self.is_mean {
            let states = pass.norm(&self.norm, Cow::Owned(x), &pass.adapters)?;
            return pass.backend.mean(&states, &pass.pack.entry_rows());
        }
        pass.norm(&self.norm, Cow::Owned(x), &pass.scored_adapters)
    }
}

impl<B: Backend> Layer<B> {
    /// `windows` are the model's different windows.
    fn load(
        settings: &LlamaSettings,
        windows: &[Option<usize>],
        n: usize,
        from: &mut Loader<'_, B>,
    ) -> Result<Self, ModelError> {
        let numbers = &settings.numbers;
        let (hidden, inner, eps) = (numbers.hidden_size, numbers.intermediate_size, numbers.rms_norm_eps);
        let (head_dim, offset) = (settings.head_dim, norm_offset(settings));
        let (n_heads, n_kv_heads) = (numbers.num_attention_heads, numbers.num_key_value_heads());
        let (q_dim, kv_dim) = (n_heads * head_dim, n_kv_heads * head_dim);
        let name = |module: &str| format!("model.layers.{n}.{module}");
        let (of_qkv, of_mlp) = (Bias::given(settings.qkv_bias), Bias::given(settings.mlp_bias));
        Ok(Self {
            attention: windows.iter().position(|window| *window == settings.windows[n]).unwrap_or(0),
            attention_norm: Norm::rms(from, &name("input_layernorm"), hidden, eps, offset)?,
            q: from.linear(&name("self_attn.q_proj"), [q_dim, hidden], of_qkv)?,
            k: from.linear(&name("self_attn.k_proj"), [kv_dim, hidden], of_qkv)?,
            v: from.linear(&name("self_attn.v_proj"), [kv_dim, hidden], of_qkv)?,
            head_norms: match settings.variant {
                LlamaVariant::Qwen3 => Some([
                    HeadNorm::rms(from, &name("self_attn.q_norm"), [n_heads, head_dim], eps)?,
                    HeadNorm::rms(from, &name("self_attn.k_norm"), [n_kv_heads, head_dim], eps)?,
                ]),
                _ => None,
            },
            o: from.linear(&name("self_attn.o_proj"), [hidden, q_dim], Bias::given(settings.o_bias))?,
            mlp_norm: Norm::rms(from, &name("post_attention_layernorm"), hidden, eps, offset)?,
            gate: from.linear(&name("mlp.gate_proj"), [inner, hidden], of_mlp)?,
            up: from.linear(&name("mlp.up_proj"), [inner, hidden], of_mlp)?,
            down: from.linear(&name("mlp.down_proj"), [hidden, inner], of_mlp)?,
        })
    }

    /// x: [n_tokens, hidden]; returns the same shape, or [n_entries, hidden] if `scored_only`.
    fn forward(
        &self,
        x: B::Rows,
        pass: &Pass<'_, B>,
        attention: &PassAttention<B>,
        activation: Activation,
        scored_only: bool,
    ) -> Result<B::Rows, B::Error> {
        let norms = Norms { input: Some(&self.attention_norm), heads: self.head_norms.as_ref() };
        let Attended { mixed, x, adapters } =
            pass.attention(attention, [&self.q, &self.k, &self.v], x, norms, scored_only)?;
        let x = pass.linear(&self.o, &mixed, adapters, &Epilogue::add(&x))?;
        let h = pass.norm(&self.mlp_norm, Cow::Borrowed(&x), adapters)?;
        let [gate, up] = pass.linears([&self.gate, &self.up], &h, adapters)?;
        let inner = pass.time(Stage::Activation, || pass.backend.gated(gate, &up, activation))?;
        pass.linear(&self.down, &inner, adapters, &Epilogue::add(&x))
    }
}

/// What is added to the weights of norms.
fn norm_offset(settings: &LlamaSettings) -> f32 {
    if settings.variant == LlamaVariant::Gemma { 1.0 } else { 0.0 }
}
