// Filters as people type them: `lang=en year>=1990`, or the JSON that the API takes.

const CONDITION = /^([^\s=<>"]+)(=|>=|>|<=|<)("(?:[^"\\]|\\.)*"|\S+)$/;
const BOUNDS = { ">=": "gte", ">": "gt", "<=": "lte", "<": "lt" };

/** The filters, or null for none. Throws an `Error` that says what cannot be read. */
export function readFilters(text) {
  const trimmed = text.trim();
  if (!trimmed) return null;
  if (trimmed.startsWith("{")) return readJson(trimmed);
  const filters = {};
  // Words, in which a quoted part may hold spaces.
  for (const word of trimmed.match(/(?:"(?:[^"\\]|\\.)*"|[^\s"])+|"/g)) add(filters, word);
  return filters;
}

/** Filters as text, with one more condition: that a field has this value. */
export function withCondition(text, field, value) {
  const isWord = /^[^\s=<>"]+$/.test(field);
  if (isWord && !text.trim().startsWith("{")) {
    const written = typeof value === "string" ? `"${value.replace(/[\\"]/g, "\\$&")}"` : String(value);
    return `${text} ${field}=${written}`.trim();
  }
  return JSON.stringify({ ...readFilters(text), [field]: [value] });
}

function readJson(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`The filters are not valid JSON: ${error.message}`);
  }
}

/** Several `=` of one field ask for any of the values; bounds must all hold. */
function add(filters, word) {
  const [, field, operator, written] = CONDITION.exec(word) ?? [];
  if (!field) throw new Error(`“${word}” is not a filter; use field=value or year>=1990, with "quotes" around spaces.`);
  const bound = BOUNDS[operator];
  const known = Object.hasOwn(filters, field) ? filters[field] : bound ? {} : [];
  if (Array.isArray(known) === Boolean(bound)) throw new Error(`${field} has both a value and a bound; give one of them.`);
  if (bound) known[bound] = readings(written).at(-1);
  else known.push(...readings(written));
  filters[field] = known;
}

/** What a text may stand for: itself, and the number or truth value that it spells. A stored field has one type. */
function readings(written) {
  if (written.startsWith('"')) return [written.slice(1, -1).replace(/\\(.)/g, "$1")];
  if (written === "true" || written === "false") return [written, written === "true"];
  const number = /^-?\d+(\.\d+)?$/.test(written) ? [Number(written)] : [];
  return [written, ...number];
}
