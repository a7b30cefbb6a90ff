//! Adapters are added, promoted and removed during requests.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use lorank_adapters::Registry;
use lorank_core::{
    AdapterId, Candidate, Deadline, DeadlineExceeded, Digest, Group, ModelVersion, PassageOptions, PassageRule,
    Precision, Query, Reranker, Score, WindowCut, score_groups,
};
use lorank_model::{BaseModels, BaseToName, Files, LoadOptions, ModelReranker};
use lorank_registry_reranker::RegistryReranker;
use lorank_testing::fixture;

fn id(text: &str) -> AdapterId {
    text.parse().unwrap()
}

fn base() -> ModelReranker {
    let files = Files::folder(fixture("tiny-bert").join("base")).unwrap();
    ModelReranker::load(&files, LoadOptions::default()).unwrap()
}

/// Adds a fixture adapter.
fn add(registry: &Registry, name: &str, folder: &str) {
    let files = Files::folder(fixture("tiny-bert").join(folder)).unwrap();
    lorank_registry_reranker::add(registry, &id(name), &files, folder, None, lorank_adapters::Existing::Replace)
        .unwrap();
}

fn live(folder: &Path, bytes_max: u64) -> RegistryReranker {
    let registry = Arc::new(Registry::open(folder).unwrap());
    add(&registry, "a", "adapter-a");
    add(&registry, "b", "adapter-b");
    RegistryReranker::new(base(), registry, None, bytes_max)
}

fn candidates() -> Vec<Candidate> {
    let texts = ["Seven minutes for a soft yolk.", "Lamps were lit with oil.", "The egg came first."];
    texts.map(|text| Candidate::new(text, text, Score::new(0.0).unwrap())).to_vec()
}

fn scores(reranker: &impl Reranker, model: &ModelVersion) -> Vec<Score> {
    let (query, candidates) = (Query::new("how long to boil an egg"), candidates());
    let group = Group { query: &query, model, candidates: &candidates };
    score_groups(reranker, &[group]).pop().unwrap().unwrap()
}

/// Each adapter's scores by the digest of its files, from a separate model.
fn expected() -> HashMap<Digest, Vec<Score>> {
    let base = base();
    let of = |folder: &str| {
        base.add_adapter(id(folder), &Files::folder(fixture("tiny-bert").join(folder)).unwrap()).unwrap();
        let model = base.resolve(Some(&id(folder))).unwrap();
        (model.adapter.as_ref().unwrap().digest, scores(&base, &model))
    };
    ["adapter-a", "adapter-b"].map(of).into()
}

