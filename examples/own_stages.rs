//! Implementing a first stage and a reranker, each with one small synchronous trait.
//!
//!     cargo run --release --example own_stages
//!
//! The pipeline provides everything between them: order and ties, pages, the score cache, a fair queue for concurrent
//! callers, a deadline, and a fallback that is reported in the answer.

use std::collections::HashSet;
use std::num::NonZeroUsize;

use lorank::core::{
    AdapterId, BoxError, Candidate, Digest, EncodedPair, FirstStage, ModelVersion, Precision, Query, Reranker, Score,
};
use lorank::pipeline::{Pipeline, PipelineConfig, SearchRequest};

// # A first stage
//
// A first stage finds at most `depth` candidates, best first. This one counts the query's words in every document; a
// database or another search engine would be better. `Candidate::new` takes an id, the text for the reranker, and the
// first stage's score.

struct Shelf(Vec<&'static str>);

impl FirstStage for Shelf {
    fn retrieve(&self, query: &Query, depth: NonZeroUsize) -> Result<Vec<Candidate>, BoxError> {
        let wanted = words(&query.text);
        let mut found = Vec::new();
        for (number, text) in self.0.iter().enumerate() {
            let n_shared = words(text).intersection(&wanted).count();
            if n_shared > 0 {
                found.push(Candidate::new(number.to_string(), *text, Score::new(n_shared as f32)?));
            }
        }
        // The sort is stable: ties stay in the shelf's order, so a smaller depth returns a prefix.
        found.sort_by_key(|candidate| std::cmp::Reverse(candidate.first_stage_score));
        found.truncate(depth.get());
        Ok(found)
    }
}

// # A reranker
//
// `resolve` returns the exact model: the score cache relies on it, so a digest must change whenever scores change.
// `score` returns one score per pair, in their order. This reranker prefers texts with few words besides the query's. A
// model behind a service would send the batch there, and return errors in place of scores if the service fails: the
// answer is then in first-stage order with the reason. A model with a tokenizer also implements `encode`, which runs on
// the caller's thread; without it, pairs carry their texts.

struct ToThePoint;

impl Reranker for ToThePoint {
    fn resolve(&self, adapter: Option<&AdapterId>) -> Result<ModelVersion, BoxError> {
        if let Some(id) = adapter {
            return Err(format!("there is no adapter `{id}`").into());
        }
        let version = Digest::new([1; 32]);
        let (base_model, precision) = ("to-the-point".to_owned(), Precision::F32);
        Ok(ModelVersion {
            base_model,
            base_digest: version,
            adapter: None,
            prompt_version: version,
            precision,
            merged: false,
        })
    }

    fn score(&self, batch: &[&EncodedPair]) -> Vec<Result<Score, BoxError>> {
        let score = |pair: &&EncodedPair| {
            let (wanted, found) = (words(&pair.texts()?.query), words(&pair.texts()?.text));
            Ok(Score::new(found.intersection(&wanted).count() as f32 / found.union(&wanted).count() as f32)?)
        };
        batch.iter().map(score).collect()
    }
}

// # The pipeline
//
// A pipeline combines any first stage with any reranker. Either can be replaced: `ToThePoint` by
// `lorank::model::ModelReranker`, or `Shelf` by `lorank::tantivy::Bm25FirstStage`.

/// Searches, prints.
pub(crate) fn main() -> Result<(), BoxError> {
    let shelf = Shelf(vec![
        "the history of the light bulb and of all who say that they invented it",
        "light is fast and a bulb is round",
        "who invented the light bulb",
    ]);
    let pipeline = Pipeline::new(shelf, ToThePoint, PipelineConfig::default())?;
    let answer = pipeline.search(&SearchRequest::new("who invented the light bulb"))?;
    for hit in &answer.hits {
        println!("{} (was {})  {}", hit.rank, hit.first_stage_rank, hit.candidate.text);
    }
    assert!(answer.reranked && &*answer.hits[0].candidate.text == "who invented the light bulb");

    // Repeating the search needs no model work: its scores are cached.
    let again = pipeline.search(&SearchRequest::new("who invented the light bulb"))?;
    assert_eq!((again.cache.hits, again.cache.misses), (again.n_candidates, 0));
    Ok(())
}

fn words(text: &str) -> HashSet<String> {
    text.split_whitespace().map(str::to_lowercase).collect()
}
