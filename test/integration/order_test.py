"""doc/order.md, against the running program."""
import threading

import pytest

from lib.process import wait_until

CONF = """
ledger: {ledger}
routes:
  - match: POST /buy/{{item}}
    order: {{item: capture item, quantity: query n, user: cookie uid, url: /orders/{more}}}
  - match: GET /orders/{{id}}
    order: {{status: capture id, user: cookie uid}}
  - match: POST /orders/{{id}}/release
    order: release capture id
  - match: POST /paid/{{id}}
    order: confirm capture id
  - match: GET /stock/{{item}}
    order: stock capture item
"""


@pytest.fixture
def shop(weir, tmp_path):
    def start(more="", items="radio,5,3900\n", durability="commit", **options):
        (tmp_path / "items.csv").write_text(items)
        ledger = f"{{path: {tmp_path}/ledger, durability: {durability}, stock_file: {tmp_path}/items.csv}}"
        gate = weir(CONF.format(ledger=ledger, more=more), **options)
        name = items.partition(",")[0]
        wait_until(lambda: gate.get(f"/stock/{name}").status == 200, 20, "the items are there")
        return gate
    return start


def buy(gate, path="/buy/radio", user="ann", key=None, cookie=None):
    headers = {"Cookie": f"uid={user}" + (f"; {cookie}" if cookie else "")}
    if key:
        headers["Idempotency-Key"] = f'"{key}"'
    return gate.request("POST", path, headers)


def test_an_order_from_held_to_paid(shop, each_loop):
    gate = shop()
    first = buy(gate, key="k-1")
    assert (first.status, first.get("location")) == (202, "/orders/k-1")
    assert (first.json["state"], first.json["amount"], first.json["durability"]) == ("held", 3900, "commit")
    again = buy(gate, key="k-1")
    assert again.status == 202 and again.json["due_ms"] == first.json["due_ms"]
    other = buy(gate, "/buy/radio?n=2", key="k-1")
    assert (other.status, other.json["reason"]) == (422, "other_order")
    assert other.get("content-type") == "application/problem+json"
    assert gate.get("/orders/k-1", {"Cookie": "uid=ann"}).json["items"] == [
        {"item": "radio", "quantity": 1, "price": 3900}]
    assert gate.get("/orders/k-1", {"Cookie": "uid=bob"}).status == 404
    assert gate.request("POST", "/paid/k-1").json["state"] == "paid"
    assert gate.get("/orders/k-1", {"Cookie": "uid=ann"}).json["state"] == "paid"
    late = gate.request("POST", "/orders/k-1/release")
    assert (late.status, late.json["state"]) == (409, "paid")
    stock = gate.get("/stock/radio").json
    assert (stock["free"], stock["held"], stock["sold"]) == (4, 0, 1)
    wait_until(lambda: gate.access(), 20, "the access log is written")
    assert all(line["answered_by"] == "order" for line in gate.access())


def test_many_workers_sell_no_more_than_there_is(shop):
    gate = shop(items="radio,40\n")
    statuses, locations = [], set()

    def ask():
        for _ in range(10):  # each on a connection, and so on a worker, of its own
            answer = buy(gate)
            statuses.append(answer.status)
            if answer.status == 202:
                locations.add(answer.get("location"))

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert statuses.count(202) == len(locations) == 40
    assert statuses.count(409) == 80  # held and not paid: they may come back
    stock = gate.get("/stock/radio").json
    assert (stock["free"], stock["held"], stock["total"]) == (0, 40, 40)
    for location in locations:
        assert gate.request("POST", location.replace("orders", "paid")).status == 200
    wait_until(lambda: buy(gate).status == 410, 20, "it is over for good")
    assert gate.metric("weir_order_held_total") == 40
    assert gate.metric("weir_order_sold_out_seen_total") > 0


def test_a_key_that_comes_many_times_at_once_is_one_order(shop):
    """A client that lost patience: over several connections, and so by several workers."""
    gate = shop(items="radio,1000\n")
    together, answers = threading.Barrier(6), [[] for _ in range(20)]

    def ask():
        for n, got in enumerate(answers):
            together.wait(20)
            got.append(buy(gate, key=f"k-{n}"))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for n, got in enumerate(answers):
        assert [a.status for a in got] == [202] * 6
        assert {(a.get("location"), a.json["placed_ms"], a.json["due_ms"]) for a in got} == {
            (f"/orders/k-{n}", got[0].json["placed_ms"], got[0].json["due_ms"])}
    assert gate.get("/stock/radio").json["held"] == 20
    assert gate.metric("weir_order_held_total") == 20 and gate.metric("weir_order_done_before_total") == 100


def test_places_in_the_line_over_all_workers(shop):
    """The rate is so low that nobody's turn comes while the test runs."""
    gate = shop(more=", admit: {rate: 2/h, burst: 2, waiting_room: {ask_every: 1s}}")
    assert [buy(gate, user=f"u{i}").status for i in range(2)] == [202, 202]
    places = []
    for i in range(4):
        answer = buy(gate, user=f"w{i}")
        assert (answer.status, answer.json["reason"], answer.json["position"]) == (429, "waiting", i + 1)
        assert answer.get("retry-after") == "1" and answer.json["wait_ms"] > 1000000
        places.append(answer.get("set-cookie").partition(";")[0])
    # each keeps its place, whichever worker is asked; another's place is none
    assert [buy(gate, user=f"w{i}", cookie=places[i]).json["position"] for i in range(4)] == [1, 2, 3, 4]
    assert buy(gate, user="thief", cookie=places[0]).json["position"] == 5
    gate.reload(done=" conf: ")
    assert buy(gate, user="w3", cookie=places[3]).json["position"] == 4
    assert gate.metric("weir_order_waiting_total") == 10


def test_its_turn_comes(shop):
    gate = shop(more=", admit: {rate: 1/s, burst: 1, waiting_room: on}")
    places = {}

    def waits(user):
        answer = buy(gate, user=user, cookie=places.get(user))
        if answer.status == 429:
            places[user] = answer.get("set-cookie").partition(";")[0]
        return answer.status == 429

    assert not waits("first")
    users = [f"u{i}" for i in range(3)]
    wait_until(lambda: waits(users[0]), 20, "somebody has to wait")
    left = set(users)
    wait_until(lambda: not left.difference_update([u for u in sorted(left) if not waits(u)]) and not left, 30,
               "all get in, one after the other")


def test_each_answer_says_how_safe_it_is(shop):
    gate = shop(durability="memory")
    assert buy(gate).json["durability"] == "memory"


def test_order_wants_a_ledger(weir_command, tmp_path):
    conf = tmp_path / "weir.yaml"
    conf.write_text('listen: [":1"]\nroutes: [{match: /*, order: {item: radio}}]\n')
    done = weir_command("check", "-c", conf)
    assert done.returncode != 0 and "there is none" in done.stdout + done.stderr