#[test]
fn a_hundred_promotions_under_load_fail_no_request_and_mix_no_adapters() {
    let folder = tempfile::tempdir().unwrap();
    // Room for none: unused adapters are evicted and loaded again.
    let (live, expected) = (live(folder.path(), 0), expected());
    let default = RegistryReranker::default_name();
    live.registry().set_alias(&default, &id("a")).unwrap();
    let (is_over, n_answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let model = live.resolve(Some(&default)).unwrap();
                    thread::yield_now();
                    let adapter = model.adapter.as_ref().unwrap();
                    assert_eq!(scores(&live, &model), expected[&adapter.digest], "{}", adapter.id);
                    n_answers.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for n in 0..100 {
            live.registry().set_alias(&default, &id(["b", "a"][n % 2])).unwrap();
            // Each of them is used by answers.
            let until = n_answers.load(Ordering::Relaxed) + 2;
            while n_answers.load(Ordering::Relaxed) < until {
                thread::yield_now();
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(live.residency().n_loads > 2, "{:?}", live.residency());
    assert_eq!(live.residency().n_held, 0);
}

#[test]
fn resolving_reads_no_weights_and_a_load_is_waited_for_until_the_deadline_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (live, expected) = (live(folder.path(), 0), expected());
    let model = live.resolve(Some(&id("a"))).unwrap();
    assert_eq!(live.resolve(Some(&id("a"))).unwrap(), model, "known by its digest");
    assert_eq!((live.residency().n_loads, live.residency().n_held), (0, 0));
    let (query, candidates) = (Query::new("how long to boil an egg"), candidates());
    let group = Group { query: &query, model: &model, candidates: &candidates };
    let past = Some(Deadline::at(Instant::now()));
    assert!(live.encode(group, past).unwrap_err().is::<DeadlineExceeded>());
    while live.residency().n_held == 0 {
        thread::yield_now();
    }
    let pairs = live.encode(group, past).expect("what was loaded meanwhile is there at once");
    assert_eq!((live.residency().n_loads, live.residency().n_held), (1, 1), "held for the pairs, with room for none");
    let scores = live.score(&pairs.iter().collect::<Vec<_>>());
    let scores: Vec<Score> = scores.into_iter().map(Result::unwrap).collect();
    assert_eq!(scores, expected[&model.adapter.as_ref().unwrap().digest]);
    drop(pairs);
    assert_eq!(live.residency().n_held, 0);
}

#[test]
fn a_request_ends_on_the_version_that_it_began_with() {
    let folder = tempfile::tempdir().unwrap();
    let (live, expected) = (live(folder.path(), 0), expected());
    let model = live.resolve(Some(&id("a"))).unwrap();
    // The name gets other weights, then is removed; further changes collect unused files.
    add(live.registry(), "a", "adapter-b");
    live.registry().remove(&id("a"), &[], false).unwrap();
    live.registry().set_alias(&id("x"), &id("b")).unwrap();
    assert_eq!(scores(&live, &model), expected[&model.adapter.as_ref().unwrap().digest]);
    let error = live.resolve(Some(&id("a"))).unwrap_err().to_string();
    assert_eq!(error, "the registry has no adapter and no alias `a`; known names: `b`, `x`");
}

#[test]
fn a_batch_mixes_registered_adapters_with_those_of_the_base() {
    let folder = tempfile::tempdir().unwrap();
    let (live, expected) = (live(folder.path(), RegistryReranker::BYTES_MAX), expected());
    live.base().add_adapter(id("own"), &Files::folder(fixture("tiny-bert").join("adapter-b")).unwrap()).unwrap();
    let models = [Some("a"), None, Some("own"), Some("b")].map(|name| live.resolve(name.map(id).as_ref()).unwrap());
    let (query, candidates) = (Query::new("how long to boil an egg"), candidates());
    let groups = models.each_ref().map(|model| Group { query: &query, model, candidates: &candidates });
    for (model, scores) in models.iter().zip(score_groups(&live, &groups)) {
        let alone = model.adapter.as_ref().map(|adapter| expected[&adapter.digest].clone());
        assert_eq!(scores.unwrap(), alone.unwrap_or_else(|| self::scores(live.base(), model)));
    }
    assert_eq!((live.residency().n_held, live.residency().n_loads), (2, 2));
    let gone = ModelVersion {
        adapter: Some(lorank_core::AdapterVersion { id: id("z"), digest: Digest::new([9; 32]) }),
        ..models[1].clone()
    };
    let group = Group { query: &query, model: &gone, candidates: &candidates };
    assert!(
        score_groups(&live, &[group, groups[0]])[0]
            .as_ref()
            .is_err_and(|error| error.to_string().contains("no longer in the registry"))
    );
}

#[test]
fn default_is_the_registered_adapter_else_the_one_given_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Arc::new(Registry::open(folder.path()).unwrap());
    let base = base();
    base.add_adapter(id("own"), &Files::folder(fixture("tiny-bert").join("adapter-b")).unwrap()).unwrap();
    let live = RegistryReranker::new(base, registry, Some(id("own")), RegistryReranker::BYTES_MAX);
    let default = || live.resolve(Some(&RegistryReranker::default_name())).unwrap().adapter.unwrap().id;
    assert_eq!(default(), id("own"));
    add(live.registry(), "a", "adapter-a");
    live.registry().set_alias(&RegistryReranker::default_name(), &id("a")).unwrap();
    assert_eq!(default(), id("a"));
}

#[test]
fn an_adapter_says_how_long_documents_are_scored() {
    let (folder, changed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for file in std::fs::read_dir(fixture("tiny-bert").join("adapter-a")).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), changed.path().join(file.file_name())).unwrap();
    }
    std::fs::write(changed.path().join("lorank.json"), r#"{"passages": "max", "passage_tokens": 16}"#).unwrap();
    let live = live(folder.path(), 0);
    let files = Files::folder(changed.path()).unwrap();
    lorank_registry_reranker::add(live.registry(), &id("c"), &files, "c", None, lorank_adapters::Existing::Refuse)
        .unwrap();
    let options = |name: &str| live.passages(&live.resolve(Some(&id(name))).unwrap()).unwrap();
    assert_eq!(options("a"), PassageOptions::default());
    let own = PassageOptions { rule: Some(PassageRule::Max), tokens: NonZeroUsize::new(16), stride: None };
    assert_eq!(options("c"), own);

    // Its windows are those of the model with the adapter in memory.
    let base = base();
    base.add_adapter(id("c"), &files).unwrap();
    let mut long = candidates();
    long[1].text = "Lamps were lit with oil, and eggs were boiled. ".repeat(30).into();
    let (query, n_max) = (Query::new("how long to boil an egg"), NonZeroUsize::new(4).unwrap());
    let cut = WindowCut { tokens: own.tokens, stride: own.stride, n_max };
    let windows = |reranker: &dyn Reranker| {
        let model = reranker.resolve(Some(&id("c"))).unwrap();
        let group = Group { query: &query, model: &model, candidates: &long };
        reranker.windows(group, &cut, None).unwrap()
    };
    let found = windows(&live);
    assert_eq!((found[1].spans.len(), found[1].is_complete), (4, false));
    assert_eq!(found, windows(&base));
}

