//! Settings in a model's files, compared with the scores of sentence-transformers' CrossEncoder with the same files.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::path::Path;

use lorank_core::{Candidate, Group, Precision, Query, Reranker, Score, score_groups};
use lorank_model::{Files, LoadOptions, ModelReranker};
use lorank_testing::{TensorData, changed_copy, edit_json, edit_tensors, fixture};
use serde_json::{Map, Value, json};

/// Applies the changes of a case of `record_model_files.py`.
fn change(folder: &Path, changes: &Map<String, Value>) {
    for (file, edits) in changes {
        let path = folder.join(file);
        match edits {
            Value::Null => std::fs::remove_file(path).unwrap(),
            Value::Array(layers) if file == "biases" => add_biases(folder, layers),
            Value::Object(edits) if path.exists() => edit_json(folder, file, |value| edit(value, edits)),
            content => std::fs::write(path, content.to_string()).unwrap(),
        }
    }
}

fn edit(value: &mut Value, edits: &Map<String, Value>) {
    let fields = value.as_object_mut().unwrap();
    for (key, new) in edits {
        match key.strip_prefix('-') {
            Some(key) => drop(fields.remove(key)),
            None => drop(fields.insert(key.clone(), new.clone())),
        }
    }
}

fn add_biases(folder: &Path, layers: &[Value]) {
    edit_tensors(folder, "model.safetensors", |tensors| {
        let is_wanted = |name: &str| layers.iter().any(|layer| name.rsplit('.').nth(1) == layer.as_str());
        let wanted: Vec<(String, usize)> = tensors
            .iter()
            .filter(|(name, _)| is_wanted(name))
            .map(|(name, tensor)| (name.replace("weight", "bias"), tensor.shape[0]))
            .collect();
        for (name, n) in wanted {
            let values: Vec<f32> = (0..n).map(|i| (((i * 37) % 11) as f64 - 5.0) as f32 * 0.05).collect();
            tensors.insert(name, TensorData::f32(&[n], &values));
        }
    });
}

fn load(base: &str, changes: &Map<String, Value>) -> Result<ModelReranker, String> {
    let folder = changed_copy(&format!("{base}/base"), |folder| change(folder, changes));
    let options = LoadOptions { precision: Precision::F32.into(), ..LoadOptions::default() };
    let loaded = ModelReranker::load(&Files::folder(folder.path()).unwrap(), options);
    loaded.map_err(|error| lorank_core::with_causes(&error))
}

fn score(reranker: &ModelReranker, query: &str, document: &str) -> f32 {
    let model = reranker.resolve(None).unwrap();
    let (query, candidates) = (Query::new(query), [Candidate::new("1", document, Score::new(0.0).unwrap())]);
    let scores = score_groups(reranker, &[Group { query: &query, model: &model, candidates: &candidates }]);
    scores[0].as_ref().unwrap()[0].get()
}

