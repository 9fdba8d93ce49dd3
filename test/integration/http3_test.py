"""HTTP/3 from a client's side: requests, bodies, windows, limits; what is answered to whom at which address."""
import hashlib
import re
import threading

import pytest

from lib.conf import one_service
from lib.http3 import Http3, Raw, Relay, certificate, needs_client, udp_bound, version_probe, wait_connections
from lib.process import wait_until
from lib.servers import answer, echo_target

pytestmark = pytest.mark.usefixtures("has_client")


@pytest.fixture
def has_client():
    needs_client()


@pytest.fixture
def http3(tmp_path):
    """http3(gate or port, path, ..., args=()) -> a running lib.http3.Http3"""
    ours = []

    def start(to, *paths, **options):
        ours.append(Http3(tmp_path, getattr(to, "port", to), *paths, **options))
        return ours[-1]

    yield start
    for client in ours:
        client.kill()


@pytest.fixture
def relay():
    ours = []

    def start(*args, **options):
        ours.append(Relay(*args, **options))
        return ours[-1]

    yield start
    for r in ours:
        r.close()


@pytest.fixture
def gate(weir, tmp_path):
    """gate(conf, http3="streams_max: 5") -> a Weir with HTTP/3 on its port, whose access log says the protocol"""
    def start(conf, http3="", **options):
        chain, key = certificate(tmp_path)

        def text(conf, http3):
            listen = f"{{address: '127.0.0.1:PORT', http3: {{certificate: {chain}, key: {key}{', ' if http3 else ''}{http3}}}}}"
            return f'''
listen: {listen}
access_log: {{path: {tmp_path}/protocol.log, format: "${{protocol}} ${{method}} ${{target}} ${{status}}"}}
{conf}'''

        from lib.ports import free_port
        port = free_port()
        thing = weir(text(conf, http3).replace("PORT", str(port)), **options)
        thing.port = port
        thing.text = lambda conf, http3="": text(conf, http3).replace("PORT", str(port))
        thing.protocols = lambda: (tmp_path / "protocol.log").read_text().splitlines()
        return thing

    return start


HELLO = "routes: [{match: /*, respond: 200 hello}]"


def test_an_answer(gate, http3, each_loop):
    g = gate(HELLO)
    client = http3(g, "/a?b=c")
    a = client.answer()
    assert (a.status, a.get("content-length"), client.body("/a?b=c")) == (200, "5", b"hello")
    wait_until(lambda: g.protocols() == ["HTTP/3 GET /a?b=c 200"], 20, "the log's line")
    assert g.metric("weir_quic_handshakes_total") == 1


def test_bodies_both_ways(gate, http3, scripted, tmp_path, each_loop):
    data = bytes(range(256)) * 4096  # 1 MiB

    def serve(peer):
        while request := peer.read_request():
            head, _, body = request.partition(b"\r\n\r\n")
            if b"chunked" in head.lower():
                body = b"".join(re.split(rb"(?:^|\r\n)[0-9a-f]+\r\n", body))  # sizes differ; only their sum counts here
            peer.send(answer(data if request.startswith(b"GET") else str(len(body)).encode()))

    (tmp_path / "up").write_bytes(b"u" * 1000000)
    g = gate(one_service(scripted(serve)), http3="stream_window: 16k, window: 32k")
    client = http3(g, "/down")
    assert client.answer().status == 200
    assert hashlib.sha256(client.body("/down")).digest() == hashlib.sha256(data).digest()
    client = http3(g, "/up", args=["-m", "POST", "-d", tmp_path / "up"])
    assert client.answer().status == 200
    assert client.body("/up") == b"1000000"


