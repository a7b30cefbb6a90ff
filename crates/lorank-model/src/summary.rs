//! The facts of a base model and of its adapters.

use lorank_core::{Activation, AdapterVersion, Digest};

/// A base model's facts.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BaseSummary {
    /// The model's name.
    pub name: String,
    /// The hash of its configuration, tokenizer and weights.
    pub digest: Digest,
    /// `llama` or `bert`.
    pub architecture: &'static str,
    /// How many weights it has, the head included.
    pub n_parameters: usize,
    /// Whether it has a score head of its own; without one it needs an adapter that brings it.
    pub has_head: bool,
    /// What its makers put behind its logit. Scores are logits whatever it is.
    pub activation: Activation,
    /// The most tokens of a pair.
    pub max_length: usize,
    /// The bytes that its linear layers and embeddings take in memory.
    pub n_bytes: usize,
}

/// A loaded adapter's facts.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AdapterSummary {
    /// Its name and the hash of its files.
    pub version: AdapterVersion,
    /// The base model that it was trained on, as it says.
    pub trained_on: Option<String>,
    /// Its rank, where no pattern says otherwise.
    pub rank: usize,
    /// How many linear layers it changes.
    pub n_targets: usize,
    /// How many weights it has.
    pub n_parameters: usize,
    /// The most tokens of a pair.
    pub max_length: usize,
    /// The bytes of a copy of the base model's weights that it is merged into, if it is.
    pub merged_bytes: Option<usize>,
}
