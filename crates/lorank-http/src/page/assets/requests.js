// The latest requests of the page with their answers: each can be shown, copied as a curl command, and saved.

import { byId, download, h } from "./dom.js";
import { millis } from "./numbers.js";

/** How many are kept. An answer with hits takes some ten thousand characters. */
const KEPT_MAX = 40;

/** Oldest first: `{method, path, body, hasKey, status, millis, at, text}`. `text` is the answer, null while there is none. */
const kept = [];

/** Remembers a request that is sent now. What is known later is put into the value that this returns. */
export function remember({ method, path, body, hasKey }) {
  const exchange = { method, path, body, hasKey, status: null, millis: null, at: new Date(), text: null };
  kept.push(exchange);
  if (kept.length > KEPT_MAX) kept.shift();
  return exchange;
}

/** The command that sends a request again. A key is not part of it: it is read from the variable `LORANK_KEY`. */
export function curlOf({ method, path, body, hasKey }, base) {
  const parts = ["curl", "-sS"];
  if (method !== "GET" && !(method === "POST" && body !== undefined)) parts.push("-X", method);
  if (hasKey) parts.push("-H", '"authorization: Bearer $LORANK_KEY"');
  if (body !== undefined) parts.push("-H", quoted("content-type: application/json"));
  parts.push(quoted(new URL(path, base).href));
  if (body !== undefined) parts.push("-d", quoted(body));
  return parts.join(" ");
}

/** A text as one word of a POSIX shell. */
function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** Shows the latest requests, and among them this one; without one, the last. */
export function openRequests(exchange = kept.at(-1)) {
  const all = kept.includes(exchange) || !exchange ? kept : [...kept, exchange];
  const choice = byId("request-choice");
  const option = (one, n) => h("option", { value: n, selected: one === exchange }, titleOf(one));
  choice.replaceChildren(...all.map(option).toReversed());
  choice.onchange = () => show(all[Number(choice.value)]);
  if (exchange) show(exchange);
  byId("requests-none").hidden = exchange !== undefined;
  byId("requests-body").hidden = exchange === undefined;
  if (!byId("requests-dialog").open) byId("requests-dialog").showModal();
}

function titleOf({ method, path, status, millis: took, at }) {
  const outcome = status === null ? "no answer yet" : status === 0 ? "not reached" : `${status}, ${millis(took)}`;
  return `${at.toLocaleTimeString()}  ${method} /${path.split("?")[0]}  ${outcome}`;
}

function show(exchange) {
  byId("request-curl").textContent = curlOf(exchange, location.href);
  byId("request-answer").textContent = readable(exchange.text);
  byId("request-said").textContent = "";
}

/** JSON with line breaks; anything else as it is. */
function readable(text) {
  if (text === null) return "(no answer)";
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

export function wireRequests() {
  byId("requests-button").addEventListener("click", () => openRequests());
  byId("requests-close").addEventListener("click", () => byId("requests-dialog").close());
  byId("copy-curl").addEventListener("click", () => copy("request-curl"));
  byId("copy-answer").addEventListener("click", () => copy("request-answer"));
  byId("save-answer").addEventListener("click", () => download("answer.json", byId("request-answer").textContent, "application/json"));
}

/** Copies a text. Browsers lend the clipboard to secure contexts alone; elsewhere the text is selected, for the keyboard to copy. */
async function copy(id) {
  const element = byId(id);
  try {
    await navigator.clipboard.writeText(element.textContent);
    byId("request-said").textContent = "Copied.";
  } catch {
    getSelection().selectAllChildren(element);
    byId("request-said").textContent = "Selected: copy it with Ctrl+C.";
  }
}
