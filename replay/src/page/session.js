// One session: who and where, then what happened, step by step, and a control that plays it.

import { fetchJson } from "./client.js";
import { badge, chip, count, duration, element, moment, show } from "./element.js";
import { player } from "./player.js";

export async function sessionView({ main, signal, id, fields }) {
  const data = await fetchJson(`/api/v1/sessions/${encodeURIComponent(id)}/timeline`, {}, signal);
  const { session, steps, notes } = data;
  document.title = `${session.identity?.name ?? "Nobody"} on ${session.resource ?? "nothing"} · Postern`;
  const list = element("ol", { class: "timeline", "aria-label": "Timeline" });
  const cards = steps.map((step) => ({ offset: step.offset_us, card: card(step) }));
  list.append(...cards.map(({ card }) => card));
  const control = player(cards, signal);
  show(main, header(session),
    notes.map((note) => element("p", { class: "notice" }, note)),
    steps.length ? control : element("p", { class: "empty" }, "Nothing has happened in this session."), list);
  const named = fields.statement && list.querySelector(`[data-number="${CSS.escape(fields.statement)}"]`);
  if (named) {
    named.classList.add("current");
    named.scrollIntoView({ block: "center" });
  }
}

function header(session) {
  const fact = (name, ...value) => element("div", {}, element("dt", {}, name), element("dd", {}, ...value));
  const { identity } = session;
  const length = session.closed ? duration((new Date(session.closed) - new Date(session.opened)) * 1000) : null;
  const chain = identity?.on_behalf_of.length ? ` through ${identity.on_behalf_of.join(", ")}` : "";
  const end = session.status === "open" ? element("span", { class: "badge live" }, "open")
    : [session.closed ? moment(session.closed) : "–", session.reason ? ` ${session.reason.replaceAll("_", " ")}` : "",
      length ? `, after ${length}` : ""];
  return element("section", { class: "session-head" },
    element("p", { class: "trail" }, element("a", { href: "#/sessions" }, "Sessions"), " / ", element("code", {}, session.id)),
    element("h1", {}, element("span", {}, identity?.name ?? "Nobody known"), " on ", element("span", {}, session.resource ?? "nothing")),
    element("dl", { class: "facts-list" },
      fact("Identity", identity ? `${identity.subject} (${identity.kind})${chain}` : "none was established"),
      fact("Issuer", identity?.issuer ?? "–"),
      fact("Task", identity?.task ?? "–"),
      fact("Groups", identity?.groups.join(", ") || "–"),
      fact("Opened", moment(session.opened)), fact("Closed", end),
      fact("Role", session.role ?? "–"), fact("From", session.peer ?? "–"), fact("Through", session.node ?? "–"),
      fact("Client", session.application || "–"),
      fact("In all", [count(session.statements, "statement"), count(session.denied, "denied", "denied"), count(session.rows, "row")].join(", "))),
    session.status === "refused" ? element("p", { class: "notice failed" }, `Refused${session.sqlstate ? ` (${session.sqlstate})` : ""}: ${session.detail ?? ""}`)
      : session.detail ? element("p", { class: "note" }, session.detail) : null,
    session.faults.map((fault) => element("p", { class: "notice failed" }, fault)));
}

function card(step) {
  if (step.step === "statement") return statement(step);
  if (step.step === "gap") {
    return element("li", { class: "card step gap" }, head(step, element("span", { class: "badge deny" }, "gap")),
      element("p", {}, step.detail));
  }
  return element("li", { class: "card step" }, head(step), step.step);
}

function head(step, ...rest) {
  return element("div", { class: "line" }, element("span", { class: "offset", title: step.time }, `+${duration(step.offset_us)}`), ...rest);
}

