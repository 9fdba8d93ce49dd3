"""doc/topic.md, against the running program."""
import json
import resource
import threading

import pytest

from lib import weir as program
from lib.client import Client
from lib.ports import free_port, listening
from lib.process import wait_until
from lib.servers import Scripted, answer

CONF = """
ledger:
  path: {path}/ledger
  http: {{address: "127.0.0.1:{port}", token_file: {path}/tokens}}
  topics: {topics}
routes:
{routes}
services:
  shop: {{servers: [{server}]}}
"""


class Api:
    def __init__(self, port):
        self.port = port

    def ask(self, method, path, body=None, token="secret"):
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        with Client(self.port) as c:
            return c.request(method, path, headers, None if body is None else json.dumps(body).encode())

    def good(self, method, path, body=None):
        got = self.ask(method, path, body)
        assert got.status in (200, 201), got.text
        return got.json

    def publish(self, topic, *bodies, **more):
        messages = [{"body": b, **more} for b in bodies]
        return self.good("POST", f"/v1/topics/{topic}/messages", {"messages": messages})["messages"]

    def pull(self, topic, group="g", **more):
        return self.good("POST", f"/v1/topics/{topic}/groups/{group}/pull", {"count": 100, **more})["messages"]

    def topic(self, name):
        return self.good("GET", f"/v1/topics/{name}")

    def bodies(self, name):
        return [m["body"] for m in self.good("GET", f"/v1/topics/{name}/messages?count=1000")["messages"]]


@pytest.fixture
def queue(weir, tmp_path):
    """queue(topics, server) -> (Weir, Api)"""
    def start(topics="{orders: keep 7d}", server="127.0.0.1:1", routes="  - {match: /*, respond: 204}", **options):
        port = free_port()
        (tmp_path / "tokens").write_text("shop:secret\n")
        conf = CONF.format(path=tmp_path, port=port, topics=topics, server=server, routes=routes)
        gate = weir(conf, **options)
        api = Api(port)
        wait_until(lambda: listening(port), 20, "the ledger's API")
        return gate, api
    return start


def head_of(request):
    lines = request.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    return {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:])}


def body_of(request):
    return request.partition(b"\r\n\r\n")[2].decode()


class Shop(Scripted):
    """A shop's server: each POST is answered by decide(body, head) -> bytes; `done` are the bodies it said 2xx to."""

    def __init__(self, decide=lambda body, head: answer()):
        self.done, self.decide, self.lock = [], decide, threading.Lock()
        super().__init__(self.serve)

    def serve(self, peer):
        while request := peer.read_request():
            said = self.decide(body_of(request), head_of(request))
            if said.startswith(b"HTTP/1.1 2"):
                with self.lock:
                    self.done.append(body_of(request))
            peer.send(said)


@pytest.fixture
def shop():
    shops = []

    def start(*args):
        shops.append(Shop(*args))
        return shops[-1]
    yield start
    for s in shops:
        s.stop()
        assert not s.errors


# ---- pull

def test_publish_pull_ack(queue):
    gate, api = queue()
    api.good("PUT", "/v1/topics/orders/groups/g", {"lease": "1h"})
    published = api.publish("orders", "one", "two", key="k", headers={"colour": "red"})
    got = api.pull("orders")
    assert [(m["id"], m["body"], m["key"], m["headers"], m["attempts"]) for m in got] == [
        (published[0]["id"], "one", "k", {"colour": "red"}, 1), (published[1]["id"], "two", "k", {"colour": "red"}, 1)]
    assert api.pull("orders") == []
    ids = [m["id"] for m in got]
    assert api.good("POST", "/v1/topics/orders/groups/g/ack", {"ids": ids})["acked"] == 2
    assert api.good("POST", "/v1/topics/orders/groups/g/ack", {"ids": ids})["acked"] == 0
    group = api.topic("orders")["consumer_groups"][0]
    assert (group["group"], group["lag"], group["pending"], group["acked"]) == ("g", 0, 0, 2)
    # from the beginning again
    api.good("POST", "/v1/topics/orders/groups/g/replay", {"from": "begin"})
    assert [m["body"] for m in api.pull("orders")] == ["one", "two"]
    wait_until(lambda: gate.metric("weir_topic_messages", topic="orders") == 2, 20, "it is counted")


