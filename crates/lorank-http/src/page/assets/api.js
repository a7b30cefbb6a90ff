// The service's routes. Addresses are relative, so the page also works where it is nested below another path.

import { remember } from "./requests.js";

const KEY = "lorank.key";

/** A failed request. `status` is 0 if the server could not be reached. */
export class ApiError extends Error {
  constructor(status, { kind = "unreachable", message, field = null } = {}, retryAfter = null) {
    super(message);
    Object.assign(this, { status, kind, field, retryAfter });
  }
}

// The key is stored for this tab until it is closed. Without storage, it lasts until a reload.
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

/** Sends a request. Returns the answer and the entry in `requests.js`. */
async function send(path, { method, body, signal, accept = "application/json" } = {}) {
  const headers = { accept };
  const key = readKey();
  if (key) headers.authorization = `Bearer ${key}`;
  const text = body && JSON.stringify(body);
  if (body) headers["content-type"] = "application/json";
  const request = { method: method ?? (body ? "POST" : "GET"), headers, signal, body: text };
  const exchange = remember({ method: request.method, path, body: text, hasKey: Boolean(key) });
  const began = performance.now();
  const note = (status) => Object.assign(exchange, { status, millis: performance.now() - began });
  let response;
  try {
    response = await fetch(path, { ...request, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    note(0);
    throw new ApiError(0, { message: `The server at ${location.host} does not respond.` });
  }
  try {
    exchange.text = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { message: `The response of ${location.host} is incomplete.` });
  } finally {
    note(response.status);
  }
  if (response.ok) return exchange;
  throw new ApiError(response.status, problemOf(exchange), Number(response.headers.get("retry-after")) || null);
}

/** The error of a response. */
function problemOf({ status, text }) {
  const unknown = { kind: "internal", message: `The response has status ${status}.` };
  try {
    return JSON.parse(text).error ?? unknown;
  } catch {
    return unknown;
  }
}

/** The same, read as JSON: `{answer, exchange}`. */
async function exchanged(path, options) {
  const exchange = await send(path, options);
  try {
    return { answer: exchange.text === "" ? null : JSON.parse(exchange.text), exchange };
  } catch {
    throw new ApiError(0, { message: `The response of ${location.host} is incomplete.` });
  }
}

async function json(path, options) {
  return (await exchanged(path, options)).answer;
}

/** The path of a route of an index: that of the index `default` has no name in it. */
function ofIndex(index, route) {
  return index ? `v1/indexes/${encodeURIComponent(index)}/${route}` : `v1/${route}`;
}

/** The names of rankers: adapters and aliases, then the base model as `none`. */
export async function rankerNames() {
  const { data } = await json("v1/models");
  const names = data.map((model) => model.id);
  // The base model's own name comes right before `none`, which says the same; the default adapter may come before both.
  const at = names.indexOf("none");
  const adapters = [...new Set(names.filter((_, n) => at < 0 || (n !== at && n !== at - 1)))];
  return at < 0 ? adapters : [...adapters, "none"];
}

/** The registry as `{adapters, aliases, bases}`, all empty without a registry or without a sufficient key. `bases` are the aliases of base models. */
export async function registry() {
  const [adapters, aliases] = await Promise.allSettled([json("v1/adapters"), json("v1/aliases")]);
  return { adapters: adapters.value?.adapters ?? [], aliases: aliases.value?.aliases ?? {}, bases: aliases.value?.bases ?? {} };
}

/**
 * One query under the first stage alone. Rankers come as `{name, adapter, hits, ..}`, with the `exchange` that they are from;
 * their documents and counts stand beside them.
 */
export async function firstStage(body, index, signal) {
  const { adapters: _, passages: __, passage_tokens: ___, stride: ____, stages: _____, ...search } = body;
  const { answer, exchange } = await exchanged(ofIndex(index, "search"), { body: { ...search, rerank: false }, signal });
  const { n_candidates, depth, request_id, cache, timings_millis, warnings } = answer;
  const hits = answer.hits.map(({ id, rank, first_stage_rank }) => {
    return { id, rank, first_stage_rank, rank_change: 0, rerank_score: null, score_origin: null };
  });
  const document = ({ first_stage_score, fields, snippet }) => ({ first_stage_score, fields, snippet });
  const documents = Object.fromEntries(answer.hits.map((hit) => [hit.id, document(hit)]));
  const ranker = { name: "first-stage", adapter: null, reranked: false, fallback: null, warnings, cache, timings_millis, hits, exchange };
  return { n_candidates, depth, request_id, rankers: [ranker], documents };
}

/** One query under adapters, after the first stage's order: `{rankers, documents, ..}`. */
export async function compare(body, index, signal) {
  const { answer, exchange } = await exchanged(ofIndex(index, "compare"), { body, signal });
  const { n_candidates, depth, request_id, documents } = answer;
  return { n_candidates, depth, request_id, documents, rankers: answer.rankers.map((ranker) => ({ ...ranker, exchange })) };
}

export async function experiments(signal) {
  return (await json("v1/experiments", { signal })).experiments;
}

/** The path of an experiment, or of a part of it. */
function ofExperiment(id, part = "") {
  return `v1/experiments/${encodeURIComponent(id)}${part}`;
}

export function createExperiment(draft) {
  return json("v1/experiments", { body: draft });
}

/** Starts a draft, or stops what runs. */
export function setExperimentState(id, verb) {
  return json(ofExperiment(id, `/${verb}`), { method: "POST" });
}

/** Changes the traffic share or the end of an experiment. */
export function changeExperiment(id, change) {
  return json(ofExperiment(id), { method: "PATCH", body: change });
}

export function deleteDraft(id) {
  return json(ofExperiment(id), { method: "DELETE" });
}

export async function shadows(signal) {
  return (await json("v1/shadows", { signal })).shadows;
}

export function report(id, signal) {
  return json(ofExperiment(id, "/report?format=json"), { signal });
}

/** The report as a page of its own. */
export async function reportPage(id) {
  return (await send(ofExperiment(id, "/report?format=html"), { accept: "text/html" })).text;
}

/** The answers that the report rests on, as CSV. */
export async function exported(id) {
  return (await send(ofExperiment(id, "/export"), { accept: "text/csv" })).text;
}

export function addAdapter(id, source) {
  return json(`v1/adapters/${encodeURIComponent(id)}`, { method: "PUT", body: { source } });
}

export function removeAdapter(id) {
  return json(`v1/adapters/${encodeURIComponent(id)}`, { method: "DELETE" });
}

/** Points an alias to a target: `{adapter}` or `{base}`. */
export function setAlias(name, target) {
  return json(`v1/aliases/${encodeURIComponent(name)}`, { method: "PUT", body: target });
}

export function removeAlias(name) {
  return json(`v1/aliases/${encodeURIComponent(name)}`, { method: "DELETE" });
}

/** The adapters with their details. Unlike `registry`, it fails without a sufficient key. */
export async function adapters(signal) {
  return (await json("v1/adapters", { signal })).adapters;
}

/** Verifies the registry: `{is_sound, findings}`. */
export function verifyRegistry() {
  return json("v1/registry/verify", { method: "POST" });
}

export function stats(signal) {
  return json("v1/stats", { signal });
}

export async function indexes(signal) {
  return (await json("v1/indexes", { signal })).indexes;
}

/** The most frequent values of a field over all documents: `{values: [{value, n_documents}], n_values, n_missing}`. */
export async function facet(field, topN, index, signal) {
  const body = { match_all: true, top_k: 1, snippets: false, fields: [], facets: { [field]: { top_n: topN } } };
  return (await json(ofIndex(index, "search"), { body, signal })).facets[field];
}

/** The names of the indexes; empty if unknown. */
export async function indexNames() {
  return (await indexes().catch(() => [])).map(({ name }) => name);
}
