"""doc/round_robin.md and doc/least_request.md, against the running gate."""
import threading

from lib.process import wait_until
from lib.servers import answer

CONF = """
workers: 1
routes: [{{match: /*, service: shop}}]
services:
  shop:
    balance: {balance}
    servers: [{servers}]
"""


def conf_of(balance, servers, weights=None):
    weights = weights or [1] * len(servers)
    return CONF.format(balance=balance, servers=", ".join(
        f'{{address: "{s.address}", weight: {w}}}' for s, w in zip(servers, weights)))


def test_round_robin_is_exact(weir, scripted):
    servers = [scripted(answer(str(i))) for i in range(3)]
    gate = weir(conf_of("round_robin", servers, [5, 1, 1]))
    with gate.connect() as client:
        order = "".join(client.get().text for _ in range(70))
    assert [order.count(c) for c in "012"] == [50, 10, 10]
    assert order[:7] * 10 == order
    assert "0000" not in order


def test_round_robin_passes_over_a_server_that_is_gone(weir, scripted):
    servers = [scripted(answer(str(i))) for i in range(3)]
    gate = weir(conf_of("round_robin", servers))
    servers[1].stop()
    with gate.connect() as client:
        for _ in range(60):
            assert client.get().text in "02"
    assert min(len(servers[0].requests), len(servers[2].requests)) >= 20


def test_least_request_keeps_away_from_a_busy_server(weir, scripted):
    free = threading.Event()

    def slow(peer):
        while peer.read_request():
            free.wait(30)
            peer.send(answer("slow"))

    servers = [scripted(slow), *(scripted(answer("quick")) for _ in range(3))]
    gate = weir(conf_of("least_request", servers))
    stuck = [threading.Thread(target=gate.get) for _ in range(40)]
    for t in stuck:
        t.start()
    wait_until(lambda: sum(len(s.requests) for s in servers) == 40, 10)
    held = len(servers[0].requests)
    assert held < 20
    quick = 0
    with gate.connect() as client:
        while quick < 100 and len(servers[0].requests) == held:
            assert client.get().text == "quick"
            quick += 1
    assert held == 0 or quick > 20
    free.set()
    for t in stuck:
        t.join()
