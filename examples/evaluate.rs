//! Does reranking improve my search? Measures nDCG@10 with questions whose answers are known.
//!
//!     cargo run --release --example evaluate
//!
//! The built-in corpus has 2,938 Wikipedia passages and 3,270 questions from a search engine, each with the one passage
//! that answers it. Five questions are not significant; use hundreds of your own. `cargo bench --bench ranking_quality`
//! evaluates whole test collections.

use std::collections::HashMap;
use std::error::Error;
use std::num::NonZeroUsize;

use lorank::model::{Files, LoadOptions, ModelReranker};
use lorank::pipeline::{Pipeline, PipelineConfig, SearchRequest};
use lorank::starter;
use lorank::tantivy::{Bm25FirstStage, Document, Index, IndexSettings, WriterOptions};
use serde_json::Value;

const N_QUESTIONS: usize = 5;
const DEPTH: NonZeroUsize = NonZeroUsize::new(10).expect("not zero");

/// Indexes the corpus, searches, and measures both orders.
pub(crate) fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    // Documents are lines of JSON, as for `lorank index`.
    let folder = std::env::temp_dir().join(format!("lorank-evaluate-{}", std::process::id()));
    let settings = IndexSettings::default();
    let index = Index::create(&folder, &settings)?;
    let mut writer = index.writer(&WriterOptions::default())?;
    for line in lines(starter::corpus().passages) {
        writer.add(&Document::from_json(line.as_bytes(), &settings)?)?;
    }
    writer.commit()?;
    writer.close()?;

    let minilm = starter::base_model().iter().map(|file| (file.name, file.bytes));
    let reranker = ModelReranker::load(&Files::embedded("minilm", minilm), LoadOptions::default())?;
    let config = PipelineConfig { depth: DEPTH, ..PipelineConfig::default() };
    let pipeline = Pipeline::new(Bm25FirstStage::new(index), reranker, config)?;

    // Judgments: the passage that answers each question. Every 654th question is a better sample than the first ones.
    let mut judgments: HashMap<&str, &str> = HashMap::new();
    for line in lines(starter::corpus().judgments).skip(1) {
        let mut cells = line.split('\t');
        judgments.extend(cells.next().zip(cells.next()));
    }
    let questions = lines(starter::corpus().questions).skip(11).step_by(654).take(N_QUESTIONS);

    // One search has both orders: every hit has its rank and its first-stage rank.
    let (mut bm25, mut reranked) = (0.0, 0.0);
    for line in questions {
        let question: Value = serde_json::from_str(line)?;
        let (id, text) = question["_id"].as_str().zip(question["text"].as_str()).ok_or("a question has both")?;
        let answer = pipeline.search(&SearchRequest::new(text))?;
        // A fallback would measure BM25 and not the reranker.
        assert!(answer.reranked, "{:?}", answer.fallback);
        let hit = answer.hits.iter().find(|hit| Some(&hit.candidate.id.as_str()) == judgments.get(id));
        match hit {
            Some(hit) => println!("rank {:>2} -> {:>2}  {text}", hit.first_stage_rank, hit.rank),
            None => println!("not found      {text}"),
        }
        bm25 += hit.map_or(0.0, |hit| ndcg(hit.first_stage_rank));
        reranked += hit.map_or(0.0, |hit| ndcg(hit.rank));
    }
    let n = N_QUESTIONS as f64;
    println!("nDCG@10 of {N_QUESTIONS} questions: {:.3} for BM25, {:.3} reranked", bm25 / n, reranked / n);
    std::fs::remove_dir_all(folder)?;
    assert!(reranked >= bm25);
    Ok(())
}

/// nDCG@10 for one relevant document at this rank (Järvelin and Kekäläinen, 2002): the ideal order has it first, with a
/// gain of 1.
fn ndcg(rank: usize) -> f64 {
    if rank <= 10 { 1.0 / (1.0 + rank as f64).log2() } else { 0.0 }
}

fn lines(file: starter::File) -> impl Iterator<Item = &'static str> {
    std::str::from_utf8(file.bytes).expect("the starter's files are UTF-8").lines()
}
