"""HTTP/1 through the gate, on both loops: what each side sees of what the other one sent."""
import contextlib
import json
import re
import socket
import threading
import time

import pytest

from lib.client import Client, Closed, parse_all
from lib.conf import one_service
from lib.process import wait_until
from lib.servers import answer

pytestmark = pytest.mark.usefixtures("each_loop")
MIB = 1 << 20


def sent_fields(request):
    """[(lower-case name, value)] of a raw request"""
    lines = request.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    return [(n.decode().lower(), v.strip().decode()) for n, _, v in (line.partition(b":") for line in lines)]


def values(request, name):
    return [v for n, v in sent_fields(request) if n == name]


def unchunk(text):
    parts, at = [], 0
    while True:
        end = text.index(b"\r\n", at)
        size = int(text[at:end], 16)
        if size == 0:
            return b"".join(parts)
        parts.append(text[end + 2:end + 2 + size])
        at = end + 4 + size


def test_connections_are_kept_on_both_sides(weir, scripted):
    server = scripted(answer("hello"))
    gate = weir(one_service(server, root="workers: 1"))
    with gate.connect() as client:
        for n in range(20):
            assert client.get(f"/{n}").text == "hello"
    with gate.connect() as client:
        assert client.get("/other").text == "hello"
    assert server.connections == 1
    assert [r.split()[1] for r in server.requests] == [b"/%d" % n for n in range(20)] + [b"/other"]


def test_close_is_obeyed(weir, scripted):
    server = scripted(answer())
    gate = weir(one_service(server))
    with gate.connect() as client:
        response = client.get("/", {"Connection": "close"})
        assert response.get("connection").lower() == "close"
        assert client.is_closed()
    assert values(server.requests[0], "connection") == []


def test_server_closes_after_each_answer(weir, scripted):
    server = scripted([answer("one", headers=[("Connection", "close")])])
    gate = weir(one_service(server))
    with gate.connect() as client:
        for _ in range(5):
            response = client.get()
            assert response.text == "one" and response.get("connection") is None
    assert server.connections == 5


def test_upstream_close_asks_once_a_connection(weir, scripted):
    server = scripted(answer())
    gate = weir(one_service(server, service="upstream: close"))
    with gate.connect() as client:
        for _ in range(3):
            client.get()
    assert server.connections == 3
    assert values(server.requests[0], "connection") == ["close"]


def test_http_1_0_client(weir, scripted):
    server = scripted(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    gate = weir(one_service(server))
    head, _, body = gate.raw(b"GET /old HTTP/1.0\r\n\r\n").partition(b"\r\n\r\n")
    assert body == b"hello" and b"chunked" not in head.lower() and b"content-length" not in head.lower()
    assert b"\r\nconnection: close" in head.lower()
    assert server.requests[0].startswith(b"GET /old HTTP/1.1\r\n")
    assert values(server.requests[0], "via") == ["1.0 weir"]


def test_http_1_0_keep_alive(weir, scripted):
    gate = weir(one_service(scripted(answer("hello"))))
    with gate.connect() as client:
        for _ in range(3):
            client.send(b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
            response = client.read_response()
            assert response.text == "hello" and response.get("connection").lower() == "keep-alive"


def test_http_1_0_server_answers_up_to_its_close(weir, scripted):
    def serve(peer):
        peer.read_request()
        peer.send(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 100000)

    gate = weir(one_service(scripted(serve)))
    with gate.connect() as client:
        for _ in range(2):
            response = client.get()
            assert response.body == b"x" * 100000
            assert response.get("transfer-encoding") == "chunked"


def test_pipelined_requests_are_answered_in_order(weir, scripted):
    def serve(peer):
        while request := peer.read_request():
            path = request.split()[1]
            if path.endswith(b"3"):
                time.sleep(0.05)
            peer.send(answer(path))

    gate = weir(one_service(scripted(serve), scripted(serve)))
    with gate.connect() as client:
        client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(100)))
        for n in range(100):
            assert client.read_response().text == f"/{n}"
    with gate.connect() as client:  # with bodies between
        client.send(b"".join(b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (n, n, b"b" * n)
                             for n in range(50)))
        for n in range(50):
            assert client.read_response().text == f"/{n}"


