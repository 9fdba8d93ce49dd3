"""Binary upgrades: the next process takes over under load and nobody notices; one that cannot leaves all as it was."""
import json
import os
import re
import shutil
import signal
import socket
import threading
from collections import Counter

import pytest

from lib.client import Client, Closed
from lib.conf import one_service
from lib.load import Load, Tokens
from lib.ports import free_port
from lib.process import wait_until
from lib.servers import answer
from lib.streams import connect, receive_exactly


def fresh(gate, more):
    """So many requests, each on a connection of its own; all must be answered."""
    for _ in range(more):
        assert gate.get().status == 200


class Fresh(Load):
    """Each request on a new connection: what stands in an accept queue counts."""

    def _ask(self, client):
        return client.get(self.path, {"Connection": "close"})


@pytest.mark.usefixtures("each_loop")
def test_under_load_no_request_fails(weir, origin, upstream):
    servers = [origin(), origin()]
    gate = weir(one_service(*servers, service=f"upstream: {upstream}"))
    with Tokens(gate.port, connections=3) as kept, Fresh(gate.port, connections=2) as new:
        for _ in range(3):
            kept.wait_done(100)
            new.wait_done(50)
            gate.upgrade()
        kept.wait_done(100)
        new.wait_done(50)
        kept.assert_clean(400)
        new.assert_clean(200)
    assert gate.metric("weir_http_failures_total", service="shop") == 0
    wait_until(lambda: gate.predecessors() == 0, 20, "those before have ended")


def test_long_connections_stay_with_the_old_process(weir, scripted):
    def serve(peer):
        peer.read_until(b"\r\n\r\n")
        peer.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        while True:
            peer.send(peer.read_exactly(4))

    gate = weir(one_service(scripted(serve)))
    with gate.connect() as client:
        client.send_request("GET", "/", {"Connection": "Upgrade", "Upgrade": "echo"})
        assert client.read_response().status == 101
        for word in (b"one.", b"two."):
            gate.upgrade()
            client.send(word)
            assert client.read_exactly(4) == word
        wait_until(lambda: gate.predecessors() == 1, 20, "the middle one had no client")
    wait_until(lambda: gate.predecessors() == 0, 20, "it ends with its last connection")


def test_they_are_cut_in_the_end(weir, origin):
    gate = weir(one_service(origin(), root="upgrade: {drain_timeout: 500ms}"))
    with gate.connect() as client:
        client.send_request("GET", "/hang")
        wait_until(lambda: gate.metric("weir_upstream_requests_total") == 1)
        gate.upgrade()
        wait_until(lambda: gate.predecessors() == 0, 20, "drain_timeout ends it")
        assert client.read_all() == b""
    assert "1 connections are cut" in gate.log()


def test_state_survives(weir, scripted, each_loop):
    """Who has used up a limit has used it up; an open breaker is open; a server that is ejected rests on."""
    good, bad, broken = scripted(answer()), scripted(answer(status="500 Bad")), free_port()
    gate = weir(f'''
        workers: 1
        routes:
          - {{match: /limited, service: good, rate_limit: 2/h per ip}}
          - {{match: /breaking, service: bad, circuit_breaker: {{errors: 50%, window: 1h, requests_min: 2, open: 1h}}}}
          - {{match: /*, service: half}}
        services:
          good: {{servers: ["{good.address}"]}}
          bad: {{servers: ["{bad.address}"]}}
          half: {{servers: ["127.0.0.1:{broken}"]}}
    ''')
    statuses = [gate.get("/limited").status for _ in range(3)]
    assert statuses == [200, 200, 429]
    statuses = [gate.get("/breaking").status for _ in range(4)]
    assert statuses[0] == 500 and statuses[-1] == 503
    for _ in range(4):
        gate.get("/")
    asked = len(bad.requests)
    for _ in range(2):
        gate.upgrade()
        assert gate.get("/limited").status == 429
        assert gate.get("/breaking").status == 503
        wait_until(lambda: gate.predecessors() == 0, 20, "the one before has ended")
    assert len(bad.requests) == asked
    (server,) = next(s for s in gate.admin("/v1/services").json["services"] if s["name"] == "half")["servers"]
    assert server["failures_in_a_row"] >= 3 and server["ejections"] >= 1
    gate.reload(done="reloaded generation=")
    assert gate.get("/limited").status == 429 and gate.get("/breaking").status == 503


