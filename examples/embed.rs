//! lorank inside a program of one's own: an index, a model with an adapter, and a search that uses both.
//!
//!     cargo run --release --example embed
//!
//! The starter's model comes compiled in; for one of your own, give `Files::folder` the folder that
//! `model.save_pretrained(folder)` wrote, for the base model and for the adapter alike.

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
    // An index is a folder. Documents are an id and fields; `title` and `text` are searched unless the settings say otherwise.
    let folder = std::env::temp_dir().join(format!("lorank-embed-{}", std::process::id()));
    let index = Index::create(&folder, &IndexSettings::default())?;
    let mut writer = index.writer(&WriterOptions::default())?;
    for (id, text) in DOCUMENTS {
        writer.add(&Document::new(DocumentId::new(id), vec![("text".into(), text.into())]))?;
    }
    writer.commit()?;
    writer.close()?;

    // One base model in memory, any number of adapters on it.
    let reranker =
        ModelReranker::load(&files(starter::BASE_MODEL_HUB_NAME, starter::base_model()), LoadOptions::default())?;
    let adapter: AdapterId = "qa".parse()?;
    let of_starter = starter::adapter("minilm-qa").ok_or("the starter has this adapter")?;
    reranker.add_adapter(adapter.clone(), &files(of_starter.id, of_starter.files))?;

    // The pipeline owns what stands between them: cache, order, pages, deadline.
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
    assert_eq!(answer.hits[0].candidate.id.as_str(), "bulb", "the one that answers comes first");
    Ok(())
}

fn files(name: &str, files: &'static [starter::File]) -> Files {
    Files::embedded(name, files.iter().map(|file| (file.name, file.bytes)))
}
