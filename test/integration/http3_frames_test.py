"""HTTP/3 as no ordinary client speaks it: priorities, streams that are taken back, bounds, the end."""
import hashlib
import re
import signal
import ssl
import threading

import pytest

from lib.conf import one_service
from lib.http3 import Http3, Relay, certificate, needs_client, tls_listener, udp_bound, udp_waiting
from lib.ports import free_port
from lib.process import wait_until
from lib.quic import (H3_INTERNAL_ERROR, H3_NO_ERROR, H3_REQUEST_CANCELLED, HEADERS, PRIORITY_UPDATE,
                      QPACK_ENCODER_STREAM_ERROR, SETTINGS, Quic, fields, frame, frames, needs_quic_client, prefixed,
                      read_varint, varint)
from lib.servers import answer


def fingerprint_of(chain):
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(chain.read_text())).hexdigest()


HELLO = "routes: [{match: /*, respond: 200 hello}]"


@pytest.fixture
def gate(weir, tmp_path):
    """gate(conf, http3="streams_max: 5") -> a Weir whose access log says the status"""
    needs_quic_client()

    def start(conf, http3="", **options):
        port = free_port()
        thing = weir(f"""
listen: {tls_listener(tmp_path, port, http3)}
access_log: {{path: {tmp_path}/status.log, format: "${{target}} ${{status}}"}}
{conf}""", **options)
        thing.port = port
        thing.lines = lambda: (tmp_path / "status.log").read_text().splitlines()
        return thing

    return start


@pytest.fixture
def quic():
    ours = []

    def start(gate, *args, **options):
        ours.append(Quic(gate.port, *args, **options))
        return ours[-1]

    yield start
    for q in ours:
        q.close()


@pytest.fixture
def relay():
    """Asked for before gate: so it stands until weir has been told of the clients' ends."""
    ours = []

    def start(gate):
        ours.append(Relay(gate.port))
        return ours[-1]

    yield start
    for r in ours:
        r.close()


SIZE = 30_000  # of all of them not more than a socket holds: nothing is lost and sent again


def asked(gate, quic, server, *streams_of):
    """Answers of SIZE to those requests, all ready to be sent, while the client's window is too small for one."""
    g = gate(one_service(server))
    q = quic(g, 4000)
    streams = [q.ask(path, *more) for path, *more in streams_of]
    wait_until(lambda: len(g.lines()) == len(streams), 20, "all is ready")
    return g, q, streams


def order_of(q, streams):
    """The streams in the order in which their second half came."""
    for s in streams:
        q.answered(s)
    got, order = dict.fromkeys(streams, 0), []
    for e in q.events:
        if e[0] == "data" and e[1] in got:
            if got[e[1]] < SIZE // 2 <= got[e[1]] + len(e[2]):
                order.append(e[1])
            got[e[1]] += len(e[2])
            assert got[e[1]] < SIZE // 2 or not e[2] or order[-1] == e[1], "they are not mixed"
    return order


def test_what_the_client_says_is_urgent_goes_first(gate, quic, scripted, each_loop):
    """RFC 9218 5: the Priority field of requests."""
    _, q, (a, b, c) = asked(gate, quic, scripted(answer(b"x" * SIZE)), ("/a", ("priority", "u=5")), ("/b",),
                            ("/c", ("priority", "u=1")))
    q.tell("window", 1_000_000)
    assert order_of(q, (a, b, c)) == [c, b, a]


def test_the_client_may_say_so_later(gate, quic, scripted, each_loop):
    """RFC 9218 7.2: PRIORITY_UPDATE."""
    g, q, (a, b, c) = asked(gate, quic, scripted(answer(b"x" * SIZE)), ("/a",), ("/b",), ("/c",))
    before = g.metric("weir_quic_received_datagrams_total")
    q.send(q.control, frame(PRIORITY_UPDATE, varint(c) + b"u=0") + frame(PRIORITY_UPDATE, varint(a) + b"u=6"))
    wait_until(lambda: g.metric("weir_quic_received_datagrams_total") > before, 20, "it is there")
    q.tell("window", 1_000_000)
    assert order_of(q, (a, b, c)) == [c, b, a]


