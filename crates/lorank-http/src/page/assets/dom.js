// Elements from plain values. Text is only inserted as text nodes, so the content of documents cannot become markup.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element. Properties are attributes, but for `on`, whose keys are events. */
export function h(tag, properties = {}, ...children) {
  return filled(document.createElement(tag), properties, children);
}

/** The same for SVG. */
export function svg(tag, properties = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), properties, children);
}

/** The element with this id, which `index.html` has. */
export function byId(id) {
  return document.getElementById(id);
}

/** Text for screen readers alone. */
export function spoken(text) {
  return h("span", { class: "spoken" }, text);
}

/** An icon by its path, 16 units wide. */
export function icon(path) {
  return svg("svg", { class: "icon", viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: path }));
}

/** A message of the service as nodes: what it has in backticks is code. */
export function message(text) {
  return text.split("`").map((part, n) => (n % 2 === 1 ? h("code", {}, part) : part));
}

/** The same as a sentence. */
export function sentence(text) {
  return message(text.charAt(0).toUpperCase() + text.slice(1).replace(/[.]?$/, "."));
}

/** Puts text into a file that the browser saves. */
export function download(name, text, type = "text/plain") {
  const url = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

function filled(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (value === true) {
      element.setAttribute(name, "");
    } else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, value);
    }
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}
