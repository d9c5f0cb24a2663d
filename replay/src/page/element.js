// Builds the page's elements. Everything that comes from the record is hostile text: it becomes a text node here,
// never markup, and a link leads only to another place of this page.

/** Makes an element. `attributes` may hold `on`: listeners by event. Children are elements or text. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) made.addEventListener(event, listener);
    } else if (name.startsWith("on") || (name === "href" && !String(value).startsWith("#/"))) {
      throw new Error(`attribute ${name} is not for this page`);
    } else {
      made.setAttribute(name, value === true ? "" : String(value));
    }
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** A text as it must be seen by who decides by it: what is not seen, or moves what is seen, is written out. */
export function visible(text) {
  return String(text).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (c) => (c === "\n" ? c : `\\u{${c.codePointAt(0).toString(16)}}`));
}

/** Replaces what an element shows. */
export function show(target, ...children) {
  target.replaceChildren(...children.flat(Infinity).filter((child) => child));
}

/** A time of the record in the reader's zone, its exact text as a tooltip. */
export function moment(text) {
  const time = new Date(text);
  const shown = Number.isNaN(time.getTime())
    ? text
    : time.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
  return element("time", { datetime: text, title: text }, shown);
}

/** Microseconds as people say them. */
export function duration(us) {
  if (us < 1000) return `${us} µs`;
  if (us < 1e6) return `${(us / 1e3).toFixed(us < 1e4 ? 1 : 0)} ms`;
  if (us < 60e6) return `${(us / 1e6).toFixed(us < 1e7 ? 2 : 1)} s`;
  const seconds = Math.round(us / 1e6);
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

export function count(number, one, many = `${one}s`) {
  return `${Number(number).toLocaleString()} ${number === 1 ? one : many}`;
}

const VERDICTS = new Set(["allow", "mask", "hold", "deny"]);

/** A verdict as a badge: its word, and a colour beside it. */
export function badge(verdict) {
  const known = VERDICTS.has(verdict) ? verdict : "unknown";
  return element("span", { class: `badge ${known}` }, verdict || "undecided");
}

/** A column as a chip. Whether it is masked is said in words, for a colour does not reach everybody. */
export function chip(column) {
  const label = column.usage && column.usage !== "projected" ? ` (${column.usage})` : "";
  return element("li", { class: column.masked ? "chip masked" : "chip" },
    element("code", {}, column.name), label, column.masked ? element("span", { class: "mark" }, "masked") : null);
}

/** A failure, with what to do about it. */
export function failure(problem) {
  return element("div", { class: "notice failed", role: "alert" },
    element("strong", {}, problem.title), element("p", {}, problem.detail),
    problem.action ? element("p", {}, problem.action) : null);
}
