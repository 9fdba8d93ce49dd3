"""doc/size_limit.md, against the running gate."""
import pytest

from lib.client import Closed
from lib.servers import answer

CONF = """
workers: 1
routes:
  - match: /*
    service: shop
    size_limit: {limit}
services: {{shop: {{servers: ["{shop}"]}}}}
"""
CHUNKED = {"Transfer-Encoding": "chunked"}


def chunks(body, size):
    parts = [body[i:i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"


def test_requests(weir, scripted, each_loop):
    shop = scripted(answer("shop"))
    gate = weir(CONF.format(limit="100000", shop=shop.address))
    body = bytes(range(256)) * 400
    assert gate.request("POST", "/", body=body[:100000]).text == "shop"
    assert gate.request("POST", "/", CHUNKED, chunks(body[:100000], 777)).text == "shop"
    assert len(shop.requests) == 2
    assert gate.request("POST", "/said", body=body[:100001]).status == 413
    for size in (1000, 40000, 100001):
        assert gate.request("POST", "/unsaid", CHUNKED, chunks(body[:100001], size)).status == 413
    assert gate.get().status == 200
    assert not [r for r in shop.requests if r.startswith(b"POST /said")]
    assert gate.metric("weir_size_limit_request_total", route="/*") == 4


def test_answers(weir, scripted, each_loop):
    body = bytes(range(256)) * 400

    def script(peer):
        while request := peer.read_request():
            size = 100001 if b"/long" in request else 100000
            if b"chunked" in request:
                peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(body[:size], 5000))
            else:
                peer.send(answer(body[:size]))

    gate = weir(CONF.format(limit="{response: 100000}", shop=scripted(script).address))
    assert gate.get("/").body == body[:100000]
    assert gate.get("/chunked").body == body[:100000]
    assert gate.get("/long").status == 502
    with pytest.raises(Closed):
        gate.get("/long/chunked")
    with gate.connect() as client:  # to a client of 1.0 a body that ends with its connection
        client.send(b"GET /chunked HTTP/1.0\r\n\r\n")
        assert client.read_all().partition(b"\r\n\r\n")[2] == body[:100000]
    assert gate.request("POST", "/", body=body * 2).status == 200
    assert gate.metric("weir_size_limit_response_total", route="/*") == 2