def test_a_server_that_is_down_stays_down(weir, scripted):
    """No request goes to it in the moment between the checks of the old process and those of the new one."""
    good, bad = scripted(answer("good")), scripted(answer(status="503 Down"))
    gate = weir(one_service(good, bad, service="health_check: {path: /healthz, interval: 500ms, unhealthy_after: 1}"))

    def health():
        return [s["health"] for s in gate.admin("/v1/services").json["services"][0]["servers"]]

    wait_until(lambda: health() == ["up", "down"], 20, "one is down")
    for _ in range(3):
        gate.upgrade()
        assert [gate.get().text for _ in range(20)] == ["good"] * 20
        wait_until(lambda: gate.predecessors() == 0, 20, "the one before has ended")
        assert [gate.get().text for _ in range(20)] == ["good"] * 20


def refused(gate, says):
    before = gate.pid
    gate.upgrade(done="refused, going on as before")
    assert gate.pid == before and says in gate.log(), gate.log()
    assert gate.get().status == 200
    assert gate.admin("/metrics").status == 200


def test_a_configuration_that_the_new_one_refuses(weir, scripted, load):
    conf = one_service(scripted(answer()))
    gate = weir(conf)
    running = load(gate.port, connections=2)
    gate.write_conf(conf.replace("service: shop", "service: shp"))
    refused(gate, 'no "shp"')
    gate.write_conf(conf + "access_log: /nonexistent/folder/x.log\n")
    refused(gate, "/nonexistent/folder/x.log")
    gate.write_conf(conf)
    gate.upgrade()
    running.assert_clean(10)
    assert running.reopened == 0


def test_a_binary_that_does_not_start(weir, scripted, tmp_path, monkeypatch):
    from lib import weir as weir_module

    binary = tmp_path / "weir-binary"
    shutil.copy(weir_module.BINARY, binary)
    monkeypatch.setattr(weir_module, "BINARY", binary)
    gate = weir(one_service(scripted(answer()), root="upgrade: {start_timeout: 1s}"))

    def install(script):
        new = tmp_path / "new"
        new.write_text(script)
        new.chmod(0o755)
        new.rename(binary)

    install("#!/bin/sh\nexit 3\n")
    refused(gate, "ended before it was ready")
    install("#!/bin/sh\nexec sleep 100\n")
    refused(gate, "was not ready in time")
    binary.unlink()
    refused(gate, "cannot start")
    new = tmp_path / "again"
    shutil.copy(weir_module.BUILD / "weir", new)
    new.rename(binary)
    gate.upgrade()
    fresh(gate, 5)


def test_listeners_and_admin_that_change_with_it(weir, scripted):
    conf = one_service(scripted(answer()))
    gate = weir(conf)
    old_admin, gate.admin_port, more = gate.admin_port, free_port(), free_port()
    with Client(old_admin) as admin:
        assert admin.get("/metrics").status == 200
        gate.write_conf(f'listen: ["127.0.0.1:{gate.port}", "127.0.0.1:{more}"]\n'
                        f"admin: 127.0.0.1:{gate.admin_port}\nworkers: 3\n" + conf)
        gate.upgrade()
    wait_until(lambda: gate.predecessors() == 0, 20, "the one before has ended")
    with pytest.raises(ConnectionRefusedError):
        Client(old_admin)
    fresh(gate, 20)
    with Client(more) as client:
        assert client.get().status == 200
    gate.write_conf("workers: 1\n" + conf)  # fewer workers than sockets: each of them is still served
    gate.upgrade()
    wait_until(lambda: gate.predecessors() == 0, 20, "the one before has ended")
    fresh(gate, 20)
    with pytest.raises(ConnectionRefusedError):
        Client(more)


def test_unix_sockets_stay(weir, scripted, tmp_path):
    path = str(tmp_path / "in.sock")
    gate = weir(one_service(scripted(answer()), root=f'listen: ["unix:{path}"]'))
    for _ in range(2):
        gate.upgrade()
        wait_until(lambda: gate.predecessors() == 0, 20, "the one before has ended")
        with Client(path) as client:
            assert client.get().status == 200


