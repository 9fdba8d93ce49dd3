"""TLS to servers: who is believed, what they are asked for, sessions, health checks."""
import ssl

import pytest

from lib.process import wait_until
from lib.servers import answer
from lib.tls import Authority, over_tls


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


def conf(server, tls, more=""):
    return f'''
routes: [{{match: /*, service: s}}]
services: {{s: {{servers: ["{server.address}"], tls: {tls}{more}}}}}
'''


def test_a_server_that_proves_who_it_is(weir, scripted, authority, each_loop):
    handshakes = []
    server = scripted(over_tls(authority.server(authority.issue("IP:127.0.0.1")), answer("secret"), handshakes))
    gate = weir(conf(server, f"{{ca: {authority.certificate}}}"))
    assert [gate.get().text for _ in range(3)] == ["secret"] * 3
    assert {h["version"] for h in handshakes} == {"TLSv1.3"}


def test_bodies_pass_whole(weir, scripted, authority, each_loop):
    body = bytes(i * 31 & 255 for i in range(1_000_000))

    def echo(peer):
        while request := peer.read_request():
            peer.send(answer(request.partition(b"\r\n\r\n")[2]))

    server = scripted(over_tls(authority.server(authority.issue("IP:127.0.0.1")), echo))
    gate = weir(conf(server, f"{{ca: {authority.certificate}}}"))
    for size in (0, 1, 16384, 100_000, 1_000_000):
        assert gate.request("POST", body=body[:size]).body == body[:size]


def test_strangers_are_refused(weir, scripted, authority, tmp_path):
    other = Authority(tmp_path / "other")
    pairs = {
        "unknown": (other.issue("IP:127.0.0.1"), "unable to get local issuer certificate"),
        "name": (authority.issue("elsewhere.example"), "IP address mismatch"),
        "ended": (authority.issue("IP:127.0.0.1", days=0), "certificate has expired"),
    }
    for pair, why in pairs.values():
        server = scripted(over_tls(authority.server(pair), answer("stolen")))
        gate = weir(conf(server, f"{{ca: {authority.certificate}}}"))
        response = gate.get()
        assert response.status == 502 and "stolen" not in response.text
        gate.wait_log(f'no handshake with a server service=s server=127.0.0.1 why="{why}"')
        assert server.requests == []
        assert gate.metric("weir_tls_upstream_failures_total", service="s", reason="certificate") >= 1
        trusting = weir(conf(server, "{verify: false}"))
        assert trusting.get().text == "stolen"


def test_the_name_asked_for(weir, scripted, authority):
    names = []
    context = authority.server(authority.issue("shop.example"))
    context.sni_callback = lambda socket, name, context: names.append(name)
    server = scripted(over_tls(context, answer("ok")))
    ca = f"ca: {authority.certificate}"
    gate = weir(conf(server, f"{{{ca}, server_name: shop.example}}"))
    assert gate.get().text == "ok" and names == ["shop.example"]
    assert weir(conf(server, f"{{{ca}, server_name: other.example}}")).get().status == 502
    host = server.address.replace("127.0.0.1", "localhost")
    named = weir(conf(server, f"{{{ca}}}").replace(server.address, host))
    assert named.get().status == 502 and names[-1] == "localhost"


def test_servers_get_to_see_a_certificate(weir, scripted, authority):
    subjects = []

    def tell(peer):
        subjects.append(dict(x[0] for x in peer.socket.getpeercert()["subject"]))
        while peer.read_request():
            peer.send(answer("ok"))

    pair = authority.issue("weir.example", subject="/CN=weir.example/O=Example")
    server = scripted(over_tls(authority.server(authority.issue("IP:127.0.0.1"), clients=True), tell))
    tls = f"{{ca: {authority.certificate}, certificate: {pair.certificate}, key: {pair.key}}}"
    assert weir(conf(server, tls)).get().text == "ok"
    assert subjects == [{"commonName": "weir.example", "organizationName": "Example"}]
    assert weir(conf(server, f"{{ca: {authority.certificate}}}")).get().status == 502


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_sessions_go_on(weir, scripted, authority, version):
    handshakes = []
    context = authority.server(authority.issue("IP:127.0.0.1"))
    context.maximum_version = getattr(ssl.TLSVersion, version)
    server = scripted(over_tls(context, answer("ok"), handshakes))
    gate = weir("workers: 1\n" + conf(server, f"{{ca: {authority.certificate}}}", ", upstream: close"))
    for _ in range(4):
        assert gate.get().text == "ok"
    assert [h["resumed"] for h in handshakes] == [False, True, True, True]
    assert gate.metric("weir_tls_upstream_handshakes_total", service="s", resumed="yes") == 3


