// Drives the console in Chromium against the demonstration (`cargo run -p replay --example demo`).
//
//   node console.mjs <address> <token> [folder for screenshots]
//
// Ends with status 0 if everything holds, with 1 and the first thing that does not otherwise.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [address, token, folder] = process.argv.slice(2);
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const args = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const WORK = "ses_01935a00000070008000000000000001";
const HOSTILE = "ses_01935a00000070008000000000000002";
if (folder) mkdirSync(folder, { recursive: true });

const browser = await chromium.launch({ executablePath, args });
try {
  await steps(browser);
  for (const scheme of ["light", "dark"]) {
    for (const width of [1280, 400]) await looks(browser, scheme, width);
  }
  console.log("console: everything holds");
} finally {
  await browser.close();
}

/** A page that fails the test at the first script error, blocked load, dialog or request elsewhere. */
async function open(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: "en-GB", timezoneId: "UTC", ...options });
  const page = await context.newPage();
  page.wrong = [];
  page.on("pageerror", (error) => page.wrong.push(`script error: ${error}`));
  page.on("console", (said) => said.type() === "error" && !said.text().includes("status of 401") && page.wrong.push(said.text()));
  page.on("dialog", (dialog) => page.wrong.push(`dialog: ${dialog.message()}`));
  page.on("request", (request) => request.url().startsWith(address) || page.wrong.push(`request to ${request.url()}`));
  return page;
}

async function signIn(page, text = token) {
  await page.getByLabel("Token").fill(text);
  await page.getByRole("button", { name: "Sign in" }).click();
}

async function steps(browser) {
  const page = await open(browser);
  await page.goto(`${address}/#/search?q=${encodeURIComponent("who read card_number")}`);

  // a token that proves nothing: the API's own words, and the form again
  await signIn(page, "not-a-token");
  await page.getByText("You are not known here").waitFor();
  await signIn(page);

  // the deep link survived the sign-in: who, and the statements
  await page.getByRole("rowheader", { name: "billing-bot" }).waitFor();
  assert.equal(await page.locator("ol.hits > li").count(), 3);
  assert.ok((await page.locator(".who-answer").innerText()).includes("masked 2"));
  assert.equal(await page.evaluate(() => localStorage.length), 0, "the token is kept for this tab alone");

  // a question from the keyboard alone
  await page.getByLabel("Question").fill("verdict:deny");
  await page.keyboard.press("Enter");
  await page.waitForURL(/q=verdict/);

  // the list, and a session from it
  await page.getByRole("link", { name: "Sessions" }).click();
  await page.locator("ul.sessions > li").nth(3).waitFor();
  await page.getByLabel("Identity").fill("billing-bot");
  await page.getByRole("button", { name: "Filter" }).click();
  await page.waitForFunction(() => document.querySelectorAll("ul.sessions > li").length === 1);
  await page.locator("ul.sessions a").click();
  await page.waitForURL(new RegExp(WORK));

  // the timeline: verdicts, the masked column marked, the row as the client saw it, the error with its hint
  const shown = page.locator("ol.timeline > li:visible");
  await shown.nth(5).waitFor();
  assert.deepEqual(await page.locator("ol.timeline > li .line > .badge").allInnerTexts(), ["mask", "allow", "deny", "allow", "hold", "allow"]);
  assert.equal(await page.locator("td.masked").first().innerText(), "************4242");
  assert.ok((await page.locator("th.masked").innerText()).includes("masked"));
  assert.ok((await page.locator(".said.failed").first().innerText()).includes("42501"));

  await plays(page, shown);
  await survivesHostileText(page);

  // signing out forgets the token
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Token").waitFor();
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  assert.deepEqual(page.wrong, []);
  await page.context().close();
}

/** The control steps by hand, and plays to the end at sixty times the speed. */
async function plays(page, shown) {
  await page.getByRole("button", { name: "Back" }).click();
  assert.equal(await shown.count(), 5);
  await page.getByLabel("Position in the session").fill("1");
  assert.equal(await shown.count(), 1);
  await page.getByRole("button", { name: "Forward" }).click();
  assert.equal(await shown.count(), 2);
  await page.getByLabel("Position in the session").fill("0");
  assert.equal(await shown.count(), 0);
  await page.getByLabel("Speed").selectOption("60");
  await page.getByRole("button", { name: "Play" }).click();
  await page.waitForFunction(() => document.querySelectorAll("ol.timeline > li:not([hidden])").length === 6);
  await page.getByRole("button", { name: "Play" }).waitFor();
}

/** Markup in every text of a session stays text: nothing runs, nothing is loaded, nothing is made of it. */
async function survivesHostileText(page) {
  await page.goto(`${address}/#/sessions/${HOSTILE}?statement=1`);
  await page.locator("ol.timeline > li").nth(1).waitFor();
  assert.equal(await page.evaluate(() => window.pwned), undefined);
  assert.equal(await page.locator("main img, main script, main iframe").count(), 0);
  assert.ok((await page.locator("h1").innerText()).includes("<script>window.pwned=1</script>"), "shown as the text that it is");
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), "wide values do not widen the page");
  await page.goto(`${address}/#/sessions/${encodeURIComponent("<img src=x onerror=alert(1)>")}`);
  await page.getByRole("alert").waitFor();
  page.wrong = page.wrong.filter((text) => !text.includes("status of 400"));
}

/** Every view at a width and in a scheme: nothing is wider than the window, all text has contrast, pictures are taken. */
async function looks(browser, colorScheme, width) {
  const page = await open(browser, { viewport: { width, height: 900 }, colorScheme });
  const views = { "sign-in": "/", search: "/#/search?q=who+read+card_number", sessions: "/#/sessions",
    session: `/#/sessions/${WORK}`, hostile: `/#/sessions/${HOSTILE}` };
  for (const [name, path] of Object.entries(views)) {
    await page.goto(address + path);
    if (name === "sessions") await page.locator("ul.sessions > li").nth(3).waitFor();
    if (name.startsWith("sess") && name !== "sessions" || name === "hostile") await page.locator("ol.timeline > li").first().waitFor();
    if (name === "search") {
      await signIn(page);
      await page.locator("ol.hits > li").first().waitFor();
    }
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    assert.ok(overflow <= 0, `${name} at ${width}: ${overflow} px too wide`);
    assert.deepEqual(await page.evaluate(poorContrast), [], `${name} in ${colorScheme}: text without contrast`);
    assert.deepEqual(await page.evaluate(unlabelled), [], `${name}: controls without a name`);
    if (folder) await page.screenshot({ path: join(folder, `${name}-${width}-${colorScheme}.png`), fullPage: true });
  }
  assert.deepEqual(page.wrong, []);
  await page.context().close();
}

/** Texts with a contrast below 4.5 (WCAG 2, AA). Runs in the page. */
function poorContrast() {
  const numbers = (color) => (color.match(/[\d.]+/g) ?? []).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = numbers(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || element.closest(":disabled, .visually-hidden, .skip, [hidden], noscript") || !element.getClientRects().length) continue;
    const [a, b] = [luminance(numbers(getComputedStyle(element).color)), luminance(ground(element))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) poor.push(`${element.tagName}.${element.className}: ${((a + 0.05) / (b + 0.05)).toFixed(2)}`);
  }
  return poor;
}

/** Controls that a screen reader could not name. Runs in the page. */
function unlabelled() {
  return [...document.querySelectorAll("input, select, textarea, button")]
    .filter((control) => !(control.labels?.length || control.getAttribute("aria-label") || control.textContent.trim()))
    .map((control) => control.outerHTML);
}
