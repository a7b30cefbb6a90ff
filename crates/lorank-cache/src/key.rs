//! The key of a cached score.

use std::fmt;

use lorank_core::{Digest, ModelVersion};

/// The contexts for BLAKE3's key derivation. A change of the layout below needs new contexts, and so does a change of the
/// scores of a precision: version 3 came with the rounding of decoders in int8.
const CONTEXT: &str = "lorank score cache 2026-12-01 query, document, model v3";
const ADAPTER_CONTEXT: &str = "lorank score cache 2025-11-25 adapter v1";

/// The 256-bit key of a score. Two pairs have equal keys if and only if they agree in everything that a score depends
/// on.
///
/// The first eight bytes are a hash of the adapter's digest alone, so that the cache can count the scores of an
/// adapter. The other 24 are a hash of everything, including the adapter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScoreKey([u8; 32]);

/// The part of a [`ScoreKey`] that identifies the adapter.
pub(crate) type AdapterTag = [u8; 8];

impl ScoreKey {
    /// The hash's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) fn adapter_tag(&self) -> AdapterTag {
        *self.0.first_chunk().expect("a key is longer than its tag")
    }
}

impl fmt::Debug for ScoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScoreKey({:02x}{:02x}{:02x}{:02x})", self.0[0], self.0[1], self.0[2], self.0[3])
    }
}

/// Computes the keys of one query under one model: hashes their common part once.
#[derive(Debug, Clone)]
pub struct KeyMaker {
    tag: AdapterTag,
    hasher: blake3::Hasher,
}

impl KeyMaker {
    /// Hashes the common part of the query's pairs. Display names (of the base model and adapter) are excluded.
    pub fn new(query_text: &str, model: &ModelVersion) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        write_model(&mut hasher, model);
        write(&mut hasher, query_text.as_bytes());
        Self { tag: adapter_tag(model.adapter.as_ref().map(|adapter| &adapter.digest)), hasher }
    }

    /// The key of the query with one document. A missing title and an empty title differ.
    pub fn key(&self, title: Option<&str>, text: &str) -> ScoreKey {
        let mut hasher = self.hasher.clone();
        write_option(&mut hasher, title.map(str::as_bytes));
        write(&mut hasher, text.as_bytes());
        let mut key = *hasher.finalize().as_bytes();
        key[..self.tag.len()].copy_from_slice(&self.tag);
        ScoreKey(key)
    }
}

pub(crate) fn adapter_tag(adapter: Option<&Digest>) -> AdapterTag {
    let mut hasher = blake3::Hasher::new_derive_key(ADAPTER_CONTEXT);
    write_option(&mut hasher, adapter.map(|digest| digest.as_bytes().as_slice()));
    *hasher.finalize().as_bytes().first_chunk().expect("a hash is longer than a tag")
}

fn write_model(hasher: &mut blake3::Hasher, model: &ModelVersion) {
    let ModelVersion { base_model: _, base_digest, adapter, prompt_version, precision, merged } = model;
    write(hasher, base_digest.as_bytes());
    write_option(hasher, adapter.as_ref().map(|adapter| adapter.digest.as_bytes().as_slice()));
    write(hasher, prompt_version.as_bytes());
    write(hasher, precision.name().as_bytes());
    write(hasher, &[u8::from(*merged)]);
}

/// Adds one part, prefixed by its length, so that different lists of parts give different bytes.
fn write(hasher: &mut blake3::Hasher, part: &[u8]) {
    hasher.update(&(part.len() as u64).to_le_bytes());
    hasher.update(part);
}

/// Adds an optional part.
fn write_option(hasher: &mut blake3::Hasher, part: Option<&[u8]>) {
    hasher.update(&[part.is_some().into()]);
    if let Some(part) = part {
        write(hasher, part);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use lorank_core::{AdapterVersion, Precision};
    use proptest::prelude::*;

    use super::*;

    fn model(base: u8, adapter: Option<(&str, u8)>, prompt: u8) -> ModelVersion {
        let adapter =
            adapter.map(|(id, digest)| AdapterVersion { id: id.parse().unwrap(), digest: Digest::new([digest; 32]) });
        ModelVersion {
            base_model: "tiny".into(),
            base_digest: Digest::new([base; 32]),
            adapter,
            prompt_version: Digest::new([prompt; 32]),
            precision: Precision::F32,
            merged: false,
        }
    }

    fn key(query: &str, model: &ModelVersion, title: Option<&str>, text: &str) -> ScoreKey {
        KeyMaker::new(query, model).key(title, text)
    }

    #[test]
    fn every_part_that_a_score_depends_on_changes_the_key() {
        let bare = model(1, None, 2);
        let keys = [
            key("egg", &bare, None, "text"),
            key("eggs", &bare, None, "text"),
            key("egg", &bare, None, "texts"),
            key("egg", &bare, Some(""), "text"),
            key("egg", &bare, Some("title"), "text"),
            key("egg", &model(3, None, 2), None, "text"),
            key("egg", &model(1, None, 3), None, "text"),
            key("egg", &model(1, Some(("qa", 4)), 2), None, "text"),
            key("egg", &model(1, Some(("qa", 5)), 2), None, "text"),
            key("egg", &ModelVersion { merged: true, ..model(1, Some(("qa", 5)), 2) }, None, "text"),
            key("egg", &ModelVersion { precision: Precision::Int8, ..model(1, None, 2) }, None, "text"),
            key("egg", &ModelVersion { precision: Precision::Bf16, ..model(1, None, 2) }, None, "text"),
            // The same bytes, cut at other places.
            key("eg", &bare, None, "gtext"),
            key("eggtext", &bare, None, ""),
            key("egg", &bare, Some("te"), "xt"),
            key("egg", &bare, Some("text"), ""),
        ];
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
    }

    #[test]
    fn names_for_people_do_not_change_the_key() {
        let one = model(1, Some(("qa", 4)), 2);
        let other = ModelVersion { base_model: "renamed".into(), ..model(1, Some(("legal", 4)), 2) };
        assert_eq!(key("egg", &one, None, "text"), key("egg", &other, None, "text"));
    }

    type Pair = (String, Option<String>, String);

    proptest! {
        /// A tiny alphabet, so that the parts of two pairs often join to the same text.
        #[test]
        fn keys_are_equal_only_where_pairs_are(a: (u8, u8, u8), b: (u8, u8, u8)) {
            let texts = ["", "a", "aa", "\0", "\0a", "\u{1}"];
            let text = |n: u8| texts[n as usize % texts.len()].to_owned();
            let pair = |(q, t, d): (u8, u8, u8)| -> Pair { (text(q), (t % 2 == 0).then(|| text(t / 2)), text(d)) };
            let (a, b) = (pair(a), pair(b));
            let bare = model(1, None, 2);
            let key = |(query, title, text): &Pair| key(query, &bare, title.as_deref(), text);
            prop_assert_eq!(key(&a) == key(&b), a == b);
        }
    }
}
