//! What travels over the wire. Every name in here is a promise to callers.

mod answer;
mod filters;
mod request;
mod value;

pub use answer::{
    AdapterJson, AnswerShape, CacheJson, ExplanationJson, FallbackJson, HitJson, SearchAnswer, TimingsJson,
};
pub use request::{SearchBody, SyntaxJson};
pub use value::{FieldsJson, ValueJson};