def test_a_pull_waits_for_what_is_published(queue):
    _, api = queue()
    api.good("PUT", "/v1/topics/orders/groups/g", {})
    got = []
    waiter = threading.Thread(target=lambda: got.extend(api.pull("orders", wait="30s")))
    waiter.start()
    api.publish("orders", "late")
    waiter.join(25)
    assert [m["body"] for m in got] == ["late"]


def test_a_lease_ends_and_attempts_end_in_the_dead_letters(queue):
    _, api = queue("{orders: {dead_letter: dead}, dead: keep 1d}")
    api.good("PUT", "/v1/topics/orders/groups/g", {"lease": "50ms", "attempts": 2, "back_off": "1ms"})
    api.publish("orders", "poison", key="k")
    assert [m["attempts"] for m in api.pull("orders")] == [1]
    assert [m["attempts"] for m in api.pull("orders", wait="20s")] == [2]
    wait_until(lambda: api.bodies("dead") == ["poison"], 20, "it is a dead letter")
    letter = api.good("GET", "/v1/topics/dead/messages")["messages"][0]
    assert (letter["key"], letter["headers"]["weir-topic"], letter["headers"]["weir-attempts"]) == ("k", "orders", "2")
    assert api.pull("orders") == []


def test_a_half_message(queue):
    _, api = queue()
    api.good("PUT", "/v1/topics/orders/groups/g", {})
    first, second = api.publish("orders", "bought", "not bought", half=True)
    assert api.pull("orders") == []
    assert api.good("GET", f"/v1/topics/orders/kept/{first['handle']}")["body"] == "bought"
    api.good("POST", "/v1/topics/orders/commit", first)
    api.good("POST", "/v1/topics/orders/rollback", second)
    assert api.ask("POST", "/v1/topics/orders/commit", second).status == 409
    assert [m["body"] for m in api.pull("orders")] == ["bought"]


def test_what_is_refused(queue):
    _, api = queue()
    assert api.ask("GET", "/v1/topics/orders", token=None).status == 401
    assert api.ask("POST", "/v1/topics/none/messages", {"body": "x"}).status == 404
    assert api.ask("POST", "/v1/topics/orders/groups/none/pull", {}).status == 404
    for body in ({"messages": []}, {"body": 7}, {"priority": 10}, {"headers": {"a": 1}}, {"body_base64": "!"}, [1],
                 {"delay_ms": -1}, {"id": "x"}):
        got = api.ask("POST", "/v1/topics/orders/messages", body)
        assert (got.status, got.get("content-type")) == (400, "application/problem+json"), body
    # all or none: the second's id is not greater than the first's
    got = api.ask("POST", "/v1/topics/orders/messages",
                  {"messages": [{"body": "a", "id": "9-0"}, {"body": "b", "id": "9-0"}]})
    assert (got.status, got.json["reason"]) == (409, "id_too_small")
    assert api.bodies("orders") == []


@pytest.mark.parametrize("topics, said", [
    ("{orders: {push: /x of nobody}}", "nobody"),
    ("{orders: {push: x of shop}}", "is no path"),
    ("{orders: {dead_letter: lost}}", 'there is no topic "lost"'),
    ("{orders: {keep: 1ms}}", "out of bounds"),
    ("{orders: {push: {service: shop, concurrency: 0}}}", "out of bounds"),
])
def test_settings_that_cannot_work(tmp_path, topics, said):
    conf = tmp_path / "weir.yaml"
    conf.write_text("listen: 127.0.0.1:1\n" + CONF.format(path=tmp_path, port=1, topics=topics, server="127.0.0.1:1",
                                                          routes="  - {match: /*, respond: 204}"))
    (tmp_path / "tokens").write_text("shop:secret\n")
    found = program.run("check", "-c", conf)
    assert found.returncode == 1 and said in found.stderr, found.stderr


