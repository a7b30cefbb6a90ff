"""Models in the shapes of published ones, with random weights: what takes the time is there, without a download.

    python3 benches/shapes.py NAME FOLDER TOKENIZER

`TOKENIZER` is a folder with tokenizer.json, which each model gets: texts become about as many tokens in each. Decoders need one with
byte-level BPE and the vocabulary of SmolLM2. Needs torch and transformers. `side_by_side.py --shapes NAMES` makes the folders that it needs.
"""
import json
import os
import shutil
import sys

BERT = {'vocab_size': 30522, 'pad_token_id': 0}
DECODER = {'vocab_size': 49152, 'pad_token_id': 2, 'bos_token_id': 1, 'eos_token_id': 2, 'tie_word_embeddings': True}


def modernbert(hidden_size, num_hidden_layers, num_attention_heads, intermediate_size):
    """The Ettin encoders and ModernBERT: one layer in three attends to all tokens, the others to 128."""
    return 'ModernBert', {
        'vocab_size': 50368, 'hidden_size': hidden_size, 'num_hidden_layers': num_hidden_layers, 'num_attention_heads': num_attention_heads,
        'intermediate_size': intermediate_size, 'pad_token_id': 0, 'cls_token_id': 101, 'sep_token_id': 102, 'bos_token_id': 101,
        'eos_token_id': 102, 'global_attn_every_n_layers': 3, 'local_attention': 128, 'max_position_embeddings': 8192,
        'classifier_pooling': 'cls'}


def decoder(family, hidden_size, num_hidden_layers, heads, kv_heads, head_dim, intermediate_size, **more):
    return family, {
        **DECODER, 'hidden_size': hidden_size, 'num_hidden_layers': num_hidden_layers, 'num_attention_heads': heads,
        'num_key_value_heads': kv_heads, 'head_dim': head_dim, 'intermediate_size': intermediate_size, 'max_position_embeddings': 2048, **more}


# The class in transformers, and the settings of its configuration. Layers are left out of models that are too large for a CPU.
SHAPES = {
    'ettin-17m': modernbert(256, 7, 4, 384),
    'ettin-32m': modernbert(384, 10, 6, 576),
    'ettin-68m': modernbert(512, 19, 8, 768),
    'ettin-150m': modernbert(768, 22, 12, 1152),
    # bge-reranker-base; its vocabulary, which takes no time, is left out.
    'xlm-roberta-base': ('XLMRoberta', {**BERT, 'pad_token_id': 1, 'type_vocab_size': 1, 'max_position_embeddings': 514}),
    'distilbert-base': ('DistilBert', {**BERT}),
    'electra-base': ('Electra', {**BERT, 'embedding_size': 768, 'hidden_size': 768, 'num_hidden_layers': 12, 'num_attention_heads': 12, 'intermediate_size': 3072}),
    # mxbai-rerank-base-v2, a quarter of its layers.
    'qwen2-0.5b': decoder('Qwen2', 896, 6, 14, 2, 64, 4864),
    # Qwen3-Reranker-0.6B, a quarter of its layers.
    'qwen3-0.6b': decoder('Qwen3', 1024, 7, 16, 8, 128, 3072),
    # Mistral-7B and Gemma 2B, one layer each.
    'mistral-7b': decoder('Mistral', 4096, 1, 32, 8, 128, 14336, sliding_window=4096),
    'gemma-2b': decoder('Gemma', 2048, 1, 8, 1, 256, 16384),
}
DECODERS = [name for name, (family, _) in SHAPES.items() if family in ('Qwen2', 'Qwen3', 'Mistral', 'Gemma')]


def make(name, folder, tokenizer):
    """Writes the model of a shape, with one label, unless the folder has one."""
    if os.path.exists(f'{folder}/model.safetensors'):
        return folder
    import torch
    import transformers
    torch.manual_seed(1)
    family, settings = SHAPES[name]
    config = getattr(transformers, f'{family}Config')(**settings, num_labels=1)
    model = getattr(transformers, f'{family}ForSequenceClassification')(config)
    model.save_pretrained(folder)
    for file in ('tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json'):
        if os.path.exists(f'{tokenizer}/{file}'):
            shutil.copy(f'{tokenizer}/{file}', folder)
    if 'token_type_ids' not in names_of(folder):
        path = f'{folder}/tokenizer_config.json'
        with open(path, encoding='utf-8') as file:
            settings = json.load(file)
        with open(path, 'w', encoding='utf-8') as file:
            json.dump({**settings, 'model_input_names': names_of(folder)}, file)
    return folder


def names_of(folder):
    """What a model takes: token types only where it has two of them."""
    with open(f'{folder}/config.json', encoding='utf-8') as file:
        has_types = json.load(file)['model_type'] in ('bert', 'electra')
    return ['input_ids', 'attention_mask'] + ['token_type_ids'] * has_types


def export(folder):
    """An ONNX graph of a model with int8 weights and activations that are quantized at run time, in `FOLDER/model.onnx`."""
    path = f'{folder}/model.onnx'
    if os.path.exists(path):
        return path
    import torch
    import transformers
    from onnxruntime.quantization import QuantType, quantize_dynamic
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=torch.float32, attn_implementation='eager')
    model.eval()
    names = names_of(folder)
    example = {name: torch.ones((2, 16), dtype=torch.int64) for name in names}
    axes = {name: {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC} for name in names}
    torch.onnx.export(model, (), f'{folder}/f32.onnx', kwargs=example, input_names=names, output_names=['logits'], dynamic_shapes=axes, dynamo=True)
    quantize_dynamic(f'{folder}/f32.onnx', path, weight_type=QuantType.QInt8, per_channel=True)
    return path


if __name__ == '__main__':
    made = make(*sys.argv[1:4])
    print(json.dumps({'folder': made, 'shape': sys.argv[1]}))
