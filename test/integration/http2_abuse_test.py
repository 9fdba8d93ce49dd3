"""What one client of HTTP/2 may cost: each kind of abuse ends in ENHANCE_YOUR_CALM, and nobody else suffers."""
import threading

import pytest

from lib import http2
from lib.client import Client
from lib.conf import one_service
from lib.process import wait_until
from lib.servers import answer

pytestmark = pytest.mark.usefixtures("each_loop")


def flood(c, data, times):
    """In pieces, until weir has had enough."""
    try:
        for at in range(0, times, 50):
            c.send(data * min(50, times - at))
        c.read_to_end()
    except http2.Closed:
        pass
    try:
        c.read_to_end()
    except (http2.Closed, OSError):
        pass


def abused(gate, send, **options):
    """send(c) floods on a connection of its own."""
    other = http2.Client(gate.port)
    before = gate.metric("weir_http2_abused_total")
    with http2.Client(gate.port, **options) as c:
        send(c)
        assert c.goaway is None or c.goaway[1] == http2.ENHANCE_YOUR_CALM
    wait_until(lambda: gate.metric("weir_http2_abused_total") == before + 1, 20, "it is counted")
    assert other.get().status == 200
    other.close()


@pytest.fixture
def gate(weir, scripted):
    return weir(one_service(scripted(answer("here"))))


def kind(gate):
    return [line.split("kind=")[1].strip() for line in gate.log().splitlines() if "does too much" in line]


FRAMES = {
    "settings": http2.frame(http2.SETTINGS),
    "pings": http2.frame(http2.PING, 0, 0, b"12345678"),
    "priorities": http2.frame(http2.PRIORITY, 0, 1, b"\0\0\0\0\x10"),
    "window_updates": http2.window_update(0, 1),
}


@pytest.mark.parametrize("name", FRAMES)
def test_floods(gate, name):
    abused(gate, lambda c: flood(c, FRAMES[name], 10000))
    assert kind(gate) == [name]


def test_priority_updates(gate):
    update = http2.frame(http2.PRIORITY_UPDATE, 0, 0, (1).to_bytes(4, "big") + b"u=1")
    abused(gate, lambda c: flood(c, update, 5000))
    assert kind(gate) == ["priorities"]


def test_rapid_reset(gate):
    def send(c):
        fields = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "test")]
        flags = http2.END_HEADERS | http2.END_STREAM
        data = http2.frame(http2.HEADERS, flags, 1, c.encoder.encode(fields)) + http2.reset_frame(1)
        again = c.encoder.encode(fields)
        for stream in range(3, 4001, 2):
            data += http2.frame(http2.HEADERS, flags, stream, again) + http2.reset_frame(stream)
        flood(c, data, 1)

    abused(gate, send)
    assert kind(gate) == ["resets"]


def test_made_you_reset(gate):
    """Streams that the client has weir reset (a window that grows past its bound is a stream error)."""
    def send(c):
        try:
            while True:
                stream = c.start("POST", end=False)
                c.send(http2.window_update(stream, 2**31 - 1))
                assert c.response(stream).reset == http2.FLOW_CONTROL_ERROR
        except http2.Closed:
            pass

    abused(gate, send)
    assert kind(gate) == ["errors"]


def test_empty_frames(gate):
    def send(c):
        stream = c.start("POST", "/", end=False)
        flood(c, http2.frame(http2.DATA, 0, stream), 10000)

    abused(gate, send)
    assert kind(gate) == ["empty_frames"]


def test_continuations_without_end(gate):
    def send(c):
        block = c.encoder.encode([(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "test")])
        c.send(http2.frame(http2.HEADERS, http2.END_STREAM, 1, block))
        flood(c, http2.frame(http2.CONTINUATION, 0, 1, b""), 10000)

    abused(gate, send)
    assert kind(gate) == ["continuations"]


def test_hpack_bomb(gate):
    """A field of 4,000 bytes in the table, and then a byte for each time that it is meant."""
    def send(c):
        usual = [(":method", "GET"), (":scheme", "http"), (":path", "/"),
                 http2.hpack.NeverIndexedHeaderTuple(":authority", "test")]
        flags = http2.END_HEADERS | http2.END_STREAM
        c.send(http2.frame(http2.HEADERS, flags, 1, c.encoder.encode([*usual, ("x-bomb", "x" * 3900)])))
        flood(c, http2.frame(http2.HEADERS, flags, 3, c.encoder.encode(usual) + b"\xbe" * 10000), 1)

    abused(gate, send)
    assert kind(gate) == ["heads"]


def test_tiny_windows(weir, origin):
    """An answer is asked for byte by byte."""
    gate = weir(one_service(origin()))

    def send(c):
        stream = c.start(path="/bytes/100000")
        try:
            while True:
                c.read_until(lambda: c.data_order)
                c.data_order.clear()
                c.send(http2.window_update(stream, 1))
        except http2.Closed:
            pass

    abused(gate, send, window=1, auto_window=False)
    assert kind(gate) == ["tiny_windows"]


def test_windows_that_our_data_explains(weir, origin):
    """One that is opened by a hundred bytes again and again is slow, and no abuse."""
    gate = weir(one_service(origin()))
    size = 300_000
    with http2.Client(gate.port, window=100, auto_window=False) as c:
        m = c.message(c.start(path=f"/bytes/{size}"))
        given = 0
        while len(m.body) < size:  # two updates for a hundred bytes: 6,000
            given += 100
            c.read_until(lambda given=given: len(m.body) >= given or m.over or c.goaway)
            assert (m.reset, c.goaway) == (None, None)
            c.send(http2.window_update(0, 100) + http2.window_update(1, 100))
        c.read_until(lambda: m.over)
        assert (len(m.body), m.reset, c.goaway) == (size, None, None)


