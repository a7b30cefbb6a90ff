//! A search as it comes over the wire.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use lorank_core::{BlendWeight, Deadline, Query, QuerySyntax, Score};
use lorank_pipeline::{AdapterChoice, OnOverload, SearchRequest};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value as Json};
use utoipa::{IntoParams, ToSchema};

use super::{AnswerShape, filters};
use crate::ServerError;
use crate::json::{read_object, read_value};

/// A search. Only `query` is needed; what is missing or null is the service's to choose. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, ToSchema, IntoParams)]
#[schema(as = Search)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct SearchBody {
    /// What is searched for.
    pub query: Option<String>,
    /// How many hits are returned.
    #[schema(value_type = Option<usize>, minimum = 1)]
    #[param(value_type = Option<usize>, minimum = 1)]
    pub top_k: Option<NonZeroUsize>,
    /// How many hits are left out at the top; 0 by default.
    pub offset: Option<usize>,
    /// How many candidates are reranked.
    #[schema(value_type = Option<usize>, minimum = 1)]
    #[param(value_type = Option<usize>, minimum = 1)]
    pub depth: Option<NonZeroUsize>,
    /// The adapter or alias that reranks; `none` for the bare base model.
    pub adapter: Option<String>,
    /// Whether to rerank; true by default.
    pub rerank: Option<bool>,
    /// How much the rerank score counts in the order, from 0 to 1; what is left of 1 is the first stage's. Both are min-max
    /// normalised over the reranked candidates. By default 1: the rerank score alone.
    #[schema(minimum = 0, maximum = 1)]
    #[param(minimum = 0, maximum = 1)]
    #[serde(default, deserialize_with = "narrowed")]
    pub blend_weight: Option<f32>,
    /// The lowest rerank score of a hit. Documents with a lower one are left out, and those past the depth, which have none. An
    /// answer in first-stage order leaves nothing out, nor does one in which an experiment's arms are interleaved.
    #[serde(default, deserialize_with = "narrowed")]
    pub min_rerank_score: Option<f32>,
    /// The time after which the answer comes in first-stage order, counted from the request's arrival.
    pub deadline_millis: Option<u64>,
    /// What is answered where the reranker has too much to do: `fallback` for the first stage's order with the reason, `refuse` for
    /// status 429 with `Retry-After`. By default a full queue is refused, and a deadline that would be missed falls back.
    #[param(inline)]
    pub on_overload: Option<OnOverloadJson>,
    /// Conditions on stored fields: `{"year": {"gte": 1990, "lt": 2000}, "lang": "en", "tag": ["a", "b"]}`. A value is wanted, or
    /// one of a list; an object has conditions that all hold: `eq`, `ne`, `gte`, `gt`, `lte`, `lt`. A document without the field
    /// meets `ne` alone. A text is read by the types of the field's values: `"2023"` is a number, a year or a text.
    #[schema(value_type = Option<Object>)]
    #[param(ignore)]
    pub filters: Option<Map<String, Json>>,
    /// Whether hits get a snippet; true by default.
    pub snippets: Option<bool>,
    /// The stored fields that hits carry; all by default.
    #[param(style = Form, explode = false)]
    pub fields: Option<Vec<String>>,
    /// How `query` is read; `plain` by default.
    #[param(inline)]
    pub syntax: Option<SyntaxJson>,
    /// Whether hits say how they came to their rank; false by default.
    pub explain: Option<bool>,
    /// Whom experiments assign: a user, a session. The header `x-unit-id` says the same; without either it is the query.
    #[schema(min_length = 1, max_length = 256)]
    #[param(min_length = 1, max_length = 256)]
    pub unit_id: Option<String>,
    /// The one experiment that may choose the adapter, among those that run.
    pub experiment: Option<String>,
    /// The arm that ranks. Such a request is kept out of the experiment's statistics.
    pub arm: Option<String>,
}

/// A search that was read: what the pipeline is asked, what experiments are told, and how the answer is to look.
#[derive(Debug, Clone)]
pub struct ParsedSearch {
    /// What the pipeline is asked.
    pub request: SearchRequest,
    /// How the answer is to look.
    pub shape: AnswerShape,
    /// Whom experiments assign.
    pub unit_id: Option<String>,
    /// The one experiment that may choose.
    pub experiment: Option<String>,
    /// The arm that ranks.
    pub arm: Option<String>,
}

const A_SEARCH: &str = "a search";

/// The longest unit id: long enough for a hash or an address, short enough for a column.
const UNIT_ID_BYTES_MAX: usize = 256;

/// How the query is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[schema(as = Syntax)]
#[serde(rename_all = "snake_case")]
pub enum SyntaxJson {
    /// Words; nothing in them is an operator.
    Plain,
    /// The first stage's own query language.
    Advanced,
}

/// What is answered where the reranker has too much to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[schema(as = OnOverload)]
#[serde(rename_all = "snake_case")]
pub enum OnOverloadJson {
    /// The first stage's order, with the reason in `fallback`.
    Fallback,
    /// Status 429, with `Retry-After`.
    Refuse,
}

/// A number in single precision, infinite where it is beyond that, so that the error names its field.
fn narrowed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f32>, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.map(|number| number as f32))
}

