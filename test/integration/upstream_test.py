"""Servers that are slow, gone, full or wrong: what the client gets, who is asked again."""
import json
import socket
import threading
import time

import pytest

from lib.client import Client, Closed
from lib.conf import one_service
from lib.ports import free_port
from lib.process import wait_until
from lib.servers import answer

pytestmark = pytest.mark.usefixtures("each_loop")


def gone():
    return f"127.0.0.1:{free_port()}"


def hang(peer):
    peer.read_request()
    peer.stopping.wait(30)


def cut(peer):
    peer.read_request()


def test_nobody_listens(weir):
    gate = weir(one_service(gone()))
    with gate.connect() as client:
        for _ in range(5):
            response = client.get()
            assert response.status in (502, 503)
            assert client.request("POST", "/", body=b"x").status in (502, 503)


def test_refused_goes_to_another(weir, scripted):
    server = scripted(answer("here"))
    gate = weir(one_service(gone(), server, gone()))
    with gate.connect() as client:
        for n in range(10):
            assert client.get().text == "here"
            assert client.request("POST", "/", body=b"x" * 100).text == "here"
    assert len(server.requests) == 20


def test_connect_timeout(weir, scripted):
    """A listener whose queue is full answers no SYN."""
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    waiting = []
    for _ in range(3):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex(full.getsockname())
        waiting.append(s)
    address = f"127.0.0.1:{full.getsockname()[1]}"
    gate = weir(one_service(address, service="connect_timeout: 200ms"))
    assert gate.get().status == 504
    other = weir(one_service(address, scripted(answer("here")), service="connect_timeout: 200ms"))
    for _ in range(4):
        assert other.get().text == "here"
    for s in (full, *waiting):
        s.close()


def test_first_byte_timeout(weir, scripted):
    gate = weir(one_service(scripted(hang), service="first_byte_timeout: 200ms"))
    with gate.connect() as client:
        assert client.get().status == 504
        assert client.request("POST", "/", body=b"x").status == 504
    assert gate.access_path.exists()


def test_first_byte_timeout_asks_another_where_that_is_safe(weir, scripted):
    slow, quick = scripted(hang), scripted(answer("here"))
    gate = weir(one_service(slow, quick, service="first_byte_timeout: 600ms"))
    for _ in range(4):
        assert gate.get().text == "here"
    posted = {gate.request("POST", "/", body=b"x").status for _ in range(4)}
    assert posted <= {200, 504}
    # nothing that is not idempotent went to both
    assert sum(b"POST" in r for r in slow.requests) + sum(b"POST" in r for r in quick.requests) == 4


def test_first_byte_timeout_runs_from_the_requests_end(weir, scripted):
    gate = weir(one_service(scripted(answer("ok")), service="first_byte_timeout: 300ms"))
    with gate.connect() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
        for _ in range(10):
            time.sleep(0.08)
            client.send(b"x")
        assert client.read_response().status == 200


def test_timeout_of_the_whole(weir, origin):
    gate = weir(one_service(origin(), service="timeout: 400ms"))
    with gate.connect() as client:
        assert client.get("/hang").status == 504
    with gate.connect() as client:
        client.send_request("GET", "/trickle/1000/20")
        with pytest.raises(Closed):
            client.read_response()


def test_a_pause_in_an_answer(weir, scripted):
    def serve(peer):
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        peer.stopping.wait(30)

    gate = weir(one_service(scripted(serve), service="idle_timeout: 200ms"))
    with gate.connect() as client:
        client.send_request()
        with pytest.raises(Closed):
            client.read_response()


def test_cut_before_the_answer(weir, scripted):
    bad, good = scripted(cut), scripted(answer("here"))
    gate = weir(one_service(bad, good))
    for _ in range(4):
        assert gate.get().text == "here"
        assert gate.request("PUT", "/").text == "here"
    for _ in range(6):
        assert gate.request("POST", "/", body=b"x").status in (200, 502)
    posts = sum(b"POST" in r for r in bad.requests) + sum(b"POST" in r for r in good.requests)
    assert posts == 6


def test_a_kept_connection_that_was_closed_is_no_failure(weir, scripted):
    """The server closes idle connections at the worst moment: all but what cannot be repeated is asked again."""
    def serve(peer):
        peer.read_request()
        peer.send(answer("ok"))
        peer.read_request()  # and leaves without a word

    server = scripted(serve)
    gate = weir(one_service(server, root="workers: 1", service="tries_max: 1"))
    with gate.connect() as client:
        for _ in range(10):
            assert client.get().status == 200


