"""OCSP answers that go with certificates: from files, and fetched from a responder (`openssl ocsp`)."""
import re

import pytest

from lib.http3 import Http3, needs_client
from lib.ports import free_port
from lib.process import Process, wait_until
from lib.servers import answer
from lib.tls import Authority, s_client

NONE = "OCSP response: no response sent"
GOOD = "Cert Status: good"


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "ca")


@pytest.fixture
def responder(authority, tmp_path):
    """responder(port, pairs..., revoked=()) -> running"""
    ours = []

    def start(port, *pairs, revoked=()):
        ours.append(Process(["openssl", "ocsp", "-port", port, *authority.index(*pairs, revoked=revoked), "-ndays", 1],
                            tmp_path / f"responder-{len(ours)}.log"))
        return ours[-1]

    yield start
    for r in ours:
        r.kill()


def start(weir, scripted, pair, ocsp="", more="", listen=""):
    port = free_port()
    gate = weir(f'''
listen:
  - address: "127.0.0.1:{port}"
    tls: {{certificate: {pair.certificate}, key: {pair.key}{ocsp}}}{listen}
routes: [{{match: /*, service: s}}]
services: {{s: {{servers: ["{scripted(answer("ok")).address}"]}}}}
{more}''')
    gate.port = port
    return gate


def status(gate):
    text = s_client(gate.port, "-servername", "a.example", "-status")
    assert "CONNECTED" in text and "Verification" in text
    return text


def names(port):
    return f"authorityInfoAccess=OCSP;URI:http://127.0.0.1:{port}/ask\n"


def test_from_a_file(weir, scripted, authority, tmp_path):
    pair = authority.issue("a.example", chain=True)
    path = authority.ocsp(pair, tmp_path / "a.ocsp")
    gate = start(weir, scripted, pair, f", ocsp: {path}")
    text = status(gate)
    assert GOOD in text and "OCSP Response Status: successful" in text
    assert gate.metric("weir_tls_ocsp_expiry_seconds") > 0
    assert GOOD not in s_client(gate.port, "-servername", "a.example")  # not asked for
    # of another certificate: what there was is kept
    path.write_bytes(authority.ocsp(authority.issue("b.example", chain=True), tmp_path / "b.ocsp").read_bytes())
    gate.wait_log("the answer is not about this certificate")
    assert GOOD in status(gate)
    # revoked: nobody is told that it is good
    authority.ocsp(pair, path, revoked=True)
    gate.wait_log("certificate goes without an OCSP answer")
    assert "the certificate has been revoked" in gate.log()
    wait_until(lambda: NONE in status(gate), 20)
    assert gate.metric("weir_tls_ocsp_expiry_seconds") == 0
    authority.ocsp(pair, path)
    wait_until(lambda: GOOD in status(gate), 20)


def test_what_cannot_be_given_is_refused(weir_command, authority, tmp_path):
    a, b = authority.issue("a.example", chain=True), authority.issue("b.example", chain=True)
    conf = tmp_path / "weir.yaml"

    def check(path):
        conf.write_text(f'listen: [{{address: ":8443", tls: {{certificate: {a.certificate}, key: {a.key}, ocsp: {path}}}}}]\n'
                        'routes: [{match: /*, respond: 204}]\n')
        return weir_command("check", "-c", conf)

    assert check(authority.ocsp(a, tmp_path / "a.ocsp")).returncode == 0
    for path, why in ((authority.ocsp(b, tmp_path / "b.ocsp"), "the answer is not about this certificate"),
                      (conf, "that is no answer of an OCSP responder"), ("/nowhere", "/nowhere")):
        done = check(path)
        assert done.returncode == 1 and why in done.stderr, done.stderr
    done = check(authority.ocsp(a, tmp_path / "r.ocsp", revoked=True))
    assert done.returncode == 0 and re.search("warning: the certificate of a.example goes without an OCSP answer: "
                                              ".*the certificate has been revoked", done.stderr)


