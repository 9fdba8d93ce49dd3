"""Servers that speak HTTP/2 (`protocol: http2`): one connection for all, and what becomes of it."""
import shutil
import threading

import pytest

from lib import http2
from lib.client import Client
from lib.conf import one_service
from lib.ports import free_port
from lib.process import Process, wait_until

pytestmark = pytest.mark.usefixtures("each_loop")


@pytest.fixture
def served():
    """served(serve, values=None) -> lib.http2.Server"""
    ours = []

    def start(serve, **options):
        ours.append(http2.Server(serve, **options))
        return ours[-1]

    yield start
    for server in ours:
        server.stop()
    assert not [e for s in ours for e in s.errors], f"scripts failed: {[e for s in ours for e in s.errors]}"


def to_http2(*servers, service="", **more):
    return one_service(*servers, service=f"protocol: http2{', ' + service if service else ''}",
                       root="workers: 1", **more)


def ask_all(gate, count, path="/{}"):
    """As many clients at the same time; their answers' texts."""
    texts = [None] * count

    def ask(n):
        with Client(gate.port) as c:
            texts[n] = c.get(path.format(n)).text

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    return texts


def test_one_connection_for_all(weir, served):
    server = served(http2.echo)
    gate = weir(to_http2(server))
    assert ask_all(gate, 20) == [f"/{n}" for n in range(20)]
    assert gate.request("POST", "/", body=b"hello" * 20000).text == "hello" * 20000
    with http2.Client(gate.port) as c:
        assert c.request("POST", "/", body=b"hi").text == "hi"
        assert c.request("HEAD", "/").status == 200
    assert len(server.connections) == 1
    assert gate.metric("weir_http2_upstream_connections_total") == 1


def test_what_a_server_gets(weir, served):
    def serve(c):
        stream, m = c.next_request()
        seen.append(m.fields)
        c.answer(stream, b"here", fields=[("x-made-by", "me"), ("set-cookie", "a=1"), ("set-cookie", "b=2")])
        http2.echo(c)

    seen = []
    gate = weir(to_http2(served(serve)))
    answer = gate.request("GET", "/a?b=c", {"X-Upper": "Yes", "Cookie": "a=1", "Connection": "close, X-Hop", "X-Hop": "1",
                                            "TE": "trailers"})
    assert answer.text == "here" and answer.get("x-made-by") == "me" and answer.all("set-cookie") == ["a=1", "b=2"]
    fields = dict(seen[0])
    assert [k for k, _ in seen[0]][:4] == [":method", ":scheme", ":authority", ":path"]
    assert (fields[":method"], fields[":path"], fields[":authority"]) == ("GET", "/a?b=c", "test")
    assert fields["x-upper"] == "Yes" and fields["te"] == "trailers" and "x-forwarded-for" in fields
    assert not {"host", "connection", "x-hop", "content-length"} & set(fields)


def test_trailers_both_ways(weir, served):
    def serve(c):
        stream, m = c.next_request()
        seen.append(m.trailers)
        c.answer(stream, b"hi", trailers=[("x-sum", "42")])
        http2.echo(c)

    seen = []
    gate = weir(to_http2(served(serve)))
    with Client(gate.port) as c:
        c.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Digest: 7\r\n\r\n")
        head = c.read_until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert b"x-sum: 42" in c.read_until(b"x-sum: 42\r\n\r\n")
    assert seen == [[("x-digest", "7")]]


def test_no_more_streams_than_the_server_says(weir, served):
    most = []
    hold = threading.Event()

    def serve(c):
        open_now = 0
        while True:
            stream, m = c.next_request()
            open_now = sum(1 for s in c.streams.values() if s.over) - len(c.taken) + 1
            most.append(open_now)
            c.answer(stream, m.get(":path").encode())

    server = served(serve, values={http2.MAX_STREAMS: 2})
    gate = weir(to_http2(server, service="connections_max: 3"))
    gate.get("/first")  # the settings have come
    assert ask_all(gate, 30) == [f"/{n}" for n in range(30)]
    assert max(most) <= 2 and len(server.connections) <= 3
    hold.set()


