"""The class `CrossEncoder`, which takes the place of sentence-transformers' class of this name."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from lorank._arguments import at_least, listed, sources
from lorank._compatible import (
    activation_name,
    base_name,
    device_name,
    is_pair,
    max_length_of,
    precision_of,
    refuse,
    refuse_given,
    with_prompt,
)
from lorank._native import Engine
from lorank._progress import bar
from lorank._reranker import CACHE_BYTES, Document, Hit, _hits

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

logger = logging.getLogger("lorank.cross_encoder")

#: The pairs between two updates of a progress bar.
_CHUNK = 256

#: What lorank does not do, with what to use instead.
_ELSEWHERE = {
    "fit": "train an adapter with the command `lorank train`, or with sentence-transformers",
    "old_fit": "train an adapter with the command `lorank train`, or with sentence-transformers",
    "train": "train an adapter with the command `lorank train`, or with sentence-transformers",
    "save": "a model's files are where it was loaded from",
    "save_pretrained": "a model's files are where it was loaded from",
    "push_to_hub": "upload the model's files with huggingface_hub",
    "start_multi_process_pool": "one object scores on all cores, and threads share it",
    "stop_multi_process_pool": "one object scores on all cores, and threads share it",
    "compile": "there is nothing to compile",
    "half": "give `precision` to the constructor",
    "bfloat16": 'give `precision="bf16"` to the constructor',
    "tokenizer": "lorank's tokenizer is not open to Python; use the tokenizers package",
    "model": "there is no torch module behind it",
    "config": "use `info()`",
}


class CrossEncoder:
    """sentence-transformers' `CrossEncoder` without torch: the same arguments, and the same scores.

    In f32, the default, scores are within 1e-4 of those of sentence-transformers; `precision="auto"` is faster and preserves the
    ranking. What lorank does not do (tensors, own functions, training) raises an error that says what to use instead.

    Args:
        model_name_or_path: A folder, or the name of a repository on the Hugging Face Hub, as `owner/name`; also lorank's names of
            base models (`minilm`, `hf://owner/name@revision`).
        device: `cpu`, or an NVIDIA GPU as `cuda:0`, with `pip install lorank[cuda]`.
        prompts: Prompts by name, for `prompt_name`.
        default_prompt_name: The name of the prompt of calls that give none. Without it, the model's own prompt applies.
        cache_folder: The cache of downloads; by default that of Hugging Face's tools.
        trust_remote_code: No effect: lorank runs no code of models.
        revision: The branch, tag or commit on the hub.
        local_files_only: Whether to use files of the cache only.
        token: The access token of the hub; `False` uses none.
        model_kwargs: `dtype` or `torch_dtype`: float32 or bfloat16. Nothing else.
        processor_kwargs: `model_max_length`. Nothing else.
        backend: `torch`, the default, which stands for lorank's own. `onnx` and `openvino` are refused.
        num_labels: 1. A model with several labels is refused.
        max_length: The maximum length of a pair in tokens.
        activation_fn: `sigmoid` or `identity`, also as modules of torch. By default the model's own.
        precision: lorank's precision: `f32`, `bf16`, `int8`, `fp8` (NVIDIA GPUs) or `auto`.
        adapters: LoRA adapters, as for `Reranker`; the first one scores.
        cache_bytes: As for `Reranker`.

    Raises:
        NotImplementedError: An argument that lorank does not support.
        FileNotFoundError: A folder does not exist.
        ModelError: The model's files cannot be used.
    """

    def __init__(
        self,
        model_name_or_path: str | os.PathLike[str] | None = None,
        *,
        modules: None = None,
        device: str | None = None,
        prompts: Mapping[str, str] | None = None,
        default_prompt_name: str | None = None,
        cache_folder: str | None = None,
        trust_remote_code: bool = False,
        revision: str | None = None,
        local_files_only: bool = False,
        token: bool | str | None = None,
        model_kwargs: Mapping[str, Any] | None = None,
        processor_kwargs: Mapping[str, Any] | None = None,
        config_kwargs: Mapping[str, Any] | None = None,
        model_card_data: None = None,
        backend: str = "torch",
        num_labels: int | None = None,
        max_length: int | None = None,
        activation_fn: str | Callable[..., Any] | None = None,
        keep_in_fp32_modules: None = None,
        precision: str | None = None,
        adapters: Mapping[str, str | os.PathLike[str]] | Sequence[str | os.PathLike[str]] | None = None,
        cache_bytes: int | None = None,
    ) -> None:
        refuse_given(
            modules=(modules, "give the folder of a model"),
            config_kwargs=(config_kwargs or None, "edit the model's config.json"),
            model_card_data=(model_card_data, "lorank writes no model cards"),
            keep_in_fp32_modules=(keep_in_fp32_modules, "give `precision`"),
        )
        if model_name_or_path is None:
            raise ValueError("`model_name_or_path` is missing")
        if backend != "torch":
            refuse(f"`backend` {backend!r}", 'lorank has one backend; remove it, and give precision="int8" for speed')
        if num_labels not in (None, 1):
            refuse(f"`num_labels` {num_labels!r}", "lorank scores one label")
        self.prompts = dict(prompts or {})
        self.default_prompt_name = default_prompt_name
        if default_prompt_name is not None and default_prompt_name not in self.prompts:
            raise ValueError(
                f"`default_prompt_name` {default_prompt_name!r} is not among the names of `prompts`: {list(self.prompts)}"
            )
        self._settings: dict[str, Any] = {
            "base": base_name(model_name_or_path, revision),
            "precision": precision_of(precision, model_kwargs),
            "max_length": max_length_of(max_length, processor_kwargs),
            "device": device_name(device) or "auto",
            "cache_bytes": CACHE_BYTES if cache_bytes is None else at_least(cache_bytes, 0, "cache_bytes") or 0,
            "hub_cache": cache_folder,
            "hub_token": token if isinstance(token, str) else "" if token is False else None,
            "hub_offline": bool(local_files_only),
            "threads": None,
        }
        self._activation = "model" if activation_fn is None else activation_name(activation_fn)
        self._engine = Engine(adapters=sources(adapters), **self._settings)
        self._check_label()

    def predict(
        self,
        inputs: Sequence[Any],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        activation_fn: str | Callable[..., Any] | None = None,
        apply_softmax: bool | None = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: str | None = None,
        pool: None = None,
        chunk_size: None = None,
    ) -> npt.NDArray[np.float32] | np.float32:
        """Scores pairs of a query and a document.

        Args:
            inputs: A list of pairs, or one pair.
            prompt_name: The name of a prompt of the constructor.
            prompt: A text before the query, or the system message of a model with a chat template.
            batch_size: No effect: pairs of all threads share batches, and scores do not depend on them.
            show_progress_bar: Whether to show progress with tqdm, if it is installed. By default at the log levels INFO and DEBUG.
            activation_fn: `sigmoid` or `identity`. By default that of the constructor, or the model's own.
            apply_softmax: No effect, as for every model with one label.
            convert_to_numpy: True. Lists of tensors are refused.
            convert_to_tensor: False. Use `torch.from_numpy` on the array.
            device: The constructor's device.
            pool: Refused: threads share one object.
            chunk_size: Refused, as `pool`.

        Returns:
            An array of float32 of the shape (number of pairs,); for one pair, its score.
        """
        self._check_call(batch_size, convert_to_numpy, convert_to_tensor, device, pool, chunk_size)
        is_single = is_pair(inputs)
        pairs = [inputs] if is_single else listed(inputs, "inputs")
        scores = self._scores(pairs, prompt_name, prompt, show_progress_bar, activation_fn)
        return scores[0] if is_single else scores

    def rank(
        self,
        query: str,
        documents: Sequence[Document],
        top_k: int | None = None,
        return_documents: bool = False,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        activation_fn: str | Callable[..., Any] | None = None,
        device: str | None = None,
        pool: None = None,
        chunk_size: None = None,
    ) -> list[Hit]:
        """Ranks documents for a query.

        Args:
            query: The query.
            documents: The documents.
            top_k: The number of documents to return. By default all.
            return_documents: Whether the answer has the documents in `text`.
            prompt_name: As in `predict`.
            prompt: As in `predict`.
            batch_size: As in `predict`.
            show_progress_bar: As in `predict`.
            activation_fn: As in `predict`.
            device: As in `predict`.
            pool: As in `predict`.
            chunk_size: As in `predict`.

        Returns:
            The documents' indices (`corpus_id`) with their scores, best first; equal scores in the order of the documents.
        """
        documents = listed(documents, "documents")
        self._check_call(batch_size, True, False, device, pool, chunk_size)
        pairs = [(query, document) for document in documents]
        scores = self._scores(pairs, prompt_name, prompt, show_progress_bar, activation_fn).tolist()
        # As sentence-transformers sorts: by score, and equal scores stay in order.
        order = sorted(range(len(scores)), key=lambda at: scores[at], reverse=True)
        return _hits([(at, scores[at]) for at in order[:top_k]], documents, return_documents)

    @property
    def device(self) -> str:
        """The device: `cpu`, `cuda` or `metal`."""
        return str(self.info()["device"])

    @property
    def num_labels(self) -> int:
        """1: the number of scores of a pair."""
        return 1

    @property
    def max_length(self) -> int:
        """The maximum length of a pair in tokens."""
        return int(self.info()["max_length"])

    @property
    def max_seq_length(self) -> int:
        """The maximum length of a pair in tokens."""
        return self.max_length

    @property
    def activation_fn(self) -> str:
        """The name of the activation: `sigmoid` or `identity`."""
        return str(self.info()["activation"]) if self._activation == "model" else self._activation

    def info(self) -> dict[str, Any]:
        """Facts about the model and the score cache, as `Reranker.info`."""
        info: dict[str, Any] = json.loads(self._engine.info())
        return info

    def eval(self) -> CrossEncoder:
        """The object itself, which has no other mode."""
        return self

    def to(self, device: str) -> CrossEncoder:
        """The object itself, if it is on this device."""
        self._check_device(device)
        return self

    def cpu(self) -> CrossEncoder:
        """The object itself, if it is on the CPU."""
        return self.to("cpu")

    def __getattr__(self, name: str) -> NoReturn:
        """The error for what lorank does not have."""
        if name in _ELSEWHERE:
            raise AttributeError(f"lorank's CrossEncoder has no `{name}`: {_ELSEWHERE[name]}")
        raise AttributeError(f"lorank's CrossEncoder has no attribute `{name}`")

    def __repr__(self) -> str:
        """The base model."""
        return f"CrossEncoder({self._settings['base']!r})"

    def __reduce__(self) -> tuple[Callable[..., CrossEncoder], tuple[Any, ...]]:
        """The settings: a copy in another process loads the model by itself."""
        own = {name: self.__dict__[name] for name in ("prompts", "default_prompt_name", "_activation", "_settings")}
        # A secret does not belong into a pickle; the other process reads its own.
        own["_settings"] = {**self._settings, "hub_token": "" if self._settings["hub_token"] == "" else None}
        return _load, (type(self), own, self._engine.adapters())

    def _scores(
        self,
        pairs: list[Any],
        prompt_name: str | None,
        prompt: str | None,
        show_progress_bar: bool | None,
        activation_fn: str | Callable[..., Any] | None,
    ) -> npt.NDArray[np.float32]:
        import numpy as np

        activation = self._activation if activation_fn is None else activation_name(activation_fn)
        before, instruction = self._prompt(prompt, prompt_name)
        if before:
            pairs = [with_prompt(pair, before, n) for n, pair in enumerate(pairs)]
        scored = [
            self._engine.score(chunk, activation=activation, adapter=None, instruction=instruction, cancellation=None)
            for chunk in _chunks(pairs, show_progress_bar)
        ]
        return np.frombuffer(bytearray().join(scored), dtype=np.float32)

    def _check_label(self) -> None:
        label = self.info()["score_label"]
        if label is not None:
            refuse("a model with several labels", f"use lorank.Reranker, whose scores are those of the label {label!r}")

    def _check_call(
        self,
        batch_size: int,
        convert_to_numpy: bool,
        convert_to_tensor: bool,
        device: str | None,
        pool: None,
        chunk_size: None,
    ) -> None:
        if at_least(batch_size, 1, "batch_size") is None:
            raise ValueError("`batch_size` is None; give a positive number")
        if convert_to_tensor or not convert_to_numpy:
            name = "`convert_to_tensor`" if convert_to_tensor else "`convert_to_numpy` False"
            refuse(name, "lorank returns arrays of numpy, which torch.from_numpy takes")
        refuse_given(
            pool=(pool, "one object scores on all cores, and threads share it"),
            chunk_size=(chunk_size, "one object scores on all cores, and threads share it"),
        )
        if device is not None:
            self._check_device(device)

    def _check_device(self, device: str) -> None:
        asked, found = device_name(device), self.device
        if asked is not None and asked != "auto" and asked.split(":")[0] != found:
            refuse(f"`device` {asked!r} of a model on {found!r}", "give `device` to the constructor")

    def _prompt(self, prompt: str | None, prompt_name: str | None) -> tuple[str, str | None]:
        """The text before a query, and the instruction."""
        if prompt is None and prompt_name is not None:
            if prompt_name not in self.prompts:
                raise ValueError(
                    f"`prompt_name` {prompt_name!r} is not among the names of `prompts`: {list(self.prompts)}"
                )
            prompt = self.prompts[prompt_name]
        elif prompt is None and self.default_prompt_name is not None:
            prompt = self.prompts[self.default_prompt_name]
        elif prompt_name is not None:
            logger.warning("both `prompt` and `prompt_name` are given; `prompt` is used")
        if not prompt:
            return "", None
        form = self.info()["prompt"]
        if form["is_whole"]:
            return "", prompt
        if not any(template.startswith("{query}") for template in form["templates"]):
            refuse("`prompt` for a model with a prompt of its own", "change the model's prompt in its lorank.json")
        return prompt, None


def _load(kind: type[CrossEncoder], own: dict[str, Any], adapters: list[tuple[str | None, str]]) -> CrossEncoder:
    """A cross-encoder with these settings: the inverse of `CrossEncoder.__reduce__`."""
    loaded = kind.__new__(kind)
    loaded.__dict__.update(own)
    loaded._engine = Engine(adapters=adapters, **own["_settings"])
    return loaded


def _chunks(pairs: list[Any], show_progress_bar: bool | None) -> Iterable[list[Any]]:
    """The pairs, in parts if their progress is shown."""
    if show_progress_bar is None:
        show_progress_bar = logging.getLogger("lorank").getEffectiveLevel() in (logging.INFO, logging.DEBUG)
    chunks = [pairs[at : at + _CHUNK] for at in range(0, len(pairs), _CHUNK)]
    progress: Iterable[list[Any]] | None = bar(show_progress_bar and bool(pairs), chunks, desc="Batches")
    return [pairs] if progress is None else progress
