"""doc/stock.md, against the running program: the ledger's API, and whether what concurrent clients see is possible."""
import json
import random
import resource
import threading
import time

import pytest

from lib import stock_history
from lib.client import Client
from lib.ports import free_port
from lib.process import wait_until
from lib.stock_history import Op


class Api:
    def __init__(self, port, token="secret"):
        self.port = port
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def ask(self, method, path, body=None, kind="application/json"):
        with Client(self.port) as c:
            text = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
            return c.request(method, path, {**self.headers, "Content-Type": kind}, text)

    def get(self, path):
        answer = self.ask("GET", path)
        assert answer.status == 200, answer.text
        return answer.json

    def put(self, path, body):
        answer = self.ask("PUT", path, body)
        assert answer.status == 200, answer.text
        return answer.json


CONF = """
ledger: {{path: {path}, http: {{address: "127.0.0.1:{port}", token_file: {tokens}}}{more}}}
routes: [{{match: /*, respond: 204}}]
"""


@pytest.fixture
def ledger(weir, tmp_path):
    """ledger(more) -> (Weir, Api)"""
    def start(more="", routes=None):
        port = free_port()
        tokens = tmp_path / "tokens"
        tokens.write_text("shop:secret\n")
        conf = CONF.format(path=tmp_path / "ledger", port=port, tokens=tokens, more=more)
        if routes:
            conf = conf[:conf.index("routes:")] + routes
        return weir(conf), Api(port)
    return start


# ---- the checker itself: histories that are possible pass, planted faults are found

def history(rng, total, clients=6, each=60, fault=None):
    """What clients of a right item would see; `fault` makes the item wrong once (or now and then)."""
    state = stock_history.State(total)
    heap = [(rng.random(), client) for client in range(clients)]
    ops, mine, left = [], {c: [] for c in range(clients)}, {c: each for c in range(clients)}
    while heap:
        heap.sort()
        now, client = heap.pop(0)
        if not left[client]:
            continue
        left[client] -= 1
        if mine[client] and rng.random() < 0.4:
            op = Op("release", rng.choice(mine[client]), 1, now)
        else:
            again = mine[client] and rng.random() < 0.1
            op = Op("reserve", rng.choice(mine[client]) if again else f"{client}-{left[client]}", 1 + rng.randrange(2), now)
            op.quantity = state.held.get(op.order, op.quantity)
        results = ["held", "again", "other", "sold_out"] if op.kind == "reserve" else ["released", "again", "unknown"]
        result = next(r for r in results if state.possible(op, r))
        if fault and rng.random() < 0.05:
            result = fault(state, op, result)
        if result == "held" and op.order in state.held:
            state.free -= op.quantity  # held twice
        else:
            state.happen(op, result)
        if result == "held":
            mine[client].append(op.order)
        op.end, op.result = now + rng.random(), result
        if rng.random() < 0.02 and op.kind == "reserve":
            op.end, op.result = float("inf"), None
            if op.order in mine[client]:
                mine[client].remove(op.order)
        ops.append(op)
        heap.append((now + 1 + rng.random(), client))
    return ops


@pytest.mark.parametrize("seed", range(4))
def test_the_checker_lets_pass_what_is_possible(seed):
    assert stock_history.check(history(random.Random(seed), 10), 10) is None


