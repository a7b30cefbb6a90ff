//! The reranker of pipelines that do not rerank.

use lorank_core::{AdapterId, BoxError, EncodedPair, ModelVersion, Reranker, Score};

/// The reranker of a [`Pipeline`](crate::Pipeline) whose requests all have `rerank: false`. It has no model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NoReranker;

impl Reranker for NoReranker {
    fn resolve(&self, _adapter: Option<&AdapterId>) -> Result<ModelVersion, BoxError> {
        Err("reranking is disabled".into())
    }

    fn score(&self, batch: &[&EncodedPair]) -> Vec<Result<Score, BoxError>> {
        batch.iter().map(|_| Err("reranking is disabled".into())).collect()
    }
}
