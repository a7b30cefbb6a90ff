//! A search as it comes over the wire.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lorank_core::{BlendWeight, Deadline, Fuzzy, Query, QuerySyntax, Score, SortKey};
use lorank_pipeline::{AdapterChoice, InvalidRankBy, OnOverload, RankByChoice, SearchRequest};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value as Json};
use utoipa::{IntoParams, ToSchema};

use super::{AnswerShape, facets, filters};
use crate::ServerError;
use crate::json::{read_exact, read_value};

/// A search. Only `query` (or `match_all`) is needed; what is missing or null is the service's to choose. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, ToSchema, IntoParams)]
#[schema(as = Search)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct SearchBody {
    /// What is searched for.
    pub query: Option<String>,
    /// Whether every document matches, in place of a `query`: for filters, sort keys and facets. Such a search is not reranked.
    pub match_all: Option<bool>,
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
    /// Whether to rerank; true by default, false where `sort` or `match_all` is given. With `false`, what only a reranked answer could
    /// honor is refused: `adapter`, `blend_weight`, `min_rerank_score`, `experiment`, `arm`.
    pub rerank: Option<bool>,
    /// The stored fields that the answer is ordered by in place of scores, the first one first: `year` or `year:asc`,
    /// `year:desc`. Documents without the field come last. A sorted answer is not reranked.
    #[param(style = Form, explode = false)]
    pub sort: Option<Vec<String>>,
    /// Counts over all documents that match, by stored field: the `top_n` most frequent values (10 by default), or the documents
    /// in each of some `ranges`, as in `{"lang": {"top_n": 5}, "year": {"ranges": [{"lt": 1990}, {"gte": 1990}]}}`. In a query
    /// string, a list of fields whose values are counted.
    #[schema(value_type = Option<Object>)]
    #[param(value_type = Option<Vec<String>>, style = Form, explode = false)]
    pub facets: Option<Map<String, Json>>,
    /// How much the rerank score counts in the order, from 0 to 1; what is left of 1 is the first stage's. Both are min-max
    /// normalised over the reranked candidates. By default 1: the rerank score alone.
    #[schema(minimum = 0, maximum = 1)]
    #[param(minimum = 0, maximum = 1)]
    #[serde(default, deserialize_with = "narrowed")]
    pub blend_weight: Option<f32>,
    /// An expression that orders the reranked candidates in place of their rerank scores, the highest value first, as in
    /// `sigmoid(rerank_score) * exp_decay(age_days(published), 30)`. It reads `rerank_score`, `first_stage_score`,
    /// `first_stage_rank`, `now` and stored fields with numbers, booleans or dates, by `+ - * /`, brackets, `abs`, `exp`,
    /// `log`, `log10`, `sqrt`, `pow`, `sigmoid`, `min`, `max`, `coalesce`, `age_days`, `exp_decay`, `gauss_decay` and
    /// `linear_decay`. A candidate for which it is no number comes after those for which it is one. An answer that falls back
    /// stays in first-stage order.
    #[schema(max_length = 1024)]
    #[param(max_length = 1024)]
    pub rank_by: Option<String>,
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
    /// Whether words that are spelled almost like those of a plain query match too; `auto` by default. One typo is allowed in words from five
    /// letters, two from nine; one in the first letter counts as two. `on` is refused with the advanced syntax, which writes `word~`.
    #[param(inline)]
    pub fuzzy: Option<FuzzyJson>,
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