def test_pipelined_behind_a_close_is_not_served(weir, scripted):
    server = scripted(answer())
    gate = weir(one_service(server))
    one = b"GET /%d HTTP/1.1\r\nHost: a\r\n%s\r\n"
    data = gate.raw(one % (1, b"") + one % (2, b"Connection: close\r\n") + one % (3, b""))
    assert len(parse_all(data, ["GET", "GET"])) == 2
    assert len(server.requests) == 2


def test_head(weir, origin, scripted):
    gate = weir(one_service(origin()))
    with gate.connect() as client:
        response = client.request("HEAD", "/bytes/12345")
        assert response.get("content-length") == "12345" and response.body == b""
        response = client.request("HEAD", "/chunked/100/10")
        assert response.status == 200 and response.body == b""
        assert client.get("/bytes/10").status == 200  # nothing was left over


@pytest.mark.parametrize("status", [204, 304])
def test_bodiless_statuses(weir, scripted, status):
    gate = weir(one_service(scripted(f"HTTP/1.1 {status} X\r\nETag: \"a\"\r\n\r\n".encode())))
    with gate.connect() as client:
        for _ in range(3):
            response = client.get()
            assert response.status == status and response.get("etag") == '"a"'
            assert response.get("transfer-encoding") is None
            if status == 204:
                assert response.get("content-length") is None


