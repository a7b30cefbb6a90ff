//! Builds a tokenizer from `tokenizer.json` and the settings beside it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokenizers::normalizers::{Lowercase, Sequence};
use tokenizers::{AddedToken, NormalizerWrapper, PostProcessorWrapper, Tokenizer, TruncationDirection};

use crate::tokenizer_config::{PipelineKind, TokenizerSettings};

/// A tokenizer, and the side on which long texts are truncated.
#[derive(Debug)]
pub(crate) struct Pipeline {
    /// Neither truncates nor pads; the prompt sets the length of pairs.
    pub(crate) tokenizer: Tokenizer,
    pub(crate) truncation: TruncationDirection,
}

/// Builds the tokenizer from the bytes of `tokenizer.json` with the given settings.
pub(crate) fn build(bytes: &[u8], settings: &TokenizerSettings) -> tokenizers::Result<Pipeline> {
    without_panic(|| {
        check_merges(bytes)?;
        let mut tokenizer = match &settings.pipeline {
            PipelineKind::AsInFile => Tokenizer::from_bytes(bytes)?,
            PipelineKind::Llama { .. } if is_of_bytes(bytes) => Tokenizer::from_bytes(bytes)?,
            kind => rebuilt(bytes, kind)?,
        };
        add_tokens(&mut tokenizer, bytes, settings)?;
        if let Some(post_processor) = post_processor(&tokenizer, &settings.pipeline)? {
            tokenizer.with_post_processor(Some(post_processor));
        }
        if settings.lowercases {
            let own = tokenizer.get_normalizer().cloned();
            let all = [NormalizerWrapper::Lowercase(Lowercase)].into_iter().chain(own).collect();
            tokenizer.with_normalizer(Some(Sequence::new(all)))?;
        }
        tokenizer.set_encode_special_tokens(settings.splits_special_tokens);
        let in_file = tokenizer.get_truncation().map(|truncation| truncation.direction);
        let truncation = settings.truncation.or(in_file).unwrap_or(TruncationDirection::Right);
        tokenizer.with_padding(None).with_truncation(None)?;
        Ok(Pipeline { tokenizer, truncation })
    })
}

/// Converts a panic of the tokenizers library to an error: the library panics on some damaged files, and a file must
/// not end a thread. A panic may leave only the library's own caches incomplete, which it ignores then.
pub(crate) fn without_panic<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> tokenizers::Result<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let why = text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Err(format!("the tokenizers library panicked: {why}").into())
    })
}

