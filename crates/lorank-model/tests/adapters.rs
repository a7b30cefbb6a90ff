//! All forms of PEFT adapters, compared with PEFT's scores; and damaged adapters.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::path::Path;

use lorank_core::{AdapterId, Candidate, Group, Precision, Query, Reranker, Score, score_groups};
use lorank_model::{AdapterFacts, Files, ForwardPass, LoadOptions, ModelReranker};
use lorank_testing::{Dtype, TensorData, Tensors, changed_copy, copy_fixture, edit_json, edit_tensors, fixture};
use serde_json::{Value, json};

const WEIGHTS: &str = "adapter_model.safetensors";

fn reference() -> Value {
    serde_json::from_slice(&std::fs::read(fixture("adapters/reference.json")).unwrap()).unwrap()
}

fn load(base: &str, pass: ForwardPass, max_length: impl Into<Option<usize>>) -> ModelReranker {
    let options =
        LoadOptions { precision: Precision::F32.into(), max_length: max_length.into(), pass, ..LoadOptions::default() };
    ModelReranker::load(&Files::folder(fixture(&format!("{base}/base"))).unwrap(), options).unwrap()
}

fn scores(reranker: &ModelReranker, adapter: Option<&AdapterId>, pairs: &[Value]) -> Vec<f32> {
    let model = reranker.resolve(adapter).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let queries: Vec<Query> = pairs.iter().map(|pair| Query::new(text(&pair[0]))).collect();
    let candidates: Vec<[Candidate; 1]> =
        pairs.iter().map(|pair| [Candidate::new("1", text(&pair[1]), Score::new(0.0).unwrap())]).collect();
    let groups: Vec<Group<'_>> =
        queries.iter().zip(&candidates).map(|(query, candidates)| Group { query, model: &model, candidates }).collect();
    score_groups(reranker, &groups).into_iter().map(|scores| scores.unwrap()[0].get()).collect()
}

