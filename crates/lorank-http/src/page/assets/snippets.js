// Snippets come as HTML in which `<b>` marks the query's words and all else is escaped. Here they become nodes without ever
// being parsed as markup: whatever is not exactly one of those marks stays text.

const ENTITIES = { "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'", "&amp;": "&" };

/** The parts of a snippet as `{text, isMarked}`. */
export function snippetParts(html) {
  const parts = [];
  let isMarked = false;
  for (const piece of html.split(/(<b>|<\/b>)/)) {
    if (piece === "<b>") isMarked = true;
    else if (piece === "</b>") isMarked = false;
    else if (piece) parts.push({ text: piece.replace(/&(?:lt|gt|quot|#39|amp);/g, (entity) => ENTITIES[entity]), isMarked });
  }
  return parts;
}
