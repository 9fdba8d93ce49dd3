"""weir is killed again and again while all that the ledger has is in use: orders are reserved, released, paid for and
published, messages are published, pulled and acked, half ones committed, rolled back or forgotten by their publisher, locks
taken and counters counted. What was answered is there afterwards, once, and nothing else.

    WEIR_CRASH_KILLS=500 WEIR_CRASH_SEED=7      how often (20), and another seed of the moments
"""
import json
import os
import random
import threading
import time
from collections import Counter

from lib import stock_history
from lib.client import Client, Closed
from lib.ports import free_port
from lib.process import wait_until
from lib.resp import Error, Resp
from lib.servers import answer
from lib.stock_history import Op
from lib.weir import SANITIZED

KILLS = int(os.environ.get("WEIR_CRASH_KILLS", 6 if SANITIZED else 20))
SEED = int(os.environ.get("WEIR_CRASH_SEED", 20261201))
RADIOS = 15
TVS = 10 ** 6
PUBLISHERS = 2

CONF = """
workers: 2
ledger:
  path: {path}
  stock_file: {path}.csv
  checkpoint_interval: 30ms
  memory_bytes_max: 16m
  segment_bytes: 16m
  listen: 127.0.0.1:{resp}
  http: {{address: "127.0.0.1:{http}", token_file: {path}.tokens}}
  topics:
    orders: keep off
    jobs: {{keep: off, order_by_key: true, dead_letter: dead}}
    dead: keep off
    halves: {{keep: off, check: /check of shop, check_after: 1s, checks: 1000}}
routes:
  - match: POST /buy
    order: {{item: query item, quantity: query n, id: query id, user: query user, hold: 1h, publish: orders}}
  - {{match: POST /release, order: {{release: query id}}}}
  - {{match: POST /pay, order: {{confirm: query id}}}}
services:
  shop: {{servers: ["{shop}"]}}
"""


class Cut(Exception):
    """No answer came: it may have happened or not."""


class Asker:
    """A client with a connection of its own, and another one when that was cut."""

    def __init__(self, run, port):
        self.run, self.port, self.client = run, port, None

    def ask(self, method, path, body=None):
        try:
            if not self.client:
                self.client = Client(self.run.ports[self.port], timeout=30)
            head = {"Authorization": "Bearer secret", "Content-Type": "application/json"}
            got = self.client.request(method, path, head, None if body is None else json.dumps(body).encode())
        except (OSError, Closed):
            self.close()
            time.sleep(0.005)
            raise Cut() from None
        if got.status == 503:
            raise Cut()
        self.run.answers += 1
        return got

    def insist(self, method, path, body=None):
        """Until there is an answer: the same once more."""
        while True:
            try:
                return self.ask(method, path, body)
            except Cut:
                pass

    def close(self):
        if self.client:
            self.client.close()
        self.client = None


class Run:
    """The processes, one after the other, and who asks them."""

    def __init__(self, weir, path, shop):
        self.ports = {"http": free_port(), "resp": free_port()}
        self.gate = weir(CONF.format(path=path, shop=shop, **self.ports))
        self.ports["gate"] = self.gate.port
        self.problems, self.threads, self.answers = [], [], 0
        self.done = threading.Event()

    def kill(self, rng):
        """At any moment, and now and then the next process too, before it is ready."""
        wanted = self.answers + rng.randrange(60)
        wait_until(lambda: self.answers >= wanted or self.problems, 60, "there are answers")
        self.gate.kill()
        while rng.random() < 0.2:
            self.gate.again(ready=False)
            time.sleep(rng.random() * 0.1)
            self.gate.kill()
        self.gate.again()

    def spawn(self, part, *args):
        """part(*args) again and again."""
        def loop():
            try:
                while not self.done.is_set():
                    part(*args)
            except Exception as e:  # noqa: BLE001: a thread's failure is the test's
                self.problems.append(e)
        self.threads.append(threading.Thread(target=loop))

    def messages(self, topic):
        """All that there are."""
        asker, found, at = Asker(self, "http"), [], "0-0"
        while True:
            more = asker.insist("GET", f"/v1/topics/{topic}/messages?from={at}&count=1000").json["messages"]
            found += more
            if not more:
                asker.close()
                return found
            ms, _, seq = more[-1]["id"].partition("-")
            at = f"{ms}-{int(seq) + 1}"


