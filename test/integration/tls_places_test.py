"""TLS where it is not HTTP for users: TCP services, the admin address, the ledger's."""
import signal
import ssl

import pytest

from lib.client import Client
from lib.ports import free_port
from lib.process import wait_until
from lib.streams import connect, receive_all, receive_exactly
from lib.tls import Authority, TlsClient, believing, over_tls, strict


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


def tcp(weir, server, tls, listen="", service="", more=""):
    port = free_port()
    gate = weir(f'''
listen: {{address: "127.0.0.1:{port}", tcp: db, tls: {tls}{listen}}}
services: {{db: {{servers: ["{server.address}"]{service}}}}}
{more}
''')
    gate.tcp_port = port
    return gate


def shake(port, context=None, name="localhost", first=b"", **options):
    raw = connect(port)
    raw.sendall(first)
    return strict(context or believing()).wrap_socket(raw, server_hostname=name, suppress_ragged_eofs=False, **options)


def test_a_tcp_service_gets_what_clients_say_over_tls(weir, tcp_server, each_loop):
    data = bytes(i * 31 & 255 for i in range(16384))
    gate = tcp(weir, tcp_server(), "{self_signed: true}")
    with shake(gate.tcp_port) as c:
        assert c.version() == "TLSv1.3" and c.selected_alpn_protocol() is None
        assert receive_exactly(c, 1) == b"a"  # who speaks first is heard
        for size in (1, 16384):
            c.sendall(data[:size])
            assert receive_exactly(c, size) == data[:size]
    assert gate.metric("weir_tls_handshakes_total", listen=f"127.0.0.1:{gate.tcp_port}") == 1
    wait_until(lambda: gate.metric("weir_tcp_connections") == 0, 20)
    line = wait_until(gate.access, 20)[0]
    assert (line["method"], line["status"], line["request_bytes"]) == ("TCP", 200, 16385)  # in the clear


def test_an_end_passes_and_much_comes_whole(weir, tcp_server, each_loop):
    body = bytes(i * 31 & 255 for i in range(3_000_000))

    def serve(connection, server):
        assert receive_exactly(connection, 4) == b"give"
        connection.sendall(body)

    gate = tcp(weir, tcp_server(serve), "{self_signed: true}")
    with shake(gate.tcp_port) as c:
        c.sendall(b"give")
        assert receive_all(c) == body  # an end without close_notify would be an error


def test_tls_on_both_sides(weir, scripted, authority):
    """Terminated, and then spoken anew to the server; the PROXY header is between."""
    server = scripted(over_tls(authority.server(authority.issue("IP:127.0.0.1")), b"HTTP/1.1 200 OK\r\n\r\nsecret"))
    gate = tcp(weir, server, authority.issue("db.example"), service=f", tls: {{ca: {authority.certificate}}}")
    with shake(gate.tcp_port, authority.client(), "db.example") as c:
        c.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert receive_exactly(c, 25).endswith(b"secret")


def test_the_header_of_a_proxy_comes_before_the_handshake(weir, tcp_server, each_loop):
    gate = tcp(weir, tcp_server(), "{self_signed: true}", ", proxy_protocol: {from: [loopback]}")
    with shake(gate.tcp_port, first=b"PROXY TCP4 192.0.2.7 192.0.2.8 1234 443\r\n") as c:
        c.sendall(b"x")
        assert receive_exactly(c, 2) == b"ax"
    assert wait_until(gate.access, 20)[0]["client"] == "192.0.2.7"


def test_what_the_header_says_is_passed_on_behind_the_handshake(weir, tcp_server, each_loop):
    gate = tcp(weir, tcp_server(), "{self_signed: true}", ", proxy_protocol: {from: [loopback]}",
               ", proxy_protocol: v1")
    with shake(gate.tcp_port, first=b"PROXY TCP4 192.0.2.7 192.0.2.8 1234 443\r\n") as c:
        header = b"PROXY TCP4 192.0.2.7 192.0.2.8 1234 443\r\n"
        assert receive_exactly(c, 1 + len(header)) == b"a" + header


def test_no_server_is_asked_before_the_handshake_is_over(weir, tcp_server, each_loop):
    server = tcp_server()
    gate = tcp(weir, server, "{self_signed: true, handshake_timeout: 1s}")
    with connect(gate.tcp_port) as silent, connect(gate.tcp_port) as plain:
        plain.sendall(b"\0\0\0\10no TLS")
        assert b"no TLS" not in receive_all(plain)
        assert receive_all(silent) == b""
    assert server.connections == 0
    assert gate.metric("weir_tls_failures_total", reason="timeout") >= 1
    wait_until(lambda: gate.metric("weir_tcp_connections") == 0, 20)


def test_one_that_is_in_its_handshake_does_not_hold_up_the_end(weir, tcp_server, each_loop):
    gate = tcp(weir, tcp_server(), "{self_signed: true, handshake_timeout: 10m}", more="drain_timeout: 200ms")
    with connect(gate.tcp_port) as silent:
        wait_until(lambda: gate.metric("weir_tcp_connections") == 1, 20)
        gate.signal(signal.SIGTERM)
        assert gate.wait(20) == 0
        silent.close()


