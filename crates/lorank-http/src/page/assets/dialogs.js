// The help and the question for a key.

import { hasKey, setKey } from "./api.js";
import { byId, h, sentence } from "./dom.js";

export function openHelp() {
  if (!byId("help-dialog").open) byId("help-dialog").showModal();
}

/** Asks for a key. Resolves to whether one was entered. */
export function askForKey(why) {
  const [dialog, field] = [byId("key-dialog"), byId("key")];
  byId("key-why").replaceChildren(...sentence(why));
  field.value = "";
  if (!dialog.open) dialog.showModal();
  field.focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "given"), { once: true });
  });
}

/** The message for a request that was rejected because of its key. */
export function whyAKey(error) {
  if (error.status === 403) return error.message;
  return hasKey() ? "The server does not know this key." : "This server requires a key.";
}

/**
 * Asks before something is done: `{title, body, yes, act}`, where `body` is elements and `act` may fail. What fails is said in the
 * dialog, which stays. Resolves to whether it was done.
 */
export function ask({ title, body, yes, act }) {
  const dialog = byId("ask-dialog");
  byId("ask-heading").textContent = title;
  byId("ask-body").replaceChildren(...[body].flat());
  byId("ask-yes").textContent = yes;
  byId("ask-error").textContent = "";
  dialog.returnValue = "";
  byId("ask-form").onsubmit = async (event) => {
    event.preventDefault();
    byId("ask-yes").disabled = true;
    try {
      await act();
      dialog.close("done");
    } catch (error) {
      byId("ask-error").replaceChildren(...sentence(error.message));
    } finally {
      byId("ask-yes").disabled = false;
    }
  };
  dialog.showModal();
  (byId("ask-body").querySelector("input, select, textarea") ?? byId("ask-yes")).focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "done"), { once: true });
  });
}

/** A labelled control for a dialog or a form. */
export function field(label, control, note) {
  const noteId = `${control.id}-note`;
  if (note) control.setAttribute("aria-describedby", noteId);
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control, note && h("p", { class: "note", id: noteId }, note));
}

export function wireDialogs(onKey) {
  const dialog = byId("key-dialog");
  byId("help-button").addEventListener("click", openHelp);
  byId("help-close").addEventListener("click", () => byId("help-dialog").close());
  byId("key-button").addEventListener("click", async () => {
    const why = hasKey() ? "A key is in use. Enter another one to replace it, or none to remove it." : "If the server has keys, enter yours.";
    if (await askForKey(why)) onKey();
  });
  byId("ask-no").addEventListener("click", () => byId("ask-dialog").close(""));
  byId("ask-dialog").addEventListener("cancel", () => (byId("ask-dialog").returnValue = ""));
  byId("key-cancel").addEventListener("click", () => dialog.close(""));
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    setKey(byId("key").value.trim());
    dialog.close("given");
  });
  // A close by the Escape key must not repeat the value of an earlier one.
  dialog.addEventListener("cancel", () => (dialog.returnValue = ""));
}
