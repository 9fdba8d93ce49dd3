"""doc/topic.md, QUEUE.*: the topics that HTTP has, for clients of Redis; a publisher's own id; streams in MULTI are in resp_stream_test.py."""
import json
import threading

import pytest

from lib.client import Client
from lib.ports import free_port
from lib.process import wait_until
from lib.resp import Error, Resp

CONF = """
ledger:
  path: {path}/ledger
  listen: "127.0.0.1:{port}"
  http: {{address: "127.0.0.1:{http}", token_file: {path}/tokens}}
routes: [{{match: /*, respond: 204}}]
"""


class Http:
    def __init__(self, port):
        self.port = port

    def ask(self, method, path, body=None, **headers):
        headers = {"Authorization": "Bearer secret", **{k.replace("_", "-"): v for k, v in headers.items()}}
        with Client(self.port) as c:
            return c.request(method, "/v1/topics/" + path, headers, None if body is None else json.dumps(body).encode())

    def good(self, *args, **headers):
        got = self.ask(*args, **headers)
        assert got.status in (200, 201), got.text
        return got.json

    def publish(self, topic, body, **headers):
        return self.good("POST", f"{topic}/messages", body, **headers)["messages"]

    def pull(self, topic, group="g", **more):
        return self.good("POST", f"{topic}/groups/{group}/pull", {"count": 100, **more})["messages"]


@pytest.fixture
def queue(weir, tmp_path):
    """queue() -> (Weir, Resp of protocol 3, Http)"""
    opened = []

    def start(**options):
        port, http = free_port(), free_port()
        (tmp_path / "tokens").write_text("shop:secret\n")
        w = weir(CONF.format(path=tmp_path, port=port, http=http), **options)
        r = Resp(port)
        r("HELLO", 3)
        opened.append(r)
        r.port = port
        return w, r, Http(http)
    yield start
    for r in opened:
        r.close()


def bodies(messages):
    return [m[b"body"] for m in messages]


def ids(messages):
    return [m[b"id"] for m in messages]


def test_what_one_publishes_the_other_pulls(queue):
    w, r, http = queue()
    assert r("QUEUE.TOPIC", "orders", "KEEP", "1d", "DEAD_LETTER", "dead") == "+OK" and r("QUEUE.TOPIC", "dead") == "+OK"
    assert r("QUEUE.GROUP", "orders", "g", "LEASE", "1h", "ATTEMPTS", 2, "BACK_OFF", "1ms") == "+OK"
    first = r("QUEUE.PUBLISH", "orders", "one", "KEY", "ann", "HEADER", "colour", "red")
    second = http.publish("orders", {"body": "two", "key": "bob", "headers": {"colour": "blue"}})[0]["id"].encode()
    got = r("QUEUE.PULL", "orders", "g", "c", "COUNT", 10)
    assert ids(got) == [first, second] and all(m.pop(b"published_ms") > 0 for m in got)
    assert got == [
        {b"id": first, b"key": b"ann", b"attempts": 1, b"priority": 0, b"headers": {b"colour": b"red"}, b"body": b"one"},
        {b"id": second, b"key": b"bob", b"attempts": 1, b"priority": 0, b"headers": {b"colour": b"blue"}, b"body": b"two"}]
    assert r("QUEUE.PULL", "orders", "g", "c") == []
    # what one has pulled the other ends, and the other way round
    assert http.good("POST", "orders/groups/g/nack", {"ids": [first.decode()], "delay": "0ms"})["nacked"] == 1
    assert [(m["body"], m["attempts"]) for m in http.pull("orders")] == [("one", 2)]
    assert r("QUEUE.ACK", "orders", "g", second) == 1 and r("QUEUE.ACK", "orders", "g", second) == 0
    assert r("QUEUE.NACK", "orders", "g", "DELAY", 0, first) == 1  # its second attempt
    dead = r("QUEUE.DEAD", "orders")
    assert bodies(dead) == [b"one"] and dead[0][b"headers"][b"weir-id"] == first and dead[0][b"key"] == b"ann"
    assert r("QUEUE.DEAD", "orders", "GROUP", "g", "COUNT", 5) == dead and r("QUEUE.DEAD", "orders", "FROM", "99999999999999") == []
    info, shown = r("QUEUE.INFO", "orders"), http.good("GET", "orders")
    assert info[b"messages"] == shown["messages"] == 2 and info[b"keep_ms"] == shown["keep_ms"] == 86400000
    assert info[b"duplicate_window_ms"] == shown["duplicate_window_ms"] == 120000
    group = r("QUEUE.INFO", "orders", "g")
    assert info[b"consumer_groups"] == [group] and {k.decode(): v for k, v in group.items() if k not in (b"group", b"last_id", b"dead_letter")} == {
        k: v for k, v in shown["consumer_groups"][0].items() if k not in ("group", "last_id", "dead_letter")}
    assert sorted(t[b"topic"] for t in r("QUEUE.INFO")) == [b"dead", b"orders"]
    assert r("QUEUE.REPLAY", "orders", "g", "begin") == "+OK" and bodies(r("QUEUE.PULL", "orders", "g", "c", "COUNT", 5)) == [b"one", b"two"]
    # a lease is lengthened: then it is a client of Redis that sees whose it is
    assert r("QUEUE.EXTEND", "orders", "g", "c", 1, first) == 1 and r("QUEUE.EXTEND", "orders", "g", "other", 1, first, second) == 0
    again = r("QUEUE.PULL", "orders", "g", "d", "BLOCK", 20000)
    assert ids(again) == [first] and again[0][b"attempts"] == 2
    assert http.good("POST", "orders/groups/g/extend", {"ids": [second.decode()], "lease": "1ms", "consumer": "c"})["extended"] == 1
    assert ids(r("QUEUE.PULL", "orders", "g", "d", "BLOCK", 20000)) == [second]
    # to Redis' own commands it is a stream
    assert r("XLEN", "orders") == 2 and r("XACK", "orders", "g", second) == 1 and r("TYPE", "orders") == "+stream"
    assert r("QUEUE.DROP", "orders", "g") == 1 and r("QUEUE.DROP", "orders", "g") == 0 and r("QUEUE.DROP", "orders") == 1
    assert http.ask("GET", "orders").status == 404


