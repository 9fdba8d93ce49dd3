"""doc/buffer.md, against the running gate."""
import gzip
import random
import threading
from pathlib import Path

import pytest

from lib.client import Closed
from lib.process import wait_until
from lib.servers import answer

CONF = """
workers: 1
routes:
  - match: /*
    service: shop
    buffer: {buffer}
    {more}
services: {{shop: {{servers: ["{shop}"], {service}}}}}
"""
CHUNKED = {"Transfer-Encoding": "chunked"}


def conf_of(buffer, shop, more="", service="connections_max: 1"):
    return CONF.format(buffer=buffer, shop=shop.address, more=more, service=service)


def chunks(body, size):
    parts = [body[i:i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"


def sanitized(gate):
    """AddressSanitizer keeps what was freed."""
    return "libasan" in Path(f"/proc/{gate.pid}/maps").read_text()


def metrics(gate):
    return {k: gate.metric(f"weir_buffer_{k}_total", route="/*")
            for k in ("requests", "responses", "files", "too_large", "busy")}


@pytest.mark.parametrize("where", ["memory", "file"])
def test_requests_arrive_whole(weir, scripted, tmp_path, where, each_loop):
    shop = scripted(answer("shop"))
    folder = f", folder: {tmp_path}, memory: 10k" if where == "file" else ""
    gate = weir(conf_of("{request: 3m%s}" % folder, shop))
    rng = random.Random(1)
    bodies = [rng.randbytes(n) for n in (1, 4096, 65536, 2_000_000)]
    with gate.connect() as client:
        for body in bodies:
            assert client.request("POST", "/", body=body).text == "shop"
            assert client.request("POST", "/", CHUNKED, chunks(body, 9999)).text == "shop"
        assert client.request("POST", "/", CHUNKED, chunks(b"x" * 50, 1)).text == "shop"
        assert client.get().text == "shop"
    got = [r.partition(b"\r\n\r\n") for r in shop.requests]
    assert [g[2] for g in got] == [b for b in bodies for _ in range(2)] + [b"x" * 50, b""]
    assert all(b"content-length: %d\r\n" % len(b) in h.lower() + b"\r\n" for h, _, b in got[:-1])
    assert not [h for h, _, _ in got if b"chunked" in h.lower()]
    assert metrics(gate) == {"requests": 9, "responses": 0, "files": 2 if where == "file" else 0,
                             "too_large": 0, "busy": 0}


def test_a_slow_client_does_not_reach_the_server_before_it_is_done(weir, scripted):
    shop = scripted(answer("shop"))
    gate = weir(conf_of("1m", shop))
    slow = gate.connect()
    slow.send_request("POST", "/slow", {"Content-Length": "10"}, b"abc")
    for _ in range(3):  # one connection is all there is, and it is free
        assert gate.get("/fast").text == "shop"
    slow.send(b"defghij")
    assert slow.read_response().text == "shop"
    assert [r.split()[1] for r in shop.requests] == [b"/fast"] * 3 + [b"/slow"]
    with gate.connect() as gone:
        gone.send_request("POST", "/gone", {"Content-Length": "10"}, b"abc")
    assert gate.get("/fast").text == "shop"
    assert not [r for r in shop.requests if b"/gone" in r]
    slow.close()


def test_too_long_ones_are_refused(weir, scripted):
    shop = scripted(answer("shop"))
    gate = weir(conf_of("1000", shop))
    assert gate.request("POST", "/", body=b"x" * 1001).status == 413
    assert gate.request("POST", "/", CHUNKED, chunks(b"x" * 1001, 100)).status == 413
    assert gate.request("POST", "/", body=b"x" * 1000).status == 200
    assert len(shop.requests) == 1
    assert metrics(gate)["too_large"] == 2


def test_expect_is_answered_here(weir, scripted):
    shop = scripted(answer("shop"))
    gate = weir(conf_of("1m", shop))
    with gate.connect() as client:
        client.send_request("POST", "/", {"Content-Length": "5", "Expect": "100-continue"})
        assert client.read_head().status == 100
        client.send(b"hello")
        assert client.read_response().text == "shop"
        assert client.get().text == "shop"
    assert b"expect" not in shop.requests[0].lower()


@pytest.mark.parametrize("where", ["memory", "file"])
def test_a_slow_client_frees_the_server(weir, scripted, tmp_path, where, each_loop):
    """The only connection to the server is used for others while the first answer is still on its way."""
    body = random.Random(2).randbytes(20_000_000)
    sent = threading.Event()

    def script(peer):
        while request := peer.read_request():
            if b"/large" in request:
                peer.send(answer(body))
                sent.set()
            else:
                peer.send(answer("shop"))

    shop = scripted(script)
    folder = f", folder: {tmp_path}, memory: 100k" if where == "file" else ""
    gate = weir(conf_of("{request: off, response: 30m%s}" % folder, shop))
    with gate.connect(timeout=60) as slow:
        slow.send_request("GET", "/large")
        assert sent.wait(20)
        assert gate.get("/other").text == "shop"
        assert shop.connections == 1
        assert slow.read_response().body == body
        assert slow.get("/again").text == "shop"
    got = metrics(gate)
    assert (got["responses"], got["files"]) == (1, 1 if where == "file" else 0)


def test_what_is_streamed_is_not_delayed(weir, scripted, each_loop):
    go_on = threading.Semaphore(0)

    def script(peer):
        while peer.read_request():
            peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Kept: yes\r\n\r\n")
            for i in range(10):
                peer.send(b"1\r\n%d\r\n" % i)
                if not go_on.acquire(timeout=20):
                    return
            peer.send(b"0\r\nX-Sum: 9\r\n\r\n")

    gate = weir(conf_of("{response: 1m}", scripted(script)))
    with gate.connect() as client:
        client.send_request()
        assert client.read_head().get("x-kept") == "yes"
        for i in range(10):
            assert client.read_exactly(6) == b"1\r\n%d\r\n" % i
            go_on.release()
        last = b"0\r\nX-Sum: 9\r\n\r\n"
        assert client.read_exactly(len(last)) == last


def test_only_so_much_is_read_ahead(weir, scripted):
    """An answer without end: the server is held up, the gate's memory does not grow."""
    sent = [0]

    def script(peer):
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            peer.send(b"x" * 100_000)
            sent[0] += 100_000

    gate = weir(conf_of("{response: 1m}", scripted(script)))
    before = gate.rss_kib()
    with gate.connect() as client:
        client.send_request()
        client.read_head()
        wait_until(lambda: sent[0] > 1_000_000, 20)
        client.read_exactly(30_000_000)
        assert gate.rss_kib() - before < 60_000 or sanitized(gate)


def test_a_client_that_goes_lets_go_of_all(weir, scripted):
    hang = threading.Event()

    def script(peer):
        while request := peer.read_request():
            if b"/other" in request:
                peer.send(answer("shop"))
                continue
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 1_000_000)
            hang.wait(30)
            return  # the gate sees the end, and that nobody is there to be told

    gate = weir(conf_of("{response: 10m}", scripted(script), service="connections_max: 100"))
    for _ in range(5):
        with gate.connect() as client:
            client.send_request()
            client.read_head()
            client.reset()
    assert gate.get("/other").text == "shop"
    hang.set()
    wait_until(lambda: len(gate.access()) == 6, 20)


def test_a_cut_answer_does_not_look_whole(weir, scripted):
    def script(peer):
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 500_000)

    gate = weir(conf_of("{response: 10m}", scripted(script)))
    with pytest.raises(Closed):
        gate.get()


def test_with_compress_in_front(weir, scripted):
    body = b"weir " * 100_000
    gate = weir(conf_of("{response: 10m}", scripted(answer(body, headers=[("Content-Type", "text/plain")])),
                        more="compress: {codings: gzip}"))
    assert gzip.decompress(gate.get("/", {"Accept-Encoding": "gzip"}).body) == body


def test_mistakes_have_a_place(weir_command, tmp_path):
    conf = tmp_path / "weir.yaml"
    for buffer, said in (("{request: off}", "neither"), ("{request: 1g}", "no `folder`"),
                         ("{request: 1g, folder: /no/such}", "/no/such")):
        conf.write_text('listen: [":1"]' + CONF.format(buffer=buffer, shop="127.0.0.1:1", more="", service="idle_max: 1"))
        checked = weir_command("check", "-c", conf)
        assert checked.returncode == 1
        assert f"{conf}:6:" in checked.stdout + checked.stderr
        assert said in checked.stdout + checked.stderr
