// Cohere's JavaScript client against a lorank that serves: `node check.js http://127.0.0.1:7788`. See check.py.
import assert from 'node:assert/strict';
import { CohereClient, CohereClientV2 } from 'cohere-ai';

const environment = process.argv[2].replace(/\/$/, '');
const query = 'who invented the light bulb';
const documents = [
  'The tulip bulb is planted in autumn and flowers in spring.',
  'Thomas Edison patented the first incandescent light bulb that could be sold, in 1879.',
  'A telephone turns sound into electrical signals.',
];

const request = { model: 'minilm-qa', query, documents, topN: 2 };
for (const [name, Client] of Object.entries({ CohereClient, CohereClientV2 })) {
  const { results } = await new Client({ token: 'none', environment }).rerank(request);
  assert.equal(results.length, 2);
  assert.equal(results[0].index, 1);
  assert.ok(results[0].relevanceScore > results[1].relevanceScore);
  console.log(`${name}: as it expects`);
}
