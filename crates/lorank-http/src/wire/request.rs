//! A search request.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lorank_core::{BlendWeight, Deadline, Fuzzy, Query, QuerySyntax, Score, SortKey};
use lorank_pipeline::{AdapterChoice, InvalidRankBy, OnOverload, RankByChoice, SearchRequest};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value as Json};
use utoipa::{IntoParams, ToSchema};

use super::candidates::{self, CandidateJson};
use super::passages::passage_options;
use super::stages::{StageBody, of_query_string, rerank_stages};
use super::{AnswerShape, facets, filters};
use crate::ServerError;
use crate::json::{read_exact, read_value};

/// A search request. Only `query` or `match_all` is required; missing and null keys have their defaults. Unknown keys are rejected.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, ToSchema, IntoParams)]
#[schema(as = Search)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct SearchBody {
    /// The query text.
    pub query: Option<String>,
    /// Matches every document, instead of a `query`, for use with filters, sorting and facets. Such a search is not reranked.
    pub match_all: Option<bool>,
    /// Candidates from elsewhere, best first, to rerank beside those of the first stage: an array of candidates, or an array of such
    /// arrays. Several lists, that of the first stage included, are fused by reciprocal rank (k = 60); `explain` shows the ranks. Cannot
    /// be combined with `match_all`, `sort` and `facets`.
    #[schema(value_type = Option<Vec<CandidateJson>>)]
    #[param(ignore)]
    pub candidates: Option<Json>,
    /// Whether the first stage retrieves candidates. Default: true. With `false`, only `candidates` are reranked, and `filters` are
    /// rejected.
    pub first_stage: Option<bool>,
    /// The number of hits to return.
    #[schema(value_type = Option<usize>, minimum = 1)]
    #[param(value_type = Option<usize>, minimum = 1)]
    pub top_k: Option<NonZeroUsize>,
    /// The number of top hits to skip. Default: 0.
    pub offset: Option<usize>,
    /// The number of candidates to rerank.
    #[schema(value_type = Option<usize>, minimum = 1)]
    #[param(value_type = Option<usize>, minimum = 1)]
    pub depth: Option<NonZeroUsize>,
    /// Rerank stages, at most four, instead of one with `adapter` and `depth`: each reranks the first `depth` candidates of the order
    /// of the stage before. The last stage decides: its scores are the hits' `rerank_score`. In a query string,
    /// `ADAPTER[@BASE]:DEPTH[:SHARE]` with commas between stages, such as `none@minilm:1000:0.4,qa:50`.
    #[param(value_type = Option<String>)]
    pub stages: Option<Vec<StageBody>>,
    /// The adapter or alias for reranking; `none` for the base model without an adapter.
    pub adapter: Option<String>,
    /// What the model shall judge, instead of its own instruction. Rejected if the model's prompt has no place for an instruction.
    pub instruction: Option<String>,
    /// How a document that is longer than the model's limit is scored: `first` truncates it; `max` cuts it into overlapping passages,
    /// and its score is that of the best one; `mean-top-3` takes the mean of the three best, and so on. Each hit has its best
    /// `passage`. Default: the server's setting, else that of the model's author, else `first`.
    #[schema(pattern = "^(first|max|mean-top-[1-9][0-9]*)$")]
    #[param(pattern = "^(first|max|mean-top-[1-9][0-9]*)$")]
    pub passages: Option<String>,
    /// The length of a passage in tokens. Default: as many as the model reads beside the query and the title, which is also the
    /// maximum. Rejected with `passages: first`.
    #[schema(value_type = Option<usize>, minimum = 16)]
    #[param(value_type = Option<usize>, minimum = 16)]
    pub passage_tokens: Option<NonZeroUsize>,
    /// The number of tokens from the start of a passage to the start of the next one, at most `passage_tokens`. Default: half of a
    /// passage. Rejected with `passages: first`.
    #[schema(value_type = Option<usize>, minimum = 1)]
    #[param(value_type = Option<usize>, minimum = 1)]
    pub stride: Option<NonZeroUsize>,
    /// Whether to rerank. Default: true, or false with `sort` or `match_all`. With `false`, keys that only affect reranking are
    /// rejected: `stages`, `adapter`, `instruction`, `passages`, `passage_tokens`, `stride`, `blend_weight`, `min_rerank_score`, `experiment`,
    /// `arm`.
    pub rerank: Option<bool>,
    /// Stored fields to sort by instead of scores, in order of precedence: `year`, `year:asc` or `year:desc`. Documents without the
    /// field are last. A sorted answer is not reranked.
    #[param(style = Form, explode = false)]
    pub sort: Option<Vec<String>>,
    /// Document counts by stored field over all matching documents: of the `top_n` most frequent values (default: 10), or of `ranges`,
    /// as in `{"lang": {"top_n": 5}, "year": {"ranges": [{"lt": 1990}, {"gte": 1990}]}}`. In a query string, a list of fields whose
    /// values are counted.
    #[schema(value_type = Option<Object>)]
    #[param(value_type = Option<Vec<String>>, style = Form, explode = false)]
    pub facets: Option<Map<String, Json>>,
    /// The weight w of the rerank score in `w * rerank_score + (1 - w) * first_stage_score`, which orders the hits. Both scores are
    /// min-max normalized over the reranked candidates. Default: 1.
    #[schema(minimum = 0, maximum = 1)]
    #[param(minimum = 0, maximum = 1)]
    #[serde(default, deserialize_with = "narrowed")]
    pub blend_weight: Option<f32>,
    /// An expression that orders the reranked candidates instead of their rerank scores, highest value first, such as
    /// `sigmoid(rerank_score) * exp_decay(age_days(published), 30)`. Names: `rerank_score`, `first_stage_score`, `first_stage_rank`,
    /// `now`, and stored fields with numbers, booleans or dates. Operators: `+ - * /` and parentheses. Functions: `abs`, `exp`, `log`,
    /// `log10`, `sqrt`, `pow`, `sigmoid`, `min`, `max`, `coalesce`, `age_days`, `exp_decay`, `gauss_decay` and `linear_decay`.
    /// Candidates for which the value is not a number are last. Fallback answers stay in first-stage order.
    #[schema(max_length = 1024)]
    #[param(max_length = 1024)]
    pub rank_by: Option<String>,
    /// The minimum rerank score. Documents with a lower score, and those below the depth, which have none, are not returned. Has no
    /// effect on fallback answers, and on answers of an experiment that interleaves arms or ranks by the first stage; these have a
    /// warning.
    #[serde(default, deserialize_with = "narrowed")]
    pub min_rerank_score: Option<f32>,
    /// Deadline in milliseconds after the request's arrival. If reranking would miss it, the answer is in first-stage order.
    pub deadline_millis: Option<u64>,
    /// The response if the reranker is overloaded: `fallback` for an answer in first-stage order, `refuse` for status 429 with
    /// `Retry-After`. Default: `refuse` if the queue is full, `fallback` if the deadline would be missed.
    #[param(inline)]
    pub on_overload: Option<OnOverloadJson>,
    /// Filters on stored fields: `{"year": {"gte": 1990, "lt": 2000}, "lang": "en", "tag": ["a", "b"]}`. A value matches documents
    /// with this value, an array those with any of the values. An object has conditions that must all hold: `eq`, `ne`, `gte`, `gt`,
    /// `lte`, `lt`. A document without the field matches only `ne`. Strings are parsed by the types of the field: `"2023"` can be a
    /// number, a year or a text.
    #[schema(value_type = Option<Object>)]
    #[param(ignore)]
    pub filters: Option<Map<String, Json>>,
    /// Whether to return snippets. Default: true.
    pub snippets: Option<bool>,
    /// The stored fields to return. Default: all.
    #[param(style = Form, explode = false)]
    pub fields: Option<Vec<String>>,
    /// The syntax of `query`. Default: `plain`.
    #[param(inline)]
    pub syntax: Option<SyntaxJson>,
    /// Typo tolerance for plain queries. Default: `auto`. Words of five or more letters may have one typo, those of nine or more two; a
    /// typo in the first letter counts twice. `on` is rejected with the advanced syntax, where `word~` allows typos.
    #[param(inline)]
    pub fuzzy: Option<FuzzyJson>,
    /// Whether to explain the rank of each hit. Default: false.
    pub explain: Option<bool>,
    /// The unit that experiments assign to an arm, such as a user or a session. The header `x-unit-id` has the same meaning. Default: the
    /// query.
    #[schema(min_length = 1, max_length = 256)]
    #[param(min_length = 1, max_length = 256)]
    pub unit_id: Option<String>,
    /// The running experiment that chooses the adapter. Default: any.
    pub experiment: Option<String>,
    /// The arm to use. Such requests are excluded from the statistics of the experiment.
    pub arm: Option<String>,
}

