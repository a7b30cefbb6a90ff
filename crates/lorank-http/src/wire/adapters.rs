//! Adapters and aliases of the registry.

use std::collections::BTreeMap;

use lorank_adapters::StoreStatus;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

/// An adapter to add.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = AdapterSource)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddBody {
    /// The source: a folder, or `hf://owner/name[@revision]`.
    pub source: String,
    /// The name of the base model, on a server with several. By default, it is the one that the adapter was trained on.
    pub base: Option<String>,
}

/// The target of an alias.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = AliasTarget)]
#[serde(deny_unknown_fields)]
pub(crate) struct AliasBody {
    /// The id of the adapter. Either this or `base` is required.
    pub adapter: Option<String>,
    /// The name of a base model, which ranks without an adapter; `none` for the default one.
    pub base: Option<String>,
    /// An expression that orders the answers of this alias, like `rank_by` of a search, which takes precedence. Null removes the
    /// expression; if the key is missing, the expression does not change.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 1024)]
    pub rank_by: Option<Option<String>>,
}

/// Distinguishes null from a missing key.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// The adapters of the registry.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AdapterList {
    /// The adapters in the order of their ids.
    pub adapters: Vec<RegisteredAdapter>,
    /// The store that the registry is in, if it is in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry: Option<RegistryStore>,
}

/// A registry in a store of objects, as this server sees it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RegistryStore {
    /// The address.
    #[schema(example = "s3://models/production")]
    pub location: String,
    /// Why the registry cannot be read at the moment. The adapters are those of the last time that it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The adapters whose files this server does not have yet. It answers by these names as before.
    pub unavailable: Vec<UnavailableFiles>,
}

/// An adapter whose files a server does not have.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UnavailableFiles {
    /// The id.
    pub id: String,
    /// The hash of its files.
    pub content: String,
    /// Why they could not be downloaded, or are not those that were added; missing while they are on their way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl From<StoreStatus> for RegistryStore {
    fn from(status: StoreStatus) -> Self {
        let unavailable = status.unavailable.into_iter().map(|adapter| UnavailableFiles {
            id: adapter.id.to_string(),
            content: adapter.content.to_string(),
            error: adapter.error,
        });
        Self { location: status.location, error: status.poll_error, unavailable: unavailable.collect() }
    }
}

/// A registered adapter, and its state in this server.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RegisteredAdapter {
    /// The id.
    pub id: String,
    /// The digest of the adapter's version: of everything in its files that scores depend on.
    pub digest: String,
    /// The hash of its files.
    pub content: String,
    /// The source that it was added from.
    pub source: String,
    /// The revision of the source.
    pub revision: Option<String>,
    /// The time at which it was added.
    #[schema(format = DateTime)]
    pub added_at: Option<String>,
    /// The base model that it was trained on.
    pub base_model: String,
    /// The name of the base model that it is served on; null if it fits none.
    pub served_on: Option<String>,
    /// The LoRA rank.
    pub rank: usize,
    /// The names of the adapted layers.
    pub targets: Vec<String>,
    /// The number of parameters.
    pub n_parameters: usize,
    /// The size of its files in bytes.
    pub bytes: u64,
    /// The aliases that point to it.
    pub aliases: Vec<String>,
    /// Whether it is in memory now.
    pub in_memory: bool,
    /// The number of its scores in the cache.
    pub cached_scores: usize,
}

/// The aliases.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AliasList {
    /// The adapter of each alias that points to one.
    pub aliases: BTreeMap<String, String>,
    /// The name of the base model of each alias that points to one without an adapter.
    pub bases: BTreeMap<String, String>,
    /// The `rank_by` expressions of the aliases that have one.
    pub rank_by: BTreeMap<String, String>,
}

/// The result of setting an alias.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MovedAlias<'a> {
    /// The name of the alias.
    pub name: &'a str,
    /// The adapter that it points to; null if it points to a base model.
    pub adapter: Option<&'a str>,
    /// The base model that it points to; null if it points to an adapter.
    pub base: Option<&'a str>,
    /// The adapter or base model that it pointed to before; null if the alias is new.
    pub before: Option<&'a str>,
    /// The expression that orders its answers; null if there is none.
    pub rank_by: Option<&'a str>,
}

/// The result of verifying the registry.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Verified {
    /// Whether no problem was found.
    pub is_sound: bool,
    /// The problems, as messages.
    pub findings: Vec<String>,
}