def test_fetched_from_the_responder(weir, scripted, authority, responder, each_loop):
    port = free_port()
    pair = authority.issue("a.example", chain=True, more=names(port))
    gate = start(weir, scripted, pair, ", ocsp: fetch")
    gate.wait_log("no OCSP answer name=a.example")  # there is nobody yet
    assert NONE in status(gate)
    running = responder(port, pair)
    gate.wait_log("OCSP answer fetched name=a.example", 60)
    text = status(gate)
    assert GOOD in text
    assert gate.metric("weir_tls_ocsp_fetches_total") >= 2 and gate.metric("weir_tls_ocsp_failures_total") >= 1
    wait_until(lambda: gate.metric("weir_tls_ocsp_expiry_seconds") > 0, 20)
    # it is the process's, whatever is read anew
    running.kill()
    asked = gate.metric("weir_tls_ocsp_fetches_total")
    gate.reload()
    assert GOOD in status(gate)
    assert gate.metric("weir_tls_ocsp_fetches_total") == asked
    # and the next process's
    gate.upgrade()
    assert GOOD in status(gate)
    assert gate.metric("weir_tls_ocsp_fetches_total") == 0 and gate.metric("weir_tls_ocsp_expiry_seconds") > 0


def test_what_the_responder_revokes_is_not_given(weir, scripted, authority, responder):
    port = free_port()
    pair = authority.issue("a.example", chain=True, more=names(port))
    responder(port, pair, revoked=(pair,))
    gate = start(weir, scripted, pair, ", ocsp: fetch")
    gate.wait_log("the certificate has been revoked", 20)
    assert NONE in status(gate)


@pytest.mark.parametrize("said, why", [
    (b"HTTP/1.0 500 Oops\r\nContent-Length: 0\r\n\r\n", "its answer is 500"),
    (b"HTTP/1.0 200 OK\r\n\r\nnonsense", "that is no answer of an OCSP responder"),
    (b"nonsense", "its answer is no HTTP"),
    (b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 100_000, "limit"),
])
def test_a_bad_responder_does_no_harm(weir, scripted, authority, said, why):
    def script(peer):
        if peer.read_request():
            peer.send(said)
            peer.close()

    server = scripted(script)
    pair = authority.issue("a.example", chain=True, more=names(server.port))
    gate = start(weir, scripted, pair, ", ocsp: fetch")
    gate.wait_log("no OCSP answer name=a.example", 20)
    if why != "limit":
        gate.wait_log(why, 20)
    assert NONE in status(gate)
    assert server.requests[0].startswith(b"POST /ask HTTP/1.0\r\n")


def test_a_certificate_that_must_come_with_one(weir, weir_command, scripted, authority, responder, tmp_path):
    """RFC 7633: it is asked for unbidden; where that cannot be, `weir check` says so."""
    port = free_port()
    pair = authority.issue("a.example", chain=True, more=names(port) + "tlsfeature=status_request\n")
    responder(port, pair)
    gate = start(weir, scripted, pair)
    gate.wait_log("OCSP answer fetched name=a.example", 60)
    assert GOOD in status(gate)
    alone = authority.issue("b.example", chain=True, more="tlsfeature=status_request\n")
    conf = tmp_path / "weir.yaml"
    conf.write_text(f'listen: [{{address: ":8443", tls: {alone}}}]\nroutes: [{{match: /*, respond: 204}}]\n')
    done = weir_command("check", "-c", conf)
    assert done.returncode == 0 and "it must come with one (must-staple)" in done.stderr, done.stderr


def test_one_that_need_not_is_not_asked_for(weir, scripted, authority):
    server = scripted(answer("no"))
    pair = authority.issue("a.example", chain=True, more=names(server.port))
    gate = start(weir, scripted, pair)
    for _ in range(3):
        assert NONE in status(gate)
    assert server.requests == [] and gate.metric("weir_tls_ocsp_fetches_total") == 0


def test_over_http3(weir, scripted, authority, tmp_path):
    """As GnuTLS's client tells of the handshake."""
    needs_client()
    pair = authority.issue("localhost", chain=True)
    for ocsp, expected in ((f", ocsp: {authority.ocsp(pair, tmp_path / 'a.ocsp')}", True), ("", False)):
        gate = start(weir, scripted, pair, ocsp, listen="\n    http3: on")
        client = Http3(tmp_path, gate.port, "/", env={"GNUTLS_DEBUG_LEVEL": "9"})
        assert client.answer().status == 200
        assert ("Found OCSP response on cert 0" in client.log()) == expected
