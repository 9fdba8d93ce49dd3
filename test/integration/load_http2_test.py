"""weir load over HTTP/2: what it counts, what it does when the server resets, refuses, ends or says nothing."""
import contextlib
import json
import re
import socket
import ssl
import threading

import pytest

from lib import http2
from lib import weir as weir_module
from lib.conf import one_service
from lib.ports import free_port, listening
from lib.process import Process, wait_until
from lib.tls import Authority


@pytest.fixture
def load(weir_command):
    """load("-n", 10, url) -> (exit code, the JSON result)"""
    def run(*args):
        done = weir_command("load", "--http2", "--quiet", "--json", "-", *args, timeout=60)
        assert not weir_module.BUGS.search(done.stderr), done.stderr
        return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr
    return run


@pytest.fixture
def server():
    """server(serve, values) -> lib.http2.Server"""
    ours = []

    def start(serve, values=None):
        ours.append(http2.Server(serve, values=values))
        return ours[-1]
    yield start
    for s in ours:
        s.stop()
    assert not [e for s in ours for e in s.errors], [e for s in ours for e in s.errors]


def each_request(what):
    """A script: what(connection, stream, message, number) for each request of the connection."""
    def serve(c):
        number = 0
        while True:
            stream, m = c.next_request()
            if m.reset is None:
                what(c, stream, m, number)
                number += 1
    return serve


def test_counts_are_exact(load, weir, origin, each_loop):
    gate = weir(one_service(origin()))
    for path, size in (("/", 0), ("/bytes/100000", 100000), ("/status/204", 0), ("/headers/60", 0)):
        code, result = load("-n", 500, "-c", 7, "-m", 5, "-t", 2, "--loop", each_loop, f"{gate.url}{path}")
        total = result["total"]
        assert code == 0 and total["sent"] == total["answers"] == total["good"] == 500 and total["errors"] == {}
        assert sum(total["statuses"].values()) == 500 and total["latency_ns"]["service"]["count"] == 500
        assert result["http2"] and 500 * size < total["bytes_in"] < 500 * (size * 1.01 + 8000) and result["connects"] == 7


def test_a_server_that_ends_its_connections(load, nginx, each_loop):
    """nginx ends each after 20 requests (GOAWAY) and does not look at those above: they are asked again, and none is
    counted, or answered, twice."""
    port = free_port()
    server = nginx(f'listen 127.0.0.1:{port} http2; keepalive_requests 20; location / {{ return 200 "hello"; }}')
    code, result = load("-n", 1000, "-c", 4, "-m", 16, "--loop", each_loop, f"http://127.0.0.1:{port}/")
    total = result["total"]
    assert code == 0 and total["errors"] == {} and total["sent"] == total["good"] == 1000
    assert result["connects"] >= 1000 / 20
    wait_until(lambda: (server.root.parent / "access.log").read_text().count("HTTP/2.0") == 1000, 20, "1000 lines")


def test_the_request_is_as_asked_for(load, server):
    def see(c, stream, m, _):
        seen.append((dict(m.fields), m.body))
        c.answer(stream, b"x")
    seen = []
    s = server(each_request(see))
    code, result = load("-n", 2, "-c", 1, "-X", "PUT", "-H", "X-A: b c", "-H", "Host: shop.example", "-H", "Connection: x", "--body",
                        "hello", f"http://{s.address}/a/b?c=d")
    assert code == 0 and result["total"]["good"] == 2
    assert seen == [({":method": "PUT", ":scheme": "http", ":authority": "shop.example", ":path": "/a/b?c=d", "x-a": "b c",
                      "content-length": "5"}, b"hello")] * 2


def test_large_bodies_go_out_whole(load, weir, origin, tmp_path, each_loop):
    gate = weir(one_service(origin()))
    (tmp_path / "body").write_bytes(b"0123456789abcdef" * 50000)
    for args in ([], ["-r", 1000, "-d", "20s"]):
        code, result = load("-n", 20, "-c", 2, "-m", 4, "--body", f"@{tmp_path}/body", "--loop", each_loop, *args, f"{gate.url}/echo")
        assert code == 0 and result["total"]["good"] == 20 and result["total"]["errors"] == {}
        assert result["total"]["bytes_out"] > 20 * 800000 and result["total"]["bytes_in"] > 20 * 800000


def test_no_more_streams_than_the_server_takes(load, server):
    def hold(c, stream, _, number):
        """The first is answered at once: the limit is known then. From there on two at a time."""
        c.most = max(getattr(c, "most", 0), len(c.streams) - getattr(c, "done", 0))
        held.append(stream)
        if number == 0 or len(held) == 2 or number == 99:
            c.done = number + 1
            while held:
                c.answer(held.pop(0), b"x")
    held = []
    s = server(each_request(hold), {http2.MAX_STREAMS: 2})
    code, result = load("-n", 100, "-c", 1, "-m", 50, f"http://{s.address}/")
    assert code == 0 and result["total"]["good"] == 100 and result["connects"] == 1
    assert s.connections[0].most == 2


