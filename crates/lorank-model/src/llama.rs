//! Llama as a sequence classifier: the reference forward pass, one sequence at a time.
//!
//! The arithmetic is that of Hugging Face's `LlamaForSequenceClassification` in f32 with eager attention:
//! RMS norm before each block, rotary positions on halves, grouped-query attention, SwiGLU, and the logit of the
//! last token that is not the pad id. One sequence at a time needs no padding, so a score cannot depend on batch-mates.

use std::f32::consts::PI;

use candle_core::{Device, Tensor};
use candle_nn::ops::{rms_norm, silu, softmax_last_dim};
use candle_nn::rotary_emb::rope;
use candle_transformers::models::llama::Llama3RopeConfig;

use crate::ModelError;
use crate::config::{LlamaSettings, RopeScaling};
use crate::linear::{HeadSpec, Linear, Loader};
use crate::lora::Adapter;

/// `LlamaForSequenceClassification.score`: no bias.
pub(crate) const HEAD: HeadSpec = HeadSpec { weight: "score.weight", bias: None };

/// The backbone, without a head.
#[derive(Debug)]
pub(crate) struct Llama {
    settings: LlamaSettings,
    /// [vocab, hidden]
    embeddings: Tensor,
    layers: Vec<Layer>,
    /// [hidden]
    norm: Tensor,
    /// One frequency per pair of dimensions, in radians per position.
    frequencies: Vec<f32>,
    pad_token_id: Option<u32>,
}

#[derive(Debug)]
struct Layer {
    attention_norm: Tensor,
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    mlp_norm: Tensor,
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Llama {
    pub(crate) fn load(
        settings: LlamaSettings,
        pad_token_id: Option<u32>,
        from: &mut Loader<'_>,
    ) -> Result<Self, ModelError> {
        let numbers = &settings.numbers;
        let embeddings = from.tensor("model.embed_tokens.weight", &[numbers.vocab_size, numbers.hidden_size])?;
        let layers =
            (0..numbers.num_hidden_layers).map(|n| Layer::load(&settings, n, from)).collect::<Result<_, _>>()?;
        let norm = from.tensor("model.norm.weight", &[numbers.hidden_size])?;
        let frequencies = frequencies(numbers.rope_theta, settings.head_dim, &settings.rope);
        Ok(Self { settings, embeddings, layers, norm, frequencies, pad_token_id })
    }

    pub(crate) fn hidden_size(&self) -> usize {
        self.settings.numbers.hidden_size
    }

    pub(crate) fn max_position_embeddings(&self) -> usize {
        self.settings.numbers.max_position_embeddings
    }

    /// The hidden state that the head reads, [1, hidden]: that of the last token that is not the pad id.
    ///
    /// Attention is causal, so the tokens after it change nothing and are left out.
    pub(crate) fn scored_state(&self, ids: &[u32], adapter: Option<&Adapter>) -> candle_core::Result<Tensor> {
        let last = ids.iter().rposition(|id| Some(*id) != self.pad_token_id).unwrap_or(0);
        let states = self.states(&ids[..=last], adapter)?;
        states.narrow(0, last, 1)
    }

    /// The final hidden states, [n, hidden].
    fn states(&self, ids: &[u32], adapter: Option<&Adapter>) -> candle_core::Result<Tensor> {
        let device = self.embeddings.device();
        let positions = Positions::new(&self.frequencies, ids.len(), device)?;
        let mut x = self.embeddings.index_select(&Tensor::new(ids, device)?, 0)?;
        for layer in &self.layers {
            x = layer.forward(&x, &positions, &self.settings, adapter)?;
        }
        rms_norm(&x, &self.norm, self.settings.numbers.rms_norm_eps as f32)
    }
}

impl Layer {
    fn load(settings: &LlamaSettings, n: usize, from: &mut Loader<'_>) -> Result<Self, ModelError> {
        let numbers = &settings.numbers;
        let (hidden, inner) = (numbers.hidden_size, numbers.intermediate_size);
        let q_dim = numbers.num_attention_heads * settings.head_dim;
        let kv_dim = numbers.num_key_value_heads() * settings.head_dim;
        let name = |part: &str| format!("model.layers.{n}.{part}");
        Ok(Self {
            attention_norm: from.tensor(&name("input_layernorm.weight"), &[hidden])?,
            q: from.linear(&name("self_attn.q_proj"), q_dim, hidden)?,
            k: from.linear(&name("self_attn.k_proj"), kv_dim, hidden)?,
            v: from.linear(&name("self_attn.v_proj"), kv_dim, hidden)?,
            o: from.linear(&name("self_attn.o_proj"), hidden, q_dim)?,
            mlp_norm: from.tensor(&name("post_attention_layernorm.weight"), &[hidden])?,
            gate: from.linear(&name("mlp.gate_proj"), inner, hidden)?,
            up: from.linear(&name("mlp.up_proj"), inner, hidden)?,
            down: from.linear(&name("mlp.down_proj"), hidden, inner)?,
        })
    }