#[test]
fn base_models_share_a_registry_and_a_batch() {
    let load = |base: &str| {
        let files = Files::folder(fixture(base).join("base")).unwrap();
        ModelReranker::load(&files, LoadOptions::default()).unwrap()
    };
    let named = |name: &str| BaseToName { given: Some(id(name)), also: Vec::new(), reranker: load(name) };
    let bases = BaseModels::new(vec![named("tiny-bert"), named("tiny-llama")]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let registry = Arc::new(Registry::open(folder.path()).unwrap());
    add(&registry, "a", "adapter-a");
    let files = Files::folder(fixture("tiny-llama").join("adapter-b")).unwrap();
    let origin = ("a folder", None);
    let existing = lorank_adapters::Existing::Refuse;
    lorank_registry_reranker::add_for_base(&registry, &id("l"), &files, origin, existing, None).unwrap();
    let live = RegistryReranker::new(bases, registry, None, RegistryReranker::BYTES_MAX);

    let names = ["a", "l", "tiny-bert", "l", "a"];
    let models = names.map(|name| live.resolve(Some(&id(name))).unwrap());
    let bases: Vec<&str> = models.iter().map(|model| &*model.base_model).collect();
    assert_eq!(bases, ["tiny-bert", "tiny-llama", "tiny-bert", "tiny-llama", "tiny-bert"]);
    let (query, candidates) = (Query::new("how long to boil an egg"), candidates());
    let groups = models.each_ref().map(|model| Group { query: &query, model, candidates: &candidates });
    let mixed: Vec<Vec<Score>> = score_groups(&live, &groups).into_iter().map(Result::unwrap).collect();
    let alone = |base: &str, adapter: &str| {
        let base = {
            let (reranker, files) = (load(base), Files::folder(fixture(base).join(adapter)).unwrap());
            reranker.add_adapter(id("x"), &files).unwrap();
            reranker
        };
        let model = base.resolve(Some(&id("x"))).unwrap();
        scores(&base, &model)
    };
    let (a, l) = (alone("tiny-bert", "adapter-a"), alone("tiny-llama", "adapter-b"));
    let bert = load("tiny-bert");
    let bare = scores(&bert, &bert.resolve(None).unwrap());
    assert_eq!(mixed, [a.clone(), l.clone(), bare, l, a]);

    // Aliases may point to a bare base model too, the alias of requests that name nothing as well.
    let point = |alias: &str, base: &str| {
        let target = lorank_adapters::AliasTarget::Base(&id(base));
        live.registry().set_alias_with(&id(alias), target, lorank_adapters::AliasRankBy::Keep).unwrap();
    };
    for (base, expected) in [("tiny-llama", 3), ("none", 2), ("tiny-bert", 2)] {
        point("default", base);
        let default = live.resolve(Some(&RegistryReranker::default_name())).unwrap();
        let bare = ModelVersion { adapter: None, ..models[expected].clone() };
        assert_eq!((&default.base_digest, &default.base_model), (&bare.base_digest, &bare.base_model));
        assert_eq!(default.adapter, None);
    }
    point("next", "gone");
    let error = live.resolve(Some(&id("next"))).unwrap_err();
    assert!(error.is::<lorank_core::AdapterUnusable>(), "{error}");
    let error = lorank_core::with_causes(&*error);
    assert!(error.starts_with("alias `next` points to a base model that is not loaded: "), "{error}");
    assert!(error.contains("`gone`") && error.contains("`tiny-bert`, `tiny-llama`"), "{error}");
    live.registry().remove_alias(&id("default")).unwrap();
    live.registry().remove_alias(&id("next")).unwrap();

    let error = live.resolve(Some(&id("z"))).unwrap_err().to_string();
    assert!(error.ends_with("known names: `a`, `l`; base models: `tiny-bert`, `tiny-llama`"), "{error}");
    let foreign = ModelVersion { base_digest: Digest::new([9; 32]), ..models[2].clone() };
    let group = Group { query: &query, model: &foreign, candidates: &candidates };
    let error = live.encode(group, None).unwrap_err().to_string();
    assert!(error.contains("no base model `tiny-bert` of this version is loaded"), "{error}");
}

#[test]
fn an_adapter_that_fits_several_base_models_needs_the_name_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    for file in std::fs::read_dir(fixture("tiny-bert").join("base")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.join(file.file_name())).unwrap();
    }
    // Another model of the same shape: its configuration, and thus its digest, differs.
    let config = std::fs::read_to_string(copy.join("config.json")).unwrap();
    std::fs::write(copy.join("config.json"), config.replacen('{', "{\n  \"note\": null,", 1)).unwrap();
    let named = |name: &str, folder: &Path| {
        let reranker = ModelReranker::load(&Files::folder(folder).unwrap(), LoadOptions::default()).unwrap();
        BaseToName { given: Some(id(name)), also: Vec::new(), reranker }
    };
    let bases = vec![named("one", &fixture("tiny-bert").join("base")), named("two", &copy)];
    let registry = Arc::new(Registry::open(folder.path().join("registry")).unwrap());
    let live = RegistryReranker::new(BaseModels::new(bases).unwrap(), registry, None, RegistryReranker::BYTES_MAX);
    let files = Files::folder(fixture("tiny-bert").join("adapter-a")).unwrap();
    let error = live.check(&id("a"), &files, None).unwrap_err().to_string();
    assert!(error.contains("fits the base models `one`, `two`") && error.ends_with("; name the base model"), "{error}");
    let digest = live.check(&id("a"), &files, Some(&id("two"))).unwrap();
    assert_eq!(digest, Some(live.bases().at(1).reranker().base().digest));
    let existing = lorank_adapters::Existing::Refuse;
    let add = |digest: Option<Digest>| {
        lorank_registry_reranker::add_for_base(live.registry(), &id("a"), &files, ("a", None), existing, digest)
    };
    add(None).unwrap();
    let error = live.resolve(Some(&id("a"))).unwrap_err();
    assert!(error.is::<lorank_core::AdapterUnusable>(), "{error}");
    live.registry().remove(&id("a"), &[], false).unwrap();
    add(digest).unwrap();
    assert_eq!(live.resolve(Some(&id("a"))).unwrap().base_model, "two");
    // The same files without a base model are the same adapter.
    assert_eq!(add(None).unwrap(), lorank_adapters::Outcome::Unchanged);
    assert_eq!(live.resolve(Some(&id("a"))).unwrap().base_model, "two");
}

