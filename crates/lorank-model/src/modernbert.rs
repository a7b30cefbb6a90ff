//! ModernBERT as a sequence classifier (arXiv 2412.13663).
//!
//! Computes the same as Hugging Face's `ModernBertForSequenceClassification`: a norm before each block except the first
//! layer's attention, rotary positions with two bases, global attention in some layers and a window of tokens in the
//! others, and GeGLU. The head scores the first token's state or the mean of all, through a dense layer and a norm. With
//! the first token's state, the last layer computes only that token's row.

use std::borrow::Cow;

use lorank_kernels::{Activation, Mask};

use crate::ModelError;
use crate::attention::AttentionShape;
use crate::backend::linear::{Epilogue, Linear};
use crate::backend::{Backend, Halves};
use crate::config::{ModernBertSettings, RopeScaling};
use crate::embedding::Table;
use crate::head::{HeadSpec, Pooling};
use crate::loader::{Bias, Loader};
use crate::norm::Norm;
use crate::pass::{Attended, Pass, PassAttention, Stage};
use crate::rope::frequencies;
use crate::rotary::RotaryTable;
use crate::weights::Prefix;

/// `ModernBertForSequenceClassification.classifier`.
pub(crate) fn head_spec(settings: &ModernBertSettings) -> HeadSpec {
    HeadSpec { weight: "classifier.weight", bias: settings.head.score_bias.then_some("classifier.bias") }
}

/// How a checkpoint of the backbone alone names its tensors.
pub(crate) const PREFIX: Prefix = Prefix { prefix: "model.", names: &["embeddings.", "layers.", "final_norm."] };

/// The backbone, and the head's dense layer and norm.
#[derive(Debug)]
pub(crate) struct ModernBert<B: Backend> {
    hidden: usize,
    pooling: Pooling,
    global: Reach<B>,
    local: Reach<B>,
    /// [vocab, hidden]
    words: Table<B>,
    words_norm: Norm<B>,
    layers: Vec<Layer<B>>,
    final_norm: Norm<B>,
    dense: Linear<B>,
    dense_activation: Activation,
    dense_norm: Norm<B>,
}

/// Global or local attention: the tokens that it reaches, and its rotary positions.
#[derive(Debug)]
struct Reach<B: Backend> {
    shape: AttentionShape,
    rotary: RotaryTable<B>,
}

#[derive(Debug)]
struct Layer<B: Backend> {
    is_local: bool,
    /// `None` in the first layer, whose input the norm of the embeddings has normalized.
    attention_norm: Option<Norm<B>>,
    /// Queries, keys and values: [3 * hidden, hidden].
    qkv: Linear<B>,
    o: Linear<B>,
    mlp_norm: Norm<B>,
    /// The gate and what it multiplies: [2 * intermediate, hidden].
    up: Linear<B>,
    activation: Activation,
    down: Linear<B>,
}

impl<B: Backend> ModernBert<B> {
    pub(crate) fn load(settings: &ModernBertSettings, from: &mut Loader<'_, B>) -> Result<Self, ModelError> {
        let (hidden, eps, head) = (settings.hidden_size, settings.norm_eps, &settings.head);
        let norm_bias = Bias::given(settings.norm_bias);
        let words = from.embeddings("model.embeddings.tok_embeddings", [settings.vocab_size, hidden])?;
        let words_norm = Norm::layer(from, "model.embeddings.norm", hidden, eps, norm_bias)?;
        let layers =
            (0..settings.num_hidden_layers).map(|n| Layer::load(settings, n, from)).collect::<Result<_, _>>()?;
        Ok(Self {
            hidden,
            pooling: settings.head.pooling,
            global: Reach::new(settings, settings.global_theta, None),
            local: Reach::new(settings, settings.local_theta, Some(settings.local_attention / 2)),
            words,
            words_norm,
            layers,
            final_norm: Norm::layer(from, "model.final_norm", hidden, eps, norm_bias)?,
            dense: from.linear("head.dense", [hidden, hidden], Bias::given(head.dense_bias))?,
            dense_activation: head.activation,
            dense_norm: Norm::layer(from, "head.norm", hidden, head.norm_eps, Bias::given(head.norm_bias))?,
        })
    }

    /// The memory of the linear layers and embeddings, in bytes.
    pub(crate) fn n_bytes(&self) -> usize {
        let of_layer = |layer: &Layer<B>| {
            let Layer { qkv, o, up, down, .. } = layer;
            [qkv, o, up, down].into_iter().map(Linear::n_bytes).sum::<usize>()
        };
        let layers = self.layers.iter().map(of_layer).sum::<usize>();
        B::embeddings_bytes(&self.words.rows) + layers + self.dense.n_bytes()
    }