/// The tokenizer class's own pipeline over the file's vocabulary, without added tokens.
fn rebuilt(bytes: &[u8], kind: &PipelineKind) -> tokenizers::Result<Tokenizer> {
    let mut file: Value = serde_json::from_slice(bytes)?;
    let vocab = file["model"]["vocab"].take();
    let (is_expected, expected) = match kind {
        PipelineKind::XlmRoberta { .. } => (vocab.is_array(), "of tokens with scores"),
        _ => (vocab.is_object(), "of tokens with ids"),
    };
    if !is_expected {
        return Err(format!("`tokenizer_class` needs a vocabulary {expected}, which `model` does not have").into());
    }
    let merges = file["model"]["merges"].take();
    let needs_merges = match kind {
        PipelineKind::Llama { .. }
        | PipelineKind::Qwen2 { .. }
        | PipelineKind::Gemma { .. }
        | PipelineKind::Roberta { .. } => true,
        PipelineKind::Bert { .. } | PipelineKind::XlmRoberta { .. } | PipelineKind::AsInFile => false,
    };
    if needs_merges && !merges.is_array() {
        let found = file["model"]["type"].as_str().unwrap_or("without a type");
        return Err(format!("`tokenizer_class` needs the model `BPE` with `merges`, but it is `{found}`").into());
    }
    file["added_tokens"] = json!([]);
    match kind {
        PipelineKind::Bert { lowercase, strip_accents, splits_chinese, unk, .. } => {
            let found = file["model"]["type"].as_str().unwrap_or("WordPiece");
            if found != "WordPiece" {
                return Err(format!("`tokenizer_class` needs the model `WordPiece`, but it is `{found}`").into());
            }
            file["model"] = json!({"type": "WordPiece", "vocab": vocab, "unk_token": unk,
                "continuing_subword_prefix": "##", "max_input_chars_per_word": 100});
            file["normalizer"] = json!({"type": "BertNormalizer", "clean_text": true, "lowercase": lowercase,
                "handle_chinese_chars": splits_chinese, "strip_accents": strip_accents});
            file["pre_tokenizer"] = json!({"type": "BertPreTokenizer"});
            file["post_processor"] = Value::Null;
        }
        PipelineKind::Llama { prepend_scheme } => {
            file["model"] = json!({"type": "BPE", "vocab": vocab, "merges": merges, "dropout": null, "unk_token": null,
                "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true,
                "ignore_merges": false});
            file["normalizer"] = Value::Null;
            file["pre_tokenizer"] = json!({"type": "Metaspace", "replacement": "\u{2581}",
                "prepend_scheme": prepend_scheme, "split": false});
        }
        PipelineKind::Qwen2 { adds_prefix_space } => {
            file["model"] = json!({"type": "BPE", "vocab": vocab, "merges": merges, "dropout": null, "unk_token": null,
                "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false});
            file["normalizer"] = json!({"type": "NFC"});
            file["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": QWEN2_WORDS}, "behavior": "Isolated", "invert": false},
                {"type": "ByteLevel", "add_prefix_space": adds_prefix_space, "trim_offsets": true, "use_regex": false},
            ]});
        }
        PipelineKind::Gemma { unk } => {
            file["model"] = json!({"type": "BPE", "vocab": vocab, "merges": merges, "dropout": null, "unk_token": unk,
                "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true});
            file["normalizer"] = json!({"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"});
            file["pre_tokenizer"] = json!({"type": "Split", "pattern": {"String": " "},
                "behavior": "MergedWithPrevious", "invert": false});
        }
        PipelineKind::Roberta { adds_prefix_space, .. } => {
            file["model"] = json!({"type": "BPE", "vocab": vocab, "merges": merges, "dropout": null, "unk_token": null,
                "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": false});
            file["normalizer"] = Value::Null;
            file["pre_tokenizer"] =
                json!({"type": "ByteLevel", "add_prefix_space": adds_prefix_space, "trim_offsets": true});
            file["post_processor"] = Value::Null;
        }
        PipelineKind::XlmRoberta { prepend_scheme, .. } => {
            file["model"] = json!({"type": "Unigram", "vocab": vocab, "unk_id": 3, "byte_fallback": false});
            file["normalizer"] = precompiled(&file["normalizer"]);
            file["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [
                {"type": "WhitespaceSplit"},
                {"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": prepend_scheme, "split": true},
            ]});
            file["post_processor"] = Value::Null;
        }
        PipelineKind::AsInFile => {}
    }
    Tokenizer::from_bytes(serde_json::to_vec(&file)?)
}

/// The words of Qwen2's tokenizer.
const QWEN2_WORDS: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Whether the vocabulary is byte-level (GPT-2): the reference searches for the word, and keeps such a file unchanged.
fn is_of_bytes(bytes: &[u8]) -> bool {
    const WORD: &[u8] = b"\"ByteLevel\"";
    bytes.windows(WORD.len()).any(|window| window == WORD)
}

/// Adds the tokens of the settings; existing ones keep their ids.
fn add_tokens(tokenizer: &mut Tokenizer, bytes: &[u8], settings: &TokenizerSettings) -> tokenizers::Result<()> {
    #[derive(Deserialize)]
    struct File {
        added_tokens: Option<Vec<AddedToken>>,
    }
    let is_rebuilt = tokenizer.get_added_tokens_decoder().is_empty();
    if is_rebuilt && settings.added_tokens.is_none() {
        let file: File = serde_json::from_slice(bytes)?;
        tokenizer.add_tokens(file.added_tokens.unwrap_or_default())?;
    }
    tokenizer.add_tokens(settings.added_tokens.clone().unwrap_or_default())?;
    let known = tokenizer.get_added_tokens_decoder();
    let is_new = |token: &AddedToken| known.values().all(|known| known.content != token.content);
    tokenizer.add_tokens(settings.special_tokens.iter().filter(|token| is_new(token)).cloned())?;
    Ok(())
}

/// SentencePiece's character map: the first in a normalizer or a sequence of normalizers, or null.
fn precompiled(normalizer: &Value) -> Value {
    let listed = normalizer["normalizers"].as_array().map_or(std::slice::from_ref(normalizer), Vec::as_slice);
    listed.iter().find(|normalizer| normalizer["type"] == "Precompiled").cloned().unwrap_or_default()
}