# ---- push

def test_push_delivers_each_once_as_a_cloud_event(queue, shop):
    server = shop()
    gate, api = queue("{orders: {push: /in of shop}}", server.address)
    api.publish("orders", *[f"m{i}" for i in range(40)], key="a b", headers={"content-type": "text/plain"})
    wait_until(lambda: len(server.done) == 40, 20, "all are delivered")
    head = head_of(server.requests[0])
    assert server.requests[0].startswith(b"POST /in HTTP/1.1\r\n")
    assert (head["ce-specversion"], head["ce-source"], head["ce-type"], head["ce-subject"], head["content-type"],
            head["weir-attempt"]) == ("1.0", "/topics/orders", "weir.message", "a%20b", "text/plain", "1")
    assert len({head_of(r)["ce-id"] for r in server.requests}) == 40 and head["ce-time"].endswith("Z")
    wait_until(lambda: api.topic("orders")["consumer_groups"][0]["acked"] == 40, 20, "all are acked")
    assert sorted(server.done) == sorted(f"m{i}" for i in range(40))
    assert gate.metric("weir_topic_pushed_total", topic="orders") == 40


def test_what_fails_comes_again_and_is_given_up_in_the_end(queue, shop):
    def decide(body, head):
        if body == "flaky" and head["weir-attempt"] == "1" or body == "poison":
            return answer(status="500 No")
        return answer()

    server = shop(decide)
    _, api = queue("{orders: {push: shop, attempts: 3, back_off: 10ms, dead_letter: dead}, dead: keep 1d}",
                   server.address)
    api.publish("orders", "poison", "flaky", "good")
    wait_until(lambda: sorted(server.done) == ["flaky", "good"], 20, "both are done")
    wait_until(lambda: api.bodies("dead") == ["poison"], 20, "it is a dead letter")
    assert [head_of(r)["weir-attempt"] for r in server.requests if body_of(r) == "poison"] == ["1", "2", "3"]


def test_slower_please_counts_no_attempt(queue, shop):
    refusals = []

    def decide(body, head):
        if len(refusals) < 2:
            refusals.append(head["weir-attempt"])
            return answer(status="429 Slower", headers=[("Retry-After", "1")])
        return answer()

    server = shop(decide)
    gate, api = queue("{orders: {push: {service: shop, concurrency: 1}, attempts: 1}}", server.address)
    api.publish("orders", "a", "b", "c")
    wait_until(lambda: sorted(server.done) == ["a", "b", "c"], 20, "all are done, though there is one attempt")
    assert refusals == ["1", "1"]
    assert gate.metric("weir_topic_push_slowed_total", topic="orders") == 2


def test_a_key_keeps_its_order_though_one_fails(queue, shop):
    def decide(body, head):
        # every third of each key fails once
        return answer(status="500 No") if int(body[1:]) % 3 == 0 and head["weir-attempt"] == "1" else answer()

    server = shop(decide)
    _, api = queue("{orders: {push: {service: shop, concurrency: 8}, order_by_key: true, back_off: 5ms}}",
                   server.address)
    api.good("POST", "/v1/topics/orders/messages",
             {"messages": [{"body": f"{k}{i}", "key": k} for i in range(12) for k in "abcd"]})
    wait_until(lambda: len(server.done) == 48, 20, "all are done")
    for k in "abcd":
        assert [b for b in server.done if b[0] == k] == [f"{k}{i}" for i in range(12)]


