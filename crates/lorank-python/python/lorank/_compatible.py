"""sentence-transformers' arguments in lorank's terms. What lorank does not support is refused by name."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from lorank._arguments import at_least, path_text

#: Data types of torch, by their names.
_DTYPES = {"auto": "f32", "float32": "f32", "float": "f32", "bfloat16": "bf16"}


def refuse(what: str, instead: str) -> NoReturn:
    raise NotImplementedError(f"{what} is not supported: {instead}")


def refuse_given(**arguments: tuple[Any, str]) -> None:
    for name, (value, instead) in arguments.items():
        if value is not None:
            refuse(f"`{name}`", instead)


def base_name(name: str | os.PathLike[str], revision: str | None) -> str:
    """The base model as lorank names it: sentence-transformers takes `owner/name` for a repository unless it is a folder."""
    base = path_text(name, "model_name_or_path")
    is_repository = (
        isinstance(name, str) and re.fullmatch(r"[\w.-]+/[\w.-]+", base) is not None and not os.path.exists(base)
    )
    if is_repository:
        base = f"hf://{base}"
    if revision is None:
        return base
    if not base.startswith("hf://") or "@" in base:
        raise ValueError(f"`revision` is for a repository on the hub, and `{base}` is none, or names its revision")
    return f"{base}@{revision}"


def precision_of(precision: str | None, model_kwargs: Mapping[str, Any] | None) -> str:
    given = dict(model_kwargs or {})
    dtype = given.pop("dtype", None) or given.pop("torch_dtype", None)
    given.pop("torch_dtype", None)
    if given:
        refuse(f"`model_kwargs` with {sorted(given)}", "lorank takes `dtype` only")
    if dtype is None:
        return precision or "f32"
    name = str(dtype).removeprefix("torch.")
    if name not in _DTYPES:
        refuse(f"the dtype {name}", "use float32 or bfloat16, or lorank's `precision`")
    if precision not in (None, _DTYPES[name]):
        raise ValueError(f"`precision` is {precision!r}, but the dtype in `model_kwargs` is {name}; give one of them")
    return _DTYPES[name]


def max_length_of(max_length: int | None, processor_kwargs: Mapping[str, Any] | None) -> int | None:
    given = dict(processor_kwargs or {})
    own = given.pop("model_max_length", None)
    if given:
        refuse(f"`processor_kwargs` with {sorted(given)}", "lorank takes `model_max_length` only")
    return at_least(own if max_length is None else max_length, 1, "max_length")


def device_name(device: Any) -> str | None:
    """The device as lorank names it."""
    if device is None:
        return None
    if isinstance(device, (list, tuple)):
        refuse("a list of devices", "one object scores on all cores of one device")
    name = str(device)
    return {"cuda": "cuda:0", "mps": "metal"}.get(name, name)


def activation_name(activation: str | Callable[..., Any]) -> str:
    """The name of an activation, also of the modules of torch that lorank has."""
    name = activation if isinstance(activation, str) else type(activation).__name__
    is_known = isinstance(activation, str) or type(activation).__module__.startswith("torch.nn.modules.")
    if not is_known or name.lower() not in ("sigmoid", "identity"):
        refuse(f"the activation {name!r}", 'use "sigmoid" or "identity", and your own function on the array of scores')
    return name.lower()


def is_pair(inputs: Any) -> bool:
    """Whether the input is one pair and not a list of pairs, as sentence-transformers has it."""
    if isinstance(inputs, (list, tuple)):
        return len(inputs) > 0 and isinstance(inputs[0], str)
    return getattr(inputs, "ndim", 2) == 1 and len(inputs) > 0 and isinstance(inputs[0], str)


def with_prompt(pair: Any, prompt: str, n: int) -> tuple[str, Any]:
    if isinstance(pair, (str, bytes, Mapping)) or len(pair) != 2 or not isinstance(pair[0], str):
        raise TypeError(f"pair {n} is not a query and a document")
    return prompt + pair[0], pair[1]
