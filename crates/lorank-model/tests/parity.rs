//! Token ids and scores, compared with those of transformers and PEFT that are recorded with the fixtures.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use lorank_core::{AdapterId, Candidate, Group, Precision, Query, Reranker, Score, score_groups};
use lorank_model::{Files, ForwardPass, LoadOptions, ModelReranker};
use lorank_testing::{Reference, ReferencePair, changed_copy, edit_json, fixture};

fn reference(file: &str) -> Reference {
    lorank_testing::reference(&fixture(file))
}

fn candidate(pair: &ReferencePair) -> Candidate {
    Candidate::new(pair.name.clone(), pair.document.clone(), Score::new(0.0).unwrap())
}

const PASSES: [ForwardPass; 3] = [ForwardPass::Fast, ForwardPass::Reference, ForwardPass::GpuOnHost];

/// A base model with the reference's maximum length, and at most one adapter.
fn load(
    base: impl Into<std::path::PathBuf>,
    adapter: Option<&str>,
    reference: &Reference,
) -> (ModelReranker, Option<AdapterId>) {
    load_for(base, adapter, reference, ForwardPass::Fast)
}

fn load_for(
    base: impl Into<std::path::PathBuf>,
    adapter: Option<&str>,
    reference: &Reference,
    pass: ForwardPass,
) -> (ModelReranker, Option<AdapterId>) {
    let options = LoadOptions {
        max_length: Some(reference.max_length),
        precision: Precision::F32.into(),
        pass,
        ..LoadOptions::default()
    };
    let reranker = ModelReranker::load(&Files::folder(base).unwrap(), options).unwrap();
    let id = adapter.map(|folder| {
        let id: AdapterId = "under-test".parse().unwrap();
        reranker.add_adapter(id.clone(), &Files::folder(fixture(folder)).unwrap()).unwrap();
        id
    });
    (reranker, id)
}

/// Scores every pair of a reference; returns the largest difference to the scores named `name`.
fn largest_difference(reranker: &ModelReranker, adapter: Option<&AdapterId>, reference: &Reference, name: &str) -> f32 {
    let model = reranker.resolve(adapter).unwrap();
    let difference = |pair: &ReferencePair| {
        let query = Query::new(pair.query.clone());
        let scores = score_groups(reranker, &[Group { query: &query, model: &model, candidates: &[candidate(pair)] }]);
        let score = scores[0].as_ref().unwrap_or_else(|e| panic!("{}: {e}", pair.name))[0].get();
        (score - pair.scores[name]).abs()
    };
    assert!(!reference.pairs.is_empty());
    let largest = reference.pairs.iter().map(difference).fold(0.0, f32::max);
    println!("{} with {adapter:?}, {} pairs, {name}: {largest:e}", model.base_model, reference.pairs.len());
    largest
}

fn check(base: &str, adapter: Option<&str>, file: &str, name: &str, tolerance: f32) {
    let reference = reference(file);
    for pass in PASSES {
        let (reranker, adapter) = load_for(fixture(base), adapter, &reference, pass);
        let difference = largest_difference(&reranker, adapter.as_ref(), &reference, name);
        assert!(difference < tolerance, "{name}, {pass:?}: the largest difference is {difference}");
    }
}

/// Checks a fixture with a base model and the adapters a and b.
fn check_family(folder: &str) {
    let [base, a, b, pairs] =
        ["base", "adapter-a", "adapter-b", "reference.json"].map(|name| format!("{folder}/{name}"));
    check(&base, None, &pairs, "base", 1e-4);
    check(&base, Some(&a), &pairs, "adapter_a", 1e-4);
    check(&base, Some(&b), &pairs, "adapter_b", 1e-4);
}

fn check_ids(base: &str, file: &str) {
    let reference = reference(file);
    let (reranker, _) = load(fixture(base), None, &reference);
    for pair in &reference.pairs {
        let encoded = &reranker.tokens(None, &pair.query, &[candidate(pair)]).unwrap()[0];
        assert_eq!(Some(&encoded.ids), pair.input_ids.as_ref(), "{}", pair.name);
        if let Some(type_ids) = &pair.token_type_ids {
            assert_eq!(&encoded.type_ids, type_ids, "{}", pair.name);
        }
    }
}

