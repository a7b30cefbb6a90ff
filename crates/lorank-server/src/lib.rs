//! The assembled lorank server as a library: it takes a [`ServerConfig`] and returns a running [`Server`].
//!
//! The crate combines the parts of the other crates: an index on disk with BM25, the base model with its adapters, the
//! adapter registry and the experiments of a data folder, the score cache, the queue, and the HTTP API. `lorank serve`
//! adds flags, a configuration file and signals to this crate; an application that embeds it brings its own async
//! runtime, configuration and shutdown.
//!
//! The crate is *not* a command-line tool: it reads no environment variables, configuration files or signals, and
//! prints nothing. The configuration types implement serde's traits, so that a program can read `lorank.toml` with the
//! `toml` crate. [`ServerConfig::all_settings`] lists the flag, environment variable and help of each setting.
//!
//! ```
//! use lorank_server::{Server, ServerConfig};
//! # use lorank_tantivy::{Document, Index, IndexSettings, WriterOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! # let folder = tempfile::tempdir()?;
//! # let (index, data) = (folder.path().join("index"), folder.path().join("data"));
//! # let settings = IndexSettings::default();
//! # let mut writer = Index::create(&index, &settings)?.writer(&WriterOptions::default())?;
//! # writer.add(&Document::from_json(br#"{"id": 1, "text": "an egg"}"#, &settings)?)?;
//! # writer.commit()?;
//! # writer.close()?;
//! # let base = lorank_testing::fixture("tiny-bert/base");
//! let mut config = ServerConfig::new(index, data);
//! config.listen = "127.0.0.1:0".parse()?;
//! config.model.base = vec![base.display().to_string().parse()?];
//!
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let server = Server::start(config.clone()).await?;
//! println!("listening on http://{}", server.address());
//!
//! // Keys and limits can change while the server runs.
//! let handle = server.handle();
//! config.server.n_searches_max = 16.try_into()?;
//! assert!(handle.reload(&config)?.is_empty(), "nothing waits for a restart");
//!
//! let shutdown = async { /* until the application ends */ };
//! server.run(shutdown).await?;
//! # Ok(())
//! # })
//! # }
//! ```

mod adapter_host;
mod alias_rank_by;
mod allowed_source;
mod config;
mod data;
mod document_host;
mod elastic;
mod error;
mod first_stage;
mod first_stage_kind;
mod following;
mod index_spec;
mod memory;
mod models;
mod per_model;
mod registry_settings;
mod running;
mod server;
mod settings;
mod shadow;
mod shared_cache;
mod source;
pub mod starter;
mod text;

pub use allowed_source::AllowedSource;
pub use config::{
    CacheSection, ElasticSection, ModelSection, QueueSection, SearchSection, ServerConfig, ServerSection,
};
pub use data::DataFolder;
pub use elastic::ElasticSecrets;
pub use error::Error;
pub use first_stage::ServedFirstStage;
pub use first_stage_kind::FirstStageKind;
pub use index_spec::IndexSpec;
pub use lorank_object_registry::{RegistryLocation, StoreOptions};
pub use models::{FoundAdapter, LoadEvent, LoadedModels, ModelLoader, OnLoadEvent};
pub use per_model::PerModel;
pub use registry_settings::RegistrySettings;
pub use running::RunningServer;
pub use server::{LoadedServer, ServedPipeline, Server, ServerHandle, StartOptions};
pub use settings::{Arity, Flag, Setting};
pub use shadow::ShadowSpec;
pub use source::{AdapterSpec, BaseSpec, ModelSource, OnBaseMismatch};
