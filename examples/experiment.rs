//! An experiment in one program: two rankers, two hundred units, their clicks, and a verdict.
//!
//!     cargo run --release --example experiment
//!
//! The engines are toys, to keep the focus on the experiment: a first stage in reverse order, and a model with the
//! right order. `examples/swap_adapters.rs` and the walkthrough in `docs/experiments.md` use real ones.

use std::error::Error;
use std::num::NonZeroUsize;
use std::sync::Arc;

use lorank::core::{
    AdapterId, BoxError, Candidate, Digest, EncodedPair, FirstStage, ModelVersion, Precision, Query, Reranker, Score,
};
use lorank::experiment_pipeline::{ExperimentPipeline, Trial};
use lorank::experiment_store::{ExperimentStore, StoreConfig};
use lorank::experiments::{AnalysisOptions, Event, Experiment, Verdict};
use lorank::pipeline::{Pipeline, PipelineConfig, SearchRequest};

/// Ten documents, with the best one last.
struct Backwards;

impl FirstStage for Backwards {
    fn retrieve(&self, _: &Query, depth: NonZeroUsize) -> Result<Vec<Candidate>, BoxError> {
        let document = |n: u8| Ok(Candidate::new(n.to_string(), format!("worth {n}"), Score::new(-f32::from(n))?));
        (0..10).take(depth.get()).map(document).collect()
    }
}

/// Scores a document by its value.
struct Appraiser;

impl Reranker for Appraiser {
    fn resolve(&self, _: Option<&AdapterId>) -> Result<ModelVersion, BoxError> {
        let (base_digest, prompt_version) = (Digest::new([0; 32]), Digest::new([0; 32]));
        let (base_model, precision) = ("appraiser".into(), Precision::F32);
        Ok(ModelVersion { base_model, base_digest, adapter: None, prompt_version, precision, merged: false })
    }

    fn score(&self, batch: &[&EncodedPair]) -> Vec<Result<Score, BoxError>> {
        let worth = |pair: &&EncodedPair| Ok(Score::new(pair.texts()?.text.trim_start_matches("worth ").parse()?)?);
        batch.iter().map(worth).collect()
    }
}

const START_MILLIS: i64 = 1_764_100_000_000;

/// Defines the experiment, simulates two hundred units, and prints the verdict.
pub(crate) fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    // The definition: two arms, the control first. Each unit always sees the same arm.
    let draft = serde_json::json!({
        "id": "rerank-or-not", "salt": "1", "layer": "main", "traffic_share": 1.0, "primary_measure": "reciprocal-rank",
        "arms": [{"name": "bm25", "model": "first-stage", "weight": 1}, {"name": "reranked", "model": "none", "weight": 1}]
    });
    let draft: Experiment = serde_json::from_value(draft)?;
    let folder = std::env::temp_dir().join(format!("lorank-experiment-{}", std::process::id()));
    let store = Arc::new(ExperimentStore::open(&folder, StoreConfig::default())?);
    store.create(draft)?;
    store.start("rerank-or-not", START_MILLIS)?;

    // It replaces the pipeline: it chooses the arm, and records exposures.
    let pipeline = Arc::new(Pipeline::new(Backwards, Appraiser, PipelineConfig::default())?);
    let experiments = ExperimentPipeline::new(pipeline, store.clone(), Vec::new())?;
    for unit in 0..200 {
        let trial = Trial {
            request: SearchRequest::new("what is worth most"),
            request_id: format!("request-{unit}"),
            unit_id: Some(format!("unit-{unit}")),
            experiment: None,
            arm: None,
            at_millis: START_MILLIS + i64::from(unit) * 1_000,
        };
        let answered = experiments.search(&trial)?;

        // These users read on until they find the answer, but one in ten gives up immediately.
        let found = answered.answer.hits.iter().find(|hit| hit.candidate.id.as_str() == "9");
        if let Some(hit) = found.filter(|_| unit % 10 != 0) {
            let click = serde_json::json!({
                "action_name": "click", "query_id": trial.request_id, "object_id": hit.candidate.id.as_str(),
                "timestamp": trial.at_millis + 500
            });
            // Submitted events are on disk when the call returns.
            store.submit(vec![Event::from_json(click)?], trial.at_millis + 500)?;
        }
    }

    // The report can be read at any time and repeatedly: its intervals are valid over all looks together.
    store.flush()?;
    let report = store.report("rerank-or-not", AnalysisOptions::default(), START_MILLIS + 300_000)?.report;
    println!("{}", report.to_text());
    assert!(matches!(report.verdict, Verdict::Ship { .. }), "{}", report.sentence);

    drop((experiments, store));
    std::fs::remove_dir_all(folder)?;
    Ok(())
}
