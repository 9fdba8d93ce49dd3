"""One valid JSON line for each exchange, in the right file."""
import json
import re
import signal
import time

from lib.client import Client
from lib.conf import one_service
from lib.process import wait_until
from lib.servers import answer

QUICK = "access_log: {{path: {}, flush_interval: 20ms}}\n"


def lines_of(gate, count):
    wait_until(lambda: len(gate.access()) >= count, 10, f"{count} lines")
    lines = gate.access()
    assert len(lines) == count
    return lines


def logged(weir, tmp_path, *servers, **options):
    path = tmp_path / "log.json"
    options["root"] = QUICK.format(path) + options.get("root", "")
    gate = weir(one_service(*servers, **options))
    gate.access_path = path
    return gate


def test_fields(weir, scripted, tmp_path):
    server = scripted(answer("hello"))
    gate = logged(weir, tmp_path, server)
    with gate.connect() as client:
        client.request("POST", "/buy?a=b", {"Host": "shop.example:8080", "X-Request-Id": "my-own-id-1"}, b"x" * 33)
        client.get("/other")
    first, second = lines_of(gate, 2)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", first["time"])
    assert abs(time.time() - time.mktime(time.strptime(first["time"][:19], "%Y-%m-%dT%H:%M:%S"))
               + time.timezone) < 60
    assert {k: first[k] for k in first if k not in ("time", "us")} == {
        "id": "my-own-id-1", "client": "127.0.0.1", "method": "POST", "host": "shop.example:8080",
        "target": "/buy?a=b", "status": 200, "request_bytes": 33, "response_bytes": 5, "service": "shop",
        "server": server.address}
    assert 0 < first["us"] < 10_000_000
    assert f"X-Request-Id: {second['id']}\r\n".encode() in server.requests[1]


def test_who_answered_and_why(weir, scripted, tmp_path):
    def cut(peer):
        peer.read_request()

    gate = logged(weir, tmp_path, scripted(cut), root="client: {body_bytes_max: 10}\nworkers: 1\n")
    with gate.connect() as client:
        assert client.get("/a").status == 502
    with gate.connect() as client:
        client.send(b"GET /bad HTTP/1.1\r\n\r\n")
        assert client.read_response().status == 400
    with gate.connect() as client:
        client.send_request("POST", "/long", {"Content-Length": "11"})
        assert client.read_response().status == 413
    failed, bad, long = lines_of(gate, 3)
    assert (failed["status"], failed["answered_by"]) == (502, "gate") and failed["error"]
    assert (bad["status"], bad["answered_by"]) == (400, "http1") and "server" not in bad
    assert (long["status"], long["answered_by"]) == (413, "http1")


def test_tries(weir, scripted, tmp_path):
    def cut(peer):
        peer.read_request()

    bad, good = scripted(cut), scripted(answer())
    gate = logged(weir, tmp_path, bad, good, root="workers: 1\n")
    gate.get()
    gate.get()
    lines = lines_of(gate, 2)
    assert max(l.get("tries", 1) for l in lines) == 2
    assert {l["server"] for l in lines} == {good.address}


def test_hostile_bytes_are_escaped(weir, scripted, tmp_path):
    gate = logged(weir, tmp_path, scripted(answer()), root="workers: 1\n")
    with gate.connect() as client:
        client.send(b'GET /"\\\'{}</x>?\xff\xc3\x28 HTTP/1.1\r\nHost: a\r\n\r\n')
        first = client.read_response().status
    with gate.connect() as client:
        client.send(b"GET /" + b"y" * 5000 + b" HTTP/1.1\r\nHost: a\r\nX-Request-Id: \"evil\\\"\r\n\r\n")
        client.read_response()
    text_lines = lines_of(gate, 2)
    assert first in (200, 400)
    raw = gate.access_path.read_bytes()
    assert raw.count(b"\n") == 2 and all(32 <= b < 127 or b == 10 for b in raw)
    assert len(text_lines[1]["target"]) == 1024
    assert re.fullmatch("[0-9a-f]{32}", text_lines[1]["id"])


