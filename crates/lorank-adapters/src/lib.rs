//! A registry of adapters on disk: each is copied in once, under the digest of its files, and named by ids and aliases.

mod disk;
mod document;
mod entry;
mod error;
mod registry;
mod residency;
mod state;
mod verify;

pub use entry::{Contents, Entry, NewFile, Provenance, StoredFile};
pub use error::{RegistryError, RegistryErrorKind};
pub use registry::{Limits, Registry};
pub use residency::{Residency, ResidencyStats, Resident};
pub use state::{DEFAULT_ALIAS, Outcome, State};
pub use verify::{Fault, Finding};
