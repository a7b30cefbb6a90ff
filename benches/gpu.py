#!/usr/bin/env python3
"""Compares lorank with transformers on a GPU, with a model of the shape of Llama-3.2-3B. Prints scores and speed in Markdown.

    python3 benches/gpu.py --lorank target/release/lorank --pairs PAIRS.jsonl --tokenizer FOLDER [--rounds 5] [--layers 28] [--pad longest|max]

The weights are random, because they do not affect speed; the tokenizer is any Llama's folder. The workload is the same as on
the CPU: a base model with LoRA adapters of rank 16 on every linear layer, one that is merged, one, or eight in one batch; tokenization (once by each contender, without cached
tokens), padding (if a contender pads) and the forward pass are measured, loading and a warm-up run are not. Contenders alternate
within a round; ratios are medians over rounds. Needs torch, transformers and peft.
"""
import argparse
import functools
import json
import os
import statistics
import subprocess
import tempfile
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument('--lorank', default='target/release/lorank')
parser.add_argument('--pairs', required=True, help='JSON lines {"query", "document"} with one query')
parser.add_argument('--tokenizer', required=True)
parser.add_argument('--rounds', type=int, default=5)
parser.add_argument('--layers', type=int, default=28)
parser.add_argument('--max-length', type=int, default=228)
parser.add_argument('--pad', choices=['longest', 'max'], default='longest',
                    help='what transformers pads to: the longest of a batch, or, as the scripts of DeAR do, the maximum length')
options = parser.parse_args()
os.environ.update(HF_HUB_OFFLINE='1', TOKENIZERS_PARALLELISM='true')

import peft
import torch
import transformers

transformers.logging.set_verbosity_error()
pairs = [json.loads(line) for line in open(options.pairs, encoding='utf-8')]
query, documents = pairs[0]['query'], [pair['document'] for pair in pairs]
N_ADAPTERS = 8
ALL = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj']