def test_another_connection_when_one_is_full(weir, served):
    hold = threading.Event()

    def serve(c):
        streams = [c.next_request()]
        c.answer(streams[0][0], b"first")
        stream, _ = c.next_request()
        hold.wait(20)
        c.answer(stream, b"late")
        http2.echo(c)

    server = served(serve, values={http2.MAX_STREAMS: 1})
    gate = weir(to_http2(server))
    assert gate.get().text == "first"
    texts = []
    t = threading.Thread(target=lambda: texts.append(gate.get().text))
    t.start()
    wait_until(lambda: gate.metric("weir_http2_upstream_requests_total") == 2, 20)
    assert gate.get().text == "first"  # on a second connection
    hold.set()
    t.join(20)
    assert texts == ["late"] and len(server.connections) == 2


def test_goaway_loses_nothing(weir, served):
    """What the server has not begun is asked again on another connection, a POST too."""
    def serve(c):
        stream, _ = c.next_request()
        if len(server.connections) == 1:
            second, _ = c.next_request()
            c.send(http2.frame(http2.GOAWAY, 0, 0, min(stream, second).to_bytes(4, "big") + bytes(4)))
            c.answer(min(stream, second), b"old")
            c.read_to_end()
            return
        c.answer(stream, b"new")
        http2.echo(c)

    server = served(serve)
    gate = weir(to_http2(server))
    texts = []

    def post():
        with Client(gate.port) as c:
            texts.append(c.request("POST", "/").text)

    threads = [threading.Thread(target=post) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(30)
    assert sorted(texts) == ["new", "old"]
    wait_until(lambda: gate.metric("weir_http2_upstream_goaways_total") == 1, 20)


def test_a_refused_stream_is_asked_again_whatever_its_method(weir, served):
    refused = []

    def serve(c):
        while True:
            stream, m = c.next_request()
            if not refused:
                refused.append(stream)
                c.send(http2.reset_frame(stream, http2.REFUSED_STREAM))
            else:
                c.answer(stream, b"taken")

    gate = weir(to_http2(served(serve)))
    assert gate.request("POST", "/").text == "taken" and refused


def test_a_slow_client_slows_its_stream_and_nobody_else(weir, served):
    """What a client does not take stays at its server, but for a window; others share the connection."""
    size, sent = 3_000_000, []

    def serve(c):
        large = None
        while True:
            c.read_until(lambda: [s for s, m in c.streams.items() if m.over and s not in c.taken] or can_send(c, large))
            n = can_send(c, large)
            if n:
                sent.append(n)
                c.send(http2.frame(http2.DATA, int(sum(sent) == size), large, b"x" * n))
                continue
            stream, m = c.next_request()
            if m.get(":path") == "/large":
                large = stream
                c.send(c.headers(stream, [(":status", "200")]))
            else:
                c.answer(stream, m.get(":path").encode())

    def can_send(c, stream):
        if stream is None:
            return 0
        return min(c.settings[http2.WINDOW_SIZE] + c.updates.get(stream, 0) - sum(sent), size - sum(sent), 16384)

    server = served(serve)
    gate = weir(to_http2(server))
    with http2.Client(gate.port, auto_window=False) as c:
        slow = c.start(path="/large")
        c.read_until(lambda: len(c.message(slow).body) == 65535)
        c.send(http2.window_update(0, 1_000_000))  # of the connection, but not of that stream
        for n in range(20):
            assert c.get(f"/{n}").text == f"/{n}"
        window = server.connections[0].settings[http2.WINDOW_SIZE]
        assert 65535 <= sum(sent) <= 65535 + window + 16384 and window <= 128 * 1024
        c.send(http2.window_update(0, size) + http2.window_update(slow, size))
        assert len(c.response(slow).body) == size
    assert len(server.connections) == 1


def test_a_reset_answer(weir, served):
    def serve(c):
        while True:
            stream, m = c.next_request()
            asked.append(m.get(":path"))
            if m.get(":path") == "/head":
                c.send(http2.reset_frame(stream, http2.INTERNAL_ERROR))
            else:
                c.send(c.headers(stream, [(":status", "200"), ("content-length", "100")])
                       + http2.frame(http2.DATA, 0, stream, b"x" * 50)
                       + http2.reset_frame(stream, http2.INTERNAL_ERROR))

    asked = []
    gate = weir(to_http2(served(serve), served(serve)))
    assert gate.request("POST", "/head").status == 502
    assert asked == ["/head"]  # the server may have begun on it: nobody else is asked
    with http2.Client(gate.port) as c:
        m = c.get("/body")
        assert m.status == 200 and m.reset == http2.INTERNAL_ERROR
    assert asked == ["/head", "/body"]


@pytest.mark.parametrize("fields", [[], [(":status", "abc")], [(":status", "200"), ("Upper", "1")],
                                    [(":status", "200"), ("connection", "close")], [(":status", "200"), (":path", "/")],
                                    [(":status", "200"), ("x", "a\r\nb")], [(":status", "101")]])
def test_malformed_answers(weir, served, fields):
    def serve(c):
        while True:
            stream, _ = c.next_request()
            c.send(c.headers(stream, fields, end=True))

    gate = weir(to_http2(served(serve)))
    assert gate.get().status == 502


def test_heads_in_between_have_an_end(weir, served):
    def serve(c):
        while True:
            stream, _ = c.next_request()
            try:
                for _ in range(1000):
                    c.send(c.headers(stream, [(":status", "103"), ("link", "</x>")]))
            except http2.Closed:
                pass

    gate = weir(to_http2(served(serve)))
    assert gate.request("POST", "/").status == 502


@pytest.mark.parametrize("setting", ["first_byte_timeout", "idle_timeout"])
def test_a_server_that_takes_too_long(weir, served, setting):
    """Before the head of its answer, and inside its body."""
    def serve(c):
        while True:
            stream, m = c.next_request()
            if m.reset is not None:
                resets.append(m.reset)
            elif m.get(":path") == "/slow" and setting == "idle_timeout":
                c.send(c.headers(stream, [(":status", "200")]) + http2.frame(http2.DATA, 0, stream, b"x"))
            elif m.get(":path") != "/slow":
                c.answer(stream, b"quick")

    resets = []
    server = served(serve)
    gate = weir(to_http2(server, service=f"{setting}: 2s, ping_interval: 1h"))
    with http2.Client(gate.port) as c:
        m = c.request("POST", "/slow")
        if setting == "first_byte_timeout":
            assert (m.status, m.reset) == (504, None)
        else:
            assert (m.status, m.body, m.reset) == (200, b"x", http2.INTERNAL_ERROR)
        assert c.get("/quick").text == "quick"  # the others' connection is none the worse
    assert len(server.connections) == 1


def test_so_many_wait_for_a_stream(weir, served):
    """streams_max of connections_max connections, and waiting_max behind them; the next one is refused."""
    hold = threading.Event()

    def serve(c):
        while True:
            stream, m = c.next_request()
            held.append(stream)
            hold.wait(60)
            c.answer(stream, m.get(":path").encode())

    held, texts = [], []
    server = served(serve)
    gate = weir(to_http2(server, service="streams_max: 1, connections_max: 2, waiting_max: 2, wait_timeout: 60s"))

    def ask(n):
        texts.append(gate.get(f"/{n}").text)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    for n, t in enumerate(threads):
        t.start()
        wait_until(lambda n=n: gate.metric("weir_upstream_requests_total") == n + 1, 20)
    wait_until(lambda: len(held) == 2, 20)
    assert gate.get("/more").status == 503
    hold.set()
    for t in threads:
        t.join(20)
    assert sorted(texts) == ["/0", "/1", "/2", "/3"] and len(server.connections) == 2


def test_a_client_that_breaks_off_is_no_fault_of_its_server(weir, served):
    """In the middle of its body: the stream is taken back, and nobody counts that against the server."""
    reset = threading.Event()

    def serve(c):
        c.read_until(lambda: any(m.headed for m in c.streams.values()))
        first = min(c.streams)
        c.read_until(lambda: c.streams[first].reset is not None)
        reset.set()
        http2.echo(c)

    server = served(serve)
    gate = weir(to_http2(server, service="outlier: {errors: 1, rest: 1h, rest_max: 10h, error_ratio: 100%}"))
    with Client(gate.port) as c:
        c.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000)
        wait_until(lambda: gate.metric("weir_http2_upstream_requests_total") == 1, 20)
    assert reset.wait(20)
    wait_until(lambda: gate.access(), 20)
    assert gate.metric("weir_outlier_ejected") == gate.metric("weir_upstream_failures_total") == 0
    assert gate.get("/next").text == "/next" and len(server.connections) == 1


