"""Clients of other rerank services against a lorank that serves: unmodified, told its address and nothing else.

    python check.py http://127.0.0.1:7788

Each one reranks the same passages of which one answers the question, and gets it back first, with the shapes that it expects.
"""
import os
import sys

URL = sys.argv[1].rstrip('/')
QUERY = 'who invented the light bulb'
DOCUMENTS = [
    'The tulip bulb is planted in autumn and flowers in spring.',
    'Light travels at about 300,000 kilometres a second in a vacuum.',
    'Thomas Edison patented the first incandescent light bulb that could be sold, in 1879.',
    'A telephone turns sound into electrical signals.',
]
ANSWER = 2
ADAPTERS = ['minilm-qa', 'minilm-science']

# The clients want a key; the service that is tested here has none.
os.environ.update(COHERE_API_KEY='none', CO_API_KEY='none', HF_API_TOKEN='none', LITELLM_LOCAL_MODEL_COST_MAP='true')


def check(places, scores, n=len(DOCUMENTS)):
    """Places and scores, best first."""
    places, scores = list(places), list(scores)
    assert places[0] == ANSWER and len(places) == len(set(places)) == n, places
    assert scores == sorted(scores, reverse=True) and all(0 <= score <= 1 for score in scores), scores


def cohere_v1():
    import cohere
    client = cohere.Client(base_url=URL)
    answer = client.rerank(model=ADAPTERS[0], query=QUERY, documents=DOCUMENTS, top_n=2, return_documents=True)
    check([one.index for one in answer.results], [one.relevance_score for one in answer.results], 2)
    assert answer.results[0].document.text == DOCUMENTS[ANSWER], answer
    objects = [{'title': text[:9], 'body': text} for text in DOCUMENTS]
    answer = client.rerank(model=ADAPTERS[0], query=QUERY, documents=objects, rank_fields=['title', 'body'])
    check([one.index for one in answer.results], [one.relevance_score for one in answer.results])


def cohere_v2():
    import cohere
    client = cohere.ClientV2(base_url=URL)
    scores = []
    for adapter in ADAPTERS:
        answer = client.rerank(model=adapter, query=QUERY, documents=DOCUMENTS, max_tokens_per_doc=512)
        check([one.index for one in answer.results], [one.relevance_score for one in answer.results])
        scores.append(answer.results[0].relevance_score)
    assert answer.id and answer.meta.billed_units.search_units, answer
    assert scores[0] != scores[1], 'each adapter has scores of its own'
    try:
        client.rerank(model='no-such-adapter', query=QUERY, documents=DOCUMENTS)
    except cohere.core.ApiError as error:
        assert error.status_code in (404, 422) and 'no-such-adapter' in str(error.body), error
    else:
        raise AssertionError('an unknown adapter must be refused')


def langchain():
    from langchain_cohere import CohereRerank
    from langchain_core.documents import Document
    rerank = CohereRerank(model=ADAPTERS[0], base_url=URL, top_n=3)
    documents = [Document(page_content=text, metadata={'place': place}) for place, text in enumerate(DOCUMENTS)]
    found = rerank.compress_documents(documents, QUERY)
    check([one.metadata['place'] for one in found], [one.metadata['relevance_score'] for one in found], 3)


def llama_index():
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
    from llama_index.postprocessor.tei_rerank import TextEmbeddingInference
    rerank = TextEmbeddingInference(base_url=URL, top_n=4)
    nodes = [NodeWithScore(node=TextNode(text=text, id_=str(place)), score=0.0) for place, text in enumerate(DOCUMENTS)]
    found = rerank.postprocess_nodes(nodes, QueryBundle(QUERY))
    check([int(one.node.id_) for one in found], [one.score for one in found])


def haystack():
    from haystack import Document
    from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker
    ranker = HuggingFaceTEIRanker(url=URL, top_k=3)
    documents = [Document(content=text, meta={'place': place}) for place, text in enumerate(DOCUMENTS)]
    found = ranker.run(query=QUERY, documents=documents)['documents']
    check([one.meta['place'] for one in found], [one.score for one in found], 3)


def litellm():
    import litellm as client
    for provider, base in [('cohere', URL), ('jina_ai', f'{URL}/v1/rerank'), ('hosted_vllm', URL)]:
        answer = client.rerank(model=f'{provider}/{ADAPTERS[0]}', api_base=base, api_key='none', query=QUERY,
                               documents=DOCUMENTS, top_n=3, return_documents=True)
        check([one['index'] for one in answer.results], [one['relevance_score'] for one in answer.results], 3)


for client in (cohere_v1, cohere_v2, langchain, llama_index, haystack, litellm):
    client()
    print(f'{client.__name__}: as it expects', flush=True)
