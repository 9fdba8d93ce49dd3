"""HTTP/3 from a client's side: requests, bodies, windows, limits; what is answered to whom at which address."""
import hashlib
import re
import shutil
import subprocess
import threading

import pytest

from lib.conf import one_service
from lib.http3 import (Http3, Raw, Relay, certificate, initial, needs_client, retry_token, tls_listener, udp_bound,
                       version_probe, wait_connections)
from lib.ports import free_port
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
        port = free_port()

        def text(conf, http3=""):
            return f'''
listen: {tls_listener(tmp_path, port, http3)}
access_log: {{path: {tmp_path}/protocol.log, format: "${{protocol}} ${{method}} ${{target}} ${{status}}"}}
{conf}'''

        thing = weir(text(conf, http3), **options)
        thing.port = port
        thing.text = text
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
    go_on, size = threading.Event(), 10000000

    def serve(peer):
        peer.read_until(b"\r\n\r\n")
        go_on.wait(30)
        peer.read_exactly(size)
        peer.send(answer(b"taken"))

    (tmp_path / "up").write_bytes(b"u" * size)
    g = gate(one_service(scripted(serve), service="send_buffer: 64k"), http3="stream_window: 64k, window: 64k")
    client = http3(g, "/up", args=["-m", "POST", "-d", tmp_path / "up"])
    seen = []

    def rests():
        seen.append(g.metric("weir_quic_received_bytes_total"))
        return len(seen) > 30 and seen[-1] - seen[-30] < 3000

    wait_until(rests, 20, "the client waits")
    assert seen[-1] < 7000000  # what the kernel holds between weir and the server is some MiB
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
    client = http3(g, *[f"/{i}" for i in range(20)], args=["-n", "20"])
    assert [a.status for a in client.answers()] == [200] * 20
    assert most[0] == 2
    assert "remote transport_parameters initial_max_streams_bidi=2\n" in client.log()  # it is told so from the beginning