function statement(step) {
  const { decision, outcome } = step;
  return element("li", { class: `card step ${decision?.verdict ?? "unknown"}`, "data-number": step.number },
    head(step, badge(decision?.verdict), outcome?.tag.startsWith(decision?.kind) ? null : element("span", { class: "kind" }, decision?.kind ?? ""), ending(outcome),
      element("a", { class: "number", href: `#/sessions/ses_${step.id.split("_")[1]}?statement=${step.number}`, title: step.id }, `#${step.number}`)),
    element("pre", { class: "sql", tabindex: 0, "aria-label": "SQL text" }, element("code", {}, step.text)),
    step.parameters.length ? element("p", { class: "note" }, "With ", step.parameters.map((value, index) =>
      [index ? ", " : "", `$${index + 1} = `, cell(value)])) : null,
    decision ? touched(decision) : null,
    step.outcome ? found(step.outcome.found) : null,
    step.hold ? hold(step.hold) : null,
    step.messages.map(message),
    step.answers.map((answer) => table(answer, step.number)));
}

function ending(outcome) {
  if (!outcome) return element("span", { class: "bad" }, "no outcome recorded");
  const bad = outcome.outcome === "failed" || outcome.outcome === "denied";
  const word = outcome.outcome === "succeeded" ? outcome.tag || "done" : outcome.outcome;
  return element("span", { class: "facts" },
    element("span", { class: bad ? "bad" : "kind" }, outcome.sqlstate ? `${word} ${outcome.sqlstate}` : word),
    element("span", {}, duration(outcome.duration_us)));
}

function found(all) {
  if (!all.length) return null;
  return element("p", { class: "facts" }, element("span", {}, "Found and hidden: ",
    all.map((one) => `${one.detector} in ${one.column} (${count(one.values, "value")})`).join(", ")));
}

function touched(decision) {
  return [
    decision.columns.length ? element("ul", { class: "chips", "aria-label": "Columns" }, decision.columns.map(chip))
      : decision.relations.length ? element("ul", { class: "chips", "aria-label": "Relations" },
        decision.relations.map((name) => element("li", { class: "chip" }, element("code", {}, name)))) : null,
    element("details", {}, element("summary", {}, "Decision"),
      element("dl", { class: "facts-list" }, [
        ["Reason", decision.reason], ["Policies", decision.policies.join(", ")], ["Policy version", decision.policy_version],
        ["Relations", decision.relations.join(", ")], ["Functions", decision.functions.join(", ")],
        ["Changes", decision.opaque ? "cannot be known from its text" : decision.read_only ? "nothing" : "may change data"],
        ["Flags", decision.flags.join(", ")],
      ].filter(([, value]) => value).map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))))),
  ];
}

function hold(held) {
  const answer = held.approved === null ? "waits" : held.approved ? "approved" : "refused";
  return element("p", { class: "note" }, badge("hold"), ` ${held.request} ${answer}`,
    held.reviewer ? ` by ${held.reviewer}` : "", held.reason ? `: ${held.reason}` : "", " · asked of ", held.reviewers.join(", "));
}

function message(said) {
  const bad = ["ERROR", "FATAL", "PANIC"].includes(said.severity);
  return element("div", { class: bad ? "said failed" : "said" },
    element("strong", {}, said.severity, said.sqlstate ? ` ${said.sqlstate}` : ""), " ", said.message,
    said.detail ? element("p", {}, said.detail) : null,
    said.hint ? element("p", {}, "Hint: ", said.hint) : null);
}

function cell(value) {
  if (value === null) return element("span", { class: "null" }, "null");
  return value;
}

function table(answer, number) {
  const shown = answer.rows.length;
  const name = `Result of statement ${number}`;
  return element("figure", { class: "result" },
    element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": name },
      element("table", {},
        element("thead", {}, element("tr", {}, answer.columns.map((column) =>
          element("th", { scope: "col", class: column.masked ? "masked" : "" }, column.name,
            column.masked ? element("span", { class: "mark" }, "masked") : null)))),
        element("tbody", {}, answer.rows.map((row) => element("tr", {}, row.map((value, index) =>
          element("td", { class: answer.columns[index]?.masked ? "masked" : "" }, cell(value)))))))),
    element("figcaption", {}, shown < answer.total ? `${shown} of ${count(answer.total, "row")}, as the client saw them`
      : `${count(answer.total, "row")}, as the client saw ${answer.total === 1 ? "it" : "them"}`,
      answer.left_out > 0 ? `; of ${answer.left_out} the record keeps only digests` : ""));
}
