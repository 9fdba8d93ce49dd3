"""TLS of listeners: handshakes, certificates by name, what clients see."""
import contextlib
import re
import signal
import socket
import ssl
from pathlib import Path

import pytest

from lib.client import Client, Closed
from lib.conf import start
from lib.process import wait_until
from lib.servers import answer
from lib.tls import Authority, TlsClient, believing, fingerprint, s_client


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


def test_a_first_try(weir, scripted, each_loop):
    gate = start(weir, conf(scripted(answer("ok")), "{self_signed: true}"))
    with TlsClient(gate.port) as c:
        assert c.socket.version() == "TLSv1.3"
        for _ in range(5):
            assert c.get().text == "ok"
    names = s_client(gate.port, "-servername", "localhost", "-verify_hostname", "localhost")
    assert "self-signed certificate" in names and "Hostname mismatch" not in names


def test_bodies_pass_whole_both_ways(weir, scripted, origin, each_loop):
    def echo(peer):
        while request := peer.read_request():
            peer.send(answer(request.partition(b"\r\n\r\n")[2]))

    sent = bytes(i * 31 & 255 for i in range(3_000_000))
    gate = start(weir, conf(origin(), "{self_signed: true}"))
    with TlsClient(gate.port) as c:
        for size in (0, 1, 4095, 16384, 100_000, 2_000_000):
            assert len(c.get(f"/bytes/{size}").body) == size
    gate = start(weir, conf(scripted(echo), "{self_signed: true}"))
    with TlsClient(gate.port) as c:
        for size in (1, 16384, 3_000_000):
            assert c.request("POST", body=sent[:size]).body == sent[:size]


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


def test_the_oldest_version_is_kept_to(weir, scripted):
    gate = start(weir, conf(scripted(answer("ok")), "{self_signed: true, version_min: 1.3}"))
    old = believing()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        TlsClient(gate.port, old)
    with TlsClient(gate.port) as c:
        assert c.socket.version() == "TLSv1.3" and c.get().text == "ok"
    assert gate.metric("weir_tls_failures_total", reason="version") == 1


def test_who_speaks_nothing_of_ours_is_told_so(weir, scripted):
    """RFC 7301 3.2: no_application_protocol, not a guess."""
    gate = start(weir, conf(scripted(answer("ok")), "{self_signed: true}"))
    other = believing()
    other.set_alpn_protocols(["imap", "xmpp-client"])
    with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
        TlsClient(gate.port, other)
    other.set_alpn_protocols(["imap", "http/1.1"])
    with TlsClient(gate.port, other) as c:
        assert c.socket.selected_alpn_protocol() == "http/1.1" and c.get().text == "ok"
    assert gate.metric("weir_tls_failures_total", reason="alpn") == 1


def test_an_end_is_told(weir, scripted, each_loop):
    """close_notify, when a connection is closed; not, when an answer was cut."""
    def half(peer):
        while request := peer.read_request():
            if b"/cut" in request:
                peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
                peer.close()
                return
            peer.send(answer("ok"))

    gate = start(weir, conf(scripted(half), "{self_signed: true}"))
    with TlsClient(gate.port) as c:
        assert c.request(headers={"Connection": "close"}).text == "ok"
        assert c.is_closed() and not c.cut
    with TlsClient(gate.port) as c:
        with pytest.raises(Closed):
            c.get("/cut")
        assert c.cut
    with TlsClient(gate.port) as c:
        assert c.get().text == "ok"
        gate.signal(signal.SIGTERM)
        assert c.is_closed() and not c.cut


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
    ("{certificate: /nowhere.pem}", "cannot read /nowhere.pem: no such file"),
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


def test_rsa_signatures_are_made_by_helpers(weir, scripted, authority):
    """A worker goes on meanwhile; ECDSA is quick enough."""
    server, threads = scripted(answer("ok")), {}
    for kind in ("ec", "rsa"):
        gate = start(weir, conf(server, str(authority.issue("a.example", kind=kind))))
        clients = [TlsClient(gate.port, authority.client(), "a.example") for _ in range(20)]
        assert all(c.get().text == "ok" for c in clients)
        for c in clients:
            c.close()
        names = [p.read_text().strip() for p in Path(f"/proc/{gate.pid}/task").glob("*/comm")]
        threads[kind] = names.count("weir-tls")
    assert threads["ec"] == 0 and threads["rsa"] >= 1


