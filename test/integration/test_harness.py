"""The tools that the other tests trust."""
import pytest

from lib.client import Client, Closed, Malformed, parse_all, raw
from lib.ports import free_port, listening
from lib.servers import answer


def test_client_and_scripted_server_agree(scripted):
    server = scripted(answer("hello", headers=[("X-A", "1")]))
    with Client(server.port) as client:
        for path in ("/a", "/b"):
            response = client.get(path)
            assert (response.status, response.text, response.get("x-a")) == (200, "hello", "1")
        client.request("POST", "/c", body=b"12345")
        client.request("POST", "/d", {"Transfer-Encoding": "chunked"}, b"3\r\nabc\r\n0\r\nT: 1\r\n\r\n")
    assert [r.split()[1] for r in server.requests] == [b"/a", b"/b", b"/c", b"/d"]
    assert server.requests[2].endswith(b"\r\n\r\n12345")
    assert server.requests[3].endswith(b"0\r\nT: 1\r\n\r\n")
    assert server.connections == 1


@pytest.mark.parametrize("data", [
    b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na",
    b"HTTP/1.1 200 OK\r\nX : 1\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
])
def test_client_refuses_malformed_answers(data):
    with pytest.raises(Malformed):
        parse_all(data)


def test_client_says_when_an_answer_is_cut():
    with pytest.raises(Closed) as e:
        parse_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc")
    assert e.value.got == b"abc"


def test_parse_all_reads_pipelined_answers():
    data = (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"
            b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nbc\r\n0\r\nT: 1\r\n\r\n")
    a, b, c = parse_all(data, ["GET", "HEAD", "GET"])
    assert (a.body, b.body, c.body, c.trailers) == (b"a", b"", b"bc", [("T", "1")])


def test_a_stopped_server_refuses_and_comes_back(scripted):
    server = scripted(answer())
    assert listening(server.port)
    server.stop()
    assert not listening(server.port)
    with pytest.raises(ConnectionRefusedError):
        Client(server.port)
    server.start()
    with Client(server.port) as client:
        assert client.get().status == 200


def test_load_counts_failures(scripted, load):
    def bad_every_tenth(peer):
        for n in range(1, 1000000):
            if not peer.read_request():
                return
            peer.send(answer("wrong" if n % 10 == 0 else "ok"))

    running = load(scripted(bad_every_tenth).port, connections=2, check=lambda r: r.body == b"ok")
    running.wait_done(100)
    running.stop()
    assert abs(len(running.failures) - running.done / 10) <= 2
    with pytest.raises(AssertionError):
        running.assert_clean()


def test_load_opens_idle_connections_again(scripted, load):
    running = load(scripted([answer(), answer()]).port, connections=2)
    running.wait_done(50)
    running.assert_clean()
    assert running.reopened > 10


def test_load_sees_cut_answers(scripted, load):
    running = load(scripted([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"]).port, connections=1)
    with pytest.raises(AssertionError):
        running.wait_done(1, seconds=0.5)
    running.stop()
    assert running.failures and running.done == 0


def test_raw_returns_all_until_close(scripted):
    server = scripted([answer("x")])
    assert raw(server.port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").endswith(b"\r\n\r\nx")


def test_ports_differ():
    assert len({free_port() for _ in range(50)}) == 50


def test_nginx_serves_its_root(nginx):
    server = nginx("location = /x { return 200 'from nginx'; }")
    (server.root / "file").write_text("content")
    with Client(server.port) as client:
        assert client.get("/x").text == "from nginx"
        assert client.get("/file").text == "content"
