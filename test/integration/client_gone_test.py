"""A client that leaves while its answer is waited for (doc/http1.md), against the running gate."""
import threading

import pytest

from lib.conf import one_service
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

    def serve(self, peer):
        while request := peer.read_request():
            if b"/quick" in request:
                peer.send(answer("quick"))
                continue
            peer.socket.settimeout(0.02)
            while not self.release.is_set() and not peer.stopping.is_set():
                try:
                    if peer.socket.recv(1) == b"":
                        self.gone += 1
                        return
                except TimeoutError:
                    pass
            peer.socket.settimeout(30)
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
