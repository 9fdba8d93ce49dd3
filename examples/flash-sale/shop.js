// The page's only script: orders, waits in the line when it is told to, pays, and shows the stock burn down.
// No libraries, nothing from outside.
"use strict";

const ITEM = "radio";
const LOOK_MS = 1000;
const SAMPLES_MAX = 120;
const STEPS = ["held", "paid", "delivered"];

const at = (id) => document.getElementById(id);
const orders = new Map(); // id -> {state, due_ms, skew_ms}
const delivered = new Map(); // shop server -> how many it has delivered
const samples = []; // {total, sold, held, reserved, at}
const shopper = localStorage.getItem("shopper") || crypto.randomUUID();
localStorage.setItem("shopper", shopper);

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function element(tag, name, text) {
  const e = document.createElement(tag);
  if (name)
    e.className = name;
  if (text !== undefined)
    e.textContent = text;
  return e;
}

// Resolves whatever happens: {status, retry_s, and what the JSON says}.
async function ask(method, path, body, headers) {
  try {
    const answer = await fetch(path, {
      method, cache: "no-store", body: body && JSON.stringify(body),
      headers: { ...(body && { "Content-Type": "application/json" }), ...headers },
    });
    const kind = answer.headers.get("content-type") || "";
    return { ...(kind.includes("json") ? await answer.json() : {}), status: answer.status,
             retry_s: Number(answer.headers.get("retry-after")) || 1 };
  } catch (error) {
    return { status: 0, detail: String(error.message || error), retry_s: 1 };
  }
}

// ---- buying

function receipt(...nodes) {
  at("receipt").replaceChildren(...nodes);
}

const SAID = {
  held: "It is held for you: pay within 30 seconds.",
  paid: "Paid: one of the shop's servers delivers it as soon as it can.",
  delivered: "Delivered. Enjoy it.",
  released: "You have given it up; somebody else may have it.",
  expired: "It was not paid in time, and somebody else may have it.",
};

const REFUSALS = {
  sold_out: (r) => (r.may_come_back ? "All that are left are held by others. Some may not be paid: try again in a moment." : "Sold out."),
  user_limit: () => "That is as many as one customer may have.",
};

// The same key until there is an answer: however often it is sent, it is one order.
async function buy() {
  const key = crypto.randomUUID();
  at("buy").disabled = true;
  for (;;) {
    const r = await ask("POST", "/api/buy", { shopper }, { "Idempotency-Key": `"${key}"` });
    if (r.status === 202) {
      orders.set(r.order, { state: r.state, due_ms: r.due_ms, skew_ms: r.now_ms - Date.now() });
      receipt(element("p", "", SAID.held));
      drawOrders();
      break;
    }
    if (r.status === 429 && r.reason === "waiting") {
      const box = element("p", "waiting");
      box.append(element("b", "", `${r.position}.`), `in line: your turn in about ${Math.ceil(r.wait_ms / 1000)} s. Leave the page open.`);
      receipt(box);
    } else if (r.status === 0 || r.status === 429 || r.status === 503) {
      receipt(element("p", "", "Nobody answers at the moment; trying again ..."));
    } else {
      receipt(element("p", "refusal", (REFUSALS[r.reason] || ((x) => x.detail || `No order: ${x.status}`))(r)));
      break;
    }
    await sleep(r.retry_s * 1000);
  }
  at("buy").disabled = false;
}

// ---- orders

// What has become of it; of the order that came last it stands under the button, too.
function become(id, state) {
  const o = orders.get(id);
  if (!state || o.state === state)
    return;
  o.state = state;
  if (SAID[state] && id === [...orders.keys()].pop() && !at("buy").disabled)
    receipt(element("p", "", SAID[state]));
}

async function pay(id) {
  become(id, (await ask("POST", `/api/pay/${encodeURIComponent(id)}`)).state);
  drawOrders();
}

async function leave(id) {
  become(id, (await ask("POST", `/api/orders/${encodeURIComponent(id)}/release`)).state);
  drawOrders();
}

function button(name, text, press) {
  const b = element("button", name, text);
  b.type = "button";
  b.addEventListener("click", () => { b.disabled = true; press(); });
  return b;
}

