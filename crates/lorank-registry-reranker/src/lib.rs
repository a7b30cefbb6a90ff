//! A reranker whose adapters come and go while it runs: one base model, and a registry that names what is on it.
//!
//! A [`RegistryReranker`] follows names through the [`Registry`](lorank_adapters::Registry) at each request, so an adapter that
//! is added there can be asked for at once, and moving the alias `default` promotes one without a restart. Adapters are
//! loaded when pairs are first encoded for them, on threads of their own: a request waits for that until its deadline, the load goes
//! on and serves the next one. They are held in memory up to a limit, the least recently used let go of first, and as long as a
//! request has pairs to be scored with them.
//!
//! A request sees one version from start to end: what a name stands for is looked up once, and the version that this gave can
//! be scored for [`GRACE`] after it was last asked for, whatever has become of the name.
//!
//! It is *not* a registry and not a model: it puts the two together.
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
//! assert_eq!(reranker.resolve(Some(&default))?.adapter, None, "the bare base model, as was said");
//! add(reranker.registry(), &id, &Files::folder(folder.join("adapter-a"))?, "a folder", None, Existing::Refuse)?;
//! reranker.registry().set_alias(&default, &id)?;
//! assert_eq!(reranker.resolve(Some(&default))?.adapter.map(|adapter| adapter.id), Some(id));
//! # Ok(())
//! # }
//! ```

mod add;
mod reranker;

pub use add::{AddError, add};
pub use reranker::{GRACE, RegistryReranker, RegistryRerankerError};
