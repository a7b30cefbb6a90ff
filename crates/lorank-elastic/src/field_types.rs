//! The types of an index's fields, from the engine's `_field_caps`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lorank_core::Deadline;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::client::{Call, Client};
use crate::engine_error::CallersParts;
use crate::paths::encode;
use crate::{Error, IndexPattern};

/// How long a field's type is remembered. Types change rarely: a new index behind an alias.
const KEPT: Duration = Duration::from_secs(60);
/// The maximum number of remembered fields.
const FIELDS_MAX: usize = 4_096;

/// What the values of a field are, for conditions, sorting and counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Analyzed text, which cannot be compared.
    Text,
    Keyword,
    Number,
    Date,
    Boolean,
}

/// A field of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FieldType {
    /// The name to compare by: for analyzed text its sub-field `keyword`, if there is one.
    pub name: String,
    pub kind: Kind,
}

/// The types of fields, asked for when they are needed.
#[derive(Debug, Default)]
pub(crate) struct FieldTypes {
    known: Mutex<HashMap<String, (Instant, FieldType)>>,
}

#[derive(Deserialize)]
struct Capabilities {
    fields: BTreeMap<String, BTreeMap<String, Json>>,
}

/// The engine's own id, which is not among a mapping's fields.
pub(crate) const ID: &str = "_id";

impl FieldTypes {
    /// The types of these fields; a field that the index does not have is missing from the result.
    pub(crate) fn of(
        &self,
        names: &[&str],
        client: &Client,
        index: &IndexPattern,
        deadline: Option<Deadline>,
    ) -> Result<HashMap<String, FieldType>, Error> {
        let mut found = HashMap::new();
        let mut missing = Vec::new();
        {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            for name in names {
                match known.get(*name).filter(|(at, _)| at.elapsed() < KEPT) {
                    _ if *name == ID => {
                        found.insert(ID.to_owned(), FieldType { name: ID.to_owned(), kind: Kind::Keyword });
                    }
                    Some((_, field)) => {
                        found.insert((*name).to_owned(), field.clone());
                    }
                    None => missing.push(*name),
                }
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        let wanted: Vec<String> =
            missing.iter().flat_map(|name| [encode(name), format!("{}.keyword", encode(name))]).collect();
        let capabilities = capabilities(&wanted.join(","), client, index, deadline)?;
        let now = Instant::now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() + missing.len() > FIELDS_MAX {
            known.clear();
        }
        for name in missing {
            if let Some(field) = field_type(name, &capabilities)? {
                known.insert(name.to_owned(), (now, field.clone()));
                found.insert(name.to_owned(), field);
            }
        }
        Ok(found)
    }
}

/// The name by which a field's values are ordered and counted.
pub(crate) fn orderable<'a>(field: &str, types: &'a HashMap<String, FieldType>) -> Result<&'a str, String> {
    match types.get(field) {
        None => Err("is unknown: the index has no such field".to_owned()),
        Some(FieldType { kind: Kind::Text, .. }) => {
            Err("is not supported: the field is analyzed text without a sub-field `keyword`".to_owned())
        }
        Some(field) => Ok(&field.name),
    }
}

/// Every field of the index that can be named, with its type.
pub(crate) fn all(
    client: &Client,
    index: &IndexPattern,
    deadline: Option<Deadline>,
) -> Result<Vec<(String, Kind)>, Error> {
    let found = capabilities("*", client, index, deadline)?;
    let own = found.fields.keys().filter(|name| !name.starts_with('_') && !is_sub_field(name, &found));
    let typed = own.filter_map(|name| {
        let field = field_type(name, &found).ok().flatten()?;
        Some((name.clone(), field.kind))
    });
    Ok(typed.collect())
}

fn is_sub_field(name: &str, found: &Capabilities) -> bool {
    name.strip_suffix(".keyword").is_some_and(|parent| found.fields.contains_key(parent))
}

fn capabilities(
    fields: &str,
    client: &Client,
    index: &IndexPattern,
    deadline: Option<Deadline>,
) -> Result<Capabilities, Error> {
    let path = format!("/{}/_field_caps?fields={fields}", encode(index.as_str()));
    let reply = client.send(&Call { deadline, ..Call::get(&path) })?;
    let body = reply.checked(index.as_str(), CallersParts::default())?;
    serde_json::from_slice(&body).map_err(|error| Error::BadAnswer { problem: format!("_field_caps: {error}") })
}

/// The type of a field; `None` if the index does not have it.
fn field_type(name: &str, capabilities: &Capabilities) -> Result<Option<FieldType>, Error> {
    let kinds_of = |name: &str| -> Vec<Kind> {
        let types = capabilities.fields.get(name).into_iter().flat_map(BTreeMap::keys);
        let mut kinds: Vec<Kind> = types.filter_map(|name| kind(name)).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    };
    let (own, keyword) = (kinds_of(name), format!("{name}.keyword"));
    let field = |name: &str, kind| Ok(Some(FieldType { name: name.to_owned(), kind }));
    match own.as_slice() {
        [] => Ok(None),
        [Kind::Text] if kinds_of(&keyword) == [Kind::Keyword] => field(&keyword, Kind::Keyword),
        [kind] => field(name, *kind),
        // Quickwit has text that is stored raw beside its words.
        [Kind::Text, Kind::Keyword] => field(name, Kind::Keyword),
        _ => Err(Error::InvalidQuery {
            part: "filters",
            message: format!(
                "the field `{name}` has different types in the indexes that are searched; name another field"
            ),
        }),
    }
}

/// The kind of a type's name in a mapping; `None` for objects and for fields without comparable values.
fn kind(name: &str) -> Option<Kind> {
    Some(match name {
        "text" | "match_only_text" | "search_as_you_type" | "semantic_text" => Kind::Text,
        "keyword" | "constant_keyword" | "wildcard" | "ip" | "version" | "flattened" | "flat_object" => Kind::Keyword,
        "long" | "integer" | "short" | "byte" | "double" | "float" | "half_float" | "scaled_float"
        | "unsigned_long" => Kind::Number,
        "date" | "date_nanos" => Kind::Date,
        "boolean" => Kind::Boolean,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn analyzed_text_is_compared_by_its_keyword() {
        let capabilities: Capabilities = serde_json::from_str(
            r#"{"indices": ["docs"], "fields": {
                "lang": {"text": {"aggregatable": false}}, "lang.keyword": {"keyword": {}},
                "body": {"text": {}}, "year": {"long": {}, "integer": {}}, "raw": {"keyword": {}, "text": {}},
                "author": {"object": {}}, "odd": {"long": {}, "keyword": {}}}}"#,
        )
        .unwrap();
        let of = |name: &str| field_type(name, &capabilities);
        let field = |name: &str, kind| Ok(Some(FieldType { name: name.to_owned(), kind }));
        assert_eq!(of("lang"), field("lang.keyword", Kind::Keyword));
        assert_eq!(of("body"), field("body", Kind::Text));
        assert_eq!(of("year"), field("year", Kind::Number));
        assert_eq!(of("raw"), field("raw", Kind::Keyword));
        assert_eq!((of("author"), of("nix")), (Ok(None), Ok(None)));
        assert!(of("odd").unwrap_err().to_string().contains("different types"));
    }
}