#[test]
fn what_the_files_say_changes_scores_as_in_the_reference() {
    let bytes = std::fs::read(fixture("model-files/reference.json")).unwrap();
    let reference: Value = serde_json::from_slice(&bytes).unwrap();
    let cases = reference["cases"].as_array().unwrap();
    assert!(cases.len() > 70, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let (base, name) = (case["base"].as_str().unwrap(), case["name"].as_str().unwrap());
        let reranker =
            load(base, case["changes"].as_object().unwrap()).unwrap_or_else(|e| panic!("{base}, {name}: {e}"));
        for (pair, expected) in reference["pairs"].as_array().unwrap().iter().zip(case["scores"].as_array().unwrap()) {
            let (query, document) = (pair[0].as_str().unwrap(), pair[1].as_str().unwrap());
            let (found, expected) = (score(&reranker, query, document), expected.as_f64().unwrap() as f32);
            if (found - expected).abs() > 1e-4 {
                wrong.push(format!("{base}, {name}: {found} for {expected} ({query:.30})"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_the_reference_honors_and_this_does_not_is_refused_by_name() {
    let check = |base: &str, changes: Value, parts: &[&str]| {
        let error = load(base, changes.as_object().unwrap()).err().unwrap_or_else(|| panic!("{changes} is accepted"));
        for part in parts {
            assert!(error.contains(part), "{changes}: `{part}` is not in: {error}");
        }
        assert!(!error.contains('\n') && error.len() < 1_000, "{error}");
    };
    let bert = |file: &str, edits: Value, parts: &[&str]| check("tiny-bert", json!({ file: edits }), parts);
    let llama = |file: &str, edits: Value, parts: &[&str]| check("tiny-llama", json!({ file: edits }), parts);
    let two = json!({"0": "NO", "1": "YES"});
    bert("config.json", json!({"is_decoder": true}), &["`is_decoder` = true", "causal"]);
    bert("config.json", json!({"add_cross_attention": true}), &["`add_cross_attention`"]);
    bert("config.json", json!({"hidden_act": "mish"}), &["`mish`", "`gelu`"]);
    bert("config.json", json!({"hidden_act": 3}), &["`hidden_act` = 3"]);
    bert("config.json", json!({"id2label": two}), &["2 labels", "`score_label`", "1 (`YES`)"]);
    bert("config.json", json!({"num_labels": 3, "id2label": null}), &["3 labels"]);
    bert("config.json", json!({"type_vocab_size": 1}), &["`type_vocab_size` = 1", "`model_input_names`"]);
    bert("config.json", json!({"quantization_config": {"quant_method": "gptq"}}), &["`quantization_config`"]);
    bert("config.json", json!({"auto_map": {"AutoModel": "code.Model"}}), &["`auto_map`", "never run"]);
    bert("config.json", json!({"pruned_heads": {"0": [1]}}), &["`pruned_heads`"]);
    bert("tokenizer_config.json", json!({"do_lower_case": "no"}), &["`do_lower_case` = \"no\"", "true or false"]);
    bert("tokenizer_config.json", json!({"truncation_side": "middle"}), &["`truncation_side`", "`left` or `right`"]);
    bert("tokenizer_config.json", json!({"model_max_length": 0}), &["`model_max_length` = 0"]);
    bert("tokenizer_config.json", json!({"model_max_length": 3}), &["max_length 3", "no room"]);
    bert(
        "tokenizer_config.json",
        json!({"cls_token": "[NO]", "added_tokens_decoder": 5}),
        &["`added_tokens_decoder` = 5"],
    );
    bert("tokenizer_config.json", json!({"model_input_names": "ids"}), &["`model_input_names`"]);
    bert(
        "tokenizer.json",
        json!({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}),
        &["`WordPiece`", "`BPE`"],
    );
    llama("config.json", json!({"is_causal": false}), &["`is_causal` = false"]);
    llama("config.json", json!({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}), &["`dynamic`", "`llama3`"]);
    llama("config.json", json!({"rope_scaling": {"type": "longrope"}}), &["`longrope`"]);
    llama("config.json", json!({"rope_scaling": {"type": "linear", "factor": 0.0}}), &["`factor` = 0"]);
    llama("config.json", json!({"partial_rotary_factor": 0.5}), &["`partial_rotary_factor`"]);
    llama(
        "config.json",
        json!({"rope_scaling": {"type": "linear", "factor": 2, "partial_rotary_factor": 0.5}}),
        &["`partial_rotary_factor`"],
    );
    llama("config.json", json!({"attention_bias": true}), &["no tensor", "q_proj.bias"]);
    llama("config.json", json!({"mlp_bias": true}), &["no tensor", "gate_proj.bias"]);
    llama("config.json", json!({"attention_bias": "yes"}), &["`attention_bias` = \"yes\""]);
    llama("config.json", json!({"pad_token_id": "eos"}), &["`pad_token_id` = \"eos\""]);
    llama("config.json", json!({"hidden_act": "gelu"}), &["`gelu`", "`silu`"]);
    llama("config.json", json!({"id2label": two}), &["2 labels"]);
    llama("tokenizer_config.json", json!({"auto_map": {"AutoTokenizer": ["code.Slow", null]}}), &["`auto_map`"]);
    let encoder = |modules: Value, config: Value| {
        json!({"config_sentence_transformers.json": {"model_type": "CrossEncoder"}, "modules.json": modules,
            "sentence_bert_config.json": config})
    };
    let module = |kind: &str, path: &str| json!({"idx": 0, "name": "0", "path": path, "type": format!("x.{kind}")});
    check(
        "tiny-bert",
        encoder(json!([module("Transformer", ""), module("LogitScore", "1")]), json!({})),
        &["without its `1/config.json`"],
    );
    check(
        "tiny-bert",
        encoder(json!([module("Transformer", ""), module("SparseScore", "1")]), json!({})),
        &["SparseScore"],
    );
    check("tiny-bert", encoder(json!([module("Transformer", "../../x")]), json!({})), &["`path` = \"../../x\""]);
    check("tiny-bert", encoder(json!([module("Transformer", "/etc")]), json!({})), &["`path` = \"/etc\""]);
    let task = json!({"transformer_task": "text-generation"});
    check("tiny-bert", encoder(json!([module("Transformer", "")]), task), &["`transformer_task`"]);
    let prompts =
        json!({"config_sentence_transformers.json": {"model_type": "CrossEncoder", "default_prompt_name": "q"}});
    check("tiny-bert", prompts, &["`default_prompt_name`"]);
}

/// Each change of a module's file to the error that names it.
#[test]
fn modules_that_compute_something_else_are_refused_by_name() {
    let check = |file: &str, edits: Value, parts: &[&str]| {
        let changes = json!({ file: edits });
        let error = load("tiny-modernbert/modules", changes.as_object().unwrap());
        let error = error.err().unwrap_or_else(|| panic!("{changes} is accepted"));
        for part in parts {
            assert!(error.contains(part), "{changes}: `{part}` is not in: {error}");
        }
    };
    let (pooling, dense, score) = ("1_Pooling/config.json", "2_Dense/config.json", "4_Dense/config.json");
    check(pooling, json!({"pooling_mode": "max"}), &["`pooling_mode`", "max", "`mean`"]);
    check(pooling, json!({"pooling_mode": ["cls", "mean"]}), &["`pooling_mode`"]);
    check(pooling, json!({"-pooling_mode": null, "pooling_mode_lasttoken": true}), &["lasttoken"]);
    check(pooling, json!({"weights": 1}), &["1_Pooling", "`weights`"]);
    check(dense, json!({"activation_function": "torch.nn.modules.activation.ELU"}), &["ELU", "`GELU`"]);
    check(dense, json!({"use_residual": true}), &["`use_residual`", "2_Dense"]);
    check(dense, json!({"module_input_name": "token_embeddings"}), &["token_embeddings", "`sentence_embedding`"]);
    check(dense, json!({"bias": true}), &["no tensor `head.dense.bias`"]);
    check(score, json!({"activation_function": "torch.nn.modules.activation.Sigmoid"}), &["Sigmoid", "`Identity`"]);
    check(score, json!({"module_output_name": "logits"}), &["logits", "`scores`"]);
    check(dense, Value::Null, &["without its `2_Dense/config.json`"]);
    check("2_Dense/model.safetensors", Value::Null, &["2_Dense"]);
    check("sentence_bert_config.json", json!({"transformer_task": "sequence-classification"}), &["`transformer_task`"]);
    let module = |kind: &str, path: &str| json!({"idx": 0, "name": "0", "path": path, "type": format!("x.{kind}")});
    let modules = |changed: usize, kind: &str, path: &str| {
        let own = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Dense", "2_Dense"), ("LayerNorm", "3_LayerNorm")];
        let own = own.into_iter().chain([("Dense", "4_Dense")]).enumerate();
        let all = own.map(|(n, (own, at))| if n == changed { module(kind, path) } else { module(own, at) });
        Value::Array(all.collect())
    };
    let check_modules = |list: Value, part: &str| {
        let folder = changed_copy("tiny-modernbert/modules/base", |folder| {
            std::fs::write(folder.join("modules.json"), list.to_string()).unwrap();
        });
        let error = ModelReranker::load(&Files::folder(folder.path()).unwrap(), LoadOptions::default()).unwrap_err();
        assert!(error.to_string().contains(part), "{part}: {error}");
    };
    check_modules(modules(3, "Normalize", "3_Normalize"), "`Normalize`");
    check_modules(modules(3, "Dense", "3_LayerNorm"), "Transformer, Pooling, Dense, Dense, Dense");
    check_modules(modules(2, "Dense", "../2_Dense"), "`path` = \"../2_Dense\"");
    check_modules(modules(0, "Transformer", "0_Transformer"), "`path` = \"0_Transformer\"");
}

/// The older flags of pooling are the same model.
#[test]
fn older_pooling_flags_are_read() {
    let pooling = json!({"word_embedding_dimension": 32, "pooling_mode_mean_tokens": true, "pooling_mode_cls_token": false,
        "-pooling_mode": null, "-embedding_dimension": null});
    let changes = json!({"1_Pooling/config.json": pooling});
    let older = load("tiny-modernbert/modules", changes.as_object().unwrap()).unwrap();
    let own = load("tiny-modernbert/modules", &Map::new()).unwrap();
    assert_eq!(score(&older, "light bulb", "sold in 1879"), score(&own, "light bulb", "sold in 1879"));
    let first = json!({"1_Pooling/config.json": {"pooling_mode": "cls"}});
    let first = load("tiny-modernbert/modules", first.as_object().unwrap()).unwrap();
    assert_ne!(score(&first, "light bulb", "sold in 1879"), score(&own, "light bulb", "sold in 1879"));
    assert_ne!(first.base().digest, own.base().digest);
}

/// Checkpoints of a backbone alone, and with TensorFlow's names of norms.
#[test]
fn other_names_of_tensors_are_one_model() {
    let check = |base: &str, rename: &dyn Fn(&str) -> String| {
        let folder = changed_copy(&format!("{base}/base"), |folder| {
            edit_tensors(folder, "model.safetensors", |tensors| {
                *tensors = std::mem::take(tensors).into_iter().map(|(name, tensor)| (rename(&name), tensor)).collect();
            });
        });
        let files = |path: &Path| Files::folder(path).unwrap().with_name("m");
        let options = || LoadOptions { precision: Precision::F32.into(), ..LoadOptions::default() };
        let renamed = ModelReranker::load(&files(folder.path()), options()).unwrap();
        let own = ModelReranker::load(&files(&fixture(&format!("{base}/base"))), options()).unwrap();
        assert_eq!(score(&renamed, "light bulb", "sold in 1879"), score(&own, "light bulb", "sold in 1879"), "{base}");
        assert_eq!(renamed.base().digest, own.base().digest, "{base}");
    };
    check("tiny-bert", &|name| name.replace("bert.", ""));
    check("tiny-bert", &|name| {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
    });
    check("tiny-bert", &|name| name.replace("bert.", "").replace("LayerNorm.weight", "LayerNorm.gamma"));
    check("tiny-llama", &|name| name.replace("model.", ""));
}

#[test]
fn an_index_of_shards_names_plain_files_alone() {
    for shard in [
        "../x.safetensors",
        "/etc/passwd",
        "a/b.safetensors",
        "..",
        "",
        "x.bin",
        "\\x.safetensors",
        ".hidden.safetensors",
    ] {
        let folder = changed_copy("tiny-llama/base-causal-sharded", |folder| {
            edit_json(folder, "model.safetensors.index.json", |index| {
                index["weight_map"]["model.norm.weight"] = json!(shard);
            });
        });
        let error = ModelReranker::load(&Files::folder(folder.path()).unwrap(), LoadOptions::default()).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("`weight_map`") && message.contains("in the same folder"), "{shard}: {message}");
    }
}
