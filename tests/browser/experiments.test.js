// The view of experiments, with traffic of three hundred units behind it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { QUERY } from "./corpus.js";
import { ask, checkAccessibility, checkFits, downloaded, openPage, screenshot, startAll, stopAll, until } from "./support.js";

const N_UNITS = 300;

let server;
let browser;
const registry = { "minilm-qa": "minilm-qa", "minilm-science": "minilm-science" };
before(async () => ([server, browser] = await startAll({ adapters: [], registry })));
after(() => stopAll(server, browser));

async function begin(id, method, layer) {
  const arms = [{ name: "science", model: "minilm-science", weight: 1 }, { name: "qa", model: "minilm-qa", weight: 1 }];
  await ask(server, "/v1/experiments", { id, salt: id, layer, traffic_share: 1, method, arms });
  await ask(server, `/v1/experiments/${id}/start`, {});
}

/**
 * Searches as many units would. Where traffic is split they click the first hit, more often of the arm `qa`; interleaved, they
 * click further down, where the arms differ.
 */
async function rehearse(experiment, first, n) {
  const events = [];
  for (let unit = first; unit < first + n; unit += 1) {
    const answer = await ask(server, "/v1/search", { query: QUERY, unit_id: `u${unit}`, experiment, snippets: false, fields: [] });
    const chance = ((unit * 7919) % 100) / 100;
    const isQa = answer.experiment.arm === "qa";
    const hit = answer.hits[answer.experiment.interleaved ? 4 + (unit % 6) : 0];
    if (chance < (isQa ? 0.8 : 0.35)) {
      events.push({
        action_name: "click", query_id: answer.request_id, client_id: `u${unit}`, event_id: `${answer.request_id}-1`, timestamp: new Date().toISOString(),
        event_attributes: { object: { object_id: hit.id }, position: { ordinal: hit.rank } },
      });
    }
  }
  if (events.length > 0) await ask(server, "/v1/events", events);
}

test("without experiments the page says how to make one", async () => {
  const page = await openPage(browser, server, "/?view=experiments");
  await page.getByText("lorank experiments create").waitFor();
  await checkAccessibility(page);
  await screenshot(page, "experiments-none");
  await page.end();
});

test("a running experiment is shown with verdict, plots and guardrails, and kept up to date", async () => {
  await begin("qa-or-science", "split", "main");
  await begin("mixed", "interleave", "second");
  await rehearse("qa-or-science", 0, 20);
  const page = await openPage(browser, server, "/?view=experiments&experiment=qa-or-science");
  await page.locator(".verdict.not-yet").waitFor();
  assert.match(await page.locator(".verdict").textContent(), /^Not yet: each comparison needs 30 units/);
  await screenshot(page, "experiments-not-yet");

  await rehearse("qa-or-science", 20, N_UNITS - 20);
  await rehearse("mixed", 0, 80);
  const { sentence } = await ask(server, "/v1/experiments/qa-or-science/report");
  await page.locator(".verdict", { hasText: sentence.slice(1).replaceAll("`", "") }).waitFor({ timeout: 20_000 });
  assert.equal(await page.locator("#verdict-status").textContent(), `qa-or-science: ${sentence}`);
  assert.equal(await page.locator(".verdict.ship").count(), 1, sentence);
  const plots = await page.getByRole("img").evaluateAll((all) => all.map((plot) => plot.getAttribute("aria-label")));
  assert.ok(plots.some((plot) => plot?.startsWith("Difference by units: +")), plots.join("\n"));
  assert.ok(plots.some((plot) => /^science [\d.]+ %, between .*; qa [\d.]+ %/.test(plot)), plots.join("\n"));
  const guardrails = await page.locator(".guardrails li").allTextContents();
  assert.ok(guardrails.some((line) => line.startsWith("✓ fine sample ratio matches the weights")), guardrails.join("\n"));
  await checkAccessibility(page);
  await checkFits(page);
  await screenshot(page, "experiments-light", { fullPage: true });

  const csv = await downloaded(page, () => page.getByRole("button", { name: "Answers (CSV)" }).click());
  assert.equal(csv.text.trim().split("\n").length, N_UNITS + 1);
  const html = await downloaded(page, () => page.getByRole("button", { name: "Report (HTML)" }).click());
  assert.match(html.text, /^<!doctype html>/i);

  await page.getByRole("link", { name: /mixed/ }).click();
  await page.getByRole("img", { name: /drawn/ }).waitFor();
  assert.match(page.url(), /experiment=mixed$/);
  await checkAccessibility(page);
  await screenshot(page, "experiments-interleaved", { fullPage: true });
  await page.end();
});