def test_what_is_urgent_goes_first(gate, http3, relay, scripted):
    """RFC 9218: both answers are there in full while the client's acknowledgements are lost; then the urgent one is sent
    whole before the other one, which had begun, goes on."""
    size, asked, go_on = 200_000, threading.Barrier(3), threading.Event()

    def serve(peer):
        urgency = 0 if b"/urgent" in peer.read_request() else 7
        asked.wait(20)
        go_on.wait(20)
        peer.send(answer(b"x" * size, headers=[("Priority", f"u={urgency}")]))

    g = gate(one_service(scripted(serve)))
    way = relay(g.port)
    client = http3(way, "/calm", "/urgent", args=["-n", "2"])
    asked.wait(20)
    way.deaf = True
    go_on.set()
    wait_until(lambda: len(g.protocols()) == 2, 20)
    way.deaf = False
    assert [a.status for a in client.answers()] == [200, 200]
    frames = [(int(i, 16), int(offset)) for i, offset in re.findall(
        r"frm rx \d+ 1RTT STREAM\(0x\w+\) id=(0x[04]) fin=[01] offset=(\d+)", client.log())]
    # what is lost on the way comes again after the other one has begun: so not to its last byte
    late = next(n for n, (i, offset) in enumerate(frames) if i == 0 and offset > size // 2)
    assert max((offset for i, offset in frames[:late] if i == 4), default=0) > size * 3 // 4


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
        peer.read_request()
        assert peer.read_request() == b""  # weir gives it up
        left.set()

    left = threading.Event()
    server = scripted(serve)
    g = gate(one_service(server))
    client = http3(g, "/slow", args=["--timeout=60s"])
    wait_until(lambda: server.requests, 20)
    client.signal(2)  # it says CONNECTION_CLOSE
    assert left.wait(20)
    wait_until(lambda: "HTTP/3 GET /slow 499" in g.protocols(), 20)


def test_a_head_that_does_not_come(gate, http3, relay):
    g = gate(f"client: {{head_timeout: 500ms, head_bytes_max: 64k, line_bytes_max: 60k}}\n{HELLO}")
    r = relay(g.port, until=lambda data: len(data) > 1000 and not data[0] & 0x80)  # the first large packet is the last
    http3(r.port, "/" + "x" * 30000, stay=True).began()
    wait_until(lambda: g.metric("weir_quic_handshakes_total") == 1, 20)
    wait_connections(g, 0)
    assert g.protocols() == []


def test_requests_max_of_a_connection(gate, http3):
    g = gate(f"client: {{requests_max: 2}}\n{HELLO}")
    client = http3(g, "/1", "/2", stay=True)
    wait_until(lambda: len(g.protocols()) == 2, 20)
    wait_connections(g, 0)  # weir ends it
    assert [a.status for a in client.answers()] == [200, 200]


# ---- addresses ----


def test_a_client_shows_its_address_first(gate, http3):
    g = gate(HELLO, http3="retry: 0")
    client = http3(g, "/")
    assert client.answer().status == 200
    assert g.metric("weir_quic_retries_total") == 1
    given = bytes.fromhex(re.search(r"NEW_TOKEN\(0x07\) token=0x([0-9a-f]+)", client.log())[1])

    raw = Raw(g.port)
    renamed, token = retry_token(raw.ask(initial(b"originid")))
    raw.send(initial(renamed, token=token))
    wait_until(lambda: g.metric("weir_quic_connections_total") == 2, 20, "a client that has come again is let in")
    raw.send(initial(b"tokenid1", token=given))
    wait_until(lambda: g.metric("weir_quic_connections_total") == 3, 20, "one that was here before is let in")
    assert retry_token(raw.ask(initial(b"tokenid2", token=given[:-1] + b"x")))  # no good: as if there were none
    assert g.metric("weir_quic_retries_total") == 3
    said = raw.ask(initial(renamed, token=token[:-1] + b"x"))
    assert said[0] & 0xf0 == 0xc0  # an Initial: CONNECTION_CLOSE
    wait_until(lambda: g.metric("weir_quic_tokens_invalid_total") == 1, 20)
    other = Raw(g.port)
    other.ask(initial(renamed, token=token))  # from another port: it is not that client's
    assert g.metric("weir_quic_tokens_invalid_total") == 2
    assert g.metric("weir_quic_connections_total") == 3
    raw.close(), other.close()


def test_under_a_flood_of_handshakes(gate, http3):
    g = gate(f"workers: 1\n{HELLO}", http3="retry: 3, handshake_timeout: 60s")
    raw = Raw(g.port)
    for i in range(3):
        raw.send(initial(b"handsha%d" % i))
    wait_until(lambda: g.metric("weir_quic_connections_total") == 3, 20)
    assert g.metric("weir_quic_retries_total") == 0
    raw.send(initial(b"handsha3"))
    wait_until(lambda: g.metric("weir_quic_retries_total") == 1, 20, "the next one is asked to come again")
    assert http3(g, "/").answer().status == 200  # it does
    assert g.metric("weir_quic_retries_total") == 2
    raw.close()


def test_moving_clients_are_found(gate, http3, relay, scripted, each_loop):
    body = b"x" * 400000
    g = gate(f"workers: 2\n{one_service(scripted(answer(body)))}")
    for clients in range(1, 9):  # of 8 addresses all may be the connection's own worker's: once in 256 times
        client = http3(relay(g.port, paths=8).port, "/a", "/b", "/c", "/d")
        assert [a.status for a in client.answers()] == [200] * 4
        assert all(client.body(p) == body for p in ("/a", "/b", "/c", "/d"))
        assert g.metric("weir_quic_connections_total") == clients
        if g.metric("weir_quic_forwarded_datagrams_total") > 0:
            break
    assert g.metric("weir_quic_migrations_total") > 0
    assert g.metric("weir_quic_forwarded_datagrams_total") > 0


def test_a_client_that_changes_its_address(gate, http3, scripted):
    moved, size = threading.Event(), 5000

    def serve(peer):
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        sent = 0
        while not moved.wait(0.05) and sent < size:  # something for the client to acknowledge
            peer.send(b"x")
            sent += 1
        peer.send(b"x" * (size - sent))

    g = gate(one_service(scripted(serve)))
    client = http3(g, "/x", args=["--change-local-addr=100ms"])
    wait_until(lambda: g.metric("weir_quic_migrations_total") == 1, 20, "the client moves")
    moved.set()
    assert client.answer().status == 200 and client.body("/x") == b"x" * size


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

    tls = f"certificate: {chain}, key: {key}"
    assert check(f"{{address: ':8443', tls: {{{tls}}}, http3: on}}").returncode == 0
    for listen, why in ((f"{{address: 'unix:{tmp_path}/s', tls: {{{tls}}}, http3: on}}", "takes no datagrams"),
                        ("{address: ':8443', http3: on}", "needs tls"),
                        (f"{{address: ':8443', tls: {{{tls}, client_ca: {chain}}}, http3: on}}", "tls.client_ca"),
                        (f"{{address: ':8443', tls: {{{tls}}}, http3: {{window: 8k}}}}", "at least stream_window")):
        done = check(listen)
        assert done.returncode != 0 and why in done.stderr + done.stdout


def test_facts_of_the_connection(gate, http3, tmp_path):
    g = gate("routes: [{match: /*, respond: '200 $tls_version $tls_cipher $tls_server_name $tls_protocol $tls_resumed'}]")
    back = Returning(tmp_path).args
    for resumed in ("no", "yes"):
        client = http3(g, "/x", args=back)
        assert client.answer().status == 200
        assert re.fullmatch(rf"TLSv1.3 TLS_\w+ localhost h3 {resumed}", client.body("/x").decode())


# ---- beside TCP ----


def over_tcp(port, *args):
    done = subprocess.run(["curl", "-sk", "-D-", "-o/dev/null", *args, f"https://127.0.0.1:{port}/"], capture_output=True,
                          text=True, timeout=30, check=True)
    return dict(line.lower().split(": ", 1) for line in done.stdout.splitlines() if ": " in line)


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_answers_over_tcp_say_that_it_is_there(gate, http3):
    g = gate(HELLO, http3="alt_svc: 2h")
    for version in ("--http1.1", "--http2"):
        assert over_tcp(g.port, version)["alt-svc"] == f'h3=":{g.port}"; ma=7200'
    assert http3(g, "/").answer().get("alt-svc") is None
    g.reload(g.text(HELLO, "alt_svc_port: 443"))
    assert over_tcp(g.port)["alt-svc"] == 'h3=":443"; ma=86400'
    g.reload(g.text("routes: [{match: /*, respond: 200 x, headers: {response: {set: {Alt-Svc: clear}}}}]"))
    assert over_tcp(g.port)["alt-svc"] == "clear"
    g.reload(g.text(HELLO, "alt_svc: off"))
    assert "alt-svc" not in over_tcp(g.port)


def test_a_certificate_of_its_own(weir, http3, tmp_path):
    port = free_port()
    weir(f"listen: {tls_listener(tmp_path, port, tls='{self_signed: true}')}\n{HELLO}")
    assert http3(port, "/").answer().status == 200


def test_a_certificate_that_changes(gate, http3, tmp_path):
    g = gate(HELLO)
    assert http3(g, "/").answer().status == 200
    before = http3(g, "/").answer() and (tmp_path / "cert.pem").read_bytes()
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).unlink()
    certificate(tmp_path)
    assert (tmp_path / "cert.pem").read_bytes() != before
    g.wait_log("were read again", 20)
    client = http3(g, "/")
    assert client.answer().status == 200


