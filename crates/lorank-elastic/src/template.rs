//! The user's own search request, with variables.

use std::str::FromStr;

use serde_json::{Map, Value as Json};

/// The query's text, within any string.
const QUERY: &str = "{{query}}";
/// The filters of a search, as an array of clauses: a string of its own.
const FILTERS: &str = "{{filters}}";
/// The number of candidates: a string of its own, replaced by a number.
const DEPTH: &str = "{{depth}}";

/// The keys of a request that each search sets.
const OWN_KEYS: [&str; 6] = ["size", "from", "sort", "aggs", "aggregations", "timeout"];

/// A search request as JSON, in whose strings `{{query}}` stands for the query's text. It may use everything that the
/// engine knows: `knn`, `hybrid`, `retriever`, `search_pipeline`.
///
/// The template is parsed first and filled in afterwards, so that no text can become syntax. `"{{filters}}"` stands for
/// an array with the filters of a search; without it, searches with filters are refused. `"{{depth}}"` stands for the
/// number of candidates.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryTemplate {
    body: Map<String, Json>,
    has_filters: bool,
}

impl FromStr for QueryTemplate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let body: Json = serde_json::from_str(text).map_err(|error| {
            format!(
                "is not JSON: {error}; variables stand within strings, as in {{\"match\": {{\"text\": \"{QUERY}\"}}}}"
            )
        })?;
        let Json::Object(body) = body else {
            return Err("must be an object with a search request, such as {\"query\": {...}}".to_owned());
        };
        if let Some(key) = OWN_KEYS.iter().find(|key| body.contains_key(**key)) {
            return Err(format!("cannot have `{key}`, which each search sets; remove it"));
        }
        if let Some(tags) = ["pre_tags", "post_tags"]
            .iter()
            .find(|tags| body.get("highlight").is_some_and(|it| it.get(**tags).is_some()))
        {
            return Err(format!(
                "cannot have `highlight.{tags}`, which lorank sets to find the marked terms; remove it"
            ));
        }
        let mut variables = Variables::default();
        variables.find_in_object(&body)?;
        if !variables.query {
            return Err(format!("does not have `{QUERY}`, which stands for the text of the query"));
        }
        Ok(Self { body, has_filters: variables.filters })
    }
}

impl QueryTemplate {
    /// Whether the template has a place for filters.
    pub(crate) fn has_filters(&self) -> bool {
        self.has_filters
    }

    /// The request for a query.
    pub(crate) fn fill(&self, query: &str, filters: &[Json], depth: usize) -> Map<String, Json> {
        let filled = |value: &Json| filled(value, query, filters, depth);
        self.body.iter().map(|(key, value)| (key.clone(), filled(value))).collect()
    }
}

/// The variables that a template has.
#[derive(Default)]
struct Variables {
    query: bool,
    filters: bool,
}

impl Variables {
    fn find(&mut self, value: &Json) -> Result<(), String> {
        match value {
            Json::String(text) => self.find_in_text(text),
            Json::Array(values) => values.iter().try_for_each(|value| self.find(value)),
            Json::Object(object) => self.find_in_object(object),
            _ => Ok(()),
        }
    }

    fn find_in_object(&mut self, object: &Map<String, Json>) -> Result<(), String> {
        for (key, value) in object {
            if key.contains("{{") {
                return Err(format!("has the variable `{key}` as a key; variables stand within values"));
            }
            self.find(value)?;
        }
        Ok(())
    }

    fn find_in_text(&mut self, text: &str) -> Result<(), String> {
        match text {
            FILTERS => self.filters = true,
            DEPTH => {}
            _ => {
                let rest = text.replace(QUERY, "");
                self.query |= rest.len() < text.len();
                if let Some(at) = rest.find("{{") {
                    let end = rest[at..].find("}}").map_or(rest.len(), |end| at + end + 2);
                    return Err(unknown(&rest[at..end]));
                }
            }
        }
        Ok(())
    }
}

fn unknown(variable: &str) -> String {
    if variable == FILTERS || variable == DEPTH {
        return format!(
            "has `{variable}` within a longer string; it must be a string of its own, because it is not a text"
        );
    }
    format!("has the unknown variable `{variable}`; the variables are `{QUERY}`, `{FILTERS}` and `{DEPTH}`")
}

fn filled(value: &Json, query: &str, filters: &[Json], depth: usize) -> Json {
    match value {
        Json::String(text) if text == FILTERS => Json::Array(filters.to_vec()),
        Json::String(text) if text == DEPTH => Json::from(depth),
        Json::String(text) => Json::String(text.replace(QUERY, query)),
        Json::Array(values) => values.iter().map(|value| filled(value, query, filters, depth)).collect(),
        Json::Object(object) => {
            let entries = object.iter().map(|(key, value)| (key.clone(), filled(value, query, filters, depth)));
            Json::Object(entries.collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_template_cannot_have_is_refused_by_name() {
        for (text, part) in [
            (r#"{"query": {{query}}}"#, "is not JSON"),
            (r#"["{{query}}"]"#, "must be an object"),
            (r#"{"query": {"match_all": {}}}"#, "does not have `{{query}}`"),
            (r#"{"query": {"match": {"text": "{{qeury}}"}}}"#, "unknown variable `{{qeury}}`"),
            (r#"{"a": "{{query}}", "b": "{{k"}"#, "unknown variable `{{k`"),
            (r#"{"a": "{{query}}", "b": "x{{filters}}"}"#, "`{{filters}}` within a longer string"),
            (r#"{"{{query}}": "{{query}}"}"#, "as a key"),
            (r#"{"query": "{{query}}", "size": 3}"#, "cannot have `size`"),
            (r#"{"query": "{{query}}", "highlight": {"pre_tags": ["<em>"]}}"#, "`highlight.pre_tags`"),
        ] {
            let error = text.parse::<QueryTemplate>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn variables_are_replaced() {
        let text = r#"{"query": {"hybrid": {"queries": [
            {"bool": {"must": {"match": {"text": "{{query}}"}}, "filter": "{{filters}}"}},
            {"neural": {"vector": {"query_text": "query: {{query}}", "k": "{{depth}}"}}}]}},
            "search_pipeline": "normalize"}"#;
        let template: QueryTemplate = text.parse().unwrap();
        assert!(template.has_filters());
        let filled = Json::Object(template.fill("a \"b\"", &[json!({"term": {"lang": "en"}})], 50));
        assert_eq!(filled["query"]["hybrid"]["queries"][0]["bool"]["must"]["match"]["text"], "a \"b\"");
        assert_eq!(filled["query"]["hybrid"]["queries"][0]["bool"]["filter"], json!([{"term": {"lang": "en"}}]));
        assert_eq!(
            filled["query"]["hybrid"]["queries"][1]["neural"]["vector"],
            json!({"query_text": "query: a \"b\"", "k": 50})
        );
        assert_eq!(filled["search_pipeline"], "normalize");
    }

    proptest! {
        /// Whatever the query is, the request has the template's structure, and the query's text as one string.
        #[test]
        fn a_query_never_becomes_syntax(query in "\\PC*|.*[\"\\\\{}]+.*") {
            let template: QueryTemplate = r#"{"query": {"match": {"text": "{{query}}"}}}"#.parse().unwrap();
            let sent = serde_json::to_string(&template.fill(&query, &[], 1)).unwrap();
            let read: Json = serde_json::from_str(&sent).unwrap();
            prop_assert_eq!(read, json!({"query": {"match": {"text": query}}}));
        }
    }
}