def test_a_slow_server_slows_its_client(gate, http3, scripted, tmp_path):
    go_on = threading.Event()

    def serve(peer):
        peer.read_until(b"\r\n\r\n")
        go_on.wait(30)
        total = 0
        while b"\r\n0\r\n\r\n" not in (got := peer.read_some()) and got:
            total += len(got)
        peer.send(answer(b"taken"))

    (tmp_path / "up").write_bytes(b"u" * 30000000)
    g = gate(one_service(scripted(serve), service="tcp: {send_buffer: 64k}"), http3="stream_window: 64k, window: 64k")
    client = http3(g, "/up", args=["-m", "POST", "-d", tmp_path / "up"])
    seen = []

    def rests():
        seen.append(g.metric("weir_quic_received_bytes_total"))
        return len(seen) > 30 and seen[-1] - seen[-30] < 3000

    wait_until(rests, 20, "the client waits")
    assert seen[-1] < 20000000  # what the kernel holds between weir and the server is some MiB
    go_on.set()
    assert client.answer().status == 200


def test_many_requests_at_once(gate, http3, scripted):
    g = gate(one_service(scripted(echo_target)))
    client = http3(g, *[f"/n{i}" for i in range(60)], args=["-n", "60"])
    assert [a.status for a in client.answers()] == [200] * 60
    assert all(client.body(f"/n{i}") == b"/n%d" % i for i in range(60))