@pytest.mark.parametrize("what,kind", [
    (lambda c, stream: c.send(http2.reset_frame(stream)), "closed"),
    (lambda c, stream: c.answer(stream, status="503"), "status"),
    (lambda c, stream: c.send(c.headers(stream, [("x-a", "no status")], end=True)), "protocol"),
    (lambda c, stream: c.send(http2.frame(http2.DATA, 0, stream, b"before any head")), "protocol"),
    (lambda c, stream: c.close(), "closed"),
    (lambda c, stream: c.send(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10), "protocol"),
    # never looked at: asked once more on another connection, and no oftener
    (lambda c, stream: c.send(http2.frame(http2.GOAWAY, 0, 0, bytes(8))), "closed"),
])
def test_errors_by_kind(load, server, what, kind):
    s = server(each_request(lambda c, stream, m, number: what(c, stream)))
    code, result = load("-n", 6, "-c", 2, f"http://{s.address}/")
    total = result["total"]
    assert code == 0 and total["errors"] == {kind: 6} and total["good"] == 0 and total["sent"] == 6


def test_one_stream_that_is_not_answered_holds_up_no_other(load, server):
    s = server(each_request(lambda c, stream, m, number: number % 10 and c.answer(stream, b"x")))
    code, result = load("-n", 30, "-c", 1, "-m", 4, "--timeout", "4s", "-d", "30s", f"http://{s.address}/")
    total = result["total"]
    assert code == 0 and total["errors"] == {"timeout": 3} and total["good"] == 27 and result["connects"] == 1
    assert total["latency_ns"]["service"]["count"] == 30 and total["latency_ns"]["service"]["max"] >= 4 * 10**9
    resets = [m.reset for m in s.connections[0].streams.values() if m.reset is not None]
    assert set(resets) <= {http2.CANCEL}


