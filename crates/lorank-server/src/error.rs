//! Errors of starting, reloading and stopping a server.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use lorank_adapters::RegistryError;
use lorank_cache::RedisError;
use lorank_core::{AdapterId, ErrorKind, nearest_name};
use lorank_elastic::Error as ElasticError;
use lorank_experiment_pipeline::ExperimentPipelineError;
use lorank_experiment_store::ExperimentStoreError;
use lorank_model::ModelError;
use lorank_pipeline::PipelineError;

/// Why a server could not be started, reloaded or stopped cleanly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two indexes have the same name or the same folder.
    #[error(
        "the indexes `{one}` and `{other}` have the same name or the same folder; \
         write `NAME=DIR` with distinct names and folders"
    )]
    DuplicateIndex {
        /// The first index, as configured.
        one: String,
        /// The second index, as configured.
        other: String,
    },
    /// A model alias is configured twice.
    #[error("the model alias `{name}` is given twice; give each name once")]
    DuplicateModelAlias {
        /// The name.
        name: String,
    },
    /// An invalid setting of the search engine that is the first stage.
    #[error(transparent)]
    Elastic(#[from] ElasticError),
    /// A measurement of how int8 ranks cannot be kept.
    #[error("could not keep the measurement of int8 in `{}`", path.display())]
    KeepInt8Ranking {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file of the settings of the search engine cannot be read.
    #[error("could not read `{}`, which is `{setting}`", path.display())]
    ElasticFile {
        /// The setting.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The configuration of the shared score cache is contradictory.
    #[error(transparent)]
    SharedCache(#[from] RedisError),
    /// A setting of the shared score cache without its address.
    #[error("`{setting}` is set, but no shared score cache is; set `cache.url` (--cache-url), or remove it")]
    CacheWithoutUrl {
        /// The setting.
        setting: &'static str,
    },
    /// A file of the settings of the shared score cache cannot be used.
    #[error("could not read `{}`, which is `{setting}`", path.display())]
    CacheFile {
        /// The setting.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The registry's address or the options of its store are invalid.
    #[error(transparent)]
    RegistryStore(#[from] lorank_object_registry::Error),
    /// A setting of a store for the registry, which is a folder.
    #[error(
        "`{setting}` is set, but the registry is in no store; set `registry` (--registry) to its address, or remove it"
    )]
    RegistryWithoutStore {
        /// The setting.
        setting: &'static str,
    },
    /// The certificates of the authorities for the registry's store cannot be read.
    #[error("could not read `{}`, which is `registry_ca_file`", path.display())]
    RegistryFile {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// No database to copy experiments into is given.
    #[error("no database is given; name it with `store` (--store)")]
    NoStore,
    /// The authorities of a database are given without its address.
    #[error("`store_ca_file` is set, but no database for experiments is; set `store` (--store), or remove it")]
    StoreCaWithoutUrl,
    /// The certificates of the authorities for the database cannot be read.
    #[error("could not read `{}`, which is `store_ca_file`", path.display())]
    StoreFile {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The configuration sets no data folder.
    #[error("no data folder for adapters and experiments is configured; set `data`")]
    NoDataFolder,
    /// The server would be reachable from other machines without API keys.
    #[error(
        "refusing to listen on {listen} without API keys, because other machines could connect; add \
         `[[keys]]` to the configuration file (`lorank key` creates them), or set `no_keys` (--no-keys) if a proxy or a \
         firewall restricts access"
    )]
    Unprotected {
        /// The listen address.
        listen: SocketAddr,
    },
    /// The configuration sets no base model, and the build has no built-in one.
    #[error("this build has no built-in base model; set `model.base` (--base)")]
    NoBaseModel,
    /// A word that is neither a built-in name nor a folder.
    #[error("{}", unknown_word(word, starter, registered))]
    UnknownWord {
        /// The word as given.
        word: String,
        /// The built-in names.
        starter: Vec<String>,
        /// The names in the registry, if it was searched.
        registered: Vec<String>,
        /// Why the folder could not be used.
        source: Box<ModelError>,
    },
    /// An alias of a base model in place of an adapter.
    #[error(
        "the alias `{alias}` points to the base model `{base}`, without an adapter; choose the base model with `--base`, and \
         `none` for the adapter"
    )]
    BaseAlias {
        /// The alias.
        alias: AdapterId,
        /// The name of the base model.
        base: AdapterId,
    },
    /// A missing folder whose name looks like a repository on the hub.
    #[error("no such folder; for a repository on the hub, write `{hub}`")]
    LikeHub {
        /// The repository's name, as `hf://owner/name`.
        hub: String,
        /// Why the folder could not be used.
        source: Box<ModelError>,
    },
    /// A model on the hub, while access to the hub is disabled.
    #[error("`{repository}` is on the hub, and access to the hub is disabled")]
    NoHub {
        /// The repository's name.
        repository: String,
    },
    /// A model's files could not be found or downloaded.
    #[error(transparent)]
    Model(Box<ModelError>),
    /// The base model could not be loaded.
    #[error("could not load the base model")]
    LoadBase {
        /// The cause.
        source: Box<ModelError>,
    },
    /// The base models cannot be served together.
    #[error("the base models cannot be served together")]
    Bases {
        /// The cause.
        source: Box<ModelError>,
    },
    /// The name of a base model is reserved.
    #[error("the name `{name}` of a base model is reserved; give it another one with `NAME=BASE`")]
    ReservedBaseName {
        /// The name.
        name: AdapterId,
    },
    /// The adapter's id is the name of a base model.
    #[error("the adapter id `{id}` is the name of a base model; give the adapter another id with `ID=SOURCE`")]
    AdapterNamedAsBase {
        /// The adapter id.
        id: AdapterId,
    },
    /// An adapter could not be loaded.
    #[error("could not load the adapter")]
    LoadAdapter {
        /// The cause.
        source: Box<ModelError>,
    },
    /// An adapter could not be merged.
    #[error("could not merge the adapter")]
    MergeAdapter {
        /// The cause.
        source: Box<ModelError>,
    },
    /// Two adapters have the same id.
    #[error("two adapters have the id `{id}`; give them different ids with `ID=SOURCE`")]
    DuplicateAdapter {
        /// The adapter id.
        id: AdapterId,
    },
    /// The adapter's id is reserved for rankings without an adapter.
    #[error(
        "the adapter id `{id}` is reserved for ranking without an adapter; give the adapter another id with `ID=SOURCE`"
    )]
    ReservedAdapter {
        /// The adapter id.
        id: AdapterId,
    },
    /// An adapter to merge is not loaded.
    #[error("cannot merge adapter `{id}`: it is not loaded; load it with `adapters` (--adapter)")]
    UnknownMerge {
        /// The adapter id.
        id: AdapterId,
    },
    /// A maximum length is set for a model that is not one of the base models.
    #[error(
        "a maximum length is set for `{name}`, which is not the name of a base model; name one with `NAME=BASE`, and set \
         `max_length` in the `lorank.json` of an adapter"
    )]
    UnknownMaxLength {
        /// The name.
        name: AdapterId,
    },
    /// A precision is set for a model that is neither a base model nor an adapter.
    #[error(
        "a precision is set for `{name}`, which is neither a base model nor an adapter here; load it with `base` (--base) or `adapters` (--adapter)"
    )]
    UnknownPrecision {
        /// The name.
        name: AdapterId,
    },
    /// The name of a folder or repository is not a valid adapter id.
    #[error("the name `{name}` is not a valid adapter id; set one with `ID=SOURCE`")]
    UnnamedAdapter {
        /// The folder's or repository's name.
        name: String,
    },
    /// The index could not be opened.
    #[error(transparent)]
    Index(#[from] lorank_tantivy::Error),
    /// The registry of adapters could not be opened.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The store of experiments could not be opened.
    #[error(transparent)]
    Store(#[from] ExperimentStoreError),
    /// The pipeline could not be set up.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// Experiments and shadows could not be set up.
    #[error(transparent)]
    Experiments(#[from] ExperimentPipelineError),
    /// The server cannot listen on the address.
    #[error("could not listen on {listen}")]
    Bind {
        /// The listen address.
        listen: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// Exposures or shadow results were lost at shutdown.
    #[error("could not write the last exposures and shadow results")]
    Flush {
        /// The cause.
        source: ExperimentStoreError,
    },
    /// A task of the async runtime panicked or was cancelled.
    #[error("a server task did not finish")]
    Task {
        /// The cause.
        source: tokio::task::JoinError,
    },
}

impl Error {
    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::DuplicateIndex { .. }
            | Self::DuplicateModelAlias { .. }
            | Self::NoDataFolder
            | Self::Unprotected { .. }
            | Self::NoBaseModel
            | Self::NoHub { .. }
            | Self::DuplicateAdapter { .. }
            | Self::Bases { .. }
            | Self::ReservedBaseName { .. }
            | Self::AdapterNamedAsBase { .. }
            | Self::ReservedAdapter { .. }
            | Self::UnknownMaxLength { .. }
            | Self::UnknownMerge { .. }
            | Self::UnknownPrecision { .. }
            | Self::SharedCache(_)
            | Self::CacheWithoutUrl { .. }
            | Self::RegistryWithoutStore { .. }
            | Self::NoStore
            | Self::StoreCaWithoutUrl
            | Self::UnnamedAdapter { .. } => ErrorKind::Invalid,
            Self::UnknownWord { .. }
            | Self::BaseAlias { .. }
            | Self::LikeHub { .. }
            | Self::ElasticFile { .. }
            | Self::CacheFile { .. }
            | Self::RegistryFile { .. }
            | Self::StoreFile { .. } => ErrorKind::NotFound,
            Self::Elastic(source) => source.kind(),
            Self::RegistryStore(source) => source.kind(),
            Self::Model(source)
            | Self::LoadBase { source }
            | Self::LoadAdapter { source }
            | Self::MergeAdapter { source } => kind_of_files(source.kind()),
            Self::Index(source) => kind_of_files(source.kind()),
            Self::Registry(source) => kind_of_files(source.kind()),
            Self::Store(source) => kind_of_files(source.kind()),
            Self::Pipeline(source) => source.kind(),
            Self::Experiments(source) => source.kind(),
            Self::Bind { .. } | Self::Flush { .. } | Self::KeepInt8Ranking { .. } => ErrorKind::Unavailable,
            Self::Task { .. } => ErrorKind::Internal,
        }
    }
}

impl From<ModelError> for Error {
    fn from(source: ModelError) -> Self {
        Self::Model(Box::new(source))
    }
}

/// Invalid content of a model's files is not an invalid setting: the setting named the right files.
fn kind_of_files(kind: ErrorKind) -> ErrorKind {
    if kind == ErrorKind::Invalid { ErrorKind::Malformed } else { kind }
}

fn unknown_word(word: &str, starter: &[String], registered: &[String]) -> String {
    let is_none_of = match starter {
        [] => format!("no folder `{word}`, and this build has no built-in models"),
        names => format!("`{word}` is neither a folder nor a built-in name ({})", names.join(", ")),
    };
    let nor_registered = match registered {
        [] => String::new(),
        names => format!(", nor in the registry ({})", names.join(", ")),
    };
    let meant = nearest_name(word, starter.iter().chain(registered).map(String::as_str));
    let meant = meant.map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
    is_none_of + &nor_registered + &meant
}
