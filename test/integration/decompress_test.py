"""doc/decompress.md, against the running gate."""
import gzip
import random
import re
import zlib
from pathlib import Path

import pytest

from lib.client import Closed
from lib.servers import answer

CONF = """
workers: 1
routes:
  - match: /*
    service: shop
    decompress: {decompress}
    {more}
services: {{shop: {{servers: ["{shop}"]}}}}
"""


def coded(coding, data):
    if coding == "gzip":
        return gzip.compress(data)
    if coding == "deflate":
        return zlib.compress(data)
    if coding == "br":
        return pytest.importorskip("brotli").compress(data)
    return pytest.importorskip("zstandard").compress(data)


def has(weir_command, coding):
    library = {"gzip": "zlib", "deflate": "zlib", "br": "brotli", "zstd": "zstd"}[coding]
    return f", {library}" in weir_command("version").stdout.split("without")[0]


def chunks(data, size):
    parts = [data[i:i + size] for i in range(0, len(data), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"


def body_of(request):
    """Of a raw request as the server got it."""
    head, _, body = request.partition(b"\r\n\r\n")
    if not re.search(rb"transfer-encoding: *chunked", head, re.I):
        return body
    data = b""
    while True:
        line, _, body = body.partition(b"\r\n")
        size = int(line, 16)
        if not size:
            return data
        data, body = data + body[:size], body[size + 2:]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_requests(weir, weir_command, scripted, coding, each_loop):
    if not has(weir_command, coding):
        pytest.skip(f"no {coding} in this build")
    shop = scripted(answer("shop"))
    gate = weir(CONF.format(decompress="on", more="", shop=shop.address))
    bodies = [b"x", b"hello " * 20000, random.Random(1).randbytes(70000)]
    headers = {"Content-Encoding": coding}
    with gate.connect() as client:
        for body in bodies:
            data = coded(coding, body)
            assert client.request("POST", "/", headers, data).text == "shop"
            assert client.request("POST", "/", {**headers, "Transfer-Encoding": "chunked"},
                                  chunks(data[:2000], 1) [:-5] + chunks(data[2000:], 5000)).text == "shop"
    assert [body_of(r) for r in shop.requests] == [b for b in bodies for _ in range(2)]
    assert not [r for r in shop.requests if b"content-encoding" in r.lower()]
    assert gate.metric("weir_decompress_requests_total", route="/*") == 6


def test_broken_requests(weir, scripted):
    shop = scripted(answer("shop"))
    gate = weir(CONF.format(decompress="on", more="", shop=shop.address))
    data = gzip.compress(random.Random(2).randbytes(5000))
    headers = {"Content-Encoding": "gzip"}
    for broken in (data[:-1], data[:100], b"no gzip at all", data + b"tail", data[:2000] + b"\0" + data[2001:]):
        assert gate.request("POST", "/", headers, broken).status == 400
    assert gate.request("POST", "/", headers, data).status == 200
    assert gate.metric("weir_decompress_broken_total", route="/*") == 5


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_bombs(weir, weir_command, scripted, coding):
    if not has(weir_command, coding):
        pytest.skip(f"no {coding} in this build")
    shop = scripted(answer("shop"))
    headers = {"Content-Encoding": coding}
    bomb = coded(coding, bytes(20_000_000))
    gate = weir(CONF.format(decompress="on", more="", shop=shop.address))
    before = gate.rss_kib()
    assert gate.request("POST", "/", headers, bomb).status == 413
    gate.reload(CONF.format(decompress="{ratio_max: 10000000, bytes_max: 10m}", more="", shop=shop.address))
    assert gate.request("POST", "/", headers, bomb).status == 413
    gate.reload(CONF.format(decompress="{ratio_max: 10000000, bytes_max: 20000000}", more="", shop=shop.address))
    assert gate.request("POST", "/", headers, bomb).status == 200
    gate.reload(CONF.format(decompress="{ratio_max: 10000000}", more="size_limit: 1m", shop=shop.address))
    assert gate.request("POST", "/", headers, bomb).status == 413
    assert gate.metric("weir_decompress_too_large_total", route="/*") == 2
    sanitized = "libasan" in Path(f"/proc/{gate.pid}/maps").read_text()  # which keeps what was freed
    assert gate.rss_kib() - before < 60_000 or sanitized


def test_answers_for_clients_that_take_none(weir, nginx, each_loop):
    shop = nginx(server="gzip_static always; gzip_vary on;")
    content = b"hello weir " * 30000
    (shop.root / "a.txt.gz").write_bytes(gzip.compress(content))
    gate = weir(CONF.format(decompress="on", more="", shop=shop.address))
    with gate.connect() as client:
        for accept in ({}, {"Accept-Encoding": "br"}, {"Accept-Encoding": "gzip;q=0, *"}):
            got = client.get("/a.txt", accept)
            assert (got.status, got.body) == (200, content)
            assert got.get("content-encoding") is None
            assert got.all("vary") == ["Accept-Encoding"]
            assert got.get("etag").startswith("W/")
        kept = client.get("/a.txt", {"Accept-Encoding": "gzip"})
        assert kept.get("content-encoding") == "gzip"
        assert gzip.decompress(kept.body) == content
        head = client.request("HEAD", "/a.txt")
        assert head.get("content-encoding") is None and head.get("content-length") is None
    assert gate.metric("weir_decompress_answers_total", route="/*") == 3


def test_a_broken_answer_is_cut(weir, scripted):
    data = gzip.compress(bytes(range(256)) * 1000)
    gate = weir(CONF.format(decompress="on", more="",
                            shop=scripted(answer(data[:-3], headers=[("Content-Encoding", "gzip")])).address))
    with pytest.raises(Closed):
        gate.get()


def test_recoded_from_one_to_another(weir, weir_command, scripted):
    """The server sends br, the client takes gzip."""
    if not (has(weir_command, "br") and has(weir_command, "gzip")):
        pytest.skip("not both in this build")
    content = b"hello weir " * 30000
    shop = scripted(answer(coded("br", content), headers=[("Content-Encoding", "br"), ("Content-Type", "text/plain")]))
    gate = weir(CONF.format(decompress="{requests: false}", more="compress: on", shop=shop.address))
    got = gate.get("/", {"Accept-Encoding": "gzip"})
    assert got.all("content-encoding") == ["gzip"]
    assert gzip.decompress(got.body) == content
    assert got.all("vary") == ["Accept-Encoding"]


def test_what_is_not_known_is_passed_on(weir, scripted):
    shop = scripted(answer("shop"))
    gate = weir(CONF.format(decompress="on", more="", shop=shop.address))
    for coding in ("compress", "gzip, gzip", "identity"):
        assert gate.request("POST", "/", {"Content-Encoding": coding}, b"abc").text == "shop"
    assert all(r.endswith(b"\r\n\r\nabc") and b"Content-Encoding: " in r for r in shop.requests)
