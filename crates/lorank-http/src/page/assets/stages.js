// Rerank stages as people type them and as the program writes them: `none@minilm:1000:0.4, qa:50`.

const STAGE = /^([^@]+?)(?:@(.+?))?:(\d+)(?::(\d*\.\d+))?$/;

/** The stages of a text as a request has them, or null for none. Throws an `Error` that says what cannot be read. */
export function readStages(text) {
  if (!text.trim()) return null;
  return text.split(",").map((part) => readStage(part.trim()));
}

function readStage(text) {
  const [, adapter, base, depth, share] = STAGE.exec(text) ?? [];
  if (!adapter) throw new Error(`“${text}” is not a stage; use ADAPTER[@BASE]:DEPTH[:SHARE], as in none:100, qa:10.`);
  const stage = { depth: Number(depth) };
  if (adapter !== "default") stage.adapter = adapter;
  if (base) stage.base = base;
  if (share) stage.deadline_share = Number(share);
  return stage;
}

/** The name of the ranker that these stages are, which is their text form. */
export function stagesName(stages) {
  // A share has a decimal point, because names may end in a colon with a number.
  const written = (share) => (Number.isInteger(share) ? share.toFixed(1) : String(share));
  const one = ({ adapter, base, depth, deadline_share: share }) =>
    `${adapter ?? "default"}${base ? `@${base}` : ""}:${depth}${share === undefined ? "" : `:${written(share)}`}`;
  return stages.map(one).join(",");
}