def test_interim_answers_and_trailers(gate, http3, scripted):
    g = gate(one_service(scripted(
        b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 42\r\n\r\n")))
    client = http3(g, "/x")
    heads = client.answer().heads
    assert heads[0] == [(":status", "103"), ("link", "</style.css>")]
    assert heads[-1] == [("x-sum", "42")] and heads[1][0] == (":status", "200")
    assert client.body("/x") == b"abc"


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_answers_without_a_body(gate, http3, scripted, status):
    g = gate(one_service(scripted(f"HTTP/1.1 {status}\r\nETag: x\r\n\r\n".encode())))
    a = http3(g, "/x").answer()
    assert a.status == int(status[:3]) and a.get("etag") == "x" and a.get("content-length") is None


def test_head_says_the_length(gate, http3, scripted):
    g = gate(one_service(scripted(b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n")))
    a = http3(g, "/x", args=["-m", "HEAD"]).answer()
    assert (a.status, a.get("content-length")) == (200, "1234")


def test_limits_of_a_request(gate, http3, scripted, tmp_path):
    server = scripted(echo_target)
    g = gate(f"client: {{head_bytes_max: 1k, line_bytes_max: 1k, body_bytes_max: 10k}}\n{one_service(server)}")
    (tmp_path / "up").write_bytes(b"u" * 20000)
    assert http3(g, "/" + "x" * 2000).answer().status == 431
    assert http3(g, "/up", args=["-m", "POST", "-d", tmp_path / "up"]).answer().status == 413
    assert http3(g, "/x").answer().status == 200
    assert len([r for r in server.requests if b"GET" in r]) == 1


def test_streams_max(gate, http3, scripted):
    lock, running, most = threading.Lock(), [0], [0]

    def serve(peer):
        while peer.read_request():
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
            wait_until(lambda: running[0] >= 2 or len(server.requests) >= 19, 20)
            with lock:
                running[0] -= 1
            peer.send(answer())

    server = scripted(serve)
    g = gate(one_service(server), http3="streams_max: 2")
    answers = http3(g, *[f"/{i}" for i in range(20)], args=["-n", "20"]).answers()
    assert [a.status for a in answers] == [200] * 20
    assert most[0] == 2


def test_connections_max_refuses(gate, http3, scripted):
    release = threading.Event()

    def serve(peer):
        while peer.read_request():
            release.wait(30)
            peer.send(answer())

    g = gate(f"workers: 1\n{one_service(scripted(serve))}", http3="connections_max: 1")
    first = http3(g, "/").began()
    second = http3(g, "/")
    assert second.answers() == []
    assert "CONNECTION_REFUSED" in second.log()
    assert g.metric("weir_quic_refused_total") >= 1
    release.set()
    assert first.answer().status == 200


def test_a_client_that_leaves_is_noticed(gate, http3, scripted):
    def serve(peer):
        if b" /slow " in peer.read_request():
            assert peer.read_request() == b""  # weir gives it up
            left.set()
        else:
            peer.send(answer())

    left = threading.Event()
    g = gate(one_service(scripted(serve)))
    http3(g, "/slow", "/quick", args=["--exit-on-first-stream-close"]).answers()
    assert left.wait(20)
    wait_until(lambda: "HTTP/3 GET /slow 499" in g.protocols(), 20)


# ---- addresses ----


def test_a_client_shows_its_address_first(gate, http3, tmp_path):
    g = gate(HELLO, http3="retry: 0")
    token = ["--token-file", tmp_path / "token"]
    assert http3(g, "/", args=token).answer().status == 200
    assert g.metric("weir_quic_retries_total") == 1
    assert http3(g, "/", args=token).answer().status == 200  # it has a token of before
    assert g.metric("weir_quic_retries_total") == 1
    (tmp_path / "token").write_text("-----BEGIN QUIC TOKEN-----\nNhI0Vg==\n-----END QUIC TOKEN-----\n")
    assert http3(g, "/", args=token).answer().status == 200  # a token that is no good is none
    assert g.metric("weir_quic_retries_total") == 2
    (tmp_path / "token").write_text("-----BEGIN QUIC TOKEN-----\nthI0Vg==\n-----END QUIC TOKEN-----\n")
    assert http3(g, "/", args=token).answers() == []  # one that says it is of a Retry, and is not
    assert g.metric("weir_quic_tokens_invalid_total") == 1


def test_under_a_flood_of_handshakes(gate, http3, relay):
    g = gate(HELLO, http3="retry: 3, handshake_timeout: 60s")
    r = relay(g.port)
    http3(r.port, "/").began()
    first = r.sent[0]
    raws = [Raw(g.port) for _ in range(40)]
    for i, raw in enumerate(raws):  # the same one from many addresses, each with an id of its own
        raw.send(first[:6] + bytes([i]) + first[7:])  # the id is part of the key: none of them can be read
    assert http3(g, "/").answer().status == 200
    wait_until(lambda: g.metric("weir_quic_retries_total") > 10, 20, "clients are asked to come again")
    for raw in raws:
        raw.close()


def test_moving_clients_are_found(gate, http3, relay, scripted, each_loop):
    body = b"x" * 400000
    g = gate(f"workers: 2\n{one_service(scripted(answer(body)))}")
    r = relay(g.port, paths=32)
    client = http3(r.port, "/a", "/b", "/c", "/d")
    assert [a.status for a in client.answers()] == [200] * 4
    assert all(client.body(p) == body for p in ("/a", "/b", "/c", "/d"))
    assert len(r.backs) == 32
    assert g.metric("weir_quic_migrations_total") > 0
    assert g.metric("weir_quic_forwarded_datagrams_total") > 0  # half of 32 addresses are another worker's
    assert g.metric("weir_quic_connections_total") == 1


def test_a_client_that_changes_its_address(gate, http3, scripted):
    go_on = threading.Event()

    def serve(peer):
        peer.read_request()
        go_on.wait(30)
        peer.send(answer(b"moved"))

    g = gate(one_service(scripted(serve)))
    client = http3(g, "/x", args=["--change-local-addr=100ms"])
    wait_until(lambda: g.metric("weir_quic_migrations_total") == 1, 20, "the client moves")
    go_on.set()
    assert client.answer().status == 200 and client.body("/x") == b"moved"


# ---- what is of nobody ----


def test_versions_that_are_not_known(gate, http3):
    g = gate(HELLO)
    raw = Raw(g.port)
    raw.send(version_probe(size=1000))  # too short: the answer would be larger
    got = raw.ask(version_probe())
    assert got[0] & 0x80 and got[1:5] == bytes(4)
    assert got[5:23] == b"\x08sourceid\x08destined"
    assert (1).to_bytes(4, "big") in [got[i:i + 4] for i in range(23, len(got), 4)]
    assert raw.nothing_came()
    assert g.metric("weir_quic_version_negotiations_total") == 1
    raw.close()


def test_connections_that_are_not_known_are_reset(gate):
    g = gate(HELLO)
    raw = Raw(g.port)
    raw.send(b"\x40" + b"r" * 19)  # too short
    got = raw.ask(b"\x40" + b"r" * 40)
    again = raw.ask(b"\x40" + b"r" * 60)
    assert 21 <= len(got) < 41 and 21 <= len(again) < 61 and got[0] & 0xc0 == 0x40
    assert got[-16:] == again[-16:]  # the same token for the same id
    assert raw.ask(b"\x40" + b"s" * 60)[-16:] != got[-16:]
    assert g.metric("weir_quic_stateless_resets_total") == 3
    raw.close()


def test_garbage_costs_nothing(gate, http3, relay):
    import random
    rng = random.Random(3)
    g = gate(HELLO)
    r = relay(g.port)
    assert http3(r.port, "/").answer().status == 200
    raw = Raw(g.port)
    for i in range(3000):
        if i % 2:
            data = bytearray(rng.choice(r.sent))
            for _ in range(rng.randint(1, 8)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            data = data[:rng.randint(1, len(data))] if i % 3 else data
        else:
            data = rng.randbytes(rng.randint(1, 1400))
        raw.send(data)
        if i % 100 == 0:
            wait_until(lambda n=i: g.metric("weir_quic_received_datagrams_total") > n, 20)
    assert http3(g, "/").answer().status == 200
    wait_connections(g, 0)
    raw.close()


def test_handshakes_that_stop(gate, http3, relay):
    g = gate(HELLO, http3="handshake_timeout: 300ms")
    r = relay(g.port)
    assert http3(r.port, "/").answer().status == 200
    raw = Raw(g.port)
    raw.send(r.sent[0])  # a good first datagram, and nothing after it
    wait_until(lambda: g.metric("weir_quic_handshake_failures_total") == 1, 20, "it is given up")
    wait_connections(g, 0)
    raw.close()


def test_idle_connections_end(gate, http3):
    g = gate(HELLO, http3="idle_timeout: 1s")
    client = http3(g, args=["--timeout=60s"]).began()
    wait_connections(g, 1)
    wait_connections(g, 0)
    client.kill()


def test_what_cannot_work_is_refused(weir_command, tmp_path):
    chain, key = certificate(tmp_path)

    def check(listen):
        (tmp_path / "weir.yaml").write_text(f"listen: {listen}\n{HELLO}\n")
        return weir_command("check", "-c", tmp_path / "weir.yaml")

    pem = f"certificate: {chain}, key: {key}"
    assert check(f"{{address: ':8443', http3: {{{pem}}}}}").returncode == 0
    for listen, why in ((f"{{address: 'unix:{tmp_path}/s', http3: {{{pem}}}}}", "takes no datagrams"),
                        (f"{{address: ':8443', http3: {{{pem}, window: 8k}}}}", "at least stream_window")):
        done = check(listen)
        assert done.returncode != 0 and why in done.stderr + done.stdout


# ---- reloads ----


def test_a_reload_that_ends_it(gate, http3, scripted):
    go_on = threading.Event()

    def serve(peer):
        peer.read_request()
        go_on.wait(30)
        peer.send(answer(b"late"))

    g = gate(one_service(scripted(serve)))
    client = http3(g, "/x").began()
    wait_until(lambda: g.metric("weir_quic_handshakes_total") == 1, 20)
    g.reload(f'listen: "127.0.0.1:{g.port}"\n{HELLO}')
    assert udp_bound(g.port)  # it stays until the last connection has ended
    go_on.set()
    assert client.answer().status == 200 and client.body("/x") == b"late"
    wait_until(lambda: not udp_bound(g.port), 20, "the socket is closed")
    g.reload(g.text(HELLO))
    assert http3(g, "/").answer().status == 200


def test_stopping_waits_for_answers(gate, http3, scripted):
    go_on = threading.Event()

    def serve(peer):
        peer.read_request()
        go_on.wait(30)
        peer.send(answer(b"late"))

    g = gate(one_service(scripted(serve)))
    client = http3(g, "/x").began()
    wait_until(lambda: g.metric("weir_quic_handshakes_total") == 1, 20)
    g.signal(15)
    g.wait_log("draining")
    go_on.set()
    assert client.answer().status == 200 and client.body("/x") == b"late"
    assert g.wait(20) == 0
