// Judgments and queries as files: TREC qrels, the tables and queries of BEIR, JSON, and plain lists of queries.

const BEIR_HEAD = "query-id\tcorpus-id\tscore";

/** `[{qid, docid, grade}]` as lines of `qid 0 docid grade`. Throws where an id holds a space, which the form cannot. */
export function writeTrec(judgments) {
  const broken = judgments.flatMap(({ qid, docid }) => [qid, docid]).find((id) => /\s/.test(id));
  if (broken) throw new Error(`“${broken}” has a space, which TREC qrels cannot represent; download the BEIR format.`);
  return lines(judgments.map(({ qid, docid, grade }) => `${qid} 0 ${docid} ${grade}`));
}

/** The same as a table separated by tabs. */
export function writeBeir(judgments) {
  const broken = judgments.flatMap(({ qid, docid }) => [qid, docid]).find((id) => /[\t\r\n]/.test(id));
  if (broken) throw new Error(`“${broken}” has a tab or a line break, which the table cannot represent.`);
  return lines([BEIR_HEAD, ...judgments.map(({ qid, docid, grade }) => `${qid}\t${docid}\t${grade}`)]);
}

/** `[{qid, text}]` as the `queries.jsonl` that belongs to the table. */
export function writeQueries(queries) {
  return lines(queries.map(({ qid, text }) => JSON.stringify({ _id: qid, text })));
}

/**
 * Reads judgments, and the queries beside them: `{judgments, queries}`. Lines are those that the three functions above write; JSON is
 * read as `readJson` has it. Throws an `Error` with what cannot be read.
 */
export function readQrels(text) {
  const json = parsed(text);
  if (json !== undefined && !isQuery(json)) return readJson(json);
  const read = { judgments: [], queries: [] };
  text.split(/\r?\n/).forEach((line, n) => {
    if (!line.trim() || line.startsWith("query-id\t")) return;
    if (line.startsWith("{")) read.queries.push(readQuery(line, n));
    else read.judgments.push(readJudgment(line, n));
  });
  return read;
}

/**
 * Reads a list of queries: a query a line, after its id and a tab where it has one; JSON lines with `_id` and `text`; or JSON. A
 * query without an id has null for it.
 */
export function readQueries(text) {
  const json = parsed(text);
  if (json !== undefined && !isQuery(json)) return readJson(json);
  const read = { judgments: [], queries: [] };
  text.split(/\r?\n/).forEach((line, n) => {
    if (!line.trim()) return;
    if (line.startsWith("{")) read.queries.push(readQuery(line, n));
    else read.queries.push(plainQuery(line.split("\t"), n));
  });
  return read;
}

function plainQuery(cells, n) {
  if (cells.length > 2) throw new Error(`Line ${n + 1} has ${cells.length} columns; it should be a query, or an id, a tab and a query.`);
  const [text, qid] = cells.map((cell) => cell.trim()).reverse();
  if (!text || qid === "") throw new Error(`Line ${n + 1} is not a query: its id or its text is empty.`);
  return { qid: qid ?? null, text };
}

/**
 * JSON in either of two forms: `{"qid": {"docid": grade}}`, as pytrec_eval and ranx have it, and a list (or `{"queries": [..]}`) of
 * `{"qid", "query", "judgments": {"docid": grade}}`, of which all but the query may be missing.
 */
function readJson(json) {
  const list = Array.isArray(json) ? json : json.queries;
  const read = { judgments: [], queries: [] };
  const judge = (qid, grades) => {
    for (const [docid, grade] of Object.entries(grades)) {
      if (!Number.isInteger(grade)) throw new Error(`The grade of “${docid}” for “${qid}” is not an integer: ${JSON.stringify(grade)}.`);
      read.judgments.push({ qid, docid, grade: Math.max(0, grade) });
    }
  };
  if (Array.isArray(list)) list.forEach((one, n) => readListed(one, n, read, judge));
  else for (const [qid, grades] of Object.entries(json)) judge(qid, grades);
  return read;
}

function readListed(one, n, read, judge) {
  const text = typeof one === "string" ? one : (one?.query ?? one?.text);
  const qid = one?.qid ?? one?._id ?? one?.id ?? null;
  if (typeof text !== "string" || !text.trim()) throw new Error(`Entry ${n + 1} of the list is not a query: it needs a "query", and can have a "qid" and "judgments".`);
  if (one.judgments && qid === null) throw new Error(`Entry ${n + 1} of the list has judgments but no "qid".`);
  read.queries.push({ qid: qid === null ? null : String(qid), text });
  if (one.judgments) judge(String(qid), one.judgments);
}

/** A text as JSON; undefined where it is none, or something that is neither object nor list. */
function parsed(text) {
  try {
    const json = JSON.parse(text);
    return typeof json === "object" && json !== null ? json : undefined;
  } catch {
    return undefined;
  }
}

/** Whether it is one line of queries rather than all of a file. */
function isQuery(json) {
  return typeof json.text === "string";
}

function readQuery(line, n) {
  const query = parsed(line) ?? {};
  const qid = query._id ?? query.id;
  if (qid === undefined || typeof query.text !== "string") {
    throw new Error(`Line ${n + 1} is not a query: it needs an "_id" and a "text".`);
  }
  return { qid: String(qid), text: query.text };
}

function readJudgment(line, n) {
  const cells = line.includes("\t") && line.split("\t").length === 3 ? line.split("\t") : line.trim().split(/\s+/);
  const [qid, docid, grade] = cells.length === 4 ? [cells[0], cells[2], cells[3]] : cells;
  if (cells.length < 3 || cells.length > 4 || !/^-?\d+$/.test(grade.trim())) {
    throw new Error(`Line ${n + 1} is not a judgment; it should be “qid 0 docid grade”, or three columns separated by tabs.`);
  }
  return { qid, docid, grade: Math.max(0, Number(grade)) };
}

function lines(all) {
  return all.map((line) => `${line}\n`).join("");
}
