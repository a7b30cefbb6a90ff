//! Embedding lorank in a program: an index, a model with an adapter, and a search with both.
//!
//!     cargo run --release --example embed
//!
//! The example uses the built-in model. For your own model, pass the folder that `model.save_pretrained(folder)` wrote
//! to `Files::folder`, for the base model and for the adapter.

use std::error::Error;
use std::time::Duration;

use lorank::core::{AdapterId, Deadline, DocumentId};
use lorank::model::{Files, LoadOptions, ModelReranker};
use lorank::pipeline::{AdapterChoice, Pipeline, PipelineConfig, SearchRequest};
use lorank::starter;
use lorank::tantivy::{Bm25FirstStage, Document, Index, IndexSettings, WriterOptions};

const DOCUMENTS: [(&str, &str); 4] = [
    ("bulb", "The incandescent lamp, which most people call a light bulb, was patented by Edison in 1880."),
    ("year", "A light year is the distance that light travels in a year. It is no measure of time."),
    ("tulip", "Plant the bulb in light soil, three times as deep as the bulb is high."),
    ("lamp", "Who left the light on? A bulb of 60 watts burns half a kilowatt-hour a night."),
];

/// Indexes, searches, prints.
pub(crate) fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    // An index is a folder. Documents have an id and fields; by default, `title` and `text` are searched.
    let folder = std::env::temp_dir().join(format!("lorank-embed-{}", std::process::id()));
    let index = Index::create(&folder, &IndexSettings::default())?;
    let mut writer = index.writer(&WriterOptions::default())?;
    for (id, text) in DOCUMENTS {
        writer.add(&Document::new(DocumentId::new(id), vec![("text".into(), text.into())]))?;
    }
    writer.commit()?;
    writer.close()?;

    // One base model in memory, with any number of adapters.
    let reranker =
        ModelReranker::load(&files(starter::BASE_MODEL_HUB_NAME, starter::base_model()), LoadOptions::default())?;
    let adapter: AdapterId = "qa".parse()?;
    let built_in = starter::adapter("minilm-qa").ok_or("the adapter is not built in")?;
    reranker.add_adapter(adapter.clone(), &files(built_in.id, built_in.files))?;

    // The pipeline adds cache, order, pages and deadline.
    let pipeline = Pipeline::new(Bm25FirstStage::new(index), reranker, PipelineConfig::default())?;
    let answer = pipeline.search(&SearchRequest {
        adapter: AdapterChoice::Named(adapter),
        deadline: Deadline::after(Duration::from_secs(60)),
        ..SearchRequest::new("who invented the light bulb")
    })?;

    println!("reranked: {}, in {:?}", answer.reranked, answer.timings.rerank);
    for hit in &answer.hits {
        let score = hit.rerank_score.map_or("-".into(), |score| format!("{score:.2}"));
        println!("{} (was {})  {score:>6}  {}", hit.rank, hit.first_stage_rank, hit.candidate.text);
    }
    std::fs::remove_dir_all(folder)?;
    assert_eq!(answer.hits[0].candidate.id.as_str(), "bulb", "the answer is ranked first");
    Ok(())
}

fn files(name: &str, files: &'static [starter::File]) -> Files {
    Files::embedded(name, files.iter().map(|file| (file.name, file.bytes)))
}
