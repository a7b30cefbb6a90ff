//! Heads with several labels: each label scores as a head of its row alone.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::path::Path;

use lorank_core::{AdapterId, Candidate, Group, Precision, Query, Reranker, Score, score_groups};
use lorank_model::{AdapterFacts, AdapterSettings, Files, ForwardPass, LoadOptions, ModelReranker};
use lorank_testing::{TensorData, changed_copy, edit_json, edit_tensors, fixture};
use serde_json::{Value, json};
use tempfile::TempDir;

const PAIRS: [(&str, &str); 3] =
    [("light bulb", "invented in 1879"), ("what is reranking", ""), ("cold water", "boil the eggs")];

/// Gives the matrices and biases of the head three rows: others, their own, and others.
fn widen(folder: &Path, file: &str) {
    edit_tensors(folder, file, |tensors| {
        for (name, tensor) in tensors.iter_mut() {
            let part = name.rsplit("classifier.").next().filter(|part| part.len() < name.len()).unwrap_or_default();
            if !["weight", "bias", "base_layer.bias", "lora_B.weight"].contains(&part) {
                continue;
            }
            let own: Vec<f32> = tensor.bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            let other = |factor: f32| own.iter().map(move |x| factor * x + 0.1 * factor);
            let rows: Vec<f32> = other(-0.5).chain(own.iter().copied()).chain(other(2.0)).collect();
            let shape: Vec<usize> = [3].into_iter().chain(tensor.shape[1..].iter().copied()).collect();
            *tensor = TensorData::f32(&shape, &rows);
        }
    });
}

/// A changed copy of tiny-bert with three labels.
fn base(lorank: Value) -> TempDir {
    changed_copy("tiny-bert/base", |folder| {
        widen(folder, "model.safetensors");
        let labels = json!({"0": "contradiction", "1": "entailment", "2": "neutral"});
        edit_json(folder, "config.json", |config| config["id2label"] = labels);
        write(folder, &lorank);
    })
}

/// A changed copy of an adapter whose head has three labels.
fn adapter(name: &str, lorank: Value) -> TempDir {
    changed_copy(name, |folder| {
        widen(folder, "adapter_model.safetensors");
        write(folder, &lorank);
    })
}

fn write(folder: &Path, lorank: &Value) {
    if !lorank.is_null() {
        std::fs::write(folder.join("lorank.json"), lorank.to_string()).unwrap();
    }
}

fn load(folder: &Path) -> Result<ModelReranker, String> {
    let options = LoadOptions { precision: Precision::F32.into(), ..LoadOptions::default() };
    ModelReranker::load(&Files::folder(folder).unwrap(), options).map_err(|error| lorank_core::with_causes(&error))
}

/// The scores of all pairs, with an adapter if there is one.
fn scores(base: &Path, adapter: Option<&Path>) -> Result<Vec<f32>, String> {
    let reranker = load(base)?;
    let id: AdapterId = "under-test".parse().unwrap();
    if let Some(adapter) = adapter {
        let files = Files::folder(adapter).unwrap();
        AdapterFacts::read(&files).map_err(|error| error.to_string())?;
        reranker.add_adapter(id.clone(), &files).map_err(|error| error.to_string())?;
    }
    let model = reranker.resolve(adapter.map(|_| &id)).unwrap();
    let score = |(query, document): (&str, &str)| {
        let candidates = [Candidate::new("1", document, Score::new(0.0).unwrap())];
        let group = Group { query: &Query::new(query), model: &model, candidates: &candidates };
        score_groups(&reranker, &[group])[0].as_ref().unwrap()[0].get()
    };
    Ok(PAIRS.map(score).to_vec())
}

fn check_close(found: &[f32], expected: &[f32]) {
    let largest = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(largest < 1e-5, "{found:?}, not {expected:?}");
}

/// A saved head, a low-rank update of the head, trained biases, and an adapter that leaves the head alone.
const ADAPTERS: [&str; 4] = [
    "tiny-bert/adapter-a",
    "adapters/bert-head-by-name",
    "adapters/bert-everything",
    "adapters/bert-all-linear-without-task",
];

#[test]
fn a_label_of_another_type_is_refused_with_what_it_must_be() {
    let error = scores(base(json!({"score_label": true})).path(), None).unwrap_err();
    assert!(error.contains("`score_label`") && error.contains("the name or the number of a label"), "{error}");
}

