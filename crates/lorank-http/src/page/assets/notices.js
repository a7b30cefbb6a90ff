// Error messages, with a button for the next step.

import { h, sentence } from "./dom.js";

const TITLES = {
  0: "No connection",
  401: "A key is needed",
  403: "The key's role is insufficient",
  404: "Not there",
  413: "Too large",
  422: "Refused",
  429: "Too busy",
  503: "Not available",
};

/** A place for notices. */
export class Notice {
  #element;
  #timer = null;

  constructor(element) {
    this.#element = element;
  }

  clear() {
    clearInterval(this.#timer);
    this.#element.hidden = true;
    this.#element.classList.remove("said");
    this.#element.replaceChildren();
  }

  /** Shows an error. `retry` and `askForKey` are what the buttons do. */
  show(error, { retry, askForKey }) {
    this.clear();
    const title = TITLES[error.status] ?? (error.status >= 500 ? "Server error" : "Request failed");
    const again = retry && h("button", { type: "button", on: { click: retry } }, "Try again");
    const isOfKeys = error.status === 401 || error.status === 403;
    const key = isOfKeys && h("button", { type: "button", class: "primary", on: { click: askForKey } }, "Enter a key…");
    this.#element.append(h("p", {}, h("b", {}, title), ". ", sentence(error.message)), h("div", { class: "buttons" }, key, again));
    this.#element.hidden = false;
    if (again && error.retryAfter) this.#countDown(again, error.retryAfter);
  }

  /** Says something that is no error. */
  say(text) {
    this.clear();
    this.#element.classList.add("said");
    this.#element.append(h("p", {}, text));
    this.#element.hidden = false;
  }

  /** The service says when it is worth trying again; until then the button waits. */
  #countDown(button, seconds) {
    let left = seconds;
    const show = () => {
      button.disabled = left > 0;
      button.textContent = left > 0 ? `Try again in ${left} s` : "Try again";
      if (left === 0) clearInterval(this.#timer);
      left -= 1;
    };
    show();
    this.#timer = setInterval(show, 1000);
  }
}
