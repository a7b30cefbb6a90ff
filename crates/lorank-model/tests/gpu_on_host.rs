//! The forward pass of an NVIDIA GPU, on the host in its place.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::num::NonZeroUsize;
use std::path::Path;

use lorank_core::{AdapterId, Candidate, Group, ModelVersion, Precision, Query, Reranker, Score, score_groups};
use lorank_model::{Files, ForwardPass, LoadOptions, ModelReranker};
use lorank_testing::{Dtype, Reference, TensorData, changed_copy, edit_tensors, fixture, reference};

const FAMILIES: [&str; 17] = [
    "tiny-bert",
    "tiny-roberta/roberta",
    "tiny-roberta/xlm-roberta",
    "tiny-encoders/distilbert",
    "tiny-encoders/electra",
    "tiny-modernbert/cls",
    "tiny-modernbert/mean",
    "tiny-gte/multilingual",
    "tiny-gte/english",
    "tiny-llama",
    "tiny-llama-bidirectional",
    "tiny-decoders/qwen2",
    "tiny-decoders/qwen3",
    "tiny-decoders/mistral",
    "tiny-decoders/gemma",
    "tiny-decoders/causal/qwen3-reranker",
    "tiny-decoders/causal/mistral",
];

/// A family's base model, and the versions of the bare model and of its two adapters.
fn load(family: &str, options: LoadOptions) -> (ModelReranker, Vec<ModelVersion>) {
    let files = |folder: &str| Files::folder(fixture(family).join(folder)).unwrap();
    let base = files("base").with_name(family.rsplit('/').next().unwrap());
    let reranker = ModelReranker::load(&base, options).unwrap();
    let mut versions = vec![reranker.resolve(None).unwrap()];
    for folder in ["adapter-a", "adapter-b"] {
        let id: AdapterId = folder.parse().unwrap();
        reranker.add_adapter(id.clone(), &files(folder)).unwrap();
        versions.push(reranker.resolve(Some(&id)).unwrap());
    }
    (reranker, versions)
}

/// The scores of all documents of a reference for its first query, under each version, in one batch.
fn scores(reranker: &ModelReranker, versions: &[ModelVersion], reference: &Reference) -> Vec<f32> {
    let candidate = |text: &String| Candidate::new("x", text.clone(), Score::new(0.0).unwrap());
    let candidates: Vec<Candidate> = reference.pairs.iter().map(|pair| candidate(&pair.document)).collect();
    let query = Query::new(reference.pairs[0].query.clone());
    let groups: Vec<Group<'_>> =
        versions.iter().map(|model| Group { query: &query, model, candidates: &candidates }).collect();
    let scores = score_groups(reranker, &groups).into_iter().flat_map(|scores| scores.unwrap());
    scores.map(Score::get).collect()
}

fn options(pass: ForwardPass, precision: Precision, max_length: usize) -> LoadOptions {
    LoadOptions { pass, precision: precision.into(), max_length: Some(max_length), ..LoadOptions::default() }
}

fn reference_of(family: &str) -> Reference {
    reference(&fixture(&format!("{family}/reference.json")))
}

/// The root of the mean square difference, relative to the standard deviation of the expected scores.
fn relative_error(found: &[f32], expected: &[f32]) -> f64 {
    let n = expected.len() as f64;
    let mean = expected.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
    let variance = expected.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n;
    let error = found.iter().zip(expected).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>() / n;
    (error / variance).sqrt()
}

