// An index: how much it holds, its fields, and their most frequent values, each a link to a search with that filter.

import { ApiError, facet } from "./api.js";
import { h, spoken } from "./dom.js";
import { withCondition } from "./filters.js";
import { bytes, counted, grouped } from "./numbers.js";
import { table } from "./report.js";
import { readState, writeState } from "./state.js";

/** How many values of a field are shown. */
const VALUES = 20;

export class IndexPanel {
  #host;
  #navigate;
  #index = "";
  #drawn = "";
  /** The field whose values are shown, and what they are: `{name, found}` or `{name, error}`. */
  #field = null;

  constructor(host, navigate) {
    this.#host = host;
    this.#navigate = navigate;
  }

  /** Shows the index of this name, among all. */
  show(all, name) {
    const index = all.find((one) => one.name === (name || "default")) ?? all[0];
    if (this.#index !== name) this.#field = null;
    this.#index = name;
    const drawn = JSON.stringify([all, name, this.#field]);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    const redraw = () => this.show(all, name);
    const focused = document.activeElement?.id;
    this.#host.replaceChildren(
      h("div", { class: "panel-head" }, h("h3", {}, "Index"), all.length > 1 && this.#choice(all, index)),
      ...(index ? this.#elements(index, redraw) : [h("p", {}, "The server has no index.")]));
    if (focused && this.#host.querySelector(`#${CSS.escape(focused)}`)) document.getElementById(focused).focus();
  }

  #choice(all, index) {
    const change = ({ target }) => this.#navigate({ ...readState("?view=service"), index: target.value === "default" ? "" : target.value });
    const option = ({ name }) => h("option", { value: name, selected: name === index.name }, name);
    return [h("label", { for: "panel-index" }, "Index"), h("select", { id: "panel-index", on: { change } }, all.map(option))];
  }

  #elements({ documents, fields }, redraw) {
    const size = documents
      ? `${counted(documents.n_documents, "document")} in ${counted(documents.n_segments, "segment")}, ${bytes(documents.bytes_on_disk)} on disk.`
      : "This server does not manage its documents.";
    if (!fields) return [h("p", {}, size)];
    const searched = fields.filter(({ is_searched }) => is_searched).map(({ name, boost }) => (boost === 1 ? name : `${name} (boost ${boost})`));
    const filtered = fields.filter(({ types }) => types.length > 0);
    const row = ({ name, types }) => [name, types.join(", "), this.#button(name, redraw)];
    return [
      h("p", {}, size),
      h("p", {}, "Searched: ", h("b", {}, searched.join(", ") || "none"), "."),
      filtered.length > 0
        ? table(["filter field", "values are", ""], filtered.map(row))
        : h("p", { class: "note" }, "No document has a field to filter by."),
      this.#field && this.#values(),
    ];
  }

  #button(name, redraw) {
    const isOpen = this.#field?.name === name;
    const click = async () => {
      this.#field = isOpen ? null : { name, ...(await this.#read(name)) };
      redraw();
    };
    return h("button", { type: "button", id: `values-${name}`, "aria-expanded": String(isOpen), on: { click } }, "Values", spoken(` of ${name}`));
  }

  async #read(name) {
    try {
      return { found: await facet(name, VALUES, this.#index) };
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      return { error: error.message };
    }
  }

  #values() {
    const { name, found, error } = this.#field;
    if (error) return h("p", { class: "fallback" }, error);
    const { values, n_values, n_missing } = found;
    const item = ({ value, n_documents }) => h("li", {}, this.#link(name, value), " ", h("span", { class: "note" }, grouped(n_documents)));
    return h("div", { class: "facet" },
      h("h4", {}, `Values of ${name}`),
      h("ul", { class: "values" }, values.map(item)),
      h("p", { class: "note" }, `${values.length} of ${counted(n_values, "value")}; ${counted(n_missing, "document")} without. A value links to a search with this filter.`));
  }

  /** To the last search, with one more filter. */
  #link(name, value) {
    const before = readState(document.querySelector("nav a[data-view=search]").search);
    const state = { ...before, view: "search", index: this.#index, offset: "", filters: withCondition(before.filters, name, value) };
    return h("a", { href: writeState(state), "data-view": "search" }, String(value) === "" ? "(empty)" : String(value));
  }
}
