// The page: asks for a token if there has to be one, follows the stream, shows each document.

import { buttonsFor, observe, setUp } from "./actions.js";
import { brief, clock, drawGraph, duration, element, fill, graphCell, mark, milliseconds, MINUTE, number, say } from "./draw.js";

const TOKEN = "admin-token";
const LAG_BAD = 0.05, BUSY_WARN = 0.8, PRESSURE_WARN = 0.5, EVENTS_MAX = 200;
const by = (id) => document.getElementById(id);
const past = new Map(); // by process: the last minute of each figure
let events = [], latest = null, begun = false, running = null, attempt = 0, levelTouched = false;

// The stream

function withToken(path, options = {}) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = { ...options.headers, ...(token ? { authorization: `Bearer ${token}` } : {}) };
  return fetch(path, { ...options, headers, cache: "no-store" });
}

async function follow() {
  running?.abort();
  if (document.body.dataset.asksToken === "yes" && !sessionStorage.getItem(TOKEN)) return askForToken();
  const mine = running = new AbortController();
  try {
    const response = await withToken("console/stream", { signal: mine.signal });
    if (response.status === 401) return askForToken();
    if (!response.ok) throw new Error((await response.json()).detail);
    by("login").hidden = true;
    await read(response.body.pipeThrough(new TextDecoderStream()).getReader());
    throw new Error("the stream has ended");
  } catch (error) {
    if (mine.signal.aborted) return;
    attempt += 1;
    const wait = Math.min(15, 2 ** (attempt - 1));
    link(`Not connected: ${error.message}. Again in ${wait} s.`, true);
    setTimeout(() => { if (running === mine && !document.hidden) follow(); }, wait * 1000);
  }
}

async function read(reader) {
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) take(JSON.parse(line));
  }
}

function askForToken() {
  by("refused").textContent = sessionStorage.getItem(TOKEN) ? "This token was refused." : "";
  sessionStorage.removeItem(TOKEN);
  by("main").hidden = true;
  by("login").hidden = false;
  link("The admin port asks for its token.", false);
  by("token").focus();
}

function link(text, bad) {
  say(by("link"), text);
  by("link").classList.toggle("bad", bad);
}

// A document

function take(received) {
  attempt = 0;
  if (received.about) return begin(received);
  latest = received;
  events = [...received.events.reverse(), ...events].slice(0, EVENTS_MAX);
  by("main").hidden = false;
  link(received.stopping ? `The service is stopping · ${clock(received.at)}` : `Live · ${clock(received.at)}`, received.stopping);
  if (begun) remember(received.workers); // the first second is the end of the history
  begun = true;
  summary(received);
  workers(received.workers);
  requests(received.running);
  journal();
  caches(received.caches);
  pools(received.pools);
  settings(received);
  observe(received);
}

function begin({ about, history }) {
  say(by("name"), about.name);
  say(by("environment"), about.environment);
  document.title = `${about.name} · console`;
  events = [];
  begun = false;
  past.clear();
  for (const [pid, beats] of Object.entries(history)) {
    const minute = figures(pid);
    beats.slice(1).forEach((beat, index) => {
      minute.rate.push(Math.max(0, beat.requests - beats[index].requests));
      minute.lag_seconds.push(beat.lag_seconds);
      minute.utilization.push(beat.utilization);
    });
  }
}

function figures(pid) {
  if (!past.has(String(pid))) {
    past.set(String(pid), { rate: [], p99_seconds: [], lag_seconds: [], utilization: [], rss_bytes: [] });
  }
  return past.get(String(pid));
}

function remember(rows) {
  const living = new Set(rows.map((row) => String(row.pid)));
  for (const pid of past.keys()) if (!living.has(pid)) past.delete(pid);
  for (const row of rows) {
    if (row.pid === null) continue;
    for (const [name, values] of Object.entries(figures(row.pid))) {
      values.push(row[name] ?? null);
      if (values.length > MINUTE) values.shift();
    }
  }
}