@pytest.mark.usefixtures("each_loop")
def test_a_tcp_service(weir, tcp_server):
    port = free_port()

    def serve(connection, server):
        while data := connection.recv(100):
            connection.sendall(data)

    gate = weir(f'''
        listen: [{{address: "127.0.0.1:{port}", tcp: db}}]
        services: {{db: {{servers: ["{tcp_server(serve).address}"]}}}}
    ''')
    with connect(port) as old:
        old.sendall(b"one")
        assert receive_exactly(old, 3) == b"one"
        for _ in range(2):
            gate.upgrade()
            for client in (old, connect(port)):
                client.sendall(b"two")
                assert receive_exactly(client, 3) == b"two"
                if client is not old:
                    client.close()
        assert gate.predecessors() >= 1
    wait_until(lambda: gate.predecessors() == 0, 20, "they end with their connections")


def test_systemd_and_the_pid_file_follow(weir, scripted, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        gate = weir(one_service(scripted(answer()), root=f"pid_file: {tmp_path}/pid"),
                    env={"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert manager.recv(1000).decode() == f"READY=1\nMAINPID={gate.pid}"
        assert (tmp_path / "pid").read_text() == f"{gate.pid}\n"
        gate.reload(done="reloaded generation=")
        assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", manager.recv(1000).decode())
        assert manager.recv(1000) == b"READY=1"
        gate.upgrade()
        said = {manager.recv(1000).decode() for _ in range(2)}
        assert said == {f"READY=1\nMAINPID={gate.pid}", f"MAINPID={gate.pid}"}
        wait_until(lambda: gate.predecessors() == 0, 20, "the one before has ended")
        assert (tmp_path / "pid").read_text() == f"{gate.pid}\n"
        gate.signal(signal.SIGTERM)
        assert manager.recv(1000) == b"STOPPING=1"
        assert gate.wait() == 0
        assert not (tmp_path / "pid").exists()


def test_descriptors_do_not_grow(weir, scripted):
    gate = weir(one_service(scripted(answer())))
    counts = []
    for _ in range(5):
        gate.upgrade()
        fresh(gate, 2)
        wait_until(lambda: gate.predecessors() == 0, 20, "the one before has ended")
        wait_until(lambda: gate.log().count("a process before this one has ended") == len(gate.successors))
        counts.append(len(os.listdir(f"/proc/{gate.pid}/fd")))
    assert max(counts[1:]) <= counts[0] + 4, counts


LEDGER = """
workers: 2
ledger:
  path: {path}
  stock_file: {path}.csv
  http: {{address: "127.0.0.1:{http}", token_file: {path}.tokens}}
  topics: {{orders: keep off}}
routes:
  - match: POST /buy
    session: on
    order: {{item: query item, id: query id, hold: 1h, publish: orders}}
  - {{match: /*, respond: 204}}
"""


class Buyer:
    """Orders one after the other; an order that was refused, or got no answer, is sent once more, with its id."""

    def __init__(self, gate, number, pause_s):
        self.gate, self.number, self.pause_s = gate, number, pause_s
        self.acked, self.refused, self.wrong, self.done, self.cookie = [], [], [], threading.Event(), None
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def ask(self, order):
        """The answer, however often the connection has to be opened."""
        while True:
            try:
                if not self.client:
                    self.client = Client(self.gate.port, timeout=30)
                got = self.client.request("POST", f"/buy?item=radio&id={order}", {"Cookie": self.cookie} if self.cookie else {})
                if not got.keep_alive:
                    self.client.close()
                    self.client = None
                return got
            except (OSError, Closed):
                self.client = None

    def run(self):
        self.client = None
        try:
            while not self.done.wait(self.pause_s):
                order = f"{self.number}-{len(self.acked)}"
                while (got := self.ask(order)).status == 503:
                    self.refused.append((got.get("retry-after"), got.keep_alive))
                assert got.status == 202, got.text
                assert (got.get("set-cookie") is None) == bool(self.cookie), "its session is there, whichever process is asked"
                self.cookie = self.cookie or got.get("set-cookie").partition(";")[0]
                self.acked.append(order)
        except Exception as e:  # noqa: BLE001: the test's
            self.wrong.append(e)

    def stop(self):
        self.done.set()
        self.thread.join(60)


def test_orders_under_load_are_there_once(weir, tmp_path):
    """Some buyers never pause, some rest longer than the old process keeps the ledger: it passes their orders on to the next one.
    Nobody is refused, loses an order or buys twice."""
    (tmp_path / "ledger.tokens").write_text("shop:secret\n")
    (tmp_path / "ledger.csv").write_text("radio,1000000\n")
    http = free_port()
    gate = weir(LEDGER.format(path=tmp_path / "ledger", http=http))
    buyers = [Buyer(gate, n, 0 if n < 4 else 0.3) for n in range(8)]
    try:
        for n in range(2):
            wanted = sum(len(b.acked) for b in buyers) + 200
            wait_until(lambda: sum(len(b.acked) for b in buyers) >= wanted, 30, "orders are taken")
            gate.upgrade()
            wait_until(lambda: gate.log().count("ledger: open path=") == n + 2, 20, "the next process has the ledger")
        before = [len(b.acked) for b in buyers]
        wait_until(lambda: all(len(b.acked) > at for b, at in zip(buyers, before)), 30, "each has bought from the last one")
    finally:
        for b in buyers:
            b.stop()
    assert not [b.wrong for b in buyers if b.wrong]
    assert not [r for b in buyers for r in b.refused]
    acked = Counter(order for b in buyers for order in b.acked)
    auth = {"Authorization": "Bearer secret"}
    with Client(http) as c:
        published, at = Counter(), "0-0"
        while messages := c.get(f"/v1/topics/orders/messages?from={at}&count=1000", auth).json["messages"]:
            published.update(json.loads(m["body"])["order"] for m in messages)
            ms, _, seq = messages[-1]["id"].partition("-")
            at = f"{ms}-{int(seq) + 1}"
        assert c.get("/v1/stock/radio", auth).json["held"] == len(acked)
    assert published == acked and set(acked.values()) == {1}


def test_the_ledgers_own_clients_come_again(weir, tmp_path):
    """Their connections are closed while they rest, and who waits for messages has waited in vain: nobody is refused."""
    (tmp_path / "ledger.tokens").write_text("shop:secret\n")
    (tmp_path / "ledger.csv").write_text("radio,10\n")
    http = free_port()
    gate = weir(LEDGER.format(path=tmp_path / "ledger", http=http))
    auth = {"Authorization": "Bearer secret"}
    with Client(http) as resting, Client(http) as waiting, Client(gate.port) as shopper:
        assert shopper.get("/").status == 204  # and keeps its connection: the old process stays a while
        wait_until(lambda: waiting.request("PUT", "/v1/topics/orders/groups/g", auth, b"{}").status == 200, 20, "there is a group")
        assert resting.get("/v1/stock/radio", auth).json["free"] == 10
        waiting.send_request("POST", "/v1/topics/orders/groups/g/pull", auth, b'{"wait": "30s"}')
        gate.upgrade()
        got = waiting.read_response()
        assert (got.status, got.json["messages"], got.keep_alive) == (200, [], False)
        wait_until(lambda: gate.log().count("ledger: open path=") == 2, 20, "the next process has the ledger")
        with pytest.raises(Closed) as closed:
            resting.get("/v1/stock/radio", auth)
        assert closed.value.got == b""
    with Client(http) as again:
        assert again.get("/v1/stock/radio", auth).json["free"] == 10


def test_what_the_old_process_remembers_is_not_believed(weir, tmp_path):
    """It has seen the last one go; more have come since, in the next process."""
    (tmp_path / "ledger.tokens").write_text("shop:secret\n")
    (tmp_path / "ledger.csv").write_text("radio,1\n")
    http = free_port()
    gate = weir(LEDGER.format(path=tmp_path / "ledger", http=http))
    with Client(gate.port) as resting:
        wait_until(lambda: resting.request("POST", "/buy?item=radio").status == 202, 20, "there is a radio")
        assert resting.request("POST", "/buy?item=radio").status == 409
        gate.upgrade()
        wait_until(lambda: gate.log().count("ledger: open path=") == 2, 20, "the next process has the ledger")
        with Client(http) as api:
            assert api.request("POST", "/v1/stock/radio/add", {"Authorization": "Bearer secret"}, b'{"add": 1}').status == 200
        try:
            assert resting.request("POST", "/buy?item=radio").status == 202
        except Closed as closed:  # a busy machine: it has rested too long by now
            assert closed.got == b""