# ---- early data ----


class Returning:
    """A client that has been here: its second connection begins with what it asks for."""

    def __init__(self, tmp_path):
        self.args = [f"--session-file={tmp_path}/session", f"--tp-file={tmp_path}/params"]


def test_early_data_is_asked_for_once(gate, http3, relay, scripted, tmp_path):
    server = scripted(answer(b"early"))
    g = gate(one_service(server))
    back = Returning(tmp_path).args
    assert http3(g, "/first", args=back).answer().status == 200
    assert b"early-data" not in server.requests[0].lower()
    r = relay(g.port)
    client = http3(r.port, "/second", args=back)
    assert client.answer().status == 200 and client.body("/second") == b"early"
    assert g.metric("weir_quic_early_data_accepted_total") == 1
    assert g.metric("weir_quic_resumed_total") == 1
    assert re.search(rb"\r\nearly-data: 1\r\n", server.requests[1], re.I)

    flight = [d for d in r.sent if d[0] & 0x80][:3]  # what begins it, the request with it
    before = g.metric("weir_quic_received_datagrams_total")
    raws = [Raw(g.port) for _ in range(8)]  # to both workers
    for raw in raws:
        for datagram in flight:
            raw.send(datagram)
    wait_until(lambda: g.metric("weir_quic_received_datagrams_total") >= before + 8 * len(flight), 20)
    assert g.metric("weir_quic_connections_total") >= 3  # of the same id: one in each worker
    assert http3(g, "/third").answer().status == 200
    assert sum(b" /second " in request for request in server.requests) == 1
    assert g.metric("weir_quic_early_data_accepted_total") == 1
    for raw in raws:
        raw.close()


