// Questions: a search box, who did it, and the statements.

import { fetchJson } from "./client.js";
import { badge, chip, count, duration, element, failure, moment, show } from "./element.js";

const EXAMPLES = ["who read card_number", "verdict:deny", "verdict:mask", "sqlstate:42501"];

export async function searchView({ main, signal, fields }) {
  const asked = fields.q ?? "";
  document.title = asked ? `${asked} · Postern` : "Search · Postern";
  const box = element("input", {
    id: "q", name: "q", type: "search", value: asked, required: true, maxlength: 2000, autocomplete: "off",
    spellcheck: "false", placeholder: "who read card_number",
  });
  const submit = (event) => {
    event.preventDefault();
    location.hash = `#/search?${new URLSearchParams({ q: box.value.trim() })}`;
  };
  const results = element("div", { "data-results": true });
  show(main,
    element("h1", { class: asked ? "visually-hidden" : "" }, "Ask the record"),
    element("form", { class: "ask", role: "search", on: { submit } },
      element("label", { for: "q", class: "visually-hidden" }, "Question"), box,
      element("button", { type: "submit", class: "primary" }, "Search")),
    element("p", { class: "examples" }, element("span", {}, "Try "),
      EXAMPLES.map((text) => element("a", { href: `#/search?${new URLSearchParams({ q: text })}` }, text))),
    results);
  if (!asked) return box.focus();
  show(results, element("p", { class: "empty" }, "Searching"));
  await page(results, fields, signal);
}

async function page(results, fields, signal, offset = undefined) {
  const found = await fetchJson("/api/v1/search", { ...fields, offset }, signal);
  let list = results.querySelector("ol.hits");
  if (!list) {
    list = element("ol", { class: "hits" });
    show(results,
      element("p", { class: "summary" }, element("strong", {}, count(found.total, "statement")),
        ` in ${duration(found.took_us)}`, found.understood ? ` · understood as ${found.understood}` : ""),
      found.who.length ? who(found.who) : null,
      found.opaque ? element("p", { class: "notice" }, `${count(found.opaque, "statement")} ran of which cannot be known what they reached: they may have read it too.`) : null,
      found.hits.length ? [element("h2", {}, "Statements"), list] : element("p", { class: "empty" }, "Nothing in the record matches."));
  }
  list.append(...found.hits.map(hit));
  results.querySelector("button.more")?.remove();
  if (found.next_offset) {
    const next = () => page(results, fields, signal, found.next_offset).catch((problem) => results.append(failure(problem)));
    results.append(element("button", { type: "button", class: "more", on: { click: next } }, "Show more"));
  }
}

function who(identities) {
  const heads = ["Identity", "Statements", "Values seen", "First", "Last"];
  return element("section", { class: "card who-answer", "aria-labelledby": "who" },
    element("h2", { id: "who" }, "Who"),
    element("div", { class: "scroll", tabindex: 0, role: "region", "aria-labelledby": "who" },
      element("table", {},
        element("thead", {}, element("tr", {}, heads.map((head) => element("th", { scope: "col" }, head)))),
        element("tbody", {}, identities.map((one) => element("tr", {},
          element("th", { scope: "row", title: one.issuer }, one.identity),
          element("td", {}, Number(one.statements).toLocaleString()),
          element("td", {}, seen(one)),
          element("td", {}, one.first ? moment(one.first) : "–"),
          element("td", {}, one.last ? moment(one.last) : "–")))))));
}

function seen(one) {
  if (one.masked === null) return "–";
  const { clear } = one;
  return [
    one.masked ? element("span", { class: "badge mask" }, `masked ${one.masked}`) : null, " ",
    clear ? element("span", { class: "badge deny" }, `clear ${clear}`) : null,
  ].filter(Boolean);
}

function hit(found) {
  const place = found.statement ? `?statement=${found.statement.split("_").pop()}` : "";
  return element("li", { class: "card hit" },
    element("div", { class: "line" }, found.type === "statement" ? badge(found.verdict) : element("span", { class: "badge" }, found.type),
      element("a", { href: `#/sessions/${found.session}${place}` }, found.identity, found.resource ? ` on ${found.resource}` : ""),
      moment(found.time)),
    found.text ? element("pre", { class: "sql", tabindex: 0, "aria-label": "SQL text" }, element("code", {}, found.text)) : null,
    found.columns.length ? element("ul", { class: "chips", "aria-label": "Columns" }, found.columns.map(chip)) : null,
    element("p", { class: "facts" },
      found.rows === null ? null : element("span", {}, count(found.rows, "row")),
      found.duration_us === null ? null : element("span", {}, duration(found.duration_us)),
      found.outcome ? element("span", {}, found.outcome) : null,
      found.sqlstate ? element("span", { class: "bad" }, `SQLSTATE ${found.sqlstate}`) : null,
      found.found.length ? element("span", {}, `found ${[...new Set(found.found.map((one) => one.detector))].join(", ")}`) : null,
      element("code", { class: "id" }, found.statement ?? found.session)));
}
