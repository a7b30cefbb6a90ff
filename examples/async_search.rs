//! Searching from async code, with tokio or any other runtime.
//!
//!     cargo run --release --example async_search
//!
//! lorank is synchronous and has no runtime. A search waits for the model's thread, so async code calls it where
//! blocking is allowed (`spawn_blocking`): many searches can wait there, and share the model fairly. A request carries
//! a deadline, and a flag to cancel it when its caller disconnects.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use lorank::core::{Candidate, Deadline, Score};
use lorank::model::{Files, LoadOptions, ModelReranker};
use lorank::pipeline::{Answer, Cancellation, NoFirstStage, Pipeline, PipelineConfig, SearchRequest};
use tokio::task::{JoinSet, spawn_blocking};

type BoxError = Box<dyn Error + Send + Sync>;
type Shared = Arc<Pipeline<NoFirstStage, ModelReranker>>;

/// Runs three searches concurrently.
#[tokio::main]
pub(crate) async fn main() -> Result<(), BoxError> {
    // Loading a model reads files and packs weights, which blocks too.
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

/// Reranks the candidates for a question.
async fn rerank(pipeline: Shared, question: &'static str) -> Result<Answer, BoxError> {
    let request = SearchRequest { deadline: Deadline::after(Duration::from_secs(60)), ..SearchRequest::new(question) };
    // When this future is dropped (the client disconnects, another branch of a `select!` finishes), the flag is set,
    // and work that has not started is skipped.
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

/// A placeholder for a search in an index (the example `threads` has one in tantivy) or a call to another service.
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