def test_a_cut_answer_is_logged_with_its_reason(weir, scripted, tmp_path):
    gate = logged(weir, tmp_path, scripted([b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart"]))
    gate.raw(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    line = lines_of(gate, 1)[0]
    assert line["status"] == 200 and line["error"] and line["response_bytes"] <= 4


def test_reopen_after_rotation(weir, scripted, tmp_path):
    gate = logged(weir, tmp_path, scripted(answer()))
    with gate.connect() as client:
        client.get("/before")
        lines_of(gate, 1)
        old = gate.access_path.with_suffix(".1")
        gate.access_path.rename(old)
        client.get("/between")
        wait_until(lambda: old.read_text().count("\n") == 2, 10, "still the old file")
        gate.signal(signal.SIGUSR1)
        wait_until(gate.access_path.exists, 10, "it is opened again")
        client.get("/after")
        assert lines_of(gate, 1)[0]["target"] == "/after"
    assert old.read_text().count("\n") == 2


def test_reopen_under_load_loses_no_line(weir, origin, load, tmp_path):
    gate = logged(weir, tmp_path, origin())
    running = load(gate.port, connections=4)
    for n in range(10):
        running.wait_done(30)
        gate.access_path.rename(gate.access_path.with_suffix(f".{n}"))
        gate.signal(signal.SIGUSR1)
        wait_until(gate.access_path.exists, 10, "it is opened again")
    running.assert_clean(300)
    assert gate.stop() == 0
    lines = [json.loads(l) for p in tmp_path.glob("log.*") for l in p.read_text().splitlines()]
    assert len(lines) == running.done
    assert len({l["id"] for l in lines}) == running.done


def test_reload_moves_the_log(weir, scripted, tmp_path):
    server = scripted(answer())
    gate = logged(weir, tmp_path, server)
    with gate.connect() as client:
        client.get("/one")
        lines_of(gate, 1)
        gate.reload(one_service(server, root=QUICK.format(tmp_path / "other.json")))
        client.get("/two")
        gate.access_path = tmp_path / "other.json"
        assert lines_of(gate, 1)[0]["target"] == "/two"
        gate.reload(one_service(server, root="access_log: off\n"))
        client.get("/three")
        gate.reload(one_service(server, root=QUICK.format(tmp_path / "other.json")))
        client.get("/four")
        assert [l["target"] for l in lines_of(gate, 2)] == ["/two", "/four"]


def test_stdout(weir, scripted):
    gate = weir(one_service(scripted(answer()), root="access_log: stdout\n"))
    gate.get("/on-stdout")
    assert gate.stop() == 0
    lines = [json.loads(l) for l in gate.log().splitlines() if l.startswith("{")]
    assert [l["target"] for l in lines] == ["/on-stdout"]


def test_off(weir, scripted):
    gate = weir(one_service(scripted(answer()), root="access_log: off\n"))
    gate.get("/unseen")
    gate.signal(signal.SIGUSR1)
    time.sleep(0.1)
    assert gate.get().status == 200
    assert gate.stop() == 0
    assert "/unseen" not in gate.log() and not gate.access_path.exists()


def test_a_full_disk_does_not_stop_the_service(weir, scripted):
    gate = weir(one_service(scripted(answer()), root=QUICK.format("/dev/full")))
    for _ in range(3):
        assert gate.get().status == 200
    gate.wait_log("access_log")
    with Client(gate.port) as client:
        assert client.get().status == 200


def test_all_lines_are_there_after_a_stop(weir, scripted):
    gate = weir(one_service(scripted(answer())))  # flushed once a second
    with gate.connect() as client:
        for _ in range(100):
            client.get()
    assert gate.stop() == 0
    assert len(gate.access()) == 100
