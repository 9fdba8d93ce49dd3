"""A client that leaves while its answer is waited for, or inside it (doc/http1.md), against the running gate."""
import signal
import threading

import pytest

from lib import http2
from lib.conf import one_service
from lib.http3 import Http3, tls_listener
from lib.ports import free_port
from lib.process import wait_until
from lib.servers import answer


class Slow:
    """Waits with each answer until it is let go, and sees when weir gives up."""

    def __init__(self, scripted):
        self.gone = 0
        self.release = threading.Event()
        self.server = scripted(self.serve)

    @property
    def address(self):
        return self.server.address

    def is_kept(self, peer):
        """Until it is let go; False: weir gave up before."""
        peer.socket.settimeout(0.02)
        while not self.release.is_set() and not peer.stopping.is_set():
            try:
                if peer.socket.recv(1) == b"":
                    self.gone += 1
                    return False
            except TimeoutError:
                pass
        peer.socket.settimeout(30)
        return True

    def serve(self, peer):
        while request := peer.read_request():
            if b"/quick" in request:
                peer.send(answer("quick"))
                continue
            if not self.is_kept(peer):
                return
            peer.send(answer("slow"))


def asked(slow, n=1):
    wait_until(lambda: len(slow.server.requests) >= n, 20)


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("method,body", [("GET", None), ("POST", b"x" * 100)])
def test_who_leaves_is_noticed(weir, scripted, each_loop, how, method, body):
    slow = Slow(scripted)
    gate = weir(one_service(slow, root="client: {idle_timeout: 30s}"))
    client = gate.connect()
    client.send_request(method, "/", body=body)
    asked(slow)
    getattr(client, how)()
    wait_until(lambda: slow.gone == 1, 20)
    wait_until(lambda: gate.metric("weir_http_client_gone_total", service="shop") == 1, 20)
    wait_until(lambda: [line["status"] for line in gate.access()] == [499], 20)
    assert gate.get("/quick").text == "quick"  # and nothing is thought of the server
    assert gate.metric("weir_upstream_failures_total") == 0


def test_who_only_half_closes_gets_the_answer(weir, scripted, each_loop):
    slow = Slow(scripted)
    gate = weir(one_service(slow))
    with gate.connect() as client:
        client.send_request("GET", "/")
        asked(slow)
        client.finish()
        assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"  # the probe
        slow.release.set()
        assert client.read_response().text == "slow"
    assert slow.gone == 0


def test_an_older_client_is_not_probed(weir, scripted):
    slow = Slow(scripted)
    gate = weir(one_service(slow))
    with gate.connect() as client:
        client.send(b"GET / HTTP/1.0\r\nHost: test\r\n\r\n")
        asked(slow)
        client.finish()
        with gate.connect() as other:  # as long as a probe would have taken
            other.send_request("GET", "/")
            asked(slow, 2)
            other.finish()
            assert other.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        slow.release.set()
        assert client.read_response().text == "slow"


def test_an_end_is_enough_where_that_is_wanted(weir, scripted, each_loop):
    slow = Slow(scripted)
    gate = weir(one_service(slow, root="client: {cancel_when_gone: ended}"))
    with gate.connect() as client:
        client.send_request("GET", "/")
        asked(slow)
        client.finish()
        wait_until(lambda: slow.gone == 1, 20)
        assert client.read_all() == b""


def test_off(weir, scripted):
    slow = Slow(scripted)
    gate = weir(one_service(slow, root="client: {cancel_when_gone: off}"))
    client = gate.connect()
    client.send_request("GET", "/")
    asked(slow)
    client.reset()
    slow.release.set()
    wait_until(lambda: [line["status"] for line in gate.access()] == [200], 20)
    assert slow.gone == 0


def test_requests_behind_it_do_not_hide_the_end(weir, scripted, each_loop):
    slow = Slow(scripted)
    gate = weir(one_service(slow))
    client = gate.connect()
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /quick HTTP/1.1\r\nHost: a\r\n\r\n")
    asked(slow)
    client.close()
    wait_until(lambda: slow.gone == 1, 20)


# ---- inside an answer

CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"


class Stream(Slow):
    """Begins each answer, and says nothing more until it is let go."""

    def serve(self, peer):
        while request := peer.read_request():
            if b"/mute" not in request:
                peer.send(CHUNKS)
            if not self.is_kept(peer):
                return
            peer.send(b"4\r\nlast\r\n0\r\n\r\n")


def begun(client):
    assert client.read_until(b"5\r\nfirst\r\n")
    return client


def leave_http1(gate, **_):
    client = gate.connect()
    client.send_request("GET", "/")
    begun(client).reset()


def leave_http2(gate, **_):
    client = http2.Client(gate.port)
    stream = client.start()
    client.read_until(lambda: client.message(stream).body == b"first")
    client.send(http2.reset_frame(stream))
    assert client.get("/nobody").status == 404  # and no other stream is hurt
    client.close()


