//! Scores in bf16 and int8, compared with f32.
//!
//! Random weights have no outliers among their activations, as real weights have. Therefore some dimensions are
//! multiplied where they are computed and divided where they are read, which changes no score in f32.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::path::Path;

use lorank_core::{AdapterId, Candidate, Group, Precision, Query, Reranker, Score, score_groups};
use lorank_model::{Files, LoadOptions, ModelReranker};
use lorank_testing::{Reference, TensorData, Tensors, changed_copy, edit_tensors, fixture, reference};

const BERTS: [&str; 5] = [
    "tiny-bert",
    "tiny-roberta/roberta",
    "tiny-roberta/xlm-roberta",
    "tiny-encoders/distilbert",
    "tiny-encoders/electra",
];
const DECODERS: [&str; 6] = [
    "tiny-llama",
    "tiny-llama-bidirectional",
    "tiny-decoders/qwen2",
    "tiny-decoders/qwen3",
    "tiny-decoders/mistral",
    "tiny-decoders/gemma",
];
/// Rerankers whose score is made of the logits of two tokens.
const CAUSAL: [&str; 2] = ["tiny-decoders/causal/qwen3-reranker", "tiny-decoders/causal/mistral"];
/// Encoders with gated feed-forward networks.
const GATED: [&str; 4] = ["tiny-modernbert/cls", "tiny-modernbert/mean", "tiny-gte/multilingual", "tiny-gte/english"];

/// A dimension that one module computes and another one reads: the module's name, the part of its rows (of how many),
/// and the reader's name.
type Scalable = (&'static str, usize, usize, &'static str);

/// The dimensions that can be scaled without an effect on the scores: only linear operations lie between.
const SCALABLE: [Scalable; 10] = [
    ("attention.self.value", 0, 1, "attention.output.dense"),
    ("attn.Wqkv", 2, 3, "attn.Wo"),
    ("mlp.up_proj", 0, 1, "mlp.down_proj"),
    ("attention.v_lin", 0, 1, "attention.out_lin"),
    ("mlp.Wi", 1, 2, "mlp.Wo"),
    ("attn_norm", 0, 1, "attn.Wqkv"),
    ("mlp_norm", 0, 1, "mlp.Wi"),
    ("attention.qkv_proj", 2, 3, "attention.o_proj"),
    ("attention.v_proj", 0, 1, "attention.o_proj"),
    ("mlp.up_gate_proj", 0, 2, "mlp.down_proj"),
];

fn scale(tensor: &mut TensorData, at: impl Iterator<Item = usize>, factor: f32) {
    let mut numbers: Vec<f32> =
        tensor.bytes.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    at.for_each(|at| numbers[at] *= factor);
    *tensor = TensorData::f32(&tensor.shape, &numbers);
}

/// Multiplies one dimension of every scalable module by 20, and of the last one of the network by `largest`.
fn add_outliers(tensors: &mut Tensors, largest: f32) {
    let names: Vec<String> = tensors.keys().filter_map(|name| Some(name.strip_suffix(".weight")?.to_owned())).collect();
    let found: Vec<(String, Scalable)> = names
        .iter()
        .flat_map(|name| SCALABLE.iter().filter(|it| name.ends_with(it.0)).map(|it| (name.clone(), *it)))
        .collect();
    assert!(found.len() > 1, "there are dimensions to scale");
    for (n, (name, (module, part, n_parts, reader))) in found.iter().enumerate() {
        const DIMENSION: usize = 5;
        let factor = if n + 1 == found.len() { largest } else { 20.0 };
        let shape = tensors[&format!("{name}.weight")].shape.clone();
        let row = part * shape[0] / n_parts + DIMENSION;
        let width = shape.get(1).copied().unwrap_or(1);
        scale(tensors.get_mut(&format!("{name}.weight")).unwrap(), row * width..(row + 1) * width, factor);
        if let Some(bias) = tensors.get_mut(&format!("{name}.bias")) {
            scale(bias, std::iter::once(row), factor);
        }
        let reader = tensors.get_mut(&format!("{}{reader}.weight", name.strip_suffix(module).unwrap())).unwrap();
        let (n_out, n_in) = (reader.shape[0], reader.shape[1]);
        scale(reader, (0..n_out).map(|out| out * n_in + DIMENSION), 1.0 / factor);
    }
}

/// A folder under the name of its family, by which published rerankers are known.
fn named(folder: &Path, family: &str) -> Files {
    Files::folder(folder).unwrap().with_name(family.rsplit('/').next().unwrap())
}

