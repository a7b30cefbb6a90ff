//! Lists the documents' fields, for statistics and for messages about an unknown one.

use std::collections::BTreeSet;
use std::fmt;

use lorank_core::nearest_name;
use tantivy::Searcher;

use crate::Error;
use crate::columns::{FIELDS, FIELDS_ABOVE, FIELDS_BELOW, FieldTypes};
use crate::index::{Index, Parts};

/// The maximum number of fields in a message.
const NAMES_MAX: usize = 20;

/// A field that some document has and that filters, sort keys and facets read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterField {
    /// The name; a dot reaches into an object.
    pub name: String,
    /// The types of its values over all documents: `booleans`, `numbers`, `dates`, `texts`.
    pub types: Vec<&'static str>,
}

impl Index {
    /// The fields that filters, sort keys and facets read, as of the last commit, sorted by name.
    ///
    /// # Errors
    /// An index that cannot be read.
    pub fn filter_fields(&self) -> Result<Vec<FilterField>, Error> {
        let (parts, searcher) = (self.parts(), self.searcher()?);
        let field = |name: String| {
            let types = types_of(&name, &searcher).map_err(|source| parts.error("read from", source))?;
            Ok(FilterField { types: types.names(), name })
        };
        names(parts, &searcher)?.into_iter().map(field).collect()
    }
}

/// The types of a field's values over all segments; empty if no document has the field.
pub(crate) fn types_of(field: &str, searcher: &Searcher) -> tantivy::Result<FieldTypes> {
    let mut types = FieldTypes::default();
    for segment in searcher.segment_readers() {
        types.add(segment, field)?;
    }
    Ok(types)
}

/// Describes an unknown field: the nearest name, and the existing fields.
pub(crate) fn unknown(field: &str, parts: &Parts, searcher: &Searcher) -> Result<String, Error> {
    let names = names(parts, searcher)?;
    let nearest =
        nearest_name(field, names.iter().map(String::as_str)).map(|name| format!(" (did you mean `{name}`?)"));
    let listed: Vec<String> = names.iter().take(NAMES_MAX).map(|name| described(name, searcher)).collect();
    let more = if names.len() > NAMES_MAX { format!(" and {} more", names.len() - NAMES_MAX) } else { String::new() };
    let known = if listed.is_empty() {
        "no document has other fields than the id and the text fields".to_owned()
    } else {
        format!("the fields are {}{more}", listed.join(", "))
    };
    Ok(format!("names a field that no document has{}; {known}", nearest.unwrap_or_default()))
}

/// The fields of the documents, ordered by name.
fn names(parts: &Parts, searcher: &Searcher) -> Result<BTreeSet<String>, Error> {
    let mut names = BTreeSet::new();
    for segment in searcher.segment_readers() {
        let usage = segment.space_usage().map_err(|source| parts.error("read from", source.into()))?;
        for column in usage.fast_fields().fields() {
            let name = [FIELDS, FIELDS_ABOVE, FIELDS_BELOW]
                .into_iter()
                .find_map(|place| column.field_name().strip_prefix(place)?.strip_prefix('.'));
            names.extend(name.map(str::to_owned));
        }
    }
    Ok(names)
}

/// A field with its types.
fn described(name: &str, searcher: &Searcher) -> String {
    let types = types_of(name, searcher).unwrap_or_default();
    if types == FieldTypes::default() { format!("`{name}`") } else { format!("`{name}` ({types})") }
}

impl FieldTypes {
    fn names(self) -> Vec<&'static str> {
        let kinds = [(self.bools, "booleans"), (self.numbers, "numbers"), (self.dates, "dates"), (self.texts, "texts")];
        kinds.into_iter().filter(|(is_held, _)| *is_held).map(|(_, kind)| kind).collect()
    }
}

/// `numbers and texts`
impl fmt::Display for FieldTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.names().as_slice() {
            [] => f.write_str("nothing"),
            [one] => f.write_str(one),
            [all @ .., last] => write!(f, "{} and {last}", all.join(", ")),
        }
    }
}
