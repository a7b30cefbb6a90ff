#!/usr/bin/env python3
"""Compares lorank with PyTorch, ONNX Runtime and OpenVINO on the same pairs, and prints a table in Markdown.

    python3 benches/side_by_side.py --lorank target/release/lorank --pairs PAIRS.jsonl --calibration OTHER.jsonl \
        --minilm FOLDER --llama FOLDER --llama-adapter FOLDER --shapes ettin-17m,ettin-32m --models FOLDER [--rounds 5] [--only GROUPS]

The pairs are JSON lines {"query", "text"} with one query. `crates/lorank-testing/tools/real_models.py` creates the folders:
`--minilm` MiniLM-L-12 and `--llama` SmolLM2-135M; ONNX graphs with int8 weights are made where there is none. The adapter is in PEFT's
format and has a score head. `--shapes` names shapes of `benches/shapes.py`, whose models with random weights are made in
`--models`, with the tokenizer of `--minilm`, decoders with that of `--llama`. Needs torch, transformers, peft, onnxruntime, openvino, nncf, onnx and onnxscript.

Every contender runs once per round, in an order that rotates from round to round, so that temporary slowness of the machine
affects all. A run includes tokenization, padding and the forward pass over all pairs, but neither loading nor a warm-up run;
nothing is cached between runs. Both sides truncate at the same length. NNCF calibrates on the pairs of `--calibration`, which
are not those that are timed. The ratios are medians over rounds of (rival / lorank) in the same round. The error is the mean
absolute difference of the scores from those of transformers in f32, in standard deviations of these.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import shapes  # noqa: E402

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument('--lorank', default='target/release/lorank')
parser.add_argument('--pairs', required=True)
parser.add_argument('--calibration', help='other pairs, for NNCF; without them, OpenVINO runs in f32 and bf16 alone')
parser.add_argument('--minilm', required=True)
parser.add_argument('--llama')
parser.add_argument('--llama-adapter')
parser.add_argument('--shapes', help='shapes of benches/shapes.py, separated by commas')
parser.add_argument('--models', default='target/shapes', help='the folder of their models')
parser.add_argument('--rounds', type=int, default=5)
parser.add_argument('--threads', type=int, default=2)
parser.add_argument('--only', help='groups of the table, separated by commas: minilm-int8, minilm-bf16, minilm-f32, llama, llama-f32, shapes')
parser.add_argument('--rivals', default='onnx,openvino,transformers', help='the rivals of encoders, separated by commas')
parser.add_argument('--json', help='also write every figure to this file')
options = parser.parse_args()
os.environ.update(HF_HUB_OFFLINE='1', OMP_NUM_THREADS=str(options.threads), TOKENIZERS_PARALLELISM='true')
MAX_LENGTH = 512


def read(path):
    rows = [json.loads(line) for line in open(path, encoding='utf-8')]
    return [(row['query'], row.get('text', row.get('document'))) for row in rows]


pairs = read(options.pairs)
query, documents = pairs[0][0], [document for _, document in pairs]
assert all(one == query for one, _ in pairs), 'one query'
versions = {}


class Lorank:
    """The time of a run of `lorank bench` in seconds, after a warm-up; and the scores of `lorank rerank`."""

    def __init__(self, *arguments):
        self.arguments = ['--threads', str(options.threads), *arguments]

    def command(self, *command):
        done = subprocess.run([options.lorank, '--quiet', *command, *self.arguments], capture_output=True, text=True)
        assert done.returncode == 0, (command, self.arguments, done.stderr)
        return done.stdout

    def run(self):
        return json.loads(self.command('bench', '--pairs', options.pairs, '--runs', '1', '--json'))['seconds']['median']

    def scores(self):
        return [json.loads(line)['score'] for line in self.command('score', '--pairs', options.pairs).splitlines()]


class Rival:
    """A model that scores batches of encoded pairs. `forward` takes padded arrays by name and returns logits."""

    def __init__(self, tokenizer, names, forward, batch, is_sorted=True, max_length=MAX_LENGTH, templates=('{query}', '{document}')):
        self.tokenizer, self.names, self.forward, self.batch, self.is_sorted = tokenizer, names, forward, batch, is_sorted
        self.max_length, self.templates = max_length, templates

    def encode(self, some):
        first, second = self.templates
        queries = [first.replace('{query}', one) for one, _ in some]
        texts = [second.replace('{document}', one) for _, one in some]
        encoded = self.tokenizer(queries, texts, truncation=True, max_length=self.max_length)
        return [{name: encoded[name][n] for name in self.names} for n in range(len(some))]

    def pad(self, rows):
        import numpy as np
        width = max(len(row['input_ids']) for row in rows)
        fill = {'input_ids': self.tokenizer.pad_token_id, 'attention_mask': 0, 'token_type_ids': 0}
        return {name: np.array([row[name] + [fill[name]] * (width - len(row[name])) for row in rows], dtype=np.int64) for name in self.names}

    def score(self, some):
        rows = self.encode(some)
        order = list(range(len(rows)))
        if self.is_sorted:
            order.sort(key=lambda n: -len(rows[n]['input_ids']))
        scores = [0.0] * len(rows)
        for start in range(0, len(order), self.batch):
            chosen = order[start:start + self.batch]
            for n, score in zip(chosen, self.forward(self.pad([rows[n] for n in chosen]))):
                scores[n] = score
        return scores

    def run(self):
        started = time.perf_counter()
        self.score(pairs)
        return time.perf_counter() - started

    def scores(self):
        return self.score(pairs)


def tokenizer_of(folder):
    import transformers
    transformers.logging.set_verbosity_error()
    versions['transformers'] = transformers.__version__
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def onnx(folder, batch):
    import onnxruntime
    versions['onnxruntime'] = onnxruntime.__version__
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = options.threads, 1
    session = onnxruntime.InferenceSession(shapes.export(folder), settings, providers=['CPUExecutionProvider'])
    forward = lambda arrays: session.run(None, arrays)[0][:, 0].tolist()
    return Rival(tokenizer_of(folder), shapes.names_of(folder), forward, batch)


def torch_model(folder, dtype, batch, is_sorted=True, adapter=None, **how):
    """A sequence classifier in transformers, with a merged PEFT adapter if one is given."""
    import torch
    import transformers
    torch.set_num_threads(options.threads)
    versions['torch'] = torch.__version__
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, dtype=getattr(torch, dtype), attn_implementation='sdpa')
    tokenizer = tokenizer_of(folder)
    if adapter:
        import peft
        versions['peft'] = peft.__version__
        model = peft.PeftModel.from_pretrained(model, adapter).merge_and_unload().to(getattr(torch, dtype))
    model.config.pad_token_id = tokenizer.pad_token_id
    model.eval()

    def forward(arrays):
        with torch.inference_mode():
            return model(**{name: torch.from_numpy(array) for name, array in arrays.items()}).logits.float()[:, 0].tolist()
    rival = Rival(tokenizer, shapes.names_of(folder), forward, batch, is_sorted, **how)
    rival.model = model
    return rival


def openvino(folder, hint, batch, is_int8=False):
    """An encoder of transformers in OpenVINO, its int8 form quantized by NNCF. It does not convert transformers 5's decoders."""
    import nncf
    import openvino
    import torch
    versions.update(openvino=openvino.__version__.split('-')[0], nncf=nncf.__version__)
    rival = torch_model(folder, 'float32', batch)
    example = {name: torch.from_numpy(array) for name, array in rival.pad(rival.encode(pairs[:2])).items()}
    model = openvino.convert_model(rival.model, example_input=example)
    for node, name in zip(model.inputs, rival.names):
        node.get_tensor().set_names({name})
    if is_int8:
        rows = rival.encode(read(options.calibration)[:300])
        samples = nncf.Dataset(rows, lambda row: rival.pad([row]))
        model = nncf.quantize(model, samples, model_type=nncf.ModelType.TRANSFORMER)
    settings = {'INFERENCE_PRECISION_HINT': hint, 'PERFORMANCE_HINT': 'LATENCY', 'INFERENCE_NUM_THREADS': options.threads}
    compiled = openvino.Core().compile_model(model, 'CPU', settings)
    rival.forward = lambda arrays: compiled(arrays)[0][:, 0].tolist()
    return rival


