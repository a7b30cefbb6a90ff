//! Every invalid input has an error that names it.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::path::Path;

use lorank_core::{AdapterId, Candidate, ErrorKind, Group, Precision, Query, Reranker, Score, score_groups};
use lorank_model::{DeviceChoice, Files, ForwardPass, LoadOptions, ModelError, ModelReranker, OtherBase};
use lorank_testing::{Dtype, TensorData, changed_copy, edit_json, edit_tensors, fixture, truncate};
use serde_json::{Value, json};

const WEIGHTS: &str = "model.safetensors";
const ADAPTER: &str = "adapter_model.safetensors";

fn message(error: &ModelError) -> String {
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    message
}

fn check_says(error: &ModelError, parts: &[&str]) {
    let message = message(error);
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
    assert!(!message.contains('\n'), "one line: {message}");
    assert!(!message.contains("``"), "quoted once: {message}");
}

/// Loading the changed base fails with a message that contains all of `parts`.
fn check_base(fixture: &str, change: impl FnOnce(&Path), parts: &[&str]) {
    let folder = changed_copy(fixture, change);
    let loaded = ModelReranker::load(&Files::folder(folder.path()).unwrap(), LoadOptions::default());
    check_says(&loaded.err().unwrap_or_else(|| panic!("loaded, but should say {parts:?}")), parts);
}

/// Adding the changed adapter to the tiny Llama fails with a message that contains all of `parts`.
fn check_adapter(change: impl FnOnce(&Path), parts: &[&str]) {
    let folder = changed_copy("tiny-llama/adapter-a", change);
    let reranker = tiny_llama(LoadOptions::default());
    let added = reranker.add_adapter(id("under-test"), &Files::folder(folder.path()).unwrap());
    check_says(&added.err().unwrap_or_else(|| panic!("added, but should say {parts:?}")), parts);
    assert!(reranker.adapters().is_empty(), "an adapter that fails leaves nothing behind");
}

fn tiny_llama(options: LoadOptions) -> ModelReranker {
    ModelReranker::load(&Files::folder(fixture("tiny-llama/base")).unwrap(), options).unwrap()
}

fn id(text: &str) -> AdapterId {
    text.parse().unwrap()
}

fn set(folder: &Path, key: &str, value: Value) {
    let file = if folder.join("config.json").exists() { "config.json" } else { "adapter_config.json" };
    edit_json(folder, file, |config| config[key] = value);
}

fn write(folder: &Path, file: &str, content: impl AsRef<[u8]>) {
    std::fs::write(folder.join(file), content).unwrap();
}

fn remove(folder: &Path, file: &str) {
    std::fs::remove_file(folder.join(file)).unwrap();
}

#[test]
fn folders() {
    let error = Files::folder("/no/such/folder").unwrap_err();
    check_says(&error, &["no model folder", "/no/such/folder"]);
    check_base("tiny-llama/base", |f| remove(f, "config.json"), &["no `config.json`", "a model folder has"]);
    check_base("tiny-llama/base", |f| remove(f, "tokenizer.json"), &["no `tokenizer.json`", "save_pretrained"]);
    check_base("tiny-llama/base", |f| remove(f, WEIGHTS), &["no `model.safetensors`"]);
    check_base(
        "tiny-llama/base",
        |f| write(f, "config.json", "{"),
        &["`config.json`", "the text ends within an object at line 1"],
    );
    check_base(
        "tiny-llama/base",
        |f| write(f, "config.json", "[]"),
        &["`config.json`", "must be an object, not an array"],
    );
    check_base("tiny-llama/base", |f| write(f, "tokenizer.json", "{}"), &["tokenizer"]);
    check_adapter(|f| remove(f, "adapter_config.json"), &["no `adapter_config.json`", "PEFT"]);
    check_adapter(|f| remove(f, ADAPTER), &["no `adapter_model.safetensors`"]);
}

