#!/usr/bin/env python3
"""Trains an adapter with PEFT on groups that `lorank export-groups` wrote; `lorank adapters add` takes the result.

    lorank export-groups --dataset scifact --teacher none --output groups.jsonl
    python3 examples/train_peft.py --groups groups.jsonl --base BASE --output adapters/mine

The loss is binary cross-entropy or ListMLE, with knowledge distillation as in DeAR if the groups have a teacher's scores.
The options and the schedule are those of `lorank train`. The gradients of a step are accumulated, `--at-once` groups at a time:
with all groups of a step at once, 64 pairs of 512 tokens took more than 23 GB with MiniLM. `--device cuda --dtype bfloat16
--checkpointing` trains a large model on a GPU, with the base model in bf16 and the adapter in f32. Needs: torch transformers peft
"""
import argparse
import json
import math
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=Path, required=True)
    parser.add_argument("--base", required=True, help="a folder or a name on the hub")
    parser.add_argument("--output", required=True)
    parser.add_argument("--targets", default="query,key,value,dense")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--alpha", type=float, default=32)
    parser.add_argument("--dropout", type=float, default=0.05)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8, help="groups of a step")
    parser.add_argument("--at-once", type=int, default=1, help="groups of a forward pass")
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--loss", choices=["bce", "listmle"], default="bce")
    parser.add_argument("--distillation", type=float, default=0.1)
    parser.add_argument("--temperature", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="threads of torch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of the base model")
    parser.add_argument("--checkpointing", action="store_true", help="compute activations again in the backward pass")
    parser.add_argument("--start", type=Path, help="an adapter to start from; it sets rank, alpha and targets")
    parser.add_argument("--keep-order", action="store_true", help="use the groups in the file's order")
    parser.add_argument("--query-prefix", default="", help="before each query, as in the prompt of a Llama: 'query: '")
    parser.add_argument("--document-prefix", default="")
    return parser.parse_args()


def list_mle(scores, labels):
    """The negative log-likelihood of the order by labels, up to the last relevant document (ListMLE). Both: [n_documents]."""
    order = torch.sort(labels, descending=True, stable=True).indices
    # The logarithm of the sum over a document and those after it.
    rest = scores[order].flip(0).logcumsumexp(0).flip(0)
    return (rest - scores[order])[: int((labels > 0).sum())].mean()


def loss_of(scores, group, args):
    """The loss of a group. scores: [n_documents]."""
    labels = torch.tensor([float(document["label"]) for document in group["documents"]], device=scores.device)
    if args.loss == "listmle":
        loss = list_mle(scores, labels)
    else:
        loss = F.binary_cross_entropy_with_logits(scores, labels.clamp(max=1))
    teacher = [document.get("teacher") for document in group["documents"]]
    if args.distillation == 0 or None in teacher:
        return loss
    student, teacher = (F.log_softmax(x / args.temperature, -1) for x in (scores, torch.tensor(teacher, device=scores.device)))
    divergence = F.kl_div(student, teacher, reduction="sum", log_target=True)
    return (1 - args.distillation) * loss + args.distillation * divergence


def text(document):
    return f"{document['title']} {document['text']}" if document.get("title") else document["text"]


def rate(step, n_steps):
    """The share of the learning rate in a step, from 0, as in `lorank train`: a warm-up, which does not start at zero, and a cosine."""
    n_warmup = math.floor(n_steps * 0.1 + 0.5) + 1
    if step + 1 < n_warmup:
        return (step + 1) / n_warmup
    return 0.5 * (1 + math.cos(math.pi * min((step + 1 - n_warmup) / max(n_steps + 1 - n_warmup, 1), 1)))


def adapted(args):
    """The base model with a new adapter, or the one to start from. Trained parameters are in f32."""
    model = AutoModelForSequenceClassification.from_pretrained(args.base, num_labels=1, dtype=getattr(torch, args.dtype))
    model = model.to(args.device)
    if args.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if args.start:
        model = PeftModel.from_pretrained(model, args.start, is_trainable=True)
    else:
        targets = args.targets.split(",")
        config = LoraConfig(task_type="SEQ_CLS", r=args.rank, lora_alpha=args.alpha, lora_dropout=args.dropout, target_modules=targets)
        model = get_peft_model(model, config)
    for name, module in model.named_modules():
        if name.endswith("modules_to_save.default"):
            module.float().register_forward_pre_hook(lambda module, inputs: (inputs[0].float(), *inputs[1:]))
    return model.train()


def main():
    args = arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    random.seed(args.seed)
    torch.manual_seed(args.seed)
    groups = [json.loads(line) for line in args.groups.read_text().splitlines() if line.strip()]
    tokenizer = AutoTokenizer.from_pretrained(args.base)
    model = adapted(args)
    if tokenizer.pad_token is None:
        # Models without a token for padding score the last token with another id.
        padding = model.config.pad_token_id
        tokenizer.pad_token = tokenizer.eos_token if padding is None else tokenizer.convert_ids_to_tokens(padding)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=args.learning_rate, weight_decay=args.weight_decay)
    n_steps = -(-len(groups) // args.batch) * args.epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, n_steps))
    started, n_pairs, step = time.monotonic(), 0, 0
    for _ in range(args.epochs):
        if not args.keep_order:
            random.shuffle(groups)
        for start in range(0, len(groups), args.batch):
            batch = groups[start : start + args.batch]
            total = 0.0
            for first in range(0, len(batch), args.at_once):
                part = batch[first : first + args.at_once]
                pairs = [
                    (args.query_prefix + group["query"], args.document_prefix + text(document))
                    for group in part
                    for document in group["documents"]
                ]
                inputs = tokenizer(
                    *map(list, zip(*pairs)), padding=True, truncation=True, max_length=args.max_length, return_tensors="pt"
                )
                scores = model(**inputs.to(args.device)).logits.float().squeeze(-1).split([len(group["documents"]) for group in part])
                loss = torch.stack([loss_of(own, group, args) for own, group in zip(scores, part)]).sum() / len(batch)
                loss.backward()
                total, n_pairs = total + loss.item(), n_pairs + len(pairs)
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            step += 1
            seconds = time.monotonic() - started
            print(f"step {step} of {n_steps}: loss {total:.6f}, {n_pairs / seconds:.1f} pairs a second", flush=True)
    model.save_pretrained(args.output)
    print(f"{n_pairs} pairs in {time.monotonic() - started:.0f} s; the adapter is in {args.output}")


if __name__ == "__main__":
    main()
