#!/usr/bin/env python3
"""Small adapters of the tiny models in the forms that PEFT writes, and their scores.

    record_adapters.py [NAME ...]   writes ../fixtures/adapters/NAME/ and ../fixtures/adapters/reference.json; with names, these alone

Every adapter is made, filled with random numbers, saved, loaded again and scored by PEFT, in f32, one pair at a time, with the
tokenizer cutting at 96 tokens. Recorded with torch 2.15.0, transformers 5.24.0, peft 0.21.2.
"""
import json
import math
import os
import shutil
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
OUT = FIXTURES / "adapters"
MAX_LENGTH = 96
PAIRS = [
    ["When did Thomas Edison invent the light bulb?", "Thomas Edison invented the light bulb in 1879"],
    ["what is reranking", "A search engine usually works in two stages."],
    ["how long do you boil eggs", "Seven minutes for a soft yolk. " * 30],
    ["cold water", "boil the eggs"],
]
BERT, LLAMA = "tiny-bert", "tiny-llama"
SEQ = {"task_type": "SEQ_CLS"}
QV, QVL = ["query", "value"], ["q_proj", "v_proj"]
CASES = {
    "bert-bias-all": (BERT, {**SEQ, "target_modules": QV, "bias": "all"}),
    "bert-bias-lora-only": (BERT, {**SEQ, "target_modules": ["query", "dense"], "bias": "lora_only"}),
    "bert-lora-bias": (BERT, {**SEQ, "target_modules": QV, "lora_bias": True}),
    "bert-lora-bias-rslora": (BERT, {**SEQ, "target_modules": ["key", "dense"], "lora_bias": True, "use_rslora": True}),
    "bert-head-by-name": (BERT, {"target_modules": ["query", "classifier"]}),
    "bert-all-linear-without-task": (BERT, {"target_modules": "all-linear"}),
    "bert-all-linear": (BERT, {**SEQ, "target_modules": "all-linear"}),
    "bert-words": (BERT, {**SEQ, "target_modules": ["query", "word_embeddings"]}),
    "bert-all-tables": (BERT, {**SEQ, "target_modules": ["word_embeddings", "position_embeddings", "token_type_embeddings"]}),
    "bert-norms-saved": (BERT, {**SEQ, "target_modules": QV, "modules_to_save": ["LayerNorm"]}),
    "bert-pooler-saved": (BERT, {**SEQ, "target_modules": QV, "modules_to_save": ["pooler.dense"]}),
    "bert-everything": (BERT, {"target_modules": ["query", "value", "dense", "word_embeddings", "classifier"], "bias": "all", "lora_bias": False, "rank_pattern": {"query": 2}, "alpha_pattern": {"dense": 3}}),
    "bert-layers": (BERT, {**SEQ, "target_modules": QV, "layers_to_transform": [1], "layers_pattern": "layer"}),
    "bert-excluded": (BERT, {**SEQ, "target_modules": "all-linear", "exclude_modules": ["key", "pooler.dense"]}),
    "bert-unmatched-pattern": (BERT, {**SEQ, "target_modules": QV, "rank_pattern": {"no_such_module": 2}, "alpha_pattern": {"other": 5}}),
    "bert-fan-in-fan-out": (BERT, {**SEQ, "target_modules": QV, "fan_in_fan_out": True}),
    "bert-gaussian": (BERT, {**SEQ, "target_modules": QV, "init_lora_weights": "gaussian"}),
    "llama-lora-bias": (LLAMA, {**SEQ, "target_modules": ["q_proj", "down_proj"], "lora_bias": True}),
    "llama-tokens": (LLAMA, {**SEQ, "target_modules": [*QVL, "embed_tokens"]}),
    "llama-head-by-name": (LLAMA, {"target_modules": [*QVL, "score"]}),
    "llama-all-linear-without-task": (LLAMA, {"target_modules": "all-linear"}),
    "llama-norm-saved": (LLAMA, {**SEQ, "target_modules": QVL, "modules_to_save": ["norm", "input_layernorm"]}),
    "llama-bias-all": (LLAMA, {**SEQ, "target_modules": QVL, "bias": "all"}),
    "llama-embeddings-saved": (LLAMA, {**SEQ, "target_modules": QVL}),
    "llama-rslora-patterns": (LLAMA, {**SEQ, "target_modules": r".*layers\.\d+\.(self_attn|mlp)\.(q|up)_proj", "use_rslora": True, "rank_pattern": {r"layers\.1\.self_attn\.q_proj": 2}, "alpha_pattern": {"up_proj": 9}}),
    # Of the backbone alone, whose names lack `model.` or `bert.`: PEFT matches with the names of the model that it wraps.
    "llama-backbone-regex": (LLAMA, {"target_modules": r"layers\.\d+\.(self_attn|mlp)\.(q|up)_proj", "rank_pattern": {r"^layers\.1\.self_attn\.q_proj": 2}}),
    "bert-backbone-layers": (BERT, {"target_modules": r"encoder\.layer\.[12]\..*(query|dense)", "exclude_modules": r"encoder\.layer\.1\.output\.dense"}),
}  # fmt: skip


