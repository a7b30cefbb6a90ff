//! Sources of base models and adapters in flags and configuration files.

use std::fmt;
use std::str::FromStr;

use lorank_core::{AdapterId, is_plain_name};
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

/// A base model to load: `[NAME=]SOURCE`. The part before `=` is a name only if it is a valid one: `./a=b` is a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseSpec {
    /// The name by which requests choose it; the default is the model's own.
    pub name: Option<AdapterId>,
    /// The source.
    pub source: ModelSource,
}

impl FromStr for BaseSpec {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        let named = text.split_once('=').filter(|(name, _)| is_plain_name(name));
        let named = named.and_then(|(name, source)| Some((name.parse().ok()?, source)));
        let (name, source) = named.map_or((None, text), |(name, source)| (Some(name), source));
        Ok(Self { name, source: source.parse()? })
    }
}

impl fmt::Display for BaseSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name}={}", self.source),
            None => self.source.fmt(f),
        }
    }
}

impl From<ModelSource> for BaseSpec {
    fn from(source: ModelSource) -> Self {
        Self { name: None, source }
    }
}

impl BaseSpec {
    /// Whether it goes by a name before it is loaded: its own, or one that its source gives it.
    pub fn goes_by(&self, name: &str) -> bool {
        let of_hub = || {
            let text = self.source.to_string();
            let repository = text.strip_prefix("hf://")?.split('@').next()?.to_owned();
            let last = repository.rsplit('/').next()?.to_owned();
            Some([repository, last])
        };
        match &self.name {
            Some(own) => own.as_str() == name,
            None => {
                self.names_of_source().iter().any(|known| known.as_str() == name)
                    || of_hub().is_some_and(|names| names.iter().any(|known| known == name))
            }
        }
    }

    /// Whether one of the base models goes by a name before it is loaded.
    pub fn one_goes_by(bases: &[Self], name: &AdapterId) -> bool {
        bases.iter().any(|base| base.goes_by(name.as_str()))
    }

    /// The names that its source gives it, besides those of its files.
    pub(crate) fn names_of_source(&self) -> Vec<AdapterId> {
        let name = match &self.source {
            ModelSource::Word(word) => Some(word.clone()),
            ModelSource::Source(Source::Folder(path)) => {
                path.file_name().map(|name| name.to_string_lossy().into_owned())
            }
            ModelSource::Source(Source::Hub(_)) => None,
        };
        name.and_then(|name| name.parse().ok()).into_iter().collect()
    }
}

/// An adapter to load: `[ID[@BASE]=]SOURCE`, or `none` for the bare base model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdapterSpec {
    /// The bare base model.
    None,
    /// An adapter.
    Adapter {
        /// The adapter id; the default is the name of the folder or repository.
        id: Option<AdapterId>,
        /// The name of its base model, if it is given.
        base: Option<AdapterId>,
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
        let named = text.split_once('=').and_then(|(name, source)| {
            let (id, base) = name.split_once('@').map_or((name, None), |(id, base)| (id, Some(base)));
            Some((id.parse().ok()?, base.map(str::parse).transpose().ok()?, source))
        });
        let (id, base, source) = named.map_or((None, None, text), |(id, base, source)| (Some(id), base, source));
        Ok(Self::Adapter { id, base, source: source.parse()? })
    }
}

impl fmt::Display for AdapterSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Adapter { id: Some(id), base: Some(base), source } => write!(f, "{id}@{base}={source}"),
            Self::Adapter { id: Some(id), base: None, source } => write!(f, "{id}={source}"),
            Self::Adapter { id: None, source, .. } => write!(f, "{source}"),
        }
    }
}

impl AdapterSpec {
    pub(crate) fn of_starter(name: &str) -> Self {
        Self::Adapter { id: None, base: None, source: ModelSource::Word(name.to_owned()) }
    }

    /// The adapter id as far as it is known before loading.
    pub fn given_id(&self) -> Option<&str> {
        match self {
            Self::Adapter { id: Some(id), .. } => Some(id.as_str()),
            Self::Adapter { id: None, source: ModelSource::Word(word), .. } => Some(word),
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
        check_on(text, id, None, source);
    }

    fn check_on(text: &str, id: Option<&str>, base: Option<&str>, source: &str) {
        let [id, base] = [id, base].map(|name| name.map(|name| name.parse().unwrap()));
        let expected = AdapterSpec::Adapter { id, base, source: source.parse().unwrap() };
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
        check_on("qa@ettin=./mine", Some("qa"), Some("ettin"), "./mine");
        check("@ettin=./mine", None, "@ettin=./mine");
        assert!("qa=hf://name".parse::<AdapterSpec>().is_err());
        assert!("".parse::<AdapterSpec>().is_err());
    }

    #[test]
    fn base_models_are_named_or_not() {
        for (text, name, source) in [
            ("minilm", None, "minilm"),
            ("ettin=hf://owner/name@v1", Some("ettin"), "hf://owner/name@v1"),
            ("small=models/a=b", Some("small"), "models/a=b"),
            ("./a=b", None, "./a=b"),
            ("models/a=b", None, "models/a=b"),
        ] {
            let expected = BaseSpec { name: name.map(|name| name.parse().unwrap()), source: source.parse().unwrap() };
            assert_eq!(text.parse::<BaseSpec>().unwrap(), expected, "{text}");
            assert_eq!(expected.to_string(), text);
        }
        assert!("ettin=".parse::<BaseSpec>().is_err());
    }
}
