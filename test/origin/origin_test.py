"""The origin itself: a test server that is wrong would make other tests lie."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
ORIGIN = os.environ.get("ORIGIN", str(ROOT / "build" / "origin"))
PERIOD = 65521


def pattern(length):
    x, out = 1, bytearray()
    for _ in range(min(length, PERIOD)):
        x = (x * 1103515245 + 12345) & 0x7FFFFFFF
        out.append(33 + (x >> 16) % 94)
    return bytes(out[i % PERIOD] for i in range(length)) if length > PERIOD else bytes(out)


class Origin:
    def __init__(self, *arguments):
        self.process = subprocess.Popen([ORIGIN, *arguments], stdout=subprocess.PIPE, text=True)
        self.ready = self.process.stdout.readline().split()
        self.port = int(self.ready[1])

    def exchange(self, data, port=None, pieces=None):
        """Sends data, reads to the end of the connection."""
        with socket.create_connection(("127.0.0.1", port or self.port), timeout=20) as s:
            if pieces:
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for at in range(0, len(data), pieces):
                    s.sendall(data[at:at + pieces])
            else:
                s.sendall(data)
            return read_all(s)

    def get(self, target, port=None, method="GET"):
        return self.exchange(f"{method} {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode(), port)

    def count(self, port=None):
        return json.loads(body_of(self.get("/_count", port)))


def read_all(s):
    out = b""
    while True:
        try:
            data = s.recv(1 << 16)
        except ConnectionResetError:
            return out
        if not data:
            return out
        out += data


def body_of(answer):
    return answer.split(b"\r\n\r\n", 1)[1]


@pytest.fixture(scope="module")
def origin():
    o = Origin("127.0.0.1:0=first", "127.0.0.1:0=second")
    yield o
    o.process.send_signal(signal.SIGTERM)
    assert o.process.wait(10) == 0


def test_default_answer_and_its_server(origin):
    answer = origin.get("/anything?x=1")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and b"X-Server: first\r\n" in answer
    assert body_of(answer) == pattern(100)
    assert b"X-Server: second\r\n" in origin.get("/", int(origin.ready[2]))


@pytest.mark.parametrize("length", [0, 1, 32768, 32769, 65521, 65522, 1048576, 3000001])
def test_bytes(origin, length):
    answer = origin.get(f"/bytes/{length}")
    assert f"Content-Length: {length}\r\n".encode() in answer
    assert body_of(answer) == pattern(length)


@pytest.mark.parametrize("length,piece", [(0, 1), (10, 3), (100000, 1), (1000000, 70000), (1000000, 1000000)])
def test_chunked(origin, length, piece):
    raw, out = body_of(origin.get(f"/chunked/{length}/{piece}")), b""
    while True:
        size, raw = raw.split(b"\r\n", 1)
        size = int(size, 16)
        if size == 0:
            break
        assert size == min(piece, length - len(out))
        out += raw[:size]
        assert raw[size:size + 2] == b"\r\n"
        raw = raw[size + 2:]
    assert raw == b"\r\n" and out == pattern(length)


def test_trailers_and_stream(origin):
    assert body_of(origin.get("/trailers/5")).endswith(b"0\r\nX-Trailer: first\r\nX-Trailer-Bytes: all\r\n\r\n")
    answer = origin.exchange(b"GET /stream/70000 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"Content-Length" not in answer and body_of(answer) == pattern(70000)


def test_pipelined_in_order(origin):
    one = b"GET /bytes/%d HTTP/1.1\r\nHost: a\r\n\r\n"
    answers = origin.exchange(b"".join(one % i for i in range(200)) +
                              b"GET /bytes/40000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    for i in list(range(200)) + [40000]:
        head, answers = answers.split(b"\r\n\r\n", 1)
        assert f"Content-Length: {i}".encode() in head
        assert answers[:i] == pattern(i)
        answers = answers[i:]
    assert answers == b""


def test_head_has_the_length_and_no_body(origin):
    answer = origin.get("/bytes/500", method="HEAD")
    assert b"Content-Length: 500\r\n" in answer and body_of(answer) == b""


@pytest.mark.parametrize("pieces", [None, 1])
def test_echo_of_bodies(origin, pieces):
    data = (b"POST /echo?q HTTP/1.1\r\nHost: a\r\nX-A: \"b\"\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
            b"5\r\nhel\x00o\r\n3;ext=1\r\n\xff\"\\\r\n0\r\nX-T: 1\r\n\r\n")
    echo = json.loads(body_of(origin.exchange(data, pieces=pieces)))
    assert echo["method"] == "POST" and echo["target"] == "/echo?q" and ["X-A", '"b"'] in echo["fields"]
    assert echo["body"] == 'hel\x00o\xff"\\' and echo["body_bytes"] == 8


def test_continue(origin):
    with socket.create_connection(("127.0.0.1", origin.port), timeout=20) as s:
        s.sendall(b"PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert s.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        s.sendall(b"ok")
        assert b'"body": "ok"' in s.recv(4096)


def test_broken_ends(origin):
    assert origin.get("/abort") == b"" and origin.get("/reset") == b""
    assert body_of(origin.get("/half/1000")) == pattern(500)
    assert body_of(origin.exchange(b"GET /close HTTP/1.1\r\nHost: a\r\n\r\n")) == pattern(100)


def test_slow_answers(origin):
    start = time.monotonic()
    assert body_of(origin.get("/delay/50")) == pattern(100)
    assert body_of(origin.get("/trickle/5/10")) == pattern(5)
    assert time.monotonic() - start >= 0.08


def test_status_raw_fields_early(origin):
    assert origin.get("/status/503").startswith(b"HTTP/1.1 503 ")
    assert body_of(origin.get("/status/204")) == b""
    assert b"X-Field-9: value 9" in origin.get("/headers/10")
    assert body_of(origin.get("/headers")).startswith(b"GET /headers HTTP/1.1\r\nHost: a\r\n")
    assert origin.get("/early").startswith(b"HTTP/1.1 103 Early Hints\r\n")
    raw = b"HTTP/1.1 999 Odd\r\n: broken\r\n\r\n"
    assert origin.exchange(b"POST /raw HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(raw)
                           + raw) == raw


def test_control_is_per_listener(origin):
    second = int(origin.ready[2])
    assert origin.get("/_control?health=fail&status=500").startswith(b"HTTP/1.1 200")
    assert origin.get("/healthz").startswith(b"HTTP/1.1 503")
    assert origin.get("/").startswith(b"HTTP/1.1 500")
    assert origin.get("/healthz", second).startswith(b"HTTP/1.1 200")
    assert origin.get("/_control?health=ok&status=0&all").startswith(b"HTTP/1.1 200")
    assert origin.get("/healthz").startswith(b"HTTP/1.1 200")
    assert origin.get("/_control?helth=fail").startswith(b"HTTP/1.1 400")


def test_hang_answers_nothing(origin):
    origin.get("/_control?hang=on")
    with socket.create_connection(("127.0.0.1", origin.port), timeout=0.2) as s:
        s.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        with pytest.raises(socket.timeout):
            s.recv(1)
    origin.get("/_control?hang=off")
    assert origin.get("/").startswith(b"HTTP/1.1 200")


MALFORMED = {
    "no host": "GET / HTTP/1.1\r\n\r\n",
    "two hosts": "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "two lengths": "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "signed length": "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na",
    "length and chunked": "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "gzip coding": "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "obs-fold": "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n",
    "bare LF": "GET / HTTP/1.1\nHost: a\n\n",
    "bare CR": "GET / HTTP/1.1\r\nHost: a\r\nX: 1\rY: 2\r\n\r\n",
    "space before colon": "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    "NUL": "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
    "empty name": "GET / HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n",
    "version": "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    "two spaces": "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "chunk size": "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
    "chunk too long": "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
    "chunk with LF": "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("pieces", [None, 1])
@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_is_refused_and_counted(origin, name, pieces):
    before = origin.count()["malformed"]
    try:
        answer = origin.exchange(MALFORMED[name].encode(), pieces=pieces)
    except (ConnectionResetError, BrokenPipeError):
        answer = b""
    assert answer.startswith(b"HTTP/1.1 400 ") or pieces
    assert origin.count()["malformed"] == before + 1


def test_counts(origin):
    origin.get("/_count?reset")
    for _ in range(3):
        origin.get("/")
    with socket.create_connection(("127.0.0.1", origin.port)) as s:
        s.sendall(b"GET / HTT")
    time.sleep(0.1)
    count = origin.count()
    assert count["requests"] == 3 and count["cut"] == 1 and count["malformed"] == 0
    assert count["connections_open"] == 1


def test_unix_socket(tmp_path):
    path = tmp_path / "o.sock"
    process = subprocess.Popen([ORIGIN, "--body", "5", f"unix:{path}"], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == f"ready unix:{path}\n"
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(path))
        s.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert body_of(read_all(s)) == pattern(5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0 and not path.exists()
