"""Reranking with cross-encoders and LoRA adapters on CPUs, without torch.

`Reranker` scores queries with documents, and `CrossEncoder` takes the place of sentence-transformers' class of this name::

    from lorank import Reranker

    reranker = Reranker("minilm", adapters={"qa": "minilm-qa"})
    for hit in reranker.rank("how long is the nile", ["It flows north.", "The Nile is 6,650 km long."]):
        print(hit["score"], hit["corpus_id"])

The program `lorank` is in the package, too: `lorank demo`, or `python -m lorank demo`.
"""

from lorank._cross_encoder import CrossEncoder
from lorank._evaluate import evaluate
from lorank._index import Index
from lorank._native import LorankError, ModelError, __version__
from lorank._reranker import Document, Hit, Reranker

__all__ = [
    "CrossEncoder",
    "Document",
    "Hit",
    "Index",
    "LorankError",
    "ModelError",
    "Reranker",
    "__version__",
    "evaluate",
]