/// The score of every pair of a reference, with an adapter if one is named.
fn scores(base: &Files, adapter: Option<&Path>, precision: Precision, reference: &Reference) -> Vec<f32> {
    let max_length = Some(reference.max_length);
    let options = LoadOptions { max_length, precision: precision.into(), ..LoadOptions::default() };
    let reranker = ModelReranker::load(base, options).unwrap();
    let id: AdapterId = "under-test".parse().unwrap();
    if let Some(folder) = adapter {
        reranker.add_adapter(id.clone(), &Files::folder(folder).unwrap()).unwrap();
    }
    let model = reranker.resolve(adapter.map(|_| &id)).unwrap();
    let score = |query: &str, document: &str| {
        let query = Query::new(query);
        let candidates = [Candidate::new("1", document, Score::new(0.0).unwrap())];
        let scores = score_groups(&reranker, &[Group { query: &query, model: &model, candidates: &candidates }]);
        scores[0].as_ref().unwrap()[0].get()
    };
    reference.pairs.iter().map(|pair| score(&pair.query, &pair.document)).collect()
}

/// The root of the mean square difference, relative to the standard deviation of the expected scores.
fn relative_error(found: &[f32], expected: &[f32]) -> f64 {
    let n = expected.len() as f64;
    let mean = expected.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
    let variance = expected.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n;
    let error = found.iter().zip(expected).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>() / n;
    (error / variance).sqrt()
}

/// Compares a precision with f32, for the base model and its two adapters.
fn check(family: &str, precision: Precision, bound: f64) {
    let reference = reference(&fixture(&format!("{family}/reference.json")));
    let base = named(&fixture(&format!("{family}/base")), family);
    for adapter in [None, Some("adapter-a"), Some("adapter-b")] {
        let path = adapter.map(|adapter| fixture(&format!("{family}/{adapter}")));
        let run = |precision| scores(&base, path.as_deref(), precision, &reference);
        let error = relative_error(&run(precision), &run(Precision::F32));
        println!("{family} {adapter:?} in {precision}: {error:.4}");
        assert!(error > 0.0 && error < bound, "{family} {adapter:?} in {precision}: {error}");
    }
}

/// Compares the base model with outliers in a precision with the one without outliers in f32.
fn check_with_outliers(family: &str, largest: f32, precision: Precision, bound: f64) {
    let reference = reference(&fixture(&format!("{family}/reference.json")));
    let changed = changed_copy(&format!("{family}/base"), |folder| {
        edit_tensors(folder, "model.safetensors", |tensors| add_outliers(tensors, largest));
    });
    let plain = named(&fixture(&format!("{family}/base")), family);
    let folder = named(changed.path(), family);
    let expected = scores(&plain, None, Precision::F32, &reference);
    let exact = relative_error(&scores(&folder, None, Precision::F32, &reference), &expected);
    assert!(exact < 1e-4, "{family}: the outliers change scores in f32 by {exact}");
    let error = relative_error(&scores(&folder, None, precision, &reference), &expected);
    println!("{family} with outliers of {largest} in {precision}: {error:.4}");
    assert!(error > exact && error < bound, "{family} with outliers of {largest} in {precision}: {error}");
}

#[test]
fn bf16_is_close_to_f32() {
    for family in BERTS.into_iter().chain(GATED).chain(DECODERS).chain(CAUSAL) {
        check(family, Precision::Bf16, 0.06);
    }
}

#[test]
fn int8_of_encoders_is_close_to_f32() {
    for family in BERTS.into_iter().chain(GATED) {
        check(family, Precision::Int8, 0.2);
    }
}

#[test]
fn bf16_is_close_to_f32_with_outliers() {
    for family in BERTS.into_iter().chain(GATED).chain(DECODERS).chain(CAUSAL) {
        check_with_outliers(family, 1000.0, Precision::Bf16, 0.06);
    }
}

/// An activation a thousand times as large as the others in its row leaves them less than one step of int8, so larger
/// outliers than these are for bf16 and f32.
#[test]
fn int8_of_encoders_keeps_moderate_outliers() {
    for family in BERTS.into_iter().chain(GATED) {
        check_with_outliers(family, 20.0, Precision::Int8, 0.6);
    }
}

#[test]
fn int8_of_decoders_is_close_to_f32() {
    for family in DECODERS.into_iter().chain(CAUSAL) {
        check(family, Precision::Int8, 0.2);
    }
}

/// An outlier is spread over the 64 numbers of its group, and the other groups do not see it.
#[test]
fn int8_of_decoders_keeps_large_outliers() {
    for family in DECODERS {
        check_with_outliers(family, 1000.0, Precision::Int8, 0.6);
    }
}
