"""doc/compress.md, against the running gate: clients that decode what they get, a real nginx behind."""
import gzip
import random
import threading
import zlib

import pytest

from lib.client import Closed
from lib.process import wait_until
from lib.servers import answer

CONF = """
workers: 1
routes:
  - match: /*
    service: shop
    compress: {compress}
services: {{shop: {{servers: ["{shop}"]}}}}
"""
ALL = {"Accept-Encoding": "gzip, br, zstd"}
HTML = ("Content-Type", "text/html")


def words(size, seed=1):
    """Text that compresses as text does."""
    rng = random.Random(seed)
    parts = ["%s%d " % (rng.choice(["weir", "river", "flood", "gate", "dam"]), rng.randrange(1000))
             for _ in range(size // 7 + 1)]
    return "".join(parts).encode()[:size]


class Stream:
    """A decoder that takes pieces: feed(bytes) -> bytes."""

    def __init__(self, coding):
        if coding == "gzip":
            self.feed = zlib.decompressobj(31).decompress
        elif coding == "br":
            self.feed = pytest.importorskip("brotli").Decompressor().process
        else:
            self.feed = pytest.importorskip("zstandard").ZstdDecompressor().decompressobj().decompress


def decoded(response):
    coding = response.get("content-encoding")
    return Stream(coding).feed(response.body) if coding else response.body


def has(weir_command, coding):
    """Is it in this build?"""
    library = {"gzip": "zlib", "br": "brotli", "zstd": "zstd"}[coding]
    return f", {library}" in weir_command("version").stdout.split("without")[0]


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_a_file_of_nginx_arrives_as_it_is(weir, weir_command, nginx, coding):
    if not has(weir_command, coding):
        pytest.skip(f"no {coding} in this build")
    shop = nginx()
    files = {f"{size}.html": words(size, size) for size in (0, 999, 1024, 16384, 16385, 300001)}
    files["random.html"] = random.Random(5).randbytes(100000)
    for name, content in files.items():
        (shop.root / name).write_bytes(content)
    gate = weir(CONF.format(compress="on", shop=shop.address))
    with gate.connect() as client:
        for name, content in files.items():
            got = client.get("/" + name, {"Accept-Encoding": coding})
            assert got.status == 200
            assert decoded(got) == content
            assert got.get("content-encoding") == (coding if len(content) >= 1024 else None)
            if len(content) >= 1024:
                assert got.get("etag").startswith('W/"')
                assert got.get("vary") == "Accept-Encoding"
                assert got.get("content-length") is None and got.get("accept-ranges") is None
        plain = client.get("/300001.html")
        assert plain.body == files["300001.html"]
        assert plain.get("content-encoding") is None and plain.get("vary") == "Accept-Encoding"
        again = client.get("/300001.html", {"Accept-Encoding": coding, "If-None-Match": plain.get("etag")})
        assert again.status == 304
        part = client.get("/300001.html", {"Accept-Encoding": coding, "Range": "bytes=100-299"})
        assert (part.status, part.body) == (206, files["300001.html"][100:300])
        head = client.request("HEAD", "/300001.html", {"Accept-Encoding": coding})
        assert head.get("content-encoding") is None
    total = sum(len(c) for c in files.values() if len(c) >= 1024)
    assert gate.metric("weir_compress_in_bytes_total", coding=coding) == total
    assert gate.metric("weir_compress_answers_total", coding=coding) == 5
    assert 100000 < gate.metric("weir_compress_out_bytes_total", coding=coding) < total * 0.7
    assert gate.metric("weir_compress_cpu_nanoseconds_total", coding=coding) > 0


@pytest.mark.parametrize("accept,coding", [("br;q=0.5, gzip;q=0.8", "gzip"), ("gzip;q=0, br", "br"),
                                           ("gzip, br, zstd", "zstd"), ("identity, gzip;q=0.5", None), ("*", "zstd"),
                                           ("deflate", None), ("gzip;q=x", None)])
def test_the_client_chooses(weir, weir_command, scripted, accept, coding):
    if not all(has(weir_command, c) for c in ("gzip", "br", "zstd")):
        pytest.skip("not all codings in this build")
    body = words(5000)
    gate = weir(CONF.format(compress="on", shop=scripted(answer(body, headers=[HTML])).address))
    got = gate.get("/", {"Accept-Encoding": accept})
    assert got.get("content-encoding") == coding
    assert decoded(got) == body


def test_the_file_chooses_among_equals(weir, weir_command, scripted):
    if not has(weir_command, "gzip"):
        pytest.skip("no gzip in this build")
    body = words(5000)
    shop = scripted(answer(body, headers=[HTML]))
    gate = weir(CONF.format(compress="{codings: gzip 9, min_bytes: 5001}", shop=shop.address))
    assert gate.get("/", ALL).get("content-encoding") is None
    gate.reload(CONF.format(compress="{codings: gzip 9, types: [text/*]}", shop=shop.address))
    assert gate.get("/", ALL).get("content-encoding") == "gzip"
    gate.reload(CONF.format(compress="{types: text/css}", shop=shop.address))
    assert gate.get("/", ALL).get("content-encoding") is None


@pytest.mark.parametrize("headers", [[("Content-Type", "image/png")], [HTML, ("Content-Encoding", "gzip")],
                                     [HTML, ("Cache-Control", "max-age=1, No-Transform")], []])
def test_what_shall_stay_stays(weir, scripted, headers):
    body = gzip.compress(words(5000)) + words(5000)
    gate = weir(CONF.format(compress="on", shop=scripted(answer(body, headers=headers)).address))
    got = gate.get("/", ALL)
    assert got.body == body
    assert got.all("content-encoding") == [v for n, v in headers if n == "Content-Encoding"]
    assert gate.get("/", ALL).get("content-length") == str(len(body))


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_events_are_not_held_back(weir, weir_command, scripted, coding, each_loop):
    """The server sends the next event only when the client has read the last one."""
    if not has(weir_command, coding):
        pytest.skip(f"no {coding} in this build")
    go_on = threading.Semaphore(0)

    def script(peer):
        while peer.read_request():
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            for i in range(20):
                event = b"data: %d\n\n" % i
                peer.send(b"%x\r\n%s\r\n" % (len(event), event))
                if not go_on.acquire(timeout=20):
                    return
            peer.send(b"0\r\n\r\n")

    gate = weir(CONF.format(compress="on", shop=scripted(script).address))
    stream = Stream(coding)
    with gate.connect() as client:
        client.send_request("GET", "/", {"Accept-Encoding": coding})
        assert client.read_head().get("content-encoding") == coding
        for i in range(20):
            text, wanted = b"", b"data: %d\n\n" % i
            while len(text) < len(wanted):
                size = int(client.read_line(), 16)
                text += stream.feed(client.read_exactly(size))
                client.read_exactly(2)
            assert text == wanted
            go_on.release()
        while size := int(client.read_line(), 16):
            assert stream.feed(client.read_exactly(size)) == b""
            client.read_exactly(2)


def test_a_body_in_single_bytes(weir, scripted, each_loop):
    body = words(3000)

    def script(peer):
        while peer.read_request():
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
            for i in range(len(body)):
                peer.send(b"1\r\n" + body[i:i + 1] + b"\r\n")
            peer.send(b"0\r\nX-Sum: 7\r\n\r\n")

    gate = weir(CONF.format(compress="on", shop=scripted(script).address))
    with gate.connect() as client:
        for _ in range(2):
            got = client.get("/", ALL)
            assert decoded(got) == body
            assert got.trailers == [("X-Sum", "7")]


def test_a_client_of_1_0_gets_it_until_the_end(weir, scripted):
    body = words(50000)
    gate = weir(CONF.format(compress="on", shop=scripted(answer(body, headers=[HTML])).address))
    got = gate.raw(b"GET / HTTP/1.0\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n")
    head, _, rest = got.partition(b"\r\n\r\n")
    assert b"content-encoding: gzip" in head.lower() and b"content-length" not in head.lower()
    assert gzip.decompress(rest) == body


def test_an_answer_that_is_cut_does_not_look_whole(weir, scripted):
    def script(peer):
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100000\r\n\r\n" + words(50000))

    gate = weir(CONF.format(compress="on", shop=scripted(script).address))
    with pytest.raises(Closed):
        gate.get("/", ALL)
    wait_until(lambda: gate.access(), 20)


def test_without_memory_a_smaller_coding_then_none(weir, weir_command, scripted):
    if not all(has(weir_command, c) for c in ("gzip", "br", "zstd")):
        pytest.skip("not all codings in this build")
    body = words(100)
    stop = threading.Event()

    def script(peer):
        while peer.read_request():
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
            peer.send(b"%x\r\n%s\r\n" % (len(body), body))
            stop.wait(30)
            peer.send(b"0\r\n\r\n")

    gate = weir(CONF.format(compress="{memory: 1m}", shop=scripted(script).address))
    clients = [gate.connect() for _ in range(5)]
    codings = []
    for client in clients:
        client.send_request("GET", "/", ALL)
        codings.append(client.read_head().get("content-encoding"))
    assert codings[0] == "gzip" and codings[-1] is None
    assert gate.metric("weir_compress_busy_total", coding="zstd") == 5
    stop.set()
    for client in clients:
        client.close()


def test_a_slow_client_takes_it_in_its_own_time(weir, scripted):
    """Its answer is longer than all buffers together: the gate has to wait for it, and works for others meanwhile."""
    body = random.Random(3).randbytes(6_000_000)
    gate = weir(CONF.format(compress="on", shop=scripted(answer(body, headers=[HTML])).address))
    with gate.connect(timeout=30) as slow:
        slow.send_request("GET", "/", {"Accept-Encoding": "gzip"})
        head = slow.read_head()
        assert decoded(gate.get("/", ALL)) == body
        slow._read_body(head, "GET")
        assert decoded(head) == body


def test_mistakes_have_a_place(weir_command, tmp_path):
    conf = tmp_path / "weir.yaml"
    for compress, said in (("{codings: [gzip 10]}", "gzip has levels 1 to 9"), ("{codings: [lz4]}", "lz4"),
                           ("{codings: [gzip, gzip 2]}", "twice"), ("{types: [html]}", "no type")):
        conf.write_text('listen: [":1"]' + CONF.format(compress=compress, shop="127.0.0.1:1"))
        checked = weir_command("check", "-c", conf)
        assert checked.returncode == 1
        assert f"{conf}:6:" in checked.stdout + checked.stderr
        assert said in checked.stdout + checked.stderr
