"""doc/session.md, against the running program, with servers that keep nothing themselves."""
import re
import socket
import threading

import pytest

from lib.ports import free_port
from lib.process import wait_until
from lib.servers import answer


def shop(peer):
    """/set?a=b sets that value, /remove?a, /end and /new do what they say; every answer tells what it was asked with."""
    while request := peer.read_request():
        word, _, query = request.split(b" ", 2)[1].decode().strip("/").partition("?")
        name = {"set": "Set", "remove": "Remove", "end": "End", "new": "New-Id"}.get(word)
        fields = [(f"X-Session-{name}", part) for part in (query or "1").split("&")] if name else []
        told = re.findall(rb"(?im)^x[-_]session[-_].*", request)
        peer.send(answer(b"\n".join(told).replace(b"\r", b""), headers=[*fields, ("X-Port", peer.socket.getsockname()[1])]))


class Browser:
    """Keeps the one cookie; a connection, and so a worker, of its own for every request."""

    def __init__(self, gate):
        self.gate, self.cookie = gate, None

    def get(self, path="/", headers=()):
        sent = dict(headers)
        if self.cookie:
            sent["Cookie"] = self.cookie
        response = self.gate.get(path, sent)
        for text in response.all("set-cookie"):
            self.cookie = text.partition(";")[0]
        return response

    def told(self, name, path="/", headers=()):
        """What the server was told of it; None: nothing."""
        found = re.search(rf"(?im)^x-session-{name}: (.*)$", self.get(path, headers).text)
        return found and found[1]


@pytest.fixture
def sessions(weir, scripted, tmp_path):
    def start(settings="on", servers=1, balance="round_robin", more="", ledger=""):
        start.servers = [scripted(shop) for _ in range(servers)]
        addresses = ", ".join(f'"{s.address}"' for s in start.servers)
        start.conf = f"""
            ledger: {{path: {tmp_path}/ledger{ledger}}}
            {more}
            routes: [{{match: /*, service: shop, session: {settings}}}]
            services: {{shop: {{balance: {balance}, servers: [{addresses}]}}}}
        """
        return weir(start.conf)
    return start


def test_a_session_over_reload_and_restart(sessions, weir, each_loop):
    gate = sessions("{pass: [user, cart], user: user}")
    ann, bob = Browser(gate), Browser(gate)
    first = ann.told("id", "/set?user=ann&cart=3%20apples")
    assert re.fullmatch("[0-9a-f]{32}", first)
    assert bob.told("id") != first
    assert (ann.told("id"), ann.told("user"), ann.told("cart")) == (first, "ann", "3%20apples")
    assert bob.told("user") is None
    forged = {"X-Session-User": "ann", "x_session_id": first, "X-Session-Cart": "9"}
    assert bob.told("user", headers=forged) is None and bob.told("cart", headers=forged) is None
    assert not [name for name, _ in ann.get("/set?a=b").headers if name.lower().startswith("x-session")]
    gate.reload(done=" conf: ")
    assert (ann.told("id"), ann.told("user")) == (first, "ann")
    cookie = ann.cookie
    gate.stop(20)
    gate = weir(sessions.conf)
    ann.gate = gate
    assert (ann.told("id"), ann.told("user")) == (first, "ann")
    assert ann.told("cart", "/remove?cart") and ann.told("cart") is None
    assert ann.cookie == cookie and gate.metric("weir_session_forged_total") == 0
    ann.cookie = cookie[:-1] + ("0" if cookie[-1] != "0" else "1")
    assert ann.told("id") not in (None, first)
    assert gate.metric("weir_session_forged_total") == 1


def test_login_and_logout(sessions):
    gate = sessions("{pass: [user]}")
    ann = Browser(gate)
    before = ann.told("id")
    eve = Browser(gate)
    eve.get()
    eve.cookie = ann.cookie  # she made ann use hers
    ann.get("/new")
    ann.get("/set?user=ann")
    assert ann.told("user") == "ann" and ann.told("id") != before
    assert eve.told("user") is None and eve.told("id") not in (before, ann.told("id"))
    known = ann.cookie
    gone = ann.get("/end")
    assert "Max-Age=0" in gone.get("set-cookie") and ann.cookie == "weir_session="
    ann.cookie = known
    assert ann.told("user") is None
    assert gate.metric("weir_session_ended_total") == 1


