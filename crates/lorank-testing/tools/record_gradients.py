#!/usr/bin/env python3
"""Records gradients and a training step of PyTorch and PEFT for the tiny models, and losses with their gradients.

fixtures/gradients/MODEL.safetensors
    value.NAME      the adapter's tensors, under PEFT's names
    gradient.NAME   their gradients of the sum of `weights` times `scores`
    scores, weights one number for each of the first pairs of the model's reference.json
fixtures/gradients/training.json
    losses          scores, labels and a teacher's scores of groups, and for each loss its value and gradient
    step            the adapter of tiny-bert after one step of AdamW on binary cross-entropy, and AdamW on plain numbers

Needs: torch transformers peft safetensors. Usage: record_gradients.py [MODEL ...]; with models, these alone
"""
import importlib.util
import json
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForSequenceClassification

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
OUT = FIXTURES / "gradients"
N_PAIRS = 4
# The model's folder, its reference, and the last parts of the names of its linear layers outside the head.
BERT = ["query", "key", "value", "dense"]
MODELS = {
    "tiny-bert": ("tiny-bert/base", "tiny-bert/reference.json", BERT, None),
    "roberta": ("tiny-roberta/roberta/base", "tiny-roberta/roberta/reference.json", BERT, ["classifier.dense", "classifier.out_proj"]),
    "xlm-roberta": ("tiny-roberta/xlm-roberta/base", "tiny-roberta/xlm-roberta/reference.json", BERT, ["classifier.dense", "classifier.out_proj"]),
    "distilbert": (
        "tiny-encoders/distilbert/base", "tiny-encoders/distilbert/reference.json",
        ["q_lin", "k_lin", "v_lin", "out_lin", "lin1", "lin2"], ["pre_classifier"],
    ),
    "electra": (
        "tiny-encoders/electra/base", "tiny-encoders/electra/reference.json", [*BERT, "embeddings_project"],
        ["classifier.dense", "classifier.out_proj"],
    ),
    "tiny-llama": (
        "tiny-llama/base", "tiny-llama/reference.json",
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"], None,
    ),
    "llama-bidirectional": (
        "tiny-llama-bidirectional/base", "tiny-llama-bidirectional/reference.json",
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"], None,
    ),
    "gte-multilingual": (
        "tiny-gte/multilingual/base", "tiny-gte/multilingual/reference.json",
        ["qkv_proj", "o_proj", "up_gate_proj", "down_proj", "dense"], None,
    ),
    "gte-english": (
        "tiny-gte/english/base", "tiny-gte/english/reference.json",
        ["q_proj", "k_proj", "v_proj", "o_proj", "up_gate_proj", "down_proj", "dense"], None,
    ),
    "modernbert-cls": ("tiny-modernbert/cls/base", "tiny-modernbert/cls/reference.json", ["Wqkv", "Wo", "Wi", "dense"], None),
    "modernbert-mean": ("tiny-modernbert/mean/base", "tiny-modernbert/mean/reference.json", ["Wqkv", "Wo", "Wi", "dense"], None),
}  # fmt: skip


