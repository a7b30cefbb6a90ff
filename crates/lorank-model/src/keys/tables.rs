//! The keys of each file and their treatment, as data.
//!
//! The reference is transformers 5.24 with sentence-transformers 6.2 (`CrossEncoder`) and PEFT 0.21.

use super::Rule::{Honored, NoEffect, Only};
use super::{Group, KeyTable, Unknown};

const fn group(keys: &'static [&'static str], rule: super::Rule, note: &'static str) -> Group {
    Group { keys, rule, note }
}

const SIZES: Group = group(
    &[
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "max_position_embeddings",
    ],
    Honored,
    "the shapes of the weights; pairs are truncated to `max_position_embeddings`",
);
const LABELS: Group = group(
    &["id2label", "num_labels"],
    Honored,
    "the labels of the head; with more than one, `score_label` of `lorank.json` names the one to rank by",
);
const NAMES: Group = group(&["model_type", "_name_or_path"], Honored, "the architecture; the model's name");
const TOKENIZER_CLASS: Group =
    group(&["tokenizer_class"], Honored, "used if `tokenizer_config.json` has none; see there");
const ACTIVATION: Group = group(
    &["sentence_transformers", "sbert_ce_default_activation_function"],
    NoEffect,
    "the activation for the logit: `/score` applies it, all other scores are logits",
);
const TRAINING: Group = group(
    &[
        "initializer_range",
        "hidden_dropout_prob",
        "attention_probs_dropout_prob",
        "attention_dropout",
        "classifier_dropout",
        "gradient_checkpointing",
        "problem_type",
        "finetuning_task",
        "task_specific_params",
        "label2id",
        "layerdrop",
    ],
    NoEffect,
    "training only",
);
const EXECUTION: Group = group(
    &[
        "architectures",
        "dtype",
        "torch_dtype",
        "use_bfloat16",
        "transformers_version",
        "torchscript",
        "use_cache",
        "cache_implementation",
        "chunk_size_feed_forward",
        "pretraining_tp",
        "return_dict",
        "return_dict_in_generate",
        "output_attentions",
        "output_hidden_states",
        "output_scores",
        "tf_legacy_loss",
        "attn_implementation",
        "_attn_implementation",
        "_attn_implementation_autoset",
        "_commit_hash",
        "unsloth_fixed",
        "unsloth_version",
    ],
    NoEffect,
    "execution, not results; `--precision` sets the precision",
);
const GENERATION_NOTE: &str = "text generation only";
const GENERATION: Group = group(
    &[
        "temperature",
        "tie_encoder_decoder",
        "bos_token_id",
        "sep_token_id",
        "cls_token_id",
        "mask_token_id",
        "unk_token_id",
        "decoder_start_token_id",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "prefix",
        "max_length",
        "min_length",
        "do_sample",
        "early_stopping",
        "num_beams",
        "num_beam_groups",
        "diversity_penalty",
        "top_k",
        "top_p",
        "typical_p",
        "repetition_penalty",
        "length_penalty",
        "no_repeat_ngram_size",
        "encoder_no_repeat_ngram_size",
        "bad_words_ids",
        "num_return_sequences",
        "remove_invalid_values",
        "exponential_decay_length_penalty",
        "suppress_tokens",
        "begin_suppress_tokens",
    ],
    NoEffect,
    GENERATION_NOTE,
);
/// The same without the temperature, which divides the logits of bidirectional Llamas.
const OTHER_GENERATION: Group = match GENERATION.keys.split_first() {
    Some((_, others)) => group(others, NoEffect, GENERATION_NOTE),
    None => GENERATION,
};
const TIED: Group = group(&["tie_word_embeddings"], NoEffect, "there is no language model head");
const TIED_LOGITS: Group = group(
    &["tie_word_embeddings"],
    Honored,
    "for `score_tokens`: whether the logits' matrix is that of the embeddings, else `lm_head`",
);
const OTHER_MODEL: Group = group(
    &["is_encoder_decoder", "add_cross_attention", "cross_attention_hidden_size"],
    Only(&["false"]),
    "another architecture",
);
const PRUNED: Group = group(&["pruned_heads"], Only(&["{}"]), "removed attention heads");
const QUANTIZED: Group = group(&["quantization_config", "compression_config"], Only(&[]), "packed weights");
const OWN_CODE: Group = group(
    &["auto_map"],
    Honored,
    "the published classes are implemented here, and their code is never run; other classes are refused",
);
const CODE: Group = group(&["auto_map"], Only(&["{}"]), "custom code of the model, which is never run");

