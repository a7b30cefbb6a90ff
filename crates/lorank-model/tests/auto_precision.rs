//! The precision `auto`: by measurements of how int8 ranks, for each adapter.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::path::Path;

use lorank_core::{AdapterId, Candidate, EncodedPair, Group, ModelVersion, Precision, Query, Reranker, Score};
use lorank_model::{
    Files, ForwardPass, Int8Ranking, Int8Rankings, LoadOptions, ModelReranker, PrecisionChoice, ScoresToCompare,
};
use lorank_testing::{changed_copy, fixture};

fn files(folder: &str) -> Files {
    Files::folder(fixture(&format!("tiny-bert/{folder}"))).unwrap()
}

fn load(base: &Files, precision: PrecisionChoice, rankings: Vec<Int8Ranking>) -> ModelReranker {
    let int8_rankings = Int8Rankings::new(rankings);
    ModelReranker::load(base, LoadOptions { precision, int8_rankings, ..LoadOptions::default() }).unwrap()
}

fn auto(rankings: Vec<Int8Ranking>) -> ModelReranker {
    load(&files("base"), PrecisionChoice::Auto, rankings)
}

fn id(name: &str) -> AdapterId {
    name.parse().unwrap()
}

fn add(reranker: &ModelReranker, name: &str) -> ModelVersion {
    reranker.add_adapter(id(name), &files(name)).unwrap();
    reranker.resolve(Some(&id(name))).unwrap()
}

/// The measurement of a model whose int8 multiplies the scores by `factor`.
fn measured(reranker: &ModelReranker, model: &ModelVersion, factor: f32) -> Int8Ranking {
    let score = |value: f32| Score::new(value).unwrap();
    let query = ScoresToCompare {
        f32: (0..20_u8).map(|at| score(f32::from(at))).collect(),
        int8: (0..20_u8).map(|at| score(f32::from(at) * factor)).collect(),
    };
    reranker.compare_int8(model, &vec![query; 10])
}

/// The precision without int8 on this machine.
fn wide() -> Precision {
    auto(Vec::new()).precision()
}

fn encode(reranker: &ModelReranker, model: &ModelVersion) -> Vec<EncodedPair> {
    let query = Query::new("how long do you boil eggs");
    let texts = ["Seven minutes.", "Boil the eggs until the yolk is as you like it.", "a lamp"];
    let candidates = texts.map(|text| Candidate::new(text, text, Score::new(0.0).unwrap()));
    reranker.encode(Group { query: &query, model, candidates: &candidates }, None).unwrap()
}

fn scores(reranker: &ModelReranker, model: &ModelVersion) -> Vec<f32> {
    let pairs = encode(reranker, model);
    reranker.score(&pairs.iter().collect::<Vec<_>>()).into_iter().map(|score| score.unwrap().get()).collect()
}

#[test]
fn a_model_without_a_measurement_is_not_in_int8() {
    let reranker = auto(Vec::new());
    assert!(matches!(reranker.precision(), Precision::F32 | Precision::Bf16));
    if !reranker.has_fast_int8() {
        return;
    }
    assert!(reranker.precision_reason().contains("was not measured"), "{}", reranker.precision_reason());
    let bare = reranker.resolve(None).unwrap();
    assert!(reranker.int8_ranking(&bare).is_none());

    // One that failed, and one of another base model, do not change that.
    let failed = measured(&reranker, &bare, 1.2);
    let other =
        ModelReranker::load(&Files::folder(fixture("tiny-roberta/roberta/base")).unwrap(), LoadOptions::default());
    let other = other.unwrap();
    let of_other = measured(&other, &other.resolve(None).unwrap(), 1.0);
    // It has the base model's name, so that the first guess is wrong.
    let of_other: Int8Ranking = {
        let mut json = serde_json::to_value(of_other).unwrap();
        json["base_model"] = reranker.base().name.clone().into();
        serde_json::from_value(json).unwrap()
    };
    let reranker = auto(vec![failed, of_other]);
    assert_eq!(reranker.precision(), wide());
    assert!(
        reranker.precision_reason().contains("int8 changes this model's ranking"),
        "{}",
        reranker.precision_reason()
    );
}

