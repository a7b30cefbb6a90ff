//! Facts about a base model and its adapters.

use lorank_core::{Activation, AdapterVersion, Digest, Precision};

/// Facts about a base model.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BaseSummary {
    /// The model's name.
    pub name: String,
    /// The hash of its configuration, tokenizer and weights.
    pub digest: Digest,
    /// The `model_type` of its configuration, such as `llama` or `bert`.
    pub architecture: &'static str,
    /// The number of parameters, including the head.
    pub n_parameters: usize,
    /// Whether it has a score head; a model without one needs an adapter with a head.
    pub has_head: bool,
    /// The activation in the model's configuration. lorank's scores are logits, without it.
    pub activation: Activation,
    /// The tokens whose logits are the score, in place of a score head: the positive one, and the negative one if there
    /// is one.
    pub score_tokens: Vec<String>,
    /// The label whose logit is the score, if the score head has several.
    pub score_label: Option<String>,
    /// The names of the linear layers that an adapter may target.
    pub linear_targets: Vec<String>,
    /// The names of the other modules that an adapter may change: embeddings, norms and the head.
    pub other_targets: Vec<String>,
    /// The full names of the linear layers, which a regular expression of `target_modules` matches as a whole.
    pub linear_modules: Vec<String>,
    /// The full names of the other modules.
    pub other_modules: Vec<String>,
    /// The maximum tokens of a pair.
    pub max_length: usize,
    /// The memory of its linear layers and embeddings, in bytes.
    pub n_bytes: usize,
}

/// Facts about a loaded adapter.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AdapterSummary {
    /// Its name and the hash of its files.
    pub version: AdapterVersion,
    /// The base model that it was trained on, if its configuration names it.
    pub trained_on: Option<String>,
    /// Its rank, except for modules with a rank pattern.
    pub rank: usize,
    /// The number of linear layers that it changes.
    pub n_targets: usize,
    /// The number of parameters.
    pub n_parameters: usize,
    /// The maximum tokens of a pair.
    pub max_length: usize,
    /// The memory of the merged copy of the base model's weights, in bytes, if it is merged.
    pub merged_bytes: Option<usize>,
    /// The precision of the base model under the adapter.
    pub precision: Precision,
    /// The reason for the precision.
    pub precision_reason: String,
}