/// The post-processor that adds the special tokens, for classes that replace the one in `tokenizer.json`.
fn post_processor(tokenizer: &Tokenizer, kind: &PipelineKind) -> tokenizers::Result<Option<PostProcessorWrapper>> {
    let id = |token: &str| tokenizer.token_to_id(token).ok_or_else(|| format!("the vocabulary has no `{token}`"));
    let processor = match kind {
        PipelineKind::AsInFile
        | PipelineKind::Llama { .. }
        | PipelineKind::Qwen2 { .. }
        | PipelineKind::Gemma { .. } => return Ok(None),
        // `[CLS] query [SEP] document [SEP]`, with type 1 for the document.
        PipelineKind::Bert { cls, sep, .. } => {
            let single = [special(cls, 0), text("A", 0), special(sep, 0)];
            let pair = [&single[..], &[text("B", 1), special(sep, 1)]].concat();
            template(&single, &pair, &[(cls, id(cls)?), (sep, id(sep)?)])
        }
        PipelineKind::Roberta { adds_prefix_space, cls, sep } => {
            json!({"type": "RobertaProcessing", "sep": [sep, id(sep)?], "cls": [cls, id(cls)?], "trim_offsets": true,
                "add_prefix_space": adds_prefix_space})
        }
        // `<s> query </s></s> document </s>`.
        PipelineKind::XlmRoberta { bos, eos, .. } => {
            let single = [special(bos, 0), text("A", 0), special(eos, 0)];
            let pair = [&single[..], &[special(eos, 0), text("B", 0), special(eos, 0)]].concat();
            template(&single, &pair, &[(bos, id(bos)?), (eos, id(eos)?)])
        }
    };
    Ok(Some(serde_json::from_value(processor)?))
}

/// A special token in a template.
fn special(token: &str, type_id: u8) -> Value {
    json!({"SpecialToken": {"id": token, "type_id": type_id}})
}

/// The first text (`A`) or the second (`B`) in a template.
fn text(name: &str, type_id: u8) -> Value {
    json!({"Sequence": {"id": name, "type_id": type_id}})
}

fn template(single: &[Value], pair: &[Value], tokens: &[(&String, u32)]) -> Value {
    let token = |(token, id): &(&String, u32)| ((*token).clone(), json!({"id": token, "ids": [id], "tokens": [token]}));
    let tokens: serde_json::Map<String, Value> = tokens.iter().map(token).collect();
    json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens})
}

/// Rejects merges that do not match the prefix of continuing subwords. For each merge, the tokenizers library removes
/// the prefix's length in bytes from the second token without checking it (0.23, `BpeBuilder::build`), so a cut within
/// a character would create invalid UTF-8.
fn check_merges(bytes: &[u8]) -> tokenizers::Result<()> {
    #[derive(Deserialize)]
    struct File {
        model: Option<Model>,
    }
    #[derive(Deserialize)]
    struct Model {
        continuing_subword_prefix: Option<String>,
        merges: Option<Vec<Merge>>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Merge {
        Tuple(IgnoredAny, String),
        /// Both tokens, separated by a space.
        Line(String),
    }
    let File { model: Some(Model { continuing_subword_prefix: Some(prefix), merges }) } =
        serde_json::from_slice(bytes)?
    else {
        return Ok(());
    };
    let fits = |merge: &Merge| match merge {
        Merge::Tuple(_, second) => second.is_char_boundary(prefix.len()),
        Merge::Line(line) => line.split(' ').nth(1).is_some_and(|second| second.is_char_boundary(prefix.len())),
    };
    match merges.iter().flatten().all(fits) {
        true => Ok(()),
        false => Err(format!("`merges` has a token without the prefix `{prefix}` for continuing subwords").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vocabulary_without_merges_is_no_byte_pair_encoding() {
        let words = json!({"model": {"type": "WordPiece", "vocab": {"[UNK]": 0, "egg": 1}}}).to_string();
        let kinds = [PipelineKind::Qwen2 { adds_prefix_space: false }, PipelineKind::Gemma { unk: "[UNK]".to_owned() }];
        for kind in kinds {
            let error = rebuilt(words.as_bytes(), &kind).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains("needs the model `BPE` with `merges`, but it is `WordPiece`"), "{error}");
        }
    }
}