#[test]
fn llama_token_ids() {
    check_ids("tiny-llama/base", "tiny-llama/reference.json");
}

#[test]
fn llama_scores() {
    const PAIRS: &str = "tiny-llama/reference.json";
    check("tiny-llama/base", None, PAIRS, "base", 1e-4);
    check("tiny-llama/base", Some("tiny-llama/adapter-a"), PAIRS, "adapter_a", 1e-4);
    check("tiny-llama/base", Some("tiny-llama/adapter-b"), PAIRS, "adapter_b", 1e-4);
    check("tiny-llama/base-causal-sharded", Some("tiny-llama/adapter-a"), PAIRS, "adapter_a", 1e-4);
    check("tiny-llama/base-causal-sharded", Some("tiny-llama/adapter-b"), PAIRS, "adapter_b", 1e-4);
}

#[test]
fn llama_scores_with_rank_and_alpha_patterns() {
    const PAIRS: &str = "tiny-llama/reference-cd.json";
    check("tiny-llama/base", Some("tiny-llama/adapter-c"), PAIRS, "adapter_c", 1e-4);
    check("tiny-llama/base", Some("tiny-llama/adapter-d"), PAIRS, "adapter_d", 1e-4);
}

#[test]
fn both_config_layouts_are_one_model() {
    let folder = changed_copy("tiny-llama/base", |folder| {
        std::fs::rename(folder.join("config.transformers5.json"), folder.join("config.json")).unwrap();
    });
    let reference = reference("tiny-llama/reference.json");
    let (reranker, _) = load(folder.path(), None, &reference);
    assert!(largest_difference(&reranker, None, &reference, "base") < 1e-4);
}

#[test]
fn without_rope_scaling_the_scores_are_others() {
    let folder = changed_copy("tiny-llama/base", |folder| {
        edit_json(folder, "config.json", |config| config["rope_scaling"] = serde_json::Value::Null);
    });
    let reference = reference("tiny-llama/reference.json");
    let (reranker, _) = load(folder.path(), None, &reference);
    assert!(largest_difference(&reranker, None, &reference, "base_no_rope_scaling") < 1e-4);
    assert!(largest_difference(&reranker, None, &reference, "base") > 1.0);
}

#[test]
fn bert_token_ids() {
    check_ids("tiny-bert/base", "tiny-bert/reference.json");
}

#[test]
fn bert_scores() {
    check_family("tiny-bert");
}

#[test]
fn roberta_token_ids() {
    check_ids("tiny-roberta/roberta/base", "tiny-roberta/roberta/reference.json");
    check_ids("tiny-roberta/xlm-roberta/base", "tiny-roberta/xlm-roberta/reference.json");
}

#[test]
fn roberta_scores() {
    for model in ["roberta", "xlm-roberta"] {
        check_family(&format!("tiny-roberta/{model}"));
    }
}

#[test]
fn distilbert_and_electra_token_ids() {
    check_ids("tiny-encoders/distilbert/base", "tiny-encoders/distilbert/reference.json");
    check_ids("tiny-encoders/electra/base", "tiny-encoders/electra/reference.json");
}

#[test]
fn distilbert_and_electra_scores() {
    check_family("tiny-encoders/distilbert");
    check_family("tiny-encoders/electra");
}

const DECODERS: [&str; 4] = ["qwen2", "qwen3", "mistral", "gemma"];

#[test]
fn token_ids_of_the_relatives_of_llama() {
    for model in DECODERS {
        let [base, pairs] = ["base", "reference.json"].map(|name| format!("tiny-decoders/{model}/{name}"));
        check_ids(&base, &pairs);
    }
}

#[test]
fn scores_of_the_relatives_of_llama() {
    for model in DECODERS {
        check_family(&format!("tiny-decoders/{model}"));
    }
}

#[test]
fn bidirectional_llama_token_ids() {
    check_ids("tiny-llama-bidirectional/base", "tiny-llama-bidirectional/reference.json");
}

