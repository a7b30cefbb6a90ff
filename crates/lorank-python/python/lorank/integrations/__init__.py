"""Rerankers of other packages on lorank's engine, one module for each package.

- `lorank.integrations.langchain`: a document compressor for LangChain
- `lorank.integrations.llama_index`: a node postprocessor for LlamaIndex
- `lorank.integrations.haystack`: a component for Haystack
- `lorank.integrations.lancedb`: a reranker for queries of LanceDB
- `lorank.integrations.rerankers`: a ranker for the package rerankers

Nothing imports them but your program, and each one needs its package, which is installed separately.
"""