def test_no_more_run_than_twice_those_that_may_be_open(weir, scripted):
    """Where servers go on with what was taken back."""
    hold = threading.Event()

    def serve(peer):
        while peer.read_request():
            hold.wait(60)
            peer.send(answer("late"))

    gate = weir(one_service(scripted(serve), root="client: {cancel_when_gone: off, http2: {streams_max: 2}}"))
    with http2.Client(gate.port) as c:
        for n in range(4):
            stream = c.start()
            wait_until(lambda n=n: gate.metric("weir_http2_requests_total") == n + 1, 20, "it has begun")
            c.send(http2.reset_frame(stream))
        assert c.response(c.start()).reset == http2.REFUSED_STREAM
        assert gate.metric("weir_http2_refused_total") == 1 and gate.metric("weir_http2_requests_total") == 4
        hold.set()
        wait_until(lambda: len(gate.access()) == 4, 20)
        assert c.get().text == "late"


def test_a_window_that_stays_shut(weir, origin):
    """The stream is given up after write_timeout, and its server is free again; others go on meanwhile."""
    gate = weir(one_service(origin(), root="client: {write_timeout: 2s}"))
    with http2.Client(gate.port, window=0, auto_window=False) as c:
        stream = c.start(path="/bytes/100000")
        c.read_until(lambda: c.message(stream).reset is not None)
        assert c.get("/bytes/0").status == 200
    wait_until(lambda: any(line["target"] == "/bytes/100000" for line in gate.access()), 20)


def test_a_head_that_does_not_end(weir, scripted):
    gate = weir(one_service(scripted(answer("here")), root="client: {head_timeout: 2s}"))
    with http2.Client(gate.port) as c:
        c.read_until(lambda: c.settled)  # their acknowledgement may not stand inside the head
        c.send(http2.frame(http2.HEADERS, http2.END_STREAM, 1, c.encoder.encode([(":method", "GET")])))
        c.read_to_end()
        assert c.goaway[1] == http2.NO_ERROR
    with http2.Client(gate.port) as c:
        assert c.get().text == "here"


def test_a_client_that_says_nothing_after_its_preface(weir, scripted):
    gate = weir(one_service(scripted(answer("here")), root="client: {head_timeout: 1s, idle_timeout: 1h}"))
    with Client(gate.port) as silent:
        silent.send(http2.PREFACE)
        assert silent.read_all()
    with http2.Client(gate.port) as c:  # one that has said its settings may rest
        c.read_until(lambda: c.settled)
        with Client(gate.port) as silent:
            silent.send(http2.PREFACE)
            silent.read_all()
        assert c.get().text == "here"


def test_bodies_together_have_a_window(weir, scripted):
    """What no server has taken counts over all requests of a connection; then all of them wait, until it is taken."""
    hold = threading.Event()

    def serve(peer):
        while True:
            head = peer.read_until(b"\r\n\r\n")
            hold.wait(60)
            peer.read_exactly(60000 if b"POST" in head else 0)
            peer.send(answer("taken"))

    gate = weir(one_service(scripted(serve), service="connections_max: 1, wait_timeout: 60s, waiting_max: 100",
                            root="workers: 1\nclient: {http2: {connection_window: 100000, window: 64k}}"))
    with http2.Client(gate.port) as c:
        first = c.start()
        wait_until(lambda: gate.metric("weir_http2_requests_total") == 1, 20)
        streams = [c.start("POST", fields=[("content-length", "60000")], end=False) for _ in range(8)]
        left, sent = dict.fromkeys(streams, 60000), 0

        def send_on():
            """As far as the connection's window lets."""
            nonlocal sent
            for stream in streams:
                n = min(left[stream], 65535 + c.updates.get(0, 0) - sent, 10000)
                if n:
                    left[stream], sent = left[stream] - n, sent + n
                    c.send_body(stream, b"x" * n, end=not left[stream])

        before = -1
        while sent > before:  # a PING's answer comes behind what opens the window
            before, pongs = sent, c.pongs
            c.send(http2.frame(http2.PING, 0, 0, b"12345678"))
            c.read_until(lambda: c.pongs > pongs)
            send_on()
        assert 100000 <= sent <= 200000
        hold.set()
        while any(left.values()):
            before = sent
            send_on()
            if sent == before:
                c.read_frame()
        assert {c.response(stream).text for stream in [first, *streams]} == {"taken"}


def test_bodies_that_nobody_takes_are_given_back(weir):
    """They came with their heads, which were refused: the connection's window opens again all the same."""
    gate = weir("routes: [{match: /*, respond: 403}]\nclient: {http2: {connection_window: 70000, window: 64k}}")
    with http2.Client(gate.port) as c:
        c.read_until(lambda: c.settled)
        for sent in range(0, 300_000, 15_000):
            c.read_until(lambda sent=sent: 65535 + c.updates.get(0, 0) - sent >= 15_000)
            stream, c.next_stream = c.next_stream, c.next_stream + 2
            fields = [(":method", "POST"), (":scheme", "http"), (":authority", "test"), (":path", "/")]
            c.send(c.headers(stream, fields) + http2.frame(http2.DATA, http2.END_STREAM, stream, bytes(15_000)))
            assert c.response(stream).status == 403


def test_patience(weir, scripted):
    gate = weir(one_service(scripted(answer("here")), root="client: {http2: {patience: 0}}"))
    with http2.Client(gate.port) as c:
        for _ in range(30):
            c.send(FRAMES["settings"] * 20)
            assert c.get().text == "here"
