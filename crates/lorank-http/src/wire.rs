//! What travels over the wire. Every name in here is a promise to callers.

mod adapters;
mod answer;
mod compare;
mod documents;
mod errors;
mod experiments;
mod facets;
mod filters;
mod imitated;
mod request;
mod rerank;
mod rerank_answers;
mod rerank_document;
mod stats;
mod value;

pub(crate) use adapters::{AdapterList, AddBody, AliasBody, AliasList, MovedAlias, RegisteredAdapter, Verified};
pub use answer::{
    AdapterJson, AnswerShape, BlendJson, CacheJson, ExplanationJson, FailedArmJson, FallbackJson, HitJson,
    ParticipationJson, RankedByJson, SearchAnswer, TimingsJson, WarningJson,
};
pub use compare::{ComparedHit, Comparison, DocumentJson, RankerJson};
pub(crate) use documents::{BulkAnswer, DeleteAnswer, DeleteBody, StoredDocument};
pub(crate) use errors::{
    CohereError, ErrorAnswer, ErrorJson, TeiError, UnversionedError, UnversionedRerank, UnversionedReranked,
};
pub(crate) use experiments::{
    EventsAnswer, EventsBody, ExperimentList, ExperimentSchema, ReportSchema, ShadowJson, ShadowList,
};
pub use facets::{BoundsJson, FacetJson, FacetsJson, RangeCountJson, ValueCountJson};
pub(crate) use filters::read as read_filters;
pub use request::{FuzzyJson, OnOverloadJson, ParsedSearch, SearchBody, SyntaxJson};
pub(crate) use rerank::{OneOrMany, Rerank, ScoreBody, TeiRerank};
pub(crate) use rerank_answers::{
    Info, ListedModel, ModelList, Reranked, RerankedDocument, Scored, ScoredPair, TeiRank, Usage,
};
pub(crate) use rerank_document::RerankDocument;
pub(crate) use stats::{AdapterStatsJson, Checks, Health, IndexJson, IndexList, Ready, StatsJson};
pub use value::{FieldsJson, ValueJson};