FAULTS = {
    "oversold": lambda state, op, result: "held" if result == "sold_out" else result,
    "refused although some were free": lambda state, op, result: "sold_out" if result == "held" and state.free > op.quantity else result,
    "held twice": lambda state, op, result: "held" if result == "again" and op.kind == "reserve" else result,
    "released twice": lambda state, op, result: "released" if result == "again" and op.kind == "release" else result,
    "forgotten": lambda state, op, result: "unknown" if result == "released" else result,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_checker_finds_what_is_not(fault):
    found = 0
    for seed in range(10):
        ops = history(random.Random(seed), 10, each=120, fault=FAULTS[fault])
        found += stock_history.check(ops, 10) is not None
    assert found >= 5  # a fault can hide behind an answer that never came


# ---- what concurrent clients see of the real one

@pytest.mark.parametrize("seed", [1, 2])
def test_what_concurrent_clients_see_is_linearizable(ledger, each_loop, seed):
    gate, api = ledger(routes="""routes:
  - match: POST /buy
    order: {item: radio, quantity: query n, id: query id, user: query user, hold: 1h}
  - match: POST /release
    order: {release: query id}
""")
    total = 12
    api.put("/v1/stock/radio", {"total": total})
    ops, problems = [], []

    def reserve(c, order, quantity):
        op = Op("reserve", order, quantity, time.monotonic())
        status = c.request("POST", f"/buy?id={order}&n={quantity}&user=u").status
        op.end, op.result = time.monotonic(), {202: "done", 409: "sold_out", 410: "sold_out", 422: "other"}[status]
        ops.append(op)
        return op

    def release(c, order):
        op = Op("release", order, 1, time.monotonic())
        answer = c.request("POST", f"/release?id={order}")
        op.end, op.result = time.monotonic(), {200: "done", 404: "unknown"}[answer.status]
        ops.append(op)

    def client(number):
        rng = random.Random(seed * 100 + number)
        mine = []
        try:
            with gate.connect() as c:
                for i in range(60):
                    if mine and rng.random() < 0.45:
                        release(c, mine[-1] if rng.random() < 0.2 else mine.pop(rng.randrange(len(mine))))
                        continue
                    # ids that two clients use, so that they meet
                    order = f"{rng.randrange(4) if rng.random() < 0.1 else number}-{i}"
                    if reserve(c, order, 1 + rng.randrange(3)).result == "done":
                        mine.append(order)
        except Exception as e:  # noqa: BLE001: a thread's failure is the test's
            problems.append(e)

    threads = [threading.Thread(target=client, args=(n,)) for n in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not problems
    # the answer does not tell "held" from "held before": nor whether it was released by this one
    held, released, first = set(), set(), {}
    for op in ops:
        if op.result == "done":
            first[op.kind, op.order] = min(op.begin, first.get((op.kind, op.order), op.begin))
    for op in sorted(ops, key=lambda op: op.end):
        if op.result != "done":
            continue
        seen, new = (held, "held") if op.kind == "reserve" else (released, "released")
        op.result = "again" if op.order in seen else new
        if op.order not in seen:  # or it was another one's doing, which was asked before and answered later
            op.begin = first[op.kind, op.order]
        seen.add(op.order)
    same_time = [o for o in held if sum(op.order == o and op.kind == "reserve" for op in ops) > 1]
    wrong = stock_history.check([op for op in ops if op.order not in same_time or op.result != "again"], total)
    assert wrong is None, wrong
    item = api.get("/v1/stock/radio")
    assert item["held"] == sum(op.quantity for op in ops if op.result == "held" and op.order not in released)
    assert item["free"] + item["held"] + item["sold"] == total


# ---- the API

def test_orders_over_the_api(ledger):
    gate, api = ledger()
    api.put("/v1/stock/radio", {"total": 10, "price": 3900, "per_user": 3})
    api.put("/v1/stock/case", {"total": 2, "price": 500})
    body = {"order": "a", "user": "ann", "items": [{"item": "radio", "quantity": 2}, "case"]}
    first = api.ask("POST", "/v1/orders", body)
    assert first.status == 201 and first.json["state"] == "held" and first.json["amount"] == 8300
    assert first.json["durability"] == "commit"
    again = api.ask("POST", "/v1/orders", body)
    assert again.status == 200 and again.json["done_before"] and again.json["due_ms"] == first.json["due_ms"]
    assert api.ask("POST", "/v1/orders", {**body, "user": "bob"}).json["reason"] == "other_order"
    refused = api.ask("POST", "/v1/orders", {**body, "order": "b"})
    assert (refused.status, refused.json["reason"]) == (409, "user_limit")
    assert refused.get("content-type") == "application/problem+json"
    assert api.ask("POST", "/v1/orders/a/deliver").json["reason"] == "wrong_state"
    assert api.ask("POST", "/v1/orders/a/confirm").json["state"] == "paid"
    assert [o["order"] for o in api.get("/v1/orders")["orders"]] == ["a"]
    taken = api.ask("POST", "/v1/orders/take", {"max": 5, "hold": "1h"}).json["orders"]
    assert [(o["order"], o["state"], len(o["items"])) for o in taken] == [("a", "preparing", 2)]
    assert api.ask("POST", "/v1/orders/take").json["orders"] == []
    assert api.ask("POST", "/v1/orders/a/deliver").json["state"] == "delivered"
    assert api.get("/v1/orders/a")["state"] == "delivered"
    sales = api.get("/v1/sales")
    assert sales["orders"]["conversion"] == 1 and sales["orders"]["average_amount"] == 8300
    assert (sales["total"], sales["sold"]) == (12, 3)
    assert api.ask("POST", "/v1/orders/a/return").json["state"] == "returned"
    assert api.get("/v1/stock/radio")["free"] == 10
    assert api.ask("GET", "/v1/orders/none").status == 404
    assert api.ask("POST", "/v1/orders/a/frobnicate").status == 404


def test_sales_are_summed_up(ledger):
    """Four orders, of which two are paid: what the API and Prometheus say of them."""
    gate, api = ledger()
    api.put("/v1/stock/radio", {"total": 10, "price": 3900})
    api.put("/v1/stock/case", {"total": 10, "price": 500})
    for order, item in (("a", "radio"), ("b", "case"), ("c", "radio"), ("d", "case")):
        assert api.ask("POST", "/v1/orders", {"order": order, "items": [item]}).status == 201
    for order, move in (("a", "confirm"), ("b", "confirm"), ("c", "release")):
        assert api.ask("POST", f"/v1/orders/{order}/{move}").status == 200
    sales = api.get("/v1/sales")
    orders = sales["orders"]
    assert (orders["reserved"], orders["paid"], orders["released"], orders["expired"]) == (4, 2, 1, 0)
    assert (orders["paid_amount"], orders["conversion"], orders["average_amount"]) == (4400, 0.5, 2200)
    assert (sales["total"], sales["free"], sales["held"], sales["sold"]) == (20, 17, 1, 2)
    assert api.get("/v1/stock/radio")["orders"]["conversion"] == 0.5
    wait_until(lambda: gate.metric("weir_stock_paid_orders") == 2, 20, "the watch has looked")
    assert gate.metric("weir_stock_conversion_permille") == 500
    assert gate.metric("weir_stock_average_amount") == 2200
    assert gate.metric("weir_stock_reserved_orders") == 4


def test_orders_a_second_are_those_of_the_last_ten(ledger):
    gate, api = ledger()
    api.put("/v1/stock/radio", {"total": 1000000})
    assert api.get("/v1/sales")["orders_per_second"] == 0
    sent = 0

    def is_told():
        nonlocal sent
        for _ in range(20):
            sent += 1
            assert api.ask("POST", "/v1/orders", {"order": f"o{sent}", "items": ["radio"]}).status == 201
        return gate.metric("weir_stock_orders_per_second") > 0

    wait_until(is_told, 20, "a rate")
    # of at least a second: it cannot be more than all of them
    assert 0 < api.get("/v1/sales")["orders_per_second"] <= sent


def test_each_answer_of_the_api_says_how_safe_it_is(ledger):
    gate, api = ledger(", durability: memory")
    order = {"order": "a", "items": ["radio"]}
    for method, path, body in (("PUT", "/v1/stock/radio", {"total": 10}), ("POST", "/v1/stock/radio/add", {"add": 1}),
                               ("POST", "/v1/stock", b"lamp,1\n"), ("GET", "/v1/stock", None), ("POST", "/v1/orders", order),
                               ("GET", "/v1/orders/a", None), ("POST", "/v1/orders/a/confirm", None),
                               ("POST", "/v1/orders/take", {}), ("GET", "/v1/sales", None)):
        answer = api.ask(method, path, body, "text/csv" if isinstance(body, bytes) else "application/json")
        assert answer.status in (200, 201) and answer.json["durability"] == "memory", (method, path, answer.text)


def test_nothing_is_taken_when_the_writer_has_stopped(ledger):
    """A limit of the size of files, set while weir runs, and taken back: as when a disk was full."""
    gate, api = ledger(routes="""routes:
  - match: POST /buy
    order: {item: radio}
  - match: /*
    respond: 204
""")
    api.put("/v1/stock/radio", {"total": 5})
    assert gate.request("POST", "/buy").status == 202
    before = resource.prlimit(gate.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(gate.pid, resource.RLIMIT_FSIZE, (8192, before[1]))  # the third batch would begin behind that
    refused = gate.request("POST", "/buy")
    assert (refused.status, refused.json["reason"], refused.get("retry-after")) == (503, "unavailable", "1")
    resource.prlimit(gate.pid, resource.RLIMIT_FSIZE, before)
    assert gate.request("POST", "/buy").status == 503
    assert api.ask("GET", "/v1/stock/radio").status == 503
    assert gate.get().status == 204
    state = gate.admin("/v1/ledger").json
    assert state["state"] == "stopped" and "File too large" in state["reason"]
    assert gate.metric("weir_ledger_stopped") == 1
    assert gate.stop(20) == 0
    gate, api = ledger()
    assert api.get("/v1/stock/radio")["held"] == 1  # what was acknowledged, and nothing else


def test_what_is_taken_and_not_delivered_comes_back(ledger):
    gate, api = ledger()
    api.put("/v1/stock/radio", {"total": 10})
    api.ask("POST", "/v1/orders", {"order": "a", "items": ["radio"], "hold": "1h"})
    api.ask("POST", "/v1/orders/a/confirm")
    assert api.ask("POST", "/v1/orders/take", {"hold": "50ms"}).json["orders"]
    wait_until(lambda: api.get("/v1/orders")["orders"], 20, "the order is in the line again")
    assert api.ask("POST", "/v1/orders/take", {"hold": "1h"}).json["orders"][0]["order"] == "a"


def test_what_is_not_paid_expires_without_a_request(ledger):
    gate, api = ledger()
    api.put("/v1/stock/radio", {"total": 1})
    assert api.ask("POST", "/v1/orders", {"order": "a", "items": ["radio"], "hold": "100ms"}).status == 201
    wait_until(lambda: gate.metric("weir_stock_expired_orders") == 1, 20, "the order expires by itself")
    wait_until(lambda: gate.metric("weir_stock_free_units", item="radio") == 1, 20, "the unit is free again")
    assert api.get("/v1/orders/a")["state"] == "expired"
    late = api.ask("POST", "/v1/orders/a/confirm")
    assert (late.status, late.json["state"]) == (409, "expired")


def test_items_of_the_file_are_there_when_the_api_is(ledger, tmp_path):
    items = tmp_path / "items.csv"
    items.write_text("".join(f"i{n},1\n" for n in range(5000)))
    _, api = ledger(f", stock_file: {items}")
    assert api.get("/v1/stock/i4999")["total"] == 1


def test_items_from_csv_and_more_of_them(ledger, tmp_path):
    items = tmp_path / "items.csv"
    items.write_text('item,total,price,per_user\r\nradio,5,3900,2\r\n"lamp, green",7\r\n')
    gate, api = ledger(f", stock_file: {items}")
    assert len(api.get("/v1/stock")["items"]) == 2  # before anybody could ask
    assert api.get("/v1/stock/lamp%2C%20green")["total"] == 7
    api.put("/v1/stock/radio", {"total": 6})
    lines = "item,total\n" + "".join(f"item {i},{i}\n" for i in range(100)) + "radio,8\n"
    assert api.ask("POST", "/v1/stock", lines.encode(), "text/csv").json == {"items": 101, "durability": "commit"}
    assert api.get("/v1/stock/radio")["total"] == 8 and api.get("/v1/stock/radio")["price"] == 3900
    page = api.get("/v1/stock?from=0&max=60")
    assert len(page["items"]) == 60
    assert len(api.get(f"/v1/stock?from={page['next']}&max=60")["items"]) == 42
    lines = "".join(f"a{i},1\n" for i in range(100)) + "b,-1\n"  # more than are sent together
    bad = api.ask("POST", "/v1/stock", lines.encode(), "text/csv")
    assert bad.status == 422 and 'line 101: total: "-1"' in bad.json["detail"]
    assert api.ask("GET", "/v1/stock/a0").status == 404  # all or nothing of what is read
    assert api.ask("POST", "/v1/stock/radio/add", {"add": 2, "if_total": 8}).json["total"] == 10
    assert api.ask("POST", "/v1/stock/radio/add", {"add": 2, "if_total": 8}).status == 412
    assert api.ask("POST", "/v1/stock/radio/add", {"add": -11}).json["reason"] == "too_few"
    assert api.ask("POST", "/v1/stock/none/add", {"add": 1}).status == 404
    gate.stop()
    # the file makes what is not there; what was changed since stays
    gate, api = ledger(f", stock_file: {items}")
    wait_until(lambda: "items=2" in gate.log(), 20, "the file is loaded")
    assert api.get("/v1/stock/radio")["total"] == 10


def test_who_may_ask(ledger):
    gate, api = ledger()
    assert Api(api.port, None).ask("GET", "/v1/stock").status == 401
    assert Api(api.port, "wrong").ask("PUT", "/v1/stock/radio", {"total": 1}).status == 401
    assert api.ask("DELETE", "/v1/stock/radio").status == 405
    assert api.ask("PUT", "/v1/stock/radio", b"{").status == 400
    assert api.ask("PUT", "/v1/stock/radio", {"totl": 1}).status == 400
    assert "/v1/orders/{order}/{move}" in api.get("/openapi.json")["paths"]
    assert "text/html" in api.ask("GET", "/").get("content-type")


def test_all_of_it_is_there_after_a_kill(ledger):
    gate, api = ledger()
    api.put("/v1/stock/radio", {"total": 50, "per_user": 1})
    for i in range(20):
        assert api.ask("POST", "/v1/orders", {"order": f"o{i}", "user": f"u{i}", "items": ["radio"]}).status == 201
    for i in range(10):
        assert api.ask("POST", f"/v1/orders/o{i}/confirm").status == 200
    gate.kill()
    gate, api = ledger()
    item = api.get("/v1/stock/radio")
    assert (item["held"], item["sold"], item["free"]) == (10, 10, 30)
    assert api.ask("POST", "/v1/orders", {"order": "o3", "user": "u3", "items": ["radio"]}).json["state"] == "paid"
    assert api.ask("POST", "/v1/orders", {"order": "n", "user": "u15", "items": ["radio"]}).json["reason"] == "user_limit"
    assert [o["order"] for o in api.get("/v1/orders")["orders"]] == [f"o{i}" for i in range(10)]
