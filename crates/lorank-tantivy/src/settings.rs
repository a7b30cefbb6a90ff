//! The settings of an index, and their file.
//!
//! The file is in the index's folder beside tantivy's own, so that all readers and writers analyze texts and queries in
//! the same way.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Language};

/// The version of the folder's layout: settings, schema, stored form, and how texts become terms. Format 1 had no stop words, kept
/// accents, took a run of Chinese for one word, and knew dates of six centuries only. Format 2 did not know which folder a document
/// came from.
pub(crate) const FORMAT: u64 = 3;

/// The maximum boost, far from values at which scores overflow.
const BOOST_MAX: f32 = 1e6;

/// A text field. Its text form is `title` or, with a boost, `title^2`.
#[derive(Debug, Clone, PartialEq)]
pub struct TextField {
    /// The field's name, a key of the documents.
    pub name: String,
    /// The factor of the field's part of a score: above 0, at most a million.
    pub boost: f32,
}

impl TextField {
    /// A field with a boost of 1.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), boost: 1.0 }
    }
}

impl FromStr for TextField {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let Some((name, boost)) = text.rsplit_once('^') else { return Ok(Self::new(text)) };
        let boost = boost.parse().map_err(|_| Error::InvalidSettings {
            problem: format!("`{text}` is not a field with a boost; write `title^2`"),
        })?;
        Ok(Self { name: name.to_owned(), boost })
    }
}

impl fmt::Display for TextField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A name may contain a caret, which must not be parsed as that of a boost.
        if self.boost == 1.0 && !self.name.contains('^') {
            f.write_str(&self.name)
        } else {
            write!(f, "{}^{}", self.name, self.boost)
        }
    }
}

/// The settings of an index, which never change. By default `title` and `text` are searched, in English, and ids are
/// optional.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexSettings {
    /// The text fields: at least one, with distinct names.
    pub text_fields: Vec<TextField>,
    /// The id field; `_id` is used if it is missing. `None` uses `id` or `_id`, and a digest of the fields if both are
    /// missing.
    pub id_field: Option<String>,
    /// The language of stemming and stop words. Letters of all languages are indexed regardless.
    pub language: Language,
}

impl Default for IndexSettings {
    fn default() -> Self {
        let text_fields = vec![TextField::new("title"), TextField::new("text")];
        Self { text_fields, id_field: None, language: Language::default() }
    }
}

impl IndexSettings {
    /// Whether a field is a text field.
    pub(crate) fn is_text_field(&self, name: &str) -> bool {
        self.text_fields.iter().any(|field| field.name == name)
    }

    /// The name of the id field, or its default.
    pub(crate) fn id_field(&self) -> &str {
        self.id_field.as_deref().unwrap_or("id")
    }

    /// Whether a field contains the document's id.
    pub(crate) fn is_id_field(&self, name: &str) -> bool {
        name == self.id_field() || name == "_id"
    }

    /// Checks the settings.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let problem = if self.text_fields.is_empty() {
            Some("no text field; name at least one".to_owned())
        } else if self.id_field().is_empty() {
            Some("the id field has no name".to_owned())
        } else {
            (0..self.text_fields.len()).find_map(|n| self.problem_with(n))
        };
        problem.map_or(Ok(()), |problem| Err(Error::InvalidSettings { problem }))
    }

    fn problem_with(&self, n: usize) -> Option<String> {
        let TextField { name, boost } = &self.text_fields[n];
        if name.is_empty() {
            Some("a text field has no name".to_owned())
        } else if name.starts_with(['_', '-']) {
            Some(format!("`{name}` cannot be a text field: field names must not start with `_` or `-`"))
        } else if name == self.id_field() {
            Some(format!("`{name}` cannot be a text field: it is the id field"))
        } else if self.text_fields[..n].iter().any(|earlier| earlier.name == *name) {
            Some(format!("the field `{name}` is named twice"))
        } else if !(*boost > 0.0 && *boost <= BOOST_MAX) {
            Some(format!("the boost of `{name}` must be above 0 and at most {BOOST_MAX}, not `{boost}`"))
        } else {
            None
        }
    }

    /// The contents of the settings file.
    pub(crate) fn to_file(&self) -> Vec<u8> {
        let text_fields = self.text_fields.iter().map(|field| field.to_string()).collect();
        let file = SettingsFile {
            format: FORMAT,
            text_fields,
            id_field: self.id_field.clone(),
            language: self.language.to_string(),
        };
        let mut bytes = serde_json::to_vec_pretty(&file).expect("texts and numbers have a JSON form");
        bytes.push(b'\n');
        bytes
    }

    /// Parses the settings file.
    pub(crate) fn from_file(bytes: &[u8]) -> Result<Self, FileProblem> {
        let damaged = |problem: String| FileProblem::Damaged(problem);
        let FormatOnly { format } = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        match format.cmp(&FORMAT) {
            Ordering::Less => return Err(FileProblem::Older(format)),
            Ordering::Equal => {}
            Ordering::Greater => return Err(FileProblem::Newer(format)),
        }
        let file: SettingsFile = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        let text_fields = file.text_fields.iter().map(|field| field.parse()).collect::<Result<_, Error>>();
        let text_fields = text_fields.map_err(|error| damaged(error.to_string()))?;
        let language = file.language.parse().map_err(|error: Error| damaged(error.to_string()))?;
        let settings = Self { text_fields, id_field: file.id_field, language };
        settings.check().map_err(|error| damaged(error.to_string()))?;
        Ok(settings)
    }
}

