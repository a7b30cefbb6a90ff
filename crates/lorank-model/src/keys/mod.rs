//! The treatment of each key in a model's JSON files: honored, without effect, or refused with other values.
//!
//! `docs/model-files.md` has the same tables, and a test compares them.

mod tables;

use serde_json::{Map, Value};

use crate::ModelError;

pub(crate) use self::tables::{
    ADAPTER_CONFIG, BERT_CONFIG, DISTILBERT_CONFIG, ELECTRA_CONFIG, GEMMA_CONFIG, GTE_CONFIG,
    LLAMA_BIDIRECTIONAL_CONFIG, LLAMA_CONFIG, MISTRAL_CONFIG, MODERNBERT_CONFIG, QWEN2_CONFIG, QWEN3_CONFIG,
    ROBERTA_CONFIG, SENTENCE_BERT_CONFIG, SENTENCE_TRANSFORMERS_CONFIG, SPECIAL_TOKENS_MAP, TOKENIZER_CONFIG,
};

/// The known keys of a file.
#[derive(Debug)]
pub(crate) struct KeyTable {
    /// The file's name.
    pub(crate) file: &'static str,
    /// The table's heading.
    title: &'static str,
    /// Groups of keys with the same treatment.
    groups: &'static [Group],
    /// The treatment of unknown keys with a value other than null, false or empty.
    unknown: Unknown,
}

/// Keys with the same treatment.
#[derive(Debug)]
struct Group {
    keys: &'static [&'static str],
    rule: Rule,
    /// A short explanation.
    note: &'static str,
}

/// The treatment of a key.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rule {
    /// Scores depend on it.
    Honored,
    /// Does not affect scores.
    NoEffect,
    /// Rejects values other than null and these JSON texts.
    Only(&'static [&'static str]),
}

/// The treatment of an unknown key.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Unknown {
    /// Logs a warning with its name.
    Warn,
    /// Rejects the file.
    Refuse,
}

impl KeyTable {
    /// Rejects unsupported values that would change scores, and warns of unknown keys.
    pub(crate) fn check(&self, folder: &str, json: &Map<String, Value>) -> Result<(), ModelError> {
        json.iter().try_for_each(|(key, value)| self.check_key(folder, key, value))
    }

