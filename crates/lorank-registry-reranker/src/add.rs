//! Adds a model's files to a registry.

use std::time::{SystemTime, UNIX_EPOCH};

use lorank_adapters::{Contents, Existing, NewFile, Outcome, Provenance, Registry, RegistryError};
use lorank_core::{AdapterId, Digest};
use lorank_model::{AdapterFacts, AdapterFile, FileContents, Files, ModelError};

/// An adapter that could not be added.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// The files are not a valid adapter.
    #[error(transparent)]
    Model(#[from] Box<ModelError>),
    /// The registry rejected it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Reads an adapter's facts and copies its files into a registry. `source` and `revision` describe the origin of the
/// files; `existing` decides what happens to an existing adapter with the id.
/// [`RegistryReranker::check`](crate::RegistryReranker::check) checks whether a base model can score with it.
///
/// # Errors
/// The files are not a valid adapter, or the registry rejects them.
pub fn add(
    registry: &Registry,
    id: &AdapterId,
    files: &Files,
    source: &str,
    revision: Option<&str>,
    existing: Existing,
) -> Result<Outcome, AddError> {
    add_for_base(registry, id, files, (source, revision), existing, None)
}

/// As [`add`], and records the digest of the base model that the adapter is for, where several base models are served.
/// `origin` is the source with its revision.
///
/// # Errors
/// As [`add`].
pub fn add_for_base(
    registry: &Registry,
    id: &AdapterId,
    files: &Files,
    (source, revision): (&str, Option<&str>),
    existing: Existing,
    base_digest: Option<Digest>,
) -> Result<Outcome, AddError> {
    let facts = AdapterFacts::read(files).map_err(Box::new)?;
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let provenance = Provenance {
        source: source.to_owned(),
        revision: revision.map(str::to_owned),
        added_at_millis: u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX),
        base_model: facts.trained_on.unwrap_or_default(),
        rank: facts.rank,
        targets: facts.targets,
        n_parameters: facts.n_parameters,
        model_digest: facts.digest,
        base_digest,
    };
    let files: Vec<NewFile> = facts.files.into_iter().map(new_file).collect();
    Ok(registry.add_with(id, &files, provenance, existing)?)
}

fn new_file(file: AdapterFile) -> NewFile {
    let contents = match file.contents {
        FileContents::Path(path) => Contents::Path(path),
        FileContents::Bytes(bytes) => Contents::Bytes(bytes.into()),
    };
    NewFile { name: file.name.to_owned(), contents }
}