def test_an_idle_connection_that_ended_is_not_used(weir, scripted):
    server = scripted([answer("ok")])  # closes after each answer without saying so
    gate = weir(one_service(server, root="workers: 1"))
    with gate.connect() as client:
        for _ in range(10):
            assert client.request("POST", "/", body=b"x").status == 200
            time.sleep(0.03)
    assert server.connections == 10


def test_connections_max_and_waiting(weir, origin):
    server = origin()
    gate = weir(one_service(server, root="workers: 1",
                            service="connections_max: 2, waiting_max: 3, wait_timeout: 5s, tries_max: 1"))
    clients = [gate.connect() for _ in range(8)]
    for client in clients:
        client.send_request("GET", "/delay/300")
    statuses = sorted(c.read_response().status for c in clients)
    assert statuses == [200] * 5 + [503] * 3
    with Client(server.port) as direct:
        count = json.loads(direct.get("/_count").text)
    assert count["connections"] <= 3 and count["requests"] == 5
    for client in clients:  # and all of it has been given back
        assert client.get("/").status == 200
        client.close()


def test_wait_timeout(weir, origin):
    gate = weir(one_service(origin(), root="workers: 1",
                            service="connections_max: 1, wait_timeout: 200ms, tries_max: 1"))
    with gate.connect() as slow, gate.connect() as waiting:
        slow.send_request("GET", "/delay/1500")
        time.sleep(0.1)
        waiting.send_request("GET", "/")
        assert waiting.read_response().status == 503
        assert slow.read_response().status == 200
        assert waiting.get().status == 200


def test_idle_max_and_idle_timeout(weir, origin):
    server = origin()
    gate = weir(one_service(server, root="workers: 1", service="idle_max: 2, idle_timeout: 400ms"))
    clients = [gate.connect() for _ in range(6)]
    for client in clients:
        client.send_request("GET", "/delay/100")
    for client in clients:
        assert client.read_response().status == 200
    with Client(server.port) as direct:
        def open_now():
            return json.loads(direct.get("/_count").text)["connections_open"] - 1
        wait_until(lambda: open_now() <= 2, 5, "two are kept")
        wait_until(lambda: open_now() == 0, 5, "and those end in time")


def test_a_failing_server_is_left_alone(weir, scripted):
    bad, good = scripted(cut), scripted(answer("here"))
    gate = weir(one_service(bad, good, root="workers: 1"))
    with gate.connect() as client:
        for _ in range(60):
            assert client.get().text == "here"
    assert len(bad.requests) < 15
    assert gate.metric("weir_upstream_failures_total", server=bad.address) == len(bad.requests)


def test_an_answer_is_an_answer(weir, origin):
    one, two = origin(), origin()
    gate = weir(one_service(one, two))
    with gate.connect() as client:
        for status in (500, 502, 503, 404, 429):
            assert client.get(f"/status/{status}").status == status
    assert gate.metric("weir_http_retries_total", service="shop") == 0


def test_weights(weir, origin):
    one, two = origin(), origin()
    gate = weir(one_service(f'{{address: "{one.address}", weight: 3}}', two, root="workers: 1"))
    with gate.connect() as client:
        for _ in range(40):
            assert client.get().status == 200
    assert gate.metric("weir_upstream_requests_total", server=one.address) == 30
    assert gate.metric("weir_upstream_requests_total", server=two.address) == 10


def test_many_at_once(weir, origin, load):
    gate = weir(one_service(origin(), origin()))
    running = [load(gate.port, connections=8, path=path, check=check)
               for path, check in (("/", lambda r: len(r.body) == 100), ("/bytes/50000", lambda r: len(r.body) == 50000),
                                   ("/chunked/5000/100", lambda r: len(r.body) == 5000))]
    for one in running:
        one.wait_done(200)
    for one in running:
        one.assert_clean(200)
        assert one.reopened == 0


def test_uploads_at_once(weir, scripted):
    def serve(peer):
        while request := peer.read_request():
            peer.send(answer(request.partition(b"\r\n\r\n")[2]))

    gate = weir(one_service(scripted(serve), scripted(serve)))
    failures = []

    def run(number):
        with gate.connect() as client:
            for n in range(10):
                body = bytes([65 + number]) * (1000 * (n + 1) * (number + 1))
                if client.request("POST", "/", body=body).body != body:
                    failures.append((number, n))

    threads = [threading.Thread(target=run, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(30)
    assert not failures and not any(t.is_alive() for t in threads)