/// `config.json` of a BERT.
pub(crate) const BERT_CONFIG: KeyTable = KeyTable {
    file: "config.json",
    title: "`config.json` of a BERT",
    groups: &[
        NAMES,
        SIZES,
        group(&["type_vocab_size", "layer_norm_eps"], Honored, ""),
        group(
            &["hidden_act"],
            Honored,
            "`gelu`, `relu`, `tanh` and the names of the tanh form of GELU; others are refused",
        ),
        LABELS,
        TOKENIZER_CLASS,
        group(&["is_decoder"], Only(&["false"]), "causal attention"),
        group(&["position_embedding_type"], Only(&["\"absolute\""]), "relative positions"),
        OTHER_MODEL,
        PRUNED,
        QUANTIZED,
        CODE,
        ACTIVATION,
        group(&["pad_token_id", "eos_token_id"], NoEffect, "pairs are not padded"),
        group(
            &[
                "directionality",
                "pooler_fc_size",
                "pooler_num_attention_heads",
                "pooler_num_fc_layers",
                "pooler_size_per_head",
                "pooler_type",
            ],
            NoEffect,
            "left over from the first BERT's files",
        ),
        TRAINING,
        EXECUTION,
        GENERATION,
        TIED,
    ],
    unknown: Unknown::Warn,
};

/// `config.json` of a RoBERTa or an XLM-RoBERTa.
pub(crate) const ROBERTA_CONFIG: KeyTable = KeyTable {
    file: "config.json",
    title: "`config.json` of a RoBERTa or an XLM-RoBERTa",
    groups: &[
        NAMES,
        SIZES,
        group(&["type_vocab_size", "layer_norm_eps"], Honored, ""),
        group(
            &["hidden_act"],
            Honored,
            "`gelu`, `relu`, `tanh` and the names of the tanh form of GELU; others are refused",
        ),
        LABELS,
        TOKENIZER_CLASS,
        group(&["is_decoder"], Only(&["false"]), "causal attention"),
        group(&["position_embedding_type"], Only(&["\"absolute\""]), "relative positions"),
        OTHER_MODEL,
        PRUNED,
        QUANTIZED,
        CODE,
        ACTIVATION,
        group(
            &["pad_token_id"],
            Honored,
            "1 if absent; positions start after it, so a pair has at most `max_position_embeddings` - `pad_token_id` - 1 tokens",
        ),
        group(&["eos_token_id"], NoEffect, "generation alone"),
        TRAINING,
        EXECUTION,
        GENERATION,
        TIED,
    ],
    unknown: Unknown::Warn,
};

