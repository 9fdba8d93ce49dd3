"""`upstream: pipelined`: what many clients share is one connection, and still everybody gets his own answer."""
import re
import threading
import time

import pytest

from lib.client import Closed
from lib.conf import one_service
from lib.load import Tokens
from lib.servers import answer, echo_target

pytestmark = pytest.mark.usefixtures("each_loop")

SHARED = "upstream: pipelined"


def target_of(request):
    return request.split(b" ", 2)[1]


def ask_all(gate, targets, seconds=20):
    """Each on a connection of its own, all at once: the answers' (status, body), None where it was cut."""
    clients = [gate.connect(timeout=seconds) for _ in targets]
    for client, target in zip(clients, targets):
        client.send_request("GET", target)
    answers = []
    for client in clients:
        try:
            response = client.read_response()
            answers.append((response.status, response.body))
        except Closed:
            answers.append(None)
        client.close()
    return answers


def test_requests_share_a_connection(weir, scripted):
    """The server answers only when four are there: that they all come on one connection is proven by that."""
    def serve(peer):
        while True:
            requests = [peer.read_request() for _ in range(4)]
            if not all(requests):
                return
            peer.send(b"".join(answer(target_of(r)) for r in requests))

    server = scripted(serve)
    gate = weir(one_service(server, service=SHARED, root="workers: 1"))
    targets = [f"/{n}" for n in range(4)]
    assert ask_all(gate, targets) == [(200, t.encode()) for t in targets]
    assert server.connections == 1


def test_pipeline_max(weir, scripted):
    def serve(peer):
        while request := peer.read_request():
            time.sleep(0.1)
            peer.send(answer(target_of(request)))

    server = scripted(serve)
    gate = weir(one_service(server, service=SHARED + ", pipeline_max: 2", root="workers: 1"))
    targets = [f"/{n}" for n in range(6)]
    assert ask_all(gate, targets) == [(200, t.encode()) for t in targets]
    assert server.connections == 3


def test_posts_and_bodies_do_not_share(weir, scripted):
    server = scripted(echo_target)
    gate = weir(one_service(server, service=SHARED, root="workers: 1"))
    with gate.connect() as client:
        for n in range(5):
            assert client.get(f"/{n}").text == f"/{n}"
            assert client.request("POST", f"/p{n}", body=b"x" * 10).text == f"/p{n}"
            assert client.request("PUT", f"/q{n}", body=b"x" * 10).text == f"/q{n}"
    assert server.connections == 2


@pytest.mark.parametrize("bad", [
    b"HTTP/1.1 nonsense\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
])
def test_an_illegal_answer_costs_only_its_own_request(weir, scripted, bad):
    def serve(peer):
        while request := peer.read_request():
            target = target_of(request)
            peer.send(bad if target == b"/bad" else answer(target))

    gate = weir(one_service(scripted(serve), service=SHARED, root="workers: 1"))
    targets = [f"/{n}" for n in range(5)] + ["/bad"] + [f"/{n}" for n in range(5, 10)]
    answers = ask_all(gate, targets)
    assert answers[5][0] == 502
    assert [a for a in answers if a != answers[5]] == [(200, t.encode()) for t in targets if t != "/bad"]


@pytest.mark.parametrize("how", ["length", "chunked"])
def test_a_close_inside_a_body_costs_only_its_own_request(weir, scripted, how):
    part = {"length": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\npart",
            "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"}[how]

    def serve(peer):
        while request := peer.read_request():
            target = target_of(request)
            if target == b"/bad":
                peer.send(part)
                return
            peer.send(answer(target))

    gate = weir(one_service(scripted(serve), service=SHARED, root="workers: 1"))
    targets = [f"/{n}" for n in range(5)] + ["/bad"] + [f"/{n}" for n in range(5, 10)]
    answers = ask_all(gate, targets)
    assert answers[5] is None or answers[5][0] == 502
    assert answers[:5] + answers[6:] == [(200, t.encode()) for t in targets if t != "/bad"]


