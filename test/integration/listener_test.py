"""Addresses of all kinds, on both sides, and the options of their sockets."""
import os
import signal
import socket
from pathlib import Path

import pytest

from lib.client import Client
from lib.conf import one_service
from lib.ports import free_port
from lib.process import wait_until
from lib.servers import Origin, answer
from lib.weir import BUILD

pytestmark = pytest.mark.usefixtures("each_loop")


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
        return True
    except OSError:
        return False


ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@ipv6
def test_ipv6_listener(weir, scripted):
    server = scripted(answer("six"))
    port = free_port()
    gate = weir(f'listen: ["[::1]:{port}"]\n' + one_service(server, root="forwarded: on"))
    with Client(("::1", port)) as client:
        assert client.get().text == "six"
    with pytest.raises(ConnectionRefusedError):
        Client(port)
    request = server.requests[0]
    assert b"\r\nX-Forwarded-For: ::1\r\n" in request and b'for="[::1]"' in request
    assert gate.running


@ipv6
def test_every_address(weir, scripted):
    server = scripted(answer("any"))
    port = free_port()
    weir(f'listen: [":{port}"]\n' + one_service(server))
    for address in (port, ("::1", port)):
        with Client(address) as client:
            assert client.get().text == "any"
    assert b"\r\nX-Forwarded-For: 127.0.0.1\r\n" in server.requests[0]  # not ::ffff:127.0.0.1


@ipv6
def test_ipv6_server(weir, tmp_path):
    port = free_port()
    server = Origin(BUILD / "origin", tmp_path / "origin6.log", [f"[::1]:{port}"])
    try:
        gate = weir(one_service(f"[::1]:{port}"))
        with gate.connect() as client:
            for _ in range(3):
                assert client.get().status == 200
    finally:
        server.kill()


def test_server_by_name(weir, scripted):
    server = scripted(answer("named"))
    gate = weir(one_service(f"localhost:{server.port}"))
    if socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)[0][0] == socket.AF_INET:
        assert gate.get().text == "named"


def test_unix_sockets_on_both_sides(weir, tmp_path):
    inner, outer = tmp_path / "in.sock", tmp_path / "out.sock"
    server = Origin(BUILD / "origin", tmp_path / "originu.log", [f"unix:{inner}"])
    try:
        conf = f'listen: ["unix:{outer}"]\n' + one_service(f"unix:{inner}")
        gate = weir(conf)
        wait_until(outer.exists, 10)
        clients = [Client(str(outer)) for _ in range(8)]
        for _ in range(3):
            for client in clients:
                assert client.get("/bytes/100000").status == 200
        for client in clients:
            client.close()
        gate.reload(conf + "# again\n")
        with Client(str(outer)) as client:
            assert client.get().status == 200
        assert gate.stop() == 0
        assert not outer.exists()
    finally:
        server.kill()


def test_an_old_socket_file_is_replaced(weir, scripted, tmp_path):
    path = tmp_path / "x.sock"
    conf = f'listen: ["unix:{path}"]\n' + one_service(scripted(answer("ok")))
    first = weir(conf)
    wait_until(path.exists, 10)
    first.kill()
    assert path.exists()
    weir(conf)
    wait_until(lambda: answers(path), 10, "the second one has it")


def answers(path):
    try:
        with Client(str(path)) as client:
            return client.get().text == "ok"
    except ConnectionRefusedError:
        return False


def test_several_listeners_share_everything(weir, scripted, tmp_path):
    server = scripted(answer("ok"))
    ports = [free_port() for _ in range(5)]
    path = tmp_path / "also.sock"
    listen = ", ".join([f'"127.0.0.1:{p}"' for p in ports] + [f'"unix:{path}"'])
    weir(f"listen: [{listen}]\n" + one_service(server, root="workers: 1"))
    for address in (*ports, str(path)):
        with Client(address) as client:
            assert client.get().text == "ok"
    assert server.connections == 1


def test_options(weir, origin):
    server = origin()
    known = Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()
    congestion = "reno" if "reno" in known else known[0]
    port = free_port()
    options = f"congestion: {congestion}, fast_open: on, nodelay: off, keepalive_idle: 30s, send_buffer: 64k, recv_buffer: 64k"
    gate = weir(f'listen: [{{address: "127.0.0.1:{port}", backlog: 64, {options}}}]\n'
                + one_service(server, service=options))
    with Client(port, timeout=30) as client:
        for _ in range(3):
            assert len(client.get("/bytes/2000000").body) == 2000000
            assert client.request("POST", "/", body=b"x" * 1000000).status == 200
    assert gate.running


def test_fast_open_is_accepted(weir, scripted):
    """Data in the SYN, if this kernel does that; the answer is the same without."""
    gate = weir(f'listen: [{{address: "127.0.0.1:{(port := free_port())}", fast_open: on}}]\n'
                + one_service(scripted(answer("ok"))))
    for _ in range(3):
        with socket.socket() as s:
            s.settimeout(10)
            try:
                s.sendto(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", socket.MSG_FASTOPEN,
                         ("127.0.0.1", port))
            except OSError:
                pytest.skip("this kernel sends no fast open")
            data = b""
            while part := s.recv(65536):
                data += part
            assert data.endswith(b"ok")
    assert gate.running


def test_connections_are_spread_over_workers(weir, scripted):
    gate = weir(one_service(scripted(answer()), root="workers: 2"))
    clients = [gate.connect() for _ in range(40)]
    for client in clients:
        assert client.get().status == 200
    metrics = gate.metrics()
    spread = [metrics[f'weir_worker_connections{{worker="{n}"}}'] for n in range(2)]
    assert min(spread) >= 5, spread
    for client in clients:
        client.close()


def test_a_silent_connection_is_no_request(weir, scripted):
    server = scripted(answer())
    gate = weir(one_service(server))
    for _ in range(50):
        gate.connect().close()
    client = gate.connect()
    client.reset()
    assert gate.get().status == 200
    assert len(server.requests) == 1
    assert gate.metric("weir_http_requests_total") == 1


def test_a_backtrace_of_every_fiber(weir, origin):
    gate = weir(one_service(origin()))
    with gate.connect() as client:
        client.send_request("GET", "/delay/700")
        wait_until(lambda: gate.metric("weir_upstream_requests_total") == 1)
        gate.signal(signal.SIGQUIT)
        gate.wait_log("fiber")
        assert client.read_response().status == 200
    assert os.path.exists(f"/proc/{gate.pid}")


def test_unknown_signals_do_no_harm(weir, scripted):
    gate = weir(one_service(scripted(answer())))
    gate.signal(signal.SIGPIPE)
    gate.signal(signal.SIGWINCH)
    assert gate.get().status == 200
