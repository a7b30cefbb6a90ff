//! A first stage and a reranker of one's own. Each of them is one small synchronous trait.
//!
//!     cargo run --release --example own_stages
//!
//! What you get for them is all that stands between: the order and its ties, pages, the score cache, one fair queue for
//! many callers, a deadline, and a fallback that the answer states.

use std::collections::HashSet;
use std::num::NonZeroUsize;

use lorank::core::{
    AdapterId, BoxError, Candidate, Digest, EncodedPair, FirstStage, ModelVersion, Precision, Query, Reranker, Score,
};
use lorank::pipeline::{Pipeline, PipelineConfig, SearchRequest};

// # A first stage
//
// It finds candidates, best first, and at most `depth` of them. This one looks at every document and counts how many of
// the query's words it has, as a search in a database or in somebody else's engine would do better. `Candidate::new` takes
// an id, the text that the reranker reads, and the first stage's score.

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
        // The sort is stable: equal counts stay in the order of the shelf, so a smaller depth gives a prefix.
        found.sort_by_key(|candidate| std::cmp::Reverse(candidate.first_stage_score));
        found.truncate(depth.get());
        Ok(found)
    }
}

// # A reranker
//
// `resolve` says which exact model answers: the score cache trusts it, so a digest must change whenever scores do. `score`
// gives one score per pair, in their order, and decides nothing else. This one prefers texts that say little beside the query's
// words. A model behind a service of yours would send the batch there, and put errors in the scores' place where the service
// fails: the answer is then in first-stage order and says why. A model with a tokenizer implements `encode` too, which runs on
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

// # Together
//
// A pipeline takes any two of them, and nothing about it changes when one is replaced: `lorank::model::ModelReranker` for
// `ToThePoint`, or `lorank::tantivy::Bm25FirstStage` for `Shelf`.

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

    // The same search again costs no model work: its scores are in the cache.
    let again = pipeline.search(&SearchRequest::new("who invented the light bulb"))?;
    assert_eq!((again.cache.hits, again.cache.misses), (again.n_candidates, 0));
    Ok(())
}

fn words(text: &str) -> HashSet<String> {
    text.split_whitespace().map(str::to_lowercase).collect()
}