def make(folder):
    """Writes a base model and an adapter to `folder`, with transformers and PEFT."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(options.tokenizer)
    tokenizer.save_pretrained(f'{folder}/base')
    config = transformers.LlamaConfig(
        vocab_size=max(len(tokenizer), tokenizer.vocab_size), hidden_size=3072, intermediate_size=8192,
        num_hidden_layers=options.layers, num_attention_heads=24, num_key_value_heads=8, head_dim=128,
        max_position_embeddings=131072, rms_norm_eps=1e-5, rope_theta=500000.0,
        rope_scaling={'rope_type': 'llama3', 'factor': 32.0, 'low_freq_factor': 1.0, 'high_freq_factor': 4.0,
                      'original_max_position_embeddings': 8192},
        tie_word_embeddings=True, num_labels=1, pad_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id)
    torch.manual_seed(1)
    with torch.device('cuda'):
        model = transformers.LlamaForSequenceClassification(config).to(torch.bfloat16)
    model.save_pretrained(f'{folder}/base')
    model.name_or_path = 'base'
    adapted = peft.get_peft_model(model, peft.LoraConfig(task_type='SEQ_CLS', r=16, lora_alpha=32, target_modules=ALL))
    for n in range(N_ADAPTERS):
        with torch.no_grad():
            for name, weight in adapted.named_parameters():
                if 'lora_B' in name or 'modules_to_save' in name:
                    weight.copy_(torch.randn_like(weight) * 0.01)
        adapted.save_pretrained(f'{folder}/adapter-{n}')
    # The field layout of transformers 4, which models on the hub use.
    with open(f'{folder}/base/config.json', encoding='utf-8') as file:
        written = json.load(file)
    rope = written.pop('rope_parameters', None)
    if rope:
        written['rope_theta'] = rope.pop('rope_theta')
        written['rope_scaling'] = rope
    with open(f'{folder}/base/config.json', 'w', encoding='utf-8') as file:
        json.dump(written, file)


def rival(folder, dtype, batch, is_merged=True):
    tokenizer = transformers.AutoTokenizer.from_pretrained(f'{folder}/base')
    tokenizer.pad_token = tokenizer.eos_token
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        f'{folder}/base', dtype=dtype, attn_implementation='sdpa').to('cuda')
    model = peft.PeftModel.from_pretrained(model, f'{folder}/adapter-0')
    model = (model.merge_and_unload() if is_merged else model).to(dtype).eval()

    def scores():
        # Each text is tokenized once, as lorank does.
        texts = ['document: ' + text for text in documents]
        ids = tokenizer(['query: ' + query] * len(texts), texts, truncation=True, max_length=options.max_length)['input_ids']
        order = sorted(range(len(ids)), key=lambda n: -len(ids[n]))
        found = [0.0] * len(texts)
        for start in range(0, len(order), batch):
            some = order[start:start + batch]
            padding = {'padding': 'max_length', 'max_length': options.max_length} if options.pad == 'max' else {}
            encoded = tokenizer.pad({'input_ids': [ids[n] for n in some]}, return_tensors='pt', **padding).to('cuda')
            with torch.inference_mode():
                for n, score in zip(some, model(**encoded).logits.float().flatten().tolist()):
                    found[n] = score
        return found

    def run():
        started = time.perf_counter()
        scores()
        return time.perf_counter() - started
    return run, scores


def lorank(folder, command, *more, adapters=(0,)):
    """What lorank prints, with some of the adapters."""
    given = [part for n in adapters for part in ('--adapter', f'{folder}/adapter-{n}')]
    arguments = [options.lorank, '--quiet', command, '--pairs', options.pairs, '--base', f'{folder}/base', *given, '--device', 'cuda:0',
                 '--max-length', str(options.max_length), *more]
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    return done.stdout


def lorank_scores(folder, precision):
    lines = lorank(folder, 'score', '--precision', precision).splitlines()
    return [json.loads(line)['score'] for line in lines]


def bench(folder, *more, adapters=(0,)):
    """One process per round, so that the previous one has released its memory."""
    printed = lorank(folder, 'bench', '--runs', '5', '--json', *more, adapters=adapters)
    return json.loads(printed)['seconds']['median']


def contenders_of(folder):
    """Name and a function that runs once, in seconds. lorank's first one is what the others are compared with."""
    own = [('lorank bf16, merged', ['--precision', 'bf16', '--merge'], [0]), ('lorank bf16, one adapter', ['--precision', 'bf16'], [0]),
           (f'lorank bf16, {N_ADAPTERS} adapters in one batch', ['--precision', 'bf16'], range(N_ADAPTERS)),
           ('lorank fp8, merged', ['--precision', 'fp8', '--merge'], [0])]
    found = []
    for name, more, adapters in own:
        run = functools.partial(bench, folder, *more, adapters=adapters)
        try:
            run()
        except RuntimeError as why:
            print(f'{name}: left out: {why}', flush=True)
            continue
        found.append((name, run))
    for batch in (32, 128):
        found.append((f'transformers + PEFT merged, bf16, sdpa, batch {batch}', rival(folder, torch.bfloat16, batch)[0]))
    found.append(('transformers + PEFT unmerged, bf16, sdpa, batch 128', rival(folder, torch.bfloat16, 128, False)[0]))
    return found


def main():
    with tempfile.TemporaryDirectory() as folder:
        make(folder)
        torch.cuda.empty_cache()
        _, exact = rival(folder, torch.float32, 32)
        exact = exact()
        spread = statistics.pstdev(exact)
        own = [(f'lorank {precision}', functools.partial(lorank_scores, folder, precision)) for precision in ('f32', 'bf16', 'fp8')]
        for name, scores in [*own, ('transformers bf16', rival(folder, torch.bfloat16, 32)[1])]:
            try:
                worst = max(abs(a - b) for a, b in zip(scores(), exact))
            except RuntimeError as why:
                print(f'{name}: left out: {why}', flush=True)
                continue
            print(f'{name}: largest difference to transformers f32 {worst:.2e} (scores spread by {spread:.2e})', flush=True)
        torch.cuda.empty_cache()
        contenders = contenders_of(folder)
        for _, run in contenders:
            run()
        rounds = [[run() for _, run in contenders] for _ in range(options.rounds)]
        print('\n| contender | seconds, median (all rounds) | times lorank\'s, median |\n|---|---|---:|')
        for at, (name, _) in enumerate(contenders):
            seconds = [row[at] for row in rounds]
            ratio = statistics.median(row[at] / row[0] for row in rounds)
            print(f'| {name} | {statistics.median(seconds):.3f} ({", ".join(f"{one:.3f}" for one in seconds)}) '
                  f'| {ratio:.2f} |')
    print(f'\n{len(pairs)} pairs of at most {options.max_length} tokens, {options.layers} layers, '
          f'{torch.cuda.get_device_name()}; torch {torch.__version__}, transformers {transformers.__version__}, '
          f'peft {peft.__version__}')


main()