def test_what_many_requests_set_at_once_is_all_kept(sessions):
    gate = sessions("{pass: [" + ", ".join(f"v{i}" for i in range(16)) + "]}")
    ann = Browser(gate)
    ann.get()
    others = [Browser(gate) for _ in range(16)]

    def set_one(i):
        others[i].cookie = ann.cookie
        for n in range(5):
            others[i].get(f"/set?v{i}={n}")

    threads = [threading.Thread(target=set_one, args=(i,)) for i in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    told = ann.get().text
    assert re.findall(r"(?im)^x-session-v(\d+): 4$", told) == [str(i) for i in range(16)]


def test_it_stays_at_a_server_until_that_is_gone(sessions, weir):
    gate = sessions("{sticky: on}", servers=3)
    ann = Browser(gate)
    first = ann.get().get("x-port")
    assert {ann.get().get("x-port") for _ in range(12)} == {first}
    ports = {Browser(gate).get().get("x-port") for _ in range(12)}
    assert len(ports) == 3  # others go where the balancer says
    server = next(s for s in sessions.servers if str(s.port) == first)
    server.stop()
    second = ann.get().get("x-port")
    assert second != first and {ann.get().get("x-port") for _ in range(12)} == {second}
    server.start()
    gate.stop(20)
    ann.gate = gate = weir(sessions.conf)  # it is remembered, and the first one is well again
    assert {ann.get().get("x-port") for _ in range(12)} == {second}
    ann.get("/new")
    assert {ann.get().get("x-port") for _ in range(12)} == {second}


def test_the_session_decides_by_its_hash(sessions):
    gate = sessions("on", servers=3, balance="hash by session")
    browsers = [Browser(gate) for _ in range(12)]
    ports = [b.get().get("x-port") for b in browsers]
    assert len(set(ports)) > 1
    for b, port in zip(browsers, ports):
        assert {b.get().get("x-port") for _ in range(4)} == {port}
    assert gate.metric("weir_session_server_changes_total") == 0


def test_servers_can_read_it_over_resp(sessions):
    port = free_port()
    gate = sessions(ledger=f', listen: "127.0.0.1:{port}"')
    ann = Browser(gate)
    key = b"session:" + ann.told("id", "/set?cart=3%0a4").encode()
    with socket.create_connection(("127.0.0.1", port), 20) as s, s.makefile("rb") as f:
        s.sendall(b"HGET %s cart\r\nPTTL %s\r\n" % (key, key))
        assert f.readline() + f.readline() + f.readline() == b"$3\r\n3\n4\r\n"
        assert 0 < int(f.readline()[1:]) <= 1800000
        s.sendall(b"DEL %s\r\n" % key)
        assert f.readline() == b":1\r\n"
    assert ann.told("id").encode() not in key
    assert gate.metric("weir_session_gone_total") == 1


def test_no_disk_is_written_to_for_reading(sessions):
    gate = sessions()
    ann = Browser(gate)
    ann.get()
    before = gate.metric("weir_ledger_log_written_bytes_total")
    for _ in range(30):
        ann.get()
    assert gate.metric("weir_session_found_total") == 30
    assert gate.metric("weir_ledger_log_written_bytes_total") == before > 0


def test_values_in_the_access_log(sessions, tmp_path):
    path = tmp_path / "pattern.log"
    gate = sessions("{create: when_set, user: user}", more=f"""
            access_log: {{path: {path}, format: '${{path}} ${{session.cart}} ${{user}} ${{session.id}}'}}""")
    ann = Browser(gate)
    ann.get("/none")
    assert ann.cookie is None
    ann.get("/set?cart=3&user=ann")
    ann.get("/last")
    wait_until(lambda: path.exists() and path.read_text().count("\n") == 3, 20, "three lines")
    # each worker writes its own lines
    told = {line.split()[0]: line.split()[1:] for line in path.read_text().splitlines()}
    assert told["/none"] == ["-", "-", "-"]
    assert told["/set"][:2] == ["3", "-"] and told["/last"][:2] == ["3", "ann"] and told["/set"][2] == told["/last"][2]


def test_what_cannot_work_is_refused(weir_command, tmp_path):
    def check(text):
        conf = tmp_path / "weir.yaml"
        conf.write_text('listen: [":1"]\n' + text + 'services: {a: {servers: ["127.0.0.1:1"]}}\n')
        done = weir_command("check", "-c", conf)
        return done.returncode, done.stdout + done.stderr

    code, words = check("routes: [{match: /*, service: a, session: on}]\n")
    assert code and "there is none: expected `ledger: /PATH`" in words
    code, words = check("routes: [{match: /*, service: a, rate_limit: 5/s per session}]\n")
    assert code and "cookie NAME" in words