impl From<SyntaxJson> for QuerySyntax {
    fn from(syntax: SyntaxJson) -> Self {
        match syntax {
            SyntaxJson::Plain => Self::Plain,
            SyntaxJson::Advanced => Self::Advanced,
        }
    }
}

impl SearchBody {
    /// Reads the body of a POST.
    ///
    /// # Errors
    /// What is not JSON (with line and column), and what is JSON but no search (with the field).
    pub fn from_json(body: &[u8]) -> Result<Self, ServerError> {
        read_object(A_SEARCH, "it must be an object with a `query`", body)
    }

    /// Reads the decoded pairs of a query string. `q` stands for `query`; `fields` is separated by commas;
    /// `filter.NAME=VALUE`, given once or more, wants one of these values in the field, and `filter.NAME>=VALUE` and the other
    /// operators of the command line stand for the same conditions there.
    ///
    /// # Errors
    /// A key that is unknown or comes twice, or a value that does not fit it.
    pub fn from_query_string(pairs: Vec<(String, String)>) -> Result<Self, ServerError> {
        let mut object = Map::new();
        let mut filters = Map::new();
        for (key, text) in pairs {
            if let Some(filter) = key.strip_prefix("filter.") {
                filters::add_text(&filter_text(filter, &text), &mut filters)?;
                continue;
            }
            let key = if key == "q" { "query".to_owned() } else { key };
            let value = match key.as_str() {
                "fields" => text.split(',').filter(|name| !name.is_empty()).collect(),
                "top_k" | "offset" | "depth" | "deadline_millis" => {
                    text.parse::<i64>().map_or_else(|_| text.clone().into(), Json::from)
                }
                "blend_weight" | "min_rerank_score" => {
                    let number = text.parse().ok().and_then(serde_json::Number::from_f64);
                    number.map_or_else(|| text.clone().into(), Json::Number)
                }
                "rerank" | "snippets" | "explain" => {
                    text.parse::<bool>().map_or_else(|_| text.clone().into(), Json::from)
                }
                "filters" => {
                    let problem = "is for POST; write `filter.NAME=VALUE` in a query string".to_owned();
                    return Err(ServerError::InvalidValue { field: key, problem });
                }
                _ => text.into(),
            };
            if object.insert(key.clone(), value).is_some() {
                return Err(ServerError::InvalidValue { field: key, problem: "is given twice".to_owned() });
            }
        }
        if !filters.is_empty() {
            object.insert("filters".to_owned(), filters.into());
        }
        read_value(A_SEARCH, Json::Object(object))
    }

    /// The search for the pipeline, and how its answer is to look. The deadline counts from the arrival.
    ///
    /// # Errors
    /// No query, or a value that cannot be.
    pub fn into_request(self, arrival: Instant) -> Result<ParsedSearch, ServerError> {
        let invalid = |field: &str, problem: String| ServerError::InvalidValue { field: field.to_owned(), problem };
        let text = self.query.ok_or_else(|| invalid("query", "is missing".to_owned()))?;
        let syntax = self.syntax.unwrap_or(SyntaxJson::Plain).into();
        if self.unit_id.as_ref().is_some_and(|unit| unit.is_empty() || unit.len() > UNIT_ID_BYTES_MAX) {
            return Err(invalid("unit_id", format!("must have 1 to {UNIT_ID_BYTES_MAX} bytes; leave it out for none")));
        }
        let filters = filters::read(self.filters.unwrap_or_default())?;
        let adapter = match self.adapter {
            None => AdapterChoice::Default,
            Some(name) => name.parse().map_err(|error| invalid("adapter", format!("is refused: {error}")))?,
        };
        let blend_weight = match self.blend_weight {
            None => BlendWeight::default(),
            Some(weight) => {
                BlendWeight::new(weight).map_err(|error| invalid("blend_weight", format!("is refused: {error}")))?
            }
        };
        let min_rerank_score = self.min_rerank_score.map(Score::new).transpose();
        let min_rerank_score =
            min_rerank_score.map_err(|_| invalid("min_rerank_score", "is beyond all scores".to_owned()))?;
        // A point in time beyond what the clock can hold is as good as never.
        let deadline = self.deadline_millis.and_then(|millis| arrival.checked_add(Duration::from_millis(millis)));
        let request = SearchRequest {
            adapter,
            depth: self.depth,
            top_k: self.top_k,
            offset: self.offset.unwrap_or(0),
            rerank: self.rerank.unwrap_or(true),
            blend_weight,
            min_rerank_score,
            deadline: deadline.map(Deadline::at),
            snippets: self.snippets.unwrap_or(true),
            on_overload: match self.on_overload {
                Some(OnOverloadJson::Refuse) => OnOverload::Refuse,
                Some(OnOverloadJson::Fallback) | None => OnOverload::Fallback,
            },
            ..SearchRequest::from_query(Query { text, syntax, filters })
        };
        let shape = AnswerShape { fields: self.fields, explain: self.explain.unwrap_or(false) };
        Ok(ParsedSearch { request, shape, unit_id: self.unit_id, experiment: self.experiment, arm: self.arm })
    }
}

/// The filter whose text a query string has cut in two at its first `=`: at that of `>=`, of `!=`, or of none.
fn filter_text(name: &str, value: &str) -> String {
    let has_operator = name.contains(['<', '>']) && !name.ends_with(['<', '>']);
    if has_operator && value.is_empty() { name.to_owned() } else { format!("{name}={value}") }
}
