//! Languages, and what each does to a text before its words are indexed or looked up.
//!
//! The words of a text are its runs of letters and digits, in lower case, without the language's stop words, each brought
//! to its stem. Languages written without spaces between words (Chinese, Japanese, Thai) are not divided into words.

use std::fmt;
use std::str::FromStr;

use tantivy::tokenizer::{
    Language as Stem, LowerCaser, RemoveLongFilter, SimpleTokenizer, Stemmer, StopWordFilter, TextAnalyzer,
};

use crate::Error;

/// The bytes from which on a word is left out of the index: nobody types it, and encoded data would swell the dictionary.
const WORD_BYTES_MAX: usize = 256;

/// How words are brought to their stem. Part of an index: texts and queries must agree on it.
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
    /// Words as they stand, in lower case, none left out.
    None,
}

/// Every language with its name and its stemmer.
const TABLE: [(Language, &str, Option<Stem>); 19] = [
    (Language::Arabic, "arabic", Some(Stem::Arabic)),
    (Language::Danish, "danish", Some(Stem::Danish)),
    (Language::Dutch, "dutch", Some(Stem::Dutch)),
    (Language::English, "english", Some(Stem::English)),
    (Language::Finnish, "finnish", Some(Stem::Finnish)),
    (Language::French, "french", Some(Stem::French)),
    (Language::German, "german", Some(Stem::German)),
    (Language::Greek, "greek", Some(Stem::Greek)),
    (Language::Hungarian, "hungarian", Some(Stem::Hungarian)),
    (Language::Italian, "italian", Some(Stem::Italian)),
    (Language::Norwegian, "norwegian", Some(Stem::Norwegian)),
    (Language::Portuguese, "portuguese", Some(Stem::Portuguese)),
    (Language::Romanian, "romanian", Some(Stem::Romanian)),
    (Language::Russian, "russian", Some(Stem::Russian)),
    (Language::Spanish, "spanish", Some(Stem::Spanish)),
    (Language::Swedish, "swedish", Some(Stem::Swedish)),
    (Language::Tamil, "tamil", Some(Stem::Tamil)),
    (Language::Turkish, "turkish", Some(Stem::Turkish)),
    (Language::None, "none", None),
];

impl Language {
    /// Every language, `None` last.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|(language, ..)| *language)
    }

    /// The name on the command line and in an index's settings: `english`, ..., `none`.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// What divides a text into words and brings them to their stem.
    pub(crate) fn analyzer(self) -> TextAnalyzer {
        let words = TextAnalyzer::builder(SimpleTokenizer::default())
            .filter(RemoveLongFilter::limit(WORD_BYTES_MAX))
            .filter(LowerCaser);
        let Some(stem) = self.row().2 else { return words.build() };
        match StopWordFilter::new(stem) {
            Some(stop_words) => words.filter(stop_words).filter(Stemmer::new(stem)).build(),
            None => words.filter(Stemmer::new(stem)).build(),
        }
    }

    /// The name under which an index's schema asks for the analyzer. The number counts the ways of dividing a text that
    /// lorank has had: a new way needs a new number, or texts of an old index and new queries would disagree.
    pub(crate) fn analyzer_name(self) -> String {
        format!("lorank_{}_1", self.name())
    }

    fn row(self) -> &'static (Self, &'static str, Option<Stem>) {
        TABLE.iter().find(|(language, ..)| *language == self).expect("the table has every language")
    }
}

impl FromStr for Language {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let row = TABLE.iter().find(|(_, known, _)| known.eq_ignore_ascii_case(name));
        row.map(|(language, ..)| *language).ok_or_else(|| {
            let names: Vec<_> = TABLE.iter().map(|(_, name, _)| *name).collect();
            Error::InvalidSettings { problem: format!("unknown language `{name}`; it is one of {}", names.join(", ")) }
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
    fn every_language_reads_its_name_and_has_an_analyzer() {
        for language in Language::all() {
            assert_eq!(language.name().parse::<Language>().unwrap(), language);
            assert!(language.analyzer().token_stream("word").advance(), "{language}");
        }
        assert_eq!("German".parse::<Language>().unwrap(), Language::German);
        assert!("klingon".parse::<Language>().unwrap_err().to_string().contains("danish, dutch"));
    }

    #[test]
    fn texts_become_words() {
        check(Language::English, "The running DOGS, (and) a cat's 2nd!", &["run", "dog", "cat", "s", "2nd"]);
        check(Language::None, "The running DOGS", &["the", "running", "dogs"]);
        check(Language::German, "die Häuser und Gärten", &["haus", "gart"]);
        check(Language::English, "\0 \u{1F600} -- \"()", &[]);
        check(Language::None, &"x".repeat(WORD_BYTES_MAX), &[]);
    }

    fn check(language: Language, text: &str, words: &[&str]) {
        let mut analyzer = language.analyzer();
        let mut found = Vec::new();
        analyzer.token_stream(text).process(&mut |token| found.push(token.text.clone()));
        assert_eq!(found, words);
    }
}