/// A parsed search: the request to the pipeline, its part in experiments, and the shape of the answer.
#[derive(Debug, Clone)]
pub struct ParsedSearch {
    /// The request to the pipeline.
    pub request: SearchRequest,
    /// The requested parts of the answer.
    pub shape: AnswerShape,
    /// The unit that experiments assign to an arm.
    pub unit_id: Option<String>,
    /// The experiment that chooses the adapter.
    pub experiment: Option<String>,
    /// The arm to use.
    pub arm: Option<String>,
}

const A_SEARCH: &str = "a search";

/// The maximum length of a unit id in bytes: enough for a hash or an e-mail address.
const UNIT_ID_BYTES_MAX: usize = 256;

/// The syntax of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[schema(as = Syntax)]
#[serde(rename_all = "snake_case")]
pub enum SyntaxJson {
    /// Words without operators.
    Plain,
    /// The query language of the first stage.
    Advanced,
}

/// Typo tolerance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[schema(as = Fuzzy)]
#[serde(rename_all = "snake_case")]
pub enum FuzzyJson {
    /// Words match as written.
    Off,
    /// Typos are allowed in words that no document has, and in all words if fewer than five documents match.
    Auto,
    /// Typos are allowed in all words. Exact matches still rank first.
    On,
}

/// The response if the reranker is overloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[schema(as = OnOverload)]
#[serde(rename_all = "snake_case")]
pub enum OnOverloadJson {
    /// An answer in first-stage order, with the reason in `fallback`.
    Fallback,
    /// Status 429, with `Retry-After`.
    Refuse,
}

