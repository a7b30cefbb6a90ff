//! The built-in data is complete and consistent.

use std::collections::{HashMap, HashSet};

use lorank_starter::{BASE_MODEL_HUB_NAME, File, N_PASSAGES, N_QUESTIONS};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

fn named(files: &'static [File], name: &str) -> &'static [u8] {
    files.iter().find(|file| file.name == name).unwrap_or_else(|| panic!("no {name} among {files:?}")).bytes
}

fn json(files: &'static [File], name: &str) -> Value {
    serde_json::from_slice(named(files, name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn lines(file: &File) -> Vec<&'static str> {
    std::str::from_utf8(file.bytes).expect("the corpus is text").lines().collect()
}

/// The `_id` and `text` of each line.
fn id_and_text(file: &File) -> HashMap<String, String> {
    let row = |line: &str| -> Value { serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")) };
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_else(|| panic!("no {key} in {row}")).to_owned();
    lines(file).into_iter().map(row).map(|row| (text(&row, "_id"), text(&row, "text"))).collect()
}

#[test]
fn base_model_names_itself_and_reads_pairs() {
    let files = lorank_starter::base_model();
    assert_eq!(json(files, "config.json")["_name_or_path"], BASE_MODEL_HUB_NAME);
    assert_eq!(json(files, "config.json")["architectures"][0], "BertForSequenceClassification");
    assert_eq!(json(files, "tokenizer.json")["truncation"], Value::Null);
    assert_eq!(json(files, "tokenizer.json")["padding"], Value::Null);
    assert_eq!(json(files, "tokenizer.json")["model"]["vocab"]["[SEP]"], 102);
    assert_eq!(json(files, "tokenizer_config.json")["model_max_length"], 512);
    assert_eq!(json(files, "special_tokens_map.json")["cls_token"]["content"], "[CLS]");
}

#[test]
fn how_int8_ranks_was_measured_for_the_base_model_and_each_adapter() {
    let measured = json(lorank_starter::base_model(), "int8.json");
    let measured = measured.as_array().unwrap();
    assert!(measured.iter().all(|one| one["base_digest"] == measured[0]["base_digest"]), "{measured:?}");
    // Other sets compute the same as AVX2; AMX has attention in bf16.
    for set in ["avx2", "amx"] {
        let of_set: Vec<_> = measured.iter().filter(|one| one["instruction_set"] == set).collect();
        // Each adapter alone, and merged into the weights.
        assert_eq!(of_set.len(), 1 + 2 * lorank_starter::adapters().len(), "{set}");
        assert_eq!(of_set.iter().filter(|one| one["adapter_digest"].is_null()).count(), 1, "{set}");
    }
    assert_eq!(measured.len(), 2 * (1 + 2 * lorank_starter::adapters().len()));
}

#[test]
fn base_weights_are_integers_with_scale_and_zero_point_or_f32() {
    let weights = SafeTensors::deserialize(named(lorank_starter::base_model(), "model.int8.safetensors")).unwrap();
    let (mut n_quantised, mut n_parameters) = (0, 0);
    for (name, tensor) in weights.tensors() {
        if name.ends_with(".scale") || name.ends_with(".zero_point") {
            continue;
        }
        n_parameters += tensor.shape().iter().product::<usize>();
        match tensor.dtype() {
            Dtype::F32 => assert!(tensor.shape().len() == 1, "{name}: every matrix is quantised"),
            dtype => {
                n_quantised += 1;
                let scale = weights.tensor(&format!("{name}.scale")).unwrap();
                let zero_point = weights.tensor(&format!("{name}.zero_point")).unwrap();
                assert!(matches!(dtype, Dtype::I8 | Dtype::U8), "{name}: {dtype:?}");
                assert_eq!((scale.dtype(), scale.shape()), (Dtype::F32, [1].as_slice()), "{name}");
                assert_eq!((zero_point.dtype(), zero_point.shape()), (dtype, [1].as_slice()), "{name}");
                assert!(f32::from_le_bytes(scale.data().try_into().unwrap()) > 0.0, "{name}");
            }
        }
    }
    assert_eq!((n_quantised, n_parameters), (77, 33_360_385));
}

#[test]
fn adapters_are_lora_of_the_base_model_with_templates_and_a_head() {
    let ids: Vec<_> = lorank_starter::adapters().iter().map(|adapter| adapter.id).collect();
    assert_eq!(ids, ["minilm-qa", "minilm-science"]);
    assert!(lorank_starter::adapter("minilm-cooking").is_none());
    for id in ids {
        let adapter = lorank_starter::adapter(id).unwrap();
        assert_eq!(adapter.files.len(), 3, "{adapter:?}");
        assert!(!adapter.description.is_empty());
        let config = json(adapter.files, "adapter_config.json");
        assert_eq!((&config["peft_type"], &config["r"]), (&Value::from("LORA"), &Value::from(16)), "{id}");
        assert_eq!(config["base_model_name_or_path"], BASE_MODEL_HUB_NAME, "{id}");
        assert_eq!(json(adapter.files, "lorank.json")["max_length"], 192, "{id}");
        let weights = SafeTensors::deserialize(named(adapter.files, "adapter_model.safetensors")).unwrap();
        // 12 layers of 6 linear layers and the pooler's, two factors each; plus the classifier's weight and bias.
        assert_eq!(weights.len(), (12 * 6 + 1) * 2 + 2, "{id}");
        assert_eq!(weights.tensor("base_model.model.classifier.weight").unwrap().shape(), [1, 384], "{id}");
    }
}

#[test]
fn every_question_has_one_passage_of_the_corpus() {
    let corpus = lorank_starter::corpus();
    let (passages, questions) = (id_and_text(&corpus.passages), id_and_text(&corpus.questions));
    assert_eq!((passages.len(), lines(&corpus.passages).len()), (N_PASSAGES, N_PASSAGES));
    assert_eq!((questions.len(), lines(&corpus.questions).len()), (N_QUESTIONS, N_QUESTIONS));
    assert!(passages.values().chain(questions.values()).all(|text| !text.trim().is_empty()));

    let judgments = lines(&corpus.judgments);
    assert_eq!(judgments[0], "query-id\tcorpus-id\tscore");
    let mut judged = HashSet::new();
    for row in &judgments[1..] {
        let [question, passage, grade] = row.split('\t').collect::<Vec<_>>()[..] else { panic!("{row}") };
        assert!(questions.contains_key(question) && passages.contains_key(passage) && grade == "1", "{row}");
        judged.insert(question);
    }
    assert_eq!(judged.len(), N_QUESTIONS);
}

#[test]
fn notices_name_the_owners() {
    let notices = lorank_starter::notices();
    assert!(notices.iter().all(|notice| notice.text.len() > 500 && !notice.covers.is_empty()), "{notices:?}");
    for (covers, licence, words) in [
        ("the base model: license", "Apache-2.0", "Apache License"),
        ("the base model: notice of the package it was taken from", "Apache-2.0", BASE_MODEL_HUB_NAME),
        ("the base model: origin and changes", "Apache-2.0", "What was changed"),
        ("the adapters", "Apache-2.0", "SciFact"),
        ("the corpus", "CC-BY-SA-3.0", "Christopher Clark"),
    ] {
        let notice = notices.iter().find(|notice| notice.covers == covers).unwrap_or_else(|| panic!("{covers}"));
        assert_eq!(notice.licence, licence, "{covers}");
        assert!(notice.text.contains(words), "{covers}");
    }
}
