"""HTTP/2 of clients, in clear text: what arrives at servers of HTTP/1.1, and what comes back."""
import shutil
import signal
import subprocess
import threading

import pytest

from lib import http2
from lib.client import Client
from lib.conf import one_service
from lib.ports import free_port
from lib.process import wait_until
from lib.servers import answer

pytestmark = pytest.mark.usefixtures("each_loop")


def connect(gate, **options):
    return http2.Client(gate.port, **options)


def test_requests_share_a_connection(weir, origin):
    gate = weir(one_service(origin()))
    with connect(gate) as c:
        streams = [c.start(path=f"/bytes/{n}") for n in range(50)]
        for n, stream in enumerate(streams):
            m = c.response(stream)
            assert (m.status, len(m.body), m.get("content-length")) == (200, n, str(n)), n
    assert gate.get("/bytes/3").status == 200  # HTTP/1.1 on the same port
    wait_until(lambda: len(gate.access()) == 51, 20)


def test_what_a_server_of_http1_gets(weir, scripted):
    shop = scripted(answer("here", headers=[("X-Upper", "Yes"), ("Connection", "X-Hop"), ("X-Hop", "1"),
                                            ("Keep-Alive", "timeout=5")]))
    gate = weir(one_service(shop))
    with connect(gate) as c:
        m = c.request("GET", "/a/b?c=d", [("cookie", "a=1"), ("te", "trailers"), ("x-empty", ""), ("cookie", "b=2")])
        assert m.text == "here" and m.get("x-upper") == "Yes"
        assert not {"connection", "keep-alive", "x-hop", "transfer-encoding"} & {k for k, _ in m.fields}
    request = shop.requests[0]
    head = request.split(b"\r\n")
    assert head[0] == b"GET /a/b?c=d HTTP/1.1"
    assert b"Host: test" in head and b"cookie: a=1; b=2" in head and b"x-empty: " in head
    assert sum(line.lower().startswith(b"host:") for line in head) == 1
    assert not any(line.lower().startswith(b"te:") for line in head)


def test_bodies_both_ways(weir, origin):
    gate = weir(one_service(origin()))
    with connect(gate) as c:
        assert c.request("POST", "/echo", body=b"hello").status == 200
        assert '"body_bytes": 5' in c.request("POST", "/echo", [("content-length", "5")], b"hello").text
        assert '"body_bytes": 0' in c.request("POST", "/echo", body=b"").text
        big = c.get("/bytes/3000000")
        assert len(big.body) == 3000000
        chunked = c.get("/chunked/10/1000")
        assert chunked.status == 200 and chunked.get("content-length") is None
        head = c.request("HEAD", "/bytes/100")
        assert (head.status, head.body, head.get("content-length")) == (200, b"", "100")


def test_a_large_upload_waits_for_windows(weir, origin):
    gate = weir(one_service(origin()))
    size = 1 << 20
    with connect(gate) as c:
        c.read_until(lambda: c.settled)
        window, left, credit = c.settings[http2.WINDOW_SIZE], size, {0: 65535}
        stream = c.start("POST", "/echo", end=False)
        credit[stream] = window
        while left:
            n = min(credit[0], credit[stream], 16384, left)
            if n:
                c.send(http2.frame(http2.DATA, int(n == left), stream, b"x" * n))
                left, credit[0], credit[stream] = left - n, credit[0] - n, credit[stream] - n
                continue
            kind, _, at, payload = c.read_frame()
            if kind == http2.WINDOW_UPDATE and at in credit:
                credit[at] += int.from_bytes(payload, "big")
        assert f'"body_bytes": {size}' in c.response(stream).text


def test_trailers_both_ways(weir, scripted):
    def serve(peer):
        seen.append(peer.read_request())
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
                  b"2\r\nhi\r\n0\r\nX-Sum: 42\r\n\r\n")

    seen = []
    gate = weir(one_service(scripted(serve)))
    with connect(gate) as c:
        stream = c.start("POST", "/", [("trailer", "x-digest")], end=False)
        c.send_body(stream, b"body", end=False)
        c.send(c.headers(stream, [("x-digest", "7"), ("x-forwarded-for", "99")], end=True))
        m = c.response(stream)
        assert (m.text, m.trailers) == ("hi", [("x-sum", "42")])
    assert b"x-digest: 7\r\n" in seen[0] and b"99" not in seen[0].split(b"\r\n\r\n", 1)[1]


