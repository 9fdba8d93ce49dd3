"""doc/hedge.md, against the running gate."""
import threading

from lib.conf import one_service
from lib.process import wait_until
from lib.servers import answer


class Server:
    """Answers with its name; while it is `slow` it waits until weir gives up or it is let go."""

    def __init__(self, name, scripted):
        self.name, self.slow, self.status = name, False, "200 OK"
        self.given_up = 0
        self.release = threading.Event()
        self.server = scripted(self.serve)

    @property
    def address(self):
        return self.server.address

    @property
    def requests(self):
        return self.server.requests

    def serve(self, peer):
        while peer.read_request():
            peer.socket.settimeout(0.02)
            while self.slow and not self.release.is_set() and not peer.stopping.is_set():
                try:
                    if peer.socket.recv(1) == b"":
                        self.given_up += 1
                        return
                except TimeoutError:
                    pass
            peer.socket.settimeout(30)
            peer.send(answer(self.name, self.status))


def count(gate, name):
    return gate.metric(f"weir_hedge_{name}_total", service="shop")


def test_the_faster_answer_wins_and_the_other_is_given_up(weir, scripted, each_loop):
    a, b = Server("a", scripted), Server("b", scripted)
    gate = weir(one_service(a, b, service="hedge: {after: 200ms, budget: 100%}"))
    a.slow = True
    with gate.connect() as client:
        for _ in range(10):
            assert client.get().text == "b"
    wait_until(lambda: a.given_up == len(a.requests), 20)
    assert len(a.requests) >= 4 and count(gate, "won") == count(gate, "started") == len(a.requests)
    assert gate.metric("weir_upstream_failures_total") == 0  # slow is no failure
    wait_until(lambda: sum(1 for line in gate.access() if line.get("tries") == 2) == len(a.requests), 20)
    assert all(line["server"] == b.address for line in gate.access())


def test_whichever_answers_first_wins(weir, scripted, each_loop):
    """Both are slow and one is let go; it is the first that was asked once, the second once."""
    a, b = Server("a", scripted), Server("b", scripted)
    gate = weir(one_service(a, b, service="hedge: {after: 30ms, budget: 100%}", root="workers: 1"))
    a.slow = b.slow = True
    with gate.connect() as client:
        for n, (winner, other) in enumerate([(a, b), (b, a)], 1):
            client.send_request("GET", "/")
            wait_until(lambda: len(a.requests) == len(b.requests) == n, 20)
            winner.release.set()
            assert client.read_response().text == winner.name
            wait_until(lambda: other.given_up == 1, 20)
            winner.release.clear()
    assert count(gate, "started") == 2 and count(gate, "won") == 1


def test_an_error_does_not_win(weir, scripted):
    a, b = Server("a", scripted), Server("b", scripted)
    gate = weir(one_service(a, b, service="hedge: {after: 30ms, budget: 100%}", root="workers: 1"))
    a.slow = b.slow = True
    b.status = "500 Oh"
    with gate.connect() as client:
        client.send_request("GET", "/")
        wait_until(lambda: a.requests and b.requests, 20)
        b.release.set()  # whichever it was, its error is not taken while the other is still asked
        wait_until(lambda: gate.metric("weir_upstream_errors_total") == 1, 20)
        a.release.set()
        assert client.read_response().text == "a"


def test_only_what_may_be_sent_twice(weir, scripted):
    a, b = Server("a", scripted), Server("b", scripted)
    gate = weir(one_service(a, b, service="hedge: {after: 10ms, budget: 100%}"))
    a.slow = b.slow = True
    clients = [gate.connect() for _ in range(3)]
    clients[0].send_request("POST", "/", body=b"")
    clients[1].send_request("PUT", "/", body=b"x")
    wait_until(lambda: len(a.requests) + len(b.requests) == 2, 20)
    clients[2].send_request("GET", "/")
    wait_until(lambda: len(a.requests) + len(b.requests) == 4, 20)  # and the two have had as long
    assert count(gate, "started") == 1
    a.release.set()
    b.release.set()
    for client in clients:
        assert client.read_response().status == 200
        client.close()


def test_the_budget(weir, scripted):
    a, b = Server("a", scripted), Server("b", scripted)
    gate = weir(one_service(a, b, service="hedge: {after: 5ms, budget: 10%, budget_per_second: 0}"))
    a.slow = b.slow = True
    clients = [gate.connect() for _ in range(20)]
    for client in clients:
        client.send_request("GET", "/")
    wait_until(lambda: count(gate, "started") + count(gate, "refused") == 20, 20)
    assert count(gate, "started") <= 2
    a.release.set()
    b.release.set()
    for client in clients:
        assert client.read_response().status == 200
        client.close()


def test_p95_is_learnt(weir, scripted):
    a, b = Server("a", scripted), Server("b", scripted)
    gate = weir(one_service(a, b, service="hedge: {after: p95, budget: 100%}", root="workers: 1"))
    with gate.connect() as client:
        for _ in range(200):
            assert client.get().status == 200
        assert gate.metric("weir_hedge_after_microseconds") > 0
        a.slow = True
        for _ in range(6):
            assert client.get().text == "b"
    assert count(gate, "won") >= 2
    a.slow = False


def test_a_client_that_leaves_ends_both(weir, scripted, each_loop):
    a, b = Server("a", scripted), Server("b", scripted)
    gate = weir(one_service(a, b, service="hedge: 30ms"))
    a.slow = b.slow = True
    client = gate.connect()
    client.send_request("GET", "/")
    wait_until(lambda: a.requests and b.requests, 20)
    client.reset()
    wait_until(lambda: a.given_up == b.given_up == 1, 20)
    a.slow = b.slow = False
    assert gate.get().status == 200