def left_alone(scripted):
    """A server that waits for weir to give the request up, and what tells that it has it, and that it is given up."""
    there, left = threading.Event(), threading.Event()

    def serve(peer):
        peer.read_until(b"\r\n\r\n")
        there.set()
        try:
            while peer.socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
        left.set()

    return scripted(serve), there, left


@pytest.mark.parametrize("how", ["stop", "reset"])
def test_who_takes_a_request_back_is_noticed(gate, quic, scripted, each_loop, how):
    """STOP_SENDING alone: the answer is not wanted. RESET_STREAM alone, of a request that is not whole: it will not be."""
    server, there, left = left_alone(scripted)
    g = gate(one_service(server))
    q = quic(g)
    s = q.ask("/x") if how == "stop" else q.ask("/x", ("content-length", "1000"), body=b"half", fin=False)
    assert there.wait(20)
    q.tell(how, s, H3_REQUEST_CANCELLED)
    assert left.wait(20)
    q.wait(lambda e: e == ("closed", s))  # both ways
    wait_until(lambda: g.lines() and g.lines()[0].startswith("/x 4"), 20)


def test_who_wants_no_answer_may_end_its_request(gate, quic, scripted, each_loop):
    """STOP_SENDING alone, in the middle of a body: what follows of it is still taken, and the answer is nobody's."""
    server = scripted(answer(b"x" * 100_000))
    g = gate(one_service(server))
    q = quic(g)
    s = q.ask("/x", ("content-length", "30000"), body=b"b" * 10_000, fin=False)
    wait_until(lambda: g.metric("weir_upstream_requests_total") == 1, 20)
    q.tell("stop", s, H3_REQUEST_CANCELLED)
    q.send(s, frame(0, b"b" * 20_000), True)
    q.wait(lambda e: e == ("closed", s))
    wait_until(lambda: len(g.lines()) == 1, 20)
    assert len(server.requests) == 1 and not q.data(s)
    assert len(q.answered(q.ask("/y"))) == 100_000


def test_who_takes_requests_back_gets_no_more_of_them(gate, quic, scripted):
    """Rapid reset: a request counts among streams_max until its server is done with it."""
    go_on = threading.Event()

    def serve(peer):
        while peer.read_request():
            go_on.wait(30)
            peer.send(answer())

    server = scripted(serve)
    g = gate(f"client: {{cancel_when_gone: off}}\n{one_service(server)}", http3="streams_max: 2")
    q = quic(g)
    assert q.params[2] == 2
    streams = q.ask("/1"), q.ask("/2")
    wait_until(lambda: len(server.requests) == 2, 20)
    for s in streams:
        q.tell("stop", s, H3_REQUEST_CANCELLED)
        q.wait(lambda e, s=s: e == ("closed", s))
    before = g.metric("weir_quic_received_datagrams_total")
    q.send(q.control, frame(0x21, b"x"))  # of a kind that nobody knows: it is acknowledged
    wait_until(lambda: g.metric("weir_quic_received_datagrams_total") > before, 20)
    assert q.open() == -1 and not any(e[0] == "room" and e[1] > 2 for e in q.events)
    go_on.set()
    q.wait(lambda e: e == ("room", 4))
    assert len(server.requests) == 2


def test_what_clients_are_told(gate, quic):
    g = gate(f"client: {{head_bytes_max: 10k, line_bytes_max: 8k}}\n{HELLO}",
             http3="streams_max: 7, stream_window: 30k, window: 60k")
    q = quic(g)
    assert q.params == (60 << 10, 30 << 10, 7)
    assert q.answered(q.ask("/")) == b"hello"
    (kind, payload), settings = frames(q.data(3)[1:])[0], {}
    assert kind == SETTINGS
    while payload:
        key, at = read_varint(payload)
        settings[key], at = read_varint(payload, at)
        payload = payload[at:]
    assert (settings[1], settings[6], settings[7], settings[8]) == (4096, 10 << 10, 100, 1)


