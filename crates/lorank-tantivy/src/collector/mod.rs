//! Reranking as a tantivy collector, for applications with an index, a schema and a server of their own.
//!
//! [`RerankCollector`] is handed to a search like any collector. It collects what `TopDocs` would, reads the texts of the
//! best `depth` documents, has them scored by a [`Reranker`](lorank_core::Reranker), and gives the best `top_k`:
//!
//! ```
//! # use std::sync::Arc;
//! # use lorank_core::{AdapterId, BoxError, Digest, EncodedPair, ModelVersion, Precision, Reranker, Score};
//! use lorank_tantivy::tantivy::{self, Index, doc, collector::Count, query::QueryParser, schema::{STORED, Schema, TEXT}};
//! use lorank_tantivy::{RerankCollector, Texts};
//!
//! # /// Likes short documents.
//! # struct Brevity;
//! # impl Reranker for Brevity {
//! #     fn resolve(&self, _: Option<&AdapterId>) -> Result<ModelVersion, BoxError> {
//! #         let (base_digest, prompt_version) = (Digest::new([0; 32]), Digest::new([0; 32]));
//! #         let (base_model, precision) = ("brevity".into(), Precision::F32);
//! #         Ok(ModelVersion { base_model, base_digest, adapter: None, prompt_version, precision, merged: false })
//! #     }
//! #     fn score(&self, batch: &[&EncodedPair]) -> Vec<Result<Score, BoxError>> {
//! #         let score = |pair: &&EncodedPair| Ok(Score::new(-(pair.texts()?.text.len() as f32))?);
//! #         batch.iter().map(score).collect()
//! #     }
//! # }
//! # fn main() -> tantivy::Result<()> {
//! // An index as anybody has one.
//! let mut schema = Schema::builder();
//! let body = schema.add_text_field("body", TEXT | STORED);
//! let index = Index::create_in_ram(schema.build());
//! let mut writer = index.writer_with_num_threads(1, 20_000_000)?;
//! writer.add_document(doc!(body => "cats, cats and cats"))?;
//! writer.add_document(doc!(body => "the cat"))?;
//! writer.commit()?;
//!
//! // Any reranker does; a model's is `lorank::model::ModelReranker`.
//! let reranker = Arc::new(Brevity);
//! let texts = Texts::fields(["body"]);
//!
//! let searcher = index.reader()?.searcher();
//! let query = QueryParser::for_index(&index, vec![body]).parse_query("cat OR cats")?;
//! let rerank = RerankCollector::new("cat OR cats", reranker, texts);
//! let (n_matches, answer) = searcher.search(&query, &(Count, rerank))?;
//!
//! assert!(n_matches == 2 && answer.outcome.is_reranked());
//! assert_eq!((answer.hits[0].address.doc_id, answer.hits[0].first_stage_rank), (1, 2));
//! # Ok(())
//! # }
//! ```
//!
//! # Two ways to rerank
//!
//! A [`RerankCollector`] calls the reranker on the thread that searches, alone with its own candidates. That is the least
//! code. A server with many searches at once takes the other way: [`CandidateCollector`] gives the candidates, and a
//! pipeline (`lorank_pipeline::Pipeline::rerank`) the order, with its score cache, its one fair queue before the model and
//! a deadline that it keeps to the millisecond.
//!
//! # What is promised
//!
//! - **Candidates.** The documents with the highest first-stage scores, the lower [`DocAddress`](tantivy::DocAddress) first
//!   where scores are equal, whatever the number of segments or of the executor's threads. Deleted documents are none.
//! - **Scores.** The first-stage scores are tantivy's. Alone, the collector prunes as `TopDocs` does (block-max WAND), with
//!   the same scores to the bit as a `TopDocs` with the same limit. Pruning sums the terms of a union in an order of its
//!   own, so a score of three or more terms may differ in its last bit from that of another depth. In a tuple every match
//!   is scored in full (tantivy prunes only for a collector that is alone), and this cannot happen.
//! - **Order.** The first `depth` documents by rerank score, ties by first-stage rank; the others after them in first-stage
//!   order. If reranking fails or is late, all are in first-stage order, and [`Answer::outcome`] says so.
//! - **Texts.** They are read once the segments are merged, for the first `depth` documents and no others, in the order of
//!   their addresses, so that every block of stored documents is read once.
//!
//! # Where the texts are read from
//!
//! tantivy asks a collector to merge without giving it the searcher again. So every segment that has a hit leaves a clone of
//! its `SegmentReader` (some reference counts) with its best documents. A searcher handed to the collector beforehand would
//! save that, and would be a trap: an address means another document in a searcher of another commit. As it is, the same
//! collector may be used on one searcher after another, and always reads from the one that is searched.

mod candidates;
mod fields;
mod passage;
mod rerank;
mod texts;
mod top;

pub use candidates::{CandidateCollector, Candidates};
pub use passage::{DocRef, Passage};
pub use rerank::{Answer, DocHit, FallbackReason, Outcome, RerankCollector};
pub use texts::Texts;