def test_expect_continue_and_early_hints(weir, scripted):
    def serve(peer):
        peer.read_until(b"\r\n\r\n")
        peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        peer.send(answer("done"))

    gate = weir(one_service(scripted(serve)))
    with connect(gate) as c:
        m = c.get()
        assert m.text == "done"
        assert [(":status", "103"), ("link", "</x>")] in m.interim
    gate = weir("routes: [{match: /*, size_limit: {request: 1k}, service: s}]\n"
                f"services: {{s: {{servers: ['{scripted(answer('took it')).address}']}}}}")
    with connect(gate) as c:
        stream = c.start("POST", "/", [("expect", "100-continue"), ("content-length", "2")], end=False)
        c.read_until(lambda: c.message(stream).interim)
        c.send_body(stream, b"hi")
        assert c.response(stream).text == "took it"
        assert c.get("/", [("expect", "the-unexpected")]).status == 417


MALFORMED = {
    "upper case": [("X-Upper", "1")],
    "connection": [("connection", "close")],
    "keep-alive": [("keep-alive", "1")],
    "transfer-encoding": [("transfer-encoding", "chunked")],
    "upgrade": [("upgrade", "h2c")],
    "te": [("te", "gzip")],
    "line feed in a value": [("x-a", "1\nHost: evil")],
    "carriage return in a value": [("x-a", "1\r")],
    "NUL in a value": [("x-a", "1\0")],
    "space in a name": [("x a", "1")],
    "line feed in a name": [("x\na", "1")],
    "colon in a name": [("x:a", "1")],
    "an empty name": [("", "1")],
    "another host": [("host", "elsewhere")],
    "a pseudo field behind": [("x-a", "1"), (":path", "/other")],
    "an unknown pseudo field": [(":what", "1")],
    "a response's": [(":status", "200")],
    "two lengths": [("content-length", "0"), ("content-length", "0")],
    "a length that is none": [("content-length", "+1")],
    "a length without a body": [("content-length", "5")],
}


