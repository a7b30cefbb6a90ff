//! Gradients of each architecture's adapters: of the kernels and of candle, compared with those of PyTorch and PEFT that are
//! recorded with the fixtures, and with each other. candle's pass always drops what lies between two layers and computes it again.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::num::NonZeroUsize;

use lorank_core::{Candidate, Precision, Score};
use lorank_model::{
    AdapterSettings, Files, ForwardPass, LoadOptions, ModelReranker, Pair, PassMode, TrainableModel, TrainedAdapter,
};
use lorank_testing::{Tensors, fixture, read_tensors, reference};

const N_PAIRS: usize = 4;

/// The kernels, and what a GPU runs.
const PASSES: [ForwardPass; 2] = [ForwardPass::Train, ForwardPass::TrainReference];

/// A base model for training, and the first pairs of its reference.
fn load(folder: &str) -> (ModelReranker, Vec<Pair>) {
    load_with(folder, LoadOptions { pass: ForwardPass::Train, ..LoadOptions::default() })
}

fn load_with(folder: &str, options: LoadOptions) -> (ModelReranker, Vec<Pair>) {
    let recorded = fixture(folder);
    let recorded =
        if recorded.join("reference.json").exists() { recorded } else { recorded.parent().unwrap().to_owned() };
    let reference = reference(&recorded.join("reference.json"));
    let options = LoadOptions { max_length: Some(reference.max_length), ..options };
    let reranker = ModelReranker::load(&Files::folder(recorded.join("base")).unwrap(), options).unwrap();
    let encode = |pair: &lorank_testing::ReferencePair| {
        let candidate = Candidate::new("", pair.document.as_str(), Score::new(0.0).unwrap());
        let encoded = reranker.trainable().unwrap().encode(&pair.query, &[candidate]).unwrap().remove(0);
        if let Some(ids) = &pair.input_ids {
            assert_eq!(&encoded.ids, ids);
        }
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
    PASSES.into_iter().for_each(|pass| check_pass(name, folder, pass));
}

fn check_pass(name: &str, folder: &str, pass: ForwardPass) {
    let (reranker, pairs) = load_with(folder, LoadOptions { pass, ..LoadOptions::default() });
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
    let packed = model.pack(&adapter).unwrap();
    // Pairs of one query, and of two: a causal model shares their prefix in the first case.
    for groups in [[0; N_PAIRS], [0, 0, 1, 1]] {
        let pairs: Vec<(&Pair, usize)> = pairs.iter().zip(groups).collect();
        let scored = model.score(&packed, &pairs, PassMode::Train { seed: 3 }).unwrap();
        let off = difference(&scored.scores, &numbers(&recorded, "scores"));
        assert!(off < 1e-4, "{name}, {pass:?}: the scores differ by {off}");
        assert_eq!(model.score(&packed, &pairs, PassMode::Score).unwrap().scores, scored.scores);
        let mut gradients = packed.zeros();
        model.add_gradients(scored, &numbers(&recorded, "weights"), &mut gradients).unwrap();
        let mut largest = 0.0_f32;
        for (parameter, gradient) in adapter.parameters.iter().zip(gradients.by_parameter(&adapter)) {
            let off = difference(&gradient, &numbers(&recorded, &format!("gradient.{}", parameter.name)));
            assert!(off < 1e-3, "{name}, {pass:?}: the gradient of {} differs by {off}", parameter.name);
            largest = largest.max(off);
        }
        println!(
            "{name}, {pass:?}: the gradients of {} tensors differ by at most {largest:.1e} of their largest number",
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

/// An adapter whose numbers are all different from zero.
fn scattered(model: &TrainableModel<'_>, dropout: f32) -> TrainedAdapter {
    let rank = NonZeroUsize::new(3).unwrap();
    let settings = AdapterSettings { rank, alpha: 4.0, targets: Vec::new(), dropout };
    let mut adapter = model.new_adapter(&settings, 7).unwrap();
    for (n, value) in adapter.parameters.iter_mut().flat_map(|it| &mut it.values).enumerate() {
        *value += (n as f32).sin() * 0.1;
    }
    adapter
}

const WEIGHTS: [f32; N_PAIRS] = [1.0, -0.5, 2.0, 0.25];

/// The scores of pairs of two queries, and the gradients of the sum of [`WEIGHTS`] times the scores.
fn scores_and_gradients(
    model: &TrainableModel<'_>,
    adapter: &TrainedAdapter,
    pairs: &[Pair],
    seed: u64,
) -> (Vec<f32>, Vec<Vec<f32>>) {
    let packed = model.pack(adapter).unwrap();
    let pairs: Vec<(&Pair, usize)> = pairs.iter().zip([0, 0, 0, 1]).collect();
    let scored = model.score(&packed, &pairs, PassMode::Train { seed }).unwrap();
    let (scores, mut gradients) = (scored.scores.clone(), packed.zeros());
    model.add_gradients(scored, &WEIGHTS, &mut gradients).unwrap();
    (scores, gradients.by_parameter(adapter))
}

const ALL: [&str; 16] = [
    "tiny-bert",
    "tiny-roberta/roberta",
    "tiny-roberta/xlm-roberta",
    "tiny-encoders/distilbert",
    "tiny-encoders/electra",
    "tiny-modernbert/cls",
    "tiny-modernbert/mean",
    "tiny-modernbert/modules",
    "tiny-gte/multilingual",
    "tiny-gte/english",
    "tiny-llama",
    "tiny-llama-bidirectional",
    "tiny-decoders/mistral",
    "tiny-decoders/qwen2",
    "tiny-decoders/qwen3",
    "tiny-decoders/gemma",
];

/// The distance of all gradients together, relative to their length.
fn distance(found: &[Vec<f32>], expected: &[Vec<f32>]) -> f64 {
    let expected = || expected.iter().flatten().map(|number| f64::from(*number));
    let found = found.iter().flatten().map(|number| f64::from(*number));
    let squares: f64 = found.zip(expected()).map(|(found, expected)| (found - expected).powi(2)).sum();
    (squares / expected().map(|number| number.powi(2)).sum::<f64>()).sqrt()
}

/// candle and the kernels agree for every architecture, in one pass and in several; in bf16 up to its rounding.
#[test]
fn candles_gradients_are_the_kernels() {
    for folder in ALL {
        let (reranker, pairs) = load(folder);
        let model = reranker.trainable().unwrap();
        let adapter = scattered(&model, 0.0);
        let (scores, gradients) = scores_and_gradients(&model, &adapter, &pairs, 1);
        let of_candle = |tokens_max: Option<NonZeroUsize>, precision: Precision| {
            let (pass, precision) = (ForwardPass::TrainReference, precision.into());
            let options = LoadOptions { pass, tokens_max, precision, ..LoadOptions::default() };
            let (reranker, _) = load_with(folder, options);
            scores_and_gradients(&reranker.trainable().unwrap(), &adapter, &pairs, 1)
        };
        for tokens_max in [None, Some(NonZeroUsize::MIN)] {
            let (own_scores, own) = of_candle(tokens_max, Precision::F32);
            let off = difference(&own_scores, &scores);
            assert!(off < 1e-4, "{folder}, {tokens_max:?}: the scores differ by {off}");
            for ((own, expected), parameter) in own.iter().zip(&gradients).zip(&adapter.parameters) {
                let (off, name) = (difference(own, expected), &parameter.name);
                assert!(off < 1e-4, "{folder}, {tokens_max:?}: the gradient of {name} differs by {off}");
            }
        }
        let off = distance(&of_candle(None, Precision::Bf16).1, &gradients);
        println!("{folder}: in bf16 the gradients differ by {off:.1e}");
        assert!(off < 0.3, "{folder}: in bf16 the gradients differ by {off}");
    }
}

/// The backward pass drops the same inputs as the forward pass: the gradient along a direction is the change of the scores.
#[test]
fn dropout_is_the_same_in_both_passes() {
    for (folder, pass) in ["tiny-bert", "tiny-llama"].iter().flat_map(|folder| PASSES.map(|pass| (folder, pass))) {
        let (reranker, pairs) = load_with(folder, LoadOptions { pass, ..LoadOptions::default() });
        let model = reranker.trainable().unwrap();
        let adapter = scattered(&model, 0.3);
        let (scores, gradients) = scores_and_gradients(&model, &adapter, &pairs, 5);
        assert_eq!(scores_and_gradients(&model, &adapter, &pairs, 5), (scores.clone(), gradients.clone()));
        assert_ne!(scores_and_gradients(&model, &adapter, &pairs, 6).0, scores);
        let moved = |by: f64| {
            let mut adapter = adapter.clone();
            for (parameter, gradient) in adapter.parameters.iter_mut().zip(&gradients) {
                let pairs = parameter.values.iter_mut().zip(gradient);
                pairs.for_each(|(value, gradient)| *value = (f64::from(*value) + by * f64::from(*gradient)) as f32);
            }
            let scores = scores_and_gradients(&model, &adapter, &pairs, 5).0;
            scores.iter().zip(WEIGHTS).map(|(score, weight)| f64::from(*score) * f64::from(weight)).sum::<f64>()
        };
        let square: f64 = gradients.iter().flatten().map(|gradient| f64::from(*gradient).powi(2)).sum();
        let by = 1e-2 / square.sqrt();
        let change = (moved(by) - moved(-by)) / (2.0 * by);
        assert!((change / square - 1.0).abs() < 0.01, "{folder}, {pass:?}: {change}, not {square}");
    }
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
        let adapter = scattered(&model, 0.1);
        let pairs: Vec<(&Pair, usize)> = pairs.iter().map(|pair| (pair, 0)).collect();
        let expected = model.score(&model.pack(&adapter).unwrap(), &pairs, PassMode::Score).unwrap().scores;
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
    for (pass, expected) in
        [(ForwardPass::Train, "training uses f32"), (ForwardPass::TrainReference, "`bf16` and `f32`")]
    {
        let error = load(LoadOptions { pass, precision, ..LoadOptions::default() }).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    // A build with CUDA says something else, on a machine without a GPU.
    if !cfg!(feature = "cuda") {
        let device = "cuda".parse().unwrap();
        let error = load(LoadOptions { pass: ForwardPass::Train, device, ..LoadOptions::default() }).unwrap_err();
        assert!(error.to_string().contains("build with `--features cuda`"), "{error}");
    }
}
