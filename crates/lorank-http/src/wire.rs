//! What travels over the wire. Every name in here is a promise to callers.

mod adapters;
mod answer;
mod compare;
mod documents;
mod errors;
mod experiments;
mod filters;
mod request;
mod rerank;
mod stats;
mod value;

use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::ServerError;

pub use adapters::{AdapterList, AddBody, AliasBody, AliasList, MovedAlias, RegisteredAdapter, Verified};
pub use answer::{
    AdapterJson, AnswerShape, BlendJson, CacheJson, ExplanationJson, FailedArmJson, FallbackJson, HitJson, PartJson,
    SearchAnswer, TimingsJson,
};
pub use compare::{ComparedHit, Comparison, DocumentJson, RankerJson};
pub use documents::{BulkAnswer, DeleteAnswer, DeleteBody, StoredDocument};
pub use errors::{
    CohereError, ErrorAnswer, ErrorJson, TeiError, UnversionedError, UnversionedRerank, UnversionedReranked,
};
pub use experiments::{
    EventsAnswer, EventsBody, ExperimentList, ExperimentSchema, ReportSchema, ShadowJson, ShadowList,
};
pub use request::{Asked, OnOverloadJson, SearchBody, SyntaxJson};
pub use rerank::{
    Info, ListedModel, ModelList, OneOrMany, Rerank, RerankDocument, Reranked, RerankedDocument, ScoreBody, Scored,
    ScoredPair, TeiRank, TeiRerank, Usage,
};
pub use stats::{AdapterStatsJson, Checks, Health, Ready, StatsJson};
pub use value::{FieldsJson, ValueJson};

/// Reads a body of a known shape, and names the field that does not fit.
pub(crate) fn read<T: DeserializeOwned>(expected: &'static str, json: Json) -> Result<T, ServerError> {
    serde_path_to_error::deserialize(json).map_err(|error| {
        let (path, problem) = (error.path().to_string(), error.inner().to_string());
        match path.as_str() {
            "." => ServerError::WrongBody { expected, problem },
            _ => ServerError::InvalidValue { field: path, problem: format!("is refused: {problem}") },
        }
    })
}
