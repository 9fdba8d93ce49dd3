"""WebSocket over HTTP/2 (extended CONNECT, RFC 8441), to servers of HTTP/1.1."""
import socket
import struct
import threading

import pytest

from lib import http2
from lib.client import Closed
from lib.conf import one_service
from lib.process import wait_until
from lib.websocket import CLOSE, PING, PONG, TEXT, accept, close, echo, frame, read_frame
from lib.websocket_streams import Stream, ask

pytestmark = pytest.mark.usefixtures("each_loop")


def echoed(chat, text):
    chat.say(TEXT, text)
    got = read_frame(chat)
    assert (got.opcode, got.payload) == (TEXT, text.encode())


def test_several_and_requests_beside_them(weir, scripted, origin):
    gate = weir(f"""
        routes: [{{match: /chat, service: chat}}, {{match: /*, service: shop}}]
        services:
          chat: {{servers: ["{scripted(echo).address}"]}}
          shop: {{servers: ["{origin().address}"]}}
    """)
    with http2.Client(gate.port) as c:
        c.read_until(lambda: c.settled)
        assert c.settings[http2.ENABLE_CONNECT] == 1
        chats = [Stream.opened(c) for _ in range(5)]
        for chat in chats:
            assert chat.message.status == 200
            assert not {"upgrade", "connection", "sec-websocket-accept"} & {k for k, _ in chat.message.fields}
        for n in range(3):
            for chat in chats:
                echoed(chat, f"message {n}")
            assert len(c.get("/bytes/1000").body) == 1000
        echoed(chats[0], "x" * 60000)
        chats[0].say(PING, "p")
        assert read_frame(chats[0]).opcode == PONG
        c.send_body(chats[0].id, close(1000, masked=True), end=True)
        got = read_frame(chats[0])
        assert (got.opcode, got.code) == (CLOSE, 1000)
        c.read_until(lambda: chats[0].message.over)
        assert chats[0].message.reset in (None, http2.NO_ERROR)
        echoed(chats[1], "still there")
    wait_until(lambda: sum(line["target"] == "/chat" for line in gate.access()) == 5, 20)


def test_a_lot_of_it_waits_for_windows(weir, scripted):
    """The server says more than the client's window takes; nothing is lost and nobody waits for it."""
    def serve(peer):
        accept(peer)
        for _ in range(40):
            peer.send(frame(TEXT, "y" * 10000))
        read_frame(peer)

    gate = weir(one_service(scripted(serve)))
    with http2.Client(gate.port) as c:
        chat = Stream.opened(c)
        for _ in range(40):
            assert read_frame(chat).payload == b"y" * 10000
        chat.say(TEXT, "enough")


def test_a_stream_that_is_reset_ends_its_server(weir, scripted):
    gone = []

    def serve(peer):
        try:
            echo(peer)
        finally:
            gone.append(True)

    gate = weir(one_service(scripted(serve)))
    with http2.Client(gate.port) as c:
        chat = Stream.opened(c)
        echoed(chat, "hello")
        c.send(http2.reset_frame(chat.id))
        wait_until(lambda: gone, 20, "the server's connection ends")
        assert Stream.opened(c).message.status == 200
    wait_until(lambda: len(gone) == 2, 20, "so does the other with its connection")


def test_a_server_that_breaks_off_resets_the_stream(weir, scripted):
    """Its end is none in good order, and is not made one."""
    def serve(peer):
        accept(peer, first=frame(TEXT, "half of a"))
        read_frame(peer)
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.socket.close()

    gate = weir(one_service(scripted(serve)))
    with http2.Client(gate.port) as c:
        chat = Stream.opened(c)
        assert read_frame(chat).payload == b"half of a"
        chat.say(TEXT, "break off")
        c.read_until(lambda: chat.message.over)
        assert chat.message.reset is not None and not chat.message.ended


