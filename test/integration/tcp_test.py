"""TCP services: connections passed on as they are."""
import hashlib
import os
import socket
import threading

import pytest

from lib.ports import free_port
from lib.process import wait_until
from lib.streams import connect, receive_all, receive_exactly


def conf(servers, listen="", service="", more=""):
    """One TCP listener on PORT, which is filled in by start()."""
    listed = ", ".join(f'"{s.address}"' for s in servers)
    return f'''
listen: {{address: "127.0.0.1:PORT", tcp: db{listen}}}
services:
  db:
    servers: [{listed}]
    {service}
{more}
'''


def start(weir, text, **options):
    port = free_port()
    gate = weir(text.replace("PORT", str(port)), **options)
    gate.tcp_port = port
    return gate


def test_bytes_pass_both_ways_and_each_end_is_passed_on(weir, tcp_server, each_loop):
    def serve(connection, server):
        connection.sendall(b"hello before any request")
        connection.sendall(b"got " + receive_all(connection))

    gate = start(weir, conf([tcp_server(serve)]))
    with connect(gate.tcp_port) as c:
        assert receive_exactly(c, 24) == b"hello before any request"
        c.sendall(b"one ")
        c.sendall(b"two")
        c.shutdown(socket.SHUT_WR)
        assert receive_all(c) == b"got one two"
    wait_until(lambda: gate.metric("weir_tcp_connections") == 0, 20)
    assert gate.metric("weir_tcp_connections_total", service="db") == 1
    assert gate.metric("weir_tcp_received_bytes_total") == 7
    assert gate.metric("weir_tcp_sent_bytes_total") == 24 + 11
    line = wait_until(gate.access, 20)[0]
    assert (line["method"], line["status"], line["request_bytes"], line["response_bytes"]) == ("TCP", 200, 7, 35)
    assert line["target"] == f"127.0.0.1:{gate.tcp_port}" and line["service"] == "db"


def test_much_passes_whole_both_ways_at_once(weir, tcp_server, each_loop):
    data = os.urandom(1 << 20)
    count = 12
    gate = start(weir, conf([tcp_server()]))
    with connect(gate.tcp_port) as c:
        def send():
            for _ in range(count):
                c.sendall(data)
            c.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        got = receive_all(c)
        sender.join()
    assert hashlib.sha256(got).digest() == hashlib.sha256(b"a" + data * count).digest()
    wait_until(lambda: gate.metric("weir_tcp_received_bytes_total") == count << 20, 20)


def test_connections_are_divided(weir, tcp_server):
    servers = [tcp_server(name=n) for n in (b"a", b"b", b"c")]
    gate = start(weir, conf(servers) + "workers: 1\n")
    seen = []
    for _ in range(12):
        with connect(gate.tcp_port) as c:
            seen.append(receive_exactly(c, 1))
    assert sorted(seen) == [b"a"] * 4 + [b"b"] * 4 + [b"c"] * 4


def test_another_server_is_tried_and_the_dead_one_left_alone(weir, tcp_server, each_loop):
    dead = tcp_server(name=b"d")
    well = tcp_server(name=b"w")
    dead.stop()
    gate = start(weir, conf([dead, well]) + "workers: 1\n")
    for _ in range(30):
        with connect(gate.tcp_port) as c:
            assert receive_exactly(c, 1) == b"w"
    wait_until(lambda: gate.metric("weir_tcp_connections") == 0, 20)
    # three failures in a row eject it; afterwards it is tried only when its time out is over
    assert 3 <= gate.metric("weir_tcp_retries_total") < 30
    assert gate.metric("weir_tcp_failures_total") == 0


def test_without_a_server_the_client_is_closed(weir, tcp_server):
    dead = tcp_server()
    dead.stop()
    gate = start(weir, conf([dead]))
    with connect(gate.tcp_port) as c:
        try:
            assert receive_all(c) == b""
        except ConnectionResetError:
            pass
    line = wait_until(gate.access, 20)[0]
    assert line["status"] == 502 and "refused" in line["error"]
    assert gate.metric("weir_tcp_failures_total") == 1


