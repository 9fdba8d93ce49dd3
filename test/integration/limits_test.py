"""What one client may cost, by name: sizes and times."""
import socket
import threading
import time

import pytest

from lib.client import Closed, parse_all
from lib.conf import one_service
from lib.process import wait_until
from lib.servers import answer

pytestmark = pytest.mark.usefixtures("each_loop")


def limited(weir, server, **client):
    settings = ", ".join(f"{k}: {v}" for k, v in client.items())
    return weir(one_service(server, root=f"client: {{{settings}}}"))


def refused(gate, data, status):
    """One answer with that status, then the end."""
    answers = parse_all(gate.raw(data))
    assert [a.status for a in answers] == [status]
    assert answers[0].get("connection").lower() == "close"


def head(*fields, path="/", method="GET"):
    return (f"{method} {path} HTTP/1.1\r\nHost: a\r\n" + "".join(f"{f}\r\n" for f in fields) + "\r\n").encode()


def test_line_bytes_max(weir, scripted):
    server = scripted(answer())
    gate = limited(weir, server, line_bytes_max=100)
    with gate.connect() as client:
        client.send(head("X: " + "b" * 90, path="/" + "a" * 80))
        assert client.read_response().status == 200
    refused(gate, head(path="/" + "a" * 100), 414)
    refused(gate, head("X: " + "b" * 100), 431)
    refused(gate, b"GET /" + b"a" * 200, 414)  # before its end is there
    assert len(server.requests) == 1


def test_head_bytes_max_and_fields_max(weir, scripted):
    server = scripted(answer())
    gate = limited(weir, server, head_bytes_max=1000, fields_max=20)
    with gate.connect() as client:
        client.send(head(*(f"X-{n}: 1" for n in range(19))))
        assert client.read_response().status == 200
    refused(gate, head(*(f"X-{n}: 1" for n in range(20))), 431)
    refused(gate, head(*(f"X-{n}: " + "a" * 100 for n in range(10))), 431)
    assert len(server.requests) == 1


def test_body_bytes_max_with_a_length(weir, scripted):
    server = scripted(answer())
    gate = limited(weir, server, body_bytes_max="1k")
    assert gate.request("POST", "/", body=b"x" * 1024).status == 200
    refused(gate, head("Content-Length: 1025", method="POST") + b"x" * 1025, 413)
    with gate.connect() as client:  # at once, not when the body is there
        client.send(head("Content-Length: 1025", method="POST"))
        assert client.read_response().status == 413
    assert len(server.requests) == 1


@pytest.mark.parametrize("begun", [False, True])
def test_body_bytes_max_with_chunks(weir, scripted, begun):
    """begun: when the limit is reached the server has a part of the request already."""
    seen, has_head = [], threading.Event()

    def serve(peer):
        try:
            peer.buffer = peer.read_until(b"\r\n\r\n") + peer.buffer
            has_head.set()
            peer.read_request()
            seen.append("whole")
        except Closed:
            seen.append("cut" if has_head.is_set() else "nothing")

    gate = limited(weir, scripted(serve), body_bytes_max="1k")
    with gate.connect() as client:
        client.send(head("Transfer-Encoding: chunked", method="POST"))
        client.send(b"200\r\n" + b"x" * 512 + b"\r\n")
        assert not begun or has_head.wait(20)
        for _ in range(2):
            client.send(b"200\r\n" + b"x" * 512 + b"\r\n")
        assert client.read_response().status == 413
        assert client.is_closed()
    wait_until(lambda: seen, 20, "the server sees the end")
    assert seen == ["cut"] or (seen == ["nothing"] and not begun)  # it must not take a part for the whole


def test_large_refused_body_does_not_lose_the_answer(weir, scripted):
    """The client is still sending when it is refused: a reset would take the answer away from it."""
    gate = limited(weir, scripted(answer()), body_bytes_max="1k")
    with gate.connect() as client:
        client.send(head("Content-Length: 2000000", method="POST"))
        for _ in range(20):
            client.send(b"x" * 100000)
        assert client.read_response().status == 413


