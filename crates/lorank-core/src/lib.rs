//! The vocabulary of lorank: queries, candidates, hits, scores, and the two traits that engines implement.
//!
//! A [`FirstStage`] finds [`Candidate`]s for a [`Query`]; a [`Reranker`] gives each of them a [`Score`].
//! `lorank-pipeline` adds everything else: order, ties, cache, deadline and fallback.
//!
//! The crate is *not* an engine, and has no serialization, IO or async code. Wire formats have their own types in
//! `lorank-http`.
//!
//! A minimal first stage:
//!
//! ```
//! use std::num::NonZeroUsize;
//! use lorank_core::{BoxError, Candidate, FirstStage, Query, Score};
//!
//! /// Every document matches; the newest comes first.
//! struct Newest(Vec<String>);
//!
//! impl FirstStage for Newest {
//!     fn retrieve(&self, _query: &Query, depth: NonZeroUsize) -> Result<Vec<Candidate>, BoxError> {
//!         let newest = self.0.iter().enumerate().rev().take(depth.get());
//!         newest.map(|(n, text)| Ok(Candidate::new(n.to_string(), text.as_str(), Score::new(n as f32)?))).collect()
//!     }
//! }
//!
//! let stage = Newest(vec!["old".into(), "new".into()]);
//! let found = stage.retrieve(&Query::new("any"), NonZeroUsize::MIN).unwrap();
//! assert_eq!(&*found[0].text, "new");
//! ```

mod activation;
mod adapter_choice;
mod blend;
mod candidate;
mod causes;
mod date;
mod deadline;
mod encoded;
mod error_kind;
mod filter;
mod filter_text;
mod fusion;
mod group;
mod hit;
mod html;
mod id;
mod json_hint;
mod list_rank;
mod misfit;
mod model;
mod nearest;
mod order;
mod passage_group;
mod passages;
mod query;
mod random;
mod ranker_settings;
mod rerank_stage;
mod retrieval;
mod score;
mod snippet;
mod stages;
mod unreadable;
mod value;
mod windows;

pub use activation::Activation;
pub use adapter_choice::AdapterChoice;
pub use blend::{Blend, BlendWeight, NotAWeight, blend};
pub use candidate::Candidate;
pub use causes::{BoxError, shortened, with_causes};
pub use date::{nanos_since_1970, period_nanos_since_1970};
pub use deadline::Deadline;
pub use encoded::{EncodedPair, ForeignPair, TextPair};
pub use error_kind::ErrorKind;
pub use filter::{Filter, Test};
pub use filter_text::FilterSyntaxError;
pub use fusion::{CandidateList, RECIPROCAL_RANK_K, fuse};
pub use group::Group;
pub use hit::{Hit, RankedBy, ScoreOrigin, StageRank};
pub use html::escape_html;
pub use id::{AdapterId, Digest, DocumentId, ParseIdError, is_plain_name};
pub use json_hint::json_hint;
pub use list_rank::ListRank;
pub use misfit::{Misfit, syntax_problem};
pub use model::{AdapterVersion, ModelVersion, Precision};
pub use nearest::nearest_name;
pub use order::reranked_order;
pub use passage_group::PassageGroup;
pub use passages::{InvalidPassages, NotAPassageRule, Passage, PassageOptions, PassageRule, ScoredWindow};
pub use query::{Fuzzy, Query, QuerySyntax};
pub use random::{SplitMix64, split_mix};
pub use ranker_settings::{InvalidRankerSettings, RankerSettings};
pub use rerank_stage::{DeadlineShare, InvalidRerankStages, RerankStage, RerankStages};
pub use retrieval::{
    Facet, FacetBy, FacetCounts, FacetRequest, Retrieval, RetrievalProblem, Retrieved, SortKey, SortOrder, TotalHits,
};
pub use score::{NotFinite, Score};
pub use snippet::Snippet;
pub use stages::{
    AdapterUnusable, DeadlineExceeded, FirstStage, FirstStageFailure, InvalidQuery, Reranker, score_groups,
};
pub use unreadable::unreadable_as_text;
pub use value::{Decimal, Fields, Value};
pub use windows::{TokenSpan, WindowCut, Windows};
