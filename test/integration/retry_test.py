"""doc/retry.md, against the running gate."""
import re
import threading

import pytest

from lib.conf import one_service
from lib.servers import answer, echo_target
from lib.weir import run

BUSY = answer("busy", "503 Service Unavailable")
QUICK = "backoff: 1ms..5ms"


def failing(peer):
    while peer.read_request():
        peer.send(BUSY)


def echo_body(peer):
    while request := peer.read_request():
        peer.send(answer(request.partition(b"\r\n\r\n")[2]))


def bodies(server):
    return [r.partition(b"\r\n\r\n")[2] for r in server.requests]


def counts(gate):
    return {k: gate.metric(f"weir_retry_{k}_total", service="shop") for k in ("taken", "rescued", "refused")}


def test_an_error_is_asked_elsewhere(weir, scripted, each_loop):
    bad, good = scripted(BUSY), scripted(echo_target)
    gate = weir(one_service(bad, good, service=f"retry: {{on: [503], attempts: 1, {QUICK}}}"))
    with gate.connect() as client:
        for i in range(20):
            assert client.get(f"/{i}").text == f"/{i}"
    assert 0 < len(bad.requests) <= 20 and len(good.requests) == 20
    assert counts(gate) == {"taken": len(bad.requests), "rescued": len(bad.requests), "refused": 0}


def test_what_is_not_named_or_not_harmless_is_passed_on(weir, scripted):
    bad = scripted(BUSY)
    gate = weir(one_service(bad, service=f"retry: {{on: [connect, reset, 503], attempts: 3, {QUICK}}}"))
    with gate.connect() as client:
        assert client.request("POST", "/", body=b"x").text == "busy"
        assert client.request("POST", "/").status == 503
        assert len(bad.requests) == 2
        assert client.get().text == "busy"  # the last answer goes to the client
        assert len(bad.requests) == 2 + 4
    bad.stop()
    other = scripted(answer("no", "502 Bad Gateway"), port=bad.port)
    assert gate.get().text == "no"
    assert len(other.requests) == 1
    assert gate.metric("weir_retry_rescued_total") == 0


def test_a_post_that_was_not_sent_is_asked_elsewhere(weir, scripted):
    dead, good = scripted(b""), scripted(echo_body)
    dead.stop()
    gate = weir(one_service(dead, good, service=f"retry: {{on: connect, attempts: 1, {QUICK}}}"))
    for i in range(6):
        assert gate.request("POST", "/", body=b"hello %d" % i).text == f"hello {i}"
    assert len(good.requests) == 6


@pytest.mark.parametrize("chunked", [False, True])
def test_an_idempotent_body_is_sent_again(weir, scripted, each_loop, chunked):
    bad, good = scripted(failing), scripted(echo_body)
    gate = weir(one_service(bad, good, service=f"retry: {{on: 503, {QUICK}, body_bytes_max: 10k}}"))
    small, large = b"0123456789" * 900, b"0123456789" * 2000

    def put(data):
        if not chunked:
            return gate.request("PUT", "/", body=data)
        text = b"".join(b"%x\r\n%s\r\n" % (len(data[i:i + 4000]), data[i:i + 4000]) for i in range(0, len(data), 4000))
        return gate.request("PUT", "/", {"Transfer-Encoding": "chunked"}, text + b"0\r\n\r\n")

    statuses = []
    for _ in range(8):
        response = put(small)
        assert response.status == 200
        statuses.append(put(large).status)
    assert len(bad.requests) > 0 and len(good.requests) >= 8
    sent = [d if not chunked else re.sub(rb"[0-9a-f]+\r\n(\d+)\r\n", rb"\1", d).removesuffix(b"0\r\n\r\n")
            for d in bodies(good)]
    assert sent.count(small) == 8 and set(sent) <= {small, large}
    assert 503 in statuses or not any(len(b) > 15000 for b in bodies(bad))  # too long to be kept: sent once


def test_resets_and_timeouts(weir, scripted):
    def hangs(peer):
        peer.read_request()
        peer.stopping.wait(30)

    def leaves(peer):
        peer.read_request()

    good = scripted(echo_target)
    for script, cause in ((hangs, "timeout"), (leaves, "reset")):
        bad = scripted(script)
        gate = weir(one_service(bad, good, service=f"retry: {{on: {cause}, per_try_timeout: 300ms, {QUICK}}}"))
        for i in range(4):
            assert gate.get(f"/{i}").text == f"/{i}"
        assert len(bad.requests) >= 1
        gate.finish()
    gate = weir(one_service(scripted(hangs), service=f"retry: {{on: reset, per_try_timeout: 300ms, {QUICK}}}"))
    assert gate.get().status == 504


def test_the_budget(weir, scripted):
    bad = scripted(BUSY)
    gate = weir(one_service(bad, service=f"retry: {{on: 503, budget: 20%, budget_per_second: 0, {QUICK}}}",
                            root="workers: 2"))
    clients = [gate.connect() for _ in range(4)]
    for i in range(100):
        assert clients[i % 4].get().status == 503
    taken, refused = counts(gate)["taken"], counts(gate)["refused"]
    assert len(bad.requests) == 100 + taken
    assert 1 <= taken <= 20  # a share of at most 100 requests; fewer where the window has slid on
    assert refused >= 100 - taken


def test_a_route_has_the_last_word(weir, scripted):
    bad = scripted(BUSY)
    gate = weir(f"""
        routes:
          - {{match: /never/*, service: shop, retry: 0}}
          - {{match: /often/*, service: shop, retry: {{on: 503, attempts: 4, backoff: off}}}}
          - {{match: /*, service: shop}}
        services: {{shop: {{servers: ["{bad.address}"], retry: {{on: 503, attempts: 1, backoff: off}}}}}}
    """)
    for path, asked in (("/never/x", 1), ("/often/x", 5), ("/x", 2)):
        before = len(bad.requests)
        assert gate.get(path).status == 503
        assert len(bad.requests) - before == asked


def test_retry_after(weir, scripted):
    times = []
    lock = threading.Lock()

    def serve(peer):
        import time
        while request := peer.read_request():
            with lock:
                times.append(time.monotonic())
            seconds = 1 if b"/short" in request else 60
            if len(times) % 2:
                peer.send(answer("later", "503 Service Unavailable", [("Retry-After", str(seconds))]))
            else:
                peer.send(answer("now"))

    server = scripted(serve)
    gate = weir(one_service(server, service="retry: {on: 503, backoff: off, retry_after_max: 2s}"))
    assert gate.get("/short").text == "now"
    assert times[1] - times[0] >= 1
    assert gate.get("/long").text == "later"  # asks for too much: the client shall see to it
    assert len(times) == 3


def test_mistakes(tmp_path):
    for text, words in (("{on: 200}", "nothing to try again on"), ("{backoff: 9ms..1ms}", "ends below"),
                        ("{attempts: 11}", "out of bounds")):
        path = tmp_path / "weir.yaml"
        path.write_text("listen: :1\nroutes: [{match: /*, service: s}]\n"
                        f"services:\n  s:\n    servers: [10.0.0.1:80]\n    retry: {text}\n")
        result = run("check", "-c", path)
        assert result.returncode == 1 and words in result.stderr and ":6:" in result.stderr
