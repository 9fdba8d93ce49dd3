"""The PROXY protocol, from a proxy in front and to servers behind."""
import os
import shutil
import socket
import struct

import pytest

from lib.client import Client, Closed
from lib.conf import start
from lib.ports import free_port, listening
from lib.process import Process, wait_until
from lib.servers import answer
from lib.streams import connect, receive_all, receive_exactly

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V1 = b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n"
V2 = SIGNATURE + b"\x21\x11\0\x14" + bytes([192, 0, 2, 1, 198, 51, 100, 7]) + struct.pack(">HH", 56324, 443) + \
    b"\x01\0\2h2\x04\0\0"
V2_IPV6 = SIGNATURE + b"\x21\x21\0\x24" + socket.inet_pton(socket.AF_INET6, "2001:db8::1") + \
    socket.inet_pton(socket.AF_INET6, "2001:db8::2") + struct.pack(">HH", 1000, 80)
LOCAL = SIGNATURE + b"\x20\0\0\0"
REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"


def http(server, options="from: loopback", more="", service=""):
    return f'''
listen: {{address: "127.0.0.1:PORT", proxy_protocol: {{{options}}}}}
routes: [{{match: /*, service: s}}]
services: {{s: {{servers: ["{server.address}"]{service}}}}}
{more}
'''


def send_in_pieces(port, pieces):
    client = Client(port)
    for piece in pieces:
        client.send(piece)
    return client


@pytest.mark.parametrize("header, client_ip", [
    (V1, "192.0.2.1"), (V2, "192.0.2.1"), (V2_IPV6, "2001:db8::1"),
    (b"PROXY UNKNOWN\r\n", "127.0.0.1"), (LOCAL, "127.0.0.1"),
], ids=["v1", "v2", "v2-ipv6", "unknown", "local"])
def test_the_header_says_who_the_client_is(weir, scripted, each_loop, header, client_ip):
    server = scripted(answer("ok"))
    gate = start(weir, http(server))
    for pieces in ([header + REQUEST], [header, REQUEST], [header[:7], header[7:] + REQUEST[:3], REQUEST[3:]]):
        with send_in_pieces(gate.port, pieces) as c:
            assert c.read_response().text == "ok"
            assert c.get().text == "ok"  # it counts for all of the connection
    assert len(server.requests) == 6
    for request in server.requests:
        assert b"\r\nX-Forwarded-For: " + client_ip.encode() + b"\r\n" in request
    lines = wait_until(lambda: (x := gate.access()) and len(x) == 6 and x, 20)
    assert {line["client"] for line in lines} == {client_ip}


def test_only_trusted_peers_are_believed(weir, scripted):
    server = scripted(answer("ok"))
    refusing = start(weir, http(server, "from: 10.0.0.0/8"))
    with pytest.raises((Closed, ConnectionError)):
        send_in_pieces(refusing.port, [V1 + REQUEST]).read_response()
    refusing.wait_log("not trusted peer=127.0.0.1")
    ignoring = start(weir, http(server, "from: [10.0.0.0/8, '2001:db8::/32'], others: ignore"))
    with Client(ignoring.port) as c:
        assert c.get().text == "ok"
    with send_in_pieces(ignoring.port, [V1 + REQUEST]) as c:
        assert c.read_response().status == 400
    assert b"X-Forwarded-For: 127.0.0.1\r\n" in server.requests[0]


@pytest.mark.parametrize("start_bytes", [b"GET / HTTP/1.1\r\n", b"PROXY TCP4 1.2.3.4\r\n", SIGNATURE + b"\x31\0\0\0",
                                         SIGNATURE + b"\x21\x11\xff\xff", b"PROXY " + b"x" * 200])
def test_what_is_no_header_is_closed(weir, scripted, start_bytes):
    server = scripted(answer("ok"))
    gate = start(weir, http(server))
    with pytest.raises((Closed, ConnectionError)):
        send_in_pieces(gate.port, [start_bytes]).read_response()
    assert not server.requests
    gate.wait_log("proxy_protocol: no header peer=127.0.0.1")


def test_a_header_has_to_come_in_time(weir, scripted, each_loop):
    gate = start(weir, http(scripted(answer("ok")), more="client: {head_timeout: 200ms}"))
    for begun in (b"", b"PROXY TCP4 "):
        with pytest.raises(Closed):
            send_in_pieces(gate.port, [begun] if begun else []).read_response()


def test_a_reload_changes_whom_to_trust(weir, scripted):
    server = scripted(answer("ok"))
    gate = start(weir, http(server, "from: loopback"))
    with send_in_pieces(gate.port, [V1 + REQUEST]) as c:
        assert c.read_response().text == "ok"
        gate.reload(http(server, "from: 10.0.0.0/8").replace("PORT", str(gate.port)))
        assert c.get().text == "ok"
    with pytest.raises((Closed, ConnectionError)):
        send_in_pieces(gate.port, [V1 + REQUEST]).read_response()


def plain(server, version, more=""):
    return f'''
routes: [{{match: /*, service: s}}]
services: {{s: {{servers: ["{server.address}"], proxy_protocol: {version}{more}}}}}
'''


