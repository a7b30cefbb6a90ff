//! The forward pass of an NVIDIA GPU, on the host in its place.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::num::NonZeroUsize;
use std::path::Path;

use lorank_core::{AdapterId, Candidate, Group, ModelVersion, Precision, Query, Reranker, Score, score_groups};
use lorank_model::{DeviceChoice, Files, ForwardPass, HostFault, LoadOptions, ModelReranker};
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
    let (reranker, versions) =
        load("tiny-bert", options(ForwardPass::GpuOnHost, Precision::Bf16, reference.max_length));
    let [gpu] = <[_; 1]>::try_from(reranker.gpus()).unwrap();
    assert_eq!((reranker.engine().as_str(), gpu.name.as_str()), ("lorank-cuda", "host"));
    let (total, free) = (gpu.memory_total.unwrap(), gpu.memory_free.unwrap());
    assert!(gpu.activation_bytes > 0 && gpu.weights_bytes > 0, "{gpu:?}");
    assert!(gpu.activation_bytes + gpu.weights_bytes + free <= total, "{gpu:?}");
    assert_eq!((gpu.device.as_str(), gpu.tokens_max, gpu.adapter_slots, gpu.n_passes_halved), ("cpu", 8_192, 8, 0));
    scores(&reranker, &versions, &reference);
    let used = reranker.gpus().remove(0);
    assert_eq!(used.adapter_slots_used, 2, "adapters of rank 16 or less");
    let (reranker, _) = load("tiny-bert", options(ForwardPass::Reference, Precision::F32, reference.max_length));
    assert_eq!(reranker.gpus(), []);
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

/// Options of a model on several GPUs, with their faults.
fn on_gpus(ordinals: &[usize], precision: Precision, max_length: usize) -> (LoadOptions, Vec<HostFault>) {
    let host_faults: Vec<HostFault> = ordinals.iter().map(|_| HostFault::default()).collect();
    let device = DeviceChoice::SeveralCuda(ordinals.to_vec());
    let options = options(ForwardPass::GpuOnHost, precision, max_length);
    (LoadOptions { device, host_faults: host_faults.clone(), ..options }, host_faults)
}

/// The device of each GPU, and whether it was taken out.
fn states(reranker: &ModelReranker) -> Vec<(String, bool)> {
    reranker.gpus().into_iter().map(|gpu| (gpu.device, gpu.failure.is_some())).collect()
}

fn named<const N: usize>(states: [(&str, bool); N]) -> Vec<(String, bool)> {
    states.map(|(device, is_out)| (device.to_owned(), is_out)).to_vec()
}

#[test]
fn several_gpus_score_as_one() {
    for family in ["tiny-bert", "tiny-llama", "tiny-modernbert/cls"] {
        let reference = reference_of(family);
        for precision in [Precision::F32, Precision::Bf16] {
            let one = options(ForwardPass::GpuOnHost, precision, reference.max_length);
            let expected = {
                let (reranker, versions) = load(family, one);
                scores(&reranker, &versions, &reference)
            };
            for ordinals in [&[0, 1][..], &[0, 0, 2]] {
                let (options, _) = on_gpus(ordinals, precision, reference.max_length);
                let (reranker, versions) = load(family, options);
                assert_eq!(
                    scores(&reranker, &versions, &reference),
                    expected,
                    "{family} in {precision} on {ordinals:?}"
                );
                assert_eq!(reranker.batch_tokens().get(), ordinals.len() * reranker.tokens_max().get());
                let names: Vec<String> = reranker.gpus().into_iter().map(|gpu| gpu.device).collect();
                let expected =
                    if ordinals.len() == 2 { &["cuda:0", "cuda:1"][..] } else { &["cuda:0", "cuda:0#2", "cuda:2"] };
                assert_eq!(names, expected);
            }
        }
    }
}