def has_bf16():
    """Whether the CPU has bf16 products; without them, PyTorch and OpenVINO take minutes in bf16."""
    return os.path.exists('/proc/cpuinfo') and 'avx512_bf16' in open('/proc/cpuinfo', encoding='utf-8').read()


def encoders(title, folder, wanted, group):
    """The contenders of an encoder, in int8, bf16 and f32; the first one of each group is lorank."""
    base, rivals = ['--base', folder, '--max-length', str(MAX_LENGTH)], options.rivals.split(',')
    if f'{group}-int8' in wanted:
        contenders = [
            ('lorank int8', Lorank(*base, '--precision', 'int8')),
            ('lorank auto', Lorank(*base, '--precision', 'auto')),
        ]
        if 'onnx' in rivals:
            contenders += [(f'ONNX Runtime int8, sorted, batch {batch}', onnx(folder, batch)) for batch in (8, 32)]
        if 'openvino' in rivals and options.calibration:
            hint = 'bf16' if has_bf16() else 'f32'
            contenders.append((f'OpenVINO, NNCF int8 and {hint}, sorted, batch 8', openvino(folder, hint, 8, True)))
        yield f'{title}, int8', contenders
    for precision, dtype in [('bf16', 'bfloat16'), ('f32', 'float32')]:
        if f'{group}-{precision}' not in wanted or (precision == 'bf16' and not has_bf16()):
            continue
        contenders = [(f'lorank {precision}', Lorank(*base, '--precision', precision))]
        if 'transformers' in rivals:
            contenders.append((f'transformers {precision}, sdpa, sorted, batch 32', torch_model(folder, dtype, 32)))
        if 'openvino' in rivals:
            contenders.append((f'OpenVINO {precision}, sorted, batch 8', openvino(folder, precision, 8)))
        yield f'{title}, {precision}', contenders