def test_a_malformed_body_is_no_fault_of_its_server(weir, served):
    """The client is told so, and nobody counts it against the server or for its breaker."""
    def serve(c):
        c.read_until(lambda: any(m.reset is not None for m in c.streams.values()))
        http2.echo(c)

    server = served(serve)
    gate = weir(to_http2(server, service="outlier: {errors: 1, rest: 1h, rest_max: 10h, error_ratio: 100%}"))
    with Client(gate.port) as c:
        c.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        wait_until(lambda: gate.metric("weir_http2_upstream_requests_total") == 1, 20)
        c.send(b"this is no size\r\n")
        assert c.read_response().status == 400
    wait_until(lambda: gate.access(), 20)
    assert gate.metric("weir_outlier_ejected") == gate.metric("weir_upstream_failures_total") == 0
    assert gate.get("/next").text == "/next" and len(server.connections) == 1


def test_a_server_of_http1(weir, scripted):
    from lib.servers import answer
    gate = weir(to_http2(scripted(answer("here"))))
    assert gate.get().status == 502


def test_nobody_listens(weir, served):
    assert weir(to_http2(f"127.0.0.1:{free_port()}")).get().status == 502
    gate = weir(to_http2(f"127.0.0.1:{free_port()}", served(http2.echo)))
    assert [gate.get("/a").text for _ in range(4)] == ["/a"] * 4


