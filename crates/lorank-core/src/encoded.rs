//! Encoded pairs, on their way from a request to the model.

use std::any::Any;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::ModelVersion;
use crate::group::Group;

/// A query and a document, encoded for the [`Reranker`](crate::Reranker) that made the pair. The content is opaque to
/// all others; clones share it.
///
/// The pair holds everything that scoring needs, including the adapter's weights, which thus stay in memory until then.
#[derive(Clone)]
pub struct EncodedPair {
    n_tokens: NonZeroUsize,
    payload: Arc<dyn Any + Send + Sync>,
}

/// An unencoded pair: the payload of rerankers that keep the default [`Reranker::encode`](crate::Reranker::encode).
#[derive(Debug, Clone, PartialEq)]
pub struct TextPair {
    /// The query's text.
    pub query: Arc<str>,
    /// The model that scores.
    pub model: Arc<ModelVersion>,
    /// The document's title.
    pub title: Option<Arc<str>>,
    /// The document's text.
    pub text: Arc<str>,
}

/// A reranker was given a pair that another reranker had encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the pair was encoded by another reranker")]
pub struct ForeignPair;

impl EncodedPair {
    /// A pair with its number of tokens, which the queue uses to fill batches.
    pub fn new(n_tokens: NonZeroUsize, payload: impl Any + Send + Sync) -> Self {
        Self { n_tokens, payload: Arc::new(payload) }
    }

    /// The number of tokens of the pair.
    pub fn n_tokens(&self) -> NonZeroUsize {
        self.n_tokens
    }

    /// The payload that the pair was created with.
    ///
    /// # Errors
    /// [`ForeignPair`] if the payload is not a `T`.
    pub fn payload<T: Any>(&self) -> Result<&T, ForeignPair> {
        self.payload.downcast_ref().ok_or(ForeignPair)
    }

    /// The texts, if the default [`Reranker::encode`](crate::Reranker::encode) made the pair.
    ///
    /// # Errors
    /// [`ForeignPair`] otherwise.
    pub fn texts(&self) -> Result<&TextPair, ForeignPair> {
        self.payload()
    }

    /// The pairs of a group with their texts as payloads, estimated at four bytes per token.
    pub fn from_texts(group: Group<'_>) -> Vec<Self> {
        let (query, model) = (Arc::<str>::from(group.query.text.as_str()), Arc::new(group.model.clone()));
        let pairs = group.candidates.iter().map(|candidate| {
            let (title, text) = (candidate.title.clone(), candidate.text.clone());
            let n_bytes = query.len() + candidate.title.as_deref().map_or(0, str::len) + candidate.text.len();
            let n_tokens = NonZeroUsize::MIN.saturating_add(n_bytes / 4);
            Self::new(n_tokens, TextPair { query: query.clone(), model: model.clone(), title, text })
        });
        pairs.collect()
    }
}

impl fmt::Debug for EncodedPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncodedPair").field("n_tokens", &self.n_tokens).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AdapterId, BoxError, Candidate, Digest, Precision, Query, Reranker, Score, score_groups};

    fn model() -> ModelVersion {
        let zero = Digest::new([0; 32]);
        let (base_model, precision) = (String::new(), Precision::F32);
        ModelVersion { base_model, base_digest: zero, adapter: None, prompt_version: zero, precision, merged: false }
    }

    /// Scores by length, and refuses empty texts.
    struct Length;

    impl Reranker for Length {
        fn resolve(&self, _: Option<&AdapterId>) -> Result<ModelVersion, BoxError> {
            Ok(model())
        }

        fn score(&self, batch: &[&EncodedPair]) -> Vec<Result<Score, BoxError>> {
            let score = |pair: &&EncodedPair| match pair.texts()?.text.len() {
                0 => Err("empty".into()),
                n => Ok(Score::new(n as f32)?),
            };
            batch.iter().map(score).collect()
        }
    }

    #[test]
    fn groups_are_scored_apart() {
        let (query, model) = (Query::new("query"), model());
        let candidates =
            |texts: &[&str]| texts.iter().map(|text| Candidate::new(*text, *text, Score::new(0.0).unwrap())).collect();
        let lists: [Vec<Candidate>; 3] = [candidates(&["a", "bcd"]), candidates(&["e", ""]), candidates(&["fg"])];
        let groups = lists.each_ref().map(|candidates| Group { query: &query, model: &model, candidates });
        let scores = score_groups(&Length, &groups);
        let scores: Vec<_> = scores.into_iter().map(|scores| scores.map_err(|error| error.to_string())).collect();
        let score = |x| Score::new(x).unwrap();
        assert_eq!(scores, [Ok(vec![score(1.0), score(3.0)]), Err("empty".into()), Ok(vec![score(2.0)])]);
    }

    #[test]
    fn a_foreign_payload_is_an_error() {
        let pair = EncodedPair::new(NonZeroUsize::MIN, 7_u32);
        assert_eq!((pair.payload::<u32>(), pair.texts().err()), (Ok(&7), Some(ForeignPair)));
    }

    #[test]
    fn texts_cost_a_token_for_four_bytes() {
        let (query, model) = (Query::new("12345678"), model());
        let candidates = [Candidate::new("1", "1234", Score::new(0.0).unwrap())];
        let pairs = EncodedPair::from_texts(Group { query: &query, model: &model, candidates: &candidates });
        assert_eq!(pairs[0].n_tokens().get(), 4);
    }
}