/// `config.json` of a DistilBERT.
pub(crate) const DISTILBERT_CONFIG: KeyTable = KeyTable {
    file: "config.json",
    title: "`config.json` of a DistilBERT",
    groups: &[
        NAMES,
        group(
            &["vocab_size", "dim", "hidden_dim", "n_layers", "n_heads", "max_position_embeddings"],
            Honored,
            "the shapes of the weights; pairs are truncated to `max_position_embeddings`",
        ),
        group(
            &["hidden_size", "num_hidden_layers", "num_attention_heads"],
            Honored,
            "read in place of `dim`, `n_layers` and `n_heads` if these are absent",
        ),
        group(
            &["activation"],
            Honored,
            "`gelu`, `relu`, `tanh` and the names of the tanh form of GELU; others are refused",
        ),
        LABELS,
        TOKENIZER_CLASS,
        group(&["is_decoder"], Only(&["false"]), "causal attention"),
        OTHER_MODEL,
        PRUNED,
        QUANTIZED,
        CODE,
        ACTIVATION,
        group(&["pad_token_id", "eos_token_id"], NoEffect, "pairs are not padded"),
        group(&["sinusoidal_pos_embds"], NoEffect, "the positions are among the weights"),
        group(
            &["hidden_act", "intermediate_size", "layer_norm_eps", "type_vocab_size", "position_embedding_type"],
            NoEffect,
            "left over from BERT's files",
        ),
        group(&["dropout", "qa_dropout", "seq_classif_dropout", "tie_weights_"], NoEffect, "training"),
        TRAINING,
        EXECUTION,
        GENERATION,
        TIED,
    ],
    unknown: Unknown::Warn,
};

/// `config.json` of an ELECTRA.
pub(crate) const ELECTRA_CONFIG: KeyTable = KeyTable {
    file: "config.json",
    title: "`config.json` of an ELECTRA",
    groups: &[
        NAMES,
        SIZES,
        group(&["embedding_size", "type_vocab_size", "layer_norm_eps"], Honored, ""),
        group(
            &["hidden_act"],
            Honored,
            "`gelu`, `relu`, `tanh` and the names of the tanh form of GELU; others are refused",
        ),
        LABELS,
        TOKENIZER_CLASS,
        group(&["is_decoder"], Only(&["false"]), "causal attention"),
        group(&["position_embedding_type"], Only(&["\"absolute\""]), "relative positions"),
        OTHER_MODEL,
        PRUNED,
        QUANTIZED,
        CODE,
        ACTIVATION,
        group(&["pad_token_id", "eos_token_id"], NoEffect, "pairs are not padded"),
        group(
            &[
                "summary_type",
                "summary_use_proj",
                "summary_activation",
                "summary_first_dropout",
                "summary_last_dropout",
                "generator_hidden_size",
            ],
            NoEffect,
            "other heads",
        ),
        TRAINING,
        EXECUTION,
        GENERATION,
        TIED,
    ],
    unknown: Unknown::Warn,
};

/// `config.json` of a ModernBERT.
pub(crate) const MODERNBERT_CONFIG: KeyTable = KeyTable {
    file: "config.json",
    title: "`config.json` of a ModernBERT",
    groups: &[
        NAMES,
        SIZES,
        group(&["norm_eps"], Honored, ""),
        group(
            &["norm_bias", "attention_bias", "mlp_bias", "classifier_bias"],
            Honored,
            "biases are read if true, and ignored with a warning if false",
        ),
        group(
            &["hidden_activation", "classifier_activation"],
            Honored,
            "`gelu`, `relu`, `tanh` and the names of the tanh form of GELU; others are refused",
        ),
        group(&["classifier_pooling"], Honored, "`cls` or `mean`"),
        group(
            &["layer_types", "global_attn_every_n_layers"],
            Honored,
            "the layers with global attention: the listed ones, else every third from the first",
        ),
        group(&["local_attention"], Honored, "the window of local attention: half of it to each side"),
        group(
            &["rope_parameters", "global_rope_theta", "local_rope_theta"],
            Honored,
            "the bases of the rotary frequencies; `rope_parameters` takes precedence; only the type `default` is supported",
        ),
        LABELS,
        TOKENIZER_CLASS,
        group(&["rope_scaling"], Only(&["{}"]), "scaled rotary positions"),
        group(&["head_dim"], Only(&[]), "heads of another width"),
        group(&["is_decoder", "is_causal", "causal_mask"], Only(&["false"]), "causal attention"),
        OTHER_MODEL,
        PRUNED,
        QUANTIZED,
        CODE,
        ACTIVATION,
        group(&["pad_token_id", "eos_token_id"], NoEffect, "pairs are not padded"),
        group(
            &["position_embedding_type", "layer_norm_eps", "hidden_act", "type_vocab_size"],
            NoEffect,
            "left over from BERT's files; ModernBERT has other keys, rotary positions and no token types",
        ),
        group(
            &[
                "decoder_bias",
                "sparse_prediction",
                "sparse_pred_ignore_index",
                "initializer_cutoff_factor",
                "embedding_dropout",
                "mlp_dropout",
            ],
            NoEffect,
            "training or the language model head",
        ),
        group(
            &["deterministic_flash_attn", "reference_compile", "repad_logits_with_grad"],
            NoEffect,
            "execution, not results",
        ),
        TRAINING,
        EXECUTION,
        GENERATION,
        TIED,
    ],
    unknown: Unknown::Warn,
};