def test_304_keeps_the_length_it_speaks_of(weir, scripted):
    gate = weir(one_service(scripted(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n")))
    with gate.connect() as client:
        for _ in range(2):
            assert client.get().get("content-length") == "500"


def test_interim_answers_are_relayed(weir, scripted):
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
    gate = weir(one_service(scripted(b"HTTP/1.1 102 Processing\r\n\r\n" + early + early + answer("done"))))
    with gate.connect() as client:
        for _ in range(2):
            interim = []
            client.send_request()
            assert client.read_response(interim=interim).text == "done"
            assert [r.status for r in interim] == [102, 103, 103]
            assert interim[1].get("link") == "</a.css>; rel=preload"
    data = gate.raw(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
    assert data.startswith(b"HTTP/1.1 200")  # a 1.0 client gets none


def test_endless_interim_answers_end_in_502(weir, scripted):
    def serve(peer):
        peer.read_request()
        while True:
            peer.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10)

    gate = weir(one_service(scripted(serve)))
    assert gate.get().status == 502


EXPECT = {"Expect": "100-continue", "Content-Length": "5"}


def test_expect_server_says_100(weir, scripted):
    def serve(peer):
        head = peer.read_until(b"\r\n\r\n")
        assert b"Expect: 100-continue" in head
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        peer.send(answer(peer.read_exactly(5)))

    gate = weir(one_service(scripted(serve)))
    with gate.connect() as client:
        client.send_request("POST", "/", EXPECT)
        assert client.read_head().status == 100
        client.send(b"hello")
        assert client.read_response().text == "hello"


def test_expect_server_answers_without_the_body(weir, scripted):
    def serve(peer):
        peer.read_until(b"\r\n\r\n")
        peer.send(answer("no", "403 Forbidden"))

    gate = weir(one_service(scripted(serve)))
    with gate.connect() as client:
        client.send_request("POST", "/", EXPECT)
        response = client.read_response()
        assert response.status == 403
        assert response.get("connection").lower() == "close"
        assert client.is_closed()


def test_expect_silent_server_gets_the_body_after_a_moment(weir, scripted):
    gate = weir(one_service(scripted(answer("ok"))))
    with gate.connect() as client:
        client.send_request("POST", "/", EXPECT)
        assert client.read_head().status == 100
        client.send(b"hello")
        assert client.read_response().text == "ok"


def test_expect_client_does_not_wait(weir, scripted):
    def serve(peer):
        peer.read_until(b"\r\n\r\n")
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        peer.send(answer(peer.read_exactly(5)))

    gate = weir(one_service(scripted(serve)))
    with gate.connect() as client:
        client.send_request("POST", "/", EXPECT, b"hello")
        assert client.read_response().text == "hello"


def test_chunked_both_ways_with_trailers(weir, scripted):
    def serve(peer):
        while request := peer.read_request():
            assert values(request, "transfer-encoding") == ["chunked"]
            assert request.endswith(b"0\r\nX-Sum: 42\r\n\r\n")
            body = unchunk(request.partition(b"\r\n\r\n")[2])
            peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Back\r\n\r\n"
                      b"%x;ext=1\r\n%s\r\n0\r\nX-Back: yes\r\n\r\n" % (len(body), body))

    gate = weir(one_service(scripted(serve)))
    with gate.connect() as client:
        for _ in range(3):
            response = client.request("POST", "/", {"Transfer-Encoding": "chunked", "Trailer": "X-Sum"},
                                      b"3;a=b\r\nabc\r\n4\r\ndefg\r\n0\r\nX-Sum: 42\r\n\r\n")
            assert response.body == b"abcdefg"
            assert response.trailers == [("X-Back", "yes")]


def test_one_byte_pieces_from_the_client(weir, origin):
    gate = weir(one_service(origin()))
    request = (b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
               b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nT: 1\r\n\r\n"
               b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbye!")
    with gate.connect() as client:
        for n in range(len(request)):
            client.send(request[n:n + 1])
            if n % 8 == 0:
                time.sleep(0.001)
        assert json.loads(client.read_response().text)["body"] == "hello world"
        assert json.loads(client.read_response().text)["body"] == "bye!"


def test_one_byte_pieces_from_the_server(weir, scripted):
    text = (b"HTTP/1.1 103 Early Hints\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\nT: 1\r\n\r\n")

    def serve(peer):
        while peer.read_request():
            for n in range(len(text)):
                peer.send(text[n:n + 1])
                if n % 8 == 0:
                    time.sleep(0.001)

    gate = weir(one_service(scripted(serve)))
    with gate.connect() as client:
        for _ in range(2):
            interim = []
            client.send_request()
            response = client.read_response(interim=interim)
            assert (response.text, response.trailers, len(interim)) == ("hello!", [("T", "1")], 1)


def pattern(size):
    block = bytes((n * 7 + n // 251) % 256 for n in range(65521))
    return (block * (size // len(block) + 1))[:size]


def chunks(data, piece):
    return b"".join(b"%x\r\n%s\r\n" % (len(data[n:n + piece]), data[n:n + piece])
                    for n in range(0, len(data), piece)) + b"0\r\n\r\n"


@pytest.mark.parametrize("chunked", [False, True])
def test_large_uploads(weir, scripted, chunked):
    data = pattern(20 * MIB)
    got = []

    def serve(peer):
        while request := peer.read_request():
            head, _, body = request.partition(b"\r\n\r\n")
            got.append(body)
            peer.send(answer(str(len(body))))

    gate = weir(one_service(scripted(serve)))
    with gate.connect(timeout=60) as client:
        if chunked:
            client.send_request("POST", "/", {"Transfer-Encoding": "chunked"}, chunks(data, 70000))
        else:
            client.send_request("POST", "/", body=data)
        assert client.read_response().status == 200
        assert client.get("/again").status == 200
    assert (unchunk(got[0]) if chunked else got[0]) == data


@pytest.mark.parametrize("path", ["/bytes/20971520", "/chunked/20971520/100000", "/stream/20971520"])
def test_large_downloads(weir, origin, path):
    server = origin()
    gate = weir(one_service(server))
    with Client(server.port, timeout=60) as direct:
        wanted = direct.get(path).body
    assert len(wanted) == 20 * MIB
    with gate.connect(timeout=60) as client:
        for _ in range(2):
            assert client.get(path).body == wanted


def test_early_answer_while_the_upload_goes_on(weir, scripted):
    def serve(peer):
        peer.read_until(b"\r\n\r\n")
        peer.read_exactly(1000)
        peer.send(answer("enough", "413 Content Too Large", [("Connection", "close")]))
        peer.stopping.wait(0.2)

    gate = weir(one_service(scripted(serve)))
    with gate.connect(timeout=20) as client:
        client.send_request("POST", "/", {"Content-Length": str(100 * MIB)})

        def upload():
            try:
                for _ in range(1600):
                    client.send(b"x" * 65536)
            except (Closed, OSError):
                pass

        sending = threading.Thread(target=upload, daemon=True)
        sending.start()
        response = client.read_response()
        assert response.status == 413 and response.text == "enough"
        with contextlib.suppress(OSError):  # weir may have closed it already
            client.socket.shutdown(socket.SHUT_RDWR)
        sending.join(10)
    assert not sending.is_alive()
    assert gate.request("POST", "/", body=b"x" * 1000).status == 413


def test_client_leaves_in_the_middle_of_its_upload(weir, scripted):
    begun, seen = threading.Semaphore(0), []

    def serve(peer):
        try:
            peer.read_until(b"\r\n\r\n")
            begun.release()
            peer.read_exactly(100000)
        except Closed as e:
            seen.append(len(e.got))

    gate = weir(one_service(scripted(serve)))
    with gate.connect() as client:
        client.send_request("POST", "/", {"Content-Length": "100000"}, b"x" * 5000)
        assert begun.acquire(timeout=20)
    with gate.connect() as client:
        client.send_request("POST", "/", {"Transfer-Encoding": "chunked"}, b"5\r\nhello\r\n")
        assert begun.acquire(timeout=20)
        client.reset()
    wait_until(lambda: len(seen) == 2, 20, f"the server sees both cut: {seen}")
    assert seen[0] < 100000


def test_client_leaves_in_the_middle_of_its_download(weir, origin):
    server = origin()
    gate = weir(one_service(server))
    for leave in ("close", "reset"):
        client = gate.connect()
        client.send_request("GET", "/stream/1000000000")
        client.read_exactly(100000)
        getattr(client, leave)()
    with Client(server.port) as direct:
        wait_until(lambda: json.loads(direct.get("/_count").text)["connections_open"] == 1, 10,
                   "the server is told")
    assert gate.get("/").status == 200


@pytest.mark.parametrize("head", [b"Content-Length: 1000\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_an_answer_cut_by_the_server_is_cut_for_the_client(weir, scripted, head):
    body = b"x" * 500 if b"Length" in head else b"1f4\r\n" + b"x" * 500 + b"\r\n"
    gate = weir(one_service(scripted([b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + body])))
    with gate.connect() as client:
        client.send_request()
        with pytest.raises(Closed):
            client.read_response()
    data = gate.raw(b"GET / HTTP/1.0\r\n\r\n")  # even where the end is the only frame, it must not look whole
    assert len(data) < 800


def test_an_answer_cut_for_a_1_0_client_ends_in_a_reset(weir, scripted):
    def serve(peer):
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1f4\r\n" + b"x" * 500 + b"\r\n")
        time.sleep(0.1)

    gate = weir(one_service(scripted(serve)))
    with gate.connect() as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            while client.socket.recv(65536):
                pass


@pytest.mark.parametrize("bad", [
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    b"HTTP/1.1 20 OK\r\n\r\n",
    b"ICY 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70000 + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    b"",
])
def test_malformed_answers_become_502(weir, scripted, bad):
    gate = weir(one_service(scripted([bad])))
    with gate.connect() as client:
        assert client.get().status == 502
        assert client.get().status == 502  # and the client's connection goes on


def test_bytes_behind_an_answer_belong_to_nobody(weir, scripted):
    """A server that sends more than it was asked for: the surplus must not become the next request's answer."""
    server = scripted(answer("mine") + answer("smuggled"))
    gate = weir(one_service(server, root="workers: 1"))
    with gate.connect() as client:
        for _ in range(5):
            assert client.get().text == "mine"
    assert server.connections == 5


def test_a_server_that_speaks_unasked_is_not_used_again(weir, scripted):
    def serve(peer):
        while peer.read_request():
            peer.send(answer("mine"))
            time.sleep(0.05)
            peer.send(answer("smuggled"))

    gate = weir(one_service(scripted(serve), root="workers: 1"))
    with gate.connect() as client:
        for _ in range(3):
            assert client.get().text == "mine"
            time.sleep(0.15)


def test_upgrade_makes_a_tunnel(weir, scripted):
    def serve(peer):
        head = peer.read_until(b"\r\n\r\n")
        assert re.search(rb"\r\nConnection: upgrade\r\n", head, re.I) and b"\r\nUpgrade: echo\r\n" in head
        peer.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nfirst")
        while True:
            peer.more()
            data, peer.buffer = peer.buffer, b""
            peer.send(data.upper())

    gate = weir(one_service(scripted(serve)))
    with gate.connect(timeout=20) as client:
        client.send_request("GET", "/", {"Connection": "Upgrade", "Upgrade": "echo"})
        response = client.read_response()
        assert response.status == 101 and response.get("upgrade") == "echo"
        assert response.get("connection").lower() == "upgrade"
        assert client.read_exactly(5) == b"first"
        for text in (b"hello", b"x" * 300000, b"bye"):
            client.send(text)
            assert client.read_exactly(len(text)) == text.upper()
        client.finish()
        assert client.read_all() == b""
    wait_until(lambda: gate.metric("weir_worker_connections") <= 1, 10, "all is closed")


def test_upgrade_that_the_server_does_not_want(weir, scripted):
    gate = weir(one_service(scripted(answer("plain"))))
    with gate.connect() as client:
        for _ in range(2):
            assert client.get("/", {"Connection": "Upgrade", "Upgrade": "h2c"}).text == "plain"


def test_a_client_that_half_closes_gets_its_answer(weir, origin):
    gate = weir(one_service(origin()))
    with gate.connect() as client:
        client.send_request("GET", "/delay/200")
        client.finish()
        assert client.read_response().status == 200


def test_empty_bodies(weir, origin):
    gate = weir(one_service(origin()))
    with gate.connect() as client:
        assert json.loads(client.request("POST", "/echo", body=b"").text)["body"] == ""
        chunked = client.request("POST", "/echo", {"Transfer-Encoding": "chunked"}, b"0\r\n\r\n")
        assert json.loads(chunked.text)["body"] == ""
        assert client.get("/bytes/0").body == b""
        assert client.get("/chunked/0/5").body == b""
        assert client.get("/bytes/3").status == 200


def test_real_nginx_behind(weir, nginx):
    server = nginx("location = /x { return 200 'from nginx'; }")
    data = pattern(3 * MIB)
    (server.root / "file").write_bytes(data)
    gate = weir(one_service(server))
    with gate.connect() as client:
        assert client.get("/x").text == "from nginx"
        assert client.get("/file").body == data
        part = client.get("/file", {"Range": "bytes=1000-1999"})
        assert part.status == 206 and part.body == data[1000:2000]
        tag = client.get("/file").get("etag")
        assert client.get("/file", {"If-None-Match": tag}).status == 304
        assert client.request("HEAD", "/file").get("content-length") == str(len(data))
        assert client.get("/none").status == 404
