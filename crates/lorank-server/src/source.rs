//! Sources of base models and adapters in flags and configuration files.

use std::fmt;
use std::str::FromStr;

use lorank_core::AdapterId;
use lorank_model::{ModelError, OtherBase, Source};

/// The source of a base model or an adapter: built in, a folder, or the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelSource {
    /// A bare word: a built-in name, else a folder.
    Word(String),
    /// A folder's path, or a repository on the hub.
    Source(Source),
}

impl FromStr for ModelSource {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        let is_word = !text.is_empty() && !text.contains(['/', '\\']);
        if is_word { Ok(Self::Word(text.to_owned())) } else { text.parse().map(Self::Source) }
    }
}

impl fmt::Display for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => f.write_str(word),
            Self::Source(Source::Folder(path)) => write!(f, "{}", path.display()),
            Self::Source(Source::Hub(repository)) => write!(f, "{repository}"),
        }
    }
}

/// An adapter to load: `[ID=]SOURCE`, or `none` for the bare base model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdapterSpec {
    /// The bare base model.
    None,
    /// An adapter.
    Adapter {
        /// The adapter id; the default is the name of the folder or repository.
        id: Option<AdapterId>,
        /// The source.
        source: ModelSource,
    },
}

impl FromStr for AdapterSpec {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        if text == "none" {
            return Ok(Self::None);
        }
        // A path may contain `=`, so the part before it is an id only if it is a valid one.
        let named = text.split_once('=').and_then(|(id, source)| Some((id.parse().ok()?, source)));
        let (id, source) = named.map_or((None, text), |(id, source)| (Some(id), source));
        Ok(Self::Adapter { id, source: source.parse()? })
    }
}

impl fmt::Display for AdapterSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Adapter { id: Some(id), source } => write!(f, "{id}={source}"),
            Self::Adapter { id: None, source } => write!(f, "{source}"),
        }
    }
}

impl AdapterSpec {
    pub(crate) fn of_starter(name: &str) -> Self {
        Self::Adapter { id: None, source: ModelSource::Word(name.to_owned()) }
    }

    /// The adapter id as far as it is known before loading.
    pub(crate) fn given_id(&self) -> Option<&str> {
        match self {
            Self::Adapter { id: Some(id), .. } => Some(id.as_str()),
            Self::Adapter { id: None, source: ModelSource::Word(word) } => Some(word),
            _ => None,
        }
    }
}

/// What to do with an adapter that was trained on another base model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnBaseMismatch {
    /// Load the adapter if its shapes fit, and log a warning.
    #[default]
    Warn,
    /// Refuse the adapter.
    Refuse,
}

impl FromStr for OnBaseMismatch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "warn" => Ok(Self::Warn),
            "refuse" => Ok(Self::Refuse),
            _ => Err(format!("`{text}` is neither `warn` nor `refuse`")),
        }
    }
}

impl fmt::Display for OnBaseMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warn => "warn",
            Self::Refuse => "refuse",
        })
    }
}

impl From<OnBaseMismatch> for OtherBase {
    fn from(action: OnBaseMismatch) -> Self {
        match action {
            OnBaseMismatch::Warn => Self::Warn,
            OnBaseMismatch::Refuse => Self::Refuse,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, id: Option<&str>, source: &str) {
        let id = id.map(|id| id.parse().unwrap());
        let expected = AdapterSpec::Adapter { id, source: source.parse().unwrap() };
        assert_eq!(text.parse::<AdapterSpec>().unwrap(), expected, "{text}");
        assert_eq!(expected.to_string().parse::<AdapterSpec>().unwrap(), expected, "{text}");
    }

    #[test]
    fn adapters_are_named_or_not() {
        assert_eq!("none".parse::<AdapterSpec>().unwrap(), AdapterSpec::None);
        check("minilm-qa", None, "minilm-qa");
        check("qa=adapters/mine", Some("qa"), "adapters/mine");
        check("qa=hf://owner/name@v1", Some("qa"), "hf://owner/name@v1");
        check("./lr=2e-5", None, "./lr=2e-5");
        assert!("qa=hf://name".parse::<AdapterSpec>().is_err());
        assert!("".parse::<AdapterSpec>().is_err());
    }
}
