// Files that are chosen in a menu: what its entries do, and reading judgments and queries from what is chosen.

import { byId } from "./dom.js";
import { counted } from "./numbers.js";

export const NOTHING_KEPT = "This browser cannot store these judgments: they are lost when the tab is closed. Download them first.";

/** Wires the entries of a menu by their ids: `run` is given what an entry does. */
export function openFiles(menu, actions, run) {
  for (const [id, action] of Object.entries(actions)) {
    byId(id).addEventListener("click", () => {
      menu.open = false;
      run(action);
    });
  }
  document.addEventListener("click", ({ target }) => menu.contains(target) || (menu.open = false));
}

/** Reads the files of a field with `read` into judgments, and says what came of it. */
export async function importFiles(field, read, judgments, notice) {
  const files = [...field.files];
  // The same file can be chosen again.
  field.value = "";
  notice.clear();
  for (const file of files) {
    try {
      notice.say(`${file.name}: ${importText(await file.text(), read, judgments)}`);
    } catch (error) {
      notice.say(`${file.name}: ${error.message}`);
    }
  }
}

/** The same with a text. Returns a sentence. */
export function importText(text, read, judgments) {
  const found = read(text);
  const { nLeftOut, isKept } = judgments.merge(found);
  const what = `${counted(found.judgments.length, "judgment")} and ${countedQueries(found.queries.length)} imported.`;
  const leftOut = nLeftOut > 0 ? ` ${countedQueries(nLeftOut)} skipped: the set has another query with this id.` : "";
  return what + leftOut + (isKept ? "" : ` ${NOTHING_KEPT}`);
}

export function countedQueries(n) {
  return n === 1 ? "1 query" : `${n.toLocaleString("en")} queries`;
}