def test_two_phases_delays_and_what_is_refused(queue):
    w, r, http = queue()
    r("QUEUE.TOPIC", "t"), r("QUEUE.GROUP", "t", "g")
    half, other = r("QUEUE.PREPARE", "t", "half", "ID", "p-1"), r("QUEUE.PREPARE", "t", "other")
    assert r("QUEUE.PREPARE", "t", "half", "ID", "p-1") == half and isinstance(half, int) and other != half
    assert r("QUEUE.PULL", "t", "g", "c") == []
    id_ = r("QUEUE.COMMIT", "t", half)
    assert r("QUEUE.COMMIT", "t", half) == id_ and r("QUEUE.ROLLBACK", "t", other) == "+OK"
    assert r("QUEUE.COMMIT", "t", other).startswith("ENDED ") and r("QUEUE.ROLLBACK", "t", 99).startswith("UNKNOWN_HANDLE ")
    assert http.good("POST", "t/commit", {"handle": half})["id"].encode() == id_
    assert bodies(r("QUEUE.PULL", "t", "g", "c", "COUNT", 5)) == [b"half"]
    assert isinstance(r("QUEUE.PUBLISH", "t", "later", "DELAY", 5), int)
    assert bodies(r("QUEUE.PULL", "t", "g", "c", "BLOCK", 20000)) == [b"later"]
    for command, wrong in ((("PUBLISH", "none", "b"), "UNKNOWN_TOPIC there is no such topic"), (("PULL", "t", "none", "c"), "UNKNOWN_GROUP "),
                           (("PULL", "none", "g", "c", "BLOCK", 0), "UNKNOWN_TOPIC "), (("PUBLISH", "t", "b", "PRIORITY", 10), "ERR priority: "),
                           (("PUBLISH", "t", "b", "FOO", 1), "ERR syntax"), (("PREPARE", "t", "b", "DELAY", 5), "ERR half: "),
                           (("ACK", "t", "g", "x"), "ERR Invalid stream ID"), (("COMMIT", "t", "x"), "ERR a handle"), (("GROUP", "t", "g", "FROM", "x"), "ERR from"),
                           (("TOPIC", "t", "KEEP", "1ms"), "ERR "), (("TOPIC", "t", "FOO", "1"), "ERR FOO is no setting of a topic"),
                           (("DEAD", "t"), "NO_DEAD_LETTER "), (("DEAD", "none"), "UNKNOWN_TOPIC "), (("INFO", "none"), "UNKNOWN_TOPIC "),
                           (("INFO", "t", "none"), "UNKNOWN_GROUP "), (("PULL", "t", "g", "c", "COUNT", 0), "ERR COUNT"), (("DROP", "none"), "UNKNOWN_TOPIC "),
                           (("NACK", "t", "g", "DELAY", -1, "1-1"), "ERR value"), (("PULL", "t"), "ERR wrong number"), (("DROP", "t", "g", "x"), "ERR wrong number")):
        got = r("QUEUE." + command[0], *command[1:])
        assert isinstance(got, Error) and got.startswith(wrong), (command, got)
    r("QUEUE.TOPIC", "ordered", "ORDER_BY_KEY", "on")
    assert r("QUEUE.PUBLISH", "ordered", "b", "PRIORITY", 1).startswith("NO_PRIORITY ")
    assert r("COMMAND", "INFO", "QUEUE.PULL")[0][:2] == [b"queue.pull", -4]
    docs = r("COMMAND", "DOCS")
    ours = {c[0] for c in r("COMMAND") if b"." in c[0]}
    assert set(docs) == ours and docs[b"queue.ack"][b"group"] == b"queue"
    assert list(r("COMMAND", "DOCS", "queue.pull", "GET")) == [b"queue.pull"]


