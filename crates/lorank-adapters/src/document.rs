//! `registry.json`: the form of a state on disk.

use std::collections::BTreeMap;
use std::path::Path;

use lorank_core::{AdapterId, Digest};
use serde::{Deserialize, Serialize};

use crate::RegistryError;
use crate::entry::{Entry, as_text, content_digest};
use crate::state::{AliasRankBy, AliasTarget, State};

/// The version of the file format.
const SCHEMA: u64 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    schema: u64,
    /// The hash of the document with zeros in this place, to detect damage.
    #[serde(with = "as_text")]
    checksum: Digest,
    generation: u64,
    aliases: BTreeMap<String, String>,
    /// The aliases that point to a bare base model, with its name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    base_aliases: BTreeMap<String, String>,
    /// The expressions of aliases that have one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    rank_by: BTreeMap<String, String>,
    adapters: Vec<Entry>,
}

/// The fields that every schema version has.
#[derive(Deserialize)]
struct AnySchema {
    schema: u64,
}

/// Serializes a state.
pub(crate) fn write(state: &State) -> Vec<u8> {
    let texts = |(name, target): (&AdapterId, &AdapterId)| (name.to_string(), target.to_string());
    let mut document = Document {
        schema: SCHEMA,
        checksum: Digest::new([0; 32]),
        generation: state.generation,
        aliases: state.aliases().map(texts).collect(),
        base_aliases: state.base_aliases().map(texts).collect(),
        rank_by: state.rank_by().map(|(alias, expression)| (alias.to_string(), expression.to_owned())).collect(),
        adapters: state.adapters.values().cloned().collect(),
    };
    document.checksum = Digest::new(*blake3::hash(&bytes_of(&document)).as_bytes());
    let mut bytes = bytes_of(&document);
    bytes.push(b'\n');
    bytes
}

/// Deserializes a state.
pub(crate) fn read(bytes: &[u8], path: &Path) -> Result<State, RegistryError> {
    state(parse(bytes, path)?).map_err(|what| RegistryError::Inconsistent { path: path.into(), what })
}

/// Whether the bytes are exactly those that lorank writes for their state.
pub(crate) fn is_as_written(bytes: &[u8], state: &State) -> bool {
    write(state) == bytes
}

fn parse(bytes: &[u8], path: &Path) -> Result<Document, RegistryError> {
    let error = |source| RegistryError::Document { path: path.into(), source };
    let AnySchema { schema } = serde_json::from_slice(bytes).map_err(error)?;
    if schema != SCHEMA {
        return Err(RegistryError::Schema { path: path.into(), found: schema, known: SCHEMA });
    }
    serde_json::from_slice(bytes).map_err(error)
}

fn bytes_of(document: &Document) -> Vec<u8> {
    serde_json::to_vec_pretty(document).expect("strings, numbers and maps with string keys always serialize")
}

/// Converts a document to a state; the error is an inconsistency.
fn state(document: Document) -> Result<State, String> {
    let mut state = State { generation: document.generation, ..State::default() };
    for entry in document.adapters {
        if entry.content != content_digest(&entry.files) {
            return Err(format!("the files of adapter `{}` do not have its digest", entry.id));
        }
        if let Some(twice) = state.adapters.insert(entry.id.clone(), entry) {
            return Err(format!("adapter `{}` is listed twice", twice.id));
        }
    }
    let parse = |text: &str| text.parse::<AdapterId>().map_err(|error| error.to_string());
    let mut point = |name: &str, target: AliasTarget<'_>| {
        let id = parse(name)?;
        if state.is_alias(&id) {
            return Err(format!("alias `{name}` is listed twice"));
        }
        let pointed = state.point(&id, target, usize::MAX);
        pointed.map(drop).map_err(|error| format!("alias `{name}` is invalid: {error}"))
    };
    for (name, target) in &document.aliases {
        point(name, AliasTarget::Adapter(&parse(target)?))?;
    }
    for (name, base) in &document.base_aliases {
        point(name, AliasTarget::Base(&parse(base)?))?;
    }
    for (alias, expression) in document.rank_by {
        let ordered = alias
            .parse()
            .map_err(|error: lorank_core::ParseIdError| error.to_string())
            .and_then(|name| state.order(&name, AliasRankBy::Set(expression)).map_err(|error| error.to_string()));
        ordered.map_err(|error| format!("the expression of `{alias}` is wrong: {error}"))?;
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::entry::{Provenance, StoredFile};
    use crate::state::Existing;

    fn entry(name: u8, version: u8) -> Entry {
        let files =
            vec![StoredFile { name: "weights".into(), bytes: version.into(), digest: Digest::new([version; 32]) }];
        let provenance = Provenance {
            source: "a \"quoted\" é source".into(),
            revision: None,
            added_at_millis: u64::MAX,
            base_model: "tiny".into(),
            rank: 8,
            targets: vec!["q_proj".into()],
            n_parameters: 64,
            model_digest: Digest::new([name; 32]),
            base_digest: None,
        };
        Entry { id: id(name), content: content_digest(&files), files, provenance }
    }

    fn id(n: u8) -> AdapterId {
        format!("name-{n}").parse().unwrap()
    }

    /// A state that changes lead to; those that are refused leave no trace.
    fn state_after(changes: &[(u8, u8, u8)]) -> State {
        let mut state = State::default();
        for (kind, a, b) in changes {
            let before = state.clone();
            let made = match kind % 8 {
                0 => state.insert(entry(*a, *b), Existing::Replace, 6).is_ok(),
                1 => state.insert(entry(*a, *b), Existing::Refuse, 6).is_ok(),
                2 => state.point(&id(*a), AliasTarget::Adapter(&id(*b)), 6).is_ok(),
                7 => state.point(&id(*a), AliasTarget::Base(&id(*b)), 6).is_ok(),
                3 => state.unpoint(&id(*a)).is_ok(),
                4 => state.order(&id(*a), AliasRankBy::Set(format!("{b} * \"é\""))).is_ok(),
                5 => state.order(&id(*a), AliasRankBy::Remove).is_ok(),
                _ => state.take(&id(*a), &[], b % 2 == 0).is_ok(),
            };
            assert!(made || state == before);
        }
        state
    }

    fn changes() -> impl Strategy<Value = Vec<(u8, u8, u8)>> {
        prop::collection::vec((0..8_u8, 0..5_u8, 0..5_u8), 0..30)
    }

    proptest! {
        #[test]
        fn whatever_the_changes_names_are_unique_and_every_alias_points_to_an_adapter(changes in changes()) {
            let state = state_after(&changes);
            for (name, target) in state.aliases() {
                prop_assert!(!state.adapters.contains_key(name) && state.adapters.contains_key(target));
            }
            prop_assert!(state.rank_by().all(|(alias, _)| state.is_alias(alias)));
            prop_assert!(state.base_aliases().all(|(name, _)| !state.aliases.contains_key(name)));
            prop_assert!(state.adapters().len() + state.aliases().len() + state.base_aliases().len() <= 6);
            let bytes = write(&state);
            let back = read(&bytes, Path::new("registry.json")).unwrap();
            prop_assert_eq!(&back, &state);
            prop_assert!(is_as_written(&bytes, &back));
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = write(&state_after(&[(0, 0, 1), (0, 1, 2), (2, 2, 0)]));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let is_noticed = read(&flipped, Path::new("x")).map_or(true, |state| !is_as_written(&flipped, &state));
            assert!(is_noticed, "bit {bit}");
        }
    }
}