    /// The pooled states for the head: [n_entries, hidden].
    pub(crate) fn scored_states(&self, pass: &Pass<'_, B>) -> Result<B::Rows, B::Error> {
        let pooled = match self.pooling {
            Pooling::First => self.states(pass)?,
            Pooling::Mean => pass.backend.mean(&self.states(pass)?, &pass.pack.entry_rows())?,
        };
        let activate = Epilogue::activate(self.dense_activation);
        let dense = pass.linear(&self.dense, &pooled, &pass.scored_adapters, &activate)?;
        pass.norm(&self.dense_norm, Cow::Owned(dense), &pass.scored_adapters)
    }

    /// The final hidden states: [n_entries, hidden] of the first tokens, or [n_tokens, hidden] if all are pooled.
    fn states(&self, pass: &Pass<'_, B>) -> Result<B::Rows, B::Error> {
        let global = pass.plan_attention(&self.global.shape, Some(&self.global.rotary))?;
        let local = pass.plan_attention(&self.local.shape, Some(&self.local.rotary))?;
        let words = pass.look_up(&[(&self.words, &*pass.pack.ids)], self.hidden)?;
        let mut x = pass.norm(&self.words_norm, Cow::Owned(words), &pass.adapters)?;
        let n_whole = self.layers.len() - usize::from(self.pooling == Pooling::First);
        for (n, layer) in self.layers.iter().enumerate() {
            let attention = if layer.is_local { &local } else { &global };
            x = layer.forward(x, pass, attention, n >= n_whole)?;
            x = pass.backend.after_layer(x)?;
        }
        let adapters = if self.pooling == Pooling::First { &pass.scored_adapters } else { &pass.adapters };
        pass.norm(&self.final_norm, Cow::Owned(x), adapters)
    }
}

impl<B: Backend> Reach<B> {
    fn new(settings: &ModernBertSettings, theta: f32, window: Option<usize>) -> Self {
        let n_heads = settings.num_attention_heads;
        let head_dim = settings.hidden_size / n_heads;
        let mask = Mask { is_causal: false, window };
        Self {
            shape: AttentionShape { n_heads, n_kv_heads: n_heads, head_dim, mask },
            rotary: RotaryTable::new(frequencies(theta, head_dim, &RopeScaling::None)),
        }
    }
}

impl<B: Backend> Layer<B> {
    fn load(settings: &ModernBertSettings, n: usize, from: &mut Loader<'_, B>) -> Result<Self, ModelError> {
        let (hidden, inner, eps) = (settings.hidden_size, settings.intermediate_size, settings.norm_eps);
        let name = |module: &str| format!("model.layers.{n}.{module}");
        let norm_bias = Bias::given(settings.norm_bias);
        let (of_attention, of_mlp) = (Bias::given(settings.attention_bias), Bias::given(settings.mlp_bias));
        let has_norm = n > 0;
        let attention_norm =
            has_norm.then(|| Norm::layer(from, &name("attn_norm"), hidden, eps, norm_bias)).transpose()?;
        Ok(Self {
            is_local: settings.is_local[n],
            attention_norm,
            qkv: from.linear(&name("attn.Wqkv"), [3 * hidden, hidden], of_attention)?,
            o: from.linear(&name("attn.Wo"), [hidden, hidden], of_attention)?,
            mlp_norm: Norm::layer(from, &name("mlp_norm"), hidden, eps, norm_bias)?,
            up: from.linear(&name("mlp.Wi"), [2 * inner, hidden], of_mlp)?,
            activation: settings.activation,
            down: from.linear(&name("mlp.Wo"), [hidden, inner], of_mlp)?,
        })
    }

    /// x: [n_tokens, hidden]; returns the same shape, or [n_entries, hidden] if `scored_only`.
    fn forward(
        &self,
        x: B::Rows,
        pass: &Pass<'_, B>,
        attention: &PassAttention<B>,
        scored_only: bool,
    ) -> Result<B::Rows, B::Error> {
        let Attended { mixed, x, adapters } =
            pass.joint_attention(attention, &self.qkv, x, self.attention_norm.as_ref(), scored_only)?;
        let x = pass.linear(&self.o, &mixed, adapters, &Epilogue::add(&x))?;
        let h = pass.norm(&self.mlp_norm, Cow::Borrowed(&x), adapters)?;
        let both = pass.linear(&self.up, &h, adapters, &Epilogue::NONE)?;
        let gate = || pass.backend.gated_halves(&both, Halves::GateFirst, self.activation);
        let inner = pass.time(Stage::Activation, gate)?;
        pass.linear(&self.down, &inner, adapters, &Epilogue::add(&x))
    }
}
