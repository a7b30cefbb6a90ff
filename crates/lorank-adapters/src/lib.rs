//! The registry of adapters on disk: adapters are copied in once, addressed by content digest, and named by ids and
//! aliases.
//!
//! ```text
//! REGISTRY/registry.json                      ids, aliases, digests, provenance; replaced whole
//! REGISTRY/adapters/<content digest>/<files>  never changed once there; two ids with the same bytes share one
//! REGISTRY/lock                               held by the one writer
//! ```
//!
//! Ids and aliases share one namespace: a name is either an id or an alias, and an alias points to an id, or to a base
//! model without an adapter. Requests that
//! name no adapter get the adapter of the alias [`default`](DEFAULT_ALIAS); promoting an adapter means moving this
//! alias.
//!
//! A change is made under the lock, synced to disk and put in place by renaming, so that a crash leaves the old state
//! or the new one. Readers take no lock: a [`State`] is immutable, a request that keeps one sees one version from start
//! to end, and [`Registry::reload_if_changed`] detects changes by other processes. Files that no adapter uses any more
//! are collected by a later write. [`Registry::verify`] finds files that differ from what was added.
//!
//! A registry may also be in a store of [`Objects`], which several servers share: [`Registry::follow`] serves it from a copy
//! on disk, [`Registry::view`] uses it from a command.
//!
//! [`Residency`] keeps loaded adapters in memory up to a limit.
//!
//! The crate is *not* a loader: it knows files, bytes, digests and facts about adapters, but no model.
//!
//! ```
//! use lorank_adapters::{NewFile, Outcome, Provenance, Registry, Residency};
//! use lorank_core::{AdapterId, BoxError, Digest};
//!
//! let folder = tempfile::tempdir()?;
//! let registry = Registry::open(folder.path())?;
//! let (id, default): (AdapterId, AdapterId) = ("qa".parse()?, "default".parse()?);
//! let files = [
//!     NewFile::bytes("adapter_config.json", br#"{"r": 8}"#),
//!     NewFile::bytes("adapter_model.safetensors", b"weights"),
//! ];
//! let provenance = Provenance {
//!     source: "hf://someone/qa".into(),
//!     revision: Some("4f1c2d".into()),
//!     added_at_millis: 1_760_000_000_000,
//!     base_model: "tiny".into(),
//!     rank: 8,
//!     targets: vec!["q_proj".into(), "v_proj".into()],
//!     n_parameters: 4096,
//!     model_digest: Digest::new([7; 32]),
//!     base_digest: None,
//! };
//! assert_eq!(registry.add(&id, &files, provenance)?, Outcome::Added);
//! assert_eq!(registry.set_alias(&default, &id)?, None);
//! assert!(registry.remove(&id, &[], false).is_err(), "an alias points to it");
//! assert!(registry.verify()?.is_empty());
//!
//! // A request keeps the state that it started with, and loads the adapter if it is not in memory.
//! let state = registry.state();
//! let entry = state.resolve(&default)?;
//! let residency = Residency::new(1 << 30);
//! let weights = registry.folder_of(entry).join("adapter_model.safetensors");
//! let n_bytes = entry.bytes();
//! let load = move || std::fs::read(&weights).map(|bytes| (bytes, n_bytes));
//! let loaded = residency.get_or_load(&entry.content, None, load)?.expect("there is no deadline to pass");
//! assert_eq!(*loaded, b"weights");
//! assert_eq!(residency.stats().bytes, 15);
//! # Ok::<(), BoxError>(())
//! ```

mod disk;
mod document;
mod entry;
mod error;
mod finding;
mod incoming;
mod layout;
mod mirror;
mod objects;
mod registry;
mod remote;
mod residency;
mod state;
mod verify;

pub use entry::{Contents, Entry, NewFile, Provenance, StoredFile};
pub use error::RegistryError;
pub use finding::{Fault, Finding};
pub use objects::{ObjectPart, ObjectVersion, Objects, ReadObject};
pub use registry::{Limits, Registry, StoreStatus, UnavailableAdapter};
pub use residency::{Residency, ResidencyStats, Resident};
pub use state::{AliasRankBy, AliasTarget, BARE_BASE, DEFAULT_ALIAS, Existing, Outcome, State};
