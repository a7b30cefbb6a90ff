// The adapters of the registry: adding, naming, removing and verifying them.

import { addAdapter, removeAdapter, removeAlias, setAlias, verifyRegistry } from "./api.js";
import { ask, field } from "./dialogs.js";
import { byId, h, spoken } from "./dom.js";
import { bytes, counted, grouped } from "./numbers.js";
import { table } from "./report.js";

export class AdaptersPanel {
  #host;
  #onChange;
  #drawn = "";
  #adapters = [];

  /** `onChange` is called when the registry was changed. */
  constructor(host, onChange) {
    this.#host = host;
    this.#onChange = onChange;
  }

  /** Shows adapters, aliases as `{name: adapter}`, and those of base models as `{name: base}`. */
  show(adapters, aliases, bases) {
    const drawn = JSON.stringify([adapters, aliases, bases]);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    this.#adapters = adapters;
    const head = ["adapter", "aliases", "base model", "rank", "size", "in memory", "cached scores", ""];
    this.#host.replaceChildren(
      h("div", { class: "panel-head" }, h("h3", {}, "Adapters"), this.#button("Add an adapter…", () => this.#add()), this.#button("Verify", () => this.#verify())),
      adapters.length > 0 ? table(head, adapters.map((one) => this.#row(one))) : h("p", { class: "note" }, "The registry is empty. Adapters given at the start of the server are not part of it."),
      ofBases(Object.entries(bases), (name, base) => this.#unalias(name, base)),
      h("p", { id: "verified", role: "status" }));
  }

  /** Shows the reason for which there is nothing to show. */
  refuse(message, button) {
    this.#drawn = "";
    this.#host.replaceChildren(h("h3", {}, "Adapters"), h("p", {}, message), button || "");
  }

  #row({ id, aliases, base_model, rank, bytes: size, in_memory, cached_scores, digest, source }) {
    const alias = (name) => chip(name, name, () => this.#unalias(name, id));
    const actions = h("span", { class: "buttons" }, this.#button("Alias…", () => this.#alias(id), id), this.#button("Remove…", () => this.#remove(id), id));
    return [h("span", { title: `from ${source}, digest ${digest}` }, id), aliases.length > 0 ? h("span", { class: "chips" }, aliases.map(alias)) : "", base_model, String(rank), bytes(size), in_memory ? "yes" : "no", grouped(cached_scores), actions];
  }

  #button(text, click, about) {
    return h("button", { type: "button", on: { click } }, text, about && spoken(` ${about}`));
  }

  async #add() {
    const id = h("input", { id: "adapter-id", autocomplete: "off", spellcheck: "false" });
    const source = h("input", { id: "adapter-source", autocomplete: "off", spellcheck: "false" });
    const body = [field("Id", id), field("Source", source, "A folder on the server or hf://owner/name[@revision], allowed by --adapter-source.")];
    const act = () => addAdapter(id.value.trim(), source.value.trim());
    this.#changed(await ask({ title: "Add an adapter", body, yes: "Add the adapter", act }));
  }

  async #alias(adapter) {
    const name = h("input", { id: "alias-name", value: "default", autocomplete: "off", spellcheck: "false" });
    const body = field("Alias", name, `It will point to ${adapter}. Requests that name no adapter use “default”.`);
    this.#changed(await ask({ title: `An alias for ${adapter}`, body, yes: "Set the alias", act: () => setAlias(name.value.trim(), { adapter }) }));
  }

  async #unalias(name, adapter) {
    const body = h("p", {}, `Requests that name “${name}” will be rejected; ${adapter} is kept.`);
    this.#changed(await ask({ title: `Remove the alias ${name}?`, body, yes: "Remove it", act: () => removeAlias(name) }));
  }

  async #remove(id) {
    const body = h("p", {}, "Its files are deleted from the registry. Adapters in use by an alias or a running experiment cannot be removed.");
    this.#changed(await ask({ title: `Remove ${id}?`, body, yes: "Remove it", act: () => removeAdapter(id) }));
  }

  #changed(isDone) {
    if (isDone) this.#onChange();
  }

  async #verify() {
    byId("verified").textContent = "Verifying all files…";
    try {
      const { is_sound, findings } = await verifyRegistry();
      byId("verified").textContent = is_sound ? `All files of ${counted(this.#adapters.length, "adapter")} are unchanged.` : findings.join(" ");
    } catch (error) {
      byId("verified").textContent = error.message;
    }
  }
}

/** The aliases of base models, which have no row among the adapters. */
function ofBases(entries, unalias) {
  if (entries.length === 0) return "";
  return h("p", { class: "chips" }, "Aliases of base models: ", entries.map(([name, base]) => chip(name, `${name} → ${base}`, () => unalias(name, base))));
}

/** An alias with a button that removes it. */
function chip(name, text, unalias) {
  const label = `Remove the alias ${name}`;
  return h("span", { class: "chip" }, text, h("button", { type: "button", class: "quiet", "aria-label": label, title: label, on: { click: unalias } }, "×"));
}