/// `config.json` of a GTE.
pub(crate) const GTE_CONFIG: KeyTable = KeyTable {
    file: "config.json",
    title: "`config.json` of a GTE",
    groups: &[
        NAMES,
        SIZES,
        group(&["type_vocab_size", "layer_norm_eps"], Honored, "there are no token types if `type_vocab_size` is 0"),
        group(
            &["hidden_act"],
            Honored,
            "`gelu`, `relu`, `tanh` and the names of the tanh form of GELU; others are refused",
        ),
        group(&["pack_qkv"], Honored, "whether one layer, `qkv_proj`, computes queries, keys and values"),
        group(
            &["rope_theta", "rope_scaling"],
            Honored,
            "the base of the rotary frequencies; the type `ntk` with a factor, without `mixed_b`; others are refused",
        ),
        LABELS,
        TOKENIZER_CLASS,
        OWN_CODE,
        group(&["layer_norm_type"], Only(&["\"layer_norm\""]), "other norms"),
        group(&["position_embedding_type"], Only(&["\"rope\""]), "learned positions"),
        group(&["logn_attention_scale"], Only(&["false"]), "queries scaled by the length"),
        group(&["logn_attention_clip1"], NoEffect, "a detail of `logn_attention_scale`"),
        group(&["is_decoder"], Only(&["false"]), "causal attention"),
        OTHER_MODEL,
        PRUNED,
        QUANTIZED,
        ACTIVATION,
        group(&["pad_token_id", "eos_token_id"], NoEffect, "pairs are not padded"),
        group(&["unpad_inputs", "use_memory_efficient_attention"], NoEffect, "execution, not results"),
        TRAINING,
        EXECUTION,
        GENERATION,
        TIED,
    ],
    unknown: Unknown::Warn,
};

/// The keys that Llama and its relatives share.
const DECODER_NUMBERS: Group = group(&["num_key_value_heads", "head_dim", "rms_norm_eps"], Honored, "");
const SWIGLU: Group = group(&["hidden_act"], Honored, "`silu` (or `swish`); others are refused");
const ROPE: Group = group(
    &["rope_theta", "rope_scaling", "rope_parameters", "original_max_position_embeddings"],
    Honored,
    "`default`, `linear` and `llama3`; other kinds of scaling are refused",
);
const DECODER_TOKENS: Group = group(
    &["pad_token_id", "eos_token_id"],
    Honored,
    "the last token that is not the padding token is scored; `eos_token_id` is used if no file sets a padding token",
);
const CAUSAL: Group = group(&["is_causal"], Only(&["true"]), "attention to later tokens");
const PARTIAL_ROPE: Group = group(&["partial_rotary_factor"], Only(&["1"]), "partial rotary positions");
const DECODER: Group = group(&["is_decoder"], NoEffect, "always a decoder");
const QWEN_WINDOWS: Group = group(
    &["use_sliding_window", "sliding_window", "max_window_layers", "layer_types"],
    Honored,
    "with `use_sliding_window`, the layers from `max_window_layers` on, or the `sliding_attention` layers of `layer_types`, \
     attend to `sliding_window` tokens",
);

