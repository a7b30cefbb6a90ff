//! `registry.json`: a state as it is written to disk.

use std::collections::BTreeMap;
use std::path::Path;

use lorank_core::{AdapterId, Digest};
use serde::{Deserialize, Serialize};

use crate::RegistryError;
use crate::entry::{Entry, as_text, content_digest};
use crate::state::State;

/// The version of the form below.
const SCHEMA: u64 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    schema: u64,
    /// The hash of the document with zeros in this place: what [`verify`](crate::Registry::verify) knows a changed byte by.
    #[serde(with = "as_text")]
    checksum: Digest,
    generation: u64,
    aliases: BTreeMap<String, String>,
    adapters: Vec<Entry>,
}

/// Only what every schema has.
#[derive(Deserialize)]
struct AnySchema {
    schema: u64,
}

/// The bytes of the file that holds a state.
pub(crate) fn write(state: &State) -> Vec<u8> {
    let aliases = state.aliases.iter().map(|(name, target)| (name.to_string(), target.to_string()));
    let mut document = Document {
        schema: SCHEMA,
        checksum: Digest::new([0; 32]),
        generation: state.generation,
        aliases: aliases.collect(),
        adapters: state.adapters.values().cloned().collect(),
    };
    document.checksum = checksum(&mut document);
    let mut bytes =
        serde_json::to_vec_pretty(&document).expect("texts, numbers and maps by text always have a JSON form");
    bytes.push(b'\n');
    bytes
}

/// The state that the bytes of a file hold.
pub(crate) fn read(bytes: &[u8], path: &Path) -> Result<State, RegistryError> {
    state(parse(bytes, path)?).map_err(|what| RegistryError::Inconsistent { path: path.into(), what })
}

/// Whether the bytes are those that lorank wrote.
pub(crate) fn is_as_written(bytes: &[u8], path: &Path) -> Result<bool, RegistryError> {
    let mut document = parse(bytes, path)?;
    let written = document.checksum;
    Ok(written == checksum(&mut document))
}

fn parse(bytes: &[u8], path: &Path) -> Result<Document, RegistryError> {
    let error = |source| RegistryError::Document { path: path.into(), source };
    let AnySchema { schema } = serde_json::from_slice(bytes).map_err(error)?;
    if schema != SCHEMA {
        return Err(RegistryError::Schema { path: path.into(), found: schema, known: SCHEMA });
    }
    serde_json::from_slice(bytes).map_err(error)
}

fn checksum(document: &mut Document) -> Digest {
    let written = std::mem::replace(&mut document.checksum, Digest::new([0; 32]));
    let bytes = serde_json::to_vec(document).expect("texts, numbers and maps by text always have a JSON form");
    document.checksum = written;
    Digest::new(*blake3::hash(&bytes).as_bytes())
}

/// The state of a document, or what contradicts itself in it.
fn state(document: Document) -> Result<State, String> {
    let mut state = State { generation: document.generation, ..State::default() };
    for entry in document.adapters {
        if entry.content != content_digest(&entry.files) {
            return Err(format!("the files of adapter `{}` do not have its digest", entry.id));
        }
        if let Some(twice) = state.adapters.insert(entry.id.clone(), entry) {
            return Err(format!("adapter `{}` stands there twice", twice.id));
        }
    }
    for (name, target) in document.aliases {
        let parse = |text: &str| text.parse::<AdapterId>().map_err(|error| error.to_string());
        state
            .point(&parse(&name)?, &parse(&target)?, usize::MAX)
            .map_err(|error| format!("alias `{name}` is wrong: {error}"))?;
    }
    Ok(state)
}
