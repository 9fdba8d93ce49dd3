"""doc/outlier.md, against the running gate."""
from lib.conf import one_service
from lib.process import wait_until
from lib.servers import answer
from lib.weir import run


class Server:
    """Answers with its name, and as it is told."""

    def __init__(self, name, scripted):
        self.name, self.status = name, "200 OK"
        self.leaves = False
        self.server = scripted(self.serve)

    @property
    def address(self):
        return self.server.address

    def serve(self, peer):
        while peer.read_request():
            if self.leaves:
                return
            peer.send(answer(self.name, self.status))


def ejections(gate, server, why="failures"):
    return gate.metric(f"weir_outlier_ejected_for_{why}_total", server=server.address)


def asked(gate, n=12):
    with gate.connect() as client:
        return [client.get().text for _ in range(n)]


def test_errors_in_a_row_take_it_out_and_time_brings_it_back(weir, scripted, each_loop):
    a, b, c = (Server(n, scripted) for n in "abc")
    gate = weir(one_service(a, b, c, service="outlier: {errors: 3, rest: 700ms, interval: 200ms}"))
    b.status = "500 Oh"
    wait_until(lambda: asked(gate) and ejections(gate, b, "errors") >= 1, 20)
    b.status = "200 OK"
    wait_until(lambda: gate.metric("weir_outlier_returned_total", server=b.address) >= 1, 20)
    wait_until(lambda: "b" in asked(gate), 20)
    assert ejections(gate, a, "errors") == ejections(gate, c, "errors") == 0
    assert 'ejected service=shop server=' + b.address in gate.log() and 'why="errors in a row"' in gate.log()
    assert "back service=shop server=" + b.address in gate.log()


def test_failures_take_it_out_and_never_more_than_may_be(weir, scripted):
    servers = [Server(n, scripted) for n in "abcd"]
    for s in servers[:3]:
        s.leaves = True
    gate = weir(one_service(*servers, service="outlier: {failures: 2, rest: 60s, max_ejected: 50%}, tries_max: 4"))
    wait_until(lambda: set(asked(gate)) and gate.metric("weir_outlier_spared_total") >= 1, 20)
    out = sum(ejections(gate, s) for s in servers)
    assert out == 2 and ejections(gate, servers[3]) == 0
    wait_until(lambda: gate.metric("weir_outlier_ejected") == 2, 20)
    assert "stays, enough are out" in gate.log()
    before = len(gate.log())
    gate.reload()  # they stay out
    assert before and sum(ejections(gate, s) for s in servers) == 2
    wait_until(lambda: gate.metric("weir_outlier_ejected") == 2, 20)


def test_more_errors_than_the_others(weir, scripted):
    """Every other answer is an error: never many in a row."""
    def sometimes(peer):
        n = 0
        while peer.read_request():
            n += 1
            peer.send(answer("bad", "500 Oh" if n % 2 else "200 OK"))

    bad = scripted(sometimes)
    good = [Server(n, scripted) for n in "abc"]
    gate = weir(one_service(bad, *good, root="workers: 1",
                            service="outlier: {errors: 0, interval: 500ms, requests_min: 20, rest: 60s}"))
    wait_until(lambda: asked(gate, 200) and ejections(gate, bad, "ratio") == 1, 20)
    assert "bad" not in asked(gate, 40)
    assert all(ejections(gate, s, "ratio") == 0 for s in good)


def test_mistakes(tmp_path):
    path = tmp_path / "weir.yaml"
    path.write_text("listen: :1\nroutes: [{match: /*, service: s}]\n"
                    "services: {s: {servers: [10.0.0.1:80], outlier: {rest: 10s, rest_max: 5s}}}\n")
    result = run("check", "-c", path)
    assert result.returncode == 1 and "rest_max: shorter than rest" in result.stderr
