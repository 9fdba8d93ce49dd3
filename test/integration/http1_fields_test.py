"""What each side is told of the other: fields that are added, changed, kept and taken away."""
import json
import re

import pytest

from lib.conf import one_service
from lib.servers import answer

pytestmark = pytest.mark.usefixtures("each_loop")


def sent_fields(request):
    """[(lower-case name, value)] of a raw request"""
    lines = request.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    return [(n.decode().lower(), v.strip().decode()) for n, _, v in (line.partition(b":") for line in lines)]


def values(request, name):
    return [v for n, v in sent_fields(request) if n == name]


def test_hop_by_hop_fields_end_here(weir, scripted):
    server = scripted(answer(headers=[("Connection", "X-Hop"), ("X-Hop", "1"), ("Keep-Alive", "timeout=5"),
                                      ("X-Stays", "2"), ("Proxy-Connection", "x")]))
    gate = weir(one_service(server))
    response = gate.get("/", [("Connection", "keep-alive, X-Mine"), ("X-Mine", "1"), ("TE", "trailers"),
                              ("Keep-Alive", "timeout=5"), ("Proxy-Connection", "keep-alive"),
                              ("X-OTHER", "a"), ("x-other", "b"), ("Accept", "text/html")])
    names = [n for n, _ in sent_fields(server.requests[0])]
    for name in ("connection", "x-mine", "te", "keep-alive", "proxy-connection"):
        assert name not in names, server.requests[0]
    assert b"\r\nX-OTHER: a\r\nx-other: b\r\nAccept: text/html\r\n" in server.requests[0]
    assert response.get("x-stays") == "2"
    for name in ("x-hop", "keep-alive", "proxy-connection"):
        assert response.get(name) is None


def test_what_the_server_is_told(weir, scripted):
    server = scripted(answer())
    gate = weir(one_service(server, root="forwarded: on"))
    with gate.connect() as client:
        client.request("GET", "/", [("Host", "shop.example:81"), ("X-Forwarded-For", "9.9.9.9"),
                                    ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "liar"),
                                    ("Via", "1.1 other"), ("X-Request-Id", "abcdefgh-1234")])
        client.request("GET", "/", [("X-Request-Id", "no token!")])
    told, made = server.requests
    assert values(told, "host") == ["shop.example:81"]
    assert values(told, "via") == ["1.1 other, 1.1 weir"]
    assert values(told, "x-forwarded-for") == ["9.9.9.9, 127.0.0.1"]
    assert values(told, "x-forwarded-proto") == ["http"]
    assert values(told, "x-forwarded-host") == ["shop.example:81"]
    assert values(told, "forwarded") == ['for=127.0.0.1;host="shop.example:81";proto=http']
    assert values(told, "x-request-id") == ["abcdefgh-1234"]
    assert re.fullmatch("[0-9a-f]{32}", values(made, "x-request-id")[0])


def test_what_the_server_is_not_told(weir, scripted):
    server = scripted(answer())
    gate = weir(one_service(server, root="via: off\nx_forwarded: off\nrequest_id: off"))
    gate.get("/", [("X-Forwarded-For", "9.9.9.9"), ("X-Request-Id", "abcdefgh-1234")])
    gate.get("/")
    request, without = server.requests
    assert values(request, "x-request-id") == ["abcdefgh-1234"] and values(without, "x-request-id") == []
    assert values(request, "via") == [] and values(request, "forwarded") == []
    assert values(request, "x-forwarded-for") == ["9.9.9.9"]
    assert values(request, "x-forwarded-host") == []


def test_absolute_form_and_host(weir, scripted):
    server = scripted(answer())
    gate = weir(one_service(server))
    with gate.connect() as client:
        assert client.request("GET", "http://shop.example/a?b", {"Host": "liar"}).status == 200
        assert client.request("GET", "http://shop.example?q", {"Host": "shop.example"}).status == 200
        assert client.request("OPTIONS", "*").status == 200
    assert server.requests[0].startswith(b"GET /a?b HTTP/1.1\r\n")
    assert values(server.requests[0], "host") == ["shop.example"]
    assert server.requests[1].startswith(b"GET /?q HTTP/1.1\r\n")
    assert server.requests[2].startswith(b"OPTIONS * HTTP/1.1\r\n")


def test_host_is_replaced(weir, scripted):
    server = scripted(answer())
    gate = weir(one_service(server, service="host: inner.example"))
    gate.get("/", {"Host": "outer.example"})
    assert values(server.requests[0], "host") == ["inner.example"]
    assert values(server.requests[0], "x-forwarded-host") == ["outer.example"]


def test_many_fields_both_ways(weir, origin):
    gate = weir(one_service(origin()))
    with gate.connect() as client:
        assert len([n for n, _ in client.get("/headers/150").headers if n.startswith("X-Field-")]) == 150
        echo = json.loads(client.get("/echo", [(f"X-{n}", str(n)) for n in range(90)]).text)
        assert sum(n.startswith("X-") for n, _ in echo["fields"]) >= 90
