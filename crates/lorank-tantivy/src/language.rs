//! Languages, for stemming and stop words.

use std::fmt;
use std::str::FromStr;

use frostem::Algorithm;
use tantivy::tokenizer::Language as StopWords;

use crate::Error;

/// A language for stemming and stop words. It is part of an index, because texts and queries must use the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
#[expect(missing_docs, reason = "a language is its name")]
pub enum Language {
    Arabic,
    Danish,
    Dutch,
    #[default]
    English,
    Finnish,
    French,
    German,
    Greek,
    Hungarian,
    Italian,
    Norwegian,
    Portuguese,
    Romanian,
    Russian,
    Spanish,
    Swedish,
    Tamil,
    Turkish,
    /// No stemming; words match regardless of case.
    None,
}

/// The languages with their names and stemmers.
const TABLE: [(Language, &str, Option<Algorithm>); 19] = [
    (Language::Arabic, "arabic", Some(Algorithm::Arabic)),
    (Language::Danish, "danish", Some(Algorithm::Danish)),
    (Language::Dutch, "dutch", Some(Algorithm::Dutch)),
    (Language::English, "english", Some(Algorithm::English)),
    (Language::Finnish, "finnish", Some(Algorithm::Finnish)),
    (Language::French, "french", Some(Algorithm::French)),
    (Language::German, "german", Some(Algorithm::German)),
    (Language::Greek, "greek", Some(Algorithm::Greek)),
    (Language::Hungarian, "hungarian", Some(Algorithm::Hungarian)),
    (Language::Italian, "italian", Some(Algorithm::Italian)),
    (Language::Norwegian, "norwegian", Some(Algorithm::Norwegian)),
    (Language::Portuguese, "portuguese", Some(Algorithm::Portuguese)),
    (Language::Romanian, "romanian", Some(Algorithm::Romanian)),
    (Language::Russian, "russian", Some(Algorithm::Russian)),
    (Language::Spanish, "spanish", Some(Algorithm::Spanish)),
    (Language::Swedish, "swedish", Some(Algorithm::Swedish)),
    (Language::Tamil, "tamil", Some(Algorithm::Tamil)),
    (Language::Turkish, "turkish", Some(Algorithm::Turkish)),
    (Language::None, "none", None),
];

impl Language {
    /// All languages, `None` last.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|(language, ..)| *language)
    }

    /// The name on the command line and in an index's settings: `english`, ..., `none`.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The stemmer.
    pub(crate) fn stemmer(self) -> Option<Algorithm> {
        self.row().2
    }

    /// The list of stop words, if tantivy has one.
    pub(crate) fn stop_words(self) -> Option<StopWords> {
        Some(match self {
            Self::Danish => StopWords::Danish,
            Self::Dutch => StopWords::Dutch,
            Self::English => StopWords::English,
            Self::Finnish => StopWords::Finnish,
            Self::French => StopWords::French,
            Self::German => StopWords::German,
            Self::Hungarian => StopWords::Hungarian,
            Self::Italian => StopWords::Italian,
            Self::Norwegian => StopWords::Norwegian,
            Self::Portuguese => StopWords::Portuguese,
            Self::Russian => StopWords::Russian,
            Self::Spanish => StopWords::Spanish,
            Self::Swedish => StopWords::Swedish,
            Self::Arabic | Self::Greek | Self::Romanian | Self::Tamil | Self::Turkish | Self::None => return None,
        })
    }

    /// The name of the analyzer for ranked terms in an index's schema.
    pub(crate) fn terms_name(self) -> String {
        format!("lorank_{}", self.name())
    }

    /// The name of the analyzer for phrases.
    pub(crate) fn phrases_name(self) -> String {
        format!("lorank_{}_phrases", self.name())
    }

    /// The name of the analyzer for whole words.
    pub(crate) fn whole_words_name(self) -> String {
        format!("lorank_{}_words", self.name())
    }

    fn row(self) -> &'static (Self, &'static str, Option<Algorithm>) {
        TABLE.iter().find(|(language, ..)| *language == self).expect("the table has all languages")
    }
}

impl FromStr for Language {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let row = TABLE.iter().find(|(_, known, _)| known.eq_ignore_ascii_case(name));
        row.map(|(language, ..)| *language).ok_or_else(|| {
            let names: Vec<_> = TABLE.iter().map(|(_, name, _)| *name).collect();
            Error::InvalidSettings { problem: format!("unknown language `{name}`; supported are {}", names.join(", ")) }
        })
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_reads_its_name() {
        for language in Language::all() {
            assert_eq!(language.name().parse::<Language>().unwrap(), language);
        }
        assert_eq!("German".parse::<Language>().unwrap(), Language::German);
        assert!("klingon".parse::<Language>().unwrap_err().to_string().contains("danish, dutch"));
    }
}