/// Whether typos are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[schema(as = Fuzzy)]
#[serde(rename_all = "snake_case")]
pub enum FuzzyJson {
    /// Words as they are written.
    Off,
    /// Typos of words that no document has, and of all words where fewer than five documents match.
    Auto,
    /// Typos of all words. Documents that have a word as it is written come first all the same.
    On,
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
/// Refuses a unit without a name, or with one that is too long.
pub(crate) fn check_unit_id(field: &str, unit_id: Option<&str>) -> Result<(), ServerError> {
    match unit_id {
        Some(unit) if unit.is_empty() || unit.len() > UNIT_ID_BYTES_MAX => {
            let problem = format!("must have 1 to {UNIT_ID_BYTES_MAX} bytes; leave it out for none");
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
    /// Reads the body of a POST.
    ///
    /// # Errors
    /// What is not JSON (with line and column), and what is JSON but no search (with the field).
    pub fn from_json(body: &[u8]) -> Result<Self, ServerError> {
        read_exact(A_SEARCH, body)
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
                "facets" => facets_by_value(&text),
                "fields" | "sort" => text.split(',').filter(|name| !name.is_empty()).collect(),
                "top_k" | "offset" | "depth" | "deadline_millis" => {
                    text.parse::<i64>().map_or_else(|_| text.clone().into(), Json::from)
                }
                "blend_weight" | "min_rerank_score" => {
                    let number = text.parse().ok().and_then(serde_json::Number::from_f64);
                    number.map_or_else(|| text.clone().into(), Json::Number)
                }
                "rerank" | "snippets" | "explain" | "match_all" => {
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
        let without_a_model = self.without_a_model();
        if let Some((key, with)) = without_a_model.and_then(|with| Some((self.key_of_reranking()?, with))) {
            return Err(invalid(key, format!("is refused with `{with}`: such an answer is not reranked")));
        }
        if self.fuzzy == Some(FuzzyJson::On) && self.syntax == Some(SyntaxJson::Advanced) {
            let problem = "is for a plain query; in the advanced syntax write `word~` for one typo, `word~2` for two";
            return Err(invalid("fuzzy", problem.to_owned()));
        }
        let (text, syntax) = match (self.query, self.match_all.unwrap_or(false)) {
            (Some(text), false) => (text, self.syntax.unwrap_or(SyntaxJson::Plain).into()),
            (None, true) if self.fuzzy.is_some() => {
                return Err(invalid("fuzzy", "is of no use without a `query`".to_owned()));
            }
            (None, true) if self.syntax.is_none() => (String::new(), QuerySyntax::MatchAll),
            (None, true) => return Err(invalid("syntax", "is of no use without a `query`".to_owned())),
            (Some(_), true) => {
                return Err(invalid(
                    "match_all",
                    "is for every document; leave it out, or leave out `query`".to_owned(),
                ));
            }
            (None, false) => {
                let problem = "is missing; say `\"match_all\": true` to search without words";
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
        let rank_by = match self.rank_by {
            None => RankByChoice::Default,
            Some(text) => {
                let rank_by =
                    text.parse().map_err(|error: InvalidRankBy| invalid("rank_by", format!("is refused: {error}")))?;
                RankByChoice::Expression(Arc::new(rank_by))
            }
        };
        // A point in time beyond what the clock can hold is as good as never.
        let deadline = self.deadline_millis.and_then(|millis| arrival.checked_add(Duration::from_millis(millis)));
        let request = SearchRequest {
            adapter,
            depth: self.depth,
            top_k: self.top_k,
            offset: self.offset.unwrap_or(0),
            rerank: without_a_model.is_none(),
            sort,
            facets,
            blend_weight,
            rank_by,
            min_rerank_score,
            deadline: deadline.map(Deadline::at),
            snippets: self.snippets.unwrap_or(true),
            on_overload: match self.on_overload {
                Some(OnOverloadJson::Refuse) => OnOverload::Refuse,
                Some(OnOverloadJson::Fallback) | None => OnOverload::Fallback,
            },
            ..SearchRequest::from_query(Query { text, syntax, fuzzy, filters })
        };
        let shape = AnswerShape { fields: self.fields, explain: self.explain.unwrap_or(false) };
        Ok(ParsedSearch { request, shape, unit_id: self.unit_id, experiment: self.experiment, arm: self.arm })
    }
}

impl SearchBody {
    /// The key for which the answer's order is not a model's, if one is given.
    fn without_a_model(&self) -> Option<&'static str> {
        let is_sorted = self.sort.as_ref().is_some_and(|keys| !keys.is_empty());
        let keys = [
            ("sort", is_sorted),
            ("match_all", self.match_all == Some(true)),
            ("rerank: false", self.rerank == Some(false)),
        ];
        keys.into_iter().find_map(|(key, is_given)| is_given.then_some(key))
    }

    /// A key that is given and means something only where a model orders.
    fn key_of_reranking(&self) -> Option<&'static str> {
        let given = [
            ("rerank", self.rerank == Some(true)),
            ("adapter", self.adapter.is_some()),
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
        let problem = format!("has the key `{text}` without a field; write `year` or `year:desc`");
        return Err(ServerError::InvalidValue { field: "sort".to_owned(), problem });
    }
    Ok(key)
}

/// The facets of a query string: a list of fields whose values are counted.
fn facets_by_value(text: &str) -> Json {
    let fields = text.split(',').filter(|field| !field.is_empty());
    fields.map(|field| (field.to_owned(), Json::Object(Map::new()))).collect::<Map<_, _>>().into()
}

/// The filter whose text a query string has cut in two at its first `=`: at that of `>=`, of `!=`, or of none.
fn filter_text(name: &str, value: &str) -> String {
    let has_operator = name.contains(['<', '>']) && !name.ends_with(['<', '>']);
    if has_operator && value.is_empty() { name.to_owned() } else { format!("{name}={value}") }
}