class Sale:
    """A few radios, which many want; and televisions, which are paid for."""

    def __init__(self, run):
        self.run, self.ops, self.paid = run, [], 0
        for i in range(2):
            run.spawn(self.buy, Asker(run, "gate"), random.Random(SEED + i), f"r{i}", [], [0])
        run.spawn(self.pay, Asker(run, "gate"))

    def buy(self, asker, rng, name, mine, count):
        if mine and rng.random() < 0.5:
            op = Op("release", mine.pop(rng.randrange(len(mine))), 1, time.monotonic())
            got = asker.insist("POST", f"/release?id={op.order}")
            assert got.status == 200, got.text
            op.result = "released"
        else:
            count[0] += 1
            op = Op("reserve", f"{name}-{count[0]}", 1 + rng.randrange(3), time.monotonic())
            got = asker.insist("POST", f"/buy?item=radio&id={op.order}&n={op.quantity}&user=u")
            op.result = {202: "held", 409: "sold_out", 410: "sold_out"}[got.status]
            if op.result == "held":
                mine.append(op.order)
        op.end = time.monotonic()
        self.ops.append(op)

    def pay(self, asker):
        order = f"tv-{self.paid}"
        for _ in range(2):  # the same once more
            assert asker.insist("POST", f"/buy?item=tv&id={order}&n=2&user=u").status == 202
        for _ in range(2):
            got = asker.insist("POST", f"/pay?id={order}")
            assert (got.status, got.json["state"]) == (200, "paid"), got.text
        self.paid += 1

    def check(self):
        wrong = stock_history.check(self.ops, RADIOS)
        assert wrong is None, wrong
        released = {op.order for op in self.ops if op.kind == "release"}
        orders = [op for op in self.ops if op.result == "held"]
        held = sum(op.quantity for op in orders if op.order not in released)
        asker = Asker(self.run, "http")
        radio, tv = (asker.insist("GET", f"/v1/stock/{item}").json for item in ("radio", "tv"))
        asker.close()
        assert (radio["total"], radio["free"], radio["held"], radio["sold"]) == (RADIOS, RADIOS - held, held, 0)
        assert (tv["total"], tv["free"], tv["held"], tv["sold"]) == (TVS, TVS - 2 * self.paid, 0, 2 * self.paid)
        # each order was published with its items, once
        published = Counter(json.loads(m["body"])["order"] for m in self.run.messages("orders"))
        assert set(published) == {op.order for op in orders} | {f"tv-{i}" for i in range(self.paid)}
        assert set(published.values()) == {1}


class Jobs:
    """A topic that keeps the order of its keys; some messages are poison, and become dead letters."""

    def __init__(self, run):
        self.run = run
        self.published, self.acked, self.seen = set(), {}, {}
        self.maybe = set()  # whose ack was cut off
        asker = Asker(run, "http")
        group = {"lease": "300ms", "attempts": 3, "back_off": "1ms", "back_off_max": "5ms"}
        wait_until(lambda: asker.insist("PUT", "/v1/topics/jobs/groups/g", group).status == 200, 20, "the topic is there")
        for i in range(PUBLISHERS):
            run.spawn(self.publish, Asker(run, "http"), i, [0])
        run.spawn(self.consume, asker)

    def publish(self, asker, number, count):
        count[0] += 1
        key = f"{number}{'abcdefgh'[count[0] % 8]}"
        body = f"{key}.{count[0]}{'.poison' if count[0] % 16 == 0 else ''}"
        try:
            got = asker.ask("POST", "/v1/topics/jobs/messages", {"key": key, "body": body})
        except Cut:
            return
        assert got.status == 201, got.text
        self.published.add(body)

    def consume(self, asker):
        """True: there was something."""
        try:
            got = asker.ask("POST", "/v1/topics/jobs/groups/g/pull", {"count": 50, "wait": "50ms"})
        except Cut:
            return True
        assert got.status == 200, got.text
        messages = got.json["messages"]
        for m in messages:
            key, number, *_ = m["body"].split(".")
            assert m["id"] not in self.acked, f"{m['body']} comes again though its ack was answered"
            assert int(number) >= self.seen.get(key, 0), f"{m['body']} comes after {self.seen[key]} of its key"
            self.seen[key] = int(number)
        self.end(asker, "nack", [m for m in messages if m["body"].endswith("poison")])
        self.end(asker, "ack", [m for m in messages if not m["body"].endswith("poison")])
        return bool(messages)

    def end(self, asker, how, messages):
        if not messages:
            return
        bodies = {m["id"]: m["body"] for m in messages}
        try:
            done = asker.ask("POST", f"/v1/topics/jobs/groups/g/{how}", {"ids": list(bodies)})
        except Cut:
            self.maybe.update(bodies.values())
            return
        assert done.status == 200, done.text
        if how == "ack" and done.json["acked"] == len(bodies):
            self.acked.update(bodies)
        elif how == "ack":  # some were dead letters, or their ack that was cut off had been taken
            self.maybe.update(bodies.values())

    def check(self):
        """Whatever is left is had now."""
        asker = Asker(self.run, "http")
        end = time.monotonic() + 60
        while True:
            if self.consume(asker):
                end = time.monotonic() + 60
                continue
            g = asker.insist("GET", "/v1/topics/jobs").json["consumer_groups"][0]
            if not any(g[what] for what in ("lag", "pending", "waiting", "again")):
                break
            assert time.monotonic() < end, f"messages are left: {g}"
        asker.close()
        letters = self.run.messages("dead")
        dead = Counter(m["headers"]["weir-id"] for m in letters)
        assert not [i for i, n in dead.items() if n > 1], "a dead letter is there twice"
        assert not set(dead) & set(self.acked), "what was acked is a dead letter"
        assert len({m["body"] for m in self.run.messages("jobs")} & self.published) == len(self.published)
        lost = self.published - set(self.acked.values()) - {m["body"] for m in letters} - self.maybe
        assert not lost, f"{len(lost)} messages are lost: {sorted(lost)[:5]}"
        poison = {b for b in self.published if b.endswith("poison")}
        assert poison <= {m["body"] for m in letters}, "poison is no dead letter"


