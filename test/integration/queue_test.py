"""doc/queue.md, against the running gate."""
import threading

from lib.conf import one_service
from lib.load import Load
from lib.process import wait_until
from lib.servers import answer
from lib.weir import run


class Busy:
    """Counts what it has in flight; answers when it is let go."""

    def __init__(self, scripted, held=True):
        self.lock = threading.Lock()
        self.inside = self.most = 0
        self.order = []
        self.places = threading.Semaphore(0)
        self.held = held
        self.server = scripted(self.serve)

    @property
    def address(self):
        return self.server.address

    def serve(self, peer):
        while request := peer.read_request():
            with self.lock:
                self.inside += 1
                self.most = max(self.most, self.inside)
                self.order.append(request.split()[1].decode())
            while self.held and not peer.stopping.is_set() and not self.places.acquire(timeout=0.1):
                pass
            with self.lock:
                self.inside -= 1
            peer.send(answer("ok"))

    def release(self, n=1):
        self.places.release(n)


def metric(gate, name):
    return gate.metric(f"weir_queue_{name}", service="shop")


def waiting(gate, n):
    wait_until(lambda: metric(gate, "waiting") == n, 20)


def test_never_more_than_may_be_over_all_workers(weir, scripted, each_loop):
    a, b = Busy(scripted, held=False), Busy(scripted, held=False)
    gate = weir(one_service(a, b, root="workers: 2",
                            service="balance: least_request, requests_max: 3, queue: {max: 1000, timeout: 60s}"))
    with Load(gate.port, connections=24) as load:
        load.wait_done(2000)
        load.assert_clean()
    assert 1 <= a.most <= 3 and 1 <= b.most <= 3
    assert metric(gate, "waited_total") > 0 and metric(gate, "full_total") == metric(gate, "late_total") == 0
    waiting(gate, 0)


def test_full_and_late(weir, scripted):
    server = Busy(scripted)
    gate = weir(one_service(server, service="requests_max: 1, queue: {max: 1, timeout: 60s}"))
    with gate.connect() as first, gate.connect() as second, gate.connect() as third:
        first.send_request("GET", "/1")
        wait_until(lambda: server.inside == 1, 20)
        second.send_request("GET", "/2")
        waiting(gate, 1)
        refused = third.get("/3")
        assert refused.status == 503 and refused.get("retry-after") == "1"
        assert metric(gate, "full_total") == 1
        server.release(2)
        assert first.read_response().status == second.read_response().status == 200
    gate.reload(one_service(server, service="requests_max: 1, queue: {max: 1, timeout: 50ms}"))
    with gate.connect() as first:
        first.send_request("GET", "/4")
        wait_until(lambda: server.inside == 1, 20)
        assert gate.get("/5").status == 503
        assert metric(gate, "late_total") == 1
        server.release()
        assert first.read_response().status == 200
    assert server.order == ["/1", "/2", "/4"]


def test_a_bound_without_a_line(weir, scripted):
    server = Busy(scripted)
    gate = weir(one_service(server, service="requests_max: 1"))
    with gate.connect() as first:
        first.send_request("GET", "/1")
        wait_until(lambda: server.inside == 1, 20)
        assert gate.get("/2").status == 503
        server.release(10)
        assert first.read_response().status == 200
        assert gate.get("/3").status == 200


def test_who_matters_goes_first(weir, scripted):
    """On whichever of the workers they wait."""
    server = Busy(scripted)
    gate = weir(one_service(server, root="workers: 2", route="priority: {header: X-Priority, class: normal}",
                            service="requests_max: 1, queue: {max: 100, timeout: 60s}"))
    clients = []
    words = ["normal", "low", "normal", "high", "low", "high", "normal", "high"]
    for n, word in enumerate(["normal", *words]):
        client = gate.connect()
        client.send_request("GET", f"/{word}/{n}", {"X-Priority": word})
        clients.append(client)
        wait_until(lambda: server.inside == 1 and metric(gate, "waiting") == n, 20)
    for n in range(len(clients)):
        wait_until(lambda: len(server.order) == n + 1, 20)
        server.release()
    for client in clients:
        assert client.read_response().status == 200
        client.close()
    assert [path.split("/")[1] for path in server.order[1:]] == ["high"] * 3 + ["normal"] * 3 + ["low"] * 2
    numbers = [int(path.split("/")[2]) for path in server.order[1:]]
    assert numbers[:3] == sorted(numbers[:3]) and numbers[3:6] == sorted(numbers[3:6])


def test_who_leaves_gives_up_the_place(weir, scripted, each_loop):
    server = Busy(scripted)
    gate = weir(one_service(server, root="workers: 2", service="requests_max: 1, queue: {max: 100, timeout: 60s}"))
    first, second, third = (gate.connect() for _ in range(3))
    first.send_request("GET", "/1")
    wait_until(lambda: server.inside == 1, 20)
    second.send_request("GET", "/2")
    waiting(gate, 1)
    third.send_request("GET", "/3")
    waiting(gate, 2)
    second.reset()
    waiting(gate, 1)
    first.reset()  # its place goes to the third
    wait_until(lambda: "/3" in server.order, 20)
    server.release(10)
    assert third.read_response().status == 200
    third.close()


def test_a_server_that_returns_is_used(weir, scripted):
    """Nobody gives a place back: the line looks by itself."""
    a, b = Busy(scripted), Busy(scripted)
    b.server.stop()
    gate = weir(one_service(a, b, root="workers: 1",
                            service="health_check: {method: tcp, interval: 100ms}, requests_max: 1, "
                                    "queue: {max: 10, timeout: 60s}"))
    wait_until(lambda: gate.metric("weir_health_check_up") == 1, 20)
    with gate.connect() as first, gate.connect() as second:
        first.send_request("GET", "/1")
        wait_until(lambda: a.inside == 1, 20)
        second.send_request("GET", "/2")
        waiting(gate, 1)
        b.server.start()
        wait_until(lambda: b.inside == 1, 20)
        a.release()
        b.release()
        assert first.read_response().status == second.read_response().status == 200


def test_mistakes(tmp_path):
    path = tmp_path / "weir.yaml"
    path.write_text("listen: :1\nroutes: [{match: /*, service: s}]\nservices: {s: {servers: [10.0.0.1:80], queue: 10}}\n")
    result = run("check", "-c", path)
    assert result.returncode == 1 and "nothing to wait for without requests_max" in result.stderr