#[test]
fn each_adapter_has_the_precision_that_was_measured_for_it() {
    let first = auto(Vec::new());
    if !first.has_fast_int8() {
        return;
    }
    let (bare, a) = (first.resolve(None).unwrap(), add(&first, "adapter-a"));
    for (is_bare_measured, is_adapter_measured) in [(true, true), (true, false), (false, true), (false, false)] {
        let rankings = [(is_bare_measured, &bare), (is_adapter_measured, &a)];
        let rankings = rankings.into_iter().filter(|(is_measured, _)| *is_measured);
        let reranker = auto(rankings.map(|(_, model)| measured(&first, model, 1.001)).collect());
        let precision = |is_measured: bool| if is_measured { Precision::Int8 } else { wide() };
        let one_copy = reranker.n_bytes();
        let a = add(&reranker, "adapter-a");
        assert_eq!(reranker.precision(), precision(is_bare_measured));
        assert_eq!(a.precision, precision(is_adapter_measured));
        assert_eq!(reranker.adapters()[0].precision, a.precision);
        let is_twice = is_bare_measured != is_adapter_measured;
        assert_eq!(reranker.n_bytes() > one_copy, is_twice, "a second copy of the weights");

        // A batch of both has the scores that the models have in their precisions.
        let alone = |precision: Precision, adapter: Option<&str>| {
            let reranker = load(&files("base"), precision.into(), Vec::new());
            let model = adapter.map_or_else(|| reranker.resolve(None).unwrap(), |name| add(&reranker, name));
            scores(&reranker, &model)
        };
        let bare = reranker.resolve(None).unwrap();
        let (of_bare, of_a) = (encode(&reranker, &bare), encode(&reranker, &a));
        let batch: Vec<&EncodedPair> = of_a.iter().zip(&of_bare).flat_map(|(a, bare)| [a, bare]).collect();
        let mixed: Vec<f32> = reranker.score(&batch).into_iter().map(|score| score.unwrap().get()).collect();
        let (expected_a, expected_bare) = (alone(a.precision, Some("adapter-a")), alone(reranker.precision(), None));
        let expected: Vec<f32> = expected_a.iter().zip(&expected_bare).flat_map(|(a, bare)| [*a, *bare]).collect();
        assert_eq!(mixed, expected);
    }
}

#[test]
fn the_second_copy_goes_with_the_last_adapter_that_needs_it() {
    let first = auto(Vec::new());
    if !first.has_fast_int8() {
        return;
    }
    let reranker = auto(vec![measured(&first, &first.resolve(None).unwrap(), 1.001)]);
    let one_copy = reranker.n_bytes();
    let load = |name: &str| reranker.load_adapter(&id(name), &files(name)).unwrap();
    let (a, b) = (load("adapter-a"), load("adapter-b"));
    let two_copies = reranker.n_bytes();
    assert!(two_copies > one_copy);
    assert_eq!(reranker.version_with(&a).precision, wide());
    // The version of an adapter in the registry, which is not in memory, has the same precision.
    let digest = a.summary().version.digest;
    let version = reranker.version_of(&id("adapter-a"), digest, &files("adapter-a")).unwrap();
    assert_eq!(version, reranker.version_with(&a));
    drop(a);
    assert_eq!(reranker.n_bytes(), two_copies);
    drop(b);
    assert_eq!(reranker.n_bytes(), one_copy);
}

#[test]
fn a_merged_adapter_has_a_measurement_of_its_own() {
    let first = auto(Vec::new());
    if !first.has_fast_int8() {
        return;
    }
    let a = add(&first, "adapter-a");
    let reranker = auto(vec![measured(&first, &a, 1.001)]);
    let summary = reranker.add_merged_adapter(id("adapter-a"), &files("adapter-a")).unwrap();
    assert_eq!(summary.precision, wide());
    let merged = reranker.resolve(Some(&id("adapter-a"))).unwrap();
    let reranker = auto(vec![measured(&first, &merged, 1.001)]);
    let summary = reranker.add_merged_adapter(id("adapter-a"), &files("adapter-a")).unwrap();
    assert_eq!(summary.precision, Precision::Int8);
}

#[test]
fn a_folder_may_have_its_measurements() {
    let first = auto(Vec::new());
    if !first.has_fast_int8() {
        return;
    }
    let (bare, a) = (first.resolve(None).unwrap(), add(&first, "adapter-a"));
    let shipped = vec![measured(&first, &bare, 1.001), measured(&first, &a, 1.001)];
    let with = |rankings: &[u8]| {
        let write = |folder: &Path| std::fs::write(folder.join("int8.json"), rankings).unwrap();
        let folder = changed_copy("tiny-bert/base", write);
        let options = LoadOptions::default();
        let loaded = ModelReranker::load(&Files::folder(folder.path()).unwrap(), options);
        // The folder is read again for the second copy.
        loaded.map(|reranker| (folder, reranker)).map_err(|error| error.to_string())
    };
    let (_folder, reranker) = with(&serde_json::to_vec(&shipped).unwrap()).unwrap();
    assert_eq!((reranker.precision(), add(&reranker, "adapter-a").precision), (Precision::Int8, Precision::Int8));
    assert_eq!(add(&reranker, "adapter-b").precision, wide());
    let error = with(b"{").unwrap_err();
    assert!(error.contains("int8.json"), "{error}");
}

