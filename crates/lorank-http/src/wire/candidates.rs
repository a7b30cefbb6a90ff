//! Candidates of a search request: `[{"id": "p1", "text": "...", "score": 0.7}]`, or several such lists.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

use lorank_core::{Candidate, CandidateList, Fields, Score, Value};
use serde::Deserialize;
use serde_json::{Map, Value as Json};
use utoipa::ToSchema;

use crate::ServerError;
use crate::json::read_value;

/// The key of the candidates, and the name of a list.
const ROOT: &str = "candidates";

/// A candidate from elsewhere.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[schema(as = Candidate)]
#[serde(deny_unknown_fields)]
pub struct CandidateJson {
    /// The document's id, a string or an integer.
    #[schema(value_type = String)]
    pub id: Json,
    /// The text that the reranker reads. Default: the field `text`.
    pub text: Option<String>,
    /// The title that the reranker reads. Default: the field `title`, if there is one.
    pub title: Option<String>,
    /// The fields to return with the hit.
    #[schema(value_type = Option<Object>)]
    pub fields: Option<Map<String, Json>>,
    /// The score. A list with scores is ordered by them; one without is in its own order. All candidates of a list have one, or none.
    pub score: Option<f64>,
}

/// Parses one list or several.
pub(super) fn read(json: Json) -> Result<Arc<[CandidateList]>, ServerError> {
    let Json::Array(values) = json else {
        return Err(invalid(ROOT, "must be an array of candidates, or an array of such arrays"));
    };
    if values.is_empty() {
        return Err(invalid(ROOT, "is empty; remove it to search without candidates"));
    }
    if !values.iter().any(Json::is_array) {
        return Ok(Arc::new([read_list(ROOT, values)?]));
    }
    let list = |(n, value): (usize, Json)| {
        let path = format!("{ROOT}.{n}");
        match value {
            Json::Array(values) => read_list(&path, values),
            _ => Err(invalid(&path, "must be an array, because the first one is")),
        }
    };
    values.into_iter().enumerate().map(list).collect()
}

fn read_list(path: &str, values: Vec<Json>) -> Result<CandidateList, ServerError> {
    let (mut candidates, mut ids, mut n_scored) = (Vec::with_capacity(values.len()), HashSet::new(), 0);
    for (n, value) in values.into_iter().enumerate() {
        let path = format!("{path}.{n}");
        let within = |error| match error {
            ServerError::InvalidValue { field, problem } => invalid(&format!("{path}.{field}"), &problem),
            ServerError::WrongBody { problem, .. } => invalid(&path, &format!("is not a candidate: {problem}")),
            error => error,
        };
        let candidate: CandidateJson = read_value("a candidate", value).map_err(within)?;
        n_scored += usize::from(candidate.score.is_some());
        let candidate = read_one(&path, n, candidate)?;
        if !ids.insert(candidate.id.clone()) {
            return Err(invalid(&format!("{path}.id"), "comes twice in its list"));
        }
        candidates.push(candidate);
    }
    match n_scored {
        0 => {}
        n if n == candidates.len() => candidates.sort_by_key(|candidate| Reverse(candidate.first_stage_score)),
        _ => return Err(invalid(path, "has candidates with and without `score`; give all of them one, or none")),
    }
    Ok(CandidateList { name: path.into(), candidates })
}

/// `n` is the place in the list, which stands for a missing score.
fn read_one(path: &str, n: usize, candidate: CandidateJson) -> Result<Candidate, ServerError> {
    let at = |key: &str| format!("{path}.{key}");
    let id = match candidate.id {
        Json::String(id) if !id.is_empty() => id,
        Json::Number(id) if !id.is_f64() => id.to_string(),
        _ => return Err(invalid(&at("id"), "must be a string that is not empty, or an integer")),
    };
    let fields = fields(candidate.fields.unwrap_or_default());
    let of_field = |name: &str| {
        let found = fields.iter().find(|(field, _)| field == name)?;
        found.1.as_text().map(Arc::<str>::from)
    };
    let text = candidate.text.map(Arc::from).or_else(|| of_field("text"));
    let Some(text) = text else {
        return Err(invalid(&at("text"), "is missing; give `text`, or `fields` with a `text`"));
    };
    let title = candidate.title.map(Arc::from).or_else(|| of_field("title"));
    let score = candidate.score.map_or(1.0 / (n + 1) as f32, |score| score as f32);
    let score = Score::new(score).map_err(|_| invalid(&at("score"), "is out of range"))?;
    Ok(Candidate { title, fields, ..Candidate::new(id, text, score) })
}

fn fields(object: Map<String, Json>) -> Fields {
    object.into_iter().map(|(name, json)| (name, value(json))).collect()
}

fn value(json: Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(value),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), ..) => Value::Integer(number),
            (None, Some(number), _) => Value::Unsigned(number),
            (None, None, Some(number)) => Value::Float(number),
            (None, None, None) => Value::Null,
        },
        Json::String(text) => Value::Text(text.into()),
        Json::Array(values) => Value::List(values.into_iter().map(value).collect()),
        Json::Object(object) => Value::Object(fields(object)),
    }
}

fn invalid(field: &str, problem: &str) -> ServerError {
    ServerError::InvalidValue { field: field.to_owned(), problem: problem.to_owned() }
}
