//! What travels over the wire. Every name in here is a promise to callers.

mod answer;
mod compare;
mod filters;
mod request;
mod value;

pub use answer::{
    AdapterJson, AnswerShape, CacheJson, ExplanationJson, FailedArmJson, FallbackJson, HitJson, PartJson, SearchAnswer,
    TimingsJson,
};
pub use compare::{ComparedHit, Comparison, DocumentJson, RankerJson};
pub use request::{Asked, SearchBody, SyntaxJson};
pub use value::{FieldsJson, ValueJson};