    fn check_key(&self, folder: &str, key: &str, value: &Value) -> Result<(), ModelError> {
        let refused = |hint: String| ModelError::Unsupported {
            folder: folder.to_owned(),
            file: self.file,
            what: describe(key, value),
            hint,
        };
        match self.groups.iter().find(|group| group.keys.contains(&key)) {
            Some(Group { rule: Rule::Only(allowed), note, .. }) if !value.is_null() && !allows(allowed, value) => {
                let allowed = allowed.iter().map(|text| format!("`{text}`")).collect::<Vec<_>>().join(" or ");
                let only = if allowed.is_empty() { String::new() } else { format!("; only {allowed} is") };
                Err(refused(format!(" ({note}){only}")))
            }
            None if is_on(value) && self.unknown == Unknown::Refuse => {
                Err(refused("; it may change the arithmetic".to_owned()))
            }
            None if is_on(value) => {
                let (title, what) = (self.title, describe(key, value));
                tracing::warn!("unknown key {what} in {title} of `{folder}`; if it affects scores, they differ here");
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Whether a value enables a feature: null, false, and empty lists, objects and texts mean that it is off.
pub(crate) fn is_on(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(values) => !values.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => true,
    }
}

fn allows(allowed: &[&str], value: &Value) -> bool {
    let is_equal = |text: &&str| match (serde_json::from_str::<Value>(text), value.as_f64()) {
        (Ok(Value::Number(number)), Some(found)) => number.as_f64() == Some(found),
        (Ok(known), _) => known == *value,
        (Err(_), _) => false,
    };
    allowed.iter().any(is_equal)
}

/// A key and its value, for a message.
pub(crate) fn describe(key: &str, value: &Value) -> String {
    const CHARS_MAX: usize = 80;
    let text = value.to_string();
    let start: String = text.chars().take(CHARS_MAX).collect();
    let dots = if start.len() < text.len() { "..." } else { "" };
    format!("`{key}` = {start}{dots}")
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use serde_json::json;

    use super::*;

    const ALL: [&KeyTable; 17] = [
        &BERT_CONFIG,
        &ROBERTA_CONFIG,
        &DISTILBERT_CONFIG,
        &ELECTRA_CONFIG,
        &MODERNBERT_CONFIG,
        &GTE_CONFIG,
        &LLAMA_CONFIG,
        &LLAMA_BIDIRECTIONAL_CONFIG,
        &MISTRAL_CONFIG,
        &QWEN2_CONFIG,
        &QWEN3_CONFIG,
        &GEMMA_CONFIG,
        &TOKENIZER_CONFIG,
        &SPECIAL_TOKENS_MAP,
        &SENTENCE_TRANSFORMERS_CONFIG,
        &SENTENCE_BERT_CONFIG,
        &ADAPTER_CONFIG,
    ];

    #[test]
    fn each_key_has_one_treatment_and_each_allowed_value_is_json() {
        for table in ALL {
            let mut keys: Vec<&str> = table.groups.iter().flat_map(|group| group.keys).copied().collect();
            let n_keys = keys.len();
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys.len(), n_keys, "{}", table.title);
            for group in table.groups {
                if let Rule::Only(allowed) = group.rule {
                    assert!(allowed.iter().all(|text| serde_json::from_str::<Value>(text).is_ok()), "{allowed:?}");
                }
            }
        }
    }

    /// The table as `docs/model-files.md` has it.
    fn to_markdown(table: &KeyTable) -> String {
        let mut text = format!("## {}\n\n| key | treatment | note |\n| --- | --- | --- |\n", table.title);
        for Group { keys, rule, note } in table.groups {
            let keys = keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
            let rule = match rule {
                Rule::Honored => "honored".to_owned(),
                Rule::NoEffect => "no effect on scores".to_owned(),
                Rule::Only([]) => "refused if set".to_owned(),
                Rule::Only(allowed) => format!("refused unless `{}`", allowed.join("`, `")),
            };
            writeln!(text, "| {keys} | {rule} | {note} |").unwrap();
        }
        let unknown = match table.unknown {
            Unknown::Warn => "a warning names it",
            Unknown::Refuse => "refused",
        };
        writeln!(text, "| any other, unless null, false or empty | {unknown} | |").unwrap();
        text
    }

    #[test]
    fn the_document_holds_the_tables() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/model-files.md");
        let document = std::fs::read_to_string(path).unwrap();
        let tables = ALL.map(to_markdown).join("\n");
        assert!(document.ends_with(&tables), "docs/model-files.md must end with these tables:\n\n{tables}");
    }

    fn outcome(table: &KeyTable, json: Value) -> Result<(), String> {
        table.check("m", json.as_object().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_would_change_scores_and_is_not_implemented_is_refused_by_name() {
        for (table, json, part) in [
            (&BERT_CONFIG, json!({"is_decoder": true}), "`is_decoder` = true"),
            (&BERT_CONFIG, json!({"add_cross_attention": true}), "`add_cross_attention`"),
            (&BERT_CONFIG, json!({"pruned_heads": {"0": [1]}}), "`pruned_heads`"),
            (&BERT_CONFIG, json!({"quantization_config": {"bits": 4}}), "`quantization_config`"),
            (&BERT_CONFIG, json!({"position_embedding_type": "relative_key_query"}), "only `\"absolute\"` is"),
            (&BERT_CONFIG, json!({"is_encoder_decoder": true}), "`is_encoder_decoder`"),
            (&ROBERTA_CONFIG, json!({"is_decoder": true}), "`is_decoder` = true"),
            (&ROBERTA_CONFIG, json!({"position_embedding_type": "relative_key"}), "only `\"absolute\"` is"),
            (&DISTILBERT_CONFIG, json!({"is_decoder": true}), "`is_decoder` = true"),
            (&ELECTRA_CONFIG, json!({"position_embedding_type": "relative_key"}), "only `\"absolute\"` is"),
            (&MODERNBERT_CONFIG, json!({"causal_mask": true}), "`causal_mask` = true"),
            (&MODERNBERT_CONFIG, json!({"rope_scaling": {"rope_type": "yarn"}}), "`rope_scaling`"),
            (&LLAMA_CONFIG, json!({"is_causal": false}), "`is_causal` = false"),
            (&LLAMA_CONFIG, json!({"partial_rotary_factor": 0.5}), "`partial_rotary_factor` = 0.5"),
            (&MISTRAL_CONFIG, json!({"layer_types": ["full_attention"]}), "`layer_types`"),
            (&GEMMA_CONFIG, json!({"use_bidirectional_attention": true}), "`use_bidirectional_attention` = true"),
            (&LLAMA_CONFIG, json!({"auto_map": {"AutoModel": "x.Y"}}), "`auto_map`"),
            (&TOKENIZER_CONFIG, json!({"auto_map": {"AutoTokenizer": ["x.Y", null]}}), "`auto_map`"),
            (&TOKENIZER_CONFIG, json!({"init_inputs": [1]}), "`init_inputs`"),
            (&TOKENIZER_CONFIG, json!({"add_special_tokens": false}), "`add_special_tokens` = false"),
            (&SENTENCE_BERT_CONFIG, json!({"transformer_task": "fill-mask"}), "`transformer_task`"),
            (&ADAPTER_CONFIG, json!({"use_dora": true}), "`use_dora` = true"),
            (&ADAPTER_CONFIG, json!({"alora_invocation_tokens": [1, 2]}), "`alora_invocation_tokens`"),
            (&ADAPTER_CONFIG, json!({"some_new_method": {"a": 1}}), "`some_new_method`"),
        ] {
            let message = outcome(table, json.clone()).unwrap_err();
            assert!(message.contains(part) && message.contains("`m`"), "{json}: {message}");
        }
    }

    #[test]
    fn what_is_off_or_has_no_effect_passes() {
        for (table, json) in [
            (
                &BERT_CONFIG,
                json!({"is_decoder": false, "pruned_heads": {}, "quantization_config": null, "auto_map": null}),
            ),
            (
                &BERT_CONFIG,
                json!({"hidden_dropout_prob": 0.9, "use_cache": true, "torch_dtype": "float16", "unheard_of": 1}),
            ),
            (
                &LLAMA_CONFIG,
                json!({"is_causal": true, "partial_rotary_factor": 1.0, "pretraining_tp": 2, "is_decoder": true}),
            ),
            (&LLAMA_CONFIG, json!({"partial_rotary_factor": 1})),
            (&TOKENIZER_CONFIG, json!({"padding_side": "left", "chat_template": "{{ x }}", "new_flag": true})),
            (
                &ADAPTER_CONFIG,
                json!({"use_dora": false, "new_flag": false, "new_thing": null, "new_list": [], "new_text": ""}),
            ),
        ] {
            assert_eq!(outcome(table, json.clone()), Ok(()), "{json}");
        }
    }

    #[test]
    fn long_values_are_cut_in_messages() {
        let message = outcome(&BERT_CONFIG, json!({"pruned_heads": {"0": vec![7; 100_000]}})).unwrap_err();
        assert!(message.len() < 400, "{} bytes", message.len());
    }
}