function drawOrder([id, o]) {
  const row = element("div", "order");
  const steps = element("span", "steps");
  const here = STEPS.indexOf(o.state);
  if (here < 0)
    steps.append(element("span", "step bad", o.state));
  else
    STEPS.forEach((word, i) => steps.append(element("span", `step${i < here ? " past" : i === here ? " now" : ""}`, word)));
  row.dataset.state = o.state;
  row.append(element("span", "id", id), steps);
  if (o.state === "held") {
    const left = Math.max(0, Math.ceil((o.due_ms - o.skew_ms - Date.now()) / 1000));
    row.append(button("pay", `Pay (${left} s)`, () => pay(id)), button("leave", "Give it up", () => leave(id)));
  }
  return row;
}

function drawOrders() {
  if (orders.size)
    at("orders").replaceChildren(...[...orders].reverse().map(drawOrder));
}

// ---- the sale

function drawChart() {
  const width = 1000, height = 160, last = samples[samples.length - 1];
  const x = (i) => width - (samples.length - 1 - i) * (width / (SAMPLES_MAX - 1));
  const area = (value, colour) => {
    const top = samples.map((s, i) => `${x(i).toFixed(1)},${(height * (1 - value(s) / last.total)).toFixed(1)}`);
    const p = document.createElementNS("http://www.w3.org/2000/svg", "polygon");
    p.setAttribute("points", `${x(0)},${height} ${top.join(" ")} ${width},${height}`);
    p.setAttribute("fill", colour);
    return p;
  };
  at("chart").replaceChildren(area((s) => s.total, "#cfe3d4"), area((s) => s.sold + s.held, "#f5c32c"), area((s) => s.sold, "#181b1f"));
}

function drawSale(s) {
  samples.push({ total: s.total || 1, sold: s.sold, held: s.held, reserved: s.orders.reserved, at: s.now_ms });
  samples.splice(0, samples.length - SAMPLES_MAX);
  const share = (n) => `${(100 * n) / (s.total || 1)}%`;
  at("bar-sold").style.width = share(s.sold);
  at("bar-held").style.width = share(s.held);
  at("free").textContent = s.free;
  at("total").textContent = s.total;
  at("sum-free").textContent = s.free;
  at("sum-held").textContent = s.held;
  at("sum-sold").textContent = s.sold;
  at("sum-delivered").textContent = s.orders.delivered;
  document.querySelector(".figures .held").classList.toggle("some", s.held > 0);
  const first = samples[Math.max(0, samples.length - 6)], last = samples[samples.length - 1];
  const seconds = (last.at - first.at) / 1000;
  at("rate").textContent = seconds ? Math.round((last.reserved - first.reserved) / seconds) : "–";
  at("conversion").textContent = s.orders.conversion === undefined ? ""
    : `${Math.round(100 * s.orders.conversion)} % of ${s.orders.reserved} orders are paid, €${((s.orders.average_amount || 0) / 100).toFixed(2)} on average`;
  drawChart();
}

async function look() {
  const stock = await ask("GET", `/api/stock/${ITEM}`);
  if (stock.status === 200)
    drawSale(stock);
  for (const [id, o] of orders) {
    if (!STEPS.slice(0, 2).includes(o.state))
      continue;
    const r = await ask("GET", `/api/orders/${encodeURIComponent(id)}`);
    if (r.status === 200)
      become(id, r.state);
  }
  drawOrders();
  await showServer();
  setTimeout(look, LOOK_MS);
}

// Whichever server weir asks: each says how many it has delivered itself, at its own pace.
async function showServer() {
  const r = await ask("GET", "/api/product");
  if (r.server || r.status === 0)
    at("served").textContent = r.server || "nobody";
  if (r.status !== 200)
    return;
  delivered.set(r.server, r.delivered_here);
  const all = [...delivered].sort().map(([name, count]) => `${name} ${count}`);
  at("servers").textContent = `Delivered by ${all.join(", ")}.`;
}

at("buy").addEventListener("click", buy);
look();

// ?demo=buy presses the button by itself, and pays: for screenshots and tests.
if (new URLSearchParams(location.search).get("demo") === "buy")
  buy().then(() => [...orders.keys()].forEach(pay));
