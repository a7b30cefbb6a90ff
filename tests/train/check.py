"""Compares the scores of `lorank score` with those of PEFT in Python: `check.py BASE ADAPTER PAIRS SCORES`."""

import json
import sys
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer

TOLERANCE = 1e-4


def lines(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines() if line.strip()]


base, adapter, pairs, scores = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(base)
model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, dtype=torch.float32)
model = PeftModel.from_pretrained(model, adapter).eval()
is_llama = model.config.model_type == "llama"
largest = 0.0
for pair, found in zip(lines(pairs), lines(scores), strict=True):
    title = pair.get("title")
    query, document = pair["query"], f"{title} {pair['text']}" if title else pair["text"]
    if is_llama:
        document = pair["text"] if title is None else f"{title} {pair['text']}"
        query, document = f"query: {query}", f"document: {document}"
    inputs = tokenizer(query, document, truncation=True, max_length=min(tokenizer.model_max_length, 228 if is_llama else 512), return_tensors="pt")
    with torch.inference_mode():
        expected = model(**inputs).logits.squeeze().item()
    largest = max(largest, abs(expected - found["score"]))
print(f"{base}: the scores of lorank and PEFT differ by at most {largest:.1e}")
if largest > TOLERANCE:
    sys.exit(f"more than {TOLERANCE}")