#[test]
fn pickles_are_refused_with_the_reason() {
    let rename = |from: &'static str, to: &'static str| {
        move |folder: &Path| std::fs::rename(folder.join(from), folder.join(to)).unwrap()
    };
    check_base("tiny-llama/base", rename(WEIGHTS, "pytorch_model.bin"), &["`pytorch_model.bin`", "can run code"]);
    check_adapter(rename(ADAPTER, "adapter_model.bin"), &["`adapter_model.bin`", "can run code", "safetensors"]);
}

#[test]
fn architectures() {
    let base = "tiny-llama/base";
    let gpt2 = |names: Value| {
        move |f: &Path| {
            set(f, "model_type", json!("gpt2"));
            set(f, "architectures", names);
        }
    };
    check_base(
        base,
        gpt2(json!(["X", "Y"])),
        &["is a `gpt2` model (`X`, `Y`); the supported architectures are `llama`"],
    );
    check_base(base, gpt2(Value::Null), &["is a `gpt2` model; the supported", "`bert`"]);
    check_base(base, gpt2(json!("X")), &["is a `gpt2` model; the supported"]);
    check_base(base, |f| set(f, "model_type", Value::Null), &[" without a `model_type`; the supported"]);
    check_base(base, |f| set(f, "hidden_act", json!("gelu")), &["`gelu`", "`silu`"]);
    check_base(base, |f| set(f, "rope_scaling", json!({"rope_type": "yarn"})), &["`yarn`", "`llama3`"]);
    check_base(base, |f| set(f, "num_key_value_heads", json!(3)), &["4 attention heads", "3 key-value heads"]);
    check_base(base, |f| set(f, "num_attention_heads", json!(0)), &["`num_attention_heads` = 0"]);
    check_base(
        base,
        |f| set(f, "hidden_size", json!("wide")),
        &["`config.json`", "`hidden_size` must be a whole number"],
    );
    check_base("tiny-bert/base", |f| set(f, "hidden_act", json!("mish")), &["`mish`"]);
    check_base("tiny-bert/base", |f| set(f, "position_embedding_type", json!("relative_key")), &["\"relative_key\""]);
    check_base("tiny-bert/base", |f| set(f, "num_attention_heads", json!(7)), &["7 attention heads"]);
}

#[test]
fn relatives_of_bert() {
    let base = "tiny-encoders/distilbert/base";
    check_base(base, |f| set(f, "activation", json!("mish")), &["`activation` = `mish`"]);
    check_base(base, |f| set(f, "n_heads", json!(5)), &["32 hidden units over 5 attention heads"]);
    check_base(base, |f| set(f, "dim", json!(64)), &["word_embeddings.weight", "[1024, 64]"]);
    check_base(base, |f| set(f, "is_decoder", json!(true)), &["`is_decoder` = true"]);
    let base = "tiny-encoders/electra/base";
    check_base(base, |f| set(f, "embedding_size", json!("wide")), &["`embedding_size` = \"wide\""]);
    check_base(base, |f| set(f, "embedding_size", json!(0)), &["`embedding_size` = 0"]);
    check_base(base, |f| set(f, "embedding_size", json!(32)), &["word_embeddings.weight", "[1024, 32]"]);
    check_base(base, |f| set(f, "type_vocab_size", json!(1)), &["`type_vocab_size` = 1"]);
}

