//! Answers of each engine, recorded or written from its documentation, as the file says.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use lorank_core::{Candidate, FirstStage, Query, Retrieval, RetrievalProblem};
use lorank_elastic::{ElasticConfig, ElasticFirstStage};
use serde_json::{Value as Json, json};

use crate::engine::{Node, config};

#[test]
fn answers_of_each_engine_become_candidates() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded");
    let mut n_files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let recorded: Json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        check(&recorded);
        n_files += 1;
    }
    assert!(n_files >= 4, "Elasticsearch 8 and 9, OpenSearch and Quickwit");
}

fn check(recorded: &Json) {
    let engine = recorded["engine"].as_str().unwrap();
    let (field_caps, search) = (recorded["field_caps"].to_string(), recorded["search"].to_string());
    let node = Node::start(Arc::new(move |received| {
        let is_search = received.line.contains("/_search");
        Some(("200 OK", if is_search { search.clone() } else { field_caps.clone() }))
    }));
    let id_field = recorded["id_field"].as_str().map(str::to_owned);
    let first_stage = ElasticFirstStage::new(ElasticConfig { id_field, ..config(&[&node.url]) }).unwrap();
    let query = Query { filters: vec!["lang=en".parse().unwrap()], ..Query::new("light") };
    let retrieval = Retrieval { snippets: true, ..Retrieval::new(&query, NonZeroUsize::new(10).unwrap()) };
    let found = first_stage.search(&retrieval).unwrap();

    let hit = |it: &Candidate| {
        let snippet = it.snippet.as_ref().map(|snippet| snippet.to_html());
        json!([it.id.as_str(), it.first_stage_score.get(), it.title.as_deref(), &*it.text, snippet])
    };
    let hits: Vec<Json> = found.candidates.iter().map(hit).collect();
    // Both numbers in single precision.
    let expected: Vec<Json> = recorded["expected"]["hits"].as_array().unwrap().iter().cloned().map(narrowed).collect();
    assert_eq!(hits, expected, "{engine}");
    assert_eq!(json!([found.total_hits.n(), found.total_hits.relation()]), recorded["expected"]["total"], "{engine}");
    let problems: Vec<&str> = found.problems.iter().map(RetrievalProblem::reason).collect();
    assert_eq!(json!(problems), recorded["expected"]["problems"], "{engine}");
}

fn narrowed(mut hit: Json) -> Json {
    hit[1] = json!(hit[1].as_f64().unwrap() as f32);
    hit
}