def test_bytes_out_of_turn_are_nobodys_answer(weir, scripted):
    """A server that answers once too often must not shift the answers of all that follow."""
    def serve(peer):
        while request := peer.read_request():
            target = target_of(request)
            peer.send(answer(target) + (answer(b"smuggled") if target.startswith(b"/twice") else b""))

    gate = weir(one_service(scripted(serve), service=SHARED, root="workers: 1"))
    with gate.connect() as client:
        for n in range(10):
            target = f"/twice{n}" if n % 2 else f"/{n}"
            assert client.get(target).text == target


def test_a_slow_client_does_not_stall_the_others(weir, origin):
    gate = weir(one_service(origin(), service=SHARED, root="workers: 1"))
    with gate.connect(timeout=30) as slow:
        slow.send_request("GET", "/bytes/30000000")
        slow.read_exactly(1000)
        with Tokens(gate.port, connections=4) as others:
            others.wait_done(100, seconds=20)
            others.assert_clean(100)
        slow.read_exactly(29000000)


def test_a_client_that_leaves_does_not_harm_the_others(weir, origin):
    gate = weir(one_service(origin(), service=SHARED, root="workers: 1"))
    with Tokens(gate.port, connections=4) as others:
        for n in range(40):
            leaving = gate.connect()
            leaving.send_request("GET", ("/bytes/5000000", "/delay/20", "/chunked/1000000/1000")[n % 3])
            if n % 2:
                time.sleep(0.01)
                leaving.reset()
            else:
                leaving.close()
        others.wait_done(100)
        others.assert_clean(100)


def test_a_slow_answer_holds_up_only_for_first_byte_timeout(weir, scripted):
    def serve(peer):
        while request := peer.read_request():
            target = target_of(request)
            if target == b"/slow":
                peer.stopping.wait(30)
                return
            peer.send(answer(target))

    gate = weir(one_service(scripted(serve), service=SHARED + ", first_byte_timeout: 300ms, tries_max: 1",
                            root="workers: 1"))
    targets = ["/slow"] + [f"/{n}" for n in range(5)]
    answers = ask_all(gate, targets)
    assert answers[0][0] == 504
    assert {a[0] for a in answers[1:]} <= {200, 504}
    for target, got in zip(targets[1:], answers[1:]):
        assert got[0] == 504 or got[1] == target.encode()


def test_a_connection_that_cannot_be_made(weir, scripted):
    """Many join a connection that is being opened, and it is refused: all of them go on to the other server."""
    good = scripted(echo_target)
    bad = scripted(echo_target)
    bad.stop()
    gate = weir(one_service(bad, good, service=SHARED, root="workers: 1"))
    targets = [f"/{n}" for n in range(20)]
    assert ask_all(gate, targets) == [(200, t.encode()) for t in targets]


def test_heads_that_are_long(weir, scripted):
    """Longer than what is queued beside others: still whole, still in order."""
    server = scripted(echo_target)
    gate = weir(one_service(server, service=SHARED, root="workers: 1\nclient: {line_bytes_max: 60k, head_bytes_max: 64k}"))
    results = {}

    def run(n):
        with gate.connect() as client:
            for k in range(10):
                target = f"/{n}-{k}-" + "x" * (n * 5000)
                results[n, k] = client.get(target).text == target

    threads = [threading.Thread(target=run, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(30)
    assert len(results) == 80 and all(results.values())
    assert not [r for r in server.requests if len(re.findall(rb"GET /", r)) != 1]


def test_everything_at_once(weir, origin):
    """Short, long, chunked and empty answers, HEAD, many connections: each answer is its asker's."""
    gate = weir(one_service(origin(), origin(), service=SHARED))
    wanted = {"/bytes/0": 0, "/bytes/1": 1, "/bytes/70000": 70000, "/chunked/5000/7": 5000, "/trailers/100": 100,
              "/bytes/300000": 300000, "/status/204": 0, "/early": None}
    failures = []

    def run(n):
        with gate.connect(timeout=30) as client:
            for k in range(60):
                path = list(wanted)[(n + k) % len(wanted)]
                method = "HEAD" if (n + k) % 5 == 0 else "GET"
                response = client.request(method, path)
                if method == "GET" and wanted[path] is not None and len(response.body) != wanted[path]:
                    failures.append((path, response.status, len(response.body)))

    threads = [threading.Thread(target=run, args=(n,)) for n in range(10)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert not failures and not any(t.is_alive() for t in threads)