/// `config.json` of a Llama.
pub(crate) const LLAMA_CONFIG: KeyTable = KeyTable {
    file: "config.json",
    title: "`config.json` of a Llama",
    groups: &[
        NAMES,
        SIZES,
        DECODER_NUMBERS,
        SWIGLU,
        group(&["attention_bias", "mlp_bias"], Honored, "biases are read if true, and ignored with a warning if false"),
        ROPE,
        DECODER_TOKENS,
        LABELS,
        TOKENIZER_CLASS,
        CAUSAL,
        PARTIAL_ROPE,
        OTHER_MODEL,
        PRUNED,
        QUANTIZED,
        CODE,
        ACTIVATION,
        DECODER,
        TRAINING,
        EXECUTION,
        GENERATION,
        TIED_LOGITS,
    ],
    unknown: Unknown::Warn,
};

/// `config.json` of a bidirectional Llama.
pub(crate) const LLAMA_BIDIRECTIONAL_CONFIG: KeyTable = KeyTable {
    file: "config.json",
    title: "`config.json` of a bidirectional Llama",
    groups: &[
        NAMES,
        SIZES,
        DECODER_NUMBERS,
        SWIGLU,
        group(&["attention_bias", "mlp_bias"], Honored, "biases are read if true, and ignored with a warning if false"),
        group(
            &["pooling"],
            Honored,
            "the scored state: `avg`, the mean of all tokens (if absent); `cls`, the first token's; `last`, the last token's",
        ),
        group(&["temperature"], Honored, "the divisor of the logit; 1 if absent"),
        ROPE,
        LABELS,
        TOKENIZER_CLASS,
        OWN_CODE,
        group(&["is_causal"], Only(&["false"]), "causal attention"),
        PARTIAL_ROPE,
        OTHER_MODEL,
        PRUNED,
        QUANTIZED,
        ACTIVATION,
        DECODER,
        group(&["pad_token_id", "eos_token_id"], NoEffect, "pairs are not padded"),
        TRAINING,
        EXECUTION,
        OTHER_GENERATION,
        TIED,
    ],
    unknown: Unknown::Warn,
};

/// `config.json` of a Mistral.
pub(crate) const MISTRAL_CONFIG: KeyTable = KeyTable {
    file: "config.json",
    title: "`config.json` of a Mistral",
    groups: &[
        NAMES,
        SIZES,
        DECODER_NUMBERS,
        SWIGLU,
        group(&["sliding_window"], Honored, "each token attends to so many tokens; 4096 if absent, all if null"),
        ROPE,
        DECODER_TOKENS,
        LABELS,
        TOKENIZER_CLASS,
        CAUSAL,
        PARTIAL_ROPE,
        group(&["layer_types"], Only(&[]), "layers with different attention"),
        OTHER_MODEL,
        PRUNED,
        QUANTIZED,
        CODE,
        ACTIVATION,
        DECODER,
        group(
            &["attention_bias", "mlp_bias"],
            NoEffect,
            "not read by the reference; biases are ignored with a warning",
        ),
        TRAINING,
        EXECUTION,
        GENERATION,
        TIED_LOGITS,
    ],
    unknown: Unknown::Warn,
};

/// `config.json` of a Qwen2.
pub(crate) const QWEN2_CONFIG: KeyTable = KeyTable {
    file: "config.json",
    title: "`config.json` of a Qwen2",
    groups: &[
        NAMES,
        SIZES,
        DECODER_NUMBERS,
        SWIGLU,
        QWEN_WINDOWS,
        ROPE,
        DECODER_TOKENS,
        LABELS,
        TOKENIZER_CLASS,
        CAUSAL,
        PARTIAL_ROPE,
        OTHER_MODEL,
        PRUNED,
        QUANTIZED,
        CODE,
        ACTIVATION,
        DECODER,
        group(
            &["attention_bias", "mlp_bias", "use_mrope"],
            NoEffect,
            "not read by the reference; queries, keys and values have biases",
        ),
        TRAINING,
        EXECUTION,
        GENERATION,
        TIED_LOGITS,
    ],
    unknown: Unknown::Warn,
};