#[test]
fn what_peft_writes_scores_as_peft_does() {
    let reference = reference();
    let (pairs, max_length) = (reference["pairs"].as_array().unwrap(), reference["max_length"].as_u64().unwrap());
    let mut wrong = Vec::new();
    for pass in [ForwardPass::Fast, ForwardPass::Reference, ForwardPass::GpuOnHost] {
        for base in ["tiny-bert", "tiny-llama"] {
            let reranker = load(base, pass, usize::try_from(max_length).unwrap());
            for case in reference["cases"].as_array().unwrap().iter().filter(|case| case["base"] == base) {
                let name = case["name"].as_str().unwrap();
                let files = Files::folder(fixture(&format!("adapters/{name}"))).unwrap();
                AdapterFacts::read(&files).unwrap_or_else(|error| panic!("{name}: {error}"));
                let (own, merged): (AdapterId, AdapterId) =
                    (name.parse().unwrap(), format!("{name}-merged").parse().unwrap());
                reranker.add_adapter(own.clone(), &files).unwrap_or_else(|error| panic!("{name}: {error}"));
                reranker.add_merged_adapter(merged.clone(), &files).unwrap_or_else(|error| panic!("{name}: {error}"));
                let expected = case["scores"].as_array().unwrap().iter().map(|score| score.as_f64().unwrap() as f32);
                let found = scores(&reranker, Some(&own), pairs);
                let merged = scores(&reranker, Some(&merged), pairs);
                for ((expected, found), merged) in expected.zip(found).zip(merged) {
                    if (found - expected).abs() > 1e-4 || (merged - expected).abs() > 1e-4 {
                        wrong.push(format!("{name}, {pass:?}: {found}, merged {merged}, for {expected}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Adapters of all forms share batches without affecting each other's rows.
#[test]
fn a_batch_of_many_forms_scores_each_pair_as_alone() {
    let reference = reference();
    let pairs = reference["pairs"].as_array().unwrap();
    let reranker = load("tiny-bert", ForwardPass::Fast, 96);
    let names: Vec<AdapterId> = ["bert-everything", "bert-norms-saved", "bert-lora-bias", "bert-all-tables"]
        .into_iter()
        .map(|name| {
            let id: AdapterId = name.parse().unwrap();
            reranker.add_adapter(id.clone(), &Files::folder(fixture(&format!("adapters/{name}"))).unwrap()).unwrap();
            id
        })
        .collect();
    let models: Vec<_> = names.iter().map(Some).chain([None]).map(|id| reranker.resolve(id).unwrap()).collect();
    let query = Query::new(pairs[0][0].as_str().unwrap());
    let candidates: Vec<Candidate> = pairs
        .iter()
        .enumerate()
        .map(|(n, pair)| Candidate::new(n.to_string(), pair[1].as_str().unwrap().to_owned(), Score::new(0.0).unwrap()))
        .collect();
    let groups: Vec<Group<'_>> =
        models.iter().map(|model| Group { query: &query, model, candidates: &candidates }).collect();
    let together = score_groups(&reranker, &groups);
    for (group, together) in groups.iter().zip(together) {
        for (candidate, score) in candidates.iter().zip(together.unwrap()) {
            let alone = Group { candidates: std::slice::from_ref(candidate), ..*group };
            let alone = score_groups(&reranker, &[alone]).remove(0).unwrap()[0];
            assert_eq!(alone.get().to_bits(), score.get().to_bits(), "{:?}", group.model.adapter);
        }
    }
}

/// The error for a changed copy of tiny-llama's adapter, checked without a base model as in `adapters add`.
fn fault(change: impl FnOnce(&Path)) -> String {
    let folder = changed_copy("tiny-llama/adapter-a", change);
    let read = AdapterFacts::read(&Files::folder(folder.path()).unwrap());
    read.map_or_else(|error| lorank_core::with_causes(&error), |_| "nothing".to_owned())
}

#[test]
fn a_broken_adapter_is_known_without_its_base_model() {
    const A: &str = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
    const B: &str = "base_model.model.model.layers.1.mlp.down_proj.lora_B.weight";
    const HEAD: &str = "base_model.model.score.weight";
    let tensors = |change: &dyn Fn(&mut Tensors)| fault(|folder| edit_tensors(folder, WEIGHTS, change));
    let config =
        |key: &str, value: Value| fault(|folder| edit_json(folder, "adapter_config.json", |it| it[key] = value));
    let check = |fault: String, parts: &[&str]| {
        for part in parts {
            assert!(fault.contains(part), "`{part}` is not in: {fault}");
        }
    };
    check(fault(|_| ()), &["nothing"]);
    check(tensors(&|it| drop(it.remove(A))), &["no tensor", "q_proj.lora_A.weight"]);
    check(tensors(&|it| drop(it.remove(B))), &["no tensor", "down_proj.lora_B.weight"]);
    check(tensors(&|it| drop(it.remove(HEAD))), &["the head `classifier` or `score`", "are missing"]);
    check(tensors(&|it| it.get_mut(A).unwrap().set(5, f32::NAN)), &[A, "NaN"]);
    check(tensors(&|it| it.get_mut(B).unwrap().set(5, f32::NEG_INFINITY)), &[B, "infinity"]);
    check(tensors(&|it| it.get_mut(HEAD).unwrap().set(0, f32::INFINITY)), &[HEAD, "infinity"]);
    check(
        tensors(&|it| drop(it.insert(A.into(), TensorData::zeros(Dtype::F32, &[8, 64])))),
        &[A, "[8, 64]", "[16, 64]"],
    );
    check(tensors(&|it| drop(it.insert(B.into(), TensorData::zeros(Dtype::F32, &[64])))), &[B, "[64]"]);
    check(
        tensors(&|it| drop(it.insert("extra.weight".into(), TensorData::zeros(Dtype::F32, &[1])))),
        &["`extra.weight`"],
    );
    let stray = "base_model.model.model.layers.0.self_attn.x_proj.lora_A.weight";
    let both = |it: &mut Tensors| {
        drop(it.insert(stray.into(), TensorData::zeros(Dtype::F32, &[16, 64])));
        drop(it.insert(stray.replace("lora_A", "lora_B"), TensorData::zeros(Dtype::F32, &[64, 16])));
    };
    check(tensors(&both), &["x_proj", "`target_modules`"]);
    check(tensors(&|it| it.retain(|name, _| name == HEAD)), &["no low-rank update"]);
    check(config("r", json!(0)), &["`r` = 0"]);
    check(config("r", json!(8)), &["lora_A.weight", "has shape [16, ", "but [8, "]);
    check(config("r", json!(-1)), &["`r` = -1"]);
    check(config("rank_pattern", json!({"q_proj": 0})), &["`rank_pattern`"]);
    check(config("rank_pattern", json!({"q_proj": 4})), &["q_proj.lora_A.weight", "[4, 64]"]);
    check(config("target_modules", json!(["q_proj"])), &["`target_modules`"]);
    check(config("target_modules", json!([])), &["`target_modules`"]);
    check(config("use_dora", json!(true)), &["`use_dora`"]);
}

#[test]
fn an_adapter_that_does_not_fit_its_base_model_says_in_what() {
    let check = |name: &str, change: &dyn Fn(&Path), parts: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        copy_fixture(&format!("adapters/{name}"), folder.path());
        change(folder.path());
        let base = if name.starts_with("bert") { "tiny-bert" } else { "tiny-llama" };
        let error =
            load(base, ForwardPass::Fast, 96).add_adapter("x".parse().unwrap(), &Files::folder(folder.path()).unwrap());
        let message = lorank_core::with_causes(&error.unwrap_err());
        for part in parts {
            assert!(message.contains(part), "{name}: `{part}` is not in: {message}");
        }
    };
    let tensors = |change: fn(&mut Tensors)| move |folder: &Path| edit_tensors(folder, WEIGHTS, change);
    let words = "base_model.model.model.embed_tokens.weight";
    check(
        "llama-embeddings-saved",
        &tensors(|it| it.values_mut().find(|tensor| tensor.shape == [1024, 64]).unwrap().set(3, 9.0)),
        &["embeddings that differ", words],
    );
    check(
        "bert-norms-saved",
        &tensors(|it| it.retain(|name, _| !name.contains("layer.1.output.LayerNorm.weight"))),
        &["layer.1.output.LayerNorm"],
    );
    check(
        "bert-pooler-saved",
        &tensors(|it| it.retain(|name, _| !name.contains("pooler"))),
        &["`bert.pooler.dense`", "are missing"],
    );
    check("bert-lora-bias", &tensors(|it| it.retain(|name, _| !name.ends_with("query.lora_B.bias"))), &["lora_B.bias"]);
    check("bert-words", &tensors(|it| it.retain(|name, _| !name.contains("embedding_B"))), &["lora_embedding_B"]);
    check(
        "llama-bias-all",
        &tensors(|it| drop(it.insert("base_model.model.model.norm.bias".into(), TensorData::zeros(Dtype::F32, &[64])))),
        &["norm.bias", "belongs to no module"],
    );
}

/// Weights that saturate the model, and a head of zeros, leave no order.
#[test]
fn scores_that_order_nothing_are_found() {
    let reranker = load("tiny-bert", ForwardPass::Fast, 96);
    let check = |part: &str, value: f32, expected: Option<&str>| {
        let folder = changed_copy("adapters/bert-gaussian", |folder| {
            edit_tensors(folder, WEIGHTS, |it| {
                for (_, tensor) in it.iter_mut().filter(|(name, _)| name.contains(part)) {
                    let n_values = tensor.shape.iter().product();
                    *tensor = TensorData::f32(&tensor.shape, &vec![value; n_values]);
                }
            });
        });
        let adapter = reranker.load_adapter(&"x".parse().unwrap(), &Files::folder(folder.path()).unwrap()).unwrap();
        let found = reranker.probe(Some(&adapter));
        match (&found, expected) {
            (Some(found), Some(expected)) => assert!(found.contains(expected), "{part} of {value}: {found}"),
            _ => assert_eq!(found.as_deref(), expected, "{part} of {value}"),
        }
    };
    check("nothing", 0.0, None);
    check("lora_B", 0.01, None);
    check("lora_B", 1e30, Some("its weights may be far too large"));
    check("classifier.weight", f32::MAX, Some("its weights may be far too large"));
    check("classifier", 0.0, Some("produces the score 0 for different texts"));
}

/// An adapter that was trained on the backbone alone names its modules without the head's prefix.
#[test]
fn names_without_the_prefix_of_the_base_model_are_found() {
    let folder = tempfile::tempdir().unwrap();
    copy_fixture("adapters/bert-gaussian", folder.path());
    edit_tensors(folder.path(), WEIGHTS, |it| {
        *it = std::mem::take(it).into_iter().map(|(name, tensor)| (name.replace("bert.", ""), tensor)).collect();
    });
    let reranker = load("tiny-bert", ForwardPass::Fast, 96);
    let reference = reference();
    let ids: Vec<AdapterId> = ["own", "bare"].map(|id| id.parse().unwrap()).to_vec();
    reranker.add_adapter(ids[0].clone(), &Files::folder(fixture("adapters/bert-gaussian")).unwrap()).unwrap();
    reranker.add_adapter(ids[1].clone(), &Files::folder(folder.path()).unwrap()).unwrap();
    let pairs = reference["pairs"].as_array().unwrap();
    assert_eq!(scores(&reranker, Some(&ids[0]), pairs), scores(&reranker, Some(&ids[1]), pairs));
}

/// An adapter with its own tokenizer is encoded with it; a copy of the base model's tokenizer changes nothing.
#[test]
fn an_adapter_has_its_own_tokenizer_where_it_brings_one() {
    let reference = reference();
    let pairs = reference["pairs"].as_array().unwrap();
    let reranker = load("tiny-bert", ForwardPass::Fast, None);
    let plain: AdapterId = "plain".parse().unwrap();
    reranker.add_adapter(plain.clone(), &Files::folder(fixture("adapters/bert-gaussian")).unwrap()).unwrap();
    let with_tokenizer = |id: &str, change: &dyn Fn(&Path)| {
        let folder = tempfile::tempdir().unwrap();
        copy_fixture("adapters/bert-gaussian", folder.path());
        for file in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"] {
            std::fs::copy(fixture("tiny-bert/base").join(file), folder.path().join(file)).unwrap();
        }
        change(folder.path());
        let id: AdapterId = id.parse().unwrap();
        let files = Files::folder(folder.path()).unwrap();
        let summary = reranker.add_adapter(id.clone(), &files).unwrap();
        let facts = AdapterFacts::read(&files).unwrap();
        assert_eq!(facts.digest, summary.version.digest);
        assert!(facts.files.iter().any(|file| file.name == "tokenizer.json"));
        (scores(&reranker, Some(&id), pairs), summary.max_length)
    };
    let same = with_tokenizer("same", &|_| ());
    let cased = with_tokenizer("cased", &|folder| {
        edit_json(folder, "tokenizer_config.json", |it| it["do_lower_case"] = json!(false))
    });
    let short = with_tokenizer("short", &|folder| {
        edit_json(folder, "tokenizer_config.json", |it| it["model_max_length"] = json!(20))
    });
    assert_eq!(same.0, scores(&reranker, Some(&plain), pairs));
    assert_eq!((same.1, short.1), (256, 20));
    assert!(cased.0[0] != same.0[0] && short.0[2] != same.0[2]);
}
