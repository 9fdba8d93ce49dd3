"""Formats, sampling and syslog of doc/access_log.md, against the running gate."""
import json
import re
import socket

import pytest

from lib.client import Client
from lib.conf import one_service
from lib.ports import free_port
from lib.process import wait_until
from lib.servers import answer


def log(path, **settings):
    return f"access_log: {json.dumps({'path': str(path), 'flush_interval': '20ms', **settings})}\n"


def lines_of(path, count):
    wait_until(lambda: path.exists() and path.read_text().count("\n") >= count, 20, f"{count} lines")
    lines = path.read_text().splitlines()
    assert len(lines) == count
    return lines


def test_combined(weir, scripted, tmp_path):
    path = tmp_path / "log"
    gate = weir(one_service(scripted(answer("hello")), root=log(path, format="combined")))
    gate.get('/a?b="c', {"User-Agent": 'me "quoted"', "Referer": "http://x/"})
    line = lines_of(path, 1)[0]
    assert re.fullmatch(r'127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000\] "GET /a\?b=\\x22c HTTP/1\.1" 200 5 '
                        r'"http://x/" "me \\x22quoted\\x22"', line), line


def test_a_pattern_of_ones_own(weir, scripted, tmp_path):
    path = tmp_path / "log"
    shop = scripted(answer(headers=[("X-Cache", "HIT")]))
    pattern = "${status} ${route} ${service} ${server} ${response.x-cache} ${request.x-none} ${path}?${query} ${seconds}"
    gate = weir(one_service(shop, root=log(path, format=pattern)))
    gate.get("/p/q?r=s")
    line = lines_of(path, 1)[0]
    assert re.fullmatch(rf"200 /\* shop {shop.address} HIT - /p/q\?r=s \d+\.\d{{6}}", line), line


def test_a_pattern_that_is_json(weir, scripted, tmp_path):
    path = tmp_path / "log"
    gate = weir(one_service(scripted(answer()), root=log(
        path, format='{"ua":"${request.user-agent}","from":"${request.referer}","status":${status}}')))
    gate.get("/", {"User-Agent": 'a"b\\c\xe9'})
    assert json.loads(lines_of(path, 1)[0]) == {"ua": 'a"b\\c\xe9', "from": "", "status": 200}


def test_sampling_keeps_errors_and_what_is_slow(weir, origin, tmp_path):
    path = tmp_path / "log"
    gate = weir(one_service(origin(), root=log(path, sample="0%", errors=404, slow="150ms")))
    with gate.connect() as client:
        for target in ("/a", "/status/200", "/status/404", "/b", "/status/500", "/delay/300", "/status/302"):
            client.get(target)
    assert gate.stop() == 0
    logged = [json.loads(line)["target"] for line in path.read_text().splitlines()]
    assert [t for t in logged if t in ("/status/404", "/status/500", "/delay/300")] == \
        ["/status/404", "/status/500", "/delay/300"]
    # a busy machine may make another one slow, and then it is there by right
    for line in map(json.loads, path.read_text().splitlines()):
        assert line["status"] >= 404 or line["us"] >= 150_000


def test_a_share_of_the_rest(weir, scripted, tmp_path):
    path = tmp_path / "log"
    gate = weir(one_service(scripted(answer()), root=log(path, sample="50%", slow="off")))
    with gate.connect() as client:
        for _ in range(400):
            client.get()
    assert gate.stop() == 0
    assert 140 <= path.read_text().count("\n") <= 260  # 200, and 6 sigma are 60


SYSLOG = re.compile(r"<(\d+)>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) (\S+) weir (\d+) access - (.*)", re.S)


@pytest.mark.parametrize("kind", ["unix", "udp"])
def test_syslog(weir, scripted, tmp_path, kind, each_loop):
    if kind == "unix":
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        receiver.bind(str(tmp_path / "log"))
        path = f"syslog:unix:{tmp_path / 'log'}"
    else:
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.bind(("127.0.0.1", free_port()))
        path = f"syslog:127.0.0.1:{receiver.getsockname()[1]}"
    receiver.settimeout(20)
    with receiver:
        gate = weir(one_service(scripted(answer()), root=log(path, facility="local0")))
        gate.get("/one")
        head = SYSLOG.fullmatch(receiver.recv(65536).decode())
        assert head and int(head[1]) == 16 * 8 + 6 and int(head[4]) == gate.pid
        line = json.loads(head[5])
        assert line["target"] == "/one" and line["time"] == head[2]
        gate.raw(b"GET /two HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n")
        gate.reload(one_service("127.0.0.1:1", root=log(path)))
        assert gate.get("/three").status in (502, 503)
        messages = [receiver.recv(65536).decode() for _ in range(2)]
    heads = [SYSLOG.fullmatch(m) for m in messages]
    assert sorted(int(h[1]) for h in heads) == [16 * 8 + 3, 23 * 8 + 3]  # of two workers, in any order


def test_a_syslog_that_hangs_stops_nobody(weir, origin, tmp_path):
    """Its queue is full and nobody reads: requests go on, lines are dropped and counted."""
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(str(tmp_path / "log"))
    with receiver:
        gate = weir(one_service(origin(), root=log(f"syslog:unix:{tmp_path / 'log'}")))
        with gate.connect() as client:
            for _ in range(700):  # more than any kernel's net.unix.max_dgram_qlen
                assert client.get("/a").status == 200
        wait_until(lambda: gate.metrics().get("weir_access_log_dropped_total", 0) > 0, 20)
        with Client(gate.port) as client:
            assert client.get("/a").status == 200


def test_without_a_syslog_lines_are_dropped(weir, scripted, tmp_path):
    gate = weir(one_service(scripted(answer()), root=log(f"syslog:unix:{tmp_path / 'none'}")))
    assert gate.get().status == 200
    wait_until(lambda: gate.metrics().get("weir_access_log_dropped_total", 0) == 1, 20)
    assert "lines are dropped" in gate.log()


@pytest.mark.parametrize("settings,words", [
    ({"format": "${clint}"}, "there is no ${clint}"),
    ({"format": "jsn"}, '"jsn" is neither json, common nor combined'),
    ({"path": "syslog:nowhere"}, "names no syslog"),
    ({"facility": "local9"}, "local9"),
    ({"sample": "101%"}, "101% is more than 100%"),
])
def test_a_mistake_has_a_place(weir_command, tmp_path, settings, words):
    conf = tmp_path / "weir.yaml"
    conf.write_text(f'listen: [":1"]\naccess_log: {json.dumps({"path": "/x", **settings})}\n'
                    + one_service("127.0.0.1:1"))
    checked = weir_command("check", "-c", conf)
    assert checked.returncode == 1
    assert f"{conf}:2:" in checked.stderr
    assert words in checked.stderr
