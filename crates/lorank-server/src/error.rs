//! What keeps a server from starting, from reloading or from ending well.

use std::io;
use std::net::SocketAddr;

use lorank_adapters::RegistryError;
use lorank_core::{AdapterId, ErrorKind, nearest_name};
use lorank_experiment_pipeline::ExperimentPipelineError;
use lorank_experiment_store::ExperimentStoreError;
use lorank_model::ModelError;
use lorank_pipeline::PipelineError;

/// Why a server could not be started, reloaded or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two indexes have one name, or one folder.
    #[error(
        "the indexes `{one}` and `{other}` have one name or one folder; write `NAME=DIR`, each name and each folder once"
    )]
    DuplicateIndex {
        /// The one, as it was given.
        one: String,
        /// The other.
        other: String,
    },
    /// The configuration names no folder for data.
    #[error("the configuration names no folder for adapters and experiments; set `data`")]
    NoDataFolder,
    /// Other machines could reach the server, and it has no keys.
    #[error(
        "{listen} can be reached from other machines, and there are no keys; add `[[keys]]` to the configuration file \
         (`lorank key` makes them), or set `no_keys` (--no-keys) where something else keeps strangers out"
    )]
    Unprotected {
        /// The address.
        listen: SocketAddr,
    },
    /// The configuration names no base model, and the build has none.
    #[error("this build carries no base model, so name one with `model.base` (--base)")]
    NoBaseModel,
    /// A word that is neither a name of the starter's nor a folder.
    #[error("{}", unknown_word(word, starter, registered))]
    UnknownWord {
        /// The word.
        word: String,
        /// The names that the starter has.
        starter: Vec<String>,
        /// The names that the registry has, where it was looked into.
        registered: Vec<String>,
        /// Why it is no folder.
        source: Box<ModelError>,
    },
    /// A folder that is not there, and is called as a repository of the hub.
    #[error("there is no such folder here; for a repository of the hub write `{hub}`")]
    LikeHub {
        /// The repository.
        hub: String,
        /// Why it is no folder.
        source: Box<ModelError>,
    },
    /// A model on the hub, which is not to be asked.
    #[error("`{repository}` is on the hub, and access to the hub is not set up here")]
    NoHub {
        /// The repository.
        repository: String,
    },
    /// A model's files could not be had.
    #[error(transparent)]
    Model(Box<ModelError>),
    /// The base model could not be loaded.
    #[error("could not load the base model")]
    LoadBase {
        /// Why.
        source: Box<ModelError>,
    },
    /// An adapter could not be loaded.
    #[error("could not load the adapter")]
    LoadAdapter {
        /// Why.
        source: Box<ModelError>,
    },
    /// An adapter could not be merged.
    #[error("could not merge the adapter")]
    MergeAdapter {
        /// Why.
        source: Box<ModelError>,
    },
    /// Two adapters have one id.
    #[error("two adapters are named `{id}`; tell them apart with `ID=SOURCE`")]
    DuplicateAdapter {
        /// The id.
        id: AdapterId,
    },
    /// An adapter's id stands for a ranking without one.
    #[error(
        "no adapter can be called `{id}`: it stands for a ranking without an adapter; give it another id with `ID=SOURCE`"
    )]
    ReservedAdapter {
        /// The id.
        id: AdapterId,
    },
    /// An adapter that is to be merged is not loaded.
    #[error("`merge` names `{id}`, and no adapter of that id is loaded; load it with `adapters` (--adapter)")]
    UnknownMerge {
        /// The id.
        id: AdapterId,
    },
    /// The name of a folder or a repository makes no id.
    #[error("the name `{name}` makes no adapter id; give one with `ID=SOURCE`")]
    UnnamedAdapter {
        /// The name.
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
    /// The address could not be had.
    #[error("could not listen on {listen}")]
    Bind {
        /// The address.
        listen: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Exposures or shadows' records were lost at the end.
    #[error("the last records of experiments could not be written")]
    Flush {
        /// Why.
        source: ExperimentStoreError,
    },
    /// A thread of the runtime broke off.
    #[error("a task of the server did not finish")]
    Task {
        /// How.
        source: tokio::task::JoinError,
    },
}

impl Error {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::DuplicateIndex { .. }
            | Self::NoDataFolder
            | Self::Unprotected { .. }
            | Self::NoBaseModel
            | Self::NoHub { .. }
            | Self::DuplicateAdapter { .. }
            | Self::ReservedAdapter { .. }
            | Self::UnknownMerge { .. }
            | Self::UnnamedAdapter { .. } => ErrorKind::Invalid,
            Self::UnknownWord { .. } | Self::LikeHub { .. } => ErrorKind::NotFound,
            Self::Model(source)
            | Self::LoadBase { source }
            | Self::LoadAdapter { source }
            | Self::MergeAdapter { source } => kind_of_files(source.kind()),
            Self::Index(source) => kind_of_files(source.kind()),
            Self::Registry(source) => kind_of_files(source.kind()),
            Self::Store(source) => kind_of_files(source.kind()),
            Self::Pipeline(source) => source.kind(),
            Self::Experiments(source) => source.kind(),
            Self::Bind { .. } | Self::Flush { .. } => ErrorKind::Unavailable,
            Self::Task { .. } => ErrorKind::Internal,
        }
    }
}

impl From<ModelError> for Error {
    fn from(source: ModelError) -> Self {
        Self::Model(Box::new(source))
    }
}

/// What is invalid in files is no wrong setting: the configuration named them rightly.
fn kind_of_files(kind: ErrorKind) -> ErrorKind {
    if kind == ErrorKind::Invalid { ErrorKind::Malformed } else { kind }
}

fn unknown_word(word: &str, starter: &[String], registered: &[String]) -> String {
    let is_none_of = match starter {
        [] => format!("`{word}` is no folder, and this build has no starter"),
        names => format!("`{word}` is neither a folder nor one of the starter's ({})", names.join(", ")),
    };
    let nor_registered = match registered {
        [] => String::new(),
        names => format!(", nor in the registry ({})", names.join(", ")),
    };
    let meant = nearest_name(word, starter.iter().chain(registered).map(String::as_str));
    let meant = meant.map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
    is_none_of + &nor_registered + &meant
}
