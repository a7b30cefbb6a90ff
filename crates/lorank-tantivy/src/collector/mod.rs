//! Reranking as a tantivy collector, for applications with their own index, schema and server.
//!
//! A [`RerankCollector`] is passed to a search like any collector. It collects what `TopDocs` would, reads the texts of
//! the best `depth` documents, scores them with a [`Reranker`](lorank_core::Reranker), and returns the best `top_k`:
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
//! // Any tantivy index.
//! let mut schema = Schema::builder();
//! let body = schema.add_text_field("body", TEXT | STORED);
//! let index = Index::create_in_ram(schema.build());
//! let mut writer = index.writer_with_num_threads(1, 20_000_000)?;
//! writer.add_document(doc!(body => "cats, cats and cats"))?;
//! writer.add_document(doc!(body => "the cat"))?;
//! writer.commit()?;
//!
//! // Any reranker; `lorank::model::ModelReranker` runs a model.
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
//! A [`RerankCollector`] calls the reranker on the searching thread, with its own candidates only. This needs the least
//! code. A server with many concurrent searches uses [`CandidateCollector`] for the candidates, and a pipeline
//! (`lorank_pipeline::Pipeline::rerank`) for the order, with its score cache, its fair queue in front of the model, and
//! exact deadlines.
//!
//! # Guarantees
//!
//! - **Candidates.** The documents with the highest first-stage scores, ties by the lower
//!   [`DocAddress`](tantivy::DocAddress), for any number of segments or executor threads. Deleted documents are
//!   excluded.
//! - **Scores.** First-stage scores are tantivy's. Alone, the collector prunes as `TopDocs` does (block-max WAND), with
//!   the same scores, bit for bit, as a `TopDocs` with the same limit. Pruning changes the order in which the terms of
//!   a union are summed, so a score of three or more terms may differ in its last bit from that at another depth. In a
//!   tuple of collectors every match is scored in full (tantivy prunes only for a single collector), which avoids this.
//! - **Order.** The first `depth` documents by rerank score, ties by first-stage rank; the others follow in first-stage
//!   order. If reranking fails or is late, all are in first-stage order, and [`Answer::outcome`] has the reason.
//! - **Texts.** Texts are read after the segments are merged, only for the first `depth` documents, and in the order of
//!   their addresses, so that every block of stored documents is read once.
//!
//! # Source of the texts
//!
//! tantivy does not pass the searcher when it asks a collector to merge results. Therefore every segment with a hit
//! adds a clone of its `SegmentReader` (a few reference counts) to its best documents. A searcher passed to the
//! collector beforehand would avoid this, but would be a trap: an address identifies another document in a searcher of
//! another commit. As it is, one collector can be used with different searchers, and always reads from the one that is
//! searched.

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