#[test]
fn relatives_of_llama() {
    let fails = |model: &str, key: &'static str, value: Value, parts: &[&str]| {
        check_base(&format!("tiny-decoders/{model}/base"), |folder| set(folder, key, value), parts);
    };
    fails("mistral", "hidden_act", json!("gelu"), &["`hidden_act` = `gelu`", "`silu`"]);
    fails("mistral", "sliding_window", json!(0), &["`sliding_window` = 0", "above zero or null"]);
    fails("mistral", "layer_types", json!(["full_attention"]), &["`layer_types`"]);
    fails("mistral", "head_dim", json!(16), &["q_proj.weight", "[48, 32]", "[64, 32]"]);
    fails("qwen2", "layer_types", json!(["full_attention"]), &["`layer_types`", "each of 3 layers"]);
    let all = |folder: &Path| {
        set(folder, "layer_types", Value::Null);
        set(folder, "max_window_layers", json!("all"));
    };
    check_base("tiny-decoders/qwen2/base", all, &["`max_window_layers` = \"all\""]);
    fails("qwen2", "layer_types", json!(["a", "b", "c"]), &["`layer_types`", "`use_sliding_window`"]);
    fails("qwen2", "use_sliding_window", json!("yes"), &["`use_sliding_window` = \"yes\""]);
    fails(
        "qwen3",
        "layer_types",
        json!(["sliding_attention", "sliding_attention", "sliding_attention"]),
        &["`layer_types`", "`use_sliding_window`"],
    );
    fails("qwen3", "head_dim", json!(15), &["15 dimensions", "even"]);
    fails("mistral", "num_hidden_layers", json!(100_000), &["`num_hidden_layers` = 100000", "at most"]);
    fails("gemma", "hidden_act", json!("silu"), &["`hidden_act` = `silu`", "`gelu`"]);
    fails("gemma", "use_bidirectional_attention", json!(true), &["`use_bidirectional_attention`", "later tokens"]);
    fails("gemma", "model_type", json!("gemma2"), &["`model_type` = \"gemma2\"", "soft caps", "Gemma 1"]);
    fails("gemma", "model_type", json!("gemma3_text"), &["\"gemma3_text\"", "Gemma 1"]);
    fails("gemma", "model_type", json!("qwen"), &["is a `qwen` model", "(nearest: `qwen2`)", "`mistral`"]);
}

/// Loading a causal base model with this `lorank.json` fails with a message that contains all of `parts`.
fn check_file(file: Value, parts: &[&str]) {
    let write = |folder: &Path| std::fs::write(folder.join("lorank.json"), file.to_string()).unwrap();
    check_base("tiny-decoders/causal/mistral/base", write, parts);
}

#[test]
fn score_tokens_and_templates() {
    let tokens = |positive: Value| json!({"score_tokens": {"positive": positive, "negative": "no"}});
    check_file(tokens(json!("certainly not")), &["`score_tokens`", "`certainly not` is", "tokens", "name one token"]);
    check_file(tokens(json!("no")), &["are the same"]);
    check_file(tokens(json!(100_000)), &["1024 tokens", "100000"]);
    check_file(json!({"score_tokens": {"positive": "yes", "neutral": "no"}}), &["`lorank.json`", "neutral"]);
    check_file(json!({"template": "{query} {document}", "max_length": 3}), &["max_length 3", "no room"]);
    check_file(json!({"template": "{query} {document} {instruction}"}), &["needs an `instruction`"]);
    let encoder = |folder: &Path| {
        let file = json!({"score_tokens": {"positive": 5}});
        std::fs::write(folder.join("lorank.json"), file.to_string()).unwrap();
    };
    check_base("tiny-bert/base", encoder, &["`score_tokens`", "no causal model"]);
    let untied = |folder: &Path| {
        edit_tensors(folder, WEIGHTS, |tensors| drop(tensors.remove("lm_head.weight")));
    };
    check_base("tiny-decoders/causal/mistral/base", untied, &["no tensor `lm_head.weight`"]);
    let left = |folder: &Path| {
        edit_json(folder, "tokenizer_config.json", |config| config["truncation_side"] = json!("left"));
    };
    check_base("tiny-decoders/causal/mistral/base", left, &["cuts off the start", "`truncation_side`"]);
}

