//! Gradients of each architecture's adapters, compared with those of PyTorch and PEFT that are recorded with the fixtures.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::num::NonZeroUsize;

use lorank_core::{Candidate, Score};
use lorank_model::{AdapterSettings, Files, ForwardPass, LoadOptions, ModelReranker, Pair, PassMode};
use lorank_testing::{Tensors, fixture, read_tensors, reference};

const N_PAIRS: usize = 4;

/// A base model for training, and the first pairs of its reference.
fn load(folder: &str) -> (ModelReranker, Vec<Pair>) {
    let recorded = fixture(folder);
    let recorded =
        if recorded.join("reference.json").exists() { recorded } else { recorded.parent().unwrap().to_owned() };
    let reference = reference(&recorded.join("reference.json"));
    let options =
        LoadOptions { max_length: Some(reference.max_length), pass: ForwardPass::Train, ..LoadOptions::default() };
    let reranker = ModelReranker::load(&Files::folder(recorded.join("base")).unwrap(), options).unwrap();
    let encode = |pair: &lorank_testing::ReferencePair| {
        let candidate = Candidate::new("", pair.document.as_str(), Score::new(0.0).unwrap());
        let encoded = reranker.trainable().unwrap().encode(&pair.query, &[candidate]).unwrap().remove(0);
        assert_eq!(Some(&encoded.ids), pair.input_ids.as_ref());
        encoded
    };
    let pairs = reference.pairs[..N_PAIRS].iter().map(encode).collect();
    (reranker, pairs)
}

fn numbers(tensors: &Tensors, name: &str) -> Vec<f32> {
    let tensor = tensors.get(name).unwrap_or_else(|| panic!("there is no {name}"));
    tensor.bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// The largest difference, relative to the largest number.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    let off = found.iter().zip(expected).fold(0.0_f32, |off, (a, b)| off.max((a - b).abs()));
    off / largest.max(1e-6)
}

fn check(name: &str, folder: &str) {
    let (reranker, pairs) = load(folder);
    let model = reranker.trainable().unwrap();
    let recorded = read_tensors(&fixture("gradients").join(format!("{name}.safetensors")));
    let settings =
        AdapterSettings { rank: NonZeroUsize::new(2).unwrap(), alpha: 4.0, targets: Vec::new(), dropout: 0.0 };
    let mut adapter = model.new_adapter(&settings, 1).unwrap();
    let own: Vec<String> = adapter.parameters.iter().map(|parameter| parameter.name.clone()).collect();
    let expected: Vec<&str> = recorded.keys().filter_map(|name| name.strip_prefix("value.")).collect();
    assert!(expected.iter().all(|name| own.iter().any(|own| own == name)), "{own:?}\n{expected:?}");
    assert_eq!(own.len(), expected.len());
    for parameter in &mut adapter.parameters {
        parameter.values = numbers(&recorded, &format!("value.{}", parameter.name));
    }
    let packed = model.pack(&adapter);
    // Pairs of one query, and of two: a causal model shares their prefix in the first case.
    for groups in [[0; N_PAIRS], [0, 0, 1, 1]] {
        let pairs: Vec<(&Pair, usize)> = pairs.iter().zip(groups).collect();
        let scored = model.score(&packed, &pairs, PassMode::Train { seed: 3 }).unwrap();
        let off = difference(&scored.scores, &numbers(&recorded, "scores"));
        assert!(off < 1e-4, "{name}: the scores differ by {off}");
        assert_eq!(model.score(&packed, &pairs, PassMode::Score).unwrap().scores, scored.scores);
        let mut gradients = packed.zeros();
        model.add_gradients(scored, &numbers(&recorded, "weights"), &mut gradients);
        let mut largest = 0.0_f32;
        for (parameter, gradient) in adapter.parameters.iter().zip(gradients.by_parameter(&adapter)) {
            let off = difference(&gradient, &numbers(&recorded, &format!("gradient.{}", parameter.name)));
            assert!(off < 1e-3, "{name}: the gradient of {} differs by {off}", parameter.name);
            largest = largest.max(off);
        }
        println!(
            "{name}: the gradients of {} tensors differ by at most {largest:.1e} of their largest number",
            own.len()
        );
    }
}

#[test]
fn bert() {
    check("tiny-bert", "tiny-bert");
}

#[test]
fn roberta() {
    check("roberta", "tiny-roberta/roberta");
}