def test_an_early_answer_and_a_client_that_leaves(weir, served):
    cancelled = threading.Event()

    def serve(c):
        c.read_until(lambda: any(m.headed for m in c.streams.values()))
        first = min(c.streams)
        c.answer(first, b"enough")
        c.read_until(lambda: len(c.streams) == 2 and max(c.streams.values(), key=lambda m: m.reset or 0).reset
                     and c.streams[max(c.streams)].reset)
        cancelled.set()

    gate = weir(to_http2(served(serve)))
    with Client(gate.port) as c:
        c.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000)
        assert c.read_head()
    with http2.Client(gate.port) as c:
        stream = c.start()
        wait_until(lambda: gate.metric("weir_http2_upstream_requests_total") == 2, 20)
        c.send(http2.reset_frame(stream))
        assert cancelled.wait(20), "the server hears of it"


def test_an_idle_connection_ends_in_good_order(weir, served):
    server = served(http2.echo)
    gate = weir(to_http2(server, service="idle_timeout: 2s"))
    assert gate.get("/a").text == "/a"
    wait_until(lambda: server.connections[0].closed, 20)
    assert server.connections[0].goaway[1] == http2.NO_ERROR
    assert gate.get("/b").text == "/b" and len(server.connections) == 2


def test_a_silent_connection_is_asked_and_lost(weir, served):
    """One that answers PINGs may take its time; one that does not is replaced."""
    hold = threading.Event()

    def serve(c):
        stream, _ = c.next_request()
        if len(server.connections) == 1:
            c.read_until(lambda: len(pings(c)) == 3)
            c.answer(stream, b"late")
            c.next_request()
            hold.wait(20)  # nothing is read any more
        else:
            c.answer(stream, b"new")
            http2.echo(c)

    def pings(c):
        return [p for p in c.pinged if p == bytes(8)]

    server = served(serve)
    gate = weir(to_http2(server, service="ping_interval: 500ms"))
    assert gate.get().text == "late"
    assert gate.request("POST", "/", body=b"x").status == 504
    assert gate.get().text == "new" and len(server.connections) == 2
    hold.set()


