//! The registry of adapters.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

/// An adapter to add.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = AdapterSource)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddBody {
    /// Where it comes from: a folder, or `hf://owner/name[@revision]`.
    pub source: String,
}

/// Where an alias is to point.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = AliasTarget)]
#[serde(deny_unknown_fields)]
pub(crate) struct AliasBody {
    /// The adapter.
    pub adapter: String,
    /// The expression that orders answers which are ranked by the alias, as the `rank_by` of a search; a search that brings an order of
    /// its own keeps that. Without it the alias keeps the one that it has; null takes it away.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 1024)]
    pub rank_by: Option<Option<String>>,
}

/// Tells null from a key that is missing.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// The adapters of the registry.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AdapterList {
    /// All of them.
    pub adapters: Vec<RegisteredAdapter>,
}

/// An adapter, and what this process knows of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RegisteredAdapter {
    /// Its id.
    pub id: String,
    /// The hash of what its scores depend on.
    pub digest: String,
    /// The hash of its files.
    pub content: String,
    /// Where it came from.
    pub source: String,
    /// Which revision of that.
    pub revision: Option<String>,
    /// When it was added.
    #[schema(format = DateTime)]
    pub added_at: Option<String>,
    /// The base model that it was trained on.
    pub base_model: String,
    /// The rank of its matrices.
    pub rank: usize,
    /// The layers that it changes.
    pub targets: Vec<String>,
    /// How many parameters it has.
    pub n_parameters: usize,
    /// The size of its files.
    pub bytes: u64,
    /// The aliases that point to it.
    pub aliases: Vec<String>,
    /// Whether it is in memory now.
    pub in_memory: bool,
    /// How many of its scores the cache holds.
    pub cached_scores: usize,
}

/// The aliases.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AliasList {
    /// Each with its adapter.
    pub aliases: BTreeMap<String, String>,
    /// The expressions that order the answers of aliases, of those that have one.
    pub rank_by: BTreeMap<String, String>,
}

/// An alias that was moved.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MovedAlias<'a> {
    /// The alias.
    pub name: &'a str,
    /// Where it points now.
    pub adapter: &'a str,
    /// Where it pointed before; null where it is new.
    pub before: Option<&'a str>,
    /// The expression that orders its answers, if it has one.
    pub rank_by: Option<&'a str>,
}

/// What a reading of the whole registry has found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Verified {
    /// Whether nothing is wrong.
    pub is_sound: bool,
    /// What is, for people.
    pub findings: Vec<String>,
}
