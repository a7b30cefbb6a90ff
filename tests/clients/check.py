"""Clients of other rerank services against a lorank that serves: unmodified, told its address and nothing else.

    python check.py http://127.0.0.1:7788 [NAME ...]

Each one reranks the same passages of which one answers the question, and gets it back first, with the shapes that it expects.
With names, only these clients are tried. The server needs the adapters minilm-qa and minilm-science, the model alias `*`, and a
running experiment `clients` whose arms are these two adapters. `refused` is for a server with keys.
"""
import os
import sys
import time

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

# The clients want a key; the service that is tested here has none. What they would load from elsewhere or report stays off.
os.environ.update(COHERE_API_KEY='none', CO_API_KEY='none', HF_API_TOKEN='none', LITELLM_LOCAL_MODEL_COST_MAP='true',
                  HAYSTACK_TELEMETRY_ENABLED='false', DASHSCOPE_HTTP_BASE_URL=f'{URL}/api/v1', MXBAI_API_KEY='none',
                  MIXEDBREAD_BASE_URL=URL)


def check(places, scores, n=len(DOCUMENTS), is_probability=True):
    """Places and scores, best first."""
    places, scores = list(places), list(scores)
    assert places[0] == ANSWER and len(places) == len(set(places)) == n, places
    assert scores == sorted(scores, reverse=True), scores
    assert not is_probability or all(0 <= score <= 1 for score in scores), scores


def check_error(error, *parts):
    """Whether an error has what the service said, and not a failure to read it."""
    for part in ('no-such-adapter', *parts):
        assert part in str(error), error


def nodes():
    """The passages as LlamaIndex has them, and the question."""
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
    passages = [NodeWithScore(node=TextNode(text=text, id_=str(place)), score=0.0) for place, text in enumerate(DOCUMENTS)]
    return passages, QueryBundle(QUERY)


def check_nodes(found, n, is_probability=True):
    check([int(one.node.id_) for one in found], [one.score for one in found], n, is_probability)


def passages():
    """The passages as LangChain has them."""
    from langchain_core.documents import Document
    return [Document(page_content=text, metadata={'place': place}) for place, text in enumerate(DOCUMENTS)]


def check_passages(found, n, is_probability=True):
    check([one.metadata['place'] for one in found], [one.metadata['relevance_score'] for one in found], n, is_probability)


def cohere_v1():
    import cohere
    client = cohere.Client(base_url=URL)
    answer = client.rerank(model=ADAPTERS[0], query=QUERY, documents=DOCUMENTS, top_n=2, return_documents=True)
    check([one.index for one in answer.results], [one.relevance_score for one in answer.results], 2)
    assert answer.results[0].document.text == DOCUMENTS[ANSWER], answer
    objects = [{'title': text[:9], 'body': text} for text in DOCUMENTS]
    answer = client.rerank(model=ADAPTERS[0], query=QUERY, documents=objects, rank_fields=['title', 'body'], max_chunks_per_doc=10)
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
    # The model alias `*` lets the names of Cohere's own models mean the default adapter, and the answer says so.
    answer = client.rerank(model='rerank-v3.5', query=QUERY, documents=DOCUMENTS)
    assert 'rerank-v3.5' in answer.meta.warnings[0] and ADAPTERS[0] in answer.meta.warnings[0], answer.meta
    try:
        client.rerank(model='', query='', documents=[])
    except cohere.core.ApiError as error:
        assert error.status_code == 422 and '`documents` cannot be empty' in error.body['message'], error
    else:
        raise AssertionError('an empty list must be refused')


def cohere_in_an_experiment():
    import cohere
    import requests
    client = cohere.ClientV2(base_url=URL)
    documents = [{'id': f'd{place}', 'text': text} for place, text in enumerate(DOCUMENTS)]
    arms = set()
    for n in range(12):
        # The client's own way to send a header; the second version of its types takes texts, the server objects as well.
        answer = client.with_raw_response.rerank(
            model='experiment:clients', query=QUERY, documents=DOCUMENTS,
            request_options={'additional_headers': {'x-unit-id': f'unit {n}'},
                             'additional_body_parameters': {'documents': documents}})
        check([one.index for one in answer.data.results], [one.relevance_score for one in answer.data.results])
        assert answer.headers['x-experiment'] == 'clients', answer.headers
        arm = answer.headers['x-experiment-arm']
        assert answer.headers['x-model'] == arm, 'each arm is called like its adapter'
        arms.add(arm)
        event = {'action_name': 'click', 'query_id': answer.headers['x-request-id'], 'object_id': f'd{ANSWER}',
                 'timestamp': int(time.time() * 1000)}
        counted = requests.post(f'{URL}/v1/events', json=event, timeout=30).json()
        assert (counted['accepted'], counted['unattributed']) == (1, 0), counted
    assert arms == set(ADAPTERS), arms
    report = requests.get(f'{URL}/v1/experiments/clients/report', timeout=30).json()
    assert sum(arm['n_clicks'] for arm in report['arms']) >= 12, report


