//! Llama as a sequence classifier.
//!
//! The arithmetic is that of Hugging Face's `LlamaForSequenceClassification`: RMS norm before each block, rotary positions
//! on halves, grouped-query attention, SwiGLU, and the logit of the last token that is not the pad id. Of the last layer
//! only that token's row is computed.

use std::f32::consts::PI;

use candle_nn::ops::silu;
use candle_transformers::models::llama::Llama3RopeConfig;
use lorank_kernels::{Isa, gated};

use crate::ModelError;
use crate::attention::{Angles, Attention};
use crate::config::{LlamaSettings, RopeScaling};
use crate::engine::{Embeddings, ONE_ENGINE, Rows};
use crate::linear::{HeadSpec, Linear, Loader, Then};
use crate::norm::Norm;
use crate::pack::Scored;
use crate::pass::{Pass, Piece};

/// `LlamaForSequenceClassification.score`: no bias.
pub(crate) const HEAD: HeadSpec = HeadSpec { weight: "score.weight", bias: None };

/// The backbone, without a head.
#[derive(Debug)]
pub(crate) struct Llama {
    settings: LlamaSettings,
    /// [vocab, hidden]
    embeddings: Embeddings,
    layers: Vec<Layer>,
    norm: Norm,
    /// One frequency per pair of dimensions, in radians per position.
    frequencies: Vec<f32>,
    pad_token_id: Option<u32>,
}

#[derive(Debug)]
struct Layer {
    attention_norm: Norm,
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    mlp_norm: Norm,
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
        let embeddings = from.embeddings("model.embed_tokens.weight", [numbers.vocab_size, numbers.hidden_size])?;
        let layers =
            (0..numbers.num_hidden_layers).map(|n| Layer::load(&settings, n, from)).collect::<Result<_, _>>()?;
        let norm = Norm::rms(from, "model.norm", numbers.hidden_size, numbers.rms_norm_eps)?;
        let frequencies = frequencies(numbers.rope_theta, settings.head_dim, &settings.rope);
        Ok(Self { settings, embeddings, layers, norm, frequencies, pad_token_id })
    }

    pub(crate) fn hidden_size(&self) -> usize {
        self.settings.numbers.hidden_size
    }

    pub(crate) fn max_position_embeddings(&self) -> usize {
        self.settings.numbers.max_position_embeddings
    }

    /// Which token is scored.
    pub(crate) fn scored(&self) -> Scored {
        Scored::Last { pad_token_id: self.pad_token_id }
    }

    /// How many token ids have an embedding.
    pub(crate) fn n_tokens_known(&self) -> usize {
        self.embeddings.n_rows()
    }

    /// The bytes that the linear layers and the embeddings take in memory.
    pub(crate) fn n_bytes(&self) -> usize {
        let of_layer = |layer: &Layer| {
            let Layer { q, k, v, o, gate, up, down, .. } = layer;
            [q, k, v, o, gate, up, down].into_iter().map(Linear::n_bytes).sum::<usize>()
        };
        self.embeddings.n_bytes() + self.layers.iter().map(of_layer).sum::<usize>()
    }

    /// The hidden states that the head reads, [n_entries, hidden].
    pub(crate) fn scored_states(&self, pass: &Pass<'_>) -> candle_core::Result<Rows> {
        let angles = Angles::new(&self.frequencies, pass.pack.n_positions());
        let mut x = pass.time(Piece::Embedding, || pass.engine.look_up(&[(&self.embeddings, &pass.pack.ids)]))?;
        for (n, layer) in self.layers.iter().enumerate() {
            x = layer.forward(x, pass, &angles, &self.settings, n + 1 == self.layers.len())?;
        }
        pass.time(Piece::Norm, || self.norm.forward(x))
    }
}

impl Layer {
    fn load(settings: &LlamaSettings, n: usize, from: &mut Loader<'_>) -> Result<Self, ModelError> {
        let numbers = &settings.numbers;
        let (hidden, inner, eps) = (numbers.hidden_size, numbers.intermediate_size, numbers.rms_norm_eps);
        let q_dim = numbers.num_attention_heads * settings.head_dim;
        let kv_dim = numbers.num_key_value_heads() * settings.head_dim;
        let name = |part: &str| format!("model.layers.{n}.{part}");
        Ok(Self {
            attention_norm: Norm::rms(from, &name("input_layernorm"), hidden, eps)?,
            q: from.linear(&name("self_attn.q_proj"), q_dim, hidden)?,
            k: from.linear(&name("self_attn.k_proj"), kv_dim, hidden)?,
            v: from.linear(&name("self_attn.v_proj"), kv_dim, hidden)?,
            o: from.linear(&name("self_attn.o_proj"), hidden, q_dim)?,
            mlp_norm: Norm::rms(from, &name("post_attention_layernorm"), hidden, eps)?,
            gate: from.linear(&name("mlp.gate_proj"), inner, hidden)?,
            up: from.linear(&name("mlp.up_proj"), inner, hidden)?,
            down: from.linear(&name("mlp.down_proj"), hidden, inner)?,
        })
    }

    /// x: [n_tokens, hidden]; the result too, or in the last layer [n_entries, hidden].
    fn forward(
        &self,
        x: Rows,
        pass: &Pass<'_>,
        angles: &Angles,
        settings: &LlamaSettings,
        is_last: bool,
    ) -> candle_core::Result<Rows> {
        let attention = Attention {
            n_heads: settings.numbers.num_attention_heads,
            n_kv_heads: settings.numbers.num_key_value_heads(),
            head_dim: settings.head_dim,
            is_causal: true,
        };
        let layers = [&self.q, &self.k, &self.v];
        let norm = Some(&self.attention_norm);
        let (mixed, x, parts) = pass.attention(&attention, layers, x, norm, Some(angles), is_last)?;
        let x = pass.linear(&self.o, &mixed, parts, Then::add(&x))?;
        let h = pass.time(Piece::Norm, || self.mlp_norm.forward(x.clone()))?;
        let [gate, up] = pass.linears([&self.gate, &self.up], &h, parts)?;
        let inner = pass.time(Piece::Activation, || silu_times(gate, &up))?;
        pass.linear(&self.down, &inner, parts, Then::add(&x))
    }
}

/// `silu(gate) * up`
fn silu_times(gate: Rows, up: &Rows) -> candle_core::Result<Rows> {
    match (gate, up) {
        (Rows::Kernels { mut numbers, width }, Rows::Kernels { numbers: up, .. }) => {
            gated(&mut numbers, up, Isa::detect());
            Ok(Rows::Kernels { numbers, width })
        }
        (Rows::Candle(gate), Rows::Candle(up)) => (silu(&gate)? * up).map(Rows::Candle),
        _ => unreachable!("{ONE_ENGINE}"),
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