#[test]
fn bidirectional_llama_scores() {
    check_family("tiny-llama-bidirectional");
    let reference = reference("tiny-llama-bidirectional/reference.json");
    for (pooling, name) in [("cls", "base_cls"), ("last", "base_last")] {
        let folder = changed_copy("tiny-llama-bidirectional/base", |folder| {
            edit_json(folder, "config.json", |config| config["pooling"] = pooling.into());
        });
        for pass in PASSES {
            let (reranker, _) = load_for(folder.path(), None, &reference, pass);
            let difference = largest_difference(&reranker, None, &reference, name);
            assert!(difference < 1e-4, "{pooling}, {pass:?}: the largest difference is {difference}");
        }
    }
}

#[test]
fn gte_token_ids() {
    check_ids("tiny-gte/multilingual/base", "tiny-gte/multilingual/reference.json");
    check_ids("tiny-gte/english/base", "tiny-gte/english/reference.json");
}

#[test]
fn gte_scores() {
    check_family("tiny-gte/multilingual");
    check_family("tiny-gte/english");
}

/// The published rerankers whose prompts are built in, one with a `lorank.json`, and one of sentence-transformers with a
/// chat template and `LogitScore`.
const CAUSAL: [&str; 5] = ["qwen3-reranker", "mxbai-rerank-v2", "bge-reranker-v2-gemma", "mistral", "logit-score"];

/// The files of a causal fixture under the name of the published model.
fn causal_base(model: &str) -> Files {
    Files::folder(fixture(&format!("tiny-decoders/causal/{model}/base"))).unwrap().with_name(model)
}

fn load_causal(model: &str, reference: &Reference, pass: ForwardPass) -> ModelReranker {
    let (max_length, precision) = (Some(reference.max_length), Precision::F32.into());
    let options = LoadOptions { max_length, precision, pass, ..LoadOptions::default() };
    ModelReranker::load(&causal_base(model), options).unwrap()
}

#[test]
fn token_ids_of_causal_rerankers() {
    for model in CAUSAL {
        let reference = reference(&format!("tiny-decoders/causal/{model}/reference.json"));
        let reranker = load_causal(model, &reference, ForwardPass::Fast);
        for pair in &reference.pairs {
            let encoded = &reranker.tokens(None, &pair.query, &[candidate(pair)]).unwrap()[0];
            assert_eq!(Some(&encoded.ids), pair.input_ids.as_ref(), "{model}: {}", pair.name);
        }
    }
}

#[test]
fn scores_of_causal_rerankers_are_logits_of_tokens() {
    for (model, pass) in CAUSAL.iter().flat_map(|model| PASSES.map(|pass| (model, pass))) {
        let folder = format!("tiny-decoders/causal/{model}");
        let reference = reference(&format!("{folder}/reference.json"));
        let reranker = load_causal(model, &reference, pass);
        for (adapter, name) in [(None, "base"), (Some("adapter-a"), "adapter_a"), (Some("adapter-b"), "adapter_b")] {
            let id: Option<AdapterId> = adapter.map(|adapter| {
                let id: AdapterId = adapter.parse().unwrap();
                let files = Files::folder(fixture(&format!("{folder}/{adapter}"))).unwrap();
                reranker.add_adapter(id.clone(), &files).unwrap();
                id
            });
            let difference = largest_difference(&reranker, id.as_ref(), &reference, name);
            assert!(difference < 1e-4, "{model}, {name}, {pass:?}: the largest difference is {difference}");
        }
    }
}

#[test]
fn instructions_of_requests_are_part_of_the_model_version() {
    let instruction = "Find answers.";
    for model in CAUSAL {
        let reference = reference(&format!("tiny-decoders/causal/{model}/reference.json"));
        let reranker = load_causal(model, &reference, ForwardPass::Fast);
        let plain = reranker.resolve(None).unwrap();
        let version = reranker.instructed(plain.clone(), instruction).unwrap();
        assert_ne!(version.prompt_version, plain.prompt_version, "{model}");
        for pair in &reference.pairs {
            let query = Query { instruction: Some(instruction.to_owned()), ..Query::new(pair.query.clone()) };
            let group = Group { query: &query, model: &version, candidates: &[candidate(pair)] };
            let score = score_groups(&reranker, &[group])[0].as_ref().unwrap()[0].get();
            let difference = (score - pair.scores["instructed"]).abs();
            assert!(difference < 1e-4, "{model}: {}: {difference}", pair.name);
        }
    }
    let (reranker, _) = load(fixture("tiny-bert/base"), None, &reference("tiny-bert/reference.json"));
    let error = reranker.instructed(reranker.resolve(None).unwrap(), instruction).unwrap_err();
    assert!(error.to_string().contains("no place for an instruction"), "{error}");
}

