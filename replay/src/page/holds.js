// Held statements: what waits, and the two answers. The answer goes with the token in its header, as every request here
// does: a page of somebody else has no token to send.

import { fetchJson, sendJson } from "./client.js";
import { element, failure, moment, show, visible } from "./element.js";

export async function holdsView({ main, signal, id }) {
  document.title = "Reviews · Postern";
  const results = element("div", { "data-results": true });
  show(main, element("h1", {}, id ? "Held statement" : "Held statements"), results);
  if (id) return one(results, await fetchJson(`/api/v1/holds/${encodeURIComponent(id)}`, {}, signal));
  const { holds } = await fetchJson("/api/v1/holds", { open: "true" }, signal);
  if (!holds.length) return show(results, element("p", { class: "empty" }, "Nothing waits for you."));
  show(results, element("ul", { class: "sessions" }, holds.map((hold) => element("li", { class: "card row" },
    element("a", { class: "cover", href: `#/holds/${hold.id}` },
      element("span", { class: "who" }, hold.requester.name), " on ", element("span", { class: "where" }, hold.resource)),
    element("span", { class: "facts" }, "until ", moment(hold.expires), element("span", {}, hold.shown.reason ?? "")),
    element("pre", {}, element("code", {}, visible(hold.shown.text ?? "")))))));
}

function one(results, hold) {
  const seen = hold.shown;
  const list = (items, words) => (items ?? []).map(words).join(", ") || "none";
  const facts = [
    ["State", hold.open ? "waiting" : hold.state],
    ["From", `${hold.requester.subject} (${hold.requester.issuer})`],
    ["Through", list(hold.requester.on_behalf_of, (subject) => subject)],
    ["Task", hold.requester.task ?? "none"],
    ["Resource", `${hold.resource}, as the role ${hold.role}`],
    ["Why it waits", seen.reason],
    ["Policies", `${list(seen.policies, (policy) => policy)}, version ${hold.policy_version}`],
    ["Needs", `${hold.approvals} of ${list(hold.reviewers, (group) => group)}`],
    ["Answers", list(hold.reviews, (one) => `${one.approved ? "yes" : "no"} by ${one.reviewer.name}: ${one.reason}`)],
    ["Relations", list(seen.relations, (one) => `${one.name} (${one.actions.join(", ")})`)],
    ["Columns", list(seen.columns, (one) => `${one.name} (${one.usage}${one.masked ? ", masked" : ""})`)],
    ["Functions", list(seen.functions, (one) => one)],
    ["Estimate", (seen.estimated_rows ?? null) === null ? "none" : `${seen.estimated_rows} rows, cost ${seen.estimated_cost}`],
    ["Counted", counted(seen.measured)],
    ["Values", seen.values?.length ? `${seen.values.length}, below` : "none"],
    ["Transaction", seen.in_transaction ? "open: it keeps its locks while it waits" : "none"],
    ["Digest", hold.digest],
  ];
  const said = element("div", {});
  show(results,
    element("pre", { class: "card" }, element("code", {}, visible(seen.text ?? ""))),
    (seen.runs ?? []).map((text) => element("pre", { class: "card" }, element("code", {}, visible(text)))),
    values(seen.values ?? []),
    seen.shortened ? element("p", {}, "It has ended, and only its beginning is kept here: the session's record has all of it.") : null,
    element("dl", {}, facts.map(([name, value]) => [element("dt", {}, name), element("dd", {}, visible(value ?? ""))])),
    "Expires ", moment(hold.expires), hold.may_answer ? form(hold, said) : null, said);
}

// Every value, whole: a long list scrolls.
function values(all) {
  if (!all.length) return null;
  // each in an element of its own: no value can look like the next one
  return element("dl", { class: "card values", "data-values": all.length, tabindex: 0 }, all.map((one, index) => [
    element("dt", {}, `$${index + 1}`), element("dd", {}, one.shown === null ? "NULL" : element("pre", {}, visible(one.shown)))]));
}

// What it wrote where it was tried and rolled back.
function counted(measured) {
  if (!measured?.counted) return measured?.not_counted ? `no: ${measured.not_counted}` : "no";
  const one = (table) => `${table.table}: ${table.inserted} inserted, ${table.updated} updated, ${table.deleted} deleted`;
  return measured.counted.map(one).join(", ") || "no rows written";
}

function form(hold, said) {
  const reason = element("input", { id: "reason", name: "reason", type: "text", maxlength: 1000, autocomplete: "off" });
  const answer = (approve) => async (event) => {
    event.preventDefault();
    for (const button of buttons) button.disabled = true;
    try {
      const body = { approve, digest: hold.digest, reason: reason.value };
      const now = await sendJson(`/api/v1/holds/${encodeURIComponent(hold.id)}/review`, body);
      show(said, element("p", { role: "status" }, `It is ${now.state}.`));
    } catch (problem) {
      for (const button of buttons) button.disabled = false;
      show(said, failure(problem));
    }
  };
  const buttons = [
    element("button", { type: "button", class: "primary", on: { click: answer(true) } }, "Approve"),
    element("button", { type: "button", on: { click: answer(false) } }, "Deny"),
  ];
  return element("form", { class: "filters", on: { submit: (event) => event.preventDefault() } },
    element("div", { class: "field" }, element("label", { for: "reason" }, "Reason"), reason), buttons);
}
