#!/usr/bin/env python3
"""Compares lorank with PyTorch and ONNX Runtime on the same pairs, and prints a table in Markdown.

    python3 benches/side_by_side.py --lorank target/release/lorank --pairs PAIRS.jsonl \
        --minilm FOLDER --llama FOLDER --llama-adapter FOLDER [--rounds 5] [--threads 2] [--only TEXT]

The pairs are JSON lines {"query", "document"} with one query. `crates/lorank-testing/tools/real_models.py` creates the folders:
`--minilm` has model.safetensors, model.onnx (int8) and tokenizer.json, `--llama` SmolLM2-135M. The adapter is in PEFT's
format and has a score head. Needs torch, transformers, peft, onnxruntime, tokenizers and numpy.

Every contender runs once per round, in an order that rotates from round to round, so that temporary slowness of the machine
affects all. A run includes tokenization, padding and the forward pass over all pairs, but neither loading nor a warm-up run.
The ratios are medians over rounds of (rival / lorank) in the same round.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument('--lorank', default='target/release/lorank')
parser.add_argument('--pairs', required=True)
parser.add_argument('--minilm')
parser.add_argument('--llama')
parser.add_argument('--llama-adapter')
parser.add_argument('--rounds', type=int, default=5)
parser.add_argument('--threads', type=int, default=2)
parser.add_argument('--only', help='groups of the table, separated by commas: minilm-int8, minilm-f32, llama, llama-f32')
parser.add_argument('--json', help='also write every figure to this file')
options = parser.parse_args()
os.environ.update(HF_HUB_OFFLINE='1', OMP_NUM_THREADS=str(options.threads), TOKENIZERS_PARALLELISM='true')

pairs = [json.loads(line) for line in open(options.pairs, encoding='utf-8')]
query, documents = pairs[0]['query'], [pair['document'] for pair in pairs]
assert all(pair['query'] == query for pair in pairs), 'one query'
versions = {}


def lorank(*arguments):
    """A contender: the time in seconds of one run of `lorank bench`, which includes a warm-up."""
    command = [options.lorank, '--quiet', 'bench', '--pairs', options.pairs, '--runs', '1', '--json',
               '--threads', str(options.threads), *arguments]

    def run():
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return json.loads(output)['seconds']['median']
    return run


def by_length(lengths, is_sorted):
    order = list(range(len(lengths)))
    return sorted(order, key=lambda n: -lengths[n]) if is_sorted else order


def onnx(folder, batch):
    """MiniLM's int8 export in ONNX Runtime, with pairs sorted by length."""
    import numpy as np
    import onnxruntime
    from tokenizers import Tokenizer
    versions['onnxruntime'] = onnxruntime.__version__
    tokenizer = Tokenizer.from_file(f'{folder}/tokenizer.json')
    tokenizer.enable_truncation(512)
    tokenizer.no_padding()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = options.threads, 1
    session = onnxruntime.InferenceSession(f'{folder}/model.onnx', settings, providers=['CPUExecutionProvider'])

    def run():
        started = time.perf_counter()
        encoded = tokenizer.encode_batch([(query, document) for document in documents])
        order = by_length([len(one.ids) for one in encoded], True)
        for start in range(0, len(order), batch):
            chosen = [encoded[n] for n in order[start:start + batch]]
            width = max(len(one.ids) for one in chosen)
            rows = np.zeros((3, len(chosen), width), np.int64)
            for n, one in enumerate(chosen):
                for row, values in zip(rows[:, n], (one.ids, [1] * len(one.ids), one.type_ids)):
                    row[:len(values)] = values
            session.run(None, dict(zip(('input_ids', 'attention_mask', 'token_type_ids'), rows)))
        return time.perf_counter() - started
    return run