def test_in_a_transaction_and_in_a_pipeline(queue):
    _, r, _ = queue()
    r("QUEUE.TOPIC", "in"), r("QUEUE.TOPIC", "out"), r("QUEUE.GROUP", "in", "g", "LEASE", "1h")
    a, b = r.pipeline([("QUEUE.PUBLISH", "in", "a"), ("QUEUE.PUBLISH", "in", "b")])
    assert r.pipeline([("SET", "in2", "x"), ("QUEUE.PULL", "in", "g", "c"), ("GET", "in2")])[1][0][b"id"] == a
    # taken, worked on, and handed on: in one step
    got = r.pipeline([("MULTI",), ("QUEUE.ACK", "in", "g", a), ("QUEUE.PUBLISH", "out", "A", "ID", "x"), ("INCR", "done"), ("QUEUE.PUBLISH", "none", "A"),
                      ("QUEUE.PULL", "in", "g", "c", "BLOCK", 0), ("QUEUE.PULL", "in", "g", "c", "BLOCK", 0), ("QUEUE.PREPARE", "out", "h"), ("EXEC",)])
    assert got[1:-1] == ["+QUEUED"] * 7
    acked, out, done, refused, pulled, none, handle = got[-1]
    assert (acked, done, bodies(pulled), none) == (1, 1, [b"b"], []) and refused.startswith("UNKNOWN_TOPIC") and handle == 1
    assert r("QUEUE.PUBLISH", "out", "A", "ID", "x") == out and r("XLEN", "out") == 1
    assert r.pipeline([("MULTI",), ("QUEUE.INFO", "in"), ("EXEC",)])[1].startswith("ERR 'QUEUE.INFO' cannot be part")


def test_who_waits_is_woken_in_order(queue):
    w, r, http = queue()
    r("QUEUE.TOPIC", "t"), r("QUEUE.GROUP", "t", "g", "LEASE", "1h")
    line = []
    for i in range(6):
        waiter = Resp(r.port)
        waiter.socket.sendall(waiter.pack(*(("QUEUE.PULL", "t", "g", f"c{i}", "BLOCK", 0) if i % 2 else
                                            ("XREADGROUP", "GROUP", "g", f"c{i}", "COUNT", 1, "BLOCK", 0, "STREAMS", "t", ">"))))
        line.append(waiter)
        wait_until(lambda: w.metric("weir_resp_blocked") == i + 1, 20, "it waits")
    sent = [http.publish("t", {"body": str(i)})[0]["id"].encode() if i % 2 else r("QUEUE.PUBLISH", "t", i) for i in range(6)]
    for i, waiter in enumerate(line):
        got = waiter.reply()
        assert (got[0][1] if i % 2 else got[0][1][0][0]) == sent[i]  # in RESP2 a map is a list: "id" comes first
        waiter.close()
    assert r("QUEUE.PULL", "t", "g", "c", "BLOCK", 10) == []