def test_head_timeout(weir, scripted):
    gate = limited(weir, scripted(answer()), head_timeout="200ms")
    with gate.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHo")
        response = client.read_response()
        assert response.status == 408 and response.get("connection").lower() == "close"
        assert client.is_closed()
    with gate.connect() as client:  # the clock is the head's, dripping does not stretch it
        with pytest.raises((Closed, AssertionError)):
            for byte in head("X: " + "a" * 200):
                client.send(bytes([byte]))
                time.sleep(0.01)
            assert client.read_response().status == 200


def test_head_timeout_is_of_each_request(weir, scripted):
    gate = limited(weir, scripted(answer()), head_timeout="300ms")
    with gate.connect() as client:
        for _ in range(4):
            assert client.get().status == 200
            time.sleep(0.15)


def test_body_timeout(weir, scripted):
    gate = limited(weir, scripted(answer()), body_timeout="200ms")
    with gate.connect() as client:
        client.send(head("Content-Length: 100", method="POST") + b"x" * 10)
        assert client.read_response().status == 408
        assert client.is_closed()
    with gate.connect() as client:  # slow, but never that slow
        client.send(head("Content-Length: 10", method="POST"))
        for _ in range(10):
            client.send(b"x")
            time.sleep(0.05)
        assert client.read_response().status == 200


def test_idle_timeout(weir, scripted):
    gate = limited(weir, scripted(answer()), idle_timeout="200ms")
    with gate.connect() as client:
        assert client.is_closed(5)
    with gate.connect() as client:
        assert client.get().status == 200
        assert client.is_closed(5)
    assert gate.access()[-1:] == [] or len(gate.access()) == 1  # no line for who asked nothing


@pytest.mark.parametrize("path", ["/bytes/100000000", "/chunked/100000000/10000"])
def test_write_timeout(weir, origin, path):
    gate = limited(weir, origin(), write_timeout="300ms")
    with gate.connect() as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.send_request("GET", path)
        client.read_head()
        time.sleep(1.5)
        with pytest.raises(Closed):
            client.read_exactly(100000000)


def test_a_slow_reader_that_goes_on_gets_all(weir, origin):
    gate = limited(weir, origin(), write_timeout="1s")
    with gate.connect() as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.send_request("GET", "/bytes/8000000")
        client.read_head()
        for _ in range(20):
            client.read_exactly(400000)
            time.sleep(0.05)


def test_requests_max(weir, scripted):
    gate = limited(weir, scripted(answer()), requests_max=3)
    with gate.connect() as client:
        assert client.get().get("connection") is None
        assert client.get().get("connection") is None
        assert client.get().get("connection").lower() == "close"
        assert client.is_closed()


def test_slow_clients_do_not_hold_up_others(weir, scripted):
    gate = limited(weir, scripted(answer()), head_timeout="20s")
    slow = []
    for _ in range(200):
        client = gate.connect()
        client.send(b"GET / HTTP/1.1\r\nX: ")
        slow.append(client)
    for _ in range(50):
        assert gate.get().status == 200
    for client in slow:
        client.send(b"y\r\nHost: a\r\n\r\n")
    for client in slow:
        assert client.read_response().status == 200
        client.close()


def test_connections_max_of_clients(weir, scripted):
    """More wait in the kernel's queue and are served when others have gone."""
    gate = weir(one_service(scripted(answer()), root="client: {connections_max: 5}\nworkers: 1"))
    first = [gate.connect() for _ in range(5)]
    for client in first:
        assert client.get().status == 200
    late = gate.connect()
    late.send_request()
    late.socket.settimeout(0.5)
    with pytest.raises(socket.timeout):
        late.more()
    first.pop().close()
    late.socket.settimeout(10)
    assert late.read_response().status == 200
    for client in (*first, late):
        client.close()
