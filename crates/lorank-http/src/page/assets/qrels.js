// Judgments as files: TREC qrels, and the tables and queries of BEIR.

const BEIR_HEAD = "query-id\tcorpus-id\tscore";

/** `[{qid, docid, grade}]` as lines of `qid 0 docid grade`. Throws where an id holds a space, which the form cannot. */
export function writeTrec(judgments) {
  const broken = judgments.flatMap(({ qid, docid }) => [qid, docid]).find((id) => /\s/.test(id));
  if (broken) throw new Error(`“${broken}” has a space in it, which TREC qrels cannot hold; download the BEIR form.`);
  return lines(judgments.map(({ qid, docid, grade }) => `${qid} 0 ${docid} ${grade}`));
}

/** The same as a table separated by tabs. */
export function writeBeir(judgments) {
  const broken = judgments.flatMap(({ qid, docid }) => [qid, docid]).find((id) => /[\t\r\n]/.test(id));
  if (broken) throw new Error(`“${broken}” has a tab or a line break in it, which a table cannot hold.`);
  return lines([BEIR_HEAD, ...judgments.map(({ qid, docid, grade }) => `${qid}\t${docid}\t${grade}`)]);
}

/** `[{qid, text}]` as the `queries.jsonl` that belongs to the table. */
export function writeQueries(queries) {
  return lines(queries.map(({ qid, text }) => JSON.stringify({ _id: qid, text })));
}

/** Reads any of the three: `{judgments, queries}`. Throws an `Error` with the line that cannot be read. */
export function readQrels(text) {
  const read = { judgments: [], queries: [] };
  text.split(/\r?\n/).forEach((line, n) => {
    if (!line.trim() || line.startsWith("query-id\t")) return;
    if (line.startsWith("{")) read.queries.push(readQuery(line, n));
    else read.judgments.push(readJudgment(line, n));
  });
  return read;
}

function readQuery(line, n) {
  let query = {};
  try {
    query = JSON.parse(line);
  } catch {
    // Refused below.
  }
  const qid = query._id ?? query.id;
  if (qid === undefined || typeof query.text !== "string") {
    throw new Error(`Line ${n + 1} is no query: it needs an "_id" and a "text".`);
  }
  return { qid: String(qid), text: query.text };
}

function readJudgment(line, n) {
  const cells = line.includes("\t") && line.split("\t").length === 3 ? line.split("\t") : line.trim().split(/\s+/);
  const [qid, docid, grade] = cells.length === 4 ? [cells[0], cells[2], cells[3]] : cells;
  if (cells.length < 3 || cells.length > 4 || !/^-?\d+$/.test(grade.trim())) {
    throw new Error(`Line ${n + 1} is no judgment: it should be “qid 0 docid grade”, or three cells between tabs.`);
  }
  return { qid, docid, grade: Math.max(0, Number(grade)) };
}

function lines(all) {
  return all.map((line) => `${line}\n`).join("");
}