def test_what_is_silent_for_too_long_is_closed(weir, tcp_server, each_loop):
    gate = start(weir, conf([tcp_server()], listen=", idle_timeout: 300ms"))
    with connect(gate.tcp_port) as c:
        assert receive_all(c) == b"a"
    line = wait_until(gate.access, 20)[0]
    assert line["error"] == "deadline passed" and line["us"] >= 300000


def test_connections_max_is_never_exceeded_and_every_end_is_noticed(weir, tcp_server, each_loop):
    """Clients that come in crowds, stay for a moment, and leave in every way there is."""
    gate = start(weir, conf([tcp_server()], listen=", connections_max: 3") + "workers: 2\n")
    served, errors = [], []

    def client(number):
        try:
            for i in range(6):
                with connect(gate.tcp_port) as c:
                    if (number + i) % 5 == 0:  # leaves before anything came, maybe before it was accepted
                        continue
                    assert receive_exactly(c, 1) == b"a"
                    c.sendall(b"x" * (1 + number))
                    if (number + i) % 3 == 0:
                        c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
                    elif (number + i) % 3 == 1:
                        c.shutdown(socket.SHUT_WR)
                        receive_all(c)
                    served.append(number)
        except Exception as e:
            errors.append(e)

    with connect(gate.tcp_port) as c:
        assert receive_exactly(c, 1) == b"a"
        wait_until(lambda: gate.metric("weir_tcp_connections") == 1, 20, "it is counted")
    threads = [threading.Thread(target=client, args=(n,)) for n in range(40)]
    for t in threads:
        t.start()
    open_max = 0
    while any(t.is_alive() for t in threads):
        open_max = max(open_max, gate.metric("weir_tcp_connections"))  # each worker says a true number
    for t in threads:
        t.join(60)
    assert not errors and open_max <= 2 * 3
    wait_until(lambda: gate.metric("weir_tcp_connections") == 0, 20, "every connection is seen to end")
    assert len(served) == sum((n + i) % 5 != 0 for n in range(40) for i in range(6))
    gate.stop()
    assert "are cut" not in gate.log()


def test_long_connections_outlive_reloads(weir, tcp_server, each_loop):
    old, new = tcp_server(name=b"o"), tcp_server(name=b"n")
    gate = start(weir, conf([old]))
    with connect(gate.tcp_port) as c:
        assert receive_exactly(c, 1) == b"o"
        for i in range(3):
            gate.reload(conf([new], listen=f", connections_max: {5 + i}").replace("PORT", str(gate.tcp_port)))
            c.sendall(b"still")
            assert receive_exactly(c, 5) == b"still"
            with connect(gate.tcp_port) as other:
                assert receive_exactly(other, 1) == b"n"
        other_port = free_port()  # the listener itself goes
        gate.reload(conf([new]).replace("PORT", str(other_port)))
        c.sendall(b"still")
        assert receive_exactly(c, 5) == b"still"
        with pytest.raises(ConnectionRefusedError):
            connect(gate.tcp_port)
        c.shutdown(socket.SHUT_WR)
        assert receive_all(c) == b""


def test_a_reload_makes_room(weir, tcp_server):
    gate = start(weir, conf([tcp_server()], listen=", connections_max: 1") + "workers: 1\n")
    with connect(gate.tcp_port) as first, connect(gate.tcp_port) as second:
        assert receive_exactly(first, 1) == b"a"
        second.settimeout(0.3)
        with pytest.raises(TimeoutError):
            second.recv(1)
        second.settimeout(30)
        gate.reload((conf([tcp_server(name=b"b")], listen=", connections_max: 2") + "workers: 1\n")
                    .replace("PORT", str(gate.tcp_port)))
        assert receive_exactly(second, 1) == b"b"


