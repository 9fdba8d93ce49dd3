// The page's only script: sends orders, and draws who answered them. No libraries, nothing from outside.
"use strict";

const BURST = 50;
const DOTS_MAX = 400;
const COLOURS = ["#2f6fde", "#0b8a6f", "#7a4fd0", "#a3487e", "#3d7d94", "#6b7a1f"];

const at = (id) => document.getElementById(id);
const results = [];
const servers = new Map(); // name -> {colour, mark, left, times, failed}
let sent = 0;

// One request. Resolves whatever happens: a refusal is a result too.
async function order() {
  const url = `/api/buy?n=${++sent}`;
  const began = performance.now();
  const result = { status: 0, server: "", id: "", order: "", ms: 0, why: "" };
  try {
    const answer = await fetch(url, { method: "POST", cache: "no-store" });
    result.status = answer.status;
    result.server = answer.headers.get("x-server") || ""; // none: weir answered by itself
    result.id = answer.headers.get("x-request-id") || "";
    const text = await answer.text();
    if ((answer.headers.get("content-type") || "").includes("json")) {
      const said = JSON.parse(text);
      result.order = said.order || "";
      result.id = result.id || said.request_id || "";
      result.left = said.left_here;
      result.why = said.error || "";
    } else {
      result.why = text.trim().slice(0, 120);
    }
  } catch (error) {
    result.why = String(error.message || error);
  }
  result.ms = waited(url, began);
  return result;
}

// From the request's first byte to the answer's. A browser opens six connections and lines the rest up, and
// that wait is not weir's, so the browser's own timing is asked first.
function waited(url, began) {
  const entry = performance.getEntriesByName(new URL(url, location).href).pop();
  if (entry && entry.requestStart && entry.responseStart)
    return entry.responseStart - entry.requestStart;
  return performance.now() - began;
}

function keep(result) {
  results.push(result);
  if (!result.server)
    return;
  if (!servers.has(result.server)) {
    const digits = result.server.match(/\d+$/);
    servers.set(result.server, { mark: digits ? digits[0].slice(-2) : result.server.slice(-1), times: [], failed: 0 });
  }
  const server = servers.get(result.server);
  server.times.push(result.ms);
  server.failed += result.status >= 500;
  if (result.left !== undefined)
    server.left = Math.min(server.left ?? Infinity, result.left);
  // Colours go by name, not by who answered first: they stay the same over reloads of the page.
  [...servers.keys()].sort().forEach((name, i) => { servers.get(name).colour = COLOURS[i % COLOURS.length]; });
}

