"""`CrossEncoder`: sentence-transformers' arguments, and the recorded scores of transformers."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lorank import CrossEncoder, Reranker

from conftest import FIXTURES, PAIRS, TINY

#: Models whose prompts and tokens lorank knows by their names.
NAMES = {
    "bge-reranker-v2-gemma": "bge-reranker-v2-gemma",
    "mxbai-rerank-v2": "mxbai-rerank-base-v2",
    "qwen3-reranker": "Qwen3-Reranker-0.6B",
}
#: Every family with scores of transformers or of the model's own code.
RECORDED = sorted(
    path.parent
    for path in FIXTURES.glob("tiny-*/**/reference.json")
    # Its base is three folders, by how it pools.
    if (path.parent / "base").is_dir()
)


@pytest.fixture(scope="module")
def model() -> CrossEncoder:
    return CrossEncoder(str(TINY))


def test_every_family_is_recorded() -> None:
    assert len(RECORDED) >= 18, RECORDED


@pytest.mark.parametrize("folder", RECORDED, ids=lambda folder: str(folder.relative_to(FIXTURES)))
def test_scores_are_those_of_transformers(folder: Path, tmp_path: Path) -> None:
    recorded = json.loads((folder / "reference.json").read_text(encoding="utf-8"))
    pairs, max_length = recorded["pairs"], recorded["max_length"]
    base = tmp_path / NAMES.get(folder.name, "base")
    shutil.copytree(folder / "base", base)
    texts = [(pair["query"], pair["document"]) for pair in pairs]
    for name in ("base", "adapter_a", "adapter_b"):
        adapters = None if name == "base" else [folder / name.replace("_", "-")]
        model = CrossEncoder(base, adapters=adapters, max_length=max_length, activation_fn="identity")
        scores = model.predict(texts)
        expected = [pair["scores"][name] for pair in pairs]
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-4, err_msg=name)


def test_the_activation_is_the_models_own(model: CrossEncoder) -> None:
    logits = Reranker(TINY, precision="f32").predict(PAIRS)
    assert model.activation_fn == "sigmoid"
    assert np.array_equal(model.predict(PAIRS, activation_fn="identity"), logits)
    np.testing.assert_allclose(model.predict(PAIRS), 1 / (1 + np.exp(-logits.astype(np.float64))), rtol=1e-6)
    named = FIXTURES / "tiny-modernbert" / "modules" / "base"
    assert CrossEncoder(named).activation_fn == "identity"


def test_predict_takes_one_pair_or_many(model: CrossEncoder) -> None:
    pair = ("how long is the nile", "The Nile is 6,650 km long.")
    one = model.predict(pair)
    assert isinstance(one, np.float32)
    for single in (list(pair), np.array(pair)):
        assert model.predict(single) == one
    for many in ([pair], [list(pair)], (pair,), np.array([pair])):
        scores = model.predict(many)
        assert isinstance(scores, np.ndarray) and scores.dtype == np.float32 and scores.tolist() == [one]
    assert model.predict([]).shape == (0,)
    assert model.predict([pair, pair], batch_size=1).tolist() == [one, one]


def test_rank_answers_as_sentence_transformers_does(model: CrossEncoder) -> None:
    documents = ["It flows north.", "The Nile is 6,650 km long.", "no"]
    scores = model.predict([("how long", document) for document in documents])
    order = sorted(range(3), key=lambda at: scores[at], reverse=True)
    hits = model.rank("how long", documents, return_documents=True)
    assert hits == [{"corpus_id": at, "score": float(scores[at]), "text": documents[at]} for at in order]
    assert model.rank("how long", documents, top_k=1) == [{"corpus_id": order[0], "score": float(scores[order[0]])}]


def test_prompts_come_before_the_query() -> None:
    pair = [("how long is the nile", "The Nile is 6,650 km long.")]
    model = CrossEncoder(TINY, prompts={"question": "query: "}, default_prompt_name="question")
    expected = CrossEncoder(TINY).predict([("query: " + pair[0][0], pair[0][1])])
    assert (
        model.predict(pair)
        == model.predict(pair, prompt="query: ")
        == model.predict(pair, prompt_name="question")
        == expected
    )
    assert model.predict(pair, prompt="") == CrossEncoder(TINY).predict(pair)
    with pytest.raises(ValueError, match="`prompt_name` 'document' is not among"):
        model.predict(pair, prompt_name="document")
    with pytest.raises(ValueError, match="`default_prompt_name` 'other' is not among"):
        CrossEncoder(TINY, default_prompt_name="other")


def test_a_prompt_is_the_instruction_of_a_chat_template() -> None:
    folder = FIXTURES / "tiny-decoders" / "causal" / "logit-score"
    recorded = json.loads((folder / "reference.json").read_text(encoding="utf-8"))
    pairs = recorded["pairs"]
    texts = [(pair["query"], pair["document"]) for pair in pairs]
    model = CrossEncoder(folder / "base", activation_fn="identity")
    instructed = model.predict(texts, prompt=recorded["instruction"])
    np.testing.assert_allclose(instructed, [pair["scores"]["instructed"] for pair in pairs], rtol=0, atol=1e-4)


def test_names_of_torch_are_understood() -> None:
    class Float32:
        def __str__(self) -> str:
            return "torch.float32"

    sigmoid = type("Sigmoid", (), {"__module__": "torch.nn.modules.activation"})()
    model = CrossEncoder(
        TINY, device="cpu", model_kwargs={"torch_dtype": Float32()}, activation_fn=sigmoid, trust_remote_code=True
    )
    assert model.device == "cpu" and model.num_labels == 1 and model.eval().to("cpu") is model
    assert model.info()["precision"] == "f32"
    assert CrossEncoder(TINY, model_kwargs={"dtype": "bfloat16"}).info()["precision"] == "bf16"
    assert CrossEncoder(TINY, max_length=32).max_length == 32
    assert CrossEncoder(TINY, processor_kwargs={"model_max_length": 32}).max_length == 32


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"model_name_or_path": None}, ValueError, "`model_name_or_path` is missing"),
        ({"model_name_or_path": "/nowhere/model"}, FileNotFoundError, "/nowhere/model"),
        (
            {"model_name_or_path": "owner/name", "local_files_only": True, "cache_folder": "/nowhere"},
            OSError,
            "owner/name",
        ),
        ({"revision": "main"}, ValueError, "`revision` is for a repository"),
        ({"backend": "onnx"}, NotImplementedError, "`backend` 'onnx' is not supported.*int8"),
        ({"num_labels": 3}, NotImplementedError, "`num_labels` 3"),
        ({"modules": []}, NotImplementedError, "`modules`"),
        ({"config_kwargs": {"x": 1}}, NotImplementedError, "`config_kwargs`"),
        ({"model_kwargs": {"attn_implementation": "sdpa"}}, NotImplementedError, "attn_implementation"),
        ({"model_kwargs": {"dtype": "float16"}}, NotImplementedError, "float16.*bfloat16"),
        ({"model_kwargs": {"dtype": "float32"}, "precision": "int8"}, ValueError, "give one of them"),
        ({"processor_kwargs": {"padding": True}}, NotImplementedError, "padding"),
        ({"activation_fn": "softmax"}, NotImplementedError, "'softmax'.*your own function on the array"),
        ({"activation_fn": max}, NotImplementedError, "activation"),
        ({"device": "cuda"}, OSError, "cuda"),
        ({"device": ["cpu", "cpu"]}, NotImplementedError, "list of devices"),
    ],
)
def test_what_is_not_supported_is_refused(arguments: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        CrossEncoder(**{"model_name_or_path": str(TINY), **arguments})


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"convert_to_tensor": True}, NotImplementedError, "`convert_to_tensor`.*torch.from_numpy"),
        ({"convert_to_numpy": False}, NotImplementedError, "`convert_to_numpy` False"),
        ({"activation_fn": abs}, NotImplementedError, "activation"),
        ({"batch_size": 0}, ValueError, "`batch_size` is 0"),
        ({"batch_size": None}, ValueError, "`batch_size` is None"),
        ({"pool": {}}, NotImplementedError, "`pool`"),
        ({"chunk_size": 3}, NotImplementedError, "`chunk_size`"),
        ({"device": "cuda"}, NotImplementedError, "give `device` to the constructor"),
        ({"inputs": None}, TypeError, "`inputs` is of type NoneType"),
        ({"inputs": [("q", "d", "e")], "prompt": "p"}, TypeError, "pair 0"),
    ],
)
def test_what_predict_does_not_support_is_refused(
    model: CrossEncoder, arguments: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        model.predict(**{"inputs": [("q", "d")], **arguments})


def test_training_is_elsewhere(model: CrossEncoder) -> None:
    with pytest.raises(AttributeError, match="`fit`: .*lorank train"):
        model.fit([])
    with pytest.raises(AttributeError, match="no attribute `forward`"):
        _ = model.forward


def test_models_with_several_labels_are_refused(tmp_path: Path) -> None:
    for file in TINY.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    config["id2label"], config["label2id"] = {"0": "no", "1": "yes"}, {"no": 0, "yes": 1}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "lorank.json").write_text(json.dumps({"score_label": "yes"}), encoding="utf-8")
    with pytest.raises((NotImplementedError, ValueError, OSError, Exception), match="label"):
        CrossEncoder(tmp_path)


def test_progress_is_shown_where_asked(
    model: CrossEncoder, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    expected = model.predict(PAIRS)
    assert capsys.readouterr().err == ""
    assert np.array_equal(model.predict(PAIRS, show_progress_bar=True), expected)
    assert "Batches" in capsys.readouterr().err
    with caplog.at_level(logging.INFO, "lorank"):
        model.predict(PAIRS)
        model.predict(PAIRS, show_progress_bar=False)
    assert capsys.readouterr().err.count("Batches: 100%") == 1
