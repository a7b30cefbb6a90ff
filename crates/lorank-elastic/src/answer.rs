//! The engine's answer to a search.

use std::collections::HashMap;

use lorank_core::{Candidate, Retrieval, RetrievalProblem, Retrieved, Score, TotalHits, shortened};
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use crate::field_types::FieldType;
use crate::{ElasticConfig, Error, engine_error, facets, snippet, values};

/// An answer of `_search`. Keys that differ between engines and versions are optional.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    timed_out: bool,
    #[serde(default, rename = "_shards")]
    shards: Shards,
    hits: Hits,
    #[serde(default)]
    aggregations: Map<String, Json>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Shards {
    total: u64,
    failed: u64,
    failures: Vec<Json>,
}

#[derive(Deserialize)]
struct Hits {
    total: Option<Total>,
    hits: Vec<Hit>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Total {
    Related { value: u64, relation: String },
    Number(u64),
}

#[derive(Deserialize)]
struct Hit {
    #[serde(default, rename = "_id")]
    id: Option<String>,
    #[serde(default, rename = "_score")]
    score: Option<f64>,
    #[serde(default, rename = "_source")]
    source: Map<String, Json>,
    #[serde(default)]
    highlight: Map<String, Json>,
    #[serde(default)]
    sort: Vec<Json>,
}

/// Reads the answer to a search.
///
/// # Errors
/// An answer that is not one of `_search`, or a hit without an id.
pub(crate) fn read(
    body: &[u8],
    retrieval: &Retrieval<'_>,
    types: &HashMap<String, FieldType>,
    config: &ElasticConfig,
) -> Result<Retrieved, Error> {
    let answer: Answer =
        serde_json::from_slice(body).map_err(|error| Error::BadAnswer { problem: format!("_search: {error}") })?;
    let mut problems = Vec::new();
    if answer.shards.failed > 0 {
        let mut reasons = Vec::new();
        if let Some(failure) = answer.shards.failures.first() {
            engine_error::add_causes(failure.get("reason").unwrap_or(failure), &mut reasons);
        }
        let reason = if reasons.is_empty() { "no reason".to_owned() } else { shortened(&reasons.join(": ")) };
        problems.push(RetrievalProblem::ShardsFailed {
            n_failed: answer.shards.failed,
            n_shards: answer.shards.total,
            reason,
        });
    }
    if answer.timed_out {
        problems.push(RetrievalProblem::TimedOut);
    }
    let facets = facets::read(retrieval.facets, types, &answer.aggregations, &mut problems)?;
    let n_found = answer.hits.hits.len() as u64;
    let total_hits = match answer.hits.total {
        Some(Total::Related { value, relation }) if relation == "gte" => TotalHits::AtLeast(value),
        Some(Total::Related { value, .. } | Total::Number(value)) => TotalHits::Exactly(value),
        None => TotalHits::AtLeast(n_found),
    };
    let is_by_score = retrieval.sort.is_empty();
    let candidates =
        answer.hits.hits.into_iter().take(retrieval.depth.get()).map(|hit| candidate(hit, is_by_score, config));
    Ok(Retrieved { candidates: candidates.collect::<Result<_, _>>()?, total_hits, facets, problems })
}

fn candidate(hit: Hit, is_by_score: bool, config: &ElasticConfig) -> Result<Candidate, Error> {
    // Quickwit has the score only as the value to sort by.
    let score = hit.score.or_else(|| hit.sort.first().filter(|_| is_by_score)?.as_f64()).unwrap_or(0.0);
    let fields = values::fields(hit.source);
    let id = match &config.id_field {
        Some(name) => values::id(&fields, name).ok_or_else(|| Error::BadAnswer {
            problem: format!("a hit has no id in the field `{name}`, which is configured as `elastic.id_field`"),
        })?,
        None => hit.id.filter(|id| !id.is_empty()).ok_or_else(|| Error::BadAnswer {
            problem: "a hit has no `_id`; set `elastic.id_field` to the field with the documents' ids".to_owned(),
        })?,
    };
    let score = Score::new(score as f32)
        .map_err(|_| Error::BadAnswer { problem: format!("the score of the hit `{id}` is out of range") })?;
    let title = config.title_field.as_ref().and_then(|name| values::text(&fields, name));
    let mut texts: Vec<_> = config.text_fields.iter().filter_map(|name| values::text(&fields, name)).collect();
    texts.retain(|text| !text.is_empty());
    let text = match texts.as_slice() {
        [one] => one.clone(),
        several => several.join(" ").into(),
    };
    let snippet = snippet::of_highlights(&hit.highlight, &config.text_fields);
    Ok(Candidate { title, fields, snippet, ..Candidate::new(id, text, score) })
}