test("the winner is promoted, and its experiment stopped", async () => {
  const page = await openPage(browser, server, "/?view=experiments&experiment=qa-or-science");
  await page.getByRole("button", { name: "Promote qa…" }).click();
  await page.getByText("The alias “default” will point to minilm-qa").waitFor();
  await checkAccessibility(page);
  await screenshot(page, "experiments-promote");
  await page.getByRole("button", { name: "Promote it" }).click();
  await page.locator(".report-head .state.stopped").waitFor();
  assert.deepEqual((await ask(server, "/v1/aliases")).aliases, { default: "minilm-qa" });
  assert.equal((await ask(server, "/v1/experiments/qa-or-science")).state, "stopped");
  await page.end();
});

test("an experiment is made, started, widened and stopped with the keyboard alone", async () => {
  const page = await openPage(browser, server, "/?view=experiments", { expectRefusals: true });
  await page.getByRole("button", { name: "New experiment…" }).focus();
  await page.keyboard.press("Enter");
  await page.getByLabel("Id", { exact: true }).waitFor();
  await page.keyboard.press("Enter");
  await page.locator("#ask-error:not(:empty)").waitFor();
  await checkAccessibility(page);
  await screenshot(page, "experiments-new");
  await page.getByLabel("Id", { exact: true }).focus();
  await page.keyboard.type("winter");
  await page.getByLabel("Layer").fill("third");
  await page.keyboard.press("Enter");
  await page.locator(".report-head .state.draft").waitFor();
  await page.getByText("A draft: it assigns no units until it is started.").waitFor();
  const made = await ask(server, "/v1/experiments/winter");
  assert.deepEqual([made.state, made.traffic_share, made.arms.length], ["draft", 0.1, 2]);
  await checkAccessibility(page);
  await screenshot(page, "experiments-draft");

  const press = async (name) => {
    await page.getByRole("button", { name, exact: true }).focus();
    await page.keyboard.press("Enter");
  };
  await press("Start…");
  await page.getByText("It will assign 10.0 % of the units of layer third").waitFor();
  await page.keyboard.press("Enter");
  await page.locator(".report-head .state.running").waitFor();
  await press("Increase the share…");
  await page.getByLabel("Share of units, %").fill("5");
  await page.keyboard.press("Enter");
  await page.locator("#ask-error:not(:empty)").waitFor();
  await page.getByLabel("Share of units, %").fill("50");
  await page.keyboard.press("Enter");
  await page.getByText("50 % of units in layer third").waitFor();
  await press("Stop…");
  await page.keyboard.press("Enter");
  await page.locator(".report-head .state.stopped").waitFor();
  const { state, traffic_share } = await ask(server, "/v1/experiments/winter");
  assert.deepEqual([state, traffic_share], ["stopped", 0.5]);
  await page.end();
});

test("the list has what runs first, and can be filtered", async () => {
  const page = await openPage(browser, server, "/?view=experiments");
  const listed = () => page.locator("#experiment-list b").allTextContents();
  await page.locator("#experiment-list b").first().waitFor();
  assert.deepEqual(await listed(), ["mixed", "winter", "qa-or-science"]);
  await page.getByLabel("Filter experiments").fill("sci");
  await until(page, () => document.querySelectorAll("#experiment-list b").length === 2);
  assert.deepEqual(await listed(), ["mixed", "qa-or-science"], "an arm's name counts too");
  await page.getByLabel("State").selectOption("stopped");
  assert.deepEqual(await listed(), ["qa-or-science"]);
  await page.getByLabel("Filter experiments").fill("zzz");
  await page.getByText("No experiment matches.").waitFor();
  await checkAccessibility(page);
  await page.end();
});

for (const [name, options] of [
  ["dark", { colorScheme: "dark" }],
  ["phone", { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true }],
]) {
  test(`experiments, ${name}`, async () => {
    const page = await openPage(browser, server, "/?view=experiments&experiment=qa-or-science", options);
    await page.locator(".verdict").waitFor();
    await checkAccessibility(page);
    await checkFits(page);
    await screenshot(page, `experiments-${name}`, { fullPage: true });
    await page.end();
  });
}

test("a service without experiments says so", async () => {
  const page = await openPage(browser, server, "/", { expectRefusals: true });
  const body = JSON.stringify({ error: { kind: "not_found", message: "this server runs without experiments" } });
  await page.route("**/v1/experiments", (route) => route.fulfill({ status: 404, contentType: "application/json", body }));
  await page.getByRole("link", { name: "Experiments" }).click();
  await page.getByText("This server runs without experiments.").waitFor();
  await page.end();
});