#[test]
fn changes_of_token_logits() {
    let base = Files::folder(fixture("tiny-decoders/causal/qwen3-reranker/base")).unwrap().with_name("qwen3-reranker");
    let reranker = ModelReranker::load(&base, LoadOptions::default()).unwrap();
    let refused = |change: &dyn Fn(&Path), parts: &[&str]| {
        let folder = changed_copy("tiny-decoders/causal/qwen3-reranker/adapter-b", change);
        let added = reranker.add_adapter(id("a"), &Files::folder(folder.path()).unwrap());
        check_says(&added.unwrap_err(), parts);
    };
    refused(&|f| set(f, "ensure_weight_tying", json!(true)), &["`ensure_weight_tying` = true", "two tokens"]);
    let head = |folder: &Path| {
        write(folder, "lorank.json", r#"{"score_tokens": {"positive": "yes"}}"#);
        edit_tensors(folder, ADAPTER, |tensors| {
            drop(tensors.insert("base_model.model.score.weight".into(), TensorData::zeros(Dtype::F32, &[1, 32])))
        });
    };
    refused(&head, &["trained score head", "remove one of them"]);
}

#[test]
fn gguf_files_are_refused_with_the_way_to_safetensors() {
    let parts = ["`model-q4.gguf`", "GGUF", "gguf_file=\"model-q4.gguf\"", "save_pretrained"];
    let rename = |folder: &Path| std::fs::rename(folder.join(WEIGHTS), folder.join("model-q4.gguf")).unwrap();
    check_base("tiny-llama/base", rename, &parts);
    let alone = |folder: &Path| {
        rename(folder);
        remove(folder, "config.json");
    };
    check_base("tiny-llama/base", alone, &parts);
    let folder = changed_copy("tiny-llama/base", rename);
    check_says(&Files::folder(folder.path().join("model-q4.gguf")).unwrap_err(), &parts);
}

#[test]
fn modernberts() {
    let cls = |key: &'static str, value: serde_json::Value, parts: &[&str]| {
        check_base("tiny-modernbert/cls/base", |folder| set(folder, key, value), parts);
    };
    cls("classifier_pooling", json!("max"), &["`max`", "`cls` and `mean`"]);
    cls("hidden_activation", json!("mish"), &["`hidden_activation` = `mish`"]);
    cls("classifier_activation", json!("mish"), &["`classifier_activation` = `mish`"]);
    cls("layer_types", json!(["full_attention"]), &["`layer_types`", "each of 5 layers"]);
    cls("layer_types", json!(["a", "b", "c", "d", "e"]), &["`layer_types`", "`sliding_attention`"]);
    let rope = json!({"full_attention": {"rope_type": "yarn", "rope_theta": 10_000}});
    cls("rope_parameters", rope, &["`rope_type` = \"yarn\"", "`default`"]);
    cls("rope_parameters", json!({"rope_type": "default"}), &["`rope_parameters`", "`full_attention`"]);
    cls("rope_parameters", json!({"sliding_attention": {"rope_theta": 0}}), &["`rope_theta` = 0"]);
    cls("is_causal", json!(true), &["`is_causal` = true", "causal"]);
    cls("num_attention_heads", json!(5), &["32 hidden units over 5 attention heads"]);
    cls("num_attention_heads", json!(32), &["1 dimensions", "even"]);
    cls("norm_bias", json!(true), &["no tensor", "norm.bias"]);
    cls("local_attention", json!(0), &["`local_attention` = 0"]);
    let every = |folder: &Path| {
        set(folder, "layer_types", json!(null));
        set(folder, "global_attn_every_n_layers", json!(0));
    };
    check_base("tiny-modernbert/mean/base", every, &["`global_attn_every_n_layers` = 0", "above zero"]);
}

#[test]
fn bidirectional_llamas() {
    let fails = |key: &'static str, value: Value, parts: &[&str]| {
        check_base("tiny-llama-bidirectional/base", |folder| set(folder, key, value), parts);
    };
    fails("pooling", json!("weighted_avg"), &["`pooling` = `weighted_avg`", "`avg`, `cls` and `last`"]);
    fails("temperature", json!(0), &["`temperature` = 0", "above zero"]);
    fails("temperature", json!("low"), &["`temperature` = \"low\""]);
    fails("is_causal", json!(true), &["`is_causal` = true"]);
    let code = json!({"AutoModelForSequenceClassification": "other.OtherModel"});
    fails("auto_map", code, &["`auto_map`", "other.OtherModel", "never run", "`LlamaBidirectionalModel`"]);
    fails("auto_map", json!("x"), &["`auto_map` = \"x\""]);
    let tokens = |folder: &Path| write(folder, "lorank.json", r#"{"score_tokens": {"positive": 5}}"#);
    check_base("tiny-llama-bidirectional/base", tokens, &["`score_tokens`", "no causal model"]);
}