const sum = (rows, name) => rows.reduce((all, row) => all + (row[name] ?? 0), 0);
const most = (rows, name) => rows.reduce((top, row) => Math.max(top, row[name] ?? 0), 0);

function summary({ workers: rows, wanted }) {
  const ready = rows.filter((row) => row.state === "ready" && row.answers !== false).length;
  const slow = rows.some((row) => typeof row.p99_seconds === "number") ? most(rows, "p99_seconds") : null;
  const [errors, shed, lag] = [sum(rows, "errors_rate"), sum(rows, "shed_rate"), most(rows, "lag_seconds")];
  const shown = {
    "workers answer": [`${ready} of ${wanted}`, ready < wanted && "bad"],
    "requests/s": [number(sum(rows, "rate"))],
    "p99 ms, worst": [milliseconds(slow)],
    "errors/s": [number(errors, 1), errors > 0 && "bad"],
    "shed/s": [number(shed, 1), shed > 0 && "bad"],
    "lag ms, worst": [milliseconds(lag), lag > LAG_BAD && "bad"],
    "busy %, worst": [number(100 * most(rows, "utilization")), most(rows, "utilization") > BUSY_WARN && "warn"],
    "running": [number(sum(rows, "active"))],
    "memory MiB": [number(sum(rows, "rss_bytes") / 2 ** 20)],
  };
  const list = by("summary");
  if (list.children.length === 0) {
    list.append(...Object.keys(shown).map((name) => element("div", {}, element("dt", {}, name), element("dd"))));
  }
  Object.values(shown).forEach(([text, kind], index) => {
    const value = list.children[index].lastChild;
    say(value, text);
    mark(value, kind);
  });
}

const GRAPHS = [ // figure, label, text, least top of the scale, when it is marked
  ["rate", "requests/s", (value) => number(value, value < 10 ? 1 : 0), 1, () => ""],
  ["p99_seconds", "p99 ms", milliseconds, 0.01, () => ""],
  ["lag_seconds", "lag ms", milliseconds, LAG_BAD, (value) => value > LAG_BAD && "bad"],
  ["utilization", "busy %", (value) => number(100 * value), 1, (value) => value > BUSY_WARN && "warn"],
  ["rss_bytes", "memory MiB", (value) => number(value / 2 ** 20), 2 ** 27, () => ""],
];
const SIGNS = { ready: "●", starting: "◔", waiting: "○", draining: "◒", ending: "✕" };

function state(row) {
  if (row.state === "ready" && row.answers === false) return `silent ${number(row.heartbeat_age_seconds)} s`;
  return `${SIGNS[row.state] ?? ""} ${row.state}`;
}

function tell(cell, text, kind) { // what marks the text must not mark its label on a phone
  say(cell.firstChild, text);
  mark(cell.firstChild, kind);
}

function workers(rows) {
  const tops = GRAPHS.map(([name, , , least]) => Math.max(least, ...[...past.values()].flatMap((each) => each[name])));
  const cell = (label) => element("td", { "data-label": label }, element("span"));
  fill(by("workers"), rows, (row) => `${row.slot}:${row.pid}`, (row) => [
    cell("worker"), cell("state"), ...GRAPHS.map(([, label]) => graphCell(label)),
    cell("running"), cell("conns"), cell("pressure"), cell("up"), cell("restarts"),
    element("td", { class: "buttons" }, ...(row.pid === null ? [] : buttonsFor(rowOf(row)))),
  ], (tr, row) => {
    const cells = tr.cells;
    tell(cells[0], row.pid === null ? `${row.slot}` : `${row.slot} · pid ${row.pid}`);
    tell(cells[1], state(row), row.answers === false || row.state === "waiting" ? "bad" : "");
    tr.classList.toggle("ill", row.state !== "ready" || row.answers === false);
    // Slots are asked, and the one that serves answers for its slot.
    for (const button of tr.querySelectorAll(".buttons button")) button.hidden = row.state !== "ready";
    GRAPHS.forEach(([name, label, format, , kind], index) => {
      const graph = cells[2 + index];
      const known = row[name] !== undefined && row[name] !== null;
      tell(graph, known ? format(row[name]) : "–", known && kind(row[name]));
      drawGraph(graph, row.pid === null ? [] : figures(row.pid)[name], tops[index], label, format);
    });
    tell(cells[7], number(row.active));
    tell(cells[8], number(row.connections));
    tell(cells[9], `${number(100 * (row.pressure ?? 0))} %${row.pressure > 0.1 ? ` ${row.pressure_reason.replaceAll("_", " ")}` : ""}`,
      row.pressure > PRESSURE_WARN && "warn");
    tell(cells[10], duration(row.uptime_seconds));
    tell(cells[11], Object.entries(row.restarts).map(([reason, count]) => `${count} ${reason}`).join(", ") || "0");
  }, "No workers.");
}