def test_a_table_larger_than_agreed_on_ends_the_connection(gate, quic):
    """RFC 9204 4.3.1."""
    g = gate(HELLO)
    for size, code in ((4096, None), (4097, QPACK_ENCODER_STREAM_ERROR)):
        q = quic(g)
        q.send(q.open("uni"), b"\x02" + prefixed(size, 5, 0x20))
        if code is None:
            assert q.answered(q.ask("/")) == b"hello"
        else:
            assert q.wait_end() == code


def test_trailers_have_a_bound(gate, quic, scripted):
    server = scripted(answer(b"all"))
    g = gate(f"client: {{head_bytes_max: 1k, line_bytes_max: 1k}}\n{one_service(server)}")
    q = quic(g)
    for trailers, status in ((("x-sum", "1"), "200"), (("x-sum", "1" * 2000), "400")):
        s = q.ask("/up", body=b"body", fin=False)
        q.send(s, frame(HEADERS, fields(trailers)), True)
        q.answered(s)
        wait_until(lambda status=status: g.lines()[-1:] == [f"/up {status}"], 20)


def test_what_nobody_takes_is_given_back(gate, quic):
    """Bodies of requests that are answered without: the connection's window is whole again."""
    g = gate(HELLO, http3="stream_window: 16k, window: 32k")
    q = quic(g)
    for _ in range(30):
        s = q.ask("/x", body=b"b" * 10_000)
        assert q.answered(s) == b"hello"
    wait_until(lambda: len(g.lines()) == 30, 20)


def test_what_comes_behind_the_answer_is_given_back(relay, gate, quic, scripted):
    """Of a body whose rest nobody wants, from a client that has not heard of that yet."""
    g = gate(one_service(scripted(answer(b"all"))).replace("[{", "[{match: /x, respond: 200 hello}, {"),
             http3="stream_window: 8k, window: 8k")
    r = relay(g)
    q = quic(r)
    r.dumb = True
    s = q.ask("/x", ("content-length", "6000"), method="POST", fin=False)
    wait_until(lambda: len(g.lines()) == 1, 20, "it is answered")
    before = g.metric("weir_quic_received_bytes_total")
    q.send(s, frame(0, b"b" * 6000))
    wait_until(lambda: g.metric("weir_quic_received_bytes_total") > before + 6000, 20, "the body is there")
    r.dumb = False
    assert q.answered(s) == b"hello"
    assert q.answered(q.ask("/up", body=b"b" * 6000)) == b"all"  # more than was left of the window


def test_a_slow_client_slows_its_server(gate, quic, scripted):
    size, sent, seen = 200_000_000, [0], []

    def serve(peer):
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        while sent[0] < size:
            peer.send(b"x" * 50_000)
            sent[0] += 50_000

    g = gate(one_service(scripted(serve)))
    q = quic(g, 20_000)
    s = q.ask("/x")

    def rests():
        seen.append((sent[0], g.metric("weir_quic_sent_bytes_total")))
        return len(seen) > 30 and sent[0] and seen[-1][0] == seen[-30][0]

    wait_until(rests, 20, "the server waits")
    assert sent[0] < size // 2  # what the kernel holds between weir and the server may be tens of MiB
    q.tell("window", 200_000)
    q.wait(lambda e: e[:2] == ("data", s) and len(q.data(s)) > 150_000)


ALL = (1 << 62) - 4  # RFC 9114 5.2: first that there will be an end; what is under way is still taken


def asked_late(gate, quic, scripted, root=""):
    """A request that is under way, whose answer, "late", comes when go_on is set."""
    go_on = threading.Event()

    def serve(peer):
        peer.read_request()
        go_on.wait(30)
        peer.send(answer(b"late"))

    server = scripted(serve)
    g = gate(one_service(server, root=root))
    q = quic(g)
    s = q.ask("/x")
    wait_until(lambda: server.requests, 20)
    return g, q, s, go_on