def test_malformed_requests_are_reset_and_reach_nobody(weir, scripted):
    shop = scripted(answer("here"))
    gate = weir(one_service(shop))
    usual = [(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", "/")]
    heads = {name: usual + more for name, more in MALFORMED.items()}
    heads["no path"] = [f for f in usual if f[0] != ":path"]
    heads["no method"] = [f for f in usual if f[0] != ":method"]
    heads["no scheme"] = [f for f in usual if f[0] != ":scheme"]
    heads["no authority"] = [f for f in usual if f[0] != ":authority"]
    heads["two methods"] = [(":method", "GET"), *usual]
    for name, path in {"an empty path": "", "a path without a slash": "a", "a space in the path": "/a b",
                       "a line feed in the path": "/a\r\nX: y", "an absolute path": "http://a/", "a star": "*"}.items():
        heads[name] = [f for f in usual if f[0] != ":path"] + [(":path", path)]
    for authority in ("a b", "a@b", "a\r\nX: y", "", "a:99999", "a/b"):
        heads[f"authority {authority!r}"] = [f for f in usual if f[0] != ":authority"] + [(":authority", authority)]
    for method in ("G T", "", "GET\r\n"):
        heads[f"method {method!r}"] = [(":method", method), *usual[1:]]
    for name, fields in heads.items():
        with connect(gate) as c:
            stream = c.raw_head(fields)
            m = c.response(stream)
            assert m.reset == http2.PROTOCOL_ERROR and not m.headed, name
            assert c.get().text == "here", name  # the connection goes on
    assert len(shop.requests) == len(heads)
    assert all(r.startswith(b"GET / HTTP/1.1\r\n") for r in shop.requests)


def test_connect_is_refused(weir, scripted):
    gate = weir(one_service(scripted(answer("here"))))
    with connect(gate) as c:
        assert c.response(c.raw_head([(":method", "CONNECT"), (":authority", "a:443")])).status == 501


def test_a_body_of_another_length_is_reset(weir, scripted):
    gate = weir(one_service(scripted(answer("here"))))
    with connect(gate) as c:
        for body in (b"x", b"x" * 10):
            stream = c.start("POST", "/", [("content-length", "5")], end=False)
            c.send_body(stream, body)
            assert c.response(stream).reset == http2.PROTOCOL_ERROR
        assert c.get().text == "here"


def test_heads_have_bounds(weir, scripted):
    gate = weir(one_service(scripted(answer("here")), root="client: {head_bytes_max: 4k, fields_max: 20}"))
    with connect(gate) as c:
        c.read_until(lambda: c.settled)
        assert c.settings[http2.MAX_LIST] == 4096 + 20 * 32
        assert c.get("/", [("x-long", "x" * 5000)]).status == 431
        assert c.get("/", [(f"x-{n}", "1") for n in range(30)]).status == 431
        assert c.get().text == "here"


def test_bodies_have_bounds(weir, scripted):
    """Of length and of time, whoever announced what."""
    def serve(peer):
        while peer.read_until(b"\r\n\r\n"):
            peer.read_exactly(10000)  # more than comes

    gate = weir(one_service(scripted(serve), root="client: {body_bytes_max: 1k, body_timeout: 2s}"))
    with connect(gate) as c:
        assert c.request("POST", "/", [("content-length", "2000")], b"x" * 2000).status == 413
        assert c.request("POST", "/", body=b"x" * 2000).status == 413
        stream = c.start("POST", "/", end=False)
        c.send_body(stream, b"x", end=False)
        assert c.response(stream).status == 408


def test_what_a_client_may_do_is_told(weir, scripted):
    more = "client: {http2: {window: 10k, frame_bytes_max: 20000, table_bytes_max: 1000, connection_window: 70000}}"
    gate = weir(one_service(scripted(answer("here")), root=more))
    with connect(gate) as c:
        c.read_until(lambda: c.settled and c.updates.get(0))
        assert (c.settings[http2.WINDOW_SIZE], c.settings[http2.MAX_FRAME]) == (10240, 20000)
        assert (c.settings[http2.HEADER_TABLE_SIZE], c.updates[0]) == (1000, 70000 - 65535)
        c.encoder.header_table_size = 1000
        assert c.get().text == "here"


def test_more_streams_than_allowed_break_the_protocol(weir, scripted):
    hold = threading.Event()

    def serve(peer):
        while peer.read_request():
            hold.wait(20)
            peer.send(answer("late"))

    gate = weir(one_service(scripted(serve), root="client: {http2: {streams_max: 4}}"))
    with connect(gate) as c:
        c.read_until(lambda: c.settled)
        assert c.settings[http2.MAX_STREAMS] == 4
        streams = [c.start() for _ in range(4)]
        hold.set()
        assert [c.response(s).text for s in streams] == ["late"] * 4
        hold.clear()
        for _ in range(5):
            c.start()
        c.read_to_end()
        assert c.goaway[1] == http2.PROTOCOL_ERROR
    hold.set()


def test_a_stream_taken_back_lets_go_of_its_server(weir, scripted):
    gone = threading.Event()

    def serve(peer):
        peer.read_request()
        if peer.is_closed():
            gone.set()

    gate = weir(one_service(scripted(serve)))
    with connect(gate) as c:
        stream = c.start()
        wait_until(lambda: gate.metric("weir_http2_requests_total") == 1, 20)
        c.send(http2.reset_frame(stream))
        assert gone.wait(20), "the server's connection is closed"
        wait_until(lambda: [line["status"] for line in gate.access()] == [499], 20)


def test_a_slow_client_slows_its_server_and_nobody_else(weir, origin):
    server = origin()
    gate = weir(one_service(server))
    size = 3_000_000
    with connect(gate, auto_window=False) as c:
        slow = c.start(path=f"/bytes/{size}")
        c.read_until(lambda: len(c.message(slow).body) >= 65535)
        c.send(http2.window_update(0, 1_000_000))  # of the connection, but not of that stream
        for _ in range(20):
            assert len(c.get("/bytes/1000").body) == 1000
        assert len(c.message(slow).body) == 65535
        c.send(http2.window_update(0, size) + http2.window_update(slow, size))
        assert len(c.response(slow).body) == size


def test_a_slow_server_slows_its_stream_and_nobody_else(weir, scripted, origin):
    """A body that no server takes yet keeps its window shut."""
    asked, hold = threading.Event(), threading.Event()

    def serve(peer):
        while peer.read_request():
            asked.set()
            hold.wait(60)
            peer.send(answer("enough"))

    gate = weir(f"""
        workers: 1
        routes: [{{match: /slow, service: slow}}, {{match: /*, service: quick}}]
        services:
          slow: {{servers: ["{scripted(serve).address}"], connections_max: 1, wait_timeout: 60s}}
          quick: {{servers: ["{origin().address}"]}}
    """)
    with connect(gate) as c:
        c.read_until(lambda: c.settled)
        window = c.settings[http2.WINDOW_SIZE]
        first = c.start(path="/slow")
        assert asked.wait(20)
        stream = c.start("POST", "/slow", [("content-length", str(window + 1))], end=False)  # waits for the connection
        c.send_body(stream, b"x" * window, end=False)
        for _ in range(10):
            assert '"body_bytes": 20000' in c.request("POST", "/echo", body=b"x" * 20000).text
        assert stream not in c.updates and c.updates[0] >= 200_000
        hold.set()
        c.read_until(lambda: stream in c.updates)
        c.send_body(stream, b"x")
        assert c.response(first).text == c.response(stream).text == "enough"


def test_what_nobody_takes_is_given_back(weir):
    """Bodies of requests that are answered without them, there before the answer and behind it: the connection's window is
    whole again."""
    gate = weir("client: {http2: {connection_window: 65535}}\nroutes: [{match: /*, respond: 200 hello}]")
    with connect(gate) as c:
        for _ in range(40):
            stream = c.next_stream
            c.next_stream += 2
            head = [(":method", "POST"), (":scheme", "http"), (":authority", "test"), (":path", "/")]
            c.send(c.headers(stream, head) + http2.frame(http2.DATA, 0, stream, b"b" * 10_000))
            assert c.response(stream).text == "hello"
            c.send_body(stream, b"b" * 10_000, end=False)
        assert c.get().text == "hello" and c.goaway is None


def test_urgent_answers_come_first(weir):
    """RFC 9218: what is ready at the same time goes out by urgency; a frame can change it."""
    size = 300_000
    gate = weir(f"routes: [{{match: /*, respond: {{text: '{'x' * size}'}}}}]")
    with connect(gate, auto_window=False, window=size) as c:
        fill = c.start()  # the window of the connection is used up
        c.read_until(lambda: len(c.message(fill).body) == 65535)
        later = c.start(fields=[("priority", "u=5")])
        moved = c.start(fields=[("priority", "u=6")])
        first = c.start(fields=[("priority", "u=1")])
        c.read_until(lambda: all(c.message(s).headed for s in (later, moved, first)))
        c.send(http2.frame(http2.PRIORITY_UPDATE, 0, 0, moved.to_bytes(4, "big") + b"u=0"))
        c.data_order.clear()
        c.send(http2.window_update(0, 4 * size))
        for stream in (later, moved, first):
            assert len(c.response(stream).body) == size
        last = {s: max(i for i, x in enumerate(c.data_order) if x == s) for s in (later, moved, first)}
        assert last[moved] < last[first] < last[later]


def test_drained_with_two_goaways(weir, scripted):
    hold = threading.Event()

    def serve(peer):
        while peer.read_request():
            hold.wait(20)
            peer.send(answer("finished"))

    gate = weir(one_service(scripted(serve)))
    with connect(gate) as c:
        stream = c.start()
        wait_until(lambda: gate.metric("weir_http2_requests_total") == 1, 20)
        gate.signal(signal.SIGTERM)
        c.read_until(lambda: len(c.goaways) == 2)
        assert c.goaways == [(2**31 - 1, http2.NO_ERROR), (stream, http2.NO_ERROR)]
        hold.set()
        assert c.response(stream).text == "finished"
        c.read_to_end()
        assert c.closed
    gate.wait()


def test_an_idle_connection_is_closed_in_good_order(weir, scripted):
    gate = weir(one_service(scripted(answer("here")), root="client: {idle_timeout: 2s}"))
    with connect(gate) as c:
        assert c.get().text == "here"
        c.read_to_end()
        assert c.goaway == (1, http2.NO_ERROR)


def test_requests_max(weir, scripted):
    gate = weir(one_service(scripted(answer("here")), root="client: {requests_max: 3}"))
    with connect(gate) as c:
        for _ in range(3):
            assert c.get().text == "here"
        c.read_to_end()
        assert c.goaway == (5, http2.NO_ERROR)


def test_off(weir, scripted):
    gate = weir(one_service(scripted(answer("here")), root="client: {http2: off}"))
    assert gate.raw(http2.PREFACE).startswith(b"HTTP/1.1 505 ")


def test_a_listener_says_it_itself(weir, scripted):
    """Before what the clients' settings say, whatever address it has; new connections hear of a reload."""
    ports = [free_port() for _ in range(4)]
    server = scripted(answer("here"))

    def conf(*said):
        at = [f"127.0.0.1:{p}" for p in ports[:3]] + [f":{ports[3]}"]
        listen = ", ".join(f'{{address: "{a}"{s and ", http2: " + s}}}' for a, s in zip(at, said))
        return one_service(server, root=f"listen: [{listen}]\nclient: {{http2: {{streams_max: 9}}}}")

    def spoken():
        for port in ports:
            with Client(port) as one:
                one.send(http2.PREFACE)
                one.more()
                if one.buffer.startswith(b"HTTP/1.1 505 "):
                    yield None
                    continue
            with http2.Client(port) as c:
                assert c.get().text == "here"
                yield c.settings[http2.MAX_STREAMS]

    gate = weir(conf("", "{streams_max: 7}", "off", "{streams_max: 5}"))
    assert list(spoken()) == [9, 7, None, 5]
    gate.reload(conf("off", "on", "", ""))
    assert list(spoken()) == [None, 100, 9, 9]


def test_a_listener_that_takes_no_http(tmp_path, weir_command):
    text = "listen: [{address: ':1', tcp: s%s}]\nservices: {s: {servers: ['127.0.0.1:1']}}\n"
    conf = tmp_path / "weir.yaml"
    conf.write_text(text % ", http2: {streams_max: 7}")
    checked = weir_command("check", "-c", conf)
    assert checked.returncode and "it is for a listener of HTTP" in checked.stdout + checked.stderr
    conf.write_text(text % "")
    assert weir_command("check", "-c", conf).returncode == 0


def test_an_answer_cut_by_the_server_is_reset(weir, scripted):
    gate = weir(one_service(scripted([b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 500])))
    with connect(gate) as c:
        m = c.get()
        assert (m.body, m.reset) == (b"x" * 500, http2.INTERNAL_ERROR)


def test_filters_do_not_learn_of_it(weir, scripted):
    gate = weir(f"""
        routes:
          - {{match: /limited, rate_limit: 1/h per ip, service: shop}}
          - {{match: /old, redirect: https}}
          - {{match: /zip, compress: on, respond: {{text: "{'long ' * 1000}"}}}}
        services: {{shop: {{servers: ["{scripted(answer("here")).address}"]}}}}
    """)
    with connect(gate) as c:
        assert [c.get("/limited").status for _ in range(3)] == [200, 429, 429]
        assert c.get("/old").get("location") == "https://test/old"
        assert c.get("/zip", [("accept-encoding", "gzip")]).get("content-encoding") == "gzip"
        assert c.get("/none").status == 404


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
def test_curl(weir, origin):
    gate = weir(one_service(origin()))
    done = subprocess.run(["curl", "-s", "--http2-prior-knowledge", "-d", "hello", "-w", " %{http_version}",
                           f"{gate.url}/echo"], capture_output=True, text=True, timeout=30)
    assert '"body": "hello"' in done.stdout and done.stdout.endswith(" 2")


@pytest.mark.skipif(not shutil.which("h2load"), reason="there is no h2load (nghttp2-client)")
def test_h2load(weir, origin):
    gate = weir(one_service(origin()))
    done = subprocess.run(["h2load", "-n", "3000", "-c", "8", "-m", "32", f"{gate.url}/bytes/100"],
                          capture_output=True, text=True, timeout=60)
    assert "3000 succeeded, 0 failed, 0 errored" in done.stdout


def test_both_protocols_on_one_port(weir, scripted):
    gate = weir(one_service(scripted(answer("here"))))
    with Client(gate.port) as one, connect(gate) as two:
        for _ in range(3):
            assert one.get().text == two.get().text == "here"
        one.send(http2.PREFACE)  # too late: this connection speaks HTTP/1.1
        assert one.read_response().status == 505