/// A number in single precision; infinite if out of range, so that the error names the field.
/// Rejects unit ids that are empty or too long.
pub(crate) fn check_unit_id(field: &str, unit_id: Option<&str>) -> Result<(), ServerError> {
    match unit_id {
        Some(unit) if unit.is_empty() || unit.len() > UNIT_ID_BYTES_MAX => {
            let problem = format!("must have 1 to {UNIT_ID_BYTES_MAX} bytes; remove it to send none");
            Err(ServerError::InvalidValue { field: field.to_owned(), problem })
        }
        _ => Ok(()),
    }
}

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

impl From<FuzzyJson> for Fuzzy {
    fn from(fuzzy: FuzzyJson) -> Self {
        match fuzzy {
            FuzzyJson::Off => Self::Off,
            FuzzyJson::Auto => Self::Auto,
            FuzzyJson::On => Self::On,
        }
    }
}

impl SearchBody {
    /// Parses the body of a POST.
    ///
    /// # Errors
    /// Invalid JSON (with line and column), or JSON that is not a search request (with the field).
    pub fn from_json(body: &[u8]) -> Result<Self, ServerError> {
        read_exact(A_SEARCH, body)
    }

    /// Parses the decoded pairs of a query string. `q` is short for `query`; `fields` is comma-separated. `filter.NAME=VALUE` matches
    /// documents with this value in the field; repeated, with any of the values. `filter.NAME>=VALUE` and the other operators of the
    /// command line are accepted too.
    ///
    /// # Errors
    /// An unknown or repeated key, or an invalid value.
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
                "facets" => facets_by_value(&text),
                "stages" => of_query_string(&text)?,
                "fields" | "sort" => text.split(',').filter(|name| !name.is_empty()).collect(),
                "top_k" | "offset" | "depth" | "deadline_millis" | "passage_tokens" | "stride" => {
                    text.parse::<i64>().map_or_else(|_| text.clone().into(), Json::from)
                }
                "blend_weight" | "min_rerank_score" => {
                    let number = text.parse().ok().and_then(serde_json::Number::from_f64);
                    number.map_or_else(|| text.clone().into(), Json::Number)
                }
                "rerank" | "snippets" | "explain" | "match_all" | "first_stage" => {
                    text.parse::<bool>().map_or_else(|_| text.clone().into(), Json::from)
                }
                "candidates" => {
                    let problem = "is only supported in a POST body".to_owned();
                    return Err(ServerError::InvalidValue { field: key, problem });
                }
                "filters" => {
                    let problem =
                        "is only supported in a POST body; use `filter.NAME=VALUE` in a query string".to_owned();
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

    /// Validates the request. The deadline is relative to `arrival`.
    ///
    /// # Errors
    /// A missing query, or an invalid value.
    pub fn into_request(self, arrival: Instant) -> Result<ParsedSearch, ServerError> {
        let invalid = |field: &str, problem: String| ServerError::InvalidValue { field: field.to_owned(), problem };
        let without_a_model = self.without_a_model();
        if let Some((key, with)) = without_a_model.and_then(|with| Some((self.key_of_reranking()?, with))) {
            return Err(invalid(key, format!("cannot be combined with `{with}`: such an answer is not reranked")));
        }
        let of_stages = [("adapter", self.adapter.is_some()), ("depth", self.depth.is_some())];
        if let (Some(_), Some((key, _))) = (&self.stages, of_stages.into_iter().find(|(_, is_given)| *is_given)) {
            return Err(invalid(key, "cannot be combined with `stages`: each stage has its own".to_owned()));
        }
        if self.fuzzy == Some(FuzzyJson::On) && self.syntax == Some(SyntaxJson::Advanced) {
            let problem = "is only supported for plain queries; in the advanced syntax, use `word~` for one typo and `word~2` for two";
            return Err(invalid("fuzzy", problem.to_owned()));
        }
        let (text, syntax) = match (self.query, self.match_all.unwrap_or(false)) {
            (Some(text), false) => (text, self.syntax.unwrap_or(SyntaxJson::Plain).into()),
            (None, true) if self.fuzzy.is_some() => {
                return Err(invalid("fuzzy", "has no effect without a `query`; remove it".to_owned()));
            }
            (None, true) if self.syntax.is_none() => (String::new(), QuerySyntax::MatchAll),
            (None, true) => return Err(invalid("syntax", "has no effect without a `query`; remove it".to_owned())),
            (Some(_), true) => {
                return Err(invalid("match_all", "matches every document; remove it, or remove `query`".to_owned()));
            }
            (None, false) => {
                let problem = "is missing; use `\"match_all\": true` to match every document";
                return Err(invalid("query", problem.to_owned()));
            }
        };
        let sort = self.sort.unwrap_or_default().iter().map(|key| sort_key(key)).collect::<Result<_, _>>()?;
        let facets = facets::read(self.facets.unwrap_or_default())?;
        let fuzzy = self.fuzzy.map_or(Fuzzy::Auto, Fuzzy::from);
        check_unit_id("unit_id", self.unit_id.as_deref())?;
        let filters = filters::read(self.filters.unwrap_or_default())?;
        let adapter = match self.adapter {
            None => AdapterChoice::Default,
            Some(name) => name.parse().map_err(|error| invalid("adapter", format!("is invalid: {error}")))?,
        };
        let blend_weight = match self.blend_weight {
            None => BlendWeight::default(),
            Some(weight) => {
                BlendWeight::new(weight).map_err(|error| invalid("blend_weight", format!("is invalid: {error}")))?
            }
        };
        let min_rerank_score = self.min_rerank_score.map(Score::new).transpose();
        let min_rerank_score =
            min_rerank_score.map_err(|_| invalid("min_rerank_score", "is out of range".to_owned()))?;
        let rank_by = match self.rank_by {
            None => RankByChoice::Default,
            Some(text) => {
                let rank_by =
                    text.parse().map_err(|error: InvalidRankBy| invalid("rank_by", format!("is invalid: {error}")))?;
                RankByChoice::Expression(Arc::new(rank_by))
            }
        };
        // A time that the clock cannot represent means no deadline.
        let deadline = self.deadline_millis.and_then(|millis| arrival.checked_add(Duration::from_millis(millis)));
        let request = SearchRequest {
            candidates: self.candidates.map_or_else(|| Ok(Arc::default()), candidates::read)?,
            retrieves: self.first_stage.unwrap_or(true),
            adapter,
            depth: self.depth,
            stages: self.stages.map(rerank_stages).transpose()?,
            top_k: self.top_k,
            offset: self.offset.unwrap_or(0),
            rerank: without_a_model.is_none(),
            sort,
            facets,
            blend_weight,
            rank_by,
            passages: passage_options(self.passages.as_deref(), self.passage_tokens, self.stride)?,
            min_rerank_score,
            deadline: deadline.map(Deadline::at),
            snippets: self.snippets.unwrap_or(true),
            on_overload: match self.on_overload {
                Some(OnOverloadJson::Refuse) => OnOverload::Refuse,
                Some(OnOverloadJson::Fallback) | None => OnOverload::Fallback,
            },
            ..SearchRequest::from_query(Query {
                syntax,
                fuzzy,
                filters,
                instruction: self.instruction,
                ..Query::new(text)
            })
        };
        let shape = AnswerShape { fields: self.fields, explain: self.explain.unwrap_or(false) };
        Ok(ParsedSearch { request, shape, unit_id: self.unit_id, experiment: self.experiment, arm: self.arm })
    }
}

impl SearchBody {
    /// The key that disables reranking, if one is given.
    fn without_a_model(&self) -> Option<&'static str> {
        let is_sorted = self.sort.as_ref().is_some_and(|keys| !keys.is_empty());
        let keys = [
            ("sort", is_sorted),
            ("match_all", self.match_all == Some(true)),
            ("rerank: false", self.rerank == Some(false)),
        ];
        keys.into_iter().find_map(|(key, is_given)| is_given.then_some(key))
    }

