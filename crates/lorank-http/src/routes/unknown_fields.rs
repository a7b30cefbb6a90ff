//! Names in `fields` that no document has.

use lorank_core::{Candidate, nearest_name};

use crate::service::ServedIndex;
use crate::{AnswerShape, WarningJson};

/// The maximum number of fields that a warning lists.
const NAMES_MAX: usize = 20;

/// Names of the id, which every hit has beside its fields.
const IDS: [&str; 2] = ["id", "_id"];

impl ServedIndex {
    /// A warning for each name in `fields` that neither a returned hit nor the index has. Fields without a column, such
    /// as those whose texts are all long, are known from the hits only; this is why the request is not refused.
    pub(crate) fn unknown_fields(&self, shape: &AnswerShape, hits: &[&Candidate]) -> Vec<WarningJson> {
        let is_in_a_hit = |name: &str| hits.iter().any(|hit| hit.fields.iter().any(|(known, _)| known == name));
        let wanted = shape.fields.iter().flatten().map(String::as_str);
        let missing: Vec<&str> = wanted.filter(|name| !is_in_a_hit(name)).collect();
        if hits.is_empty() || missing.is_empty() {
            return Vec::new();
        }
        // The hits are answered even if the names cannot be read.
        let fields = self.documents.as_ref().and_then(|host| host.fields().ok().flatten());
        let Some(fields) = fields else { return Vec::new() };
        let known: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        missing.into_iter().filter_map(|name| unknown(name, &known)).collect()
    }
}

fn unknown(name: &str, known: &[&str]) -> Option<WarningJson> {
    let objects: Vec<&str> = known.iter().filter_map(|known| Some(known.split_once('.')?.0)).collect();
    let problem = if let Some((object, _)) = name.split_once('.').filter(|_| known.contains(&name)) {
        format!("names `{name}`, a part of the field `{object}`; whole fields are returned: name `{object}`")
    } else if known.contains(&name) || objects.contains(&name) || IDS.contains(&name) {
        return None;
    } else {
        let mut names: Vec<&str> = known.iter().copied().filter(|known| !known.contains('.')).chain(objects).collect();
        names.sort_unstable();
        names.dedup();
        let meant = nearest_name(name, names.iter().copied()).map(|name| format!(" (did you mean `{name}`?)"));
        let listed: Vec<String> = names.iter().take(NAMES_MAX).map(|name| format!("`{name}`")).collect();
        let more = names.len().saturating_sub(NAMES_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let meant = meant.unwrap_or_default();
        format!("names `{name}`, which no document has{meant}; the fields are {}{more}", listed.join(", "))
    };
    Some(WarningJson { reason: "unknown_field", message: format!("`fields` {problem}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_compared_with_the_fields_and_the_objects_that_hold_them() {
        let known = ["title", "text", "year", "meta.lang", "meta.tags"];
        let message = |name: &str| unknown(name, &known).map(|warning| warning.message);
        for name in ["title", "text", "year", "meta", "id", "_id"] {
            assert_eq!(message(name), None, "{name}");
        }
        for (name, expected) in [
            (
                "titel",
                "`fields` names `titel`, which no document has (did you mean `title`?); the fields are `meta`, `text`, \
                 `title`, `year`",
            ),
            (
                "author",
                "`fields` names `author`, which no document has; the fields are `meta`, `text`, `title`, `year`",
            ),
            (
                "meta.lang",
                "`fields` names `meta.lang`, a part of the field `meta`; whole fields are returned: name `meta`",
            ),
            (
                "meta.none",
                "`fields` names `meta.none`, which no document has; the fields are `meta`, `text`, `title`, `year`",
            ),
        ] {
            assert_eq!(message(name).as_deref(), Some(expected), "{name}");
        }
    }
}
