//! Rerank stages: in requests, and in answers.

use std::num::NonZeroUsize;

use lorank_core::{AdapterChoice, DeadlineShare, RerankStage, RerankStages, Score, StageRank};
use lorank_pipeline::{StageAnswer, Timings};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use utoipa::ToSchema;

use super::answer_parts::{AdapterJson, CacheJson, FallbackJson, millis, name_of_origin};
use crate::ServerError;

/// A rerank stage of a request.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[schema(as = Stage)]
#[serde(deny_unknown_fields)]
pub struct StageBody {
    /// The adapter or alias; `none` for the base model without an adapter. Default: the server's default adapter, or no adapter with
    /// `base`.
    pub adapter: Option<String>,
    /// The base model that the adapter must belong to, by its name. Without an adapter, the base model that reranks. Default: any.
    pub base: Option<String>,
    /// The number of candidates to rerank. At most that of the stage before.
    #[schema(value_type = usize, minimum = 1)]
    pub depth: NonZeroUsize,
    /// The share of the time left before the deadline that the stage may take. Default: an equal share of each stage that is left.
    #[schema(minimum = 0.01, maximum = 1)]
    pub deadline_share: Option<f64>,
}

/// What a rerank stage did for an answer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = StageAnswer)]
pub struct StageAnswerJson<'a> {
    /// The adapter that was used or would have been used; null for the base model without an adapter.
    pub adapter: Option<AdapterJson<'a>>,
    /// The base model; null if the stage's model cannot be used.
    pub base_model: Option<&'a str>,
    /// The numeric precision of the model: `f32`, `bf16`, `int8` or `fp8`; null if the stage's model cannot be used.
    pub precision: Option<String>,
    /// The maximum number of candidates to rerank.
    pub depth: usize,
    /// The number of candidates within `depth`.
    pub n_candidates: usize,
    /// The reason for which the stage handed on the order that it got; null if it reranked.
    pub fallback: Option<FallbackJson>,
    /// The use of the score cache.
    pub cache: CacheJson,
    /// The duration of each step.
    pub timings_millis: StageTimingsJson,
}

/// The duration of each step of a rerank stage in milliseconds, with three decimals.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
#[schema(as = StageTimings)]
pub struct StageTimingsJson {
    /// Lookup in the score cache.
    pub cache: f64,
    /// The part of `rerank` before the model scored the first pair.
    pub queue: f64,
    /// Encoding and scoring, including the time in the queue.
    pub rerank: f64,
}

/// The place of a hit after a rerank stage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
#[schema(as = StageRank)]
pub struct StageRankJson {
    /// The rank in the order that the stage handed on, from 1.
    pub rank: usize,
    /// The stage's score; null if the stage did not score the document.
    pub rerank_score: Option<f32>,
    /// The origin of the score, `cache` or `model`; null if there is no score.
    #[schema(pattern = "^(cache|model)$")]
    pub score_origin: Option<&'static str>,
}

/// Reads the stages of a request.
pub(crate) fn rerank_stages(stages: Vec<StageBody>) -> Result<RerankStages, ServerError> {
    let stages = stages.into_iter().enumerate().map(|(n, stage)| stage.read(n)).collect::<Result<Vec<_>, _>>()?;
    RerankStages::new(stages).map_err(|error| invalid("stages".to_owned(), error))
}

/// The stages of a query string, as in a body.
pub(super) fn of_query_string(text: &str) -> Result<Json, ServerError> {
    let stages = text.parse::<RerankStages>().map_err(|error| invalid("stages".to_owned(), error))?;
    let stage = |stage: &RerankStage| {
        let mut keys = Map::from_iter([("depth".to_owned(), stage.depth.get().into())]);
        if stage.adapter != AdapterChoice::Default {
            keys.insert("adapter".to_owned(), stage.adapter.to_string().into());
        }
        keys.extend(stage.base.as_ref().map(|base| ("base".to_owned(), base.to_string().into())));
        keys.extend(stage.deadline_share.map(|share| ("deadline_share".to_owned(), share.get().into())));
        Json::Object(keys)
    };
    Ok(stages.iter().map(stage).collect())
}

fn invalid(field: String, error: impl std::fmt::Display) -> ServerError {
    ServerError::InvalidValue { field, problem: format!("is invalid: {error}") }
}

impl StageBody {
    fn read(self, n: usize) -> Result<RerankStage, ServerError> {
        let field = |key: &str| format!("stages[{n}].{key}");
        Ok(RerankStage {
            adapter: match self.adapter {
                Some(name) => name.parse().map_err(|error| invalid(field("adapter"), error))?,
                None => AdapterChoice::Default,
            },
            base: self.base.map(|name| name.parse()).transpose().map_err(|error| invalid(field("base"), error))?,
            depth: self.depth,
            deadline_share: self
                .deadline_share
                .map(DeadlineShare::new)
                .transpose()
                .map_err(|error| invalid(field("deadline_share"), error))?,
        })
    }
}

impl<'a> From<&'a StageAnswer> for StageAnswerJson<'a> {
    fn from(stage: &'a StageAnswer) -> Self {
        let model = stage.model.as_ref();
        Self {
            adapter: model.and_then(|model| model.adapter.as_ref()).map(AdapterJson::from),
            base_model: model.map(|model| model.base_model.as_str()),
            precision: model.map(|model| model.precision.to_string()),
            depth: stage.depth.get(),
            n_candidates: stage.n_candidates,
            fallback: stage.fallback.as_ref().map(FallbackJson::from),
            cache: stage.cache.into(),
            timings_millis: stage.timings.into(),
        }
    }
}

impl From<Timings> for StageTimingsJson {
    fn from(timings: Timings) -> Self {
        Self { cache: millis(timings.cache), queue: millis(timings.queue), rerank: millis(timings.rerank) }
    }
}

impl From<&StageRank> for StageRankJson {
    fn from(stage: &StageRank) -> Self {
        Self {
            rank: stage.rank,
            rerank_score: stage.rerank_score.map(Score::get),
            score_origin: stage.score_origin.map(name_of_origin),
        }
    }
}
