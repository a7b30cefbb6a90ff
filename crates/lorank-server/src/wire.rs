//! What travels over the wire. Every name in here is a promise to callers.

mod answer;
mod compare;
mod filters;
mod request;
mod rerank;
mod value;

pub use answer::{
    AdapterJson, AnswerShape, CacheJson, ExplanationJson, FailedArmJson, FallbackJson, HitJson, PartJson, SearchAnswer,
    TimingsJson,
};
pub use compare::{ComparedHit, Comparison, DocumentJson, RankerJson};
pub use request::{Asked, SearchBody, SyntaxJson};
pub use rerank::{
    Info, OneOrMany, Rerank, RerankDocument, Reranked, RerankedDocument, ScoreBody, Scored, ScoredPair, TeiRank,
    TeiRerank, Usage,
};
pub use value::{FieldsJson, ValueJson};