function part(times, share) {
  const sorted = [...times].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

const inMs = (ms) => (ms === undefined ? "–" : ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`);

function element(tag, name, text) {
  const e = document.createElement(tag);
  if (name)
    e.className = name;
  if (text !== undefined)
    e.textContent = text;
  return e;
}

function dot(result) {
  const server = servers.get(result.server);
  const ok = server && result.status < 500;
  const mark = server ? server.mark : result.status === 429 ? "–" : "×";
  const e = element("span", `dot${server ? "" : " weir"}${result.status === 429 || ok ? "" : " down"}`, mark);
  if (ok)
    e.style.background = server.colour;
  e.title = `${result.status || "no answer"} ${result.server || "weir"}, ${inMs(result.ms)}${result.id ? ", " + result.id : ""}`;
  return e;
}

function drawFigures() {
  const refused = results.filter((r) => r.status === 429).length;
  const failed = results.filter((r) => r.status === 0 || r.status >= 500).length;
  const times = results.filter((r) => r.server).map((r) => r.ms);
  at("taken").textContent = results.filter((r) => r.order).length;
  at("refused").textContent = refused;
  at("failed").textContent = failed;
  at("median").textContent = inMs(part(times, 0.5));
  at("p95").textContent = inMs(part(times, 0.95));
  document.querySelector(".figures .refused").classList.toggle("some", refused > 0);
  document.querySelector(".figures .failed").classList.toggle("some", failed > 0);
}

function drawServers() {
  const most = Math.max(1, ...[...servers.values()].map((s) => s.times.length));
  const rows = [...servers.keys()].sort().map((name) => {
    const s = servers.get(name);
    const row = element("div", "server");
    const track = element("div", "track");
    const bar = element("div", "bar");
    bar.style.cssText = `width:${(100 * s.times.length) / most}%;background:${s.colour}`;
    track.append(bar);
    const left = s.left === undefined ? "" : s.left === 0 ? ", sold out here" : `, ${s.left} left here`;
    const failed = s.failed ? `, ${s.failed} failed` : "";
    row.append(element("span", "name", name), track, element("span", "count", s.times.length),
               element("span", "more", `median ${inMs(part(s.times, 0.5))}${left}${failed}`));
    return row;
  });
  if (rows.length)
    at("servers").replaceChildren(...rows);
  else
    at("servers").replaceChildren(element("p", "empty", "No server has answered an order yet."));
}

function drawDots() {
  if (results.length)
    at("dots").replaceChildren(...results.slice(-DOTS_MAX).map(dot));
  else
    at("dots").replaceChildren(element("p", "empty", "One mark a request."));
  at("dots").scrollTop = at("dots").scrollHeight;
  const kinds = [...servers.keys()].sort().map((name) => [dot({ status: 200, server: name, ms: 0 }), name]);
  if (results.some((r) => r.status === 429))
    kinds.push([dot({ status: 429, server: "", ms: 0 }), "refused by weir (429)"]);
  if (results.some((r) => r.status === 0 || r.status >= 500))
    kinds.push([dot({ status: 503, server: "", ms: 0 }), "failed (5xx)"]);
  at("legend").replaceChildren(...kinds.map(([mark, text]) => {
    const item = element("span");
    mark.removeAttribute("title");
    item.append(mark, text);
    return item;
  }));
}

function outcome(r) {
  if (r.order)
    return `Order ${r.order} taken`;
  if (r.status === 409)
    return "Sold out on this server (409)";
  if (r.status === 429)
    return "Refused: too many requests (429)";
  if (r.status)
    return `No order: ${r.status}${r.why ? ", " + r.why : ""}`;
  return `No answer: ${r.why}`;
}

function drawReceipt(title, rows) {
  const list = element("dl");
  for (const [name, value, kind] of [["Result", title], ...rows]) {
    if (value)
      list.append(element("dt", "", name), element("dd", kind || "", value));
  }
  at("receipt").replaceChildren(list);
}

let drawing = false;
function draw() {
  if (drawing)
    return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    drawFigures();
    drawServers();
    drawDots();
  });
}

async function send(count) {
  at("buy").disabled = at("burst").disabled = true;
  const began = performance.now();
  const batch = await Promise.all(Array.from({ length: count }, async () => {
    const result = await order();
    keep(result);
    draw();
    return result;
  }));
  performance.clearResourceTimings(); // the browser's list is short; nothing reads these again
  at("buy").disabled = at("burst").disabled = false;
  if (count === 1) {
    const r = batch[0];
    drawReceipt(outcome(r), [["Answered by", r.server || (r.status ? "weir itself" : "")],
                             ["First byte after", inMs(r.ms)], ["x-request-id", r.id, "id"]]);
    return;
  }
  const taken = batch.filter((r) => r.order).length;
  const last = batch.filter((r) => r.id).pop();
  drawReceipt(`${taken} of ${count} orders taken`,
              [["Refused (429)", String(batch.filter((r) => r.status === 429).length)],
               ["All done after", inMs(performance.now() - began)],
               ["last x-request-id", last && last.id, "id"]]);
}

async function showServer() {
  try {
    const answer = await fetch("/api/product", { cache: "no-store" });
    at("served").textContent = answer.headers.get("x-server") || "weir";
  } catch {
    at("served").textContent = "nobody";
  }
}

at("buy").addEventListener("click", () => send(1));
at("burst").addEventListener("click", () => send(BURST));
at("clear").addEventListener("click", () => {
  results.length = 0;
  servers.clear();
  draw();
});
showServer();

// ?demo=buy and ?demo=burst press a button by themselves, for screenshots and tests.
const demo = new URLSearchParams(location.search).get("demo");
if (demo === "buy" || demo === "burst")
  at(demo).click();