def load(base):
    return AutoModelForSequenceClassification.from_pretrained(
        FIXTURES / base / "base", dtype=torch.float32, attn_implementation="eager", num_labels=1
    ).eval()


def wrap(model, name, peft):
    """The model with an adapter, which `peft` makes of the wrapped part."""
    if "backbone" not in name:
        return peft(model).eval()
    part = model.base_model_prefix
    setattr(model, part, peft(getattr(model, part)))
    return model.eval()


def make(name, base, config, seed):
    torch.manual_seed(seed)
    model = load(base)
    model.name_or_path = model.config._name_or_path = f"{base}-fixture/base"
    model = wrap(model, name, lambda part: get_peft_model(part, LoraConfig(**{"r": 4, "lora_alpha": 6, **config})))
    wrapped = getattr(model, model.base_model_prefix) if "backbone" in name else model
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=g)
            if "lora_A" in key or "lora_embedding_A" in key:
                p.copy_(0.6 * noise / math.sqrt(p.shape[1]) if "embedding" not in key else 0.4 * noise)
            elif "lora_B" in key or "lora_embedding_B" in key:
                p.copy_(0.12 * noise)
            elif p.requires_grad:
                p.add_(0.1 * noise)
    save_embeddings = True if name == "llama-embeddings-saved" else "auto"
    wrapped.save_pretrained(OUT / name, save_embedding_layers=save_embeddings)
    (OUT / name / "README.md").unlink(missing_ok=True)
    path = OUT / name / "adapter_config.json"
    written = json.loads(path.read_text())
    # The backbone of an adapter that is trained alone has the path of its folder.
    written["base_model_name_or_path"] = f"{base}-fixture/base"
    for key in ("target_modules", "exclude_modules"):
        if isinstance(written.get(key), list):
            written[key].sort()
    path.write_text(json.dumps(written, indent=1))


def score(name, base):
    model = wrap(load(base), name, lambda part: PeftModel.from_pretrained(part, OUT / name))
    tokenizer = AutoTokenizer.from_pretrained(FIXTURES / base / "base")
    prefix = ("query: ", "document: ") if base == LLAMA else ("", "")
    scores = []
    for query, document in PAIRS:
        x = tokenizer([prefix[0] + query], [prefix[1] + document], truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
        if base == LLAMA:
            x.pop("token_type_ids", None)
        with torch.inference_mode():
            scores.append(model(**x).logits[0, 0].item())
    return scores


def main():
    torch.set_num_threads(1)
    wanted = sys.argv[1:] or list(CASES)
    path = OUT / "reference.json"
    cases = [case for case in json.loads(path.read_text())["cases"] if case["name"] not in wanted] if sys.argv[1:] else []
    for seed, (name, (base, config)) in enumerate(CASES.items()):
        if name not in wanted:
            continue
        shutil.rmtree(OUT / name, ignore_errors=True)
        make(name, base, config, seed)
        cases.append({"name": name, "base": base, "scores": score(name, base)})
        print(cases[-1], file=sys.stderr, flush=True)
    out = {"max_length": MAX_LENGTH, "pairs": PAIRS, "cases": cases}
    path.write_text(json.dumps(out, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