/// `config.json` of a Qwen3.
pub(crate) const QWEN3_CONFIG: KeyTable = KeyTable {
    file: "config.json",
    title: "`config.json` of a Qwen3",
    groups: &[
        NAMES,
        SIZES,
        group(&["num_key_value_heads", "head_dim", "rms_norm_eps"], Honored, "`head_dim` is 128 if absent"),
        SWIGLU,
        group(&["attention_bias"], Honored, "biases are read if true, and ignored with a warning if false"),
        QWEN_WINDOWS,
        ROPE,
        DECODER_TOKENS,
        LABELS,
        TOKENIZER_CLASS,
        CAUSAL,
        PARTIAL_ROPE,
        OTHER_MODEL,
        PRUNED,
        QUANTIZED,
        CODE,
        ACTIVATION,
        DECODER,
        TRAINING,
        EXECUTION,
        GENERATION,
        TIED_LOGITS,
    ],
    unknown: Unknown::Warn,
};

/// `config.json` of a Gemma.
pub(crate) const GEMMA_CONFIG: KeyTable = KeyTable {
    file: "config.json",
    title: "`config.json` of a Gemma",
    groups: &[
        NAMES,
        SIZES,
        group(&["num_key_value_heads", "head_dim", "rms_norm_eps"], Honored, "`head_dim` is 256 if absent"),
        group(
            &["hidden_act"],
            Honored,
            "`gelu` and `gelu_pytorch_tanh` are both the tanh form of GELU, as in the reference; others are refused",
        ),
        group(&["hidden_activation"], Only(&["\"gelu_pytorch_tanh\""]), "not read by the reference"),
        group(&["attention_bias"], Honored, "biases are read if true, and ignored with a warning if false"),
        ROPE,
        DECODER_TOKENS,
        LABELS,
        TOKENIZER_CLASS,
        CAUSAL,
        group(&["use_bidirectional_attention"], Only(&["false"]), "attention to later tokens"),
        PARTIAL_ROPE,
        OTHER_MODEL,
        PRUNED,
        QUANTIZED,
        CODE,
        ACTIVATION,
        DECODER,
        TRAINING,
        EXECUTION,
        GENERATION,
        TIED_LOGITS,
    ],
    unknown: Unknown::Warn,
};