    /// A given key that only affects reranking.
    fn key_of_reranking(&self) -> Option<&'static str> {
        let given = [
            ("rerank", self.rerank == Some(true)),
            ("stages", self.stages.is_some()),
            ("adapter", self.adapter.is_some()),
            ("instruction", self.instruction.is_some()),
            ("passages", self.passages.is_some()),
            ("passage_tokens", self.passage_tokens.is_some()),
            ("stride", self.stride.is_some()),
            ("blend_weight", self.blend_weight.is_some()),
            ("min_rerank_score", self.min_rerank_score.is_some()),
            ("experiment", self.experiment.is_some()),
            ("arm", self.arm.is_some()),
        ];
        given.into_iter().find_map(|(key, is_given)| is_given.then_some(key))
    }
}

fn sort_key(text: &str) -> Result<SortKey, ServerError> {
    let Ok(key) = text.parse::<SortKey>();
    if key.field.is_empty() {
        let problem = format!("has the sort key `{text}` without a field; use `year` or `year:desc`");
        return Err(ServerError::InvalidValue { field: "sort".to_owned(), problem });
    }
    Ok(key)
}

/// The facets of a query string, a list of fields whose values are counted.
fn facets_by_value(text: &str) -> Json {
    let fields = text.split(',').filter(|field| !field.is_empty());
    fields.map(|field| (field.to_owned(), Json::Object(Map::new()))).collect::<Map<_, _>>().into()
}

/// The filter whose text the query string has split at its first `=`, which may be part of `>=` or `!=`.
fn filter_text(name: &str, value: &str) -> String {
    let has_operator = name.contains(['<', '>']) && !name.ends_with(['<', '>']);
    if has_operator && value.is_empty() { name.to_owned() } else { format!("{name}={value}") }
}