def test_files_that_change_are_read_again(weir, scripted, authority, tmp_path):
    """Without a reload; and what is no certificate changes nothing."""
    ca = tmp_path / "ca.pem"
    ca.write_bytes(Authority(tmp_path / "other").certificate.read_bytes())
    server = scripted(over_tls(authority.server(authority.issue("IP:127.0.0.1")), answer("ok")))
    gate = weir(conf(server, f"{{ca: {ca}}}", ", upstream: close"))
    assert gate.get().status == 502  # it is not believed

    def put(data):
        ca.with_suffix(".new").write_bytes(data)
        ca.with_suffix(".new").replace(ca)

    put(b"nonsense")
    gate.wait_log("what was read before is kept service=s", 20)
    assert gate.get().status == 502
    put(authority.certificate.read_bytes())
    gate.wait_log("files have changed and were read again service=s", 20)
    wait_until(lambda: gate.get().status == 200, 20)
    assert gate.metric("weir_tls_certificate_reads_total") == 2
    assert gate.metric("weir_tls_certificate_failures_total") == 1


def test_health_checks_speak_tls(weir, scripted, authority):
    server = scripted(over_tls(authority.server(authority.issue("IP:127.0.0.1")), answer("well")))
    more = ", health_check: {path: /healthz, interval: 20ms, unhealthy_after: 1, healthy_after: 1}"
    gate = weir(conf(server, f"{{ca: {authority.certificate}}}", more))
    wait_until(lambda: gate.metric("weir_health_check_succeeded_total", service="s") >= 2, 20)
    assert any(b"GET /healthz" in r for r in server.requests) and gate.get().text == "well"
    distrusting = weir(conf(server, "on", more))
    distrusting.wait_log("down service=s")


def test_a_body_that_ends_with_its_connection_has_to_be_ended(weir, scripted, authority, each_loop):
    def cut(peer):
        request = peer.read_request()
        peer.send(b"HTTP/1.0 200 OK\r\n\r\nall of it")
        if b"/whole" in request:
            peer.socket = peer.socket.unwrap()  # says close_notify
        peer.close()

    server = scripted(over_tls(authority.server(authority.issue("IP:127.0.0.1")), cut))
    gate = weir(conf(server, f"{{ca: {authority.certificate}}}"))
    assert gate.get("/whole").text == "all of it"
    assert not gate.raw(b"GET /cut HTTP/1.1\r\nHost: t\r\n\r\n").endswith(b"0\r\n\r\n")


def test_pipelined_and_tcp(weir, scripted, authority, tcp_server):
    from lib.client import Client
    from lib.ports import free_port
    handshakes = []
    context = authority.server(authority.issue("IP:127.0.0.1"))
    server = scripted(over_tls(context, answer("ok"), handshakes))
    tls = f"{{ca: {authority.certificate}}}"
    gate = weir(conf(server, tls, ", upstream: pipelined"))
    assert [gate.get().text for _ in range(3)] == ["ok"] * 3 and handshakes
    port = free_port()
    gate = weir(f'listen: {{address: "127.0.0.1:{port}", tcp: s}}\n'
                f'services: {{s: {{servers: ["{server.address}"], tls: {tls}}}}}')
    with Client(port) as c:
        assert c.get().text == "ok" and c.get().text == "ok"


def test_the_proxy_header_goes_before_the_handshake(weir, scripted, authority):
    context = authority.server(authority.issue("IP:127.0.0.1"))
    seen = []

    def first(peer):
        line = b""
        while not line.endswith(b"\r\n"):
            line += peer.socket.recv(1)
        seen.append(line)
        over_tls(context, answer("ok"))(peer)

    gate = weir(conf(scripted(first), f"{{ca: {authority.certificate}}}", ", proxy_protocol: v1"))
    assert gate.get().text == "ok" and seen[0].startswith(b"PROXY TCP4 127.0.0.1 127.0.0.1 ")


@pytest.mark.parametrize("tls, line", [
    ("{ca: /nowhere.pem}", "ca: cannot read /nowhere.pem"),
    ("{certificate: /nowhere.pem}", "cannot read /nowhere.pem"),
    ("{key: /nowhere.pem}", "certificate: it is missing beside key"),
])
def test_what_cannot_work_is_refused(weir_command, tmp_path, tls, line):
    path = tmp_path / "weir.yaml"
    path.write_text('listen: [":8080"]\nroutes: [{match: /*, service: s}]\nservices:\n  s:\n'
                    f'    servers: ["127.0.0.1:1"]\n    tls: {tls}\n')
    done = weir_command("check", "-c", path)
    assert done.returncode == 1 and line in done.stderr and f"{path}:6:" in done.stderr, done.stderr
