"""doc/websocket.md: clients on a stream of HTTP/2 (RFC 8441)."""
import signal
import struct
import threading

from lib import http2
from lib.conf import one_service
from lib.process import wait_until
from lib.servers import answer
from lib.websocket import ASK, CLOSE, PING, PONG, TEXT, Script, accept, echo, frame, logged, read_frame


class Http2Socket(http2.Client):
    """A WebSocket on a stream; read_frame of lib.websocket reads from it."""

    def __init__(self, port, path="/", fields=(), **options):
        super().__init__(port, **options)
        self.read_until(lambda: self.settled)
        assert self.settings[http2.ENABLE_CONNECT] == 1
        self.stream = self.raw_head([(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"),
                                     (":path", path), (":authority", "test"), ("sec-websocket-version", "13"),
                                     ("origin", "http://test"), *fields], end=False)
        self.got = self.message(self.stream)
        self.read_until(lambda: self.got.headed)

    def opened(self):
        assert self.got.status == 200, self.got.fields
        assert not any(self.got.get(n) for n in ("upgrade", "connection", "sec-websocket-accept"))
        return self

    def say(self, opcode, payload=b""):
        self.send_body(self.stream, frame(opcode, payload, masked=True), end=False)

    def read_exactly(self, size):
        self.read_until(lambda: len(self.got.body) >= size)
        data, self.got.body = self.got.body[:size], self.got.body[size:]
        return data

    def ended(self):
        self.read_until(lambda: self.got.over)
        return self.got.ended and not self.got.body


def test_on_a_stream(weir, scripted, each_loop):
    heads = []

    def serve(peer):
        heads.append(accept(peer, "Sec-WebSocket-Protocol: chat\r\n", first=frame(TEXT, "welcome")))
        while True:
            got = read_frame(peer)
            assert got.masked
            peer.send(frame(got.opcode, got.payload, fin=got.fin))
            if got.opcode == CLOSE:
                return
    gate = weir(one_service(scripted(serve), route="websocket: {}"))
    with Http2Socket(gate.port, "/chat?x=1", [("sec-websocket-protocol", "chat")]) as c:
        assert c.opened().got.get("sec-websocket-protocol") == "chat"
        assert read_frame(c).payload == b"welcome"
        for text in ("hello", "", "x" * 70000):
            c.say(TEXT, text)
            got = read_frame(c)
            assert (got.opcode, got.payload.decode(), got.masked) == (TEXT, text, False)
        data = frame(TEXT, "in pieces", masked=True) + frame(PING, "p", masked=True)
        for i in range(len(data)):
            c.send(http2.frame(http2.DATA, 0, c.stream, data[i:i + 1]))
        assert [read_frame(c).opcode for _ in range(2)] == [TEXT, PING]
        c.say(CLOSE, struct.pack(">H", 1000))
        assert read_frame(c).code == 1000 and c.ended()
    head = heads[0].decode().lower()
    assert head.startswith("get /chat?x=1 http/1.1") and "upgrade: websocket" in head and "connection: upgrade" in head
    line = logged(gate)
    assert (line["status"], line["websocket_code"]) == (200, 1000)
    assert gate.metric("weir_websocket_client_messages_total", route="/*") == 4
    assert gate.metric("weir_websocket_open") == 0


def test_on_a_stream_time_passes_too(weir, scripted, each_loop):
    script = Script(scripted)
    gate = weir(one_service(script.server, route="websocket: {ping: 200ms, pong_timeout: 600ms, close_timeout: 1s}"))
    with Http2Socket(gate.port) as c:
        peer = script.wait()
        for _ in range(3):
            ping, theirs = read_frame(c.opened()), read_frame(peer)
            assert (ping.opcode, theirs.opcode) == (PING, PING)
            c.say(PONG, ping.payload)
            peer.send(frame(PONG, theirs.payload))

        def answer_pings():
            while (got := read_frame(peer)).opcode == PING:
                peer.send(frame(PONG, got.payload))
            assert got.code == 1001
            peer.send(frame(CLOSE, got.payload))
        threading.Thread(target=answer_pings, daemon=True).start()
        while (got := read_frame(c)).opcode == PING:
            pass
        assert got.code == 1011 and c.ended()
    assert gate.metric("weir_websocket_pings_lost_total", route="/*") == 1


def test_on_a_stream_the_ends(weir, scripted):
    """A broken frame, a stream that is taken back, a server that leaves, and a weir that stops."""
    gate = weir(one_service(scripted(echo), root="drain_timeout: 20s"))
    with Http2Socket(gate.port) as c:
        c.opened().send_body(c.stream, frame(TEXT, "not masked"), end=False)
        assert read_frame(c).code == 1002 and c.ended()
    with Http2Socket(gate.port) as c:
        c.opened().send(http2.reset_frame(c.stream))
        wait_until(lambda: gate.metric("weir_websocket_open") == 0, 20)
    with Http2Socket(gate.port) as c:
        c.opened().send(http2.frame(http2.DATA, http2.END_STREAM, c.stream))
        assert c.ended()
    wait_until(lambda: gate.metric("weir_websocket_open") == 0, 20)
    with Http2Socket(gate.port) as c:
        c.opened().say(TEXT, "x")
        read_frame(c)
        gate.signal(signal.SIGTERM)
        assert read_frame(c).code == 1001
        c.say(CLOSE, struct.pack(">H", 1001))
        assert c.ended()
    assert gate.wait(20) == 0 and "are cut" not in gate.log()


def test_on_a_stream_nothing_but_a_proof_is_a_success(weir, scripted):
    gate = weir(one_service(scripted(answer("plain"))))
    with Http2Socket(gate.port) as c:
        assert c.got.status == 502
    gate.reload(one_service(scripted(echo), route="websocket: off"))
    with Http2Socket(gate.port) as c:
        assert c.got.status == 403


def test_servers_of_http2_get_none(weir):
    gate = weir(one_service("127.0.0.1:1", service="protocol: http2"))
    response = gate.get("/", ASK)
    assert response.status == 501 and "HTTP/1.1" in response.text