def langchain_cohere():
    from langchain_cohere import CohereRerank
    rerank = CohereRerank(model=ADAPTERS[0], base_url=URL, top_n=3)
    check_passages(rerank.compress_documents(passages(), QUERY), 3)


def langchain_nvidia():
    from langchain_nvidia_ai_endpoints import NVIDIARerank
    rerank = NVIDIARerank(model=ADAPTERS[0], base_url=f'{URL}/v1', api_key='none', top_n=3, truncate='END',
                          usage_telemetry_enabled=False)
    check_passages(rerank.compress_documents(passages(), QUERY), 3, False)


def langchain_jina():
    import langchain_community.document_compressors.jina_rerank as module
    module.JINA_API_URL = f'{URL}/jina/v1/rerank'
    rerank = module.JinaRerank(model=ADAPTERS[0], jina_api_key='none', top_n=3)
    check_passages(rerank.compress_documents(passages(), QUERY), 3)
    try:
        module.JinaRerank(model='experiment:no-such-adapter', jina_api_key='none').rerank(DOCUMENTS, QUERY)
    except RuntimeError as error:
        check_error(error)
    else:
        raise AssertionError('an unknown experiment must be refused')


def langchain_infinity():
    from infinity_client import Client
    from langchain_community.document_compressors import InfinityRerank
    rerank = InfinityRerank(client=Client(base_url=f'{URL}/infinity'), model='default/not-specified', top_n=3)
    check_passages(rerank.compress_documents(passages(), QUERY), 3)


def infinity():
    from infinity_client import Client
    from infinity_client.api.default import rerank
    from infinity_client.models import HTTPValidationError, RerankInput, ReRankResult
    client = Client(base_url=f'{URL}/infinity')
    answer = rerank.sync(client=client, body=RerankInput(query=QUERY, documents=DOCUMENTS, return_documents=True, top_n=3))
    assert isinstance(answer, ReRankResult), answer
    check([one.index for one in answer.results], [one.relevance_score for one in answer.results], 3)
    assert answer.results[0].document == DOCUMENTS[ANSWER] and answer.usage.total_tokens > 0, answer
    refused = rerank.sync(client=client, body=RerankInput(query=QUERY, documents=[]))
    assert isinstance(refused, HTTPValidationError) and 'documents' in refused.detail[0].msg, refused


def llama_index_tei():
    from llama_index.postprocessor.tei_rerank import TextEmbeddingInference
    check_nodes(TextEmbeddingInference(base_url=URL, top_n=4).postprocess_nodes(*nodes()), 4)


def llama_index_nvidia():
    from llama_index.postprocessor.nvidia_rerank import NVIDIARerank
    rerank = NVIDIARerank(base_url=f'{URL}/v1', api_key='none', top_n=3)
    assert rerank.model == ADAPTERS[0], 'the first model that is listed is the default'
    check_nodes(rerank.postprocess_nodes(*nodes()), 3, False)


def llama_index_jina():
    from llama_index.postprocessor.jinaai_rerank import JinaRerank
    check_nodes(JinaRerank(base_url=f'{URL}/jina/v1', api_key='none', top_n=3).postprocess_nodes(*nodes()), 3)


def llama_index_mixedbread():
    from llama_index.postprocessor.mixedbreadai_rerank import MixedbreadAIRerank
    check_nodes(MixedbreadAIRerank(api_key='none', top_n=3).postprocess_nodes(*nodes()), 3)


def llama_index_siliconflow():
    from llama_index.postprocessor.siliconflow_rerank import SiliconFlowRerank
    rerank = SiliconFlowRerank(base_url=f'{URL}/v1/rerank', api_key='none', top_n=3)
    check_nodes(rerank.postprocess_nodes(*nodes()), 3)


def llama_index_dashscope():
    from llama_index.postprocessor.dashscope_rerank import DashScopeRerank
    check_nodes(DashScopeRerank(api_key='none', top_n=3).postprocess_nodes(*nodes()), 3)


def haystack():
    from haystack import Document
    from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker
    ranker = HuggingFaceTEIRanker(url=URL, top_k=3)
    documents = [Document(content=text, meta={'place': place}) for place, text in enumerate(DOCUMENTS)]
    found = ranker.run(query=QUERY, documents=documents)['documents']
    check([one.meta['place'] for one in found], [one.score for one in found], 3)


