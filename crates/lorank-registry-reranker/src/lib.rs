//! A reranker whose adapters are added and removed at run time: base models, with the adapters of a registry.
//!
//! A [`RegistryReranker`] resolves names in the [`Registry`](lorank_adapters::Registry) for each request, so an adapter
//! that is added there is available immediately, and moving the alias `default` promotes an adapter without a restart.
//! Adapters are loaded on their own threads when pairs are first encoded for them: a request waits until its deadline,
//! and the load continues for the next one. Adapters stay in memory up to a limit, with LRU eviction, and while a
//! request has pairs to score with them.
//!
//! A request sees one version from start to end: a name is resolved once, and the resulting version can be scored for
//! [`GRACE`] after its last use, even if the name has moved.
//!
//! Several base models share one registry. Each adapter belongs to one of them: the recorded one, else the one that its
//! configuration names, else the only one that its files fit.
//!
//! The crate is *neither* a registry nor a model: it combines `lorank-adapters` and `lorank-model`.
//!
//! ```
//! use std::sync::Arc;
//! use lorank_adapters::{Existing, Registry};
//! use lorank_core::Reranker;
//! use lorank_registry_reranker::{RegistryReranker, add};
//! use lorank_model::{Files, LoadOptions, ModelReranker};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! # let (folder, temporary) = (lorank_testing::fixture("tiny-llama"), tempfile::tempdir()?);
//! # let registry_folder = temporary.path();
//! let base = ModelReranker::load(&Files::folder(folder.join("base"))?, LoadOptions::default())?;
//! let registry = Arc::new(Registry::open(registry_folder)?);
//! let reranker = RegistryReranker::new(base, registry, None, RegistryReranker::BYTES_MAX);
//!
//! let (id, default) = ("mine".parse()?, RegistryReranker::default_name());
//! assert_eq!(reranker.resolve(Some(&default))?.adapter, None, "the base model, because there is no alias yet");
//! add(reranker.registry(), &id, &Files::folder(folder.join("adapter-a"))?, "a folder", None, Existing::Refuse)?;
//! reranker.registry().set_alias(&default, &id)?;
//! assert_eq!(reranker.resolve(Some(&default))?.adapter.map(|adapter| adapter.id), Some(id));
//! # Ok(())
//! # }
//! ```

mod add;
mod reranker;

pub use add::{AddError, add, add_for_base};
pub use reranker::{GRACE, RegistryReranker, RegistryRerankerError};
