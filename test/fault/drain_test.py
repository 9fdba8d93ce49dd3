"""The ways to stop: what runs ends whole, what is new is refused, and nothing takes longer than it was given."""
import signal
import time

import pytest

from lib.client import Client, Closed
from lib.conf import one_service
from lib.load import Load
from lib.process import wait_until
from lib.servers import answer

pytestmark = pytest.mark.usefixtures("each_loop")


def in_flight(gate, wanted):
    wait_until(lambda: gate.metric("weir_upstream_requests_total") >= wanted, 10, f"{wanted} requests are asked")


def test_what_runs_ends_whole(weir, origin):
    gate = weir(one_service(origin()))
    clients = [gate.connect() for _ in range(6)]
    for client in clients[:3]:
        client.send_request("GET", "/delay/1500")
    for client in clients[3:]:
        client.send_request("GET", "/trickle/40/30")
    in_flight(gate, 6)
    gate.signal(signal.SIGTERM)
    gate.wait_log("draining")
    wait_until(lambda: refused(gate.port), 5, "new connections are refused")
    for client in clients:
        response = client.read_response()
        assert response.status == 200
        if client in clients[:3]:
            assert response.get("connection").lower() == "close"
        assert client.is_closed()
    assert gate.wait(10) == 0


def refused(port):
    try:
        Client(port).close()
        return False
    except (ConnectionRefusedError, ConnectionResetError):
        return True


def test_idle_connections_are_closed(weir, scripted):
    gate = weir(one_service(scripted(answer())))
    clients = [gate.connect() for _ in range(10)]
    for client in clients[:5]:
        assert client.get().status == 200
    gate.signal(signal.SIGINT)
    for client in clients:
        assert client.is_closed()
    assert gate.wait(10) == 0


def test_under_load_nothing_fails(weir, origin):
    """Clients are told with the last answer, or meet a closing while idle, or are refused: never a cut answer."""
    gate = weir(one_service(origin()))
    running = Load(gate.port, connections=8)
    running.wait_done(300)
    gate.signal(signal.SIGTERM)
    assert gate.wait(20) == 0
    running.stop()
    bad = [f for f in running.failures if not f.startswith("ConnectionRefusedError")]
    # a connection that the kernel had taken but nobody accepted any more is reset
    assert len(bad) <= 2 and all("closed after 0 bytes" in f or "ConnectionReset" in f for f in bad), bad[:5]


def test_drain_timeout_cuts_what_is_left(weir, origin):
    gate = weir(one_service(origin(), root="drain_timeout: 600ms"))
    with gate.connect() as slow, gate.connect() as trickling, gate.connect() as quick:
        slow.send_request("GET", "/hang")
        trickling.send_request("GET", "/trickle/100000/10")
        quick.send_request("GET", "/delay/300")
        in_flight(gate, 3)
        started = time.monotonic()
        gate.signal(signal.SIGTERM)
        assert quick.read_response().status == 200
        with pytest.raises(Closed):
            slow.read_response()
        with pytest.raises(Closed):
            trickling.read_response()
        assert gate.wait(10) == 0
        assert 0.5 < time.monotonic() - started < 9
    assert "2 connections are cut" in gate.log()


def test_a_second_signal_stops_at_once(weir, origin):
    gate = weir(one_service(origin()))
    with gate.connect() as slow, gate.connect() as upload, gate.connect() as pipelined:
        slow.send_request("GET", "/hang")
        upload.send_request("POST", "/", {"Content-Length": "1000"}, b"x")
        pipelined.send(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n" * 5)
        in_flight(gate, 3)
        gate.signal(signal.SIGTERM)
        gate.wait_log("draining")
        time.sleep(0.1)
        assert gate.running
        gate.signal(signal.SIGTERM)
        assert gate.wait(10) == 0
        with pytest.raises(Closed):
            slow.read_response()


def test_stop_with_an_open_tunnel(weir, scripted):
    def serve(peer):
        peer.read_until(b"\r\n\r\n")
        peer.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        peer.stopping.wait(30)

    gate = weir(one_service(scripted(serve), root="drain_timeout: 300ms"))
    with gate.connect() as client:
        assert client.request("GET", "/", {"Connection": "upgrade", "Upgrade": "x"}).status == 101
        gate.signal(signal.SIGTERM)
        assert gate.wait(10) == 0


def test_stop_while_servers_do_not_answer(weir, scripted):
    """Fibers that wait for connections, connects and bodies all unwind."""
    def serve(peer):
        peer.read_request()
        peer.stopping.wait(30)

    gate = weir(one_service(scripted(serve), service="connections_max: 1, wait_timeout: 30s",
                            root="drain_timeout: 300ms\nworkers: 1"))
    clients = [gate.connect() for _ in range(10)]
    for n, client in enumerate(clients):
        client.send_request("GET" if n % 2 else "POST", "/", body=None if n % 2 else b"x" * 100)
    in_flight(gate, 1)
    gate.signal(signal.SIGTERM)
    assert gate.wait(10) == 0
    for client in clients:
        client.close()


def test_drain_with_pipelined_upstream(weir, origin):
    gate = weir(one_service(origin(), service="upstream: pipelined", root="workers: 1"))
    clients = [gate.connect() for _ in range(8)]
    for client in clients:
        client.send_request("GET", "/delay/100")
    in_flight(gate, 8)
    gate.signal(signal.SIGTERM)
    for client in clients:
        assert client.read_response().status == 200
        client.close()
    assert gate.wait(10) == 0


def test_reload_and_stop_at_once(weir, origin, load):
    gate = weir(one_service(origin()))
    running = load(gate.port, connections=4)
    running.wait_done(50)
    for _ in range(5):
        gate.signal(signal.SIGHUP)
    gate.signal(signal.SIGTERM)
    assert gate.wait(20) == 0