def ends_in_order(q, s, go_on):
    if not q.goaways():
        q.wait(lambda e: e[0] == "data" and q.goaways())
    assert q.goaways() == [ALL]
    go_on.set()
    assert q.answered(s) == b"late"
    assert q.wait_end() == H3_NO_ERROR
    assert q.goaways() == [ALL, s + 4]


def test_requests_behind_the_end_are_not_taken(gate, quic, scripted):
    """RFC 9114 5.2: whoever asks on behind a GOAWAY's id is refused, and does not disturb those before it."""
    g, q, s, go_on = asked_late(gate, quic, scripted, "client: {requests_max: 1}")
    behind = [q.ask("/y") for _ in range(3)]
    for b in behind:
        if not any(e[:2] == ("reset", b) for e in q.events):
            q.wait(lambda e, b=b: e[:2] == ("reset", b))
    go_on.set()
    assert q.answered(s) == b"late"
    assert q.wait_end() == H3_NO_ERROR
    assert not any(q.data(b) for b in behind) and q.goaways() == [ALL, s + 4]


def test_answers_follow_a_client_that_moves(relay, gate, quic, scripted, each_loop):
    """Its datagrams come from another address, and the one before is nobody's: RFC 9000 9.3."""
    relays = []

    def behind_a_relay(g):
        relays.append(relay(g))
        return quic(relays[0])

    g, q, s, go_on = asked_late(gate, behind_a_relay, scripted)
    relays[0].move()
    q.send(q.control, frame(0x21, b"x"))  # of a kind that nobody knows: something for weir to hear from there
    wait_until(lambda: g.metric("weir_quic_migrations_total") == 1, 20, "it has moved")
    go_on.set()
    assert q.answered(s) == b"late"


def test_the_end_is_told(gate, quic, scripted):
    g, q, s, go_on = asked_late(gate, quic, scripted)
    g.signal(15)
    ends_in_order(q, s, go_on)
    assert g.wait(20) == 0


def test_the_end_of_a_listener_is_told(gate, quic, scripted):
    g, q, s, go_on = asked_late(gate, quic, scripted)
    g.reload(f'listen: "127.0.0.1:{g.port}"\n{HELLO}')
    ends_in_order(q, s, go_on)


def test_a_cut_answer_is_not_whole(gate, quic, scripted):
    def serve(peer):
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 500)
        go_on.wait(30)
        peer.close()

    go_on = threading.Event()
    g = gate(one_service(scripted(serve)))
    q = quic(g)
    s = q.ask("/x")
    q.wait(lambda e: e[:2] == ("data", s) and q.data(s)[-1:] == b"x")
    go_on.set()
    q.wait(lambda e: e[:2] in (("reset", s), ("data", s)) and (e[0] == "reset" or e[3]))
    assert q.events[-1] == ("reset", s, H3_INTERNAL_ERROR)


def test_an_answer_that_nobody_takes_is_given_up(gate, quic, scripted):
    g = gate(f"client: {{write_timeout: 500ms}}\n{one_service(scripted(answer(b'x' * 100_000)))}")
    q = quic(g, 4000)
    s = q.ask("/x")
    assert q.wait(lambda e: e[:2] == ("reset", s))[2] == H3_REQUEST_CANCELLED


def test_a_certificate_that_changes_is_shown(gate, quic, tmp_path):
    chain, key = certificate(tmp_path)
    g = gate(HELLO)
    seen = quic(g).certificate
    assert seen == fingerprint_of(chain)
    for path in (chain, key):
        path.unlink()
    certificate(tmp_path)
    g.wait_log("were read again", 20)
    assert quic(g).certificate == fingerprint_of(chain) != seen


# ---- below HTTP ----