def test_what_is_still_to_be_said_ends_with_its_connection(weir, scripted):
    """A client that takes nothing: the WebSocket is over, what it had to say is not, and the connection is given up."""
    def serve(peer):
        accept(peer)
        try:
            for _ in range(1000):
                peer.send(frame(TEXT, "y" * 60000))
        except (Closed, OSError):
            pass

    gate = weir(one_service(scripted(serve), root="client: {write_timeout: 2s}",
                            route="websocket: {ping: 200ms, pong_timeout: 200ms, close_timeout: 100ms}"))
    with http2.Client(gate.port, window=2**31 - 1) as c:
        c.send(http2.window_update(0, 2**30))
        Stream.opened(c)
        wait_until(lambda: gate.access(), 20, "the WebSocket is over")
        wait_until(lambda: gate.metric("weir_http2_connections") != 1, 20)
    assert gate.metric("weir_http2_connections") == 0
    with http2.Client(gate.port) as one, http2.Client(gate.port) as other:
        assert Stream.opened(one).message.status == Stream.opened(other).message.status == 200
        assert gate.metric("weir_http2_connections") == 2


def test_nothing_reaches_the_server_before_its_101(weir, scripted):
    """What the client has said on its stream by then comes behind it, whole."""
    asked, go, seen = threading.Event(), threading.Event(), []

    def serve(peer):
        head = peer.read_until(b"\r\n\r\n")
        asked.set()
        go.wait(60)
        peer.socket.setblocking(False)
        try:
            seen.append(peer.socket.recv(1000))
        except BlockingIOError:
            seen.append(b"")
        peer.socket.settimeout(20)
        peer.read_until = lambda mark: head
        accept(peer)
        seen.extend(read_frame(peer).payload for _ in range(2))

    gate = weir(one_service(scripted(serve)))
    with http2.Client(gate.port) as c:
        stream = c.raw_head(ask("/"), end=False)
        c.send_body(stream, frame(TEXT, "too early", masked=True) + frame(TEXT, "x" * 30000, masked=True), end=False)
        assert asked.wait(20)
        c.send(http2.frame(http2.PING, 0, 0, b"12345678"))
        c.read_until(lambda: c.pongs)  # weir has read the frames
        go.set()
        c.read_until(lambda: c.message(stream).headed)
        assert c.message(stream).status == 200
        wait_until(lambda: len(seen) == 3, 20)
    assert seen == [b"", b"too early", b"x" * 30000]


@pytest.mark.parametrize("said,status", [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 502),
    (b"HTTP/1.1 204 No Content\r\n\r\n", 502),
    (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", 404),
    (b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", 502),
    (b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
     b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n", 502),
], ids=["ok", "no content", "not found", "no proof", "another key's"])
def test_what_is_no_acceptance_is_taken_for_none(weir, scripted, said, status):
    """A 2xx opens a WebSocket here, whatever the server meant by it."""
    gate = weir(one_service(scripted(said)))
    with http2.Client(gate.port) as c:
        assert Stream.opened(c).message.status == status
        wait_until(lambda: [line["status"] for line in gate.access()] == [status], 20)
        assert c.get().status in (200, 204, 404, 502)  # the connection goes on


def test_refused_as_over_http1(weir, scripted):
    gate = weir(one_service(scripted(echo)))
    with http2.Client(gate.port) as c:
        stream = c.raw_head(ask(version="12"), end=False)
        c.read_until(lambda: c.message(stream).headed)
        assert c.message(stream).status == 426
        stream = c.raw_head(ask(protocol="other"), end=False)
        c.read_until(lambda: c.message(stream).headed)
        assert c.message(stream).status == 501
    off = weir(one_service(scripted(echo), root="client: {http2: {connect: false}}"))
    with http2.Client(off.port) as c:
        c.read_until(lambda: c.settled)
        assert http2.ENABLE_CONNECT not in c.settings
        stream = c.raw_head(ask(), end=False)
        assert c.response(stream).reset == http2.PROTOCOL_ERROR


def test_the_stop_says_going_away(weir, scripted):
    gate = weir(one_service(scripted(echo)))
    with http2.Client(gate.port) as c:
        chat = Stream.opened(c)
        echoed(chat, "hello")
        gate.signal(15)
        got = read_frame(chat)
        assert (got.opcode, struct.unpack(">H", got.payload[:2])[0]) == (CLOSE, 1001)
    gate.wait(20)
