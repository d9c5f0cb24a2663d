// The console's frame: who is here, which view the address names, and the list of sessions.

import { Problem, fetchJson, token } from "./client.js";
import { badge, count, duration, element, failure, moment, show } from "./element.js";
import { holdsView } from "./holds.js";
import { searchView } from "./search.js";
import { sessionView } from "./session.js";

const main = document.getElementById("main");
const nav = document.getElementById("nav");
const leave = document.getElementById("leave");
const status = document.getElementById("status");
let running = new AbortController();

/** What the address names: `#/sessions/ses_...?statement=3` is view, id and fields. */
function place() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const [view = "", id = ""] = path.split("/");
  return { view: view || "search", id, fields: Object.fromEntries(new URLSearchParams(query)) };
}

async function navigate() {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  const here = place();
  nav.hidden = leave.hidden = !token.held();
  for (const link of nav.querySelectorAll("a")) {
    if (link.dataset.view === here.view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!token.held()) return signIn();
  const views = { sessions: here.id ? sessionView : listView, holds: holdsView };
  const view = views[here.view] ?? searchView;
  try {
    status.textContent = "Loading";
    await view({ main, signal, id: here.id, fields: here.fields });
    status.textContent = "Loaded";
  } catch (error) {
    if (error.name === "AbortError") return;
    if (error instanceof Problem && error.status === 401) {
      token.forget();
      nav.hidden = leave.hidden = true;
      return signIn(error);
    }
    const problem = error instanceof Problem ? error : { title: "The console failed", detail: String(error) };
    status.textContent = problem.title;
    main.querySelector("[data-results]")?.replaceChildren(failure(problem)) ?? show(main, failure(problem));
  }
}

function signIn(problem) {
  document.title = "Sign in · Postern";
  const field = element("textarea", {
    id: "token", name: "token", rows: 4, required: true, autocomplete: "off", spellcheck: "false",
    autocapitalize: "off", "aria-describedby": "token-note",
  });
  const submit = (event) => {
    event.preventDefault();
    const text = field.value.trim();
    if (!text) return;
    token.keep(text);
    navigate();
  };
  const onKey = (event) => {
    if (event.key === "Enter" && !event.shiftKey) submit(event);
  };
  field.addEventListener("keydown", onKey);
  show(main, element("section", { class: "card sign-in" },
    element("h1", {}, "Sign in"),
    problem ? failure(problem) : null,
    element("form", { on: { submit } },
      element("label", { for: "token" }, "Token"), field,
      element("p", { id: "token-note", class: "note" },
        "A token of an auditor from your identity provider. It stays in this tab, until you close it or sign out. ",
        "Whatever you read here is itself recorded."),
      element("button", { type: "submit", class: "primary" }, "Sign in"))));
  field.focus();
}

async function listView({ signal, fields }) {
  document.title = "Sessions · Postern";
  const input = (name, label, type = "text", extra = {}) => element("div", { class: "field" },
    element("label", { for: name }, label),
    element("input", { id: name, name, type, value: fields[name] ?? "", autocomplete: "off", ...extra }));
  const state = element("select", { id: "open", name: "open" },
    [["", "All"], ["true", "Open"], ["false", "Closed"]].map(([value, label]) =>
      element("option", { value, selected: (fields.open ?? "") === value }, label)));
  const submit = (event) => {
    event.preventDefault();
    const entries = [...new FormData(event.target)].filter(([, value]) => value !== "");
    location.hash = `#/sessions?${new URLSearchParams(entries)}`;
  };
  const results = element("div", { "data-results": true });
  show(main, element("h1", {}, "Sessions"),
    element("form", { class: "filters", on: { submit } },
      input("identity", "Identity"), input("resource", "Resource"), input("since", "From", "date"), input("until", "Before", "date"),
      element("div", { class: "field" }, element("label", { for: "open" }, "State"), state),
      element("button", { type: "submit" }, "Filter")),
    results);
  await more(results, fields, signal);
}

async function more(results, fields, signal, cursor = undefined) {
  const page = await fetchJson("/api/v1/sessions", { ...fields, cursor }, signal);
  let list = results.querySelector("ul.sessions");
  if (!list) {
    if (!page.sessions.length) {
      return show(results, element("p", { class: "empty" }, "No session fits. Sessions appear here seconds after they begin."));
    }
    list = element("ul", { class: "sessions" });
    show(results, list);
  }
  list.append(...page.sessions.map(row));
  results.querySelector("button.more")?.remove();
  if (page.next_cursor) {
    const next = () => more(results, fields, signal, page.next_cursor).catch((problem) => results.append(failure(problem)));
    results.append(element("button", { type: "button", class: "more", on: { click: next } }, "Show more"));
  }
}

function row(session) {
  const length = session.closed ? duration((new Date(session.closed) - new Date(session.opened)) * 1000) : null;
  const state = { open: () => element("span", { class: "badge live" }, "open"), refused: () => element("span", { class: "badge deny" }, "refused") };
  return element("li", { class: "card row" },
    element("a", { class: "cover", href: `#/sessions/${session.id}` },
      element("span", { class: "who" }, session.identity?.name ?? "Nobody known"), " on ",
      element("span", { class: "where" }, session.resource ?? "nothing")),
    element("span", { class: "facts" },
      moment(session.opened), state[session.status]?.() ?? (length ? element("span", {}, length) : null),
      element("span", {}, count(session.statements, "statement")),
      session.denied ? element("span", {}, badge("deny"), ` ${session.denied}`) : null),
    element("code", { class: "id" }, session.id));
}

leave.addEventListener("click", () => {
  token.forget();
  location.hash = "#/search";
  navigate();
});
document.querySelector("a.skip").addEventListener("click", (event) => {
  event.preventDefault(); // the hash belongs to the views
  main.focus();
});
window.addEventListener("hashchange", () => {
  navigate().then(() => main.focus({ preventScroll: true }));
});
navigate();