def test_a_silent_publisher_is_asked(queue, shop):
    asked = []

    def decide(body, head):
        if "weir-handle" not in head:
            return answer()
        asked.append((head["weir-topic"], body))
        return answer(headers=[("Weir-Transaction", "commit" if body == "bought" else "rollback")])

    server = shop(decide)
    _, api = queue("{orders: {push: /in of shop, check: /check of shop, check_after: 100ms}}", server.address)
    handles = api.publish("orders", "bought", "not bought", half=True)
    wait_until(lambda: "bought" in api.bodies("orders"), 20, "the first is committed")
    wait_until(lambda: api.ask("POST", "/v1/topics/orders/commit", handles[1]).status == 409, 20,
               "the second is rolled back")
    assert {a[0] for a in asked} == {"orders"} and {a[1] for a in asked} == {"bought", "not bought"}
    assert api.bodies("orders") == ["bought"]


def test_a_check_that_nobody_has_answered_is_not_sent_again(queue, shop):
    """While the publisher's server fails, one check of each half waits; of a half that has ended meanwhile it is not asked."""
    works, asked = [], []

    def decide(body, head):
        asked.append((body, bool(works)))
        return answer(headers=[("Weir-Transaction", "commit")]) if works else answer(status="500 Not now")

    server = shop(decide)
    _, api = queue("{orders: {check: /check of shop, check_after: 100ms, checks: 1000, attempts: 0, back_off: 300ms, back_off_max: 300ms}}", server.address)
    handles = api.publish("orders", "one", "two", half=True)
    wait_until(lambda: [b for b, _ in asked].count("one") >= 4, 20, "it is tried again")
    assert sorted(api.bodies("orders.check")) == ["one", "two"]
    api.good("POST", "/v1/topics/orders/rollback", handles[1])
    wait_until(lambda: api.topic("orders.check")["consumer_groups"][0]["acked"] == 1, 20, "its check is passed over")
    works.append(True)
    wait_until(lambda: api.bodies("orders") == ["one"], 20, "it is committed")
    wait_until(lambda: api.topic("orders.check")["consumer_groups"][0]["acked"] == 2, 20, "both checks are done")
    assert ("two", True) not in asked


def test_a_kill_loses_nothing_and_the_next_process_pushes(queue, shop):
    """What was published before the kill, and what it had in hand then, is delivered by the process after it."""
    topics = "{orders: {push: {service: shop, timeout: 1s}, attempts: 0, back_off: 10ms, back_off_max: 100ms}}"
    gate, api = queue(topics)  # nobody is there yet
    for i in range(5):
        api.publish("orders", *[f"{i}.{j}" for j in range(10)])
    gate.kill()
    server = shop()
    _, api = queue(topics, server.address)
    wait_until(lambda: len(set(server.done)) == 50, 20, "all are delivered")
    wait_until(lambda: api.topic("orders")["consumer_groups"][0]["acked"] == 50, 20, "all are acked")


def test_a_reload_pushes_elsewhere(queue, shop):
    first, second = shop(), shop()
    gate, api = queue("{orders: {push: /a of shop}}", first.address)
    api.publish("orders", "one")
    wait_until(lambda: first.done == ["one"], 20, "the first has it")
    text = gate.conf_path.read_text().replace(first.address, second.address).replace("/a of", "/b of")
    gate.reload(text)
    wait_until(lambda: api.publish("orders", "two") and "two" in second.done, 20, "the second gets them now")
    assert second.requests[0].startswith(b"POST /")