    /// x: [n, hidden]; the result too.
    fn forward(
        &self,
        x: &Tensor,
        at: &Positions,
        settings: &LlamaSettings,
        adapter: Option<&Adapter>,
    ) -> candle_core::Result<Tensor> {
        let eps = settings.numbers.rms_norm_eps as f32;
        let x = (x + self.attention(&rms_norm(x, &self.attention_norm, eps)?, at, settings, adapter)?)?;
        let h = rms_norm(&x, &self.mlp_norm, eps)?;
        let gated = (silu(&self.gate.forward(&h, adapter)?)? * self.up.forward(&h, adapter)?)?;
        x + self.down.forward(&gated, adapter)?
    }

    fn attention(
        &self,
        x: &Tensor,
        at: &Positions,
        settings: &LlamaSettings,
        adapter: Option<&Adapter>,
    ) -> candle_core::Result<Tensor> {
        let (n, dim) = (x.dim(0)?, settings.head_dim);
        let (heads, kv_heads) = (settings.numbers.num_attention_heads, settings.numbers.num_key_value_heads());
        let split = |y: Tensor, heads: usize| y.reshape((n, heads, dim))?.transpose(0, 1)?.contiguous();
        let q = at.rotate(&split(self.q.forward(x, adapter)?, heads)?)?;
        let k = at.rotate(&split(self.k.forward(x, adapter)?, kv_heads)?)?;
        let v = split(self.v.forward(x, adapter)?, kv_heads)?;
        // The query heads of one key-value head stand beside each other, so they are rows of one product.
        let rows = heads / kv_heads * n;
        let q = (q.reshape((kv_heads, rows, dim))? / (dim as f64).sqrt())?;
        let scores = q.matmul(&k.t()?)?.reshape((heads, n, n))?.broadcast_add(&at.causal)?;
        let weights = softmax_last_dim(&scores)?.reshape((kv_heads, rows, n))?;
        let mixed = weights.matmul(&v)?.reshape((heads, n, dim))?.transpose(0, 1)?.reshape((n, heads * dim))?;
        self.o.forward(&mixed, adapter)
    }
}

/// What depends on the positions of a sequence alone.
struct Positions {
    /// [n, head_dim / 2]
    cos: Tensor,
    /// [n, head_dim / 2]
    sin: Tensor,
    /// [n, n]: minus infinity where a token would look ahead.
    causal: Tensor,
}

impl Positions {
    fn new(frequencies: &[f32], n: usize, device: &Device) -> candle_core::Result<Self> {
        let angles: Vec<f32> = (0..n).flat_map(|at| frequencies.iter().map(move |f| at as f32 * f)).collect();
        let angles = Tensor::from_vec(angles, (n, frequencies.len()), device)?;
        let ahead = (0..n).flat_map(|row| (0..n).map(move |column| if column > row { f32::NEG_INFINITY } else { 0.0 }));
        let causal = Tensor::from_vec(ahead.collect(), (n, n), device)?;
        Ok(Self { cos: angles.cos()?, sin: angles.sin()?, causal })
    }

    /// x: [heads, n, head_dim]; the result too.
    fn rotate(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        rope(&x.unsqueeze(0)?, &self.cos, &self.sin)?.squeeze(0)
    }
}

/// The rotary frequencies `theta^(-2i/d)` (arXiv 2104.09864), scaled as the configuration asks.
fn frequencies(theta: f32, head_dim: usize, scaling: &RopeScaling) -> Vec<f32> {
    let plain = (0..head_dim).step_by(2).map(|i| 1.0 / theta.powf(i as f32 / head_dim as f32));
    match scaling {
        RopeScaling::None => plain.collect(),
        RopeScaling::Linear(factor) => plain.map(|f| f / factor).collect(),
        RopeScaling::Llama3(llama3) => plain.map(|f| llama3_frequency(f, llama3)).collect(),
    }
}

/// Hugging Face's `_compute_llama3_parameters`: wavelengths past the original context are stretched by the factor, those
/// well within it are kept, and those between are blended.
fn llama3_frequency(frequency: f32, scaling: &Llama3RopeConfig) -> f32 {
    let original = scaling.original_max_position_embeddings as f32;
    let wavelength = 2.0 * PI / frequency;
    if wavelength > original / scaling.low_freq_factor {
        frequency / scaling.factor
    } else if wavelength < original / scaling.high_freq_factor {
        frequency
    } else {
        let blend =
            (original / wavelength - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
        (1.0 - blend) * frequency / scaling.factor + blend * frequency
    }
}