def stand_still(gate):
    gate.signal(signal.SIGSTOP)
    wait_until(lambda: all(p.read_text().rpartition(")")[2].split()[0] == "T"
                           for p in Path(f"/proc/{gate.pid}/task").glob("*/stat")), 20, "all of its threads stand still")


def test_a_flood_of_handshakes_takes_turns(weir, scripted, each_loop):
    """A few steps a turn, of those that begin and of those that end. weir stands still while they gather."""
    gate = start(weir, "workers: 1\n" + conf(scripted(answer("ok")), "{self_signed: true, handshake_timeout: 60s}"))
    context = believing()
    stand_still(gate)
    sockets = [socket.create_connection(("127.0.0.1", gate.port)) for _ in range(30)]
    clients = [context.wrap_socket(s, do_handshake_on_connect=False) for s in sockets]
    for s in clients:
        s.setblocking(False)
        with contextlib.suppress(ssl.SSLWantReadError):
            s.do_handshake()
    gate.signal(signal.SIGCONT)
    wait_until(lambda: gate.metric("weir_tls_steps_total") == 30, 20, "all hellos are answered")
    full = gate.metric("weir_tls_turns_full_total")
    assert full >= 1  # of 30 in one turn 16 are done at most
    stand_still(gate)
    stays = [s for i, s in enumerate(clients) if i % 3]
    for s in clients:
        if s not in stays:
            s.close()
            continue
        s.setblocking(True)
        s.settimeout(20)
        s.do_handshake()
        s.sendall(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
    gate.signal(signal.SIGCONT)
    for s in stays:
        assert s.recv(12) == b"HTTP/1.1 200"
        s.close()
    assert gate.metric("weir_tls_steps_total") >= 50 and gate.metric("weir_tls_turns_full_total") > full
    with TlsClient(gate.port) as c:
        assert c.get().text == "ok"
    wait_until(lambda: gate.metric("weir_tls_handshakes_total") == len(stays) + 1, 20)


@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_the_end_behind_the_handshake_is_not_told_before_it(weir, authority, each_loop, kind):
    """Finished, a request and the client's end are there at once, when the handshake goes on."""
    gate = start(weir, f'''
listen: {{address: "127.0.0.1:PORT", tls: {authority.issue("a.example", kind=kind)}}}
routes: [{{match: /*, respond: 200 hello}}]''')
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = believing().wrap_bio(incoming, outgoing)
    with socket.create_connection(("127.0.0.1", gate.port), timeout=20) as s:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                s.sendall(outgoing.read())
                incoming.write(s.recv(65536))
        tls.write(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.unwrap()
        stand_still(gate)
        s.sendall(outgoing.read())
        s.shutdown(socket.SHUT_WR)
        gate.signal(signal.SIGCONT)
        while more := s.recv(65536):
            incoming.write(more)
        assert tls.read(12) == b"HTTP/1.1 200"


# ---- clients' certificates

HEADERS = '''headers: {request: {set: {X-Subject: "$tls_client_subject", X-Issuer: "$tls_client_issuer",
  X-Print: "$tls_client_fingerprint", X-Verified: "$tls_client_verified", X-Version: "$tls_version",
  X-Cipher: "$tls_cipher", X-Name: "$tls_server_name"}}}'''


def with_headers(text):
    return text.replace("{match: /*, service: s}", "{match: /*, service: s, " + HEADERS + "}")


def field(request, name):
    return dict(line.split(b": ", 1) for line in request.split(b"\r\n")[1:] if b": " in line).get(name.encode())


def test_clients_show_certificates(weir, scripted, authority, tmp_path):
    server = scripted(answer("ok"))
    ann = authority.issue("ann.example", subject="/O=Example/CN=ann")
    stranger = Authority(tmp_path / "other").issue("eve.example")
    tls = f"{{self_signed: true, client_ca: {authority.certificate}}}"
    gate = start(weir, with_headers(conf(server, tls)))

    def ask(pair):
        context = believing()
        if pair:
            context.load_cert_chain(pair.certificate, pair.key)
        with TlsClient(gate.port, context) as c:
            return c.get().text

    assert ask(ann) == "ok"
    (request,) = server.requests
    assert field(request, "X-Subject") == b"CN=ann,O=Example" and field(request, "X-Issuer") == b"CN=weir test CA"
    assert field(request, "X-Print").decode() == fingerprint(ann) and field(request, "X-Verified") == b"yes"
    for nobody in (None, stranger):
        with pytest.raises((Closed, ssl.SSLError, ConnectionError)):
            ask(nobody)
    assert len(server.requests) == 1
    wait_until(lambda: gate.metric("weir_tls_failures_total", reason="certificate") == 2, 20)
    assert re.search("Acceptable client certificate CA names\nCN ?= ?weir test CA", s_client(gate.port))  # what to choose by


def test_clients_may_show_certificates(weir, scripted, authority):
    server = scripted(answer("ok"))
    ann = authority.issue("ann.example")
    tls = f"{{self_signed: true, client_ca: {authority.certificate}, client_verify: optional}}"
    gate = start(weir, with_headers(conf(server, tls)))
    for pair in (None, ann):
        context = believing()
        if pair:
            context.load_cert_chain(pair.certificate, pair.key)
        with TlsClient(gate.port, context) as c:
            assert c.get(headers={"X-Subject": "CN=forged"}).text == "ok"
    assert [field(r, "X-Verified") for r in server.requests] == [b"no", b"yes"]
    assert field(server.requests[0], "X-Subject") in (None, b"")
    assert field(server.requests[0], "X-Version") == b"TLSv1.3" and field(server.requests[0], "X-Name") == b"localhost"


def test_the_access_log_knows(weir, scripted, tmp_path):
    log = tmp_path / "tls.log"
    more = f'access_log: {{path: {log}, format: "${{tls_version}} ${{tls_cipher}} ${{tls_server_name}} ${{tls_resumed}}"}}'
    gate = start(weir, conf(scripted(answer("ok")), "{self_signed: true}", more))
    with TlsClient(gate.port) as c:
        assert c.get().text == "ok"
    line = wait_until(lambda: log.exists() and log.read_text(), 20)
    version, cipher, name, resumed = line.split()
    assert (version, name, resumed) == ("TLSv1.3", "localhost", "no") and cipher.startswith("TLS_AES_")


# ---- sessions

def resumed_after(port, context, session=None):
    """One request; (was it resumed, the session that it got)."""
    with TlsClient(port, context, session=session) as c:
        assert c.get().text == "ok"
        return c.socket.session_reused, c.socket.session


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_sessions_go_on_with_any_worker_and_after_a_reload(weir, scripted, version):
    gate = start(weir, "workers: 4\n" + conf(scripted(answer("ok")), "{self_signed: true}"))
    context = believing()
    context.maximum_version = getattr(ssl.TLSVersion, version)
    reused, session = resumed_after(gate.port, context)
    assert not reused and session
    for _ in range(8):  # as many workers as the kernel likes
        reused, fresh = resumed_after(gate.port, context, session)
        assert reused and (fresh.id != session.id) == (version == "TLSv1_3")  # RFC 8446 C.4: a ticket is for once
    assert resumed_after(gate.port, context, fresh)[0]
    gate.reload()
    assert resumed_after(gate.port, context, session)[0]
    gate.upgrade()
    assert resumed_after(gate.port, context, session)[0]


def test_ticket_keys_are_shared_by_a_file(weir, scripted, tmp_path):
    keys, server = tmp_path / "keys", scripted(answer("ok"))
    keys.write_bytes(bytes(range(80)))
    a, b = (start(weir, conf(server, f"{{self_signed: true, ticket_keys: {keys}}}")) for _ in range(2))
    context = believing()
    _, session = resumed_after(a.port, context)
    assert resumed_after(b.port, context, session)[0]
    assert sealed_by(a.port, "-sess_out", tmp_path / "session") == (False, bytes(range(16)))
    keys.write_bytes(bytes(80) + bytes(range(80)))  # a new one seals, the old one opens
    for gate in (a, b):
        gate.wait_log("files have changed and were read again")
    assert resumed_after(a.port, context, session)[0]
    assert sealed_by(a.port, "-sess_in", tmp_path / "session") == (True, bytes(16))  # and is given one of the new
    _, fresh = resumed_after(a.port, context)
    keys.write_bytes(bytes(80))
    wait_until(lambda: a.log().count("were read again") == 2 and b.log().count("were read again") == 2, 20)
    assert resumed_after(b.port, context, fresh)[0] and not resumed_after(a.port, context, session)[0]


def sealed_by(port, *args):
    """Whether a session went on, and the name of the key of the ticket that it has now (RFC 5077 4)."""
    text = s_client(port, "-tls1_2", *args)
    name = re.search(r"TLS session ticket:\s+0000 - (.{47})", text)[1]
    return "Reused, TLSv1.2" in text, bytes.fromhex(name.replace("-", " "))


def test_keys_of_tickets_rotate(weir, scripted, tmp_path):
    gate = start(weir, conf(scripted(answer("ok")), "{self_signed: true, ticket_rotate: 1s}"))
    kept = tmp_path / "session"

    reused, first = sealed_by(gate.port, "-sess_out", kept)
    assert not reused
    wait_until(lambda: sealed_by(gate.port)[1] != first, 20, "another key seals")
    wait_until(lambda: not sealed_by(gate.port, "-sess_in", kept)[0], 20, "the key is forgotten")


def test_no_tickets(weir, scripted):
    gate = start(weir, conf(scripted(answer("ok")), "{self_signed: true, tickets: 0}"))
    with TlsClient(gate.port) as c:
        assert c.get().text == "ok" and not (c.socket.session and c.socket.session.has_ticket)


def test_a_session_does_not_stand_for_a_certificate(weir, scripted, authority):
    """What was begun where no certificate is asked for does not go on where one is."""
    server = scripted(answer("ok"))
    gate = start(weir, conf(server, "{self_signed: true}"))
    context = believing()
    _, session = resumed_after(gate.port, context)
    guarded = conf(server, f"{{self_signed: true, client_ca: {authority.certificate}}}")
    gate.reload(guarded.replace("PORT", str(gate.port)))
    with pytest.raises((Closed, ssl.SSLError, ConnectionError)):
        resumed_after(gate.port, context, session)


# ---- files that change

def test_a_certificate_is_replaced_under_load(weir, scripted, authority):
    old = authority.issue("a.example", file="served")
    old_der = old.der()
    gate = start(weir, conf(scripted(answer("ok")), f"{{certificate: {old.certificate}, key: {old.key}}}"))

    def given():
        with TlsClient(gate.port, authority.client(), "a.example") as c:
            assert c.get().text == "ok"
            return c.peer_der()

    with TlsClient(gate.port, authority.client(), "a.example") as kept:
        assert given() == old_der
        new = authority.issue("a.example", file="served", days=60)
        wait_until(lambda: given() == new.der(), 20)
        assert kept.get().text == "ok"
    expiry = gate.metric("weir_tls_certificate_expiry_seconds", key="ecdsa")
    assert expiry == ssl.cert_time_to_seconds(authority.ends(new))
    new.certificate.write_text("nonsense")
    gate.wait_log("what was read before is kept")
    assert given() and gate.metric("weir_tls_certificate_failures_total") == 1
    gate.write_conf(gate.conf_path.read_text())
    gate.reload(done="has no PEM certificate")  # nor does a reload take it
    assert given()


def test_what_is_counted(weir, scripted):
    gate = start(weir, conf(scripted(answer("ok")), "{self_signed: true}"))
    context = believing()
    _, session = resumed_after(gate.port, context)
    resumed_after(gate.port, context, session)
    with Client(gate.port) as c:
        assert c.get().status == 400
    old = believing()
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    old.set_ciphers("AES128-SHA:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        TlsClient(gate.port, old)

    def counted():
        labels = {"version": "TLSv1.3", "listen": f"127.0.0.1:{gate.port}"}
        return [gate.metric("weir_tls_handshakes_total", resumed="no", **labels),
                gate.metric("weir_tls_handshakes_total", resumed="yes", **labels),
                gate.metric("weir_tls_failures_total", reason="plain_http"),
                gate.metric("weir_tls_failures_total", reason="cipher")]

    wait_until(lambda: counted() == [1, 1, 1, 1], 20, str(counted()))


def test_what_has_ended_is_a_warning(weir_command, authority, tmp_path):
    path = tmp_path / "weir.yaml"
    path.write_text(f'listen:\n  - address: ":8443"\n    tls: {authority.issue("a.example", days=0)}\n'
                    'routes: [{match: /*, service: s}]\nservices: {s: {servers: ["127.0.0.1:1"]}}\n')
    done = weir_command("check", "-c", path)
    assert done.returncode == 0 and f"{path}:2:5: warning: the certificate of a.example has ended" in done.stderr, done.stderr