def test_a_server_that_says_nothing_gets_another_connection(load):
    """It takes the connection and not a byte is ever answered: not even its SETTINGS."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = []
        threading.Thread(target=lambda: [taken.append(listener.accept()) for _ in range(3)], daemon=True).start()
        code, result = load("-n", 3, "-c", 1, "-m", 4, "--timeout", "300ms", f"http://127.0.0.1:{listener.getsockname()[1]}/")
        assert code == 0 and result["total"]["errors"] == {"timeout": 3} and result["connects"] == 3


def test_open_loop(load, weir, origin, each_loop):
    """400 a second of 100 ms each: some 40 on their way, on so few connections that each has many streams."""
    gate = weir(one_service(origin()))
    code, result = load("-r", 400, "-d", "1s", "-c", 2, "-m", 100, "--loop", each_loop, f"{gate.url}/delay/100")
    total = result["total"]
    assert code == 0 and result["open_loop"] and total["tried"] == 400 and set(total["errors"]) <= {"unsent"}
    service, response = (total["latency_ns"][k] for k in ("service", "response"))
    assert service["count"] == response["count"] == total["good"] and result["connects"] <= 2
    assert service["min"] >= 98 * 10**6 and response["p50"] >= service["min"]


def test_a_scenario(load, server, tmp_path, each_loop):
    def shop(c, stream, m, _):
        path = m.get(":path")
        if path == "/login":
            c.answer(stream, b'{"id": 7}', fields=[("set-cookie", "sid=abc"), ("x-token", "t1")])
        elif path == "/buy/7" and m.get("cookie") == "sid=abc" and m.get("x-token") == "t1" and m.body == b"one":
            c.send(c.headers(stream, [(":status", "103"), ("link", "</a>")]))
            c.answer(stream, b"sold " * 30000, status="201", trailers=[("x-sum", "1")])
        else:
            c.answer(stream, b"no", status="400")
    s = server(each_request(shop))
    (tmp_path / "s.yaml").write_text(f"""
        target: http://{s.address}
        users: 4
        http2: on
        kinds:
          a:
            steps:
              - {{post: /login, take: {{id: json /id, token: header X-Token}}}}
              - {{post: "/buy/${{id}}", body: one, fields: {{X-Token: "${{token}}"}},
                  expect: {{status: 201, contains: sold sold}}}}
        """)
    code, result = load("-n", 40, "--loop", each_loop, tmp_path / "s.yaml")
    assert code == 0 and result["total"]["errors"] == {} and result["total"]["good"] == 80
    assert 1 <= result["connects"] <= 4  # kept by each user
    assert all(m.get(":scheme") == "http" for c in s.connections for m in c.streams.values())


def test_users_find_another_connection_when_theirs_ends(load, nginx, tmp_path):
    port = free_port()
    nginx(f'listen 127.0.0.1:{port} http2; keepalive_requests 3; location / {{ return 200 "hello"; }}')
    (tmp_path / "s.yaml").write_text(f"{{target: 'http://127.0.0.1:{port}', users: 2, kinds: {{a: {{steps: [GET /, GET /b]}}}}}}")
    code, result = load("-n", 30, tmp_path / "s.yaml")
    assert code == 0 and result["total"]["errors"] == {} and result["total"]["good"] == 60 and result["connects"] >= 20


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


def test_https(load, weir, origin, authority, each_loop, tmp_path):
    port, server = free_port(), origin()
    weir(one_service(server, root=f'listen: {{address: "127.0.0.1:{port}", tls: "{authority.issue("localhost")}"}}'))
    url = f"https://localhost:{port}"
    code, result = load("-n", 200, "-c", 4, "-m", 8, "--ca", authority.certificate, "--loop", each_loop, f"{url}/bytes/1000")
    assert code == 0 and result["total"]["errors"] == {} and result["total"]["good"] == 200 and result["connects"] == 4
    (tmp_path / "s.yaml").write_text(f"{{target: '{url}', users: 2, kinds: {{a: {{steps: [GET /]}}}}}}")
    code, result = load("-n", 20, "--ca", authority.certificate, "--loop", each_loop, tmp_path / "s.yaml")
    assert code == 0 and result["total"]["good"] == 20


def test_https_of_a_server_without_it(load, weir, origin, authority):
    """It does not agree on h2: nothing is sent to it."""
    port, server = free_port(), origin()
    weir(one_service(server, root=f'listen: {{address: "127.0.0.1:{port}", tls: "{authority.issue("localhost")}"}}\n'
                                  'client: {http2: off}'))
    code, result = load("-n", 3, "-c", 1, "--ca", authority.certificate, f"https://localhost:{port}/")
    assert code == 0 and result["total"]["errors"] == {"connect": 3}


def test_a_server_of_tls_that_says_no_protocol(load, authority):
    """It takes the connection and agrees on nothing: what it is sent is not HTTP/2 on a guess."""
    pair = authority.issue("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    said = []

    def serve():
        for _ in range(2):
            with contextlib.suppress(OSError), context.wrap_socket(listener.accept()[0], server_side=True) as peer:
                peer.settimeout(20)
                said.append(peer.recv(1000))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, daemon=True)
        server.start()
        code, result = load("-n", 2, "-c", 1, "--ca", authority.certificate, f"https://localhost:{listener.getsockname()[1]}/")
        server.join(20)
    assert code == 0 and result["total"]["errors"] == {"connect": 2} and not any(said)


def test_replay(load, server, tmp_path):
    s = server(http2.echo)
    (tmp_path / "access.log").write_text("".join(
        f'127.0.0.1 - - [02/Mar/2026:10:15:00 +0000] "{"POST" if i % 5 == 0 else "GET"} /p/{i} HTTP/1.1" 200 5 "-" "x"\n'
        for i in range(30)))
    code, result = load("--replay", tmp_path / "access.log", "--speed", 4, "-c", 1, "-m", 30, f"http://{s.address}/")
    assert code == 0 and result["total"]["good"] == 30
    asked = [(m.get(":method"), m.get(":path")) for _, m in sorted(s.connections[0].streams.items())]
    assert asked == [("POST" if i % 5 == 0 else "GET", f"/p/{i}") for i in range(30)]


def test_agents(load, weir, origin, authority, started, tmp_path, monkeypatch):
    """HTTP/2 and whom to believe are told to the agents too."""
    port, at = free_port(), free_port()
    weir(one_service(origin(), root=f'listen: {{address: "127.0.0.1:{port}", tls: "{authority.issue("localhost")}"}}'))
    monkeypatch.setenv("WEIR_TOKEN", "a-token-of-tests")
    agent = Process([weir_module.BINARY, "load", "agent", "--listen", f"127.0.0.1:{at}"], tmp_path / "agent.log")
    started.append(agent)
    wait_until(lambda: listening(at) or not agent.running, 20, "the agent listens")
    code, result = load("--agents", f"127.0.0.1:{at}", "-n", 100, "-c", 2, "-m", 5, "--ca", authority.certificate,
                        f"https://localhost:{port}/")
    assert code == 0 and result["total"]["errors"] == {} and result["total"]["good"] == 100 and result["connects"] == 2
    code, result = load("--agents", f"127.0.0.1:{at}", "-n", 100, "-c", 2, "--insecure", f"https://127.0.0.1:{port}/")
    assert code == 0 and result["total"]["errors"] == {} and result["total"]["good"] == 100
    assert agent.stop(20) == 0 and not re.search(weir_module.BUGS, agent.log())