def test_health_checks_speak_it_too(weir, served):
    """A server that speaks nothing else is found well, and by what it answers."""
    asked, state = [], {"status": "200", "body": b"all is ready"}

    def serve(c):
        while True:
            stream, m = c.next_request()
            asked.append(dict(m.fields))
            c.answer(stream, state["body"], status=state["status"])

    server = served(serve)
    check = ("{method: GET, path: /healthz, contains: ready, host: shop.example, interval: 200ms, unhealthy_after: 1, "
             "healthy_after: 1}")
    gate = weir(to_http2(server, service=f"health_check: {check}"))

    def is_up(wanted):
        wait_until(lambda: gate.metric("weir_health_check_up", server=server.address) == wanted, 20)

    wait_until(lambda: gate.metric("weir_health_check_succeeded_total", server=server.address) >= 2, 20)
    is_up(1)
    assert {k: asked[0][k] for k in (":method", ":path", ":authority", "user-agent")} == {
        ":method": "GET", ":path": "/healthz", ":authority": "shop.example", "user-agent": "weir-health-check"}
    for change, words in (({"status": "503"}, "status=503"), ({"body": b"not yet"}, "does not contain"), ({"body": b""}, "")):
        before = dict(state)
        state.update(change)
        is_up(0)
        assert words in gate.log()
        state.update(before)
        is_up(1)


@pytest.mark.parametrize("how", ["head", "plain", "cut"])
def test_health_checks_of_other_kinds(weir, served, how):
    """HEAD; without a look at the body, however much of it there is; one that is reset."""
    def serve(c):
        while True:
            stream, m = c.next_request()
            methods.add(m.get(":method"))
            if how == "head":
                c.send(c.headers(stream, [(":status", "204")], end=True))
                continue
            c.send(c.headers(stream, [(":status", "103")]) + c.headers(stream, [(":status", "200")]))
            if how == "cut":
                c.send(http2.reset_frame(stream, http2.INTERNAL_ERROR))

    methods = set()
    server = served(serve)
    more = {"head": "method: HEAD", "plain": "method: GET", "cut": "contains: x"}[how]
    gate = weir(to_http2(server, service=f"health_check: {{{more}, interval: 200ms}}"))
    name = "failed" if how == "cut" else "succeeded"
    wait_until(lambda: gate.metric(f"weir_health_check_{name}_total", server=server.address) >= 2, 20)
    assert how != "cut" or gate.metric("weir_health_check_succeeded_total", server=server.address) == 0
    assert methods == {"HEAD" if how == "head" else "GET"}


def test_what_cannot_work_is_refused(tmp_path, weir_command):
    for more, words in {"upstream: pipelined": "share a connection anyway", "proxy_protocol: v2": "one client's"}.items():
        conf = tmp_path / "weir.yaml"
        conf.write_text(to_http2("127.0.0.1:1", service=more))
        checked = weir_command("check", "-c", conf)
        assert checked.returncode and words in checked.stdout + checked.stderr


@pytest.mark.skipif(not shutil.which("nghttpd"), reason="there is no nghttpd (nghttp2-server)")
def test_nghttpd(weir, tmp_path):
    port = free_port()
    (tmp_path / "big").write_bytes(b"x" * 1_000_000)
    server = Process([shutil.which("nghttpd"), "--no-tls", "-d", str(tmp_path), str(port)], tmp_path / "nghttpd.log")
    try:
        gate = weir(to_http2(f"127.0.0.1:{port}"))
        wait_until(lambda: gate.get("/big").status == 200, 20)
        with http2.Client(gate.port) as c:
            assert len(c.get("/big").body) == 1_000_000
        assert len(gate.get("/big").body) == 1_000_000
        assert gate.get("/none").status == 404
    finally:
        server.stop()
