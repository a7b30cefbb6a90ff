#!/usr/bin/env python3
"""Scores of the tiny models with one thing changed in their files: what lorank must give, or refuse by name.

    record_model_files.py          writes ../fixtures/model-files/reference.json

Each case names a fixture's base model, what is changed in its JSON files (a key set to null is written as null; `-key` takes it
out; `null` for a whole file takes the file away), and which biases are put among its weights. The scores are the f32 logits of
sentence-transformers' CrossEncoder, one pair at a time. Recorded with torch 2.15.0, transformers 5.24.0, sentence-transformers 6.2.0.
"""
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
LLAMA_MAX_LENGTH = 228  # DeAR's, which is lorank's default for Llama models

LONG = "The first practical light bulb was sold in 1879 by Thomas Edison, in New York. It burned for fourteen hours at most. "
PAIRS = [
    ["When did Thomas Edison invent the light bulb?", "Thomas Edison invented the light bulb in 1879"],
    ["WHAT IS RERANKING", "A Search Engine usually works in TWO stages: Größe, naïveté, Ærø."],
    ["東京の人口は?", "東京都の人口は約1,400万人です。北京有两千多万人口。"],
    ["is [SEP] a token", "the text holds [SEP] and [CLS] and <|end_of_text|> and ends with [PAD]"],
    ["light bulb", LONG * 8 + "Nobody wanted one at first."],
    [LONG * 5, LONG * 6 + "That was all."],
]

