//! Invariant 5: a score depends on its own query, document and model, never on what else is in the batch.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use lorank_core::{AdapterId, Candidate, Group, ModelVersion, Query, Reranker, Score};
use lorank_model::{Files, LoadOptions, ModelReranker};
use lorank_testing::fixture;
use proptest::prelude::*;
use std::sync::LazyLock;

struct Models {
    reranker: ModelReranker,
    versions: Vec<ModelVersion>,
}

static LLAMA: LazyLock<Models> = LazyLock::new(|| load("tiny-llama"));
static BERT: LazyLock<Models> = LazyLock::new(|| load("tiny-bert"));

/// A tiny base model, bare and with each of two adapters.
fn load(family: &str) -> Models {
    let files = |folder: &str| Files::folder(fixture(family).join(folder)).unwrap();
    let reranker = ModelReranker::load(&files("base"), LoadOptions::default()).unwrap();
    let mut versions = vec![reranker.resolve(None).unwrap()];
    for folder in ["adapter-a", "adapter-b"] {
        let id: AdapterId = folder.parse().unwrap();
        reranker.add_adapter(id.clone(), &files(folder)).unwrap();
        versions.push(reranker.resolve(Some(&id)).unwrap());
    }
    Models { reranker, versions }
}

/// Groups as (query, model, documents).
type Batch = Vec<(String, usize, Vec<String>)>;

fn batches() -> impl Strategy<Value = Batch> {
    let text = "[a-zé ]{0,40}( [A-Z][a-z]{1,9}){0,20}";
    prop::collection::vec((text, 0..3usize, prop::collection::vec(text, 0..4)), 1..4)
}

fn check(models: &Models, batch: &Batch) {
    let candidate = |text: &String| Candidate::new("x", text.clone(), Score::new(0.0).unwrap());
    let owned: Vec<(Query, Vec<Candidate>)> = batch
        .iter()
        .map(|(query, _, texts)| (Query::new(query.clone()), texts.iter().map(candidate).collect()))
        .collect();
    let groups: Vec<Group<'_>> = owned
        .iter()
        .zip(batch)
        .map(|((query, candidates), (_, model, _))| Group { query, model: &models.versions[*model], candidates })
        .collect();
    let together = models.reranker.score(&groups);
    for (group, scores) in groups.iter().zip(together) {
        let scores = scores.unwrap();
        assert_eq!(scores.len(), group.candidates.len());
        for (candidate, score) in group.candidates.iter().zip(scores) {
            let alone = Group { candidates: std::slice::from_ref(candidate), ..*group };
            // The reference pass runs one sequence at a time, so the scores agree to the bit.
            assert_eq!(models.reranker.score(&[alone])[0].as_ref().unwrap()[..], [score]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_llama_score_does_not_depend_on_its_batch(batch in batches()) {
        check(&LLAMA, &batch);
    }

    #[test]
    fn a_bert_score_does_not_depend_on_its_batch(batch in batches()) {
        check(&BERT, &batch);
    }
}
