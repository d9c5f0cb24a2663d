// Speaks with the API. The token lives in this tab's sessionStorage alone and leaves it only in the Authorization header.

const KEY = "postern.token";

export const token = {
  held: () => sessionStorage.getItem(KEY) !== null,
  keep: (text) => sessionStorage.setItem(KEY, text),
  forget: () => sessionStorage.removeItem(KEY),
};

/** What the API refused, with its words. */
export class Problem extends Error {
  constructor(status, { title, detail, action }) {
    super(title);
    Object.assign(this, { status, title, detail, action });
  }
}

/** Sends a JSON body to a path. */
export function sendJson(path, body) {
  return answered(path, { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } });
}

/** Fetches a path with these fields; those that are empty are left out. */
export function fetchJson(path, fields = {}, signal = undefined) {
  const query = new URLSearchParams(Object.entries(fields).filter(([, value]) => value !== undefined && value !== ""));
  return answered(query.size ? `${path}?${query}` : path, { signal });
}

async function answered(address, { headers = {}, ...request }) {
  let response;
  try {
    response = await fetch(address, {
      ...request, headers: { ...headers, authorization: `Bearer ${sessionStorage.getItem(KEY) ?? ""}`, accept: "application/json" },
      cache: "no-store", credentials: "omit", redirect: "error",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { title: "No answer", detail: "The server cannot be reached.", action: "See whether it runs, then try again." });
  }
  if (response.ok) return response.json();
  const said = await response.json().catch(() => ({ title: `Status ${response.status}`, detail: "", action: "" }));
  throw new Problem(response.status, said);
}