/// `tokenizer_config.json`.
pub(crate) const TOKENIZER_CONFIG: KeyTable = KeyTable {
    file: "tokenizer_config.json",
    title: "`tokenizer_config.json`",
    groups: &[
        group(
            &["tokenizer_class"],
            Honored,
            "the classes of BERT, RoBERTa and XLM-RoBERTa, and Llama's unless the vocabulary is byte-level, build their own pipeline \
             from the vocabulary and the keys below; the generic classes use `tokenizer.json` unchanged; other classes cause a \
             warning",
        ),
        group(
            &["do_lower_case", "strip_accents", "tokenize_chinese_chars"],
            Honored,
            "for BERT's classes; no effect for others, as in the reference",
        ),
        group(
            &["model_max_length"],
            Honored,
            "the maximum length of a pair, unless `lorank.json` or `--max-length` sets it; at most the model's positions",
        ),
        group(&["truncation_side"], Honored, "the default is `truncation` of `tokenizer.json`, else right"),
        group(
            &["model_input_names"],
            Honored,
            "without `token_type_ids`, all types are 0; if absent, BERT's classes assign types and others do not",
        ),
        group(&["split_special_tokens"], Honored, "special tokens in a text are encoded as plain text"),
        group(
            &[
                "bos_token",
                "eos_token",
                "unk_token",
                "sep_token",
                "pad_token",
                "cls_token",
                "mask_token",
                "additional_special_tokens",
                "extra_special_tokens",
                "model_specific_special_tokens",
                "added_tokens_decoder",
            ],
            Honored,
            "tokens that `tokenizer.json` lacks are added; `pad_token`, else `eos_token`, is a Llama's padding token if \
             `config.json` sets none",
        ),
        group(
            &["add_prefix_space", "legacy"],
            Honored,
            "for Llama's class, unless the vocabulary is byte-level; `add_prefix_space` also for those of RoBERTa and \
             XLM-RoBERTa; no effect for others, as in the reference",
        ),
        group(&["add_special_tokens"], Only(&[]), "the reference cannot read it"),
        group(&["auto_map"], Only(&["{}"]), "custom code of the tokenizer, which is never run"),
        group(&["init_inputs"], Only(&["[]"]), "positional arguments"),
        group(
            &["padding_side", "padding", "pad_to_multiple_of", "pad_token_type_id", "pad_to_max_length"],
            NoEffect,
            "pairs are not padded",
        ),
        group(
            &["max_length", "stride", "truncation", "truncation_strategy"],
            NoEffect,
            "lorank's own settings apply; the longer text is truncated first",
        ),
        group(
            &[
                "add_bos_token",
                "add_eos_token",
                "do_basic_tokenize",
                "never_split",
                "wordpieces_prefix",
                "sp_model_kwargs",
                "errors",
                "trim_offsets",
                "fix_mistral_regex",
            ],
            NoEffect,
            "not read by the reference if there is a `tokenizer.json`",
        ),
        group(
            &["chat_template"],
            Honored,
            "if a cross-encoder's pairs are messages, or `lorank.json` sets `chat_template`; `chat_template.jinja` takes precedence",
        ),
        group(
            &[
                "clean_up_tokenization_spaces",
                "spaces_between_special_tokens",
                "use_default_system_prompt",
                "response_template",
            ],
            NoEffect,
            "chats and decoding only",
        ),
        group(
            &[
                "name_or_path",
                "tokenizer_file",
                "vocab_file",
                "merges_file",
                "special_tokens_map_file",
                "processor_class",
                "backend",
                "use_fast",
                "from_slow",
                "is_local",
                "local_files_only",
                "transformers_version",
                "_commit_hash",
            ],
            NoEffect,
            "provenance",
        ),
    ],
    unknown: Unknown::Warn,
};

/// `special_tokens_map.json`.
pub(crate) const SPECIAL_TOKENS_MAP: KeyTable = KeyTable {
    file: "special_tokens_map.json",
    title: "`special_tokens_map.json`",
    groups: &[group(
        &[
            "bos_token",
            "eos_token",
            "unk_token",
            "sep_token",
            "pad_token",
            "cls_token",
            "mask_token",
            "additional_special_tokens",
            "extra_special_tokens",
        ],
        Honored,
        "replaces the same key of `tokenizer_config.json` if that has no `added_tokens_decoder`, and is otherwise not read; \
         the same applies to `added_tokens.json`, a map from tokens to ids",
    )],
    unknown: Unknown::Warn,
};

/// `config_sentence_transformers.json`.
pub(crate) const SENTENCE_TRANSFORMERS_CONFIG: KeyTable = KeyTable {
    file: "config_sentence_transformers.json",
    title: "`config_sentence_transformers.json`",
    groups: &[
        group(
            &["model_type"],
            Honored,
            "`CrossEncoder`: the modules of `modules.json` must be one transformer in the folder itself, alone, or for a \
             ModernBERT before the modules `Pooling`, `Dense`, `LayerNorm` and `Dense` of its head, or for a causal model \
             before `LogitScore`; \
             `sentence_bert_config.json` is read; with another type, or without the file, both have no effect, as in the \
             reference",
        ),
        group(
            &["default_prompt_name", "prompts"],
            Honored,
            "the selected prompt is the instruction of a chat template, else the text before each query",
        ),
        group(
            &["activation_fn"],
            NoEffect,
            "the activation for the logit: `/score` applies it, all other scores are logits",
        ),
        group(
            &["__version__", "similarity_fn_name", "truncate_dim", "keep_in_fp32_modules"],
            NoEffect,
            "embeddings or execution",
        ),
    ],
    unknown: Unknown::Warn,
};