#[test]
fn a_base_model_without_a_head_has_the_precision_of_an_adapter() {
    let base = Files::folder(fixture("tiny-llama/base-causal-sharded")).unwrap();
    let options = |rankings: Vec<Int8Ranking>| LoadOptions {
        int8_rankings: Int8Rankings::new(rankings),
        ..LoadOptions::default()
    };
    let adapter = Files::folder(fixture("tiny-llama/adapter-c")).unwrap();
    let first = ModelReranker::load(&base, options(Vec::new())).unwrap();
    if !first.has_fast_int8() {
        return;
    }
    assert!(!first.base().has_head);
    first.add_adapter(id("c"), &adapter).unwrap();
    let ranking = measured(&first, &first.resolve(Some(&id("c"))).unwrap(), 1.001);
    let reranker = ModelReranker::load(&base, options(vec![ranking])).unwrap();
    let one_copy = reranker.n_bytes();
    reranker.add_adapter(id("c"), &adapter).unwrap();
    assert_eq!(reranker.resolve(Some(&id("c"))).unwrap().precision, Precision::Int8);
    assert_eq!(reranker.n_bytes(), one_copy, "one copy is enough");
}

#[test]
fn an_adapter_may_have_a_precision_of_its_own() {
    let precisions = [("adapter-a", Precision::F32), ("adapter-b", Precision::Bf16)];
    let adapter_precisions = precisions.into_iter().map(|(name, precision)| (id(name), precision.into())).collect();
    let options = LoadOptions { precision: Precision::Int8.into(), adapter_precisions, ..LoadOptions::default() };
    let reranker = ModelReranker::load(&files("base"), options.clone()).unwrap();
    let one_copy = reranker.n_bytes();
    let names = [None, Some("adapter-a"), Some("adapter-b")];
    let models = names.map(|name| name.map_or_else(|| reranker.resolve(None).unwrap(), |name| add(&reranker, name)));
    let expected = [Precision::Int8, Precision::F32, Precision::Bf16];
    assert_eq!(models.clone().map(|model| model.precision), expected);
    // The precision is that of the id, not of the files.
    let again = reranker.add_adapter(id("again"), &files("adapter-a")).unwrap();
    assert_eq!((again.version.digest, again.precision), (models[1].adapter.clone().unwrap().digest, Precision::Int8));
    // One copy for each precision.
    assert!(reranker.n_bytes() > 3 * one_copy, "{} {one_copy}", reranker.n_bytes());

    // Each pair of a mixed batch has the score that it has in its precision alone.
    let alone = |name: Option<&str>, precision: Precision| {
        let reranker = load(&files("base"), precision.into(), Vec::new());
        let model = name.map_or_else(|| reranker.resolve(None).unwrap(), |name| add(&reranker, name));
        scores(&reranker, &model)
    };
    let pairs: Vec<Vec<EncodedPair>> = models.iter().map(|model| encode(&reranker, model)).collect();
    let n_texts = pairs[0].len();
    let mixed: Vec<&EncodedPair> = (0..n_texts).flat_map(|at| pairs.iter().map(move |of| &of[at])).collect();
    let mixed: Vec<f32> = reranker.score(&mixed).into_iter().map(|score| score.unwrap().get()).collect();
    for (at, (name, precision)) in names.into_iter().zip(expected).enumerate() {
        let own: Vec<f32> = mixed.iter().skip(at).step_by(names.len()).copied().collect();
        assert_eq!(own, alone(name, precision), "{name:?}");
    }

    // Where all adapters share one copy, another precision is refused.
    let options = LoadOptions { precision: Precision::F32.into(), pass: ForwardPass::Reference, ..options };
    let reference = ModelReranker::load(&files("base"), options).unwrap();
    assert!(reference.add_adapter(id("adapter-a"), &files("adapter-a")).is_ok());
    let error = reference.add_adapter(id("adapter-b"), &files("adapter-b")).unwrap_err().to_string();
    assert!(error.contains("adapter `adapter-b` cannot have the precision `bf16`"), "{error}");
}
