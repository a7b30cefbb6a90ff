#!/usr/bin/env python3
"""Scores the pairs of a reference file with transformers (and PEFT) in f32: the numbers that lorank must reproduce.

    record_scores.py PAIRS OUT --base DIR [--adapter DIR]

PAIRS is a reference file: `max_length`, and `pairs` with `query` and `document`; OUT gets the same with each pair's number of
tokens, `score` (with the adapter) and `base_score` (of a base that has a head of its own). PAIRS and OUT may be one file. An
adapter's lorank.json gives the templates and `max_length`. Prints how far the new scores are from those that PAIRS held.

The model folders come from real_models.py. Recorded with torch 2.15.0, transformers 5.23.0, peft 0.21.2; the last digits (about
1e-5 for MiniLM, 1e-4 for SmolLM2) depend on the machine.
"""
import argparse
import json
import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
import transformers
from transformers import AutoModelForSequenceClassification, AutoTokenizer


def load_base(folder, tokenizer):
    options = dict(num_labels=1, dtype=torch.float32, attn_implementation="eager")
    model, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True, **options)
    model.config.pad_token_id = tokenizer.pad_token_id
    return model.eval(), not info["missing_keys"]


def score(model, tokenizer, texts, max_length):
    """One pair at a time, so that nothing is padded. Lists even so: `tok("query", "")` takes an empty document for none."""
    scores, n_tokens = [], []
    for query, document in texts:
        x = tokenizer([query], [document], truncation=True, max_length=max_length, return_tensors="pt")
        with torch.inference_mode():
            scores.append(model(**x).logits[0, 0].item())
        n_tokens.append(x["input_ids"].shape[1])
    return scores, n_tokens


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--adapter", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)

    reference = json.loads(options.pairs.read_text(encoding="utf-8"))
    pairs = reference["pairs"]
    versions = {m.__name__: m.__version__ for m in (torch, transformers)}
    manner = {"query_template": "{query}", "document_template": "{document}", "max_length": reference["max_length"]}
    tokenizer = AutoTokenizer.from_pretrained(options.base)
    model, base_has_head = load_base(options.base, tokenizer)
    columns = {}
    if options.adapter:
        import peft

        versions["peft"] = peft.__version__
        manner.update(json.loads((options.adapter / "lorank.json").read_text(encoding="utf-8")))
    texts = [
        (manner["query_template"].replace("{query}", p["query"]), manner["document_template"].replace("{document}", p["document"]))
        for p in pairs
    ]
    if base_has_head:
        columns["base_score"], n_tokens = score(model, tokenizer, texts, manner["max_length"])
    if options.adapter:
        model = peft.PeftModel.from_pretrained(model, options.adapter).eval()
        columns["score"], n_tokens = score(model, tokenizer, texts, manner["max_length"])
    if not columns:
        parser.error(f"{options.base} has no score head, and no adapter brings one")

    for column, scores in columns.items():
        moved = [abs(pair[column] - new) for pair, new in zip(pairs, scores) if column in pair]
        print(f"{column}: {len(scores)} scores, {min(scores):.3f} to {max(scores):.3f}; moved by {max(moved, default=0.0):.1e}")
    written = {"versions": versions, "dtype": "float32", "max_length": manner["max_length"], "pairs": [
        {**pair, "n_tokens": n_tokens[i], **{column: columns[column][i] for column in sorted(columns, reverse=True)}}
        for i, pair in enumerate(pairs)
    ]}  # fmt: skip
    options.out.write_text(json.dumps(written, ensure_ascii=False, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
