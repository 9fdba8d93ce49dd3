"""doc/grpc_web.md: what a browser's library sends, over HTTP/1.1 and HTTP/2, to a real gRPC server."""
import base64
import struct

import pytest

from lib import http2
from lib.conf import one_service
from lib.grpc_server import GrpcServer
from lib.process import wait_until

grpc = pytest.importorskip("grpc")
WEB = "application/grpc-web+proto"
TEXT = "application/grpc-web-text+proto"


@pytest.fixture
def server():
    s = GrpcServer(grpc)
    yield s
    s.stop()


def message(data, flags=0):
    return struct.pack(">BI", flags, len(data)) + data


def frames(body):
    """[(flags, payload)]"""
    out = []
    while body:
        flags, size = struct.unpack(">BI", body[:5])
        out.append((flags, body[5:5 + size]))
        body = body[5 + size:]
    return out


def decode(text):
    """As a browser's library does: each group of four for itself, padded or not."""
    return b"".join(base64.b64decode(text[i:i + 4], validate=True) for i in range(0, len(text), 4))


def trailers(payload):
    return dict(line.split(": ", 1) for line in payload.decode().split("\r\n") if line)


def conf(server, route=""):
    return one_service(server, service="protocol: http2", route=", ".join(filter(None, ["grpc_web: on", route])))


def call(gate, method, body, content_type=WEB, headers=()):
    return gate.request("POST", f"/test.Test/{method}", {"Content-Type": content_type, "X-Grpc-Web": "1",
                                                         **dict(headers)}, body)


def test_binary(weir, server, each_loop):
    gate = weir(conf(server))
    answer = call(gate, "Unary", message(b"hello"))
    assert (answer.status, answer.get("content-type").split("+")[0]) == (200, "application/grpc-web")
    data, end = frames(answer.body)
    assert data == (0, b"HELLO") and end[0] == 0x80
    assert trailers(end[1])["grpc-status"] == "0" and trailers(end[1])["x-trailer"] == "there"
    method, fields = server.calls[0]
    assert method == "/test.Test/Unary" and "x-grpc-web" not in fields
    wait_until(lambda: gate.access() and gate.access()[0].get("grpc_status") == 0, 20)
    wait_until(lambda: gate.metric("weir_grpc_calls_total", status="ok") == 1, 20)


def test_text(weir, server, each_loop):
    gate = weir(conf(server))
    sent = base64.b64encode(message(b"hello"))
    for headers in ({}, {"Accept": "application/grpc-web-text"}):
        answer = call(gate, "Unary", sent, TEXT, headers)
        assert answer.get("content-type").startswith("application/grpc-web-text")
        data, end = frames(decode(answer.body))
        assert data == (0, b"HELLO") and trailers(end[1])["grpc-status"] == "0"
    # padded in the middle, where a client has flushed
    pieces = message(b"hello, there")
    answer = call(gate, "Unary", base64.b64encode(pieces[:7]) + base64.b64encode(pieces[7:]), TEXT)
    assert frames(decode(answer.body))[0] == (0, b"HELLO, THERE")
    large = bytes(range(256)) * 4000
    answer = call(gate, "Unary", base64.b64encode(message(large)), TEXT)
    assert frames(decode(answer.body))[0] == (0, large.upper())


def test_answers_come_as_they_are_said(weir, server):
    gate = weir(conf(server))
    answer = call(gate, "ServerStream", message(b"40"))
    got = frames(answer.body)
    assert [payload for flags, payload in got if not flags] == [b"%d" % i for i in range(40)]
    assert got[-1][0] == 0x80


def test_over_http2(weir, server):
    gate = weir(conf(server))
    with http2.Client(gate.port) as c:
        m = c.request("POST", "/test.Test/Unary", [("content-type", WEB), ("x-grpc-web", "1")], message(b"x"))
        assert frames(m.body)[0] == (0, b"X") and not m.trailers


def test_failures(weir, server):
    gate = weir(conf(server, "rate_limit: 2/h per ip"))
    answer = call(gate, "Unary", message(b"fail 5 not here"))
    status = answer.get("grpc-status") or trailers(frames(answer.body)[-1][1])["grpc-status"]
    assert answer.status == 200 and status == "5"
    server.stop()
    for status in ("14", "8"):  # no server, then too many
        answer = call(gate, "Unary", message(b"x"))
        assert (answer.status, answer.get("grpc-status"), answer.body) == (200, status, b"")
        assert answer.get("content-type") == "application/grpc-web"


def test_what_is_no_base64(weir, server):
    gate = weir(conf(server))
    assert call(gate, "Unary", b"!!!!", TEXT).get("grpc-status") == "13"


def test_other_requests_pass_as_they_are(weir, server, scripted):
    from lib.servers import answer
    plain = scripted(answer("plain", headers=[("Content-Type", "text/html")]))
    gate = weir(one_service(plain, route="grpc_web: on"))
    assert gate.get("/").text == "plain"
    asked = call(gate, "Unary", message(b"x"))
    assert asked.text == "plain" and asked.get("content-type") == "text/html"