class Halves:
    """Some are committed, some rolled back; of some the publisher is asked, and says so then."""

    def __init__(self, run):
        self.run, self.count, self.kept = run, 0, []
        run.spawn(self.publish, Asker(run, "http"))

    @staticmethod
    def serve(peer):
        """The publisher's server, which is asked. What is to be rolled back begins with no."""
        while request := peer.read_request():
            no = request.partition(b"\r\n\r\n")[2].startswith(b"no")
            peer.send(answer(headers=[("Weir-Transaction", "rollback" if no else "commit")]))

    def publish(self, asker):
        self.count += 1
        body = f"{'yes' if self.count % 2 else 'no'}.{self.count}"
        try:
            got = asker.ask("POST", "/v1/topics/halves/messages", {"body": body, "half": True})
        except Cut:
            return
        assert got.status == 201, got.text
        self.kept.append(body)
        if self.count % 10 == 0:
            return  # forgotten
        end = "commit" if body.startswith("yes") else "rollback"
        got = asker.insist("POST", f"/v1/topics/halves/{end}", {"handle": got.json["messages"][0]["handle"]})
        assert got.status == 200, got.text

    def check(self):
        asker = Asker(self.run, "http")
        wait_until(lambda: asker.insist("GET", "/v1/topics/halves").json["kept_aside"] == 0, 60, "all halves are ended")
        asker.close()
        there = Counter(m["body"] for m in self.run.messages("halves"))
        assert not [b for b in there if b.startswith("no")], "what was rolled back is there"
        assert set(there.values()) <= {1}, "a half message was committed twice"
        assert {b for b in self.kept if b.startswith("yes")} <= set(there), "a half message is lost"


class Values:
    """By RESP: a lock whose tokens grow, a counter, and a value."""

    def __init__(self, run):
        self.run, self.lock, self.token, self.counted, self.asked = run, threading.Lock(), 0, 0, 0
        for i in range(2):
            run.spawn(self.connect, f"key{i}", [None, None])

    def connect(self, key, said):
        """said: what the key's value was set to last, and what it may have been set to since."""
        try:
            with Resp(self.run.ports["resp"]) as r:
                while not self.run.done.is_set():
                    self.once(r, key, said)
                    self.run.answers += 1
        except (OSError, AssertionError):  # the latter when the connection ends in a reply
            time.sleep(0.005)

    def once(self, r, key, said):
        value = r("GET", key)
        if value not in said:
            self.run.problems.append(Exception(f"{key} is {value}, it was set to {said}"))
        with self.lock:
            before, counted = self.token, self.counted
            self.asked += 1
            said[:] = [value, str(self.asked).encode()]
        token, number, done = r("LOCK.ACQUIRE", "lock", 50), r("INCR", "counter"), r("SET", key, said[1])
        if wrong := [reply for reply in (token, number, done) if isinstance(reply, Error)]:
            self.run.problems.append(Exception(f"LOCK, INCR, SET: {wrong}"))
            return
        with self.lock:
            if token is not None and token <= before or number <= counted:
                self.run.problems.append(Exception(f"token {token} after {before}, number {number} after {counted}"))
            self.token, self.counted = max(self.token, token or 0), max(self.counted, number)
            said[0] = said[1]

    def check(self):
        with Resp(self.run.ports["resp"]) as r:
            assert self.counted <= int(r("GET", "counter")) <= self.asked


def test_kills_while_everything_is_in_use(weir, scripted, tmp_path):
    rng = random.Random(SEED)
    path = tmp_path / "ledger"
    (tmp_path / "ledger.tokens").write_text("shop:secret\n")
    (tmp_path / "ledger.csv").write_text(f"radio,{RADIOS}\ntv,{TVS}\n")
    run = Run(weir, path, scripted(Halves.serve).address)
    asker = Asker(run, "http")
    wait_until(lambda: asker.insist("GET", "/v1/stock/radio").status == 200, 20, "the radios are there")
    asker.close()
    parts = [Sale(run), Jobs(run), Halves(run), Values(run)]
    for t in run.threads:
        t.start()
    try:
        for _ in range(KILLS):
            run.kill(rng)
    finally:
        run.done.set()
        for t in run.threads:
            t.join()
    assert not run.problems, f"seed {SEED}: {run.problems}"
    for part in parts:
        part.check()
    counts = (len(parts[0].ops), parts[0].paid, len(parts[1].acked), len(parts[2].kept), parts[3].counted)
    assert min(counts) > 0, f"nothing came of some: {counts}"
    print(f"{KILLS} kills, {run.answers} answers: {counts}")
