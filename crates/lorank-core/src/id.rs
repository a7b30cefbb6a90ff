//! Identifiers and content hashes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A document's id, as assigned by its owner. Integers are kept in decimal form.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DocumentId(Arc<str>);

impl DocumentId {
    /// Wraps an id; every text is valid.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The name of an adapter or alias: 1 to 128 of `a-z A-Z 0-9 . _ - / :`, starting with a letter or digit. Names of models
/// on other services are valid aliases: `BAAI/bge-reranker-v2-m3`, `amazon.rerank-v1:0`. No part between `/` is empty,
/// `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AdapterId(Arc<str>);

/// A text that is not a valid [`AdapterId`] or [`Digest`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not {expected}")]
pub struct ParseIdError {
    found: String,
    expected: &'static str,
}

impl AdapterId {
    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AdapterId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let is_part = |part: &str| !matches!(part, "" | "." | "..");
        if is_name(text, &['.', '_', '-', '/', ':']) && text.split('/').all(is_part) {
            return Ok(Self(text.into()));
        }
        let expected =
            "an adapter id (1 to 128 letters, digits, `.`, `_`, `-`, `:` or `/`, starting with a letter or digit)";
        Err(ParseIdError { found: text.into(), expected })
    }
}

/// Whether a text is 1 to 128 of `a-z A-Z 0-9 . _ -`, the first a letter or a digit: a name that can be a file's on every system.
pub fn is_plain_name(text: &str) -> bool {
    is_name(text, &['.', '_', '-'])
}

fn is_name(text: &str, marks: &[char]) -> bool {
    let first_is_plain = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    first_is_plain && text.len() <= 128 && text.chars().all(|c| c.is_ascii_alphanumeric() || marks.contains(&c))
}

impl fmt::Display for AdapterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A 256-bit content hash, written as 64 hexadecimal digits. lorank computes BLAKE3.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Wraps the hash's bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The hash's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 12 digits, for display; too short to identify files reliably.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl FromStr for Digest {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let error = || ParseIdError { found: text.into(), expected: "a digest (64 hexadecimal digits)" };
        if text.len() != 64 || !text.is_ascii() {
            return Err(error());
        }
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            // `from_str_radix` alone would accept a sign.
            let digits = Some(&text[at..at + 2]).filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()));
            *byte = u8::from_str_radix(digits.ok_or_else(error)?, 16).map_err(|_| error())?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapter_ids_are_plain_names() {
        for good in ["qa", "dear-3b.v1", "0_x", "BAAI/bge-reranker-v2-m3", "amazon.rerank-v1:0"] {
            assert_eq!(good.parse::<AdapterId>().map(|id| id.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "-qa", "../qa", "a b", "é", "a/../b", "a//b", "a/", ":a", &"x".repeat(129)] {
            assert!(bad.parse::<AdapterId>().is_err(), "{bad}");
        }
        assert!(is_plain_name("model.safetensors"));
        for bad in ["a/b", "a:b", "", ".hidden"] {
            assert!(!is_plain_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_digest_reads_what_it_writes() {
        let digest = Digest::new(std::array::from_fn(|n| n as u8 * 7));
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert!("12".parse::<Digest>().is_err());
        assert!("+f".repeat(32).parse::<Digest>().is_err());
    }
}
