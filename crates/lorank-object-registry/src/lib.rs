//! The registry of adapters in an object store, for servers on several machines: Amazon S3 and what speaks its protocol,
//! Google Cloud Storage, Azure Blob Storage.
//!
//! A [`StoreObjects`] gives a [`Registry`](lorank_adapters::Registry) its objects: reads with entity tags, conditional
//! writes, uploads and downloads in parts, each with a time limit. What the objects mean is the registry's matter, which
//! keeps a copy on disk, verifies what it downloads and repeats changes that met another writer's.
//!
//! Signatures, credentials and the differences of the three protocols are those of the crate [`object_store`]. Requests
//! are sent by ureq, as everywhere in lorank, so there is one TLS stack.
//!
//! The crate is *not* a client for other objects than a registry's, and reads no environment: variables with credentials
//! are passed to [`StoreOptions::from_variables`].
//!
//! ```
//! use std::sync::Arc;
//! use lorank_adapters::{Limits, Registry};
//! use lorank_object_registry::StoreObjects;
//! use lorank_object_registry::object_store::memory::InMemory;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (one, other) = (tempfile::tempdir()?, tempfile::tempdir()?);
//! let store = Arc::new(InMemory::new());
//! let objects = |store: &Arc<InMemory>| StoreObjects::over(store.clone(), "production", "memory://production");
//! let one = Registry::follow(one.path(), Limits::default(), Arc::new(objects(&store)?))?;
//! let other = Registry::follow(other.path(), Limits::default(), Arc::new(objects(&store)?))?;
//!
//! let (canary, base) = ("canary".parse()?, "none".parse()?);
//! one.set_alias_with(&canary, lorank_adapters::AliasTarget::Base(&base), Default::default())?;
//! assert!(other.refresh()?, "the other server sees the change");
//! assert_eq!(other.state().base_of_alias(&canary), Some(&base));
//! # Ok(())
//! # }
//! ```

mod address;
mod client;
mod error;
mod objects;
mod options;

pub use address::{RegistryLocation, StoreAddress};
pub use error::Error;
pub use object_store;
pub use objects::StoreObjects;
pub use options::StoreOptions;