TOK, CONF, JSON = "tokenizer_config.json", "config.json", "tokenizer.json"
GENERIC = {"tokenizer_class": "PreTrainedTokenizerFast"}
ENCODER = {
    "config_sentence_transformers.json": {"model_type": "CrossEncoder", "prompts": {}, "default_prompt_name": None},
    "modules.json": [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"}],
}
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
MLP = ["gate_proj", "up_proj", "down_proj"]
TYPES_ZERO = {
    "type": "TemplateProcessing", "special_tokens": {
        "[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}, "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}},
    "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
             {"SpecialToken": {"id": "[SEP]", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
}  # fmt: skip
LEFT = {"direction": "Left", "max_length": 512, "strategy": "LongestFirst", "stride": 0}

WORDS = {word: i for i, word in enumerate(
    ["\u2581", *"abcdefghijklmnopqrstuvwxyz0123456789.,:;?()[]-", "th", "the", "\u2581the", "\u2581a", "in", "er", "qu"])}  # fmt: skip
WORDS["<|begin_of_text|>"] = 1022
SENTENCEPIECE = {JSON: {
    "normalizer": None, "pre_tokenizer": None, "decoder": None, "post_processor": {
        "type": "TemplateProcessing",
        "special_tokens": {"<|begin_of_text|>": {"id": "<|begin_of_text|>", "ids": [1022], "tokens": ["<|begin_of_text|>"]}},
        "single": [{"SpecialToken": {"id": "<|begin_of_text|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"SpecialToken": {"id": "<|begin_of_text|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                 {"SpecialToken": {"id": "<|begin_of_text|>", "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}]},
    "model": {"type": "BPE", "vocab": WORDS, "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
              "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
              "merges": ["t h", "th e", "\u2581 the", "\u2581 a", "i n", "e r", "q u"]}}}  # fmt: skip


def token(content, **flags):
    return {"content": content, "lstrip": False, "rstrip": False, "single_word": False, "normalized": False, "special": True, **flags}


BERT = {
    "as it is": {},
    "truncation_side left": {TOK: {"truncation_side": "left"}},
    "truncation_side left, short": {TOK: {"truncation_side": "left", "model_max_length": 20}},
    "do_lower_case false": {TOK: {"do_lower_case": False}},
    "do_lower_case absent": {TOK: {"-do_lower_case": 0}, JSON: {"normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": False}}},
    "strip_accents false": {TOK: {"strip_accents": False}},
    "strip_accents true, cased": {TOK: {"strip_accents": True, "do_lower_case": False}},
    "tokenize_chinese_chars false": {TOK: {"tokenize_chinese_chars": False}},
    "model_max_length": {TOK: {"model_max_length": 24}},
    "model_max_length huge": {TOK: {"model_max_length": 1000000000000000019884624838656}},
    "model_max_length absent": {TOK: {"-model_max_length": 0}},
    "positions below model_max_length": {TOK: {"model_max_length": 200}},
    "generic class": {TOK: {**GENERIC, "do_lower_case": False}},
    "generic class, normalizer of the file": {TOK: GENERIC, JSON: {"normalizer": {"type": "Lowercase"}}},
    "generic class, no normalizer": {TOK: GENERIC, JSON: {"normalizer": None}},
    "class absent": {TOK: {"-tokenizer_class": 0, "do_lower_case": False}},
    "class in config.json": {TOK: {"-tokenizer_class": 0, "do_lower_case": False}, CONF: {"tokenizer_class": "PreTrainedTokenizerFast"}},
    "Electra's class": {TOK: {"tokenizer_class": "ElectraTokenizerFast", "do_lower_case": False}},
    "no tokenizer_config.json": {TOK: None},
    "model_input_names": {TOK: {"model_input_names": ["input_ids", "attention_mask"]}},
    "types of the file, generic class": {TOK: GENERIC, JSON: {"post_processor": TYPES_ZERO}},
    "types of the file, BERT's class": {JSON: {"post_processor": TYPES_ZERO}},
    "no post-processor, generic class": {TOK: GENERIC, JSON: {"post_processor": None}},
    "no post-processor, BERT's class": {JSON: {"post_processor": None}},
    "truncation of tokenizer.json": {TOK: {**GENERIC, "model_max_length": 40}, JSON: {"truncation": LEFT}},
    "truncation of tokenizer.json, BERT's class": {TOK: {"model_max_length": 40}, JSON: {"truncation": LEFT}},
    "truncation_side before that of tokenizer.json": {TOK: {"model_max_length": 40, "truncation_side": "right"}, JSON: {"truncation": LEFT}},
    "split_special_tokens": {TOK: {"split_special_tokens": True}},
    "split_special_tokens, generic class": {TOK: {**GENERIC, "split_special_tokens": True}},
    "cls_token and sep_token": {TOK: {"cls_token": "[MASK]", "sep_token": "[PAD]"}},
    "additional_special_tokens": {TOK: {**GENERIC, "additional_special_tokens": ["the", "bu"]}},
    "additional_special_tokens, BERT's class": {TOK: {"additional_special_tokens": ["the", "bu"]}},
    "added_tokens_decoder": {TOK: {"added_tokens_decoder": {"0": token("[PAD]"), "1": token("[UNK]"), "2": token("[CLS]"), "3": token("[SEP]"), "4": token("[MASK]"), "40": token("th", special=False, normalized=True)}}},
    "added_tokens_decoder, generic class": {TOK: {**GENERIC, "added_tokens_decoder": {"40": token("th", special=False)}}},
    "added_tokens.json": {"added_tokens.json": {"th": 40}},
    "special_tokens_map.json": {"special_tokens_map.json": {"cls_token": "[MASK]", "sep_token": token("[SEP]")}},
    "a token of the model's own": {TOK: {**GENERIC, "image_token": "bu"}},
    "padding_side left": {TOK: {"padding_side": "left"}},
    "add_bos_token": {TOK: {**GENERIC, "add_bos_token": True, "bos_token": "[CLS]"}},
    "settings of a call": {TOK: {"max_length": 10, "stride": 3, "truncation_strategy": "only_second", "truncation": False}},
    "hidden_act gelu_new": {CONF: {"hidden_act": "gelu_new"}},
    "hidden_act gelu_fast": {CONF: {"hidden_act": "gelu_fast"}},
    "hidden_act relu": {CONF: {"hidden_act": "relu"}},
    "hidden_act tanh": {CONF: {"hidden_act": "tanh"}},
    "layer_norm_eps": {CONF: {"layer_norm_eps": 0.1}},
    "dropout": {CONF: {"hidden_dropout_prob": 0.9, "attention_probs_dropout_prob": 0.9, "classifier_dropout": 0.9}},
    "problem_type": {CONF: {"problem_type": "multi_label_classification"}},
    "pad_token_id": {CONF: {"pad_token_id": 7}},
    "activation": {CONF: {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid", "version": "5"}}},
    "cross-encoder's files": {**ENCODER, "sentence_bert_config.json": {"transformer_task": "sequence-classification", "max_seq_length": 30, "do_lower_case": False}},
    "cross-encoder's lower case": {**ENCODER, TOK: {"do_lower_case": False}, "sentence_bert_config.json": {"transformer_task": "sequence-classification", "max_seq_length": 60, "do_lower_case": True}},
    "sentence_bert_config.json alone": {"sentence_bert_config.json": {"max_seq_length": 30, "do_lower_case": False}},
}
LLAMA = {
    "as it is": {},
    "attention_bias false, biases there": {"biases": ATTENTION},
    "attention_bias true": {"biases": ATTENTION, CONF: {"attention_bias": True}},
    "mlp_bias true": {"biases": MLP, CONF: {"mlp_bias": True}},
    "both biases": {"biases": ATTENTION + MLP, CONF: {"attention_bias": True, "mlp_bias": True}},
    "one of both biases": {"biases": ATTENTION + MLP, CONF: {"attention_bias": False, "mlp_bias": True}},
    "rope_scaling null": {CONF: {"rope_scaling": None}},
    "rope_scaling linear": {CONF: {"rope_scaling": {"type": "linear", "factor": 4.0}}},
    "rope_scaling default": {CONF: {"rope_scaling": {"rope_type": "default"}}},
    "rope_theta": {CONF: {"rope_scaling": None, "rope_theta": 500.0}},
    "rope_theta among the scaling": {CONF: {"rope_scaling": {"rope_type": "linear", "factor": 2.0, "rope_theta": 700.0}, "rope_theta": 10000.0}},
    "rope_parameters": {CONF: {"-rope_scaling": 0, "-rope_theta": 0, "rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 900.0}}},
    "llama3 without its original length": {CONF: {"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}}},
    "llama3 with its length outside": {CONF: {"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 512}, "original_max_position_embeddings": 32}},
    "rms_norm_eps": {CONF: {"rms_norm_eps": 0.05}},
    "hidden_act swish": {CONF: {"hidden_act": "swish"}},
    "tie_word_embeddings": {CONF: {"tie_word_embeddings": False}},
    "is_decoder": {CONF: {"is_decoder": True}},
    "pretraining_tp": {CONF: {"pretraining_tp": 2}},
    "pad_token_id of a common token": {CONF: {"pad_token_id": 13}},
    "pad_token_id below zero": {CONF: {"pad_token_id": -1}},
    "truncation_side left": {TOK: {"truncation_side": "left", "model_max_length": 40}},
    "model_max_length": {TOK: {"model_max_length": 32}},
    "Llama's class over bytes": {TOK: {"tokenizer_class": "LlamaTokenizerFast", "add_prefix_space": False, "legacy": True}},
    "Llama's class over a file that says bytes": {JSON: {**SENTENCEPIECE[JSON], "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}}, TOK: {"tokenizer_class": "LlamaTokenizer"}},
    "Llama's class": {**SENTENCEPIECE, TOK: {"tokenizer_class": "LlamaTokenizer"}},
    "Llama's class, legacy": {**SENTENCEPIECE, TOK: {"tokenizer_class": "LlamaTokenizerFast", "legacy": True}},
    "Llama's class, no space before": {**SENTENCEPIECE, TOK: {"tokenizer_class": "LlamaTokenizer", "add_prefix_space": False}},
    "add_bos_token false": {TOK: {"add_bos_token": False, "add_eos_token": True}},
    "split_special_tokens": {TOK: {"split_special_tokens": True}},
    "additional_special_tokens": {TOK: {"additional_special_tokens": ["th", "er"]}},
    "no post-processor": {JSON: {"post_processor": None}},
    "padding_side left": {TOK: {"padding_side": "left"}},
    "token types are not read": {TOK: {"model_input_names": ["input_ids", "attention_mask"]}},
}  # fmt: skip


def bias(n):
    """Numbers that Rust makes too."""
    return torch.tensor([((i * 37) % 11 - 5) * 0.05 for i in range(n)], dtype=torch.float32)


def change(folder, changes):
    for name, edits in changes.items():
        path = folder / name
        if name == "biases":
            weights = folder / "model.safetensors"
            tensors = load_file(weights)
            for key in list(tensors):
                if key.split(".")[-2] in edits:
                    tensors[key.removesuffix("weight") + "bias"] = bias(tensors[key].shape[0])
            save_file(tensors, weights, metadata={"format": "pt"})
        elif edits is None:
            path.unlink()
        elif isinstance(edits, list) or not path.exists():
            path.write_text(json.dumps(edits))
        else:
            value = json.loads(path.read_text())
            for key, new in edits.items():
                if key.startswith("-"):
                    value.pop(key[1:], None)
                else:
                    value[key] = new
            path.write_text(json.dumps(value))


def score(base, changes):
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "base"
        shutil.copytree(FIXTURES / base / "base", folder)
        change(folder, changes)
        pairs, options = PAIRS, {}
        if base == "tiny-llama":
            pairs = [[f"query: {query}", f"document: {document}"] for query, document in PAIRS]
            if "model_max_length" not in changes.get(TOK, {}):
                options["max_length"] = LLAMA_MAX_LENGTH
        model = CrossEncoder(str(folder), device="cpu", **options)
        if model.tokenizer.pad_token is None:  # a batch of one pair is not padded, but the call wants to be able to
            model.tokenizer.pad_token = model.tokenizer.eos_token
        return [float(model.predict([pair], batch_size=1, activation_fn=torch.nn.Identity())[0]) for pair in pairs]


def main():
    torch.set_num_threads(1)
    cases = []
    for base, changed in (("tiny-bert", BERT), ("tiny-llama", LLAMA)):
        for name, changes in changed.items():
            try:
                scores = score(base, changes)
            except Exception as error:
                print(f"FAILED {base}, {name}: {error!r}", file=sys.stderr)
                continue
            print(base, name, scores, file=sys.stderr, flush=True)
            cases.append({"name": name, "base": base, "changes": changes, "scores": scores})
    out = FIXTURES / "model-files" / "reference.json"
    out.write_text(json.dumps({"pairs": PAIRS, "cases": cases}, ensure_ascii=False, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
