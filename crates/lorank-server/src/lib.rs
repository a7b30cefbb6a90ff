//! The assembled lorank server, as a library: a [`ServerConfig`] in, a running [`Server`] out.
//!
//! It puts together what the other crates make: an index on disk with BM25, the base model with its adapters, the registry of
//! adapters and the experiments of a data folder, the score cache and the queue, and the HTTP API over all of them. `lorank serve`
//! is this crate behind flags, a configuration file and signals; an application that embeds it has a runtime, a configuration and an
//! end of its own.
//!
//! It is *not* a command line: it reads no environment, no configuration file and no signal, and prints nothing. Paths of models,
//! of the index and of the data folder are data, and reading what is there is its work. The types derive serde's traits, so a
//! program can read the file `lorank.toml` with the `toml` crate; which flag, which variable and which help a setting has, is in
//! [`ServerConfig::all_settings`].
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
//! config.model.base = Some(base.display().to_string().parse()?);
//!
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let server = Server::start(config.clone()).await?;
//! println!("listening on http://{}", server.address());
//!
//! // Keys and limits can change while it runs.
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
mod allowed_source;
mod config;
mod data;
mod document_host;
mod error;
mod index_spec;
mod memory;
mod models;
mod server;
mod settings;
mod shadow;
mod source;
pub mod starter;
mod text;

pub use allowed_source::AllowedSource;
pub use config::{CacheSection, ModelSection, QueueSection, SearchSection, ServerConfig, ServerSection};
pub use data::DataFolder;
pub use error::Error;
pub use index_spec::IndexSpec;
pub use models::{FoundAdapter, LoadEvent, LoadedModels, ModelLoader, OnLoadEvent};
pub use server::{LoadedServer, ServedPipeline, Server, ServerHandle, StartOptions};
pub use settings::{Arity, Flag, Setting};
pub use shadow::ShadowSpec;
pub use source::{AdapterSpec, ModelSource, OnBaseMismatch};
