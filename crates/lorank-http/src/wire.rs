//! Request and response types of the HTTP API. Every name in them is part of the public interface.

mod adapters;
mod answer;
mod answer_parts;
mod candidates;
mod compare;
mod dashscope;
mod deepinfra;
mod documents;
mod errors;
mod experiments;
mod facets;
mod filters;
mod flag;
mod imitated;
mod judgments;
mod mixedbread;
mod nim;
mod passages;
mod request;
mod rerank;
mod rerank_answers;
mod rerank_document;
mod stages;
mod stats;
mod value;
mod voyage;

pub(crate) use adapters::{AdapterList, AddBody, AliasBody, AliasList, MovedAlias, RegisteredAdapter, Verified};
pub use answer::{
    AnswerShape, BlendJson, ExplanationJson, FailedArmJson, FusionJson, HitJson, ListRankJson, ParticipationJson,
    RankedByJson, SearchAnswer, TimingsJson, WarningJson,
};
pub use answer_parts::{AdapterJson, CacheJson, FallbackJson};
pub use candidates::CandidateJson;
pub use compare::{ComparedHit, Comparison, DocumentJson, RankerJson};
pub(crate) use dashscope::{DashScopeInput, DashScopeOutput, DashScopeParameters, DashScopeRerank, DashScopeReranked};
pub(crate) use deepinfra::{DeepInfraScore, DeepInfraScored, DeepInfraStatus};
pub(crate) use documents::{BulkAnswer, DeleteAnswer, DeleteBody, StoredDocument};
pub(crate) use errors::{
    CohereError, ErrorAnswer, ErrorJson, InfinityError, InfinityProblem, RerankingAnswer, RerankingBody, TeiError,
    UnversionedError, UnversionedRerank, UnversionedReranked, VersionedError, VersionedRerank, VersionedReranked,
    VoyageError,
};
pub(crate) use experiments::{
    EventsAnswer, EventsBody, ExperimentList, ExperimentSchema, ReportSchema, ShadowJson, ShadowList,
};
pub use facets::{BoundsJson, FacetJson, FacetsJson, RangeCountJson, ValueCountJson};
pub(crate) use filters::read as read_filters;
pub(crate) use flag::Flag;
pub(crate) use judgments::{JudgmentCountsJson, JudgmentList, JudgmentsBody};
pub(crate) use mixedbread::{MixedbreadEntry, MixedbreadRerank, MixedbreadReranked};
pub(crate) use nim::{NimEntry, NimRanking, NimRankings};
pub(crate) use passages::passage_options;
pub use passages::{PassageJson, ScoredPassageJson};
pub(crate) use request::check_unit_id;
pub use request::{FuzzyJson, OnOverloadJson, ParsedSearch, SearchBody, SyntaxJson};
pub(crate) use rerank::{NoEffect, OneOrMany, Rerank, ScoreBody, TeiRerank};
pub(crate) use rerank_answers::{
    Info, ListedModel, ModelList, Reranked, RerankedDocument, Scored, ScoredPair, TeiRank, Usage,
};
pub(crate) use rerank_document::RerankDocument;
pub(crate) use stages::rerank_stages;
pub use stages::{StageAnswerJson, StageBody, StageRankJson, StageTimingsJson};
pub(crate) use stats::{
    AdapterStatsJson, BaseModelJson, Checks, FailedDevice, Health, IndexJson, IndexList, Ready, StatsJson,
};
pub use value::{FieldsJson, ValueJson};
pub(crate) use voyage::{VoyageEntry, VoyageRerank, VoyageReranked};
