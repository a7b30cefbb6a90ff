//! Names of indexes.

use std::fmt;
use std::str::FromStr;

/// The name of an index in a path: ASCII letters and digits, `.`, `_` and `-`, starting with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexName(String);

/// An invalid index name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a valid index name; use up to 64 letters, digits, `.`, `_` and `-`, starting with a letter or digit"
)]
pub struct NotAnIndexName(pub String);

impl IndexName {
    /// The name of the index for requests that name none.
    pub const DEFAULT: &'static str = "default";
    /// The maximum length of a name in bytes.
    const BYTES_MAX: usize = 64;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for IndexName {
    fn default() -> Self {
        Self(Self::DEFAULT.to_owned())
    }
}

impl FromStr for IndexName {
    type Err = NotAnIndexName;

    fn from_str(text: &str) -> Result<Self, NotAnIndexName> {
        let is_name = text.len() <= Self::BYTES_MAX
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        if is_name { Ok(Self(text.to_owned())) } else { Err(NotAnIndexName(text.to_owned())) }
    }
}

impl fmt::Display for IndexName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_paths_as_they_are() {
        for name in ["default", "shop", "Shop-2.x_y", "7", &"a".repeat(64)] {
            assert_eq!(name.parse::<IndexName>().unwrap().as_str(), name);
        }
        for text in ["", ".", "..", "-a", "_a", "a/b", "a b", "é", "a=b", "a?b", &"a".repeat(65)] {
            assert!(text.parse::<IndexName>().is_err(), "{text}");
        }
    }
}
