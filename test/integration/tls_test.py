"""TLS of listeners: handshakes, certificates by name, what clients see."""
import hashlib
import ssl

import pytest

from lib.client import Client, Closed
from lib.ports import free_port
from lib.process import wait_until
from lib.servers import answer
from lib.tls import Authority, TlsClient, believing, s_client


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


def conf(server, tls, more=""):
    return f'''
listen: {{address: "127.0.0.1:PORT", tls: {tls}}}
routes: [{{match: /*, service: s}}]
services: {{s: {{servers: ["{server.address}"]}}}}
{more}
'''


def start(weir, text, **options):
    port = free_port()
    gate = weir(text.replace("PORT", str(port)), **options)
    gate.port = port
    return gate


def test_a_first_try(weir, scripted, each_loop):
    gate = start(weir, conf(scripted(answer("ok")), "{self_signed: true}"))
    with TlsClient(gate.port) as c:
        assert c.socket.version() == "TLSv1.3"
        for _ in range(5):
            assert c.get().text == "ok"
    names = s_client(gate.port, "-servername", "localhost", "-verify_hostname", "localhost")
    assert "self-signed certificate" in names and "Hostname mismatch" not in names


def test_bodies_pass_whole_both_ways(weir, origin, each_loop):
    gate = start(weir, conf(origin(), "{self_signed: true}"))
    sent = bytes(i * 31 & 255 for i in range(3_000_000))
    with TlsClient(gate.port) as c:
        for size in (0, 1, 4095, 16384, 100_000, 2_000_000):
            assert len(c.get(f"/bytes/{size}").body) == size
        echoed = c.request("POST", "/raw", body=sent)
        assert hashlib.sha256(echoed.body).digest() == hashlib.sha256(sent).digest()


def test_plain_http_on_a_tls_port_is_told_so(weir, scripted, each_loop):
    gate = start(weir, conf(scripted(answer("ok")), "{self_signed: true}"))
    with Client(gate.port) as c:
        response = c.get()
        assert response.status == 400 and "HTTPS" in response.text
        assert c.is_closed()


def test_the_scheme_is_https(weir, scripted):
    server = scripted(answer("ok"))
    gate = start(weir, conf(server, "{self_signed: true}"))
    with TlsClient(gate.port) as c:
        assert c.get().text == "ok"
    assert b"\r\nX-Forwarded-Proto: https\r\n" in server.requests[0]


def test_the_header_of_a_proxy_comes_before_the_handshake(weir, scripted, each_loop):
    server = scripted(answer("ok"))
    text = conf(server, "{self_signed: true}").replace("tls:", "proxy_protocol: {from: loopback}, tls:")
    gate = start(weir, text)
    with TlsClient(gate.port, first=b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n") as c:
        assert c.get().text == "ok"
        assert c.get().text == "ok"
    assert all(b"\r\nX-Forwarded-For: 192.0.2.1\r\n" in r for r in server.requests)


def test_certificates_by_name(weir, scripted, authority):
    a = authority.issue("a.example", "www.a.example")
    wild = authority.issue("*.b.example")
    exact = authority.issue("shop.b.example")
    rsa = authority.issue("a.example", kind="rsa")
    tls = f"{{certificate: {a.certificate}, key: {a.key}, certificates: [{wild}, {exact}, {rsa}]}}"
    gate = start(weir, conf(scripted(answer("ok")), tls))

    def given(name, **settings):
        with TlsClient(gate.port, believing(), name) as c:
            assert c.get().text == "ok"
            return c.peer_der()

    assert given("a.example") == given("WWW.A.example") == given(None) == given("other.example") == a.der()
    assert given("x.b.example") == wild.der() and given("shop.b.example") == exact.der()
    assert given("x.y.b.example") == given("b.example") == a.der()  # a wildcard is one label
    context = believing()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
    with TlsClient(gate.port, context, "a.example") as c:
        assert c.peer_der() == rsa.der()
    with TlsClient(gate.port, authority.client(), "shop.b.example") as c:
        assert c.get().text == "ok"


def test_a_silent_client_has_a_deadline(weir, scripted):
    gate = start(weir, conf(scripted(answer("ok")), "{self_signed: true, handshake_timeout: 50ms}"))
    with Client(gate.port) as c:
        assert c.is_closed()


def test_a_stop_waits_for_nobody_who_shakes_hands(weir, scripted):
    gate = start(weir, conf(scripted(answer("ok")), "{self_signed: true}", "drain_timeout: 100ms"))
    with Client(gate.port) as c:
        c.send(b"\x16\x03\x01\x02\x00")
        wait_until(lambda: gate.metric("weir_http_connections") == 1 or True, 1)
        assert gate.stop() == 0


@pytest.mark.parametrize("tls, line", [
    ("{certificate: /nowhere.pem}", "cannot read /nowhere.pem: No such file or directory"),
    ("{certificate: A.pem, key: B.key}", "is not the key of the certificate"),
    ("{certificate: A.key}", "has no PEM certificate"),
    ("{key: A.key}", "certificate: it is missing beside key"),
    ("{}", "a certificate is needed"),
    ("{self_signed: true, ciphers: NONE-SUCH}", 'ciphers: OpenSSL has none of "NONE-SUCH"'),
    ("{self_signed: true, client_ca: /nowhere.pem}", "ca: cannot read /nowhere.pem"),
])
def test_what_cannot_work_is_refused(weir_command, authority, tmp_path, tls, line):
    a, b = authority.issue("a.example"), authority.issue("b.example")
    for name, path in (("A.pem", a.certificate), ("A.key", a.key), ("B.key", b.key)):
        tls = tls.replace(name, str(path))
    path = tmp_path / "weir.yaml"
    path.write_text(f'listen:\n  - address: ":8443"\n    tls: {tls}\nroutes: [{{match: /*, service: s}}]\n'
                    'services: {s: {servers: ["127.0.0.1:1"]}}\n')
    done = weir_command("check", "-c", path)
    assert done.returncode == 1 and line in done.stderr and f"{path}:3:" in done.stderr, done.stderr
