// JavaScript clients of other rerank services against a lorank that serves: `node check.js http://127.0.0.1:7788`. See check.py.
import assert from 'node:assert/strict';
import { createCohere } from '@ai-sdk/cohere';
import { createTogetherAI } from '@ai-sdk/togetherai';
import { CohereRerank } from '@llamaindex/cohere';
import { TextNode } from '@llamaindex/core/schema';
import { MixedbreadAIReranker } from '@llamaindex/mixedbread';
import { Mixedbread } from '@mixedbread/sdk';
import { rerank } from 'ai';
import { CohereClient, CohereClientV2 } from 'cohere-ai';
import { VoyageAIClient } from 'voyageai';

const url = process.argv[2].replace(/\/$/, '');
const query = 'who invented the light bulb';
const documents = [
  'The tulip bulb is planted in autumn and flowers in spring.',
  'Thomas Edison patented the first incandescent light bulb that could be sold, in 1879.',
  'A telephone turns sound into electrical signals.',
];
const ANSWER = 1;
const model = 'minilm-qa';

/** Places and scores, best first. */
function check(places, scores, n = 2) {
  assert.equal(places.length, n);
  assert.equal(places[0], ANSWER);
  assert.ok(scores.every((score, at) => score >= 0 && score <= 1 && (at === 0 || score <= scores[at - 1])), `${scores}`);
}

const nodes = () => documents.map((text, place) => ({ node: new TextNode({ text, metadata: { place } }), score: 0 }));
const checkNodes = (found) => check(found.map(({ node }) => node.metadata.place), found.map(({ score }) => score));

async function cohere() {
  for (const Client of [CohereClient, CohereClientV2]) {
    const { results } = await new Client({ token: 'none', environment: url }).rerank({ model, query, documents, topN: 2 });
    check(results.map(({ index }) => index), results.map(({ relevanceScore }) => relevanceScore));
  }
}

async function aiSdkCohere() {
  const provider = createCohere({ apiKey: 'none', baseURL: `${url}/v2` });
  const { ranking } = await rerank({ model: provider.reranking('rerank-v3.5'), query, documents, topN: 2 });
  check(ranking.map(({ originalIndex }) => originalIndex), ranking.map(({ score }) => score));
  const unknown = rerank({ model: provider.reranking('experiment:no-such'), query, documents, maxRetries: 0 });
  await assert.rejects(unknown, /no-such/, 'the message of the service is the message of the error');
}

async function aiSdkTogether() {
  const provider = createTogetherAI({ apiKey: 'none', baseURL: `${url}/v1` });
  const { ranking } = await rerank({ model: provider.reranking('Salesforce/Llama-Rank-v1'), query, documents, topN: 2 });
  check(ranking.map(({ originalIndex }) => originalIndex), ranking.map(({ score }) => score));
  const unknown = rerank({ model: provider.reranking('experiment:no-such'), query, documents, maxRetries: 0 });
  await assert.rejects(unknown, /no-such/, 'the message of the service is the message of the error');
}

async function voyage() {
  const client = new VoyageAIClient({ apiKey: 'none', environment: `${url}/voyage/v1` });
  for (const topK of [2, undefined]) {
    const { data, usage } = await client.rerank({ model: 'rerank-2.5', query, documents, topK, returnDocuments: true });
    check(data.map(({ index }) => index), data.map(({ relevanceScore }) => relevanceScore), topK ?? 3);
    assert.equal(data[0].document, documents[ANSWER]);
    assert.ok(usage.totalTokens > 0);
  }
}

async function mixedbread() {
  const client = new Mixedbread({ apiKey: 'none', baseURL: url });
  const { data } = await client.rerank({ model, query, input: documents, top_k: 2, return_input: true });
  check(data.map(({ index }) => index), data.map(({ score }) => score));
  assert.equal(data[0].input, documents[ANSWER]);
}

async function llamaIndexCohere() {
  const found = await new CohereRerank({ apiKey: 'none', baseUrl: url, topN: 2, model }).postprocessNodes(nodes(), query);
  checkNodes(found);
}

async function llamaIndexMixedbread() {
  const found = await new MixedbreadAIReranker({ apiKey: 'none', baseUrl: url, topK: 2 }).postprocessNodes(nodes(), query);
  checkNodes(found);
}

for (const client of [cohere, aiSdkCohere, aiSdkTogether, voyage, mixedbread, llamaIndexCohere, llamaIndexMixedbread]) {
  await client();
  console.log(`${client.name}: as it expects`);
}