def test_a_server_gets_a_header_for_each_request(weir, scripted, each_loop):
    """One connection is for one client: none is shared, whatever the upstream mode says."""
    heads = []

    def script(peer):
        heads.append(peer.read_until(b"\r\n"))
        while peer.read_request():
            peer.send(answer("ok"))

    server = scripted(script)
    for mode in ("keepalive", "pipelined"):
        heads.clear()
        gate = weir(plain(server, "v1", f", upstream: {mode}"))
        ports = set()
        for _ in range(2):
            with gate.connect() as c:
                ports.add(c.socket.getsockname()[1])
                assert c.get().text == c.get().text == "ok"
        assert len(heads) == 4
        assert {h for h in heads} == {b"PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\n" % (p, gate.port) for p in ports}


def test_nginx_understands_what_weir_says(weir, nginx):
    port = free_port()
    behind = nginx(f'''listen 127.0.0.1:{port} proxy_protocol;
        set $to "$proxy_protocol_server_addr $proxy_protocol_server_port";
        location / {{ return 200 "$proxy_protocol_addr $proxy_protocol_port $to"; }}''')
    behind.port = port
    for version in ("v1", "v2"):
        gate = weir(plain(behind, version))
        with gate.connect() as c:
            host, client_port = c.socket.getsockname()
            assert c.get().text == f"{host} {client_port} 127.0.0.1 {gate.port}"


def test_health_checks_say_local(weir, nginx):
    port = free_port()
    behind = nginx(f"listen 127.0.0.1:{port} proxy_protocol; location / {{ return 200 ok; }}")
    behind.port = port
    for version in ("v1", "v2"):
        gate = weir(plain(behind, version, ", health_check: {path: /, interval: 2s, timeout: 2s}"))
        wait_until(lambda: gate.metric("weir_health_check_succeeded_total") >= 2, 20)
        assert gate.metric("weir_health_check_failed_total") == 0


HAPROXY = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
listen front
    bind 127.0.0.1:{port}
    server weir 127.0.0.1:{behind} {how}
"""


@pytest.fixture
def haproxy(started, tmp_path):
    binary = shutil.which("haproxy", path=os.environ["PATH"] + ":/usr/sbin")
    if not binary:
        pytest.skip("haproxy is not installed")
    ours = []

    def start(how, behind):
        port = free_port()
        path = tmp_path / f"haproxy-{port}.cfg"
        path.write_text(HAPROXY.format(port=port, behind=behind, how=how))
        ours.append(Process([binary, "-db", "-f", path], tmp_path / f"haproxy-{port}.log"))
        started.append(ours[-1])
        wait_until(lambda: listening(port), 20, "haproxy listens")
        return port

    yield start
    for process in ours:
        process.kill()


@pytest.mark.parametrize("how", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"])
def test_weir_understands_what_haproxy_says(weir, scripted, haproxy, how):
    server = scripted(answer("ok"))
    gate = start(weir, http(server))
    port = haproxy(how, gate.port)
    c = Client(port)
    c.socket.close()
    for _ in range(2):
        c.socket = socket.socket()
        c.socket.settimeout(20)
        c.socket.bind(("127.0.0.77", 0))
        c.socket.connect(("127.0.0.1", port))
        assert c.get().text == "ok"
        c.close()
    assert all(b"X-Forwarded-For: 127.0.0.77\r\n" in r for r in server.requests)


def test_tcp_passes_the_header_on(weir, tcp_server, each_loop):
    def serve(connection, server):
        connection.sendall(receive_all(connection))

    port = free_port()
    weir(f'''
listen: {{address: "127.0.0.1:{port}", tcp: t, proxy_protocol: {{from: loopback}}}}
services: {{t: {{servers: ["{tcp_server(serve).address}"], proxy_protocol: v1}}}}
''')
    for header, wanted in ((V1, V1), (V2, V1), (LOCAL, None)):
        with connect(port) as c:
            wanted = wanted or b"PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\n" % (c.getsockname()[1], port)
            c.sendall(header[:9])
            c.sendall(header[9:] + b"data")
            c.shutdown(socket.SHUT_WR)
            assert receive_all(c) == wanted + b"data"


def test_tcp_refuses_what_is_no_header(weir, tcp_server, each_loop):
    server = tcp_server()
    port = free_port()
    gate = weir(f'''
listen:
  - {{address: "127.0.0.1:{port}", tcp: t, proxy_protocol: {{from: loopback}}}}
  - {{address: "127.0.0.2:{port}", tcp: t, proxy_protocol: {{from: 10.0.0.0/8}}}}
client: {{head_timeout: 300ms}}
services: {{t: {{servers: ["{server.address}"]}}}}
''')
    for host, data, status in (("127.0.0.1", b"SELECT 1;", 400), ("127.0.0.1", b"PROXY ", 504), ("127.0.0.2", V1, 403)):
        with connect(port, host) as c:
            try:
                c.sendall(data)
                assert c.recv(100) == b""
            except ConnectionError:
                pass
        wait_until(lambda: status in [line["status"] for line in gate.access()], 20, f"{status} in the log")
    assert server.connections == 0
    assert gate.metric("weir_tcp_refused_total") == 1
    with connect(port) as c:
        c.sendall(V2)
        assert receive_exactly(c, 1) == b"a"


def test_from_a_unix_socket_everybody_is_believed(weir, scripted, tmp_path):
    server = scripted(answer("ok"))
    path = tmp_path / "front.sock"
    weir(http(server, "from: 10.0.0.0/8").replace("127.0.0.1:PORT", f"unix:{path}"))
    wait_until(path.exists, 20)
    with Client(str(path)) as c:
        c.send(V1 + REQUEST)
        assert c.read_response().text == "ok"
    assert b"X-Forwarded-For: 192.0.2.1\r\n" in server.requests[0]