def lose_http2(gate, **_):
    client = http2.Client(gate.port)
    stream = client.start()
    client.read_until(lambda: client.message(stream).body == b"first")
    client.close()


def leave_http3(gate, tls_port, tmp_path):
    client = Http3(tmp_path, tls_port, "/", args=["--timeout=60s"])
    client.wait_log("response headers started", 20)
    client.signal(signal.SIGINT)  # it says CONNECTION_CLOSE
    client.wait(20)


@pytest.mark.parametrize("leave", [leave_http1, leave_http2, lose_http2, leave_http3])
def test_who_leaves_inside_an_answer_is_noticed(weir, scripted, tmp_path, each_loop, leave):
    """The server is told at once, though it says nothing for long."""
    stream = Stream(scripted)
    tls_port = free_port()
    listen = f"listen: [{tls_listener(tmp_path, tls_port)}, '127.0.0.1:PORT']\n" if leave is leave_http3 else ""
    gate = weir(one_service(stream).replace("match: /*", "match: /") if not listen else listen.replace(
        "PORT", str(free_port())) + one_service(stream))
    leave(gate, tls_port=tls_port, tmp_path=tmp_path)
    wait_until(lambda: stream.gone == 1, 20)
    line = wait_until(lambda: gate.access(), 20)[0]
    assert (line["status"], line["error"]) == (200, "connection reset")
    assert gate.metric("weir_http_client_gone_total") == 0  # of those whose answer had not begun
    assert gate.metric("weir_upstream_failures_total") == 0


def test_who_half_closes_inside_an_answer_gets_all_of_it(weir, scripted, each_loop):
    stream = Stream(scripted)
    gate = weir(one_service(stream))
    with gate.connect() as client:
        client.send_request("GET", "/")
        begun(client).finish()
        with gate.connect() as other:  # as long as a probe would have taken
            other.send_request("GET", "/mute")
            asked(stream, 2)
            other.finish()
            assert other.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        stream.release.set()
        assert client.read_until(b"0\r\n\r\n") == b"4\r\nlast\r\n0\r\n\r\n"


def test_an_end_inside_an_answer_is_enough_where_that_is_wanted(weir, scripted, each_loop):
    stream = Stream(scripted)
    gate = weir(one_service(stream, root="client: {cancel_when_gone: ended}"))
    with gate.connect() as client:
        client.send_request("GET", "/")
        begun(client).finish()
        wait_until(lambda: stream.gone == 1, 20)


@pytest.mark.parametrize("leave", [leave_http1, leave_http2])
def test_who_leaves_inside_an_answer_of_a_shared_connection(weir, scripted, leave):
    stream = Stream(scripted)
    gate = weir(one_service(stream, service="upstream: pipelined").replace("match: /*", "match: /"))
    leave(gate)
    wait_until(lambda: stream.gone == 1, 20)
    stream.release.set()
    with gate.connect() as other:
        other.send_request("GET", "/")
        assert begun(other).read_until(b"0\r\n\r\n")


@pytest.mark.parametrize("leave", [leave_http1, leave_http2])
def test_off_inside_an_answer(weir, scripted, leave):
    stream = Stream(scripted)
    gate = weir(one_service(stream, root="client: {cancel_when_gone: off}").replace("match: /*", "match: /"))
    leave(gate)
    with gate.connect() as other:  # as long as being told would have taken
        other.send_request("GET", "/")
        begun(other)
        assert stream.gone == 0
        stream.release.set()
        assert other.read_until(b"0\r\n\r\n")
    wait_until(lambda: len([line for line in gate.access() if line["target"] == "/"]) == 2, 20)
    assert stream.gone == 0


@pytest.mark.parametrize("piece", [100, 30_000])
def test_who_leaves_while_more_is_sent(weir, scripted, each_loop, piece):
    """Whatever the fibers are about when their streams end, each ends once."""
    over = []

    def serve(peer):
        peer.read_request()
        try:
            peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while not peer.stopping.is_set():
                peer.send(b"%x\r\n%s\r\n" % (piece, b"x" * piece))
        finally:
            over.append(peer)

    server = scripted(serve)
    gate = weir(one_service(server).replace("match: /*", "match: /"))
    with http2.Client(gate.port) as c:
        for n in range(40):
            stream = c.start()
            c.read_until(lambda s=stream, least=n * 977: len(c.message(s).body) > least)
            c.send(http2.reset_frame(stream))
        assert c.get("/nobody").status == 404
    wait_until(lambda: len(gate.access()) == 41, 20)
    assert [line["status"] for line in gate.access()].count(200) == 40 and not server.errors
    wait_until(lambda: len(over) == 40, 20)
