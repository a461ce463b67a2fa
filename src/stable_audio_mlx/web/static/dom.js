// Small helpers to build the page: no markup is ever made from text.

const PATHS = {
  play: "M8 5.5v13l11-6.5z",
  pause: "M7 5.5h3.4v13H7zM13.6 5.5H17v13h-3.4z",
  again: "M12 5a7 7 0 1 0 6.7 9h-2.2A5 5 0 1 1 12 7c1.4 0 2.6.6 3.5 1.5L13 11h6V5l-2 2A7 7 0 0 0 12 5z",
  save: "M11 4h2v8h3l-4 4.5L8 12h3zM5 18h14v2H5z",
  close: "M6.4 5 12 10.6 17.6 5 19 6.4 13.4 12l5.6 5.6-1.4 1.4-5.6-5.6L6.4 19 5 17.6 10.6 12 5 6.4z",
};

export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "text") element.textContent = value;
    else if (key in element && typeof value !== "string") element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

export const $ = (id) => document.getElementById(id);

export const seconds = (value) => `${(Math.round(value * 100) / 100).toFixed(value < 10 ? 2 : 1)} s`;

export function since(created) {
  const minutes = Math.round((Date.now() / 1000 - created) / 60);
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${minutes} min ago`;
  if (minutes < 24 * 60) return `${Math.round(minutes / 60)} h ago`;
  return new Date(created * 1000).toLocaleDateString();
}

// Said to screen readers; the newest news wins.
export function say(text) {
  if ($("live").textContent !== text) $("live").textContent = text;
}

// A short message at the edge, with one thing that can be done about it.
export function toast(text, action, act, life = 6000) {
  const item = h("div", { class: "toast", role: "status" }, h("span", { text }));
  const end = () => { clearTimeout(timer); item.remove(); };
  if (action) item.append(h("button", { type: "button", class: "quiet", text: action, onclick: () => { end(); act(); } }));
  $("toasts").append(item);
  const timer = setTimeout(end, life);
  return end;
}

// The same hue for the same words, so that takes of one idea are seen to belong together.
export function hue(text) {
  let value = 7;
  for (const letter of text.toLowerCase()) value = (value * 31 + letter.codePointAt(0)) % 100003;
  return Math.round(value * 137.508) % 360;
}