#[test]
fn score_tokens_are_part_of_the_model_version() {
    let digest = |negative: &str| {
        let folder = changed_copy("tiny-decoders/causal/mistral/base", |folder| {
            edit_json(folder, "lorank.json", |file| file["score_tokens"]["negative"] = negative.into());
        });
        let files = Files::folder(folder.path()).unwrap().with_name("m");
        ModelReranker::load(&files, LoadOptions::default()).unwrap().resolve(None).unwrap()
    };
    assert_eq!(digest("no"), digest("no"));
    assert_ne!(digest("no"), digest("0"));
}

/// The special tokens of the template stay tokens, and those of the texts are plain text.
#[test]
fn special_tokens_in_texts_can_be_plain_text() {
    let folder = changed_copy("tiny-decoders/causal/mistral/base", |folder| {
        edit_json(folder, "lorank.json", |file| file["special_tokens_in_texts"] = "text".into());
    });
    let load =
        |path: &std::path::Path| ModelReranker::load(&Files::folder(path).unwrap(), LoadOptions::default()).unwrap();
    let [plain, usual] = [load(folder.path()), load(&fixture("tiny-decoders/causal/mistral/base"))];
    let ids = |reranker: &ModelReranker, query: &str, text: &str| {
        let candidate = Candidate::new("1", text, Score::new(0.0).unwrap());
        reranker.tokens(None, query, &[candidate]).unwrap().remove(0).ids
    };
    // `<s>` and `</s>` are 1 and 2; the template has one of each.
    let count = |ids: &[u32]| [1, 2].map(|special| ids.iter().filter(|id| **id == special).count());
    assert_eq!(count(&ids(&usual, "a <s> b", "c </s> d")), [2, 2]);
    assert_eq!(count(&ids(&plain, "a <s> b", "c </s> d")), [1, 1]);
    let long = "word </s> ".repeat(400);
    let found = ids(&plain, "a <s> b", &long);
    assert_eq!((count(&found), found.len()), ([1, 1], 360), "a document that is cut");
    let without = [("light bulb", "invented in 1879"), ("", "x"), ("q", "")];
    for (query, text) in without {
        assert_eq!(count(&ids(&plain, query, text)), [1, 1], "{query} {text}");
    }
    assert_ne!(plain.resolve(None).unwrap().prompt_version, usual.resolve(None).unwrap().prompt_version);
}

/// An adapter may read them in another way than its base model.
#[test]
fn an_adapter_reads_special_tokens_in_its_own_way() {
    let ids = |reranker: &ModelReranker, adapter: Option<&AdapterId>| {
        let candidate = Candidate::new("1", "c </s> d", Score::new(0.0).unwrap());
        reranker.tokens(adapter, "a <s> b", &[candidate]).unwrap().remove(0).ids
    };
    let with = |name: &str, way: &str| {
        changed_copy(name, |folder| {
            let path = folder.join("lorank.json");
            let file =
                std::fs::read(&path).map_or_else(|_| serde_json::json!({}), |it| serde_json::from_slice(&it).unwrap());
            let mut file: serde_json::Value = file;
            file["special_tokens_in_texts"] = way.into();
            std::fs::write(path, file.to_string()).unwrap();
        })
    };
    const BASE: &str = "tiny-decoders/causal/mistral/base";
    let folders = ["text", "tokens"].map(|way| with(BASE, way));
    let [as_text, as_tokens] = folders
        .each_ref()
        .map(|folder| ModelReranker::load(&Files::folder(folder.path()).unwrap(), LoadOptions::default()).unwrap());
    let [text, tokens] = [ids(&as_text, None), ids(&as_tokens, None)];
    assert_ne!(text, tokens);
    for (reranker, own, other, way) in [(&as_text, &text, &tokens, "tokens"), (&as_tokens, &tokens, &text, "text")] {
        let names: [AdapterId; 2] = ["plain", "other"].map(|name| name.parse().unwrap());
        let folder = with("tiny-decoders/causal/mistral/adapter-a", way);
        let files = [fixture("tiny-decoders/causal/mistral/adapter-a"), folder.path().to_owned()];
        for (name, files) in names.iter().zip(files) {
            reranker.add_adapter(name.clone(), &Files::folder(files).unwrap()).unwrap();
        }
        assert_eq!((&ids(reranker, Some(&names[0])), &ids(reranker, Some(&names[1]))), (own, other), "{way}");
        let [plain, other] = names.map(|name| reranker.resolve(Some(&name)).unwrap().prompt_version);
        assert_ne!(plain, other);
    }
}

