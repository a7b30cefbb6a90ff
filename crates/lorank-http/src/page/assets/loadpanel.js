// The score cache and the queue at a glance.

import { h } from "./dom.js";
import { bytes, counted, grouped, percent } from "./numbers.js";

export class LoadPanel {
  #host;
  /** What the service said last: shares are of the time since then. */
  #before = null;

  constructor(host) {
    this.#host = host;
  }

  show(stats) {
    const { cache, queue, adapters, uptime_seconds, version } = stats;
    const asked = cache.hits + cache.misses;
    const fact = (name, value, note) => h("div", { class: "fact" }, h("dt", {}, name), h("dd", {}, h("b", {}, value), note && h("span", { class: "note" }, note)));
    this.#host.replaceChildren(
      h("h3", {}, "Cache and queue"),
      h("dl", { class: "facts" },
        fact("scores from the cache", asked > 0 ? percent(cache.hits / asked) : "–", `${grouped(cache.hits)} of ${grouped(asked)} since the start`),
        fact("scores in the cache", grouped(cache.n_entries), `${bytes(cache.bytes)}, ${grouped(cache.evictions)} evicted`),
        fact("waiting", counted(queue.n_requests_waiting, "request"), counted(queue.n_pairs_waiting, "pair")),
        fact("model busy", this.#busy(stats), this.#speed(stats)),
        adapters && fact("adapters in memory", `${adapters.n_in_memory} of ${adapters.n_registered}`, bytes(adapters.bytes_in_memory)),
        fact("running for", duration(uptime_seconds), `lorank ${version}`)));
    this.#before = stats;
  }

  /** The share of the time since the last look in which the model computed. */
  #busy({ queue, uptime_seconds }) {
    const seconds = uptime_seconds - (this.#before?.uptime_seconds ?? 0);
    const busy = queue.busy_seconds - (this.#before?.queue.busy_seconds ?? 0);
    return seconds > 0 ? percent(Math.min(1, Math.max(0, busy) / seconds), 0) : "–";
  }

  #speed({ queue }) {
    const [busy, pairs] = [queue.busy_seconds, queue.n_pairs_scored];
    const span = this.#before ? "of the last seconds" : "since the start";
    return busy > 0 ? `${span}; ${grouped(pairs / busy)} pairs a second when it is` : span;
  }
}

function duration(seconds) {
  const units = [["d", 86_400], ["h", 3_600], ["min", 60]];
  const found = units.find(([, size]) => seconds >= size) ?? ["s", 1];
  return `${Math.floor(seconds / found[1])} ${found[0]}`;
}