@pytest.mark.parametrize("token", [b"", b"\x77" * 40], ids=["none", "wrong"])
def test_who_has_not_shown_its_address_gets_three_times_what_it_sent(gate, quic, tmp_path, token):
    """RFC 9000 8.1; also with a token that nobody has given it."""
    certificate(tmp_path, names=[f"name-{i}.of.a.long.certificate.example" for i in range(150)])
    g = gate(HELLO, http3="handshake_timeout: 2s")
    r = Relay(g.port, until=lambda data: True)  # one datagram of the client's gets through
    r.dumb = True
    quic(r, token=token, wait=False)
    wait_until(lambda: g.metric("weir_quic_handshake_failures_total") == 1, 20, "it is given up")
    r.close()
    assert len(r.sent) == 1
    assert 2 * len(r.sent[0]) < sum(map(len, r.received)) <= 3 * len(r.sent[0])
    q = quic(g, token=token)
    assert q.answered(q.ask("/")) == b"hello"


def test_handshakes_that_stop_are_given_up(gate, quic):
    gates = [gate(HELLO, http3=f"handshake_timeout: {t}") for t in ("60s", "300ms")]
    relays = []
    for g in gates:
        relays.append(Relay(g.port, until=lambda data: True))
        relays[-1].dumb = True
        quic(relays[-1], wait=False)
        wait_until(lambda g=g: g.metric("weir_quic_connections_total") == 1, 20)
    wait_until(lambda: gates[1].metric("weir_quic_handshake_failures_total") == 1, 20, "it is given up")
    assert gates[1].metric("weir_quic_connections") == 0 and gates[0].metric("weir_quic_connections") == 1
    for r in relays:
        r.close()


def test_a_flood_of_handshakes_takes_turns(gate, quic, each_loop):
    """Many clients begin while weir stands still: it does not answer all of them in one turn of its loop."""
    g = gate(f"workers: 1\n{HELLO}", http3="retry: off")
    wait_until(lambda: udp_bound(g.port), 20)
    g.signal(signal.SIGSTOP)
    clients = [quic(g, wait=False) for _ in range(40)]
    wait_until(lambda: udp_waiting(g.port) >= 40 * 1200, 20, "all have begun")
    g.signal(signal.SIGCONT)
    for q in clients:
        q.wait(lambda e: e[0] == "handshaken")
    assert g.metric("weir_quic_turns_full_total") >= 1


def test_congestion_marks_are_sent_and_reported(gate, tmp_path, each_loop):
    """RFC 9000 13.4: the client's packets come with ECT(0), and weir says so; weir's go with it, and the client says so."""
    needs_client()
    g = gate(HELLO)
    client = Http3(tmp_path, g.port, "/")
    assert client.answer().status == 200
    for way in ("rx", "tx"):
        assert re.search(rf"frm {way} \d+ 1RTT ACK\(0x03\).* ect0=[1-9]", client.log()), way


# ---- where the client is ----


def test_a_client_that_comes_back_at_once(relay, gate, quic):
    """ngtcp2 before 1.11 ends the process for a client that has answered the first probe at its new address, which is
    small as what the client had sent from there, and comes back before it has answered the full-sized one."""
    g = gate(HELLO)
    relay = relay(g)
    relay.sent_max = relay.received_max = 1200  # both still look for what the way takes
    q = quic(relay)
    assert q.answered(q.ask("/home")) == b"hello"
    relay.back()
    relay.received_max = 1199  # no full-sized probe reaches the client
    relay.way = 1
    assert q.answered(q.ask("/away")) == b"hello"
    wait_until(lambda: g.metric("weir_quic_migrations_total") == 1, 20, "it has moved")
    relay.way = 0
    home = q.ask("/home-again")
    wait_until(lambda: g.metric("weir_quic_dropped_datagrams_total") + g.metric("weir_quic_migrations_total") > 1,
               20, "it comes back")
    relay.back()
    relay.way = 2  # what was lost is sent again from there
    assert q.answered(home) == b"hello"
    assert g.metric("weir_quic_connections_total") == 1