def test_what_is_not_safe_waits_for_the_handshake(gate, http3, scripted, tmp_path):
    (tmp_path / "up").write_bytes(b"buy")
    server = scripted(answer(b"done"))
    g = gate(one_service(server))
    back = Returning(tmp_path).args
    assert http3(g, "/first", args=back).answer().status == 200
    client = http3(g, "/buy", args=[*back, "-m", "POST", "-d", tmp_path / "up"])
    assert client.answer().status == 200 and client.body("/buy") == b"done"
    assert g.metric("weir_quic_early_data_accepted_total") == 1
    assert server.requests[1].startswith(b"POST /buy ") and b"early-data" not in server.requests[1].lower()


def test_tickets_are_for_the_limits_that_they_were_given_under(gate, http3, scripted, tmp_path):
    """RFC 9001 4.6.3: early data may rely on them."""
    server = scripted(answer(b"x"))
    g = gate(one_service(server), http3="streams_max: 5")
    back = Returning(tmp_path).args
    assert http3(g, "/", args=back).answer().status == 200
    g.reload(g.text(one_service(server), "streams_max: 4"))
    assert http3(g, "/", args=back).answer().status == 200
    assert g.metric("weir_quic_resumed_total") == 0
    assert http3(g, "/", args=back).answer().status == 200
    assert g.metric("weir_quic_resumed_total") == 1


def test_early_data_off(gate, http3, scripted, tmp_path):
    server = scripted(answer(b"x"))
    g = gate(one_service(server), http3="early_data: off")
    back = Returning(tmp_path).args
    for _ in range(2):
        assert http3(g, "/", args=back).answer().status == 200
    assert g.metric("weir_quic_resumed_total") == 1
    assert g.metric("weir_quic_early_data_accepted_total") == 0


# ---- reloads ----


def asked_late(gate, http3, scripted):
    """A client that has asked for /x, whose answer, "late", comes when go_on is set."""
    go_on = threading.Event()

    def serve(peer):
        peer.read_request()
        go_on.wait(30)
        peer.send(answer(b"late"))

    g = gate(one_service(scripted(serve)))
    client = http3(g, "/x").began()
    wait_until(lambda: g.metric("weir_quic_handshakes_total") == 1, 20)
    return g, client, go_on


def test_a_reload_that_ends_it(gate, http3, scripted):
    g, client, go_on = asked_late(gate, http3, scripted)
    g.reload(f'listen: "127.0.0.1:{g.port}"\n{HELLO}')
    assert udp_bound(g.port)  # it stays until the last connection has ended
    go_on.set()
    assert client.answer().status == 200 and client.body("/x") == b"late"
    wait_until(lambda: not udp_bound(g.port), 20, "the socket is closed")
    g.reload(g.text(HELLO))
    assert http3(g, "/").answer().status == 200


def test_stopping_waits_for_answers(gate, http3, scripted):
    g, client, go_on = asked_late(gate, http3, scripted)
    g.signal(15)
    g.wait_log("draining")
    late = http3(g, "/")
    assert late.answers() == [] and "CONNECTION_REFUSED" in late.log()
    go_on.set()
    assert client.answer().status == 200 and client.body("/x") == b"late"
    assert g.wait(20) == 0