/// `sentence_bert_config.json`.
pub(crate) const SENTENCE_BERT_CONFIG: KeyTable = KeyTable {
    file: "sentence_bert_config.json",
    title: "`sentence_bert_config.json`",
    groups: &[
        group(&["max_seq_length"], Honored, "replaces `model_max_length`"),
        group(&["do_lower_case"], Honored, "texts are lowercased before tokenization"),
        group(
            &["transformer_task"],
            Only(&["\"sequence-classification\"", "\"feature-extraction\"", "\"text-generation\""]),
            "another head; the second one needs the modules of a head, the third one `LogitScore`",
        ),
        group(
            &["modality_config", "processing_kwargs"],
            Honored,
            "with the modality `message`, pairs are messages of a chat template, with the variables of `chat_template`; \
             other settings of `processing_kwargs` are refused",
        ),
        group(&["query_expansion"], Only(&["{}"]), "another model"),
        group(
            &[
                "module_output_name",
                "message_format",
                "unpad_inputs",
                "query_length",
                "document_length",
                "tokenizer_args",
                "model_args",
                "config_args",
            ],
            NoEffect,
            "for models that do not rerank text pairs",
        ),
    ],
    unknown: Unknown::Warn,
};

/// `adapter_config.json`.
pub(crate) const ADAPTER_CONFIG: KeyTable = KeyTable {
    file: "adapter_config.json",
    title: "`adapter_config.json`",
    groups: &[
        group(&["peft_type"], Honored, "`LORA`; others are refused"),
        group(&["base_model_name_or_path"], Honored, "compared with the base model's name"),
        group(&["r", "lora_alpha", "use_rslora"], Honored, "the rank and the scale"),
        group(
            &["rank_pattern", "alpha_pattern"],
            Honored,
            "a key that matches none of the adapter's modules is named in a warning",
        ),
        group(
            &["target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"],
            Honored,
            "linear layers, the head and the word embeddings, by PEFT's rules",
        ),
        group(&["modules_to_save"], Honored, "each named module must be in the weights file"),
        group(&["bias"], Honored, "`none`, `all` or `lora_only`"),
        group(&["lora_bias"], Honored, "biases of the updates"),
        group(
            &["ensure_weight_tying"],
            Honored,
            "refused if true and the score is that of two tokens of tied embeddings; otherwise without effect",
        ),
        group(&["fan_in_fan_out"], NoEffect, "PEFT itself sets it to false for linear layers, with a warning"),
        group(
            &["init_lora_weights"],
            Honored,
            "initializations that change the base model's weights (`pissa`, `olora`, `corda`, `loftq`, `lora_ga`) are refused",
        ),
        group(&["use_dora"], Only(&["false"]), "another computation"),
        group(&["use_qalora", "use_bdlora"], Only(&["false"]), "another computation"),
        group(
            &[
                "layer_replication",
                "trainable_token_indices",
                "target_parameters",
                "alora_invocation_tokens",
                "kasa_config",
                "arrow_config",
                "velora_config",
                "monteclora_config",
            ],
            Only(&["[]", "{}"]),
            "another computation",
        ),
        group(
            &["corda_config", "eva_config", "lora_ga_config", "loftq_config"],
            NoEffect,
            "initialization; `init_lora_weights` shows whether the base model's weights were changed",
        ),
        group(&["megatron_config"], Only(&["{}"]), "layers of another library"),
        group(
            &[
                "task_type",
                "auto_mapping",
                "revision",
                "inference_mode",
                "lora_dropout",
                "megatron_core",
                "peft_version",
                "qalora_group_size",
                "runtime_config",
            ],
            NoEffect,
            "training or provenance",
        ),
    ],
    unknown: Unknown::Refuse,
};