function rowOf({ slot, pid }) { // whether it answers is of the moment of a click
  return { slot, pid, get answers() { return latest.workers.find((row) => row.pid === pid)?.answers; } };
}

function cells(...names) {
  return () => names.map((name) => element("td", name ? { class: name } : {}));
}

function requests(rows) {
  let number_ = 0;
  fill(by("running"), rows, () => number_++, cells("number", "", "wrap", "wrap"), (tr, row) => {
    say(tr.cells[0], row.seconds < 0.5 ? "< 0.5" : number(row.seconds, 1));
    say(tr.cells[1], String(row.worker));
    say(tr.cells[2], `${row.method} ${row.route}`);
    tr.cells[2].title = row.path;
    say(tr.cells[3], brief(row.place) || "–");
    tr.cells[3].title = row.place;
  }, "Nothing runs at this moment.");
}

function journal() {
  fill(by("events"), events, (event) => event.number, cells("", "", "", "wrap"), (tr, event) => {
    if (tr.cells[0].textContent) return; // what has happened does not change
    say(tr.cells[0], clock(event.at));
    say(tr.cells[1], event.level);
    tr.cells[1].classList.add({ warning: "warn", info: "quiet" }[event.level] ?? "bad");
    say(tr.cells[2], event.worker === null ? "–" : String(event.worker));
    tr.cells[3].append(element("code", {}, event.event), " ", element("small", {}, brief(event.detail)));
    tr.cells[3].title = event.detail;
  }, "Nothing has happened.");
}

function caches(rows) {
  fill(by("caches"), rows, (row) => `${row.cache} ${row.tier}`, cells("", "", ...Array(5).fill("number")), (tr, row) => {
    const rates = [row.hits, row.stale_hits, row.misses, row.writes].map((rate) => number(rate, 1));
    const ratio = row.ratio === null ? "–" : `${number(100 * row.ratio)} %`;
    [row.cache, row.tier, ...rates, ratio].forEach((text, index) => say(tr.cells[index], text));
  }, "No cache was asked yet.");
}

function pools(rows) {
  fill(by("pools"), rows, (row) => row.pool, cells("", "number", "number", "number", ""), (tr, row) => {
    const open = row.open === 0 ? "" : `open in ${row.open} worker${row.open > 1 ? "s" : ""}`;
    const breaker = row.pool.startsWith("offload") ? "none" : open || "closed";
    [row.pool, number(row.rate, 1), milliseconds(row.mean_seconds), milliseconds(row.wait_seconds), breaker]
      .forEach((text, index) => say(tr.cells[index], text));
    mark(tr.cells[4], open && "bad");
  }, "Nothing yet.");
}

function settings({ wanted, workers: rows }) {
  const count = document.querySelector("input[name=count]");
  if (document.activeElement !== count && count.dataset.shown !== String(wanted)) {
    count.value = count.dataset.shown = wanted;
  }
  const level = rows.find((row) => row.log_level)?.log_level;
  if (level && !levelTouched) document.querySelector("select[name=level]").value = level;
}

// The start

setUp(withToken);
document.querySelector("select[name=level]").addEventListener("input", () => { levelTouched = true; });
by("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, by("token").value.trim());
  by("token").value = "";
  follow();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) return follow();
  running?.abort();
  link("Paused: this tab is hidden.", false);
});
if (!document.hidden) follow();