def test_an_own_id_is_published_once(queue):
    """Over both ways in, a kill, a clean stop (with its checkpoint), and many at a time."""
    w, r, http = queue()
    r("QUEUE.TOPIC", "t", "DUPLICATE_WINDOW", "1h")
    first = r("QUEUE.PUBLISH", "t", "one", "ID", "k1")
    said = http.publish("t", {"body": "one"}, Idempotency_Key='"k1"')
    assert said == [{"id": first.decode(), "duplicate": True}]
    assert http.publish("t", {"body": "one", "idempotency_key": "k1"})[0]["id"].encode() == first
    two = http.publish("t", {"messages": [{"body": "a"}, {"body": "b", "idempotency_key": "own"}]}, Idempotency_Key="list")
    assert http.publish("t", {"messages": [{"body": "a"}, {"body": "b"}]}, Idempotency_Key="list")[0] == {**two[0], "duplicate": True}
    assert r("QUEUE.PUBLISH", "t", "b", "ID", "own").decode() == two[1]["id"] and r("QUEUE.PUBLISH", "t", "b", "ID", "list/2").decode() != two[1]["id"]
    half = http.publish("t", {"body": "half", "half": True}, Idempotency_Key="half")[0]["handle"]
    assert http.ask("POST", "t/messages", {"body": "x"}, Idempotency_Key="k" * 129).status == 400
    assert http.ask("POST", "t/messages", {"body": "x", "idempotency_key": 7}).status == 400
    # many publishers with the same ids at a time
    answers = []

    def publisher():
        with Resp(r.port) as p:
            answers.append(p.pipeline([("QUEUE.PUBLISH", "t", "m", "ID", f"m{i}") for i in range(50)]))
    threads = [threading.Thread(target=publisher) for _ in range(4)]
    [t.start() for t in threads], [t.join() for t in threads]
    assert len(answers) == 4 and all(a == answers[0] for a in answers) and len(set(answers[0])) == 50
    count = r("XLEN", "t")
    assert count == 54
    w.kill()
    w, r, http = queue()
    assert r("QUEUE.PUBLISH", "t", "one", "ID", "k1") == first and r("XLEN", "t") == count
    assert http.publish("t", {"body": "half", "half": True}, Idempotency_Key="half") == [{"handle": half, "duplicate": True}]
    w.stop()
    w, r, http = queue()
    assert r.pipeline([("QUEUE.PUBLISH", "t", "m", "ID", f"m{i}") for i in range(50)]) == answers[0] and r("XLEN", "t") == count
    assert r("QUEUE.COMMIT", "t", half) and r("QUEUE.PREPARE", "t", "half", "ID", "half") == half and r("XLEN", "t") == count + 1
    # a window that is over
    r("QUEUE.TOPIC", "t", "DUPLICATE_WINDOW", "100ms")
    late = r("QUEUE.PUBLISH", "t", "late", "ID", "late")
    wait_until(lambda: r("QUEUE.PUBLISH", "t", "late", "ID", "late") != late, 20, "it is forgotten")


def test_redis_py(queue, each_loop):
    """execute_command, and what was published is there after a kill."""
    module = pytest.importorskip("redis")
    w, r, http = queue()
    client = module.Redis(port=r.port, socket_timeout=20)
    do = client.execute_command
    assert do("QUEUE.TOPIC", "t", "KEEP", "1d") == b"OK" and do("QUEUE.GROUP", "t", "g", "LEASE", "1h") == b"OK"
    sent = [do("QUEUE.PUBLISH", "t", f"m{i}", "KEY", "k", "PRIORITY", i % 2) for i in range(20)]
    got = do("QUEUE.PULL", "t", "g", "c", "COUNT", 5)
    assert [dict(zip(m[::2], m[1::2]))[b"id"] for m in got] == sent[1:10:2]
    assert do("QUEUE.ACK", "t", "g", *sent[1:7:2]) == 3
    with pytest.raises(module.ResponseError, match="UNKNOWN_TOPIC"):
        do("QUEUE.PUBLISH", "none", "x")
    with client.pipeline(transaction=True) as p:
        p.execute_command("QUEUE.ACK", "t", "g", sent[7])
        p.execute_command("QUEUE.PUBLISH", "t", "next")
        p.xadd("s", {"f": 1})
        assert p.execute()[0] == 1
    client.close()
    w.kill()
    w, r, http = queue()
    assert r("XLEN", "t") == 21 and r("XLEN", "s") == 1 and r("XPENDING", "t", "g")[0] == 1
    rest = ids(r("QUEUE.PULL", "t", "g", "c", "COUNT", 100))
    assert rest[:5] == sent[11:20:2] and rest[5:15] == sent[0:20:2] and len(rest) == 16


def test_a_client_of_the_old_process_is_sent_to_the_new_one(queue):
    """Once the next process has the ledger: no error that its client would take for an answer; what stood before it is answered."""
    w, r, http = queue()
    r("QUEUE.TOPIC", "t"), r("SET", "k", 1)
    clients = [Resp(r.port) for _ in range(4)]
    assert [c("PING") for c in clients] == ["+PONG"] * 4
    w.upgrade()
    wait_until(lambda: w.log().count("ledger: open path=") == 2, 20, "the next process has the ledger")
    commands = [[("INCR", "k")], [("QUEUE.PUBLISH", "t", "m")], [("XLEN", "t"), ("PING",)], [("MULTI",), ("INCR", "k"), ("EXEC",)]]
    for client, sent in zip(clients, commands):
        client.socket.sendall(b"".join(client.pack(*c) for c in sent))
        assert client.file.read() in (b"", b"+OK\r\n+QUEUED\r\n"), sent
        client.close()
    with Resp(r.port) as new:
        assert new("INCR", "k") == 2 and new("XLEN", "t") == 0
