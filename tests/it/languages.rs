//! Sentences in six languages, each of which finds itself by two of its words: without reranking, and with it.

use std::collections::BTreeMap;

use lorank::model::{Files, LoadOptions, ModelReranker};
use lorank::pipeline::{Pipeline, PipelineConfig, SearchRequest};
use lorank::starter;
use lorank::tantivy::{Bm25FirstStage, Index};
use lorank_testing::fixture;
use serde_json::Value;

use crate::command::Lorank;

/// Of a language's sentences: how many there are, come first for BM25, come first reranked, and are warned of.
type Counts = [usize; 4];

#[test]
fn sentences_find_themselves_and_a_model_that_cannot_read_them_is_warned_of() {
    let path = fixture("languages/sentences.jsonl");
    let lorank = Lorank::new();
    lorank.run(&["index", "--index", "i", path.to_str().unwrap()]);
    let minilm = starter::base_model().iter().map(|file| (file.name, file.bytes));
    let reranker = ModelReranker::load(&Files::embedded("minilm", minilm), LoadOptions::default()).unwrap();
    let first_stage = Bm25FirstStage::new(Index::open(lorank.path("i")).unwrap());
    let pipeline = Pipeline::new(first_stage, reranker, PipelineConfig::default()).unwrap();

    let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let sentence: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| sentence[key].as_str().unwrap();
        let answer = pipeline.search(&SearchRequest::new(text("words"))).unwrap();
        assert!(answer.reranked, "{:?}", answer.fallback);
        let hit = answer.hits.iter().find(|hit| hit.candidate.id.as_str() == text("id"));
        let hit = hit.unwrap_or_else(|| panic!("{} does not find itself", text("id")));
        let counts = counts.entry(text("lang").to_owned()).or_default();
        counts[0] += 1;
        counts[1] += usize::from(hit.first_stage_rank == 1);
        counts[2] += usize::from(hit.rank == 1);
        counts[3] += usize::from(!answer.warnings.is_empty());
        // Scores from the cache are warned of as well.
        assert_eq!(pipeline.search(&SearchRequest::new(text("words"))).unwrap().warnings, answer.warnings);
    }
    for (lang, [n, bm25, reranked, warned]) in &counts {
        println!("| {lang} | {n} | {bm25} | {reranked} | {warned} |");
        assert_eq!((n, bm25), (&12, &12), "{lang}");
    }
    // Of Arabic and Korean its vocabulary has the letters; that does not make it read them.
    let warned: Vec<_> = counts.iter().map(|(lang, counts)| (lang.as_str(), counts[3])).collect();
    assert_eq!(warned, [("ar", 0), ("de", 0), ("ja", 10), ("ko", 0), ("th", 9), ("zh", 12)]);
    let english = pipeline.search(&SearchRequest::new("a white swan")).unwrap();
    assert_eq!(english.warnings, []);
}