def voyage():
    import voyageai
    # The first address serves Cohere's clients too; the client sends a `top_k` always, which tells the two apart.
    for base_url in (f'{URL}/v1', f'{URL}/voyage/v1'):
        client = voyageai.Client(api_key='none', base_url=base_url)
        for top_k in (3, None):
            answer = client.rerank(QUERY, DOCUMENTS, model='rerank-2.5', top_k=top_k)
            check([one.index for one in answer.results], [one.relevance_score for one in answer.results], top_k or 4)
            assert answer.results[0].document == DOCUMENTS[ANSWER] and answer.total_tokens > 0, answer
        for model, documents, problem, part in [
                ('experiment:no-such-adapter', DOCUMENTS, voyageai.error.APIError, 'no-such-adapter'),
                ('rerank-2.5', [], voyageai.error.MalformedRequestError, '`documents` cannot be empty')]:
            try:
                client.rerank(QUERY, documents, model=model)
            except problem as error:
                assert part in str(error) and error.error is None, error
            else:
                raise AssertionError(f'{model} with {len(documents)} documents must be refused')


def langchain_voyage():
    from langchain_voyageai import VoyageAIRerank
    rerank = VoyageAIRerank(model='rerank-2.5', api_key='none', base_url=f'{URL}/v1', top_k=3)
    check_passages(rerank.compress_documents(passages(), QUERY), 3)


def mixedbread():
    from mixedbread import Mixedbread
    client = Mixedbread(api_key='none', base_url=URL)
    answer = client.rerank(model='mixedbread-ai/mxbai-rerank-large-v2', query=QUERY, input=DOCUMENTS, top_k=3, return_input=True)
    check([one.index for one in answer.data], [one.score for one in answer.data], 3)
    assert answer.data[0].input == DOCUMENTS[ANSWER] and answer.return_input and answer.top_k == 3, answer
    assert answer.usage.total_tokens > 0 and answer.usage.prompt_tokens > 0, answer


def together():
    from together import Together
    client = Together(api_key='none', base_url=URL)
    answer = client.rerank.create(model='Salesforce/Llama-Rank-v1', query=QUERY, documents=DOCUMENTS, top_n=3, return_documents=True)
    check([one.index for one in answer.results], [one.relevance_score for one in answer.results], 3)
    assert answer.object == 'rerank' and answer.usage.completion_tokens == 0, answer
    assert answer.results[0].document.text == DOCUMENTS[ANSWER], answer


def dashscope():
    import dashscope as client
    answer = client.TextReRank.call(model='qwen3-rerank', query=QUERY, documents=DOCUMENTS, top_n=3, return_documents=True,
                                    api_key='none')
    assert answer.status_code == 200 and answer.request_id, answer
    results = answer.output.results
    check([one.index for one in results], [one.relevance_score for one in results], 3)
    assert results[0]['document']['text'] == DOCUMENTS[ANSWER] and answer.usage.total_tokens > 0, answer
    refused = client.TextReRank.call(model='experiment:no-such-adapter', query=QUERY, documents=DOCUMENTS, api_key='none')
    assert refused.status_code == 404 and refused.code == 'not_found', refused
    check_error(refused.message)


def rerankers():
    from rerankers import Reranker
    for provider, path in [('cohere', '/v1/rerank'), ('jina', '/jina/v1/rerank'), ('voyage', '/v1/rerank'),
                           ('mixedbread.ai', '/v1/reranking'), ('text-embeddings-inference', '/rerank')]:
        ranker = Reranker(ADAPTERS[0], model_type='APIRanker', api_provider=provider, api_key='none', url=URL + path, verbose=0)
        results = ranker.rank(query=QUERY, docs=DOCUMENTS).results
        check([one.document.doc_id for one in results], [one.score for one in results])


def pymilvus():
    from pymilvus.model.reranker import TEIRerankFunction
    results = TEIRerankFunction(api_url=URL)(QUERY, DOCUMENTS)
    check([one.index for one in results], [one.score for one in results])
    assert results[0].text == DOCUMENTS[ANSWER], results
    try:
        TEIRerankFunction(api_url=URL)(QUERY, [])
    except RuntimeError as error:
        assert '`texts` cannot be empty' in str(error), error
    else:
        raise AssertionError('an empty list must be refused')


def dify():
    from dify_plugin.interfaces.model.openai_compatible.rerank import OAICompatRerankModel
    model = OAICompatRerankModel([])
    credentials = {'endpoint_url': f'{URL}/v1', 'api_key': 'none'}
    model.validate_credentials('BAAI/bge-reranker-v2-m3', credentials)
    found = model._invoke('BAAI/bge-reranker-v2-m3', credentials, QUERY, DOCUMENTS, top_n=3).docs
    check([one.index for one in found], [one.score for one in found], 3)
    assert found[0].text == DOCUMENTS[ANSWER], found


