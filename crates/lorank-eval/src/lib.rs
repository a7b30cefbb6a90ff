//! lorank's evaluation: the quality of rankings by relevance judgments, and the significance of differences.
//!
//! It reads test collections in BEIR's layout ([`Collection`]), TREC judgments ([`Qrels`]), topics and runs ([`Run`]), computes
//! trec_eval's measures ([`Measure`]), compares rankers by a paired bootstrap and a randomization test ([`compare`]), and
//! renders an [`Evaluation`] as a page of HTML.
//!
//! Without judgments, a [`ClickLog`] estimates the position bias of clicks ([`Examination`]), relevance without it
//! ([`ClickGroup`]), and the clicks that another ranking would have had ([`Counterfactual`]).
//!
//! The crate does *not* search or score: it knows documents by their ids and scores. `lorank eval` retrieves the candidates and
//! scores them.
//!
//! ```
//! use lorank_eval::{Graded, Measure, Qrels};
//!
//! let mut qrels = Qrels::default();
//! qrels.insert("q1", "egg", 2);
//! qrels.insert("q1", "hen", 1);
//!
//! let ranking = ["lamp", "egg", "hen"];
//! let graded = Graded::new(ranking, qrels.grades("q1").unwrap());
//! let value = |name: &str| name.parse::<Measure>().unwrap().of(&graded);
//! assert_eq!(value("recip_rank"), 0.5);
//! assert_eq!(value("recall@3"), 1.0);
//! assert!((value("ndcg_cut_10") - 0.6697).abs() < 1e-4);
//! ```

mod clicks;
mod collection;
mod error;
mod evaluation;
mod lines;
mod measure;
mod qrels;
mod random;
mod ranking;
mod report;
mod run;
mod statistics;
#[cfg(test)]
mod testing;
mod topics;

pub use clicks::{CLIP, ClickGroup, ClickLog, ClickedDocument, Counterfactual, Examination, RANKS_MAX};
pub use collection::{Collection, DEFAULT_SPLIT};
pub use error::EvalError;
pub use evaluation::{
    DepthResult, Evaluation, EvaluationOptions, FIRST_STAGE, QueryResult, RankerInfo, RankerResult, ScoredQuery,
    ranking,
};
pub use measure::{Graded, Measure, NoMeasure};
pub use qrels::{Grades, Qrels};
pub use ranking::{Scored, Ties, by_trec_eval};
pub use report::{Example, ExampleHit, to_html};
pub use run::{Run, write_run};
pub use statistics::{Comparison, compare};
pub use topics::{Topic, read_topics};