/// A batch is complete whichever operation fails, and so are later ones.
#[test]
fn a_gpu_that_fails_is_taken_out_and_the_others_go_on() {
    let reference = reference_of("tiny-llama");
    let expected = {
        let options = options(ForwardPass::GpuOnHost, Precision::Bf16, reference.max_length);
        let (reranker, versions) = load("tiny-llama", options);
        scores(&reranker, &versions, &reference)
    };
    for (failing, n_operations) in [(0, 0), (0, 1), (1, 7), (1, 40), (1, 200)] {
        let (options, faults) = on_gpus(&[0, 1], Precision::Bf16, reference.max_length);
        // Small passes: the scores of those before the failure are kept.
        let options = LoadOptions { tokens_max: NonZeroUsize::new(300), ..options };
        let (reranker, mut versions) = load("tiny-llama", options);
        faults[failing].after(n_operations);
        let what = format!("GPU {failing} after {n_operations} operations");
        assert_eq!(scores(&reranker, &versions, &reference), expected, "{what}");
        assert_eq!(states(&reranker), named([("cuda:0", failing == 0), ("cuda:1", failing == 1)]), "{what}");
        let gpu = &reranker.gpus()[failing];
        assert_eq!((gpu.memory_total, gpu.memory_free), (None, None));
        assert!(gpu.failure.as_ref().unwrap().contains("CUDA_ERROR_ILLEGAL_ADDRESS"), "{gpu:?}");
        // An adapter that is loaded now is on the other GPU alone.
        let id: AdapterId = "later".parse().unwrap();
        reranker.add_adapter(id.clone(), &Files::folder(fixture("tiny-llama/adapter-a")).unwrap()).unwrap();
        versions[1] = reranker.resolve(Some(&id)).unwrap();
        assert_eq!(scores(&reranker, &versions, &reference), expected, "{what}");
        faults[1 - failing].after(3);
        let candidates = [Candidate::new("x", "text", Score::new(0.0).unwrap())];
        let (query, model) = (Query::new("query"), &versions[0]);
        let group = Group { query: &query, model, candidates: &candidates };
        let pairs = reranker.encode(group, None).unwrap();
        let error = reranker.score(&[&pairs[0]]).remove(0).unwrap_err();
        let message = lorank_core::with_causes(&*error);
        assert!(message.contains("no GPU is left") && message.contains("`cuda:0`: ") && message.contains("`cuda:1`: "));
        assert_eq!(states(&reranker), named([("cuda:0", true), ("cuda:1", true)]));
        let message = reranker.encode(group, None).unwrap_err().to_string();
        assert!(message.contains("no GPU is left"), "{message}");
        let error =
            reranker.add_adapter("none".parse().unwrap(), &Files::folder(fixture("tiny-llama/adapter-a")).unwrap());
        assert!(error.unwrap_err().to_string().contains("no GPU is left"));
    }
}

#[test]
fn a_gpu_that_fails_while_an_adapter_is_loaded_is_taken_out() {
    let (options, faults) = on_gpus(&[0, 1], Precision::F32, 64);
    let (reranker, _) = load("tiny-bert", options);
    faults[0].after(0);
    reranker.add_adapter("later".parse().unwrap(), &Files::folder(fixture("tiny-bert/adapter-a")).unwrap()).unwrap();
    assert_eq!(states(&reranker), named([("cuda:0", true), ("cuda:1", false)]));
}

/// The fast pass of `lorank-cuda` alone runs on several GPUs.
#[test]
fn other_passes_refuse_several_gpus() {
    let base = Files::folder(fixture("tiny-bert/base")).unwrap();
    for pass in [ForwardPass::Reference, ForwardPass::Train, ForwardPass::TrainReference] {
        let device = DeviceChoice::SeveralCuda(vec![0, 1]);
        let error = ModelReranker::load(&base, LoadOptions { device, pass, ..LoadOptions::default() }).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("`cuda:0,cuda:1`") && message.contains("run on one device; name one"), "{message}");
    }
}