def test_nothing_is_taken_when_the_writer_has_stopped(queue):
    """A limit of the size of files, set while weir runs, and taken back: as when a disk was full."""
    gate, api = queue()
    api.good("PUT", "/v1/topics/orders/groups/g", {"lease": "1h"})
    api.publish("orders", "kept")
    got = api.pull("orders")
    waiting = Client(api.port, timeout=30)
    waiting.send_request("POST", "/v1/topics/orders/groups/g/pull", {"Authorization": "Bearer secret"}, b'{"wait": "1m"}')
    api.topic("orders")  # answered after that one has begun to wait
    before = resource.prlimit(gate.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(gate.pid, resource.RLIMIT_FSIZE, (8192, before[1]))
    refused = [api.ask("POST", "/v1/topics/orders/messages", {"body": "lost"}) for _ in range(3)]
    resource.prlimit(gate.pid, resource.RLIMIT_FSIZE, before)
    assert [r.status for r in refused] == [503] * 3
    assert waiting.read_response().status == 503, "who waits for a message is told"
    waiting.close()
    assert "File too large" in gate.admin("/v1/ledger").json["reason"]
    ack = {"ids": [got[0]["id"]]}
    for path, body in (("/messages", {"body": "lost"}), ("/groups/g/pull", {}), ("/groups/g/ack", ack)):
        assert api.ask("POST", "/v1/topics/orders" + path, body).status == 503
    assert gate.get().status == 204
    assert gate.stop(20) == 0
    _, api = queue()
    assert api.bodies("orders") == ["kept"]
    group = api.topic("orders")["consumer_groups"][0]
    assert (group["pending"], group["acked"]) == (1, 0)
    assert api.good("POST", "/v1/topics/orders/groups/g/ack", ack)["acked"] == 1


def test_pushes_are_spread_over_the_workers(queue, shop):
    def connections():
        return [gate.metric("weir_worker_connections", worker=w) for w in "01"]

    server = shop()
    gate, api = queue("{a: {push: /a of shop}, b: {push: /b of shop}}", server.address)
    assert connections() == [0, 0]
    for topic in "ab":
        api.publish(topic, *[f"{topic}{i}" for i in range(20)])
    wait_until(lambda: len(server.done) == 40, 20, "all are delivered")
    assert all(connections()), "each worker has its own connections to the server, which it keeps"
    assert sorted(server.done) == sorted(f"{t}{i}" for t in "ab" for i in range(20))
    # one is stopped, and the other goes on
    gate.reload(gate.conf_path.read_text().replace("a: {push: /a of shop}, ", "a: keep 1d, "))
    api.publish("b", "more")
    wait_until(lambda: "more" in server.done, 20, "the other goes on")
    assert gate.metric("weir_topic_pushed_total", topic="b") == 21
    for topic in "ab":  # it ends in the middle of them
        api.publish(topic, *[f"{topic}{i}" for i in range(60)])


# ---- the order filter

BUY = """  - match: POST /buy/{item}
    order: {item: capture item, user: cookie uid, publish: orders}"""


def test_topics_are_there_when_the_api_is(queue):
    _, api = queue("{%s}" % ", ".join(f"t{i}: keep 1d" for i in range(60)))
    for i in reversed(range(60)):
        assert api.topic(f"t{i}")["published"] == 0


def test_an_order_is_published_in_the_step_that_holds_it(queue, shop):
    server = shop()
    gate, api = queue("{orders: {push: /orders of shop}}", server.address, BUY)
    api.good("PUT", "/v1/stock/radio", {"total": 2, "price": 5})
    statuses = []

    def buy(key):
        got = gate.request("POST", "/buy/radio", {"Cookie": "uid=ann", "Idempotency-Key": f'"{key}"'})
        statuses.append(got.status)

    for key in ("k1", "k1", "k2", "k3", "k2"):
        buy(key)
    assert statuses == [202, 202, 202, 409, 202]
    wait_until(lambda: len(server.done) == 2, 20, "both orders are delivered")
    messages = [json.loads(b) for b in server.done]
    assert sorted(m["order"] for m in messages) == ["k1", "k2"]
    assert messages[0]["user"] == "ann" and messages[0]["items"] == [{"item": "radio", "quantity": 1}]
    head = head_of(server.requests[0])
    assert head["ce-type"] == "weir.order" and head["ce-subject"] == messages[0]["order"]
    assert api.topic("orders")["published"] == 2


def test_publish_names_a_topic(tmp_path):
    conf = tmp_path / "weir.yaml"
    conf.write_text("listen: 127.0.0.1:1\n" + CONF.format(path=tmp_path, port=1, topics="{others: keep 1d}",
                                                          server="127.0.0.1:1", routes=BUY))
    (tmp_path / "tokens").write_text("shop:secret\n")
    found = program.run("check", "-c", conf)
    assert found.returncode == 1 and "is none of the ledger's topics" in found.stderr, found.stderr