def litellm():
    import litellm as client
    for provider, base, n, is_probability in [
            ('cohere', URL, 3, True), ('jina_ai', f'{URL}/v1/rerank', 3, True), ('hosted_vllm', URL, 3, True),
            ('voyage', f'{URL}/v1', 3, True), ('infinity', f'{URL}/infinity', 3, True), ('nvidia_nim', URL, 3, False),
            ('huggingface', URL, 3, True), ('dashscope', f'{URL}/v1', 3, True), ('together_ai', f'{URL}/v1', 3, True)]:
        answer = client.rerank(model=f'{provider}/{ADAPTERS[0]}', api_base=base, api_key='none', query=QUERY,
                               documents=DOCUMENTS, top_n=3, return_documents=True)
        check([one['index'] for one in answer.results], [one['relevance_score'] for one in answer.results], n, is_probability)
        if provider != 'huggingface':
            assert answer.results[0]['document']['text'] == DOCUMENTS[ANSWER], (provider, answer)
    # DeepInfra gives scores in the order of the documents.
    answer = client.rerank(model=f'deepinfra/{ADAPTERS[0]}', api_base=f'{URL}/v1', api_key='none', query=QUERY, documents=DOCUMENTS)
    scores = [one['relevance_score'] for one in answer.results]
    assert len(scores) == 4 and max(scores) == scores[ANSWER] and all(0 <= score <= 1 for score in scores), scores


def recorded():
    """Requests as clients send them that no package registry has, or that drag a whole application in."""
    import json
    from pathlib import Path

    from try_one import problems
    for path in sorted((Path(__file__).parent / 'recorded').glob('*.json')):
        call = json.loads(path.read_text())
        found = problems(URL, call)
        assert not found, f'{path.name}: {found}'


def refused():
    """A service with keys, of which the clients have none: each says so in its own words, and fails on nothing else."""
    import cohere
    import dashscope as dashscope_client
    import langchain_community.document_compressors.jina_rerank as jina
    import together as together_client
    import voyageai
    from mixedbread import AuthenticationError, Mixedbread
    from pymilvus.model.reranker import TEIRerankFunction
    part = 'missing or unknown key'

    def fails(problem, call):
        try:
            call()
        except problem as error:
            assert part in str(error), error
        else:
            raise AssertionError('a request without a key must be refused')

    asked = {'model': ADAPTERS[0], 'query': QUERY, 'documents': DOCUMENTS}
    fails(cohere.UnauthorizedError, lambda: cohere.ClientV2(base_url=URL).rerank(**asked))
    fails(cohere.UnauthorizedError, lambda: cohere.Client(base_url=URL).rerank(**asked))
    for base_url in (f'{URL}/v1', f'{URL}/voyage/v1'):
        client = voyageai.Client(api_key='none', base_url=base_url)
        fails(voyageai.error.AuthenticationError, lambda: client.rerank(QUERY, DOCUMENTS, model=ADAPTERS[0]))
    fails(together_client.AuthenticationError, lambda: together_client.Together(api_key='none', base_url=URL).rerank.create(**asked))
    jina.JINA_API_URL = f'{URL}/jina/v1/rerank'
    fails(RuntimeError, lambda: jina.JinaRerank(model=ADAPTERS[0], jina_api_key='none').rerank(DOCUMENTS, QUERY))
    fails(RuntimeError, lambda: TEIRerankFunction(api_url=URL)(QUERY, DOCUMENTS))
    fails(AuthenticationError, lambda: Mixedbread(api_key='none', base_url=URL).rerank(model='m', query=QUERY, input=DOCUMENTS))
    answer = dashscope_client.TextReRank.call(**asked, api_key='none')
    assert (answer.status_code, answer.code) == (401, 'unauthorized') and part in answer.message, answer


CLIENTS = (cohere_v1, cohere_v2, cohere_in_an_experiment, langchain_cohere, langchain_nvidia, langchain_jina, langchain_infinity,
           infinity, llama_index_tei, llama_index_nvidia, llama_index_jina, llama_index_mixedbread, llama_index_siliconflow,
           llama_index_dashscope, haystack, voyage, langchain_voyage, mixedbread, together, dashscope, rerankers, pymilvus, litellm, recorded)
# The package of the first patches the sockets of its process, and the second wants a service with keys: each runs by itself.
ALONE = (dify, refused)

if __name__ == '__main__':
    wanted = sys.argv[2:] or [client.__name__ for client in CLIENTS]
    for client in CLIENTS + ALONE:
        if client.__name__ in wanted:
            client()
            print(f'{client.__name__}: as it expects', flush=True)
