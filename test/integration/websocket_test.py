"""doc/websocket.md, against the running gate."""
import signal
import struct
import threading
import time

import pytest

from lib.conf import one_service
from lib.process import wait_until
from lib.servers import answer
from lib.websocket import (ASK, BINARY, CLOSE, CONT, PING, PONG, TEXT, Script, WebSocket, accept, close, echo, frame, logged,
                           read_frame)


def pair(weir, scripted, route="websocket: {}", service="", extra="", root=""):
    """The gate, and both ends of one connection through it."""
    script = Script(scripted, extra)
    gate = weir(one_service(script.server, route=route, service=service, root=root))
    client = WebSocket(gate.port, timeout=20).opened()
    return gate, client, script.wait()


# ---- what passes

def test_messages_pass_both_ways_until_it_is_closed(weir, scripted, each_loop):
    gate = weir(one_service(scripted(echo), route="websocket: {}"))
    with WebSocket(gate.port).opened() as client:
        for text in ("hello", "", "x" * 126, "y" * 70000, "z" * 1000000):
            client.echoed(text)
        client.say(TEXT, "frag", fin=False)
        client.say(PING, "in between")
        client.say(CONT, "ments")
        assert [(f.opcode, f.payload, f.fin) for f in (client.read() for _ in range(3))] == [
            (TEXT, b"frag", False), (PONG, b"in between", True), (CONT, b"ments", True)]
        client.send(close(4321, "enough", masked=True))
        got = client.read()
        assert (got.opcode, got.code, got.payload[2:]) == (CLOSE, 4321, b"enough")
        assert client.read_all() == b""
    line = logged(gate)
    assert (line["status"], line["websocket_code"]) == (101, 4321) and line["request_bytes"] > 1070000
    assert gate.metric("weir_websocket_client_messages_total", route="/*") == 6
    assert gate.metric("weir_websocket_server_messages_total", route="/*") == 6
    assert gate.metric("weir_websocket_closes_total", route="/*", code="other") == 1
    assert gate.metric("weir_websocket_open") == 0


def test_frames_may_come_in_any_pieces(weir, scripted, each_loop):
    gate = weir(one_service(scripted(echo)))
    with WebSocket(gate.port).opened() as client:
        data = frame(TEXT, "a" * 130, masked=True) + frame(PING, "p", masked=True) + frame(BINARY, "b", masked=True)
        for i in range(len(data)):
            client.send(data[i:i + 1])
        assert [f.opcode for f in (client.read() for _ in range(3))] == [TEXT, PONG, BINARY]
        client.echoed("and on")


def test_extensions_and_subprotocols_are_theirs(weir, scripted):
    extra = "Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: chat\r\n"
    script = Script(scripted, extra)
    gate = weir(one_service(script.server))
    client = WebSocket(gate.port, headers={"Sec-WebSocket-Extensions": "permessage-deflate",
                                           "Sec-WebSocket-Protocol": "chat, other"}).opened()
    assert client.response.get("sec-websocket-protocol") == "chat"
    peer = script.wait()
    assert b"\r\nSec-WebSocket-Protocol: chat, other\r\n" in script.head
    client.say(TEXT, b"\xf2\x48\xcd\xc9\xc9\x07\x00", rsv=4)
    assert read_frame(peer).payload == b"\xf2\x48\xcd\xc9\xc9\x07\x00"


def test_what_the_server_says_at_once_arrives(weir, scripted):
    def serve(peer):
        accept(peer, first=frame(TEXT, "welcome"))
        read_frame(peer)

    gate = weir(one_service(scripted(serve)))
    client = WebSocket(gate.port).opened()
    assert client.read().payload == b"welcome"


