//! Indexes, as flags and configuration files write them.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use lorank_http::IndexName;

/// An index to serve: `[NAME=]DIR`; the default name is `default`. The part before `=` is a name only if it is a valid
/// name: `./a=b` is a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexSpec {
    /// The index name.
    pub name: IndexName,
    /// The index folder.
    pub dir: PathBuf,
}

impl IndexSpec {
    /// The default index, for requests that name no index.
    pub fn unnamed(dir: impl Into<PathBuf>) -> Self {
        Self { name: IndexName::default(), dir: dir.into() }
    }
}

impl FromStr for IndexSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = text.split_once('=').and_then(|(name, dir)| Some((name.parse::<IndexName>().ok()?, dir)));
        let spec = named.map_or_else(|| Self::unnamed(text), |(name, dir)| Self { name, dir: dir.into() });
        match spec.dir.as_os_str().is_empty() {
            true => Err(format!("`{text}` has no folder; write `DIR` or `NAME=DIR`")),
            false => Ok(spec),
        }
    }
}

/// Writes the text that parses to the same value.
impl fmt::Display for IndexSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dir = self.dir.display();
        // A folder that looks like `NAME=DIR` needs its name written before it.
        let text = dir.to_string();
        let is_plain = self.name == IndexName::default() && Self::from_str(&text).as_ref() == Ok(self);
        if is_plain { f.write_str(&text) } else { write!(f, "{}={dir}", self.name) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_stand_before_the_folder() {
        for (text, name, dir, shown) in [
            ("data/index", "default", "data/index", "data/index"),
            ("shop=data/shop", "shop", "data/shop", "shop=data/shop"),
            ("default=data", "default", "data", "data"),
            ("shop-2.x_y=/srv/i", "shop-2.x_y", "/srv/i", "shop-2.x_y=/srv/i"),
            ("./a=b", "default", "./a=b", "./a=b"),
            ("data/a=b", "default", "data/a=b", "data/a=b"),
            ("a=b=c", "a", "b=c", "a=b=c"),
            ("default=a=b", "default", "a=b", "default=a=b"),
            ("=x", "default", "=x", "=x"),
            ("a b=x", "default", "a b=x", "a b=x"),
        ] {
            let spec: IndexSpec = text.parse().unwrap();
            assert_eq!((spec.name.as_str(), spec.dir.to_str().unwrap()), (name, dir), "{text}");
            assert_eq!(spec.to_string(), shown);
            assert_eq!(shown.parse(), Ok(spec), "{text}");
        }
        for text in ["", "shop="] {
            assert!(text.parse::<IndexSpec>().unwrap_err().contains("has no folder"), "{text}");
        }
    }
}
