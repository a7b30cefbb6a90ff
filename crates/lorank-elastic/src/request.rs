//! The body of a search request.

use std::collections::HashMap;

use lorank_core::{Deadline, Fuzzy, Query, QuerySyntax, Retrieval, SortKey, SortOrder};
use serde_json::{Map, Value as Json, json};

use crate::field_types::{FieldType, Kind, orderable};
use crate::snippet::{MARK_END, MARK_START, SNIPPET_CHARS};
use crate::{ElasticConfig, Error, facets, filter};

/// The stored fields whose types a search needs.
pub(crate) fn typed_fields<'a>(retrieval: &Retrieval<'a>) -> Vec<&'a str> {
    let filters = retrieval.query.filters.iter().map(|filter| filter.field.as_str());
    let sort = retrieval.sort.iter().map(|key| key.field.as_str());
    let facets = retrieval.facets.iter().map(|facet| facet.field.as_str());
    let mut names: Vec<&str> =
        filters.chain(sort).chain(facets).chain(retrieval.numeric_fields.iter().copied()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The body of a search.
///
/// # Errors
/// A part of the search that the engine, or the user's own query, has no place for.
pub(crate) fn body(
    config: &ElasticConfig,
    retrieval: &Retrieval<'_>,
    types: &HashMap<String, FieldType>,
    deadline: Deadline,
) -> Result<Map<String, Json>, Error> {
    check_numeric(retrieval.numeric_fields, types)?;
    let filters = filter::clauses(&retrieval.query.filters, types)?;
    let mut body = query(config, retrieval.query, filters, retrieval.depth.get())?;
    body.insert("size".to_owned(), retrieval.depth.get().into());
    body.entry("track_total_hits").or_insert_with(|| config.total_hits_max.into());
    body.entry("_source").or_insert_with(|| source(config));
    // The engine stops a little earlier than the client, so that it can send what it has found.
    let millis = deadline.remaining().mul_f64(0.9).as_millis().max(1);
    body.insert("timeout".to_owned(), format!("{millis}ms").into());
    if !retrieval.sort.is_empty() {
        body.insert("sort".to_owned(), sort(retrieval.sort, types)?);
        body.insert("track_scores".to_owned(), true.into());
    } else if config.query.is_none() {
        // The default of OpenSearch and Elasticsearch; Quickwit has no scores otherwise.
        body.insert("sort".to_owned(), json!([{"_score": {"order": "desc"}}]));
    }
    if !retrieval.facets.is_empty() {
        body.insert("aggs".to_owned(), facets::aggregations(retrieval.facets, types)?.into());
    }
    if retrieval.snippets {
        highlight(&mut body, config);
    }
    Ok(body)
}

fn query(config: &ElasticConfig, query: &Query, filters: Vec<Json>, depth: usize) -> Result<Map<String, Json>, Error> {
    let invalid = |part, message: &str| Err(Error::InvalidQuery { part, message: message.to_owned() });
    if query.fuzzy == Fuzzy::On {
        let message = "`fuzzy: on` is not supported by the search engine's first stage; use a query of your own with \
                       `fuzziness` (`elastic.query_file`)";
        return invalid("query", message);
    }
    let clause = match (query.syntax, &config.query) {
        (QuerySyntax::MatchAll, _) => json!({"match_all": {}}),
        (QuerySyntax::Plain, Some(template)) => {
            if !filters.is_empty() && !template.has_filters() {
                let message = "filters are not supported: the query of `elastic.query_file` has no `{{filters}}`";
                return invalid("filters", message);
            }
            return Ok(template.fill(&query.text, &filters, depth));
        }
        (QuerySyntax::Plain, None) => json!({"multi_match": {"query": query.text, "fields": fields(config)}}),
        (QuerySyntax::Advanced, Some(_)) => {
            return invalid("query", "the advanced syntax is not supported: `elastic.query_file` has the query");
        }
        (QuerySyntax::Advanced, None) => json!({"query_string": {"query": query.text, "fields": fields(config)}}),
        _ => return invalid("query", "the syntax of the query is not supported"),
    };
    let clause = match filters.is_empty() {
        true => clause,
        false => json!({"bool": {"must": [clause], "filter": filters}}),
    };
    Ok(Map::from_iter([("query".to_owned(), clause)]))
}

fn fields(config: &ElasticConfig) -> Vec<String> {
    config.search_fields.iter().map(ToString::to_string).collect()
}

/// The fields to return.
fn source(config: &ElasticConfig) -> Json {
    let Some(fields) = &config.source_fields else { return Json::Bool(true) };
    let read = config.title_field.iter().chain(&config.text_fields).chain(&config.id_field);
    let mut includes: Vec<&String> = fields.iter().chain(read).collect();
    includes.sort_unstable();
    includes.dedup();
    json!({"includes": includes})
}

fn sort(keys: &[SortKey], types: &HashMap<String, FieldType>) -> Result<Json, Error> {
    let key = |key: &SortKey| {
        let name = orderable(&key.field, types).map_err(|problem| Error::InvalidQuery {
            part: "sort",
            message: format!("the sort key `{}` {problem}", key.field),
        })?;
        let order = match key.order {
            SortOrder::Ascending => "asc",
            SortOrder::Descending => "desc",
        };
        Ok(json!({name: {"order": order, "missing": "_last"}}))
    };
    keys.iter().map(key).collect()
}

/// Checks the fields that an expression reads as numbers.
fn check_numeric(fields: &[&str], types: &HashMap<String, FieldType>) -> Result<(), Error> {
    for field in fields {
        let problem = match types.get(*field).map(|field| field.kind) {
            Some(Kind::Number | Kind::Date | Kind::Boolean) => continue,
            Some(Kind::Text | Kind::Keyword) => "has texts; an expression needs numbers, dates or booleans",
            None => "is unknown: the index has no such field",
        };
        return Err(Error::InvalidQuery { part: "rank_by", message: format!("the field `{field}` {problem}") });
    }
    Ok(())
}

/// Adds marks to the request: those of the user's own `highlight`, or of the fields with text.
fn highlight(body: &mut Map<String, Json>, config: &ElasticConfig) {
    let default = || {
        let fields: Map<String, Json> = config.text_fields.iter().map(|field| (field.clone(), json!({}))).collect();
        json!({"fields": fields, "number_of_fragments": 1, "fragment_size": SNIPPET_CHARS})
    };
    let highlight = body.entry("highlight").or_insert_with(default);
    if let Some(highlight) = highlight.as_object_mut() {
        highlight.insert("pre_tags".to_owned(), json!([MARK_START]));
        highlight.insert("post_tags".to_owned(), json!([MARK_END]));
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::time::{Duration, Instant};

    use super::*;

    fn config() -> ElasticConfig {
        ElasticConfig::new(vec!["http://localhost:9200".parse().unwrap()], "docs".parse().unwrap())
    }

    fn sent(config: &ElasticConfig, retrieval: &Retrieval<'_>) -> Result<Json, Error> {
        let types = [("year", Kind::Number), ("lang", Kind::Keyword), ("note", Kind::Text)];
        let types = types.map(|(name, kind)| (name.to_owned(), FieldType { name: name.to_owned(), kind })).into();
        let deadline = Deadline::at(Instant::now() + Duration::from_secs(3_600));
        let mut body = body(config, retrieval, &types, deadline)?;
        let timeout = body.remove("timeout").unwrap();
        assert!(timeout.as_str().unwrap().ends_with("ms"), "{timeout}");
        Ok(Json::Object(body))
    }

    const TEN: NonZeroUsize = NonZeroUsize::new(10).unwrap();

    #[test]
    fn the_default_query_matches_the_fields_with_their_boosts() {
        let mut config = config();
        config.search_fields[0].boost = Some(2.0);
        config.source_fields = Some(vec!["year".to_owned()]);
        let query = Query { filters: vec!["lang=en".parse().unwrap()], ..Query::new("a \"b\"") };
        let found = sent(&config, &Retrieval { snippets: true, ..Retrieval::new(&query, TEN) }).unwrap();
        let expected = json!({
            "query": {"bool": {
                "must": [{"multi_match": {"query": "a \"b\"", "fields": ["title^2", "text"]}}],
                "filter": [{"terms": {"lang": ["en"]}}]}},
            "size": 10, "track_total_hits": 10_000,
            "_source": {"includes": ["text", "title", "year"]},
            "sort": [{"_score": {"order": "desc"}}],
            "highlight": {"fields": {"text": {}}, "number_of_fragments": 1, "fragment_size": 200,
                "pre_tags": ["\u{2}"], "post_tags": ["\u{3}"]}});
        assert_eq!(found, expected);
    }

    #[test]
    fn the_users_own_query_is_sent_as_it_is() {
        let template = r#"{"retriever": {"rrf": {"retrievers": [{"standard": {"query": {"match": {"text": "{{query}}"}}}}]}},
            "track_total_hits": true, "highlight": {"fields": {"body": {}}}}"#;
        let config = ElasticConfig { query: Some(template.parse().unwrap()), ..config() };
        let query = Query::new("x");
        let found = sent(&config, &Retrieval { snippets: true, ..Retrieval::new(&query, TEN) }).unwrap();
        assert_eq!(found["retriever"]["rrf"]["retrievers"][0]["standard"]["query"]["match"]["text"], "x");
        assert_eq!((&found["track_total_hits"], found.get("sort")), (&json!(true), None));
        assert_eq!(found["highlight"]["fields"], json!({"body": {}}));
        let filtered = Query { filters: vec!["year=1".parse().unwrap()], ..Query::new("x") };
        let error = sent(&config, &Retrieval::new(&filtered, TEN)).unwrap_err().to_string();
        assert!(error.contains("has no `{{filters}}`"), "{error}");
    }

    #[test]
    fn searches_are_sorted_with_scores() {
        let query = Query { syntax: QuerySyntax::MatchAll, ..Query::new("") };
        let keys = ["year:desc".parse().unwrap()];
        let found = sent(&config(), &Retrieval { sort: &keys, ..Retrieval::new(&query, TEN) }).unwrap();
        assert_eq!(found["query"], json!({"match_all": {}}));
        assert_eq!(found["sort"], json!([{"year": {"order": "desc", "missing": "_last"}}]));
        assert_eq!(found["track_scores"], true);
    }

    #[test]
    fn what_the_engine_has_no_place_for_is_refused_by_name() {
        let own = ElasticConfig {
            query: Some(r#"{"query": {"match": {"text": "{{query}}"}}}"#.parse().unwrap()),
            ..config()
        };
        let advanced = Query { syntax: QuerySyntax::Advanced, ..Query::new("a") };
        let fuzzy = Query { fuzzy: Fuzzy::On, ..Query::new("a") };
        let plain = Query::new("a");
        let (by_note, by_nix) = (["note".parse().unwrap()], ["nix".parse().unwrap()]);
        for (config, retrieval, part) in [
            (&own, Retrieval::new(&advanced, TEN), "the advanced syntax is not supported"),
            (&config(), Retrieval::new(&fuzzy, TEN), "`fuzzy: on` is not supported"),
            (&config(), Retrieval { sort: &by_note, ..Retrieval::new(&plain, TEN) }, "`note` is not supported"),
            (&config(), Retrieval { sort: &by_nix, ..Retrieval::new(&plain, TEN) }, "`nix` is unknown"),
            (&config(), Retrieval { numeric_fields: &["lang"], ..Retrieval::new(&plain, TEN) }, "`lang` has texts"),
            (&config(), Retrieval { numeric_fields: &["nix"], ..Retrieval::new(&plain, TEN) }, "`nix` is unknown"),
        ] {
            let error = sent(config, &retrieval).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
