"""UDP services: datagrams passed on, and what comes back."""
import socket
import struct

import pytest

from lib.ports import free_port
from lib.process import wait_until
from lib.streams import UdpClient

UDP_SEGMENT = 103


def conf(servers, listen="", service="", more="", host="127.0.0.1"):
    listed = ", ".join(f'"{s.address}"' for s in servers)
    return f'''
listen: {{address: "{host}:PORT", udp: dns{listen}}}
services:
  dns:
    servers: [{listed}]
    {service}
{more}
'''


def start(weir, text, **options):
    port = free_port()
    gate = weir(text.replace("PORT", str(port)), **options)
    gate.udp_port = port
    return gate


@pytest.fixture
def client(request):
    ours = []

    def start(*args):
        ours.append(UdpClient(*args))
        return ours[-1]

    yield start
    for c in ours:
        c.close()


def test_answers_come_back(weir, udp_server, client, each_loop):
    server = udp_server()
    gate = start(weir, conf([server], listen=", idle_timeout: 300ms"))
    c = client(gate.udp_port)
    for i in range(5):
        assert c.ask(b"question %d" % i) == b"aquestion %d" % i
    assert len({peer for _, peer in server.got}) == 1  # one session
    wait_until(lambda: gate.metric("weir_udp_sessions") == 0, 20, "an idle session ends")
    assert gate.metric("weir_udp_sessions_total", service="dns") == 1
    assert gate.metric("weir_udp_received_datagrams_total") == len(server.got)
    assert gate.metric("weir_udp_received_bytes_total") == sum(len(data) for data, _ in server.got)
    line = wait_until(gate.access, 20)[0]
    assert (line["method"], line["status"], line["server"]) == ("UDP", 200, server.address)
    assert line["request_bytes"] == sum(len(data) for data, _ in server.got)


def test_each_client_has_a_session_of_its_own(weir, udp_server, client, each_loop):
    servers = [udp_server(name=n) for n in (b"a", b"b")]
    gate = start(weir, conf(servers))
    clients = [client(gate.udp_port) for _ in range(20)]
    names = [c.ask(b"%d" % i)[:1] for i, c in enumerate(clients)]
    assert set(names) == {b"a", b"b"}
    for _ in range(3):  # and it stays where it is
        assert [c.ask(b"%d" % i)[:1] for i, c in enumerate(clients)] == names
    assert gate.metric("weir_udp_sessions") == 20


def test_sessions_are_bounded(weir, udp_server, client):
    gate = start(weir, conf([udp_server()], listen=", sessions_max: 3") + "workers: 1\n")
    clients = [client(gate.udp_port) for _ in range(4)]
    for c in clients[:3]:
        c.ask(b"x")
    clients[3].send(b"x")
    wait_until(lambda: gate.metric("weir_udp_dropped_datagrams_total") == 1, 20)
    for c in clients[:3]:
        c.ask(b"y")
    assert gate.metric("weir_udp_sessions") == 3


def test_a_session_ends_with_its_last_response(weir, udp_server, client, each_loop):
    server = udp_server(answer=lambda data, server: [b"1" + data, b"2" + data])
    gate = start(weir, conf([server], listen=", responses: 2"))
    c = client(gate.udp_port)
    c.send(b"q")
    assert {c.receive(), c.receive()} == {b"1q", b"2q"}
    wait_until(lambda: gate.metric("weir_udp_sessions") == 0, 20)
    c.ask(b"r")
    assert gate.metric("weir_udp_sessions_total") >= 2


def test_sessions_outlive_reloads(weir, udp_server, client, each_loop):
    old, new = udp_server(name=b"o"), udp_server(name=b"n")
    gate = start(weir, conf([old]))
    c = client(gate.udp_port)
    c.ask(b"before")
    for _ in range(2):
        gate.reload(conf([new]).replace("PORT", str(gate.udp_port)))
        assert c.ask(b"after") == b"oafter"
    assert len({peer for _, peer in old.got}) == 1
    assert client(gate.udp_port).ask(b"x") == b"nx"


def test_another_server_takes_over(weir, udp_server, client, each_loop):
    dead, well = udp_server(name=b"d"), udp_server(name=b"w")
    gate = start(weir, conf([dead, well]) + "workers: 1\n")
    clients = [client(gate.udp_port) for _ in range(6)]
    assert {c.ask(b"x")[:1] for c in clients} == {b"d", b"w"}
    dead.stop()
    assert [c.ask(b"y") for c in clients] == [b"wy"] * 6
    assert gate.metric("weir_udp_failures_total") >= 1


def test_answers_leave_from_the_address_that_was_asked(weir, udp_server, client, each_loop):
    gate = start(weir, conf([udp_server()], host=""))
    for host in ("127.0.0.1", "127.0.0.2", "127.99.1.3"):
        assert client(gate.udp_port, host).ask(b"x") == b"ax"  # connected: takes nothing from elsewhere


def test_over_ipv6(weir, udp_server, client, each_loop):
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    gate = start(weir, conf([udp_server()], host="[::1]"))
    assert client(gate.udp_port, "::1").ask(b"x") == b"ax"


def test_runs_of_datagrams_stay_datagrams(weir, udp_server, client, each_loop):
    """What the kernel hands over as one run (GRO) leaves as the same datagrams, both ways."""
    server = udp_server()
    gate = start(weir, conf([server]))
    c = client(gate.udp_port)
    c.ask(b"x")
    payload = b"".join(b"%04d" % i + bytes(1196) for i in range(20)) + b"last"
    segment = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", 1200))]

    def whole():
        seen = {data for data, _ in server.got}
        return all(payload[i:i + 1200] in seen for i in range(0, len(payload), 1200))

    for _ in range(20):
        try:
            c.socket.sendmsg([payload], segment)
        except OSError:
            pytest.skip("this kernel has no UDP_SEGMENT")
        try:
            wait_until(whole, 2)
            break
        except AssertionError:  # datagrams may be lost
            pass
    assert whole()
    assert {len(data) for data, _ in server.got} <= {1, 4, 1200}


def test_large_and_empty_datagrams(weir, udp_server, client, each_loop):
    gate = start(weir, conf([udp_server()]))
    c = client(gate.udp_port)
    assert c.ask(b"z" * 60000) == b"a" + b"z" * 60000
    assert c.ask(b"") == b"a"


def test_stopping_lets_answers_through(weir, udp_server, client, each_loop):
    held = []

    def answer(data, server):
        held.append(data)
        return [b"first"] if data == b"x" else []

    server = udp_server(answer=answer)
    gate = start(weir, conf([server]))
    c = client(gate.udp_port)
    c.send(b"x")
    assert c.receive() == b"first"
    peer = server.got[0][1]
    gate.signal(15)
    gate.wait_log("draining")
    server.socket.sendto(b"late", peer)
    assert c.receive() == b"late"
    assert gate.wait(20) == 0
    assert "are cut" not in gate.log()


def test_tcp_and_udp_share_a_port_number(weir, udp_server, tcp_server, client):
    from lib.streams import connect, receive_exactly
    port = free_port()
    weir(f'''
listen: [{{address: "127.0.0.1:{port}", udp: u}}, {{address: "127.0.0.1:{port}", tcp: t}}]
services: {{u: {{servers: ["{udp_server().address}"]}}, t: {{servers: ["{tcp_server(name=b"t").address}"]}}}}
''')
    assert client(port).ask(b"x") == b"ax"
    with connect(port) as c:
        assert receive_exactly(c, 1) == b"t"