def test_a_slow_reader_slows_the_writer_and_nothing_is_lost(weir, scripted, each_loop):
    count, size = 400, 20000

    def serve(peer):
        accept(peer)
        for i in range(count):
            peer.send(frame(BINARY, struct.pack(">I", i) * (size // 4)))
        assert read_frame(peer).opcode == CLOSE
        peer.send(close(1000))

    gate = weir(one_service(scripted(serve), route="websocket: ping every 100s"))
    client = WebSocket(gate.port).opened()
    wait_until(lambda: gate.metric("weir_websocket_server_bytes_total") > 0, 20)
    for i in range(count):
        assert client.read().payload == struct.pack(">I", i) * (size // 4)
    client.send(close(1000, masked=True))
    assert client.read().code == 1000


def test_other_protocols_are_plain_tunnels(weir, scripted):
    def serve(peer):
        peer.read_until(b"\r\n\r\n")
        peer.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: own\r\n\r\n\xff\xff")
        peer.send(peer.read_exactly(4).upper())

    gate = weir(one_service(scripted(serve), route="websocket: off"))
    with gate.connect() as client:
        client.send_request("GET", "/", {"Connection": "Upgrade", "Upgrade": "own"})
        assert client.read_response().status == 101
        client.send(b"abcd")
        assert client.read_all() == b"\xff\xffABCD"
    assert "websocket_code" not in logged(gate)


# ---- the handshake

@pytest.mark.parametrize("change,status", [
    ({"Sec-WebSocket-Version": "8"}, 426),
    ({"Sec-WebSocket-Version": None}, 426),
    ({"Sec-WebSocket-Key": None}, 400),
    ({"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ="}, 400),
    ({"Sec-WebSocket-Key": "c2hvcnQ="}, 400),
    ({"Content-Length": "3"}, 400),
    ({"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}, 400),
    ({"Sec-WebSocket-Version": "13\r\nSec-WebSocket-Version: 13"}, 426),
])
def test_what_is_no_proper_request_reaches_no_server(weir, scripted, change, status):
    server = scripted(echo)
    gate = weir(one_service(server, route="websocket: {}"))
    headers = {n: v for n, v in {**ASK, **change}.items() if v is not None}
    with gate.connect() as client:
        response = client.request("GET", "/", headers, b"abc" if "Content-Length" in change else None)
        assert response.status == status, response
        if status == 426:
            assert response.get("sec-websocket-version") == "13"
            assert (response.get("upgrade"), response.get("connection")) == ("websocket", "upgrade")
        assert client.get("/", {**headers, "Sec-WebSocket-Version": "7"}).status in (426, 400)  # it goes on
    assert not server.connections
    assert gate.metric("weir_websocket_refused_total", route="/*") >= 1


@pytest.mark.parametrize("head", [
    "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {bad}\r\n\r\n",
    "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "HTTP/1.1 101 x\r\nUpgrade: other\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {good}\r\n\r\n",
    "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {good}\r\n\r\n",
    "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {good}\r\n"
    "Sec-WebSocket-Accept: {bad}\r\n\r\n",
])
def test_an_answer_that_proves_nothing_is_502(weir, scripted, head):
    text = head.format(good="s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", bad="t3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    gate = weir(one_service(scripted(text.encode()), route="websocket: {}"))
    client = WebSocket(gate.port)
    assert client.response.status == 502
    assert gate.metric("weir_websocket_unproven_total", route="/*") == 1


def test_nothing_reaches_the_server_before_its_101(weir, scripted):
    seen, go = [], threading.Event()

    def serve(peer):
        head = peer.read_until(b"\r\n\r\n")
        peer.socket.settimeout(0.3)
        try:
            peer.more()
        except TimeoutError:
            pass
        seen.append(peer.buffer)
        peer.socket.settimeout(30)
        go.wait(30)
        peer.read_until = lambda mark, head=head: head
        accept(peer)
        seen.append(read_frame(peer).payload)

    gate = weir(one_service(scripted(serve)))
    go.set()
    WebSocket(gate.port, behind=frame(TEXT, "too early", masked=True)).opened()
    wait_until(lambda: len(seen) == 2, 20)
    assert seen == [b"", b"too early"]


def test_what_stood_behind_a_request_that_was_not_taken_is_the_next_request(weir, scripted):
    server = scripted(answer("plain"))
    gate = weir(one_service(server))
    client = WebSocket(gate.port, behind=b"GET /next HTTP/1.1\r\nHost: test\r\n\r\n")
    assert (client.response.status, client.response.text) == (200, "plain")
    assert client.read_response().text == "plain"
    frames = WebSocket(gate.port, behind=frame(TEXT, "a frame", masked=True))
    assert frames.response.status == 200 and frames.read_response().status == 400
    assert [r.split(b" ", 2)[1] for r in server.requests] == [b"/", b"/next", b"/"]


def test_who_may_not(weir, scripted):
    server = scripted(echo)
    gate = weir(one_service(server, route="websocket: {origins: ['https://shop.example']}"))
    assert WebSocket(gate.port, headers={"Origin": "https://evil.example"}).response.status == 403
    for headers in ({"Origin": "https://shop.example"}, {}):
        WebSocket(gate.port, headers=headers).opened().echoed("in")
    gate.reload(one_service(server, route="websocket: off"))
    response = WebSocket(gate.port).response
    assert response.status == 403 and "no WebSocket" in response.text


def test_it_begins_with_a_get(weir, scripted):
    server = scripted(echo)
    gate = weir(one_service(server))
    assert gate.request("POST", "/", ASK).status == 400 and not server.connections


# ---- limits

def test_so_many_and_no_more(weir, scripted):
    gate = weir(one_service(scripted(echo), route="websocket: up to 3"))
    held = [WebSocket(gate.port).opened() for _ in range(3)]
    refused = WebSocket(gate.port).response
    assert refused.status == 503 and refused.get("retry-after") and "WebSocket" in refused.text
    gate.reload()  # they stay counted
    assert WebSocket(gate.port).response.status == 503
    assert gate.metric("weir_websocket_open", route="/*") == 3
    held.pop().close()
    wait_until(lambda: gate.metric("weir_websocket_open", route="/*") == 2, 20)
    held.append(WebSocket(gate.port).opened().echoed("in"))


def test_a_message_that_is_too_long(weir, scripted):
    gate, client, peer = pair(weir, scripted, "websocket: {message_bytes_max: 1000}")
    client.say(TEXT, "a" * 600, fin=False)
    assert len(read_frame(peer).payload) == 600
    client.say(CONT, "b" * 401)
    got = read_frame(peer)
    assert (got.opcode, got.code, got.masked) == (CLOSE, 1001, True)
    assert client.read().code == 1009
    peer.send(frame(CLOSE, got.payload))
    client.send(close(1009, masked=True))
    assert client.read_all() == b"" and logged(gate)["websocket_code"] == 1009


def test_a_servers_message_that_is_too_long(weir, scripted):
    gate, client, peer = pair(weir, scripted, "websocket: {message_bytes_max: 1000}")
    peer.send(frame(TEXT, "a" * 1000) + frame(TEXT, "b" * 1001))
    assert client.read().payload == b"a" * 1000
    assert client.read().code == 1001 and read_frame(peer).code == 1009


@pytest.mark.parametrize("data,code", [
    (frame(TEXT, "not masked"), 1002),
    (frame(3, "reserved", masked=True), 1002),
    (frame(TEXT, "x", masked=True, rsv=4), 1002),
    (frame(CONT, "of nothing", masked=True), 1002),
    (frame(PING, "in pieces", masked=True, fin=False), 1002),
    (frame(CLOSE, b"\x03", masked=True), 1002),
    (frame(CLOSE, b"\x03\xed", masked=True), 1002),
    (frame(CLOSE, b"\x03\xe8\xff", masked=True), 1007),
], ids=["unmasked", "opcode", "rsv", "continuation", "fragment", "half a code", "code", "reason"])
def test_a_client_that_breaks_the_protocol(weir, scripted, data, code):
    gate, client, peer = pair(weir, scripted)
    client.send(frame(TEXT, "good", masked=True) + data + frame(TEXT, "after", masked=True))
    assert read_frame(peer).payload == b"good"
    got = read_frame(peer)
    assert (got.opcode, got.code) == (CLOSE, 1001)
    peer.send(frame(CLOSE, got.payload))
    assert client.read().code == code
    assert client.read_all() == b"" and peer.read_all() == b""
    assert logged(gate)["websocket_code"] == code


def test_a_server_that_breaks_the_protocol(weir, scripted):
    gate, client, peer = pair(weir, scripted)
    peer.send(frame(TEXT, "good") + frame(TEXT, "masked", masked=True))
    assert client.read().payload == b"good"
    assert client.read().code == 1014 and read_frame(peer).code == 1002
    client.send(close(1000, masked=True))
    assert client.read_all() == b""


# ---- time

def test_pings_keep_a_quiet_connection_and_stay_the_gates(weir, scripted, each_loop):
    gate, client, peer = pair(weir, scripted, "websocket: {ping: 200ms, pong_timeout: 20s}", "idle_timeout: 500ms")
    for _ in range(4):
        ping, theirs = client.read(), read_frame(peer)
        assert (ping.opcode, ping.masked) == (PING, False) and (theirs.opcode, theirs.masked) == (PING, True)
        client.say(PONG, ping.payload)
        peer.send(frame(PONG, theirs.payload))
    client.say(TEXT, "done")
    peer.send(frame(TEXT, "done"))

    def text(end):
        while (got := read_frame(end)).opcode == PING:
            pass
        return got.opcode, got.payload
    assert text(client) == text(peer) == (TEXT, b"done")  # and no pong before it
    assert gate.metric("weir_websocket_pings_total") >= 8 and gate.metric("weir_websocket_pings_lost_total") == 0


def test_a_side_that_does_not_answer_pings(weir, scripted):
    gate, client, peer = pair(weir, scripted, "websocket: {ping: 200ms, pong_timeout: 600ms, close_timeout: 1s}")
    pongs = threading.Event()

    def serve():
        while (got := read_frame(peer)).opcode == PING:
            peer.send(frame(PONG, got.payload))
        assert got.code == 1001
        peer.send(frame(CLOSE, got.payload))
        pongs.set()
    threading.Thread(target=serve, daemon=True).start()
    while (got := client.read()).opcode == PING:
        pass
    assert (got.opcode, got.code) == (CLOSE, 1011) and pongs.wait(20)
    assert client.read_all() == b""
    assert gate.metric("weir_websocket_pings_lost_total", route="/*") == 1
    assert gate.metric("weir_websocket_closes_total", code="1011") == 1


def test_one_on_which_nobody_says_anything(weir, scripted, each_loop):
    gate, client, peer = pair(weir, scripted, "websocket: {idle_timeout: 500ms}")
    assert (client.read().code, read_frame(peer).code) == (1001, 1001)
    client.send(close(1001, masked=True))
    peer.send(close(1001))
    assert client.read_all() == b"" and logged(gate)["websocket_code"] == 1001


def test_the_sides_own_pings_are_something_said(weir, scripted):
    """For longer than idle_timeout there is nothing else; then nobody says anything any more."""
    gate = weir(one_service(scripted(echo), route="websocket: {idle_timeout: 1500ms}"))
    client = WebSocket(gate.port, timeout=20).opened()
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        client.say(PING, "mine")
        got = client.read()
        assert (got.opcode, got.payload) == (PONG, b"mine")
    assert client.read().code == 1001


def test_without_settings_it_is_the_services_idle_timeout(weir, scripted):
    gate, client, peer = pair(weir, scripted, service="idle_timeout: 500ms")
    assert (client.read().code, read_frame(peer).code) == (1001, 1001)


def test_a_close_in_the_middle_of_a_frame_waits_for_its_end(weir, scripted):
    gate, client, peer = pair(weir, scripted, "websocket: {idle_timeout: 700ms, close_timeout: 20s}")
    whole = frame(TEXT, "x" * 100)
    peer.send(whole[:50])
    assert read_frame(peer).code == 1001
    peer.send(whole[50:] + close(1001))
    assert client.read().payload == b"x" * 100
    assert client.read().code == 1001


def test_ends_without_a_close(weir, scripted):
    gate, client, peer = pair(weir, scripted)
    client.close()
    assert peer.read_all() == b""
    peer.close()
    assert logged(gate)["websocket_code"] == 1006
    assert gate.metric("weir_websocket_closes_total", code="1006") == 1


# ---- reloads, upgrades, and the end

def test_a_connection_outlives_a_reload(weir, scripted):
    server = scripted(echo)
    gate = weir(one_service(server))
    client = WebSocket(gate.port).opened().echoed("before")
    gate.reload(one_service(server, route="websocket: off"))
    client.echoed("after")
    gate.reload("routes: [{match: /other, respond: 204}]\n")
    client.echoed("and after that")


def test_a_connection_stays_with_the_old_process_of_an_upgrade(weir, scripted):
    gate = weir(one_service(scripted(echo)))
    client = WebSocket(gate.port).opened().echoed("before")
    gate.upgrade()
    client.echoed("after")
    WebSocket(gate.port).opened().echoed("with the new one")
    assert gate.predecessors() == 1
    client.send(close(1000, masked=True))
    assert client.read().code == 1000
    wait_until(lambda: gate.predecessors() == 0, 20, "the old process ends with it")


def test_the_old_process_says_1001_before_its_time_is_over(weir, scripted):
    gate = weir(one_service(scripted(echo), root="upgrade: {drain_timeout: 4s}"))
    client = WebSocket(gate.port, timeout=20).opened()
    gate.upgrade()
    assert client.read().code == 1001
    client.send(close(1001, masked=True))
    assert client.read_all() == b""
    wait_until(lambda: gate.predecessors() == 0, 20)
    assert "are cut" not in gate.log()


def test_stopping_says_1001_to_both(weir, scripted, each_loop):
    script = Script(scripted)
    gate = weir(one_service(script.server, root="drain_timeout: 20s"))
    client = WebSocket(gate.port, timeout=20).opened()
    peer = script.wait()
    gate.signal(signal.SIGTERM)
    assert (client.read().code, read_frame(peer).code) == (1001, 1001)
    peer.send(frame(TEXT, "too late") + close(1001))
    client.send(close(1001, masked=True))
    assert client.read_all() == b""
    assert gate.wait(20) == 0 and "are cut" not in gate.log()


def test_stopping_does_not_wait_for_those_who_do_not_answer(weir, scripted):
    script = Script(scripted)
    gate = weir(one_service(script.server, route="websocket: {close_timeout: 300ms}", root="drain_timeout: 60s"))
    client = WebSocket(gate.port, timeout=20).opened()
    script.wait()
    gate.signal(signal.SIGTERM)
    assert gate.wait(20) == 0 and "are cut" not in gate.log()
    assert client.read().code == 1001


@pytest.mark.parametrize("text,words", [
    ("{ping: 1m, idle_timeout: 30s}", "before the first ping"),
    ("{ping: 1ms}", "1ms is out of bounds"),
    ("maybe", "websocket"),
])
def test_settings_that_cannot_work(weir, text, words):
    gate = weir(one_service("127.0.0.1:1", route=f"websocket: {text}"), ready=False)
    assert gate.wait(20) != 0 and words in gate.log()
    gate.status_expected = gate.wait()


def test_servers_of_http2_get_none(weir):
    gate = weir(one_service("127.0.0.1:1", service="protocol: http2"))
    response = gate.get("/", ASK)
    assert response.status == 501 and "HTTP/1.1" in response.text