def torch_model(folder, dtype, batch, is_sorted, adapter=None, max_length=512):
    """A sequence classifier in transformers, with a merged PEFT adapter if one is given."""
    import torch
    import transformers
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(options.threads)
    versions.update(torch=torch.__version__, transformers=transformers.__version__)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, dtype=getattr(torch, dtype), attn_implementation='sdpa')
    first, second = '', ''
    if adapter:
        import peft
        versions['peft'] = peft.__version__
        model = peft.PeftModel.from_pretrained(model, adapter).merge_and_unload().to(getattr(torch, dtype))
        tokenizer.pad_token = tokenizer.eos_token
        model.config.pad_token_id = tokenizer.pad_token_id
        first, second = 'query: ', 'document: '
    model.eval()

    def encode(which, **how):
        texts = [second + documents[n] for n in which]
        return tokenizer([first + query] * len(texts), texts, truncation=True, max_length=max_length, **how)

    def run():
        started = time.perf_counter()
        lengths = [len(ids) for ids in encode(range(len(documents)))['input_ids']] if is_sorted else documents
        order = by_length(lengths, is_sorted)
        for start in range(0, len(order), batch):
            with torch.inference_mode():
                model(**encode(order[start:start + batch], padding=True, return_tensors='pt')).logits.float().tolist()
        return time.perf_counter() - started
    return run


def groups():
    """The contenders; the first one of each group is lorank."""
    wanted = options.only.split(',') if options.only else ['minilm-int8', 'minilm-f32', 'llama', 'llama-f32']
    if options.minilm and 'minilm-int8' in wanted:
        base = ['--base', options.minilm]
        yield 'MiniLM-L-12', [
            ('lorank auto', lorank(*base, '--precision', 'auto')),
            ('lorank int8', lorank(*base, '--precision', 'int8')),
            ('ONNX Runtime int8, sorted, batch 8', onnx(options.minilm, 8)),
            ('ONNX Runtime int8, sorted, batch 32', onnx(options.minilm, 32)),
        ]
    if options.minilm and 'minilm-f32' in wanted:
        yield 'MiniLM-L-12, f32', [
            ('lorank f32', lorank('--base', options.minilm, '--precision', 'f32')),
            ('transformers f32, sdpa, sorted, batch 32', torch_model(options.minilm, 'float32', 32, True)),
        ]
    if not (options.llama and options.llama_adapter):
        return
    base = ['--base', options.llama, '--adapter', options.llama_adapter]
    ours = [
        ('lorank auto', lorank(*base, '--precision', 'auto')),
        ('lorank bf16', lorank(*base, '--precision', 'bf16')),
    ]
    rival = {'adapter': options.llama_adapter, 'max_length': 228}
    if 'llama' in wanted:
        yield 'SmolLM2-135M + LoRA r=16', ours + [
            ('transformers + PEFT bf16, sdpa, batch 128', torch_model(options.llama, 'bfloat16', 128, False, **rival)),
            ('transformers + PEFT bf16, sdpa, sorted, batch 32',
             torch_model(options.llama, 'bfloat16', 32, True, **rival)),
        ]
    # On CPUs without bf16 instructions, transformers is fastest in f32.
    if 'llama-f32' in wanted:
        yield 'SmolLM2-135M + LoRA r=16, rival in f32', ours + [
            ('transformers + PEFT f32, sdpa, sorted, batch 32', torch_model(options.llama, 'float32', 32, True, **rival)),
        ]


def cpu():
    if os.path.exists('/proc/cpuinfo'):
        for line in open('/proc/cpuinfo', encoding='utf-8'):
            if line.startswith('model name'):
                return line.split(':', 1)[1].strip()
    return platform.processor()


def main():
    figures = {}
    table = ['| model | contender | seconds, median (all rounds) | times lorank\'s, median |', '|---|---|---|---:|']
    for title, contenders in groups():
        for _, run in contenders:
            run()
        times = [[0.0] * len(contenders) for _ in range(options.rounds)]
        for number, row in enumerate(times):
            for place in range(len(contenders)):
                at = (place + number) % len(contenders)
                row[at] = contenders[at][1]()
        for at, (name, _) in enumerate(contenders):
            seconds = [row[at] for row in times]
            ratio = statistics.median(row[at] / row[0] for row in times)
            runs = ', '.join(f'{one:.2f}' for one in seconds)
            table.append(f'| {title} | {name} | {statistics.median(seconds):.2f} ({runs}) | {ratio:.2f} |')
            figures[f'{title}: {name}'] = seconds
    versions['lorank'] = subprocess.run([options.lorank, '--version'], capture_output=True, text=True).stdout.strip()
    print('\n'.join(table))
    print(f'\n{len(documents)} pairs, {options.threads} threads on {cpu()}; {versions}')
    if options.json:
        with open(options.json, 'w', encoding='utf-8') as file:
            json.dump({'versions': versions, 'seconds': figures}, file, indent=1)


main()