def decoders(title, folder, wanted, group):
    """The contenders of a decoder, of which a few of its layers are there; PyTorch does not export it."""
    base = ['--base', folder, '--max-length', str(MAX_LENGTH)]
    for precision, dtype in [('bf16', 'bfloat16'), ('f32', 'float32')]:
        if f'{group}-{precision}' in wanted and (precision == 'f32' or has_bf16()):
            yield f'{title}, {precision}', [
                (f'lorank {precision}', Lorank(*base, '--precision', precision)),
                (f'transformers {precision}, sdpa, sorted, batch 8', torch_model(folder, dtype, 8)),
                (f'transformers {precision}, sdpa, sorted, batch 32', torch_model(folder, dtype, 32)),
            ]


def groups():
    """The title, the reference and the contenders of each group."""
    known = ['minilm-int8', 'minilm-bf16', 'minilm-f32', 'llama', 'llama-f32', 'shapes']
    wanted = options.only.split(',') if options.only else known
    assert set(wanted) <= set(known), f'--only takes {known}'
    reference = torch_model(options.minilm, 'float32', 8)
    for title, contenders in encoders('MiniLM-L-12', options.minilm, wanted, 'minilm'):
        yield title, reference, contenders
    if 'shapes' in wanted:
        for name in (options.shapes or '').split(','):
            if not name:
                continue
            tokenizer = options.llama if name in shapes.DECODERS else options.minilm
            assert tokenizer, f'{name} needs the tokenizer of --llama'
            folder = shapes.make(name, f'{options.models}/{name}', tokenizer)
            reference = torch_model(folder, 'float32', 8)
            find = decoders if name in shapes.DECODERS else encoders
            for title, contenders in find(name, folder, ['shape-int8', 'shape-bf16', 'shape-f32'], 'shape'):
                yield title, reference, contenders
    if not (options.llama and options.llama_adapter):
        return
    with open(f'{options.llama_adapter}/lorank.json', encoding='utf-8') as file:
        prompt = json.load(file)
    how = {'max_length': prompt['max_length'], 'adapter': options.llama_adapter,
           'templates': (prompt['query_template'], prompt['document_template'])}
    base = ['--base', options.llama, '--adapter', options.llama_adapter]
    title, reference = 'SmolLM2-135M + LoRA r=16', torch_model(options.llama, 'float32', 8, **how)
    if 'llama' in wanted and has_bf16():
        yield title, reference, [
            ('lorank auto', Lorank(*base, '--precision', 'auto')),
            ('lorank int8', Lorank(*base, '--precision', 'int8')),
            ('transformers + PEFT bf16, sdpa, batch 128', torch_model(options.llama, 'bfloat16', 128, False, **how)),
            ('transformers + PEFT bf16, sdpa, sorted, batch 32', torch_model(options.llama, 'bfloat16', 32, **how)),
        ]
    # On CPUs without bf16 instructions, transformers is fastest in f32.
    if 'llama-f32' in wanted:
        yield f'{title}, rivals in f32', reference, [
            ('lorank auto', Lorank(*base, '--precision', 'auto')),
            ('lorank f32', Lorank(*base, '--precision', 'f32')),
            ('transformers + PEFT f32, sdpa, sorted, batch 32', torch_model(options.llama, 'float32', 32, **how)),
        ]


def cpu():
    if os.path.exists('/proc/cpuinfo'):
        for line in open('/proc/cpuinfo', encoding='utf-8'):
            if line.startswith('model name'):
                return line.split(':', 1)[1].strip()
    return platform.processor()


def main():
    figures = {}
    table = ['| model | contender | seconds, median (all rounds) | times lorank\'s, median | error |', '|---|---|---|---:|---:|']
    print('\n'.join(table), flush=True)
    for title, reference, contenders in groups():
        exact = reference.scores()
        spread = statistics.pstdev(exact)
        # The first scores are the warm-up.
        errors = [statistics.fmean(abs(a - b) for a, b in zip(one.scores(), exact)) / spread for _, one in contenders]
        times = [[0.0] * len(contenders) for _ in range(options.rounds)]
        for number, row in enumerate(times):
            for place in range(len(contenders)):
                at = (place + number) % len(contenders)
                row[at] = contenders[at][1].run()
        for at, (name, _) in enumerate(contenders):
            seconds = [row[at] for row in times]
            ratio = statistics.median(row[at] / row[0] for row in times)
            runs = ', '.join(f'{one:.2f}' for one in seconds)
            print(f'| {title} | {name} | {statistics.median(seconds):.2f} ({runs}) | {ratio:.2f} | {errors[at]:.4f} |', flush=True)
            figures[f'{title}: {name}'] = {'seconds': seconds, 'ratio': ratio, 'error': errors[at]}
    versions['lorank'] = subprocess.run([options.lorank, '--version'], capture_output=True, text=True).stdout.strip()
    print(f'\n{len(documents)} pairs, {options.threads} threads on {cpu()}; {versions}')
    if options.json:
        with open(options.json, 'w', encoding='utf-8') as file:
            json.dump({'cpu': cpu(), 'versions': versions, 'figures': figures}, file, indent=1)


if __name__ == '__main__':
    main()