#[test]
fn xlm_roberta() {
    check("xlm-roberta", "tiny-roberta/xlm-roberta");
}

#[test]
fn distilbert() {
    check("distilbert", "tiny-encoders/distilbert");
}

#[test]
fn electra() {
    check("electra", "tiny-encoders/electra");
}

#[test]
fn llama() {
    check("tiny-llama", "tiny-llama");
}

#[test]
fn modernbert() {
    check("modernbert-cls", "tiny-modernbert/cls");
    check("modernbert-mean", "tiny-modernbert/mean");
}

#[test]
fn bidirectional_llama() {
    check("llama-bidirectional", "tiny-llama-bidirectional");
}

#[test]
fn gte() {
    check("gte-multilingual", "tiny-gte/multilingual");
    check("gte-english", "tiny-gte/english");
}

/// A saved adapter is read by the same code as PEFT's, and scores as it did in training.
#[test]
fn a_saved_adapter_scores_as_in_training() {
    for folder in [
        "tiny-bert",
        "tiny-roberta/roberta",
        "tiny-encoders/distilbert",
        "tiny-encoders/electra",
        "tiny-llama",
        "tiny-llama-bidirectional",
        "tiny-gte/multilingual",
        "tiny-gte/english",
    ] {
        let (reranker, pairs) = load(folder);
        let model = reranker.trainable().unwrap();
        let settings =
            AdapterSettings { rank: NonZeroUsize::new(3).unwrap(), alpha: 4.0, targets: Vec::new(), dropout: 0.1 };
        let mut adapter = model.new_adapter(&settings, 7).unwrap();
        for (n, value) in adapter.parameters.iter_mut().flat_map(|it| &mut it.values).enumerate() {
            *value += (n as f32).sin() * 0.1;
        }
        let pairs: Vec<(&Pair, usize)> = pairs.iter().map(|pair| (pair, 0)).collect();
        let expected = model.score(&model.pack(&adapter), &pairs, PassMode::Score).unwrap().scores;
        let saved = tempfile::tempdir().unwrap();
        model.save(&adapter, saved.path()).unwrap();

        let reference = reference(&fixture(folder).join("reference.json"));
        let id: lorank_core::AdapterId = "mine".parse().unwrap();
        reranker.add_adapter(id.clone(), &Files::folder(saved.path()).unwrap()).unwrap();
        let version = lorank_core::Reranker::resolve(&reranker, Some(&id)).unwrap();
        for (pair, expected) in reference.pairs.iter().zip(expected) {
            let candidate = [Candidate::new("", pair.document.as_str(), Score::new(0.0).unwrap())];
            let query = lorank_core::Query::new(pair.query.as_str());
            let group = lorank_core::Group { query: &query, model: &version, candidates: &candidate };
            let score = lorank_core::score_groups(&reranker, &[group]).remove(0).unwrap()[0].get();
            assert!((score - expected).abs() < 1e-4, "{folder}: {score}, not {expected}");
        }
    }
}

#[test]
fn what_cannot_be_trained_is_named() {
    let (reranker, _) = load("tiny-bert");
    let model = reranker.trainable().unwrap();
    let settings = |targets: &[&str]| AdapterSettings {
        rank: NonZeroUsize::new(2).unwrap(),
        alpha: 4.0,
        targets: targets.iter().map(|target| (*target).to_owned()).collect(),
        dropout: 0.0,
    };
    let error = model.new_adapter(&settings(&["query", "q_proj"]), 1).unwrap_err().to_string();
    assert!(error.contains("no linear layer `q_proj` to train; it has dense, key, query, value"), "{error}");
    assert_eq!(model.new_adapter(&settings(&["query"]), 1).unwrap().n_targets(), 3);
    let base = Files::folder(fixture("tiny-bert/base")).unwrap();
    let load = |options: LoadOptions| ModelReranker::load(&base, options);
    assert!(load(LoadOptions::default()).unwrap().trainable().is_none());
    let precision = lorank_core::Precision::Int8.into();
    let error = load(LoadOptions { pass: ForwardPass::Train, precision, ..LoadOptions::default() }).unwrap_err();
    assert!(error.to_string().contains("training uses f32"), "{error}");
    let device = "cuda".parse().unwrap();
    let error = load(LoadOptions { pass: ForwardPass::Train, device, ..LoadOptions::default() }).unwrap_err();
    assert!(error.to_string().contains("adapters are trained on a CPU"), "{error}");
}