/// Why a settings file cannot be used.
#[derive(Debug, PartialEq)]
pub(crate) enum FileProblem {
    /// It has an earlier format.
    Older(u64),
    /// It has a later format.
    Newer(u64),
    /// It is not a valid settings file.
    Damaged(String),
}

/// The form of the settings on disk.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsFile {
    format: u64,
    text_fields: Vec<String>,
    id_field: Option<String>,
    language: String,
}

/// The part of the settings file that every format has.
#[derive(Deserialize)]
struct FormatOnly {
    format: u64,
}

/// The requested settings of an index that may exist already. `None` accepts the index's value, or the default.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SettingsRequest {
    /// The text fields.
    pub text_fields: Option<Vec<TextField>>,
    /// The id field.
    pub id_field: Option<String>,
    /// The language of stemming and stop words. Letters of all languages are indexed regardless.
    pub language: Option<Language>,
}

impl SettingsRequest {
    /// The settings of a new index.
    pub fn into_settings(self) -> IndexSettings {
        let default = IndexSettings::default();
        IndexSettings {
            text_fields: self.text_fields.unwrap_or(default.text_fields),
            id_field: self.id_field.or(default.id_field),
            language: self.language.unwrap_or(default.language),
        }
    }

    /// The first setting that differs from the request: its name, the actual value and the requested value.
    pub(crate) fn first_difference(&self, settings: &IndexSettings) -> Option<(&'static str, String, String)> {
        let fields = |fields: &[TextField]| fields.iter().map(TextField::to_string).collect::<Vec<_>>().join(", ");
        let language = self.language.map(|asked| ("language", settings.language.to_string(), asked.to_string()));
        let found = || settings.id_field.clone().unwrap_or_else(|| "id, or a digest".to_owned());
        let id_field = self.id_field.clone().map(|asked| ("id field", found(), asked));
        let text_fields =
            self.text_fields.as_deref().map(|asked| ("text fields", fields(&settings.text_fields), fields(asked)));
        [language, id_field, text_fields].into_iter().flatten().find(|(_, found, asked)| found != asked)
    }
}

impl From<IndexSettings> for SettingsRequest {
    fn from(settings: IndexSettings) -> Self {
        let IndexSettings { text_fields, id_field, language } = settings;
        Self { text_fields: Some(text_fields), id_field, language: Some(language) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_fields_are_written_with_their_boost() {
        for (text, name, boost) in
            [("title^2", "title", 2.0), ("text", "text", 1.0), ("a^b^0.5", "a^b", 0.5), ("x^1", "x", 1.0)]
        {
            assert_eq!(text.parse::<TextField>().unwrap(), TextField { name: name.into(), boost }, "{text}");
        }
        assert_eq!(TextField { name: "title".into(), boost: 2.5 }.to_string(), "title^2.5");
        assert!("title^".parse::<TextField>().is_err());
        assert!("title^two".parse::<TextField>().is_err());
    }

    #[test]
    fn impossible_settings_are_refused() {
        check_refused(&[], "id", "at least one");
        check_refused(&["title", "title^2"], "id", "twice");
        check_refused(&["id"], "id", "is the id field");
        check_refused(&["_source"], "id", "must not start with");
        check_refused(&["-x"], "id", "must not start with");
        check_refused(&[""], "id", "a text field has no name");
        check_refused(&["text"], "", "no name");
        for boost in ["0", "-1", "NaN", "inf", "1e7"] {
            check_refused(&[&format!("text^{boost}")], "id", "boost of `text`");
        }
    }

    fn check_refused(text_fields: &[&str], id_field: &str, problem: &str) {
        let text_fields = text_fields.iter().map(|field| field.parse().unwrap()).collect();
        let settings = IndexSettings { text_fields, id_field: Some(id_field.into()), ..IndexSettings::default() };
        let error = settings.check().unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }

    #[test]
    fn a_settings_file_reads_what_it_writes() {
        let text_fields = vec!["título^1.1".parse().unwrap(), "b.c".parse().unwrap()];
        let settings = IndexSettings { text_fields, id_field: Some("key".into()), language: Language::Spanish };
        assert_eq!(IndexSettings::from_file(&settings.to_file()), Ok(settings));
        let settings = IndexSettings::default();
        assert_eq!(IndexSettings::from_file(&settings.to_file()), Ok(settings));
    }

    #[test]
    fn a_bad_settings_file_says_how_it_is_bad() {
        assert_eq!(IndexSettings::from_file(br#"{"format": 4, "new": true}"#), Err(FileProblem::Newer(4)));
        assert_eq!(IndexSettings::from_file(br#"{"format": 2, "old": true}"#), Err(FileProblem::Older(2)));
        let valid = String::from_utf8(IndexSettings::default().to_file()).unwrap();
        for (from, to) in [("format", "x"), ("english", "klingon"), ("\"text\"", "\"title\""), ("}", "")] {
            let bad = valid.replace(from, to);
            assert!(matches!(IndexSettings::from_file(bad.as_bytes()), Err(FileProblem::Damaged(_))), "{bad}");
        }
    }

    #[test]
    fn only_what_is_asked_for_can_differ() {
        let settings = IndexSettings::default();
        assert_eq!(SettingsRequest::default().first_difference(&settings), None);
        assert_eq!(SettingsRequest::from(settings.clone()).first_difference(&settings), None);
        let request = SettingsRequest { text_fields: Some(vec!["title^2".parse().unwrap()]), ..Default::default() };
        let expected = ("text fields", "title, text".to_owned(), "title^2".to_owned());
        assert_eq!(request.first_difference(&settings), Some(expected));
    }
}