def register_own_classes():
    """The classes of models that transformers lacks, from their fixtures' scripts."""
    for folder in ("tiny-llama-bidirectional", "tiny-gte"):
        spec = importlib.util.spec_from_file_location("gen", FIXTURES / folder / "gen.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.register()


def plain(name):
    return name.replace(".modules_to_save.default", "").replace(".default", "")


def adapted(folder, targets, excluded):
    model = AutoModelForSequenceClassification.from_pretrained(FIXTURES / folder, num_labels=1, attn_implementation="eager")
    config = LoraConfig(
        task_type="SEQ_CLS", r=2, lora_alpha=4, lora_dropout=0.0, target_modules=targets, exclude_modules=excluded
    )
    model = get_peft_model(model.float(), config).eval()
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if "lora_" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def scores_of(model, pairs):
    def score(pair):
        inputs = {"input_ids": torch.tensor([pair["input_ids"]])}
        if pair.get("token_type_ids"):
            inputs["token_type_ids"] = torch.tensor([pair["token_type_ids"]])
        return model(**inputs).logits.float().squeeze()

    return torch.stack([score(pair) for pair in pairs])


def trained(model):
    """The trained tensors by PEFT's names; a head's frozen layers and PEFT's copies are left out."""
    named = {plain(name): parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    return {name: parameter for name, parameter in named.items() if "classifier.dense" not in name and "pre_classifier" not in name}


def record_model(name):
    folder, reference, targets, excluded = MODELS[name]
    pairs = json.loads((FIXTURES / reference).read_text())["pairs"][:N_PAIRS]
    model = adapted(folder, targets, excluded)
    weights = torch.tensor([1.0, -0.5, 2.0, 0.25][:N_PAIRS])
    scores = scores_of(model, pairs)
    (scores * weights).sum().backward()
    tensors = {"scores": scores.detach(), "weights": weights}
    for tensor, parameter in trained(model).items():
        tensors[f"value.{tensor}"] = parameter.detach().contiguous()
        tensors[f"gradient.{tensor}"] = parameter.grad.contiguous()
    save_file(tensors, OUT / f"{name}.safetensors")
    print(name, scores.tolist(), len(tensors))


def list_mle(s, y):
    order = torch.argsort(y, descending=True, stable=True)
    n = int((y > 0).sum())
    s = s[order]
    return sum(torch.logsumexp(s[k:], 0) - s[k] for k in range(n)) / n


def of_pairs(s, y, value):
    found = [value(i, j) for i in range(len(y)) for j in range(len(y)) if y[i] > y[j]]
    return torch.stack(found).mean()


def lambda_loss(s, y):
    order = torch.argsort(s.detach(), descending=True, stable=True)
    rank = torch.empty(len(y), dtype=torch.long)
    rank[order] = torch.arange(len(y))
    gain, discount = 2**y - 1, 1 / torch.log2(rank.double() + 2)
    best = (torch.sort(gain, descending=True).values / torch.log2(torch.arange(len(y)).double() + 2)).sum()
    weight = lambda i, j: (gain[i] - gain[j]).abs() * (discount[i] - discount[j]).abs() / best
    return of_pairs(s, y, lambda i, j: weight(i, j) * F.softplus(s[j] - s[i]))


LOSSES = {
    "bce": lambda s, y, t: F.binary_cross_entropy_with_logits(s, y.clamp(max=1)),
    "ranknet": lambda s, y, t: of_pairs(s, y, lambda i, j: F.softplus(s[j] - s[i])),
    "listmle": lambda s, y, t: list_mle(s, y),
    "lambda": lambda s, y, t: lambda_loss(s, y),
    "margin-mse": lambda s, y, t: of_pairs(s, y, lambda i, j: ((s[i] - s[j]) - (t[i] - t[j])) ** 2),
    "mse": lambda s, y, t: F.mse_loss(s, t),
}


def distilled(loss, alpha=0.1, temperature=2.0):
    def value(s, y, t):
        divergence = F.kl_div(F.log_softmax(s / temperature, -1), F.log_softmax(t / temperature, -1), reduction="sum", log_target=True)
        return (1 - alpha) * loss(s, y, t) + alpha * divergence

    return value


def record_losses():
    groups = [
        ([0.3, -1.2, 2.0, 0.7, -0.4], [1, 0, 2, 0, 0.5], [1.0, -2.0, 3.0, 0.1, 0.2]),
        ([-3.0, 4.5, 0.0, 0.0], [1, 0, 0, 0], [5.0, -1.0, 0.5, -8.0]),
        ([11.0, -9.0], [0, 3], [0.0, 0.0]),
    ]
    recorded = []
    for name, loss in LOSSES.items():
        for is_distilled in [False, True] if name not in ("margin-mse", "mse") else [False]:
            for scores, labels, teacher in groups:
                s = torch.tensor(scores, dtype=torch.double, requires_grad=True)
                y, t = torch.tensor(labels, dtype=torch.double), torch.tensor(teacher, dtype=torch.double)
                value = (distilled(loss) if is_distilled else loss)(s, y, t)
                (gradient,) = torch.autograd.grad(value, s)
                recorded.append({
                    "loss": name, "is_distilled": is_distilled, "scores": scores, "labels": labels, "teacher": teacher,
                    "value": value.item(), "gradient": gradient.tolist(),
                })  # fmt: skip
    return recorded


def record_adamw():
    generator = torch.Generator().manual_seed(3)
    parameter = torch.nn.Parameter(torch.randn(6, generator=generator))
    optimizer = torch.optim.AdamW([parameter], lr=0.1, weight_decay=0.01)
    start, steps = parameter.tolist(), []
    for _ in range(3):
        parameter.grad = torch.randn(6, generator=generator)
        gradient = parameter.grad.tolist()
        norm = torch.nn.utils.clip_grad_norm_([parameter], 1.0).item()
        optimizer.step()
        steps.append({"gradient": gradient, "norm": norm, "values": parameter.tolist()})
    return {"start": start, "learning_rate": 0.1, "weight_decay": 0.01, "norm_max": 1.0, "steps": steps}


def record_step():
    """One step on the first pairs of tiny-bert; the first is relevant."""
    folder, reference, targets, excluded = MODELS["tiny-bert"]
    pairs = json.loads((FIXTURES / reference).read_text())["pairs"][:N_PAIRS]
    model = adapted(folder, targets, excluded)
    parameters = trained(model)
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-2, weight_decay=0.01)
    labels = torch.tensor([1.0, 0, 0, 0])
    loss = F.binary_cross_entropy_with_logits(scores_of(model, pairs), labels)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0).item()
    optimizer.step()
    save_file({name: parameter.detach().contiguous() for name, parameter in parameters.items()}, OUT / "tiny-bert-stepped.safetensors")
    return {"labels": labels.tolist(), "learning_rate": 1e-2, "weight_decay": 0.01, "norm_max": 1.0, "loss": loss.item(), "norm": norm}


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    register_own_classes()
    for model in sys.argv[1:] or MODELS:
        record_model(model)
    if not sys.argv[1:]:
        recorded = {"losses": record_losses(), "adamw": record_adamw(), "step": record_step()}
        (OUT / "training.json").write_text(json.dumps(recorded, indent=1) + "\n")
        assert all(math.isfinite(row["value"]) for row in recorded["losses"])
