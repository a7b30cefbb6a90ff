// Numbers for people.

/** Milliseconds with as many digits as mean something. */
export function millis(value) {
  if (value >= 1000) return `${(value / 1000).toFixed(2)} s`;
  return `${value >= 100 ? value.toFixed(0) : value.toFixed(1)} ms`;
}

/** A score with as many decimals as tell neighbours apart; a dash where there is none. */
export function score(value) {
  if (value === null || value === undefined) return "–";
  return Math.abs(value) >= 100 ? value.toFixed(1) : value.toFixed(3);
}

/** A whole number with commas between thousands. */
export function grouped(value) {
  return Math.round(value).toLocaleString("en");
}

/** Bytes in the unit that leaves one to three digits before the point. */
export function bytes(n) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const at = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, n)) / 3)));
  const value = n / 1000 ** at;
  return `${at > 0 && value < 10 ? value.toFixed(1) : Math.round(value)} ${units[at]}`;
}

export function percent(share, decimals = 1) {
  return share === null || share === undefined ? "–" : `${(share * 100).toFixed(decimals)} %`;
}

/** `1 hit`, `2 hits`. */
export function counted(n, word) {
  return `${grouped(n)} ${word}${n === 1 ? "" : "s"}`;
}

/** A number with its sign, a real minus. */
export function signed(value, decimals) {
  const text = Math.abs(value).toFixed(decimals);
  if (Number(text) === 0) return text;
  return `${value < 0 ? "−" : "+"}${text}`;
}