#[test]
fn two_ids_of_the_same_files_may_have_two_precisions() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Arc::new(Registry::open(folder.path()).unwrap());
    add(&registry, "exact", "adapter-a");
    add(&registry, "fast", "adapter-a");
    let files = Files::folder(fixture("tiny-bert").join("base")).unwrap();
    let adapter_precisions = [(id("exact"), Precision::F32.into())].into();
    let options = LoadOptions { precision: Precision::Int8.into(), adapter_precisions, ..LoadOptions::default() };
    let live = RegistryReranker::new(ModelReranker::load(&files, options).unwrap(), registry, None, u64::MAX);
    let alone = |precision: Precision| {
        let options = LoadOptions { precision: precision.into(), ..LoadOptions::default() };
        let base = ModelReranker::load(&files, options).unwrap();
        base.add_adapter(id("a"), &Files::folder(fixture("tiny-bert").join("adapter-a")).unwrap()).unwrap();
        scores(&base, &base.resolve(Some(&id("a"))).unwrap())
    };
    let (exact, fast) = (alone(Precision::F32), alone(Precision::Int8));
    assert_ne!(exact, fast);
    for _ in 0..2 {
        for (name, precision, expected) in [("exact", Precision::F32, &exact), ("fast", Precision::Int8, &fast)] {
            let model = live.resolve(Some(&id(name))).unwrap();
            assert_eq!((model.precision, &scores(&live, &model)), (precision, expected), "{name}");
        }
    }
}