#[test]
fn gtes() {
    let fails = |key: &'static str, value: Value, parts: &[&str]| {
        check_base("tiny-gte/multilingual/base", |folder| set(folder, key, value), parts);
    };
    fails("logn_attention_scale", json!(true), &["`logn_attention_scale` = true", "scaled by the length"]);
    fails("layer_norm_type", json!("rms_norm"), &["`layer_norm_type` = \"rms_norm\""]);
    fails("position_embedding_type", json!("absolute"), &["`position_embedding_type`", "only `\"rope\"` is"]);
    fails("rope_scaling", json!({"type": "dynamic", "factor": 2}), &["`rope_scaling`", "dynamic", "`ntk`"]);
    fails("rope_scaling", json!({"type": "ntk", "factor": 2, "mixed_b": 0.6}), &["`rope_scaling`", "`mixed_b`"]);
    fails("rope_scaling", json!({"type": "ntk", "factor": 0}), &["`rope_scaling`", "above zero"]);
    fails("rope_theta", json!(-1), &["`rope_theta` = -1"]);
    fails("pack_qkv", json!(false), &["no tensor `new.encoder.layer.0.attention.q_proj.weight`"]);
    fails("hidden_act", json!("mish"), &["`hidden_act` = `mish`"]);
    fails("num_attention_heads", json!(32), &["1 dimensions", "even"]);
    fails("auto_map", json!({"AutoModel": "Someone/impl--modeling.Mine"}), &["`auto_map`", "never run"]);
}

#[test]
fn weights() {
    let base = "tiny-llama/base";
    let q = "model.layers.1.self_attn.q_proj.weight";
    let edit = |change: fn(&mut lorank_testing::Tensors)| move |folder: &Path| edit_tensors(folder, WEIGHTS, change);
    check_base(base, |f| truncate(f, WEIGHTS, 1), &["not a valid safetensors file", "download it again"]);
    check_base(base, |f| write(f, WEIGHTS, "abc"), &["3 bytes long"]);
    check_base(base, |f| write(f, WEIGHTS, [0xff; 100]), &["header", "truncated"]);
    check_base(base, |f| write(f, WEIGHTS, b"\x02\0\0\0\0\0\0\0[]"), &["header is invalid"]);
    check_base(base, edit(|t| drop(t.remove("model.norm.weight"))), &["no tensor `model.norm.weight`"]);
    check_base(base, |f| set(f, "intermediate_size", json!(96)), &["mlp.gate_proj.weight", "[128, 64]", "[96, 64]"]);
    let nan = |folder: &Path| edit_tensors(folder, WEIGHTS, |tensors| tensors.get_mut(q).unwrap().set(7, f32::NAN));
    check_base(base, nan, &[q, "NaN"]);
    let integers = |folder: &Path| {
        edit_tensors(folder, WEIGHTS, |tensors| {
            drop(tensors.insert(q.into(), TensorData::zeros(Dtype::I64, &[64, 64])))
        });
    };
    check_base(base, integers, &[q, "I64"]);
    check_base(
        "tiny-llama/base-causal-sharded",
        |f| remove(f, "model-00002-of-00003.safetensors"),
        &["model-00002-of-00003.safetensors"],
    );
    let two_labels = |folder: &Path| {
        edit_tensors(folder, WEIGHTS, |tensors| {
            drop(tensors.insert("score.weight".into(), TensorData::zeros(Dtype::F32, &[2, 64])))
        });
    };
    check_base(base, two_labels, &["score.weight", "[2, 64]", "[1, 64]"]);
}