/// In f32 as the reference, up to the order of sums (see `batches.rs`); in bf16 as close to it as candle in bf16, whose attention is in
/// f32.
#[test]
fn scores_of_mixed_batches_are_those_of_the_reference() {
    let mut wrong = Vec::new();
    for family in FAMILIES {
        let reference = reference_of(family);
        let run = |pass, precision| {
            let (reranker, versions) = load(family, options(pass, precision, reference.max_length));
            scores(&reranker, &versions, &reference)
        };
        let expected = run(ForwardPass::Reference, Precision::F32);
        let off = |(found, expected): (&f32, &f32)| (found - expected).abs() / expected.abs().max(1.0);
        let exact = run(ForwardPass::GpuOnHost, Precision::F32);
        let largest = exact.iter().zip(&expected).map(off).fold(0.0, f32::max);
        let [error, of_candle] = [ForwardPass::GpuOnHost, ForwardPass::TrainReference]
            .map(|pass| relative_error(&run(pass, Precision::Bf16), &expected));
        println!("{family}: {largest:.1e} in f32, {error:.4} in bf16, candle {of_candle:.4}");
        let is_right = largest < 2e-5 && error > 0.0 && error < 1.5 * of_candle;
        wrong.extend((!is_right).then_some((family, largest, error, of_candle)));
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// Steps of e4m3 are 16 times as large as those of bf16, and so is the error at most; in a mixed batch each adapter has the scores that
/// it has alone.
#[test]
fn fp8_is_close_to_the_reference_for_each_adapter_of_a_batch() {
    let mut wrong = Vec::new();
    for family in ["tiny-bert", "tiny-modernbert/cls", "tiny-gte/multilingual", "tiny-llama", "tiny-decoders/qwen3"] {
        let reference = reference_of(family);
        let loaded = |pass, precision| load(family, options(pass, precision, reference.max_length));
        let run = |(reranker, versions): &(ModelReranker, Vec<ModelVersion>)| scores(reranker, versions, &reference);
        let expected = run(&loaded(ForwardPass::Reference, Precision::F32));
        let fp8 = loaded(ForwardPass::GpuOnHost, Precision::Fp8);
        let mixed = run(&fp8);
        let of_one = |version: &ModelVersion| scores(&fp8.0, std::slice::from_ref(version), &reference);
        assert_eq!(mixed, fp8.1.iter().flat_map(of_one).collect::<Vec<f32>>(), "{family}");
        let of_bf16 = relative_error(&run(&loaded(ForwardPass::GpuOnHost, Precision::Bf16)), &expected);
        let error = relative_error(&mixed, &expected);
        println!("{family}: {error:.4} in fp8, {:.1} times that of bf16", error / of_bf16);
        wrong.extend((!(error > of_bf16 && error < 16.0 * of_bf16)).then_some((family, error, of_bf16)));
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// A file in bf16 is uploaded as it is; one in f32 is rounded.
#[test]
fn weights_in_bf16_score_as_those_rounded_to_bf16() {
    let reference = reference_of("tiny-llama");
    let folder = changed_copy("tiny-llama/base", |folder| {
        edit_tensors(folder, "model.safetensors", |tensors| {
            // The head is in f32.
            let matrices =
                tensors.iter_mut().filter(|(name, tensor)| tensor.shape.len() == 2 && *name != "score.weight");
            matrices.for_each(|(_, tensor)| round_to_bf16(tensor));
        });
    });
    let score = |folder: &Path| {
        let options = options(ForwardPass::GpuOnHost, Precision::Bf16, reference.max_length);
        let reranker = ModelReranker::load(&Files::folder(folder).unwrap(), options).unwrap();
        scores(&reranker, &[reranker.resolve(None).unwrap()], &reference)
    };
    assert_eq!(score(folder.path()), score(&fixture("tiny-llama/base")));
}

/// Rounds numbers in f32 to the nearest ones, ties to even.
fn round_to_bf16(tensor: &mut TensorData) {
    let rounded = |number: &[u8]| {
        let bits = u32::from_le_bytes(number.try_into().unwrap());
        ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
    };
    tensor.bytes = tensor.bytes.chunks(4).flat_map(|number| rounded(number).to_le_bytes()).collect();
    tensor.dtype = Dtype::BF16;
}

/// The updates of eight adapters have columns at once; those of the others are products of their own, or take the columns of adapters
/// that earlier batches used.
#[test]
fn more_adapters_than_columns_share_a_batch() {
    let reference = reference_of("tiny-llama");
    let (reranker, [bare, a, b]) = {
        let (reranker, versions) =
            load("tiny-llama", options(ForwardPass::GpuOnHost, Precision::F32, reference.max_length));
        (reranker, <[ModelVersion; 3]>::try_from(versions).unwrap())
    };
    let mut versions = vec![bare.clone()];
    for n in 0..12 {
        let (id, folder): (AdapterId, _) =
            (format!("copy-{n}").parse().unwrap(), if n % 2 == 0 { "adapter-a" } else { "adapter-b" });
        reranker.add_adapter(id.clone(), &Files::folder(fixture("tiny-llama").join(folder)).unwrap()).unwrap();
        versions.push(reranker.resolve(Some(&id)).unwrap());
    }
    let [bare, a, b] = [bare, a, b].map(|version| scores(&reranker, &[version], &reference));
    let check = |versions: &[ModelVersion], expected: &[&Vec<f32>]| {
        let found = scores(&reranker, versions, &reference);
        for (n, (found, expected)) in found.chunks(bare.len()).zip(expected).enumerate() {
            let off = found.iter().zip(*expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < 1e-5, "version {n}: {off}");
        }
    };
    let expected: Vec<&Vec<f32>> =
        [&bare].into_iter().chain((0..12).map(|n| if n % 2 == 0 { &a } else { &b })).collect();
    check(&versions, &expected);
    check(&versions[9..], &expected[9..]);
    check(&versions[..5], &expected[..5]);
}

#[test]
fn a_gpu_is_described() {
    let reference = reference_of("tiny-bert");
    let (reranker, _) = load("tiny-bert", options(ForwardPass::GpuOnHost, Precision::Bf16, reference.max_length));
    let gpu = reranker.gpu().unwrap();
    assert_eq!((reranker.engine().as_str(), gpu.name.as_str()), ("lorank-cuda", "host"));
    assert!(gpu.activation_bytes > 0 && gpu.activation_bytes + gpu.memory_free < gpu.memory_total, "{gpu:?}");
    let (reranker, _) = load("tiny-bert", options(ForwardPass::Reference, Precision::F32, reference.max_length));
    assert_eq!(reranker.gpu(), None);
}

/// A pass over few tokens takes no more than a part of a batch.
#[test]
fn batches_are_divided_into_passes() {
    let reference = reference_of("tiny-bert");
    let whole = options(ForwardPass::GpuOnHost, Precision::F32, reference.max_length);
    let small = LoadOptions { tokens_max: NonZeroUsize::new(50), ..whole.clone() };
    let [whole, small] = [whole, small].map(|options| {
        let (reranker, versions) = load("tiny-bert", options);
        (reranker.tokens_max().get(), scores(&reranker, &versions, &reference))
    });
    assert_eq!((whole.0, small.0), (8_192, 50));
    let off = whole.1.iter().zip(&small.1).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off < 1e-5, "{off}");
}
