//! Entry points for the targets in `fuzz/` and the tests that run their saved corpora. Not part of the public
//! interface.

use std::borrow::Cow;
use std::ops::Range;

use lorank_core::{Candidate, Score};

use crate::Prompt;
use crate::config::{Architecture, Config};
use crate::files::Files;
use crate::lorank_file::LorankFile;
use crate::peft::PeftConfig;
use crate::prompt::Form;
use crate::tokenize::PairTokenizer;
use crate::tokenizer_config::TokenizerSettings;
use crate::weights::read_header;

/// The size limit of a fuzzed file, in bytes. Larger files only cost memory and time.
const FILE_BYTES_MAX: usize = 64 << 10;

/// Reads the header of a safetensors file; returns whether it is valid.
///
/// # Panics
/// If a tensor is not within the file, or its size does not match its shape.
pub fn read_safetensors_header(bytes: &[u8]) -> bool {
    let read = |range: Range<u64>| Ok(Cow::Borrowed(&bytes[range.start as usize..range.end as usize]));
    let Ok((data_start, metadata)) = read_header("fuzz", bytes.len() as u64, read) else { return false };
    let fits = |(start, end): (usize, usize), n_bits: usize| {
        start <= end && data_start + end as u64 <= bytes.len() as u64 && (end - start) * 8 == n_bits
    };
    let n_bits = |shape: &[usize], bits_each: usize| shape.iter().product::<usize>() * bits_each;
    let tensors = metadata.tensors();
    let all_fit = tensors.values().all(|info| fits(info.data_offsets, n_bits(&info.shape, info.dtype.bitsize())));
    assert!(all_fit, "the header's shapes and offsets agree with each other and with the file");
    true
}

/// Reads `adapter_config.json`; returns whether it is a valid LoRA configuration.
///
/// # Panics
/// If a scale is not a finite number.
pub fn read_peft_config(bytes: &[u8]) -> bool {
    let Some(config) = within_bounds(bytes).and_then(|bytes| PeftConfig::parse(&no_files(), bytes).ok()) else {
        return false;
    };
    for module in ["model.layers.1.self_attn.q_proj", "bert.encoder.layer.11.output.dense", "score", ""] {
        let (_, scale) = (config.targets(module), config.scale_of(module));
        assert!(scale.is_finite(), "the scale of `{module}` is {scale}");
    }
    config.targets_as_given();
    true
}

/// Reads a base model's `config.json`; returns whether it is valid and has a supported architecture.
///
/// # Panics
/// If the attention heads do not divide the model's width or each other.
pub fn read_model_config(bytes: &[u8]) -> bool {
    let Some(config) = within_bounds(bytes).and_then(|bytes| Config::parse(&no_files(), bytes).ok()) else {
        return false;
    };
    let divides = match config.architecture {
        Architecture::Llama(settings) => {
            let (heads, kv_heads) = (settings.numbers.num_attention_heads, settings.numbers.num_key_value_heads());
            heads.is_multiple_of(kv_heads) && heads.checked_mul(settings.head_dim).is_some_and(|width| width > 0)
        }
        Architecture::Bert(config) => config.hidden_size.is_multiple_of(config.num_attention_heads),
        Architecture::Gte(settings) => settings.hidden_size.is_multiple_of(settings.num_attention_heads),
        Architecture::ModernBert(settings) => settings.hidden_size.is_multiple_of(settings.num_attention_heads),
    };
    assert!(divides, "heads divide evenly");
    true
}

/// Reads `tokenizer.json` and encodes a pair; returns whether both succeed.
pub fn read_tokenizer(bytes: &[u8]) -> bool {
    let (files, prompt) = (no_files(), Prompt::pair(32));
    let Ok(settings) = TokenizerSettings::read(&files, "llama", None) else { return false };
    let Some(tokenizer) = within_bounds(bytes).and_then(|bytes| PairTokenizer::parse(&files, bytes, settings).ok())
    else {
        return false;
    };
    let is_room = tokenizer.check(&prompt, files.name()).is_ok();
    is_room && tokenizer.pairs(&prompt, "light bulb", &[candidate(None)]).is_ok_and(|pairs| pairs.len() == 1)
}

/// Reads `lorank.json` and fills its templates; returns whether it is valid.
///
/// # Panics
/// If the start of a document is not a prefix of it, or is longer than requested.
pub fn read_prompt(bytes: &[u8]) -> bool {
    let Some(bytes) = within_bounds(bytes) else { return false };
    [Prompt::llama(), Prompt::pair(512)].into_iter().all(|prompt| {
        let file = LorankFile::parse(&no_files(), bytes);
        let Ok(prompt) = file.and_then(|file| prompt.overridden_by(&file, &no_files(), &[])) else { return false };
        let Form::Pair(prompt) = &prompt.form else { return true };
        prompt.query("wer erfand die Gl\u{fc}hbirne {query}");
        for title in [None, Some(""), Some("T\u{ed}tle {text}")] {
            let candidate = candidate(title);
            let whole = prompt.document_start(&candidate, usize::MAX).text.into_owned();
            for bytes_max in [0, 1, 2, 3, 5, 8, 40, 1_000, usize::MAX] {
                let start = prompt.document_start(&candidate, bytes_max);
                assert!(whole.starts_with(&*start.text) && start.text.len() <= bytes_max, "{start:?} of {whole:?}");
                assert_eq!(start.is_whole, *start.text == whole, "{start:?} of {whole:?}");
            }
        }
        true
    })
}

fn within_bounds(bytes: &[u8]) -> Option<&[u8]> {
    (bytes.len() <= FILE_BYTES_MAX).then_some(bytes)
}

/// The files named in errors.
fn no_files() -> Files {
    Files::embedded("fuzz", [])
}

fn candidate(title: Option<&str>) -> Candidate {
    let score = Score::new(0.0).expect("zero is finite");
    let mut candidate = Candidate::new("1", "Gl\u{fc}h\u{4e2d}birne {title}: a light bulb.", score);
    candidate.title = title.map(Into::into);
    candidate
}

#[cfg(test)]
mod tests {
    use lorank_testing::check_corpus;

    use super::*;

    #[test]
    fn safetensors_headers_never_panic() {
        check_corpus("safetensors_header", read_safetensors_header);
    }

    #[test]
    fn peft_configs_never_panic() {
        check_corpus("peft_config", read_peft_config);
    }

    #[test]
    fn model_configs_never_panic() {
        check_corpus("model_config", read_model_config);
    }

    #[test]
    fn tokenizers_never_panic() {
        check_corpus("tokenizer", read_tokenizer);
    }

    #[test]
    fn prompts_never_panic() {
        check_corpus("prompt", read_prompt);
    }
}
