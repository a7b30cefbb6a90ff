//! Model names of rerank clients that are not names of adapters.

use std::fmt;
use std::str::FromStr;

use lorank_core::AdapterId;

/// The maximum length of a name in bytes.
const NAME_BYTES_MAX: usize = 256;

/// An additional name for the `model` of rerank requests.
///
/// As text: `NAME` for the default model, `NAME=ADAPTER` for an adapter or alias; `*` matches every name that is otherwise unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelAlias {
    /// The name; `None` matches every name that is otherwise unknown.
    pub name: Option<String>,
    /// The adapter or alias; `None` for the default model.
    pub adapter: Option<AdapterId>,
}

impl ModelAlias {
    const ANY: &'static str = "*";

    /// A name that occurs twice, which would be ambiguous; `None` if there is none.
    pub fn duplicate(aliases: &[Self]) -> Option<&str> {
        let is_twice = |n: usize| aliases[..n].iter().any(|earlier| earlier.name == aliases[n].name);
        let n = (0..aliases.len()).find(|n| is_twice(*n))?;
        Some(aliases[n].name.as_deref().unwrap_or(Self::ANY))
    }
}

impl FromStr for ModelAlias {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, adapter) = match text.split_once('=') {
            Some((name, adapter)) => (name, Some(adapter.parse().map_err(|error| format!("`{text}`: {error}"))?)),
            None => (text, None),
        };
        let has_space = name.chars().any(|c| c.is_whitespace() || c.is_control());
        if name.is_empty() || name.len() > NAME_BYTES_MAX || has_space {
            return Err(format!(
                "`{text}` is not a model alias; use NAME, NAME=ADAPTER or `*`, with a name without spaces of up to \
                 {NAME_BYTES_MAX} bytes"
            ));
        }
        Ok(Self { name: Some(name.to_owned()).filter(|name| name != Self::ANY), adapter })
    }
}

impl fmt::Display for ModelAlias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name.as_deref().unwrap_or(Self::ANY))?;
        self.adapter.as_ref().map_or(Ok(()), |adapter| write!(f, "={adapter}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_the_default_or_for_an_adapter() {
        for (text, name, adapter) in [
            ("rerank-v3.5", Some("rerank-v3.5"), None),
            ("BAAI/bge-reranker-v2-m3=qa", Some("BAAI/bge-reranker-v2-m3"), Some("qa")),
            ("amazon.rerank-v1:0", Some("amazon.rerank-v1:0"), None),
            ("*", None, None),
            ("*=qa", None, Some("qa")),
        ] {
            let alias: ModelAlias = text.parse().unwrap();
            assert_eq!((alias.name.as_deref(), alias.adapter.as_ref().map(AdapterId::as_str)), (name, adapter));
            assert_eq!(alias.to_string(), text);
        }
        for bad in ["", "=qa", "a b", "a=b c", "a=", &"x".repeat(257)] {
            assert!(bad.parse::<ModelAlias>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_stands_for_one_thing() {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<ModelAlias>>();
        assert_eq!(ModelAlias::duplicate(&parse(&["a", "b", "*"])), None);
        assert_eq!(ModelAlias::duplicate(&parse(&["a", "b", "a=qa"])), Some("a"));
        assert_eq!(ModelAlias::duplicate(&parse(&["*", "*=qa"])), Some("*"));
    }
}