#[test]
fn adapters() {
    let key = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
    check_adapter(|f| set(f, "peft_type", json!("PREFIX_TUNING")), &["not a LoRA", "`PREFIX_TUNING`"]);
    check_adapter(|f| set(f, "use_dora", json!(true)), &["`use_dora` = true"]);
    check_adapter(|f| set(f, "r", json!(8)), &["lora_A.weight", "[16, 64]", "[8, 64]"]);
    check_adapter(|f| set(f, "target_modules", json!(["wqkv"])), &["`target_modules`", "matches no linear layer"]);
    check_adapter(|f| set(f, "target_modules", json!(["q_proj"])), &["`under-test`", "belongs to no module"]);
    check_adapter(|f| edit_tensors(f, ADAPTER, |t| drop(t.remove(key))), &["no tensor", key]);
    check_adapter(|f| edit_tensors(f, ADAPTER, |t| t.get_mut(key).unwrap().set(0, f32::INFINITY)), &[key, "infinity"]);
    check_adapter(|f| truncate(f, ADAPTER, 100), &["not a valid safetensors file"]);
    check_adapter(
        |f| write(f, "lorank.json", "{\"document_template\": \"{body}\"}"),
        &["`{body}`", "{title}", "document_template"],
    );
    check_adapter(|f| write(f, "lorank.json", "{\"max_lenght\": 5}"), &["`lorank.json`", "max_lenght"]);
    check_adapter(|f| write(f, "lorank.json", "{\"max_length\": 2}"), &["max_length 2", "no room"]);
    check_adapter(|f| write(f, "lorank.json", "{\"passages\": 3}"), &["`lorank.json`", "`passages` must be a string"]);
    check_adapter(|f| write(f, "lorank.json", "{\"stride\": -1}"), &["`stride` must be a whole number"]);
    check_adapter(|f| write(f, "lorank.json", "{\"passages\": \"mean\"}"), &["`mean` is not a rule for passages"]);
    check_adapter(
        |f| write(f, "lorank.json", "{\"passages\": \"max\", \"passage_tokens\": 32, \"stride\": 33}"),
        &["the setting of passages", "`stride` is invalid", "above `passage_tokens`"],
    );
    check_adapter(|f| write(f, "lorank.json", "{\"max_length\": 5000}"), &["max_length 5000", "1024 positions"]);
    let bert = Files::folder(fixture("tiny-bert/adapter-a")).unwrap();
    check_says(
        &tiny_llama(LoadOptions::default()).add_adapter(id("bert"), &bert).unwrap_err(),
        &["`bert`", "matches no linear layer"],
    );
}

#[test]
fn an_adapter_for_another_base_is_loaded_or_refused_as_asked() {
    let folder = changed_copy("tiny-llama/adapter-a", |f| set(f, "base_model_name_or_path", json!("meta-llama/Other")));
    let files = Files::folder(folder.path()).unwrap();
    assert!(tiny_llama(LoadOptions::default()).add_adapter(id("a"), &files).is_ok());
    let strict = tiny_llama(LoadOptions { other_base: OtherBase::Refuse, ..LoadOptions::default() });
    check_says(&strict.add_adapter(id("a"), &files).unwrap_err(), &["`a`", "`meta-llama/Other`", "`base`"]);
}

#[test]
fn heads() {
    let base = Files::folder(fixture("tiny-llama/base-causal-sharded")).unwrap();
    let reranker = ModelReranker::load(&base, LoadOptions::default()).unwrap();
    let error = reranker.resolve(None).unwrap_err().to_string();
    assert!(error.contains("no score head") && error.contains("`score.weight`"), "{error}");
    let headless = changed_copy("tiny-llama/adapter-a", |folder| {
        edit_tensors(folder, ADAPTER, |tensors| drop(tensors.remove("base_model.model.score.weight")));
    });
    let files = Files::folder(headless.path()).unwrap();
    let lost = ["`modules_to_save` includes `score`", "weights are missing"];
    check_says(&reranker.add_adapter(id("a"), &files).unwrap_err(), &lost);
    check_says(&tiny_llama(LoadOptions::default()).add_adapter(id("a"), &files).unwrap_err(), &lost);
    // An adapter without a head.
    edit_json(headless.path(), "adapter_config.json", |config| {
        config["modules_to_save"] = Value::Null;
        config["task_type"] = Value::Null;
    });
    check_says(&reranker.add_adapter(id("a"), &files).unwrap_err(), &["neither adapter `a`", "no score head"]);
    assert!(tiny_llama(LoadOptions::default()).add_adapter(id("a"), &files).is_ok(), "the base has a head");
}

