//! Searching from async code: tokio here, and any other runtime likewise.
//!
//!     cargo run --release --example async_search
//!
//! lorank is synchronous and has no runtime of its own. A search waits for the model's thread, so it is called where
//! blocking is allowed (`spawn_blocking`): many searches may wait there at once, and the model takes from all of them in
//! fair parts. Two things that async code wants come with the request: a deadline, and a flag for a caller who has gone.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use lorank::core::{Candidate, Deadline, Score};
use lorank::model::{Files, LoadOptions, ModelReranker};
use lorank::pipeline::{Answer, Cancellation, NoFirstStage, Pipeline, PipelineConfig, SearchRequest};
use tokio::task::{JoinSet, spawn_blocking};

type BoxError = Box<dyn Error + Send + Sync>;
type Shared = Arc<Pipeline<NoFirstStage, ModelReranker>>;

/// Three searches at once.
#[tokio::main]
pub(crate) async fn main() -> Result<(), BoxError> {
    // Loading a model reads files and packs weights: that blocks too.
    let pipeline: Shared = spawn_blocking(load).await??.into();

    let mut searches = JoinSet::new();
    for question in ["who invented the light bulb", "how far is a light year", "where do tulips grow"] {
        let pipeline = pipeline.clone();
        searches.spawn(async move { Ok::<_, BoxError>((question, rerank(pipeline, question).await?)) });
    }
    while let Some(search) = searches.join_next().await {
        let (question, answer) = search??;
        println!("{question}\n    {}", answer.hits[0].candidate.text);
        assert!(answer.reranked, "{:?}", answer.fallback);
    }
    Ok(())
}

fn load() -> Result<Pipeline<NoFirstStage, ModelReranker>, BoxError> {
    let minilm = lorank::starter::base_model().iter().map(|file| (file.name, file.bytes));
    let reranker = ModelReranker::load(&Files::embedded("minilm", minilm), LoadOptions::default())?;
    Ok(Pipeline::without_first_stage(reranker, PipelineConfig::default())?)
}

/// Reranks what was found for a question.
async fn rerank(pipeline: Shared, question: &'static str) -> Result<Answer, BoxError> {
    let request = SearchRequest { deadline: Deadline::after(Duration::from_secs(60)), ..SearchRequest::new(question) };
    // When this future is dropped (a client hangs up, a `select!` goes the other way), the flag is raised, and what has not
    // begun is left undone.
    let _guard = CancelOnDrop(request.cancellation.clone());
    let answer = spawn_blocking(move || pipeline.rerank(&request, find(question)?).map_err(BoxError::from));
    answer.await?
}

struct CancelOnDrop(Cancellation);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Stands for a search in an index (see the example `threads` for one in tantivy) or for a call to another machine.
fn find(_question: &str) -> Result<Vec<Candidate>, BoxError> {
    let passages = [
        "A light year is the distance that light travels in a year.",
        "Plant tulips in light soil, three times as deep as the bulb is high.",
        "The incandescent light bulb was patented by Edison in 1880.",
    ];
    let found = passages
        .iter()
        .zip(1..)
        .map(|(text, rank)| Ok(Candidate::new(format!("passage {rank}"), *text, Score::new(1.0 / rank as f32)?)));
    found.collect()
}