def test_stopping_waits_for_connections(weir, tcp_server, each_loop):
    gate = start(weir, conf([tcp_server()]))
    with connect(gate.tcp_port) as c:
        receive_exactly(c, 1)
        gate.signal(15)
        gate.wait_log("draining")
        c.sendall(b"more")
        assert receive_exactly(c, 4) == b"more"
        c.shutdown(socket.SHUT_WR)
        assert receive_all(c) == b""
    assert gate.wait(20) == 0
    assert "are cut" not in gate.log()


def test_stopping_cuts_what_does_not_end(weir, tcp_server, each_loop):
    gate = start(weir, conf([tcp_server()]) + "drain_timeout: 200ms\n")
    with connect(gate.tcp_port) as c:
        receive_exactly(c, 1)
        gate.signal(15)
        with pytest.raises(ConnectionResetError):
            receive_all(c)
    assert gate.wait(20) == 0
    assert "1 connections are cut" in gate.log()
    assert gate.access()[0]["error"] == "cancelled"


def test_a_server_found_down_gets_none(weir, tcp_server):
    dead, well = tcp_server(name=b"d"), tcp_server(name=b"w")
    gate = start(weir, conf([dead, well], service="health_check: {method: tcp, interval: 100ms}"))
    dead.stop()
    wait_until(lambda: gate.metric("weir_health_check_failed_total", server=dead.address)
               and gate.metric("weir_health_check_up", server=dead.address) == 0, 20)
    for _ in range(8):
        with connect(gate.tcp_port) as c:
            assert receive_exactly(c, 1) == b"w"
    wait_until(lambda: gate.metric("weir_tcp_connections") == 0, 20)
    assert gate.metric("weir_tcp_retries_total") == 0


def test_connections_to_a_server_are_bounded(weir, tcp_server):
    servers = [tcp_server(name=b"a"), tcp_server(name=b"b")]
    gate = start(weir, conf(servers, service="connections_max: 2") + "workers: 1\n")
    open_ones = [connect(gate.tcp_port) for _ in range(4)]
    assert sorted(receive_exactly(c, 1) for c in open_ones) == [b"a", b"a", b"b", b"b"]
    with connect(gate.tcp_port) as c:
        try:
            assert receive_all(c) == b""
        except ConnectionResetError:
            pass
    line = wait_until(gate.access, 20)[0]
    assert line["status"] == 503
    for c in open_ones:
        c.close()


def test_an_idle_connection_has_no_fiber(weir, tcp_server):
    gate = start(weir, conf([tcp_server()]) + "workers: 1\n")
    before = gate.metric("weir_worker_fibers")
    clients = [connect(gate.tcp_port) for _ in range(50)]
    for c in clients:
        c.sendall(b"x")
        assert receive_exactly(c, 2) == b"ax"
    assert gate.metric("weir_tcp_connections") == 50
    assert gate.metric("weir_worker_fibers") < before + 10
    for c in clients:
        c.close()


@pytest.mark.parametrize("text, wanted", [
    ('listen: {address: ":1", tcp: nobody}', "nobody"),
    ('listen: {address: ":1", tcp: db, udp: db}', "a listener is for one of them"),
    ('listen: {address: "unix:/x", udp: db}', "no datagrams"),
    ('listen: {address: ":1", udp: db, proxy_protocol: {from: all}}', "not for datagrams"),
    ('listen: [{address: ":1", tcp: db}, ":2"]', "routes: at least one is needed"),
    ('listen: {address: ":1", tcp: db, proxy_protocol: {from: 10.0.0.1/8}}', "10.0.0.1/8"),
    ('listen: {address: ":1", tcp: db, proxy_protocol: {others: ignore}}', "from"),
])
def test_mistakes_are_named(weir_command, tmp_path, text, wanted):
    path = tmp_path / "weir.yaml"
    path.write_text(text + "\nservices: {db: {servers: ['127.0.0.1:1']}}\n")
    result = weir_command("check", "-c", path)
    assert result.returncode == 1 and wanted in result.stderr
