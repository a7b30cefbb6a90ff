// The service's routes. Addresses are relative, so the page also works where it is nested below another path.

const KEY = "lorank.key";

/** A request that has no answer. `status` is 0 where the service could not be reached. */
export class ApiError extends Error {
  constructor(status, { kind = "unreachable", message, field = null } = {}, retryAfter = null) {
    super(message);
    Object.assign(this, { status, kind, field, retryAfter });
  }
}

// The key stays in this tab and goes when it is closed. Where the browser keeps nothing, it lasts until a reload.
let keyInMemory = null;

export function hasKey() {
  return readKey() !== null;
}

export function setKey(key) {
  keyInMemory = key || null;
  try {
    if (key) sessionStorage.setItem(KEY, key);
    else sessionStorage.removeItem(KEY);
  } catch {
    // Kept in memory.
  }
}

function readKey() {
  try {
    return keyInMemory ?? sessionStorage.getItem(KEY);
  } catch {
    return keyInMemory;
  }
}

async function send(path, { body, signal, accept = "application/json" } = {}) {
  const headers = { accept };
  const key = readKey();
  if (key) headers.authorization = `Bearer ${key}`;
  if (body) headers["content-type"] = "application/json";
  const request = { method: body ? "POST" : "GET", headers, signal, body: body && JSON.stringify(body) };
  let response;
  try {
    response = await fetch(path, { ...request, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { message: `The service at ${location.host} does not answer.` });
  }
  if (response.ok) return response;
  const answer = await response.json().catch(() => ({}));
  const problem = answer.error ?? { kind: "internal", message: `The answer has status ${response.status}.` };
  throw new ApiError(response.status, problem, Number(response.headers.get("retry-after")) || null);
}

async function json(path, options) {
  const response = await send(path, options);
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { message: `The answer of ${location.host} broke off.` });
  }
}

/** The names that can rank: adapters and aliases, after them the bare base model as `none`. */
export async function rankerNames() {
  const { data } = await json("v1/models");
  const names = data.map((model) => model.id);
  // The base model's own name comes first; `none` says the same.
  const adapters = [...new Set(names.slice(names.indexOf("none") + 1))];
  return names.includes("none") ? [...adapters, "none"] : adapters;
}

/** What an operator may know of adapters: `{adapters, aliases}`, both empty where there is no registry or no such key. */
export async function registry() {
  const [adapters, aliases] = await Promise.allSettled([json("v1/adapters"), json("v1/aliases")]);
  return { adapters: adapters.value?.adapters ?? [], aliases: aliases.value?.aliases ?? {} };
}

/** One query under the first stage and the adapters. */
export async function compare(body, signal) {
  if (body.adapters.length > 0) return json("v1/compare", { body, signal });
  const { adapters: _, ...search } = body;
  return alone(await json("v1/search", { body: { ...search, rerank: false }, signal }));
}

/** A search without reranking in the shape of a comparison. */
function alone(answer) {
  const { query, n_candidates, depth, request_id, cache, timings_millis } = answer;
  const hits = answer.hits.map(({ id, rank, first_stage_rank }) => {
    return { id, rank, first_stage_rank, rank_change: 0, rerank_score: null, score_origin: null, ranks: {} };
  });
  const document = ({ first_stage_score, fields, snippet }) => ({ first_stage_score, fields, snippet });
  const documents = Object.fromEntries(answer.hits.map((hit) => [hit.id, document(hit)]));
  const ranker = { name: "first-stage", adapter: null, reranked: false, fallback: null, cache, timings_millis, hits };
  return { query, n_candidates, depth, request_id, rankers: [ranker], documents };
}

export async function experiments(signal) {
  return (await json("v1/experiments", { signal })).experiments;
}

export async function shadows(signal) {
  return (await json("v1/shadows", { signal })).shadows;
}

export function report(id, signal) {
  return json(`v1/experiments/${encodeURIComponent(id)}/report?format=json`, { signal });
}

/** The report as a page of its own. */
export async function reportPage(id) {
  return (await send(`v1/experiments/${encodeURIComponent(id)}/report?format=html`, { accept: "text/html" })).text();
}

/** The answers that the report rests on, as CSV. */
export async function exported(id) {
  return (await send(`v1/experiments/${encodeURIComponent(id)}/export`, { accept: "text/csv" })).text();
}