def test_datagrams_carry_no_tls(weir_command, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text('listen: {address: "127.0.0.1:1", udp: s, tls: {self_signed: true}}\n'
                    'services: {s: {servers: ["127.0.0.1:2"]}}\n')
    checked = weir_command("check", "-c", path)
    assert checked.returncode == 1 and "tls: it is for connections, not for datagrams" in checked.stderr


def admin(weir, tls, more="", token=""):
    port = free_port()
    gate = weir(f'''
admin: {{address: "127.0.0.1:{port}", tls: {tls}{token}}}
routes: [{{match: /*, respond: 204}}]
{more}
''', ready=False)
    gate.admin_port = port
    gate.waits_for = [gate.port, port]
    gate.wait_ready()
    return gate


def test_the_admin_address(weir, authority, each_loop):
    pair = authority.issue("localhost")
    gate = admin(weir, pair)
    with TlsClient(gate.admin_port, authority.client(), "localhost") as c:
        assert c.socket.version() == "TLSv1.3"
        for _ in range(2):
            metrics = c.get("/metrics").text
    assert f'weir_tls_certificate_expiry_seconds{{listen="127.0.0.1:{gate.admin_port}",name="localhost"' in metrics
    with Client(gate.admin_port) as c:
        assert c.get("/metrics").status == 400  # plain: told so, and shown nothing
    # what changes is read again, as everywhere
    authority.issue("localhost", file=pair.certificate.stem)
    gate.wait_log("files have changed and were read again")
    with TlsClient(gate.admin_port, authority.client(), "localhost") as c:
        assert c.peer_der() == pair.der()


def test_weir_ctl(weir, weir_command, authority, tmp_path):
    """It believes the certificates that its file names, and nobody else."""
    pair, other = authority.issue("a.example"), authority.issue("a.example")
    gate = admin(weir, pair)
    done = weir_command("ctl", "-c", gate.conf_path, "status")
    assert done.returncode == 0 and "generation" in done.stdout, done.stderr
    stranger = tmp_path / "stranger.yaml"
    stranger.write_text(gate.conf_path.read_text().replace(str(pair), str(other)))
    done = weir_command("ctl", "-c", stranger, "status")
    assert done.returncode == 3 and "its certificate is not believed" in done.stderr
    done = weir_command("ctl", "-a", f"127.0.0.1:{gate.admin_port}", "status")  # in the clear
    assert done.returncode != 0
    gate = admin(weir, "{self_signed: true}")
    assert weir_command("ctl", "-c", gate.conf_path, "services").returncode == 0
    done = weir_command("ctl", "-a", f"https://127.0.0.1:{gate.admin_port}", "status")
    assert done.returncode == 3 and "not believed" in done.stderr


def test_clients_of_the_admin_address_show_certificates(weir, authority):
    gate = admin(weir, f"{{certificate: {(pair := authority.issue('localhost')).certificate}, key: {pair.key}, "
                       f"client_ca: {authority.certificate}}}")
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        with TlsClient(gate.admin_port, authority.client(), "localhost") as c:
            c.get("/v1/generations")
            c.more()
    with TlsClient(gate.admin_port, authority.client(authority.issue("ann", subject="/CN=ann")), "localhost") as c:
        assert c.get("/v1/generations").status == 200


def test_tls_comes_and_goes_with_a_reload(weir, authority):
    gate = admin(weir, "{self_signed: true}")
    with TlsClient(gate.admin_port) as c:
        assert c.get("/metrics").status == 200
    gate.reload(f'''
admin: "127.0.0.1:{gate.admin_port}"
routes: [{{match: /*, respond: 204}}]
''')
    with Client(gate.admin_port) as c:
        assert c.get("/metrics").status == 200
    gate.reload(f'''
admin: {{address: "127.0.0.1:{gate.admin_port}", tls: {{self_signed: true}}}}
routes: [{{match: /*, respond: 204}}]
''')
    with Client(gate.admin_port) as c:
        assert c.get("/metrics").status == 400
    with TlsClient(gate.admin_port) as c:
        assert c.get("/metrics").status == 200


@pytest.fixture
def ledger(weir, tmp_path, authority):
    def start(more):
        http, redis = free_port(), free_port()
        gate = weir(f'''
ledger:
  path: {tmp_path}/ledger
  http: {{address: "127.0.0.1:{http}", tls: {more}}}
  listen: "127.0.0.1:{redis}"
  tls: {more}
routes: [{{match: /*, respond: 204}}]
''')
        gate.http_port, gate.redis_port = http, redis
        return gate
    return start


def test_the_ledger_by_http_and_by_redis(ledger, each_loop):
    gate = ledger("{self_signed: true}")
    with TlsClient(gate.http_port) as c:
        assert c.get("/v1/stock/items").status in (200, 404) and c.get("/").status < 500
    with shake(gate.redis_port) as c:
        for i in range(3):
            c.sendall(b"SET a %d\r\nGET a\r\n" % i)
            assert receive_exactly(c, 12) == b"+OK\r\n$1\r\n%d\r\n" % i
    with connect(gate.redis_port) as c:
        c.sendall(b"\0GET a\r\n")
        assert b"$1" not in receive_all(c)
    gate.upgrade()

    # who still got the process before is closed without an answer, for it has the ledger no more
    def answered():
        try:
            with shake(gate.redis_port) as c:
                c.sendall(b"GET a\r\n")
                return receive_exactly(c, 7) == b"$1\r\n2\r\n"
        except (OSError, EOFError):
            return False
    wait_until(answered)


def test_tls_without_listen_is_refused(weir_command, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(f"ledger: {{path: {tmp_path}/l, tls: {{self_signed: true}}}}\nlisten: ':1'\n"
                    "routes: [{match: /*, respond: 204}]\n")
    checked = weir_command("check", "-c", path)
    assert checked.returncode == 1 and "ledger: tls: it is for `listen`, which is not said" in checked.stderr