#[test]
fn each_label_scores_as_its_row_alone() {
    let plain = fixture("tiny-bert/base");
    for label in [json!("entailment"), json!(1)] {
        let base = base(json!({"score_label": label}));
        check_close(&scores(base.path(), None).unwrap(), &scores(&plain, None).unwrap());
        for name in ADAPTERS {
            let own = adapter(name, Value::Null);
            let expected = scores(&plain, Some(&fixture(name))).unwrap();
            check_close(&scores(base.path(), Some(own.path())).unwrap(), &expected);
        }
    }
}

#[test]
fn an_adapter_may_name_another_label_than_its_base() {
    let (first, second) = (base(json!({"score_label": 0})), base(json!({"score_label": 1})));
    let bare = [&first, &second].map(|base| scores(base.path(), None).unwrap());
    assert_ne!(bare[0], bare[1]);
    for name in ADAPTERS {
        let own = adapter(name, json!({"score_label": "entailment"}));
        let expected = scores(&fixture("tiny-bert/base"), Some(&fixture(name))).unwrap();
        check_close(&scores(first.path(), Some(own.path())).unwrap(), &expected);
    }
}

#[test]
fn the_label_is_part_of_the_model_version() {
    let digest = |label: Value| load(base(json!({"score_label": label})).path()).unwrap().base().digest;
    assert_ne!(digest(json!(0)), digest(json!(1)));
    assert_eq!(digest(json!("entailment")), digest(json!(1)));
    let reranker = load(base(json!({"score_label": 1})).path()).unwrap();
    assert_eq!(reranker.base().score_label.as_deref(), Some("entailment"));
    assert_eq!(load(&fixture("tiny-bert/base")).unwrap().base().score_label, None);
}

#[test]
fn labels_that_are_not_named_or_do_not_exist_are_refused() {
    let check = |found: Result<Vec<f32>, String>, parts: &[&str]| {
        let message = found.unwrap_err();
        parts.iter().for_each(|part| assert!(message.contains(part), "`{part}` is not in: {message}"));
    };
    let unnamed = base(Value::Null);
    check(scores(unnamed.path(), None), &["3 labels", "`score_label`", "0 (`contradiction`), 1 (`entailment`), 2"]);
    check(scores(base(json!({"score_label": "YES"})).path(), None), &["no label `YES`", "2 (`neutral`)"]);
    check(scores(base(json!({"score_label": 3})).path(), None), &["no label 3"]);
    let negative = json!({"score_label": -1});
    check(scores(base(negative).path(), None), &["could not parse `lorank.json`"]);
    // An adapter with more labels than its base model.
    let (plain, own) = (fixture("tiny-bert/base"), adapter("tiny-bert/adapter-a", Value::Null));
    check(scores(&plain, Some(own.path())), &["3 labels", "0 (`LABEL_0`)"]);
    let own = adapter("tiny-bert/adapter-a", json!({"score_label": "entailment"}));
    check(scores(&plain, Some(own.path())), &["no label `entailment`", "1 (`LABEL_1`)"]);
    let own = adapter("tiny-bert/adapter-a", json!({"score_label": "LABEL_1"}));
    let expected = scores(&plain, Some(&fixture("tiny-bert/adapter-a"))).unwrap();
    check_close(&scores(&plain, Some(own.path())).unwrap(), &expected);
    let both = changed_copy("tiny-decoders/causal/mistral/base", |folder| {
        edit_json(folder, "lorank.json", |file| file["score_label"] = json!(0));
    });
    check(load(both.path()).map(|_| Vec::new()), &["`score_label`", "`score_tokens`"]);
}

/// transformers writes no labels if there are two, its default.
#[test]
fn two_labels_without_names_are_those_of_transformers() {
    let folder = base(json!({"score_label": "LABEL_1"}));
    edit_json(folder.path(), "config.json", |config| drop(config.as_object_mut().unwrap().remove("id2label")));
    check_close(&scores(folder.path(), None).unwrap(), &scores(&fixture("tiny-bert/base"), None).unwrap());
}

#[test]
fn a_head_of_several_labels_is_not_trained() {
    let folder = base(json!({"score_label": 1}));
    let options = LoadOptions { pass: ForwardPass::Train, ..LoadOptions::default() };
    let reranker = ModelReranker::load(&Files::folder(folder.path()).unwrap(), options).unwrap();
    let settings = AdapterSettings { rank: 2.try_into().unwrap(), alpha: 4.0, targets: Vec::new(), dropout: 0.0 };
    let error = reranker.trainable().unwrap().new_adapter(&settings, 1).unwrap_err();
    assert!(error.to_string().contains("3 labels"), "{error}");
}