#[test]
fn unknown_adapters_are_named_with_the_known_ones() {
    let reranker = tiny_llama(LoadOptions::default());
    let check = |expected: &str| {
        let error = reranker.resolve(Some(&id("x"))).unwrap_err().to_string();
        assert!(error.contains("`x`") && error.contains(expected), "{error}");
    };
    check("no adapter is");
    for name in ["b", "a"] {
        reranker.add_adapter(id(name), &Files::folder(fixture("tiny-llama/adapter-a")).unwrap()).unwrap();
    }
    check("loaded are `a`, `b`");
}

#[test]
fn devices_that_this_build_lacks() {
    let files = Files::folder(fixture("tiny-llama/base")).unwrap();
    let options = LoadOptions { device: DeviceChoice::Cuda(7), ..LoadOptions::default() };
    let error = ModelReranker::load(&files, options).unwrap_err();
    check_says(&error, &["`cuda:7`"]);
    if !cfg!(feature = "cuda") {
        let message = error.to_string();
        let is_clear = ["no NVIDIA driver: the library `libcuda` was not found", "there is no GPU `cuda:7`"];
        assert!(is_clear.iter().any(|part| message.contains(part)) && !message.contains('\n'), "{message}");
    }
}

#[test]
fn a_pair_without_tokens_fails_its_group_alone() {
    let folder = changed_copy("tiny-llama/base", |folder| {
        edit_json(folder, "tokenizer.json", |tokenizer| tokenizer["post_processor"] = Value::Null);
        write(folder, "lorank.json", r#"{"query_template": "{query}", "document_template": "{text}"}"#);
    });
    let reranker = ModelReranker::load(&Files::folder(folder.path()).unwrap(), LoadOptions::default()).unwrap();
    let model = reranker.resolve(None).unwrap();
    let (empty, full) = (Query::new(""), Query::new("a query"));
    let candidates = [Candidate::new("42", "", Score::new(0.0).unwrap())];
    let group = |query| Group { query, model: &model, candidates: &candidates };
    let scores = score_groups(&reranker, &[group(&empty), group(&full)]);
    let error = scores[0].as_ref().unwrap_err().to_string();
    assert!(error.contains("`42`") && error.contains("nothing to score"), "{error}");
    assert_eq!(scores[1].as_ref().unwrap().len(), 1);
}

#[test]
fn kinds() {
    let kind = |error: Option<ModelError>| error.unwrap().kind();
    let base = |change: fn(&Path), options: LoadOptions| {
        let folder = changed_copy("tiny-llama/base", change);
        kind(ModelReranker::load(&Files::folder(folder.path()).unwrap(), options).err())
    };
    let plain = LoadOptions::default;
    assert_eq!(kind(Files::folder("/no/such/folder").err()), ErrorKind::NotFound);
    assert_eq!(kind(tiny_llama(plain()).tokens(Some(&id("absent")), "q", &[]).err()), ErrorKind::NotFound);
    assert_eq!(base(|f| write(f, "config.json", "{"), plain()), ErrorKind::Malformed);
    assert_eq!(base(|f| truncate(f, WEIGHTS, 100), plain()), ErrorKind::Malformed);
    assert_eq!(base(|f| set(f, "model_type", json!("t5")), plain()), ErrorKind::UnsupportedFormat);
    assert_eq!(base(|f| set(f, "hidden_size", json!(32)), plain()), ErrorKind::Invalid);
    let int8 = LoadOptions { precision: Precision::Int8.into(), pass: ForwardPass::Reference, ..plain() };
    assert_eq!(base(|_| (), int8), ErrorKind::UnsupportedFormat);
    for pass in [ForwardPass::Fast, ForwardPass::Reference, ForwardPass::Train, ForwardPass::TrainReference] {
        let fp8 = LoadOptions { precision: Precision::Fp8.into(), pass, device: DeviceChoice::Cpu, ..plain() };
        assert_eq!(base(|_| (), fp8), ErrorKind::UnsupportedFormat, "{pass:?}");
    }
    if !cfg!(feature = "cuda") {
        assert_eq!(base(|_| (), LoadOptions { device: DeviceChoice::Cuda(0), ..plain() }), ErrorKind::Unavailable);
    }
}
