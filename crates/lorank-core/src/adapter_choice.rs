//! The choice of a model.

use std::fmt;
use std::str::FromStr;

use crate::{AdapterId, ParseIdError};

/// The model that reranks. Its text form is a name, or `none` for the bare base model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AdapterChoice {
    /// The pipeline's default adapter.
    #[default]
    Default,
    /// The base model without an adapter.
    Base,
    /// An adapter or an alias.
    Named(AdapterId),
}

impl AdapterChoice {
    /// The text form of the bare base model.
    pub const BASE: &'static str = "none";
}

/// Writes the text form; `default` for the pipeline's default, which has no name.
impl fmt::Display for AdapterChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Base => f.write_str(Self::BASE),
            Self::Named(name) => name.fmt(f),
        }
    }
}

impl FromStr for AdapterChoice {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        if text == Self::BASE { Ok(Self::Base) } else { text.parse().map(Self::Named) }
    }
}