#[test]
fn a_merged_adapter_of_a_causal_reranker_keeps_its_head() {
    let reference = reference("tiny-decoders/causal/qwen3-reranker/reference.json");
    let reranker = load_causal("qwen3-reranker", &reference, ForwardPass::Fast);
    let id: AdapterId = "merged".parse().unwrap();
    let files = Files::folder(fixture("tiny-decoders/causal/qwen3-reranker/adapter-b")).unwrap();
    reranker.add_merged_adapter(id.clone(), &files).unwrap();
    assert!(largest_difference(&reranker, Some(&id), &reference, "adapter_b") < 1e-4);
}

#[test]
fn modernbert_token_ids() {
    check_ids("tiny-modernbert/cls/base", "tiny-modernbert/cls/reference.json");
    check_ids("tiny-modernbert/mean/base", "tiny-modernbert/mean/reference.json");
}

#[test]
fn modernbert_scores() {
    for pooling in ["cls", "mean"] {
        check_family(&format!("tiny-modernbert/{pooling}"));
    }
}

#[test]
fn a_head_in_modules_gives_the_scores_of_sentence_transformers() {
    check_ids("tiny-modernbert/modules/base", "tiny-modernbert/modules/reference.json");
    check_family("tiny-modernbert/modules");
}

fn starter() -> ModelReranker {
    let files = |files: &'static [lorank_starter::File]| files.iter().map(|file| (file.name, file.bytes));
    let base = Files::embedded(lorank_starter::BASE_MODEL_NAME, files(lorank_starter::base_model()));
    let options = LoadOptions { precision: Precision::F32.into(), ..LoadOptions::default() };
    let reranker = ModelReranker::load(&base, options).unwrap();
    for adapter in lorank_starter::adapters() {
        reranker.add_adapter(adapter.id.parse().unwrap(), &Files::embedded(adapter.id, files(adapter.files))).unwrap();
    }
    reranker
}

#[test]
fn minilm_scores_on_real_pairs() {
    let reranker = starter();
    let difference = largest_difference(&reranker, None, &reference("minilm/reference.json"), "base");
    assert!(difference < 1e-3, "the largest difference is {difference}");
}

#[test]
fn minilm_adapters_score_real_pairs() {
    let reranker = starter();
    for (id, file) in [("minilm-qa", "minilm/adapter-qa.json"), ("minilm-science", "minilm/adapter-science.json")] {
        let difference = largest_difference(&reranker, Some(&id.parse().unwrap()), &reference(file), "adapter");
        assert!(difference < 1e-3, "{id}: the largest difference is {difference}");
    }
}

/// Run with `SMOLLM2=folder cargo test -p lorank-model --release --test parity -- --ignored`, the folder made by
/// `crates/lorank-testing/tools/real_models.py smollm2 folder`.
#[test]
#[ignore = "needs the 270 MB base model SmolLM2-135M-Instruct in the folder that SMOLLM2 names"]
fn smollm2_scores_real_pairs() {
    let folder = std::env::var("SMOLLM2").expect("SMOLLM2 names the folder of the base model");
    let reference = reference("smollm2/reference.json");
    let (reranker, id) = load(folder, Some("smollm2/adapter"), &reference);
    let difference = largest_difference(&reranker, id.as_ref(), &reference, "adapter");
    assert!(difference < 1e-3, "the largest difference is {difference}");
}
