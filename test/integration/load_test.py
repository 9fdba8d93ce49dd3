"""weir load: one request again and again, closed and open loop, and what it says of it."""
import csv
import io
import json
import re
import signal
import socket
import subprocess
import time

import pytest

from lib import hdr
from lib import weir as weir_module
from lib.ports import free_port
from lib.process import wait_until
from lib.servers import answer


@pytest.fixture
def load(weir_command):
    """load("-n", 10, url) -> (exit code, the JSON result)"""
    def run(*args, timeout=60):
        done = weir_command("load", "--quiet", "--json", "-", *args, timeout=timeout)
        assert not weir_module.BUGS.search(done.stderr), done.stderr
        return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr
    return run


def counted(origin):
    """What the server has seen."""
    with socket.create_connection(("127.0.0.1", origin.port), 10) as s:
        s.sendall(b"GET /_count HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        data = b""
        while part := s.recv(65536):
            data += part
    return json.loads(data.partition(b"\r\n\r\n")[2])


def test_counts_are_exact(load, origin, each_loop):
    server = origin()
    for path, size in (("/", 0), ("/bytes/100000", 100000), ("/chunked/5000/700", 5000), ("/status/204", 0),
                       ("/headers/60", 0), ("/early", 0)):
        code, result = load("-n", 500, "-c", 7, "-t", 2, "--loop", each_loop, f"http://{server.address}{path}")
        check_counts(code, result["total"], size)


def check_counts(code, total, size):
    assert code == 0 and total["sent"] == total["answers"] == total["good"] == 500 and total["errors"] == {}
    assert sum(total["statuses"].values()) == 500
    service = total["latency_ns"]["service"]
    counts = hdr.decode(service["hdr"])
    assert sum(n for _, n in counts) == service["count"] == 500
    assert 0 < service["min"] <= service["p50"] <= service["p99"] <= service["max"]
    assert total["bytes_in"] > 500 * size


def test_pipelined(load, origin, each_loop):
    server = origin()
    code, result = load("-n", 1003, "-c", 3, "--pipeline", 16, "--loop", each_loop, f"http://{server.address}/")
    assert code == 0 and result["total"]["good"] == 1003 and result["connects"] == 3


def test_the_request_is_as_asked_for(load, scripted):
    server = scripted(answer("x"))
    code, result = load("-n", 2, "-c", 1, "-X", "PUT", "-H", "X-A: b c", "-H", "Host: shop.example", "--body", "hello",
                        f"http://{server.address}/a/b?c=d")
    assert code == 0 and result["total"]["good"] == 2
    assert server.requests == [b"PUT /a/b?c=d HTTP/1.1\r\nX-A: b c\r\nHost: shop.example\r\nContent-Length: 5\r\n\r\n"
                               b"hello"] * 2


def test_a_large_body_goes_out_whole(load, origin, tmp_path):
    server = origin()
    (tmp_path / "body").write_bytes(b"0123456789abcdef" * 50000)
    for args in ([], ["-r", 1000, "-d", "20s"]):
        code, result = load("-n", 20, "-c", 2, "--body", f"@{tmp_path}/body", *args, f"http://{server.address}/")
        assert code == 0 and result["total"]["good"] == 20
        assert result["total"]["bytes_out"] > 20 * 800000


def test_errors_by_kind(load, origin, each_loop):
    server = origin()
    for path, kind in (("/abort", "closed"), ("/reset", "closed"), ("/half/100", "closed"), ("/status/503", "status")):
        code, result = load("-n", 12, "-c", 3, "--loop", each_loop, f"http://{server.address}{path}")
        assert code == 0 and result["total"]["errors"] == {kind: 12} and result["total"]["good"] == 0
    code, result = load("-n", 6, "-c", 3, "--timeout", "200ms", "--loop", each_loop, f"http://{server.address}/hang")
    service = result["total"]["latency_ns"]["service"]  # what was not answered in time has taken that time
    assert code == 0 and result["total"]["errors"] == {"timeout": 6}
    assert service["count"] == 6 and service["min"] >= 200 * 10**6


def test_nobody_listens(load):
    code, result = load("-n", 3, "-c", 2, f"http://127.0.0.1:{free_port()}/")
    assert code == 0 and result["total"]["errors"] == {"connect": 3} and result["total"]["sent"] == 0


def test_what_is_no_http(load, scripted):
    server = scripted([b"SSH-2.0-x\r\n\r\n"])
    code, result = load("-n", 4, "-c", 2, f"http://{server.address}/")
    assert code == 0 and result["total"]["errors"] == {"protocol": 4}


def test_answers_that_end_with_their_connection(load, origin, scripted):
    closing = scripted([b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"])
    code, result = load("-n", 20, "-c", 4, f"http://{closing.address}/")
    assert code == 0 and result["total"]["good"] == 20 and result["connects"] == 20
    server = origin()
    code, result = load("-n", 20, "-c", 4, "-r", 500, f"http://{server.address}/close")
    assert code == 0 and result["total"]["good"] == 20


@pytest.mark.parametrize("loop,arrivals", [("epoll", "even"), ("auto", "even"), ("auto", "poisson")])
def test_open_loop_sends_what_is_due(load, origin, loop, arrivals):
    """A slow server does not slow it down: with 400 a second and 100 ms each, 40 are on their way on average."""
    server = origin()
    code, result = load("-r", 400, "-d", "1s", "--arrivals", arrivals, "-t", 2, "--loop", loop,
                        f"http://{server.address}/delay/100")
    total = result["total"]
    assert code == 0 and result["open_loop"] and total["errors"] in ({}, {"unsent": total["tried"] - total["sent"]})
    if arrivals == "even":
        assert total["tried"] == 400
    else:
        assert abs(total["tried"] - 400) < 6 * 20  # six sigma of a Poisson count
    service, response = (total["latency_ns"][k] for k in ("service", "response"))
    assert service["count"] == response["count"] == total["good"]
    assert service["min"] >= 98 * 10**6 and response["p50"] >= service["min"]


def test_a_stall_is_in_the_percentiles(origin, tmp_path):
    """The server stands still for a second. Requests are due all the while, R a second; those due more than x before
    its end take longer than x, so R * (S - x) of them do, whatever the machine was busy with."""
    server, out, rate = origin(), tmp_path / "out.json", 200
    child = subprocess.Popen([weir_module.BINARY, "load", "-q", "--json", out, "-r", str(rate), "-d", "3s", "-c", "8",
                              f"http://{server.address}/"])
    wait_until(lambda: counted(server)["requests"] > 20, 20, "requests have come")
    server.signal(signal.SIGSTOP)
    stopped = time.monotonic()
    time.sleep(1)
    stall = time.monotonic() - stopped
    server.signal(signal.SIGCONT)
    assert child.wait(60) == 0
    result = json.loads(out.read_text())["total"]
    response, service = (hdr.decode(result["latency_ns"][k]["hdr"]) for k in ("response", "service"))
    assert result["tried"] == 3 * rate
    for x in (0.1, 0.5, 0.9):
        assert hdr.above(response, x * 10**9) >= int(rate * (stall - x)) - 1
    # a tenth of all is 0.3 s of arrivals: the p90 is at least what those wait that are due then
    assert result["latency_ns"]["response"]["p90"] >= (stall - 0.1 * 3 - 2 / rate) * 10**9
    # seen from when they were sent, only those eight that a connection was free for stood in the stall
    assert hdr.above(service, 0.5 * 10**9) < hdr.above(response, 0.5 * 10**9)


def test_what_is_never_sent_is_counted(load, origin):
    """One connection, 50 ms an answer: 20 a second of the 200 that are due."""
    server = origin()
    code, result = load("-r", 200, "-d", "1s", "-c", 1, f"http://{server.address}/delay/50", "--fail-if", "errors > 50%")
    total = result["total"]
    assert code == 3 and total["tried"] == 200
    assert total["errors"] == {"unsent": 200 - total["sent"]} and total["sent"] <= 21


@pytest.mark.parametrize("condition,code", [("p99 < 1us", 0), ("p50 > 1us", 3), ("errors > 0%", 0),
                                            ("rate < 0.001/s", 0), ("max > 1 parsec", 2), ("p99", 2)])
def test_conditions(load, origin, condition, code):
    server = origin()
    got, result = load("-n", 10, "-c", 1, "--fail-if", condition, f"http://{server.address}/")
    assert got == code
    if code == 2:
        assert "is no condition" in result


def test_find_limit(load, scripted):
    """A server that lets so many a second pass: what is more waits, and the p99 says so."""
    def slow(peer):
        while peer.read_request():
            time.sleep(0.05)
            peer.send(answer(b"x"))
    server = scripted(slow)
    code, result = load("--find-limit", "p99 < 10s, errors < 50%", "-c", 2, "-d", "300ms", "--timeout", "5s",
                        f"http://{server.address}/", timeout=110)
    limit = result["limit"]
    # two connections, 50 ms each: never more than 40 a second, so that 100 a second are not even sent
    assert code == 0 and 0 < limit["holds"] <= 50 and limit["fails"] > limit["holds"]
    assert [s["holds"] for s in limit["steps"]].count(True) >= 1 and not limit["steps"][0]["holds"]
    assert limit["fails"] - limit["holds"] <= 0.05 * limit["holds"] + 1


def test_a_search_goes_by_its_conditions(load, origin):
    """No rate is ever so high: from 100 a second on it is halved until there is nothing left to try."""
    code, result = load("--find-limit", "errors < 1%, rate > 1000000", "-d", "100ms", f"http://{origin().address}/")
    steps = result["limit"]["steps"]
    assert code == 3 and result["limit"]["holds"] == 0 and not any(s["holds"] for s in steps)
    assert [s["rate"] for s in steps] == [100 / 2**i for i in range(7)]


def test_a_warm_up_does_not_count(load, origin):
    """What was sent in it the server has seen, and the points show; the sums do not."""
    server = origin()
    code, result = load("-r", 100, "--warmup", "600ms", "-d", "400ms", f"http://{server.address}/")
    total, seen = result["total"], counted(server)["requests"]
    assert code == 0 and 0 < total["sent"] < seen <= 100 and sum(p["sent"] for p in result["points"]) == seen
    assert total["latency_ns"]["response"]["count"] == total["answers"]


def test_files(load, weir_command, origin, tmp_path):
    server = origin()
    done = weir_command("load", "-r", 100, "-d", "1s", "--interval", "200ms", "--csv", tmp_path / "a.csv", "--hdr",
                        tmp_path / "a.hlog", "--json", tmp_path / "a.json", f"http://{server.address}/")
    assert done.returncode == 0 and "open loop" in done.stdout and "response" in done.stdout
    result = json.loads((tmp_path / "a.json").read_text())
    rows = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text())))
    assert len(rows) == len(result["points"])
    assert sum(int(r["answers"]) for r in rows) == result["total"]["answers"]
    counts = {"response": 0, "service": 0}
    for line in (tmp_path / "a.hlog").read_text().splitlines():
        if match := re.fullmatch(r"Tag=(\w+),([0-9.]+),([0-9.]+),([0-9.]+),(\S+)", line):
            counts[match[1]] += sum(n for _, n in hdr.decode(match[5]))
    assert counts["response"] == counts["service"] == result["total"]["answers"]


def test_interrupted_it_ends_with_the_table(origin, tmp_path):
    server = origin()
    with open(tmp_path / "out", "wb") as out:
        child = subprocess.Popen([weir_module.BINARY, "load", "-c", "4", "-d", "10m", f"http://{server.address}/"],
                                 stdout=out, stderr=out)
        wait_until(lambda: counted(server)["requests"] > 20, 20, "requests have come")
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 0
    text = (tmp_path / "out").read_text()
    assert "interrupted" in text and "200: " in text and "error" not in text


def test_a_second_interrupt_does_not_wait(origin, tmp_path):
    server = origin()
    child = subprocess.Popen([weir_module.BINARY, "load", "-q", "-c", "4", "-d", "10m", "--timeout", "10m", "--json",
                              tmp_path / "out", f"http://{server.address}/hang"])
    wait_until(lambda: counted(server)["requests"] >= 4, 20, "requests have come")
    child.send_signal(signal.SIGINT)
    time.sleep(0.05)
    assert child.poll() is None  # four are in flight
    child.send_signal(signal.SIGINT)
    assert child.wait(30) == 0
    result = json.loads((tmp_path / "out").read_text())
    assert result["abandoned"] == 4 and result["total"]["sent"] == 4


def test_many_connections(load, origin):
    server = origin()
    code, result = load("-n", 6000, "-c", 2000, f"http://{server.address}/")
    assert code == 0 and result["total"]["good"] == 6000 and result["connects"] == 2000


def test_too_few_files_or_ports_are_said(origin):
    server = origin()

    def said(files, *args):
        done = subprocess.run(["sh", "-c", f'ulimit -n {files}; exec "$0" "$@"', weir_module.BINARY, "load", "-d", "1", *args,
                               f"http://{server.address}/"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1 and done.stdout == "", done.stdout
        return done.stderr
    assert "400 connections need more open files than the 300" in said(300, "-c", "400")
    first, last = map(int, open("/proc/sys/net/ipv4/ip_local_port_range").read().split())
    ports = last - first + 1
    assert f"{ports + 1} connections need more ports than the {ports} of 1 own address" in said(300, "-c", str(ports + 1))
    assert "open files" in said(300, "-c", str(ports + 1), "--from", "127.0.0.2,127.0.0.3")


def test_many_connections_again_and_again(load, origin):
    """More than one window of ports has, and those of the run before are only just let go of."""
    server = origin()
    for _ in range(2):
        code, result = load("-n", 60000, "-c", 3000, "--from", "127.0.0.9", f"http://{server.address}/")
        assert code == 0 and result["total"]["errors"] == {} and result["connects"] == 3000


def test_own_addresses_are_taken_in_turn(load, scripted):
    def who(peer):
        names.append(peer.socket.getpeername()[0])
        while peer.read_request():
            peer.send(answer(b"x"))
    names = []
    server = scripted(who)
    code, result = load("-n", 8, "-c", 4, "--from", "127.0.0.3,127.0.0.4", f"http://{server.address}/")
    assert code == 0 and result["total"]["good"] == 8
    assert sorted(names) == ["127.0.0.3"] * 2 + ["127.0.0.4"] * 2


@pytest.mark.parametrize("args,says", [
    ([], "takes one URL"),
    (["ftp://a/"], "neither http nor https"),
    (["http://a/", "http://b/"], "takes one URL"),
    (["-c", "0", "http://a/"], "from 1 to"),
    (["-d", "x", "http://a/"], "duration"),
    (["-r", "-5", "http://a/"], "requests a second"),
    (["-H", "nonsense", "http://a/"], "Name: value"),
    (["-H", "Content-Length: 3", "http://a/"], "by itself"),
    (["--find-limit", "p99 < 1s", "-r", "5", "http://a/"], "leave out --rate"),
    (["--pipeline", "3", "-r", "5", "http://a/"], "closed loop"),
    (["--arrivals", "odd", "http://a/"], "odd"),
    (["--body", "@/nowhere/at/all", "http://a/"], "/nowhere/at/all"),
    (["--from", "x", "http://a/"], "addresses"),
    (["-t", "4", "-c", "2", "http://a/"], "one a thread"),
    (["-m", "4", "http://a/"], "--pipeline"),
    (["--http2", "--pipeline", "4", "http://a/"], "--streams"),
])
def test_mistakes(weir_command, args, says):
    done = weir_command("load", *args)
    assert done.returncode == 2 and done.stdout == "" and says in done.stderr


def test_help_names_every_option(weir_command):
    done = weir_command("load", "--help")
    assert done.returncode == 0 and done.stderr == ""
    for word in ("--rate", "--find-limit", "--fail-if", "--hdr", "--connections"):
        assert word in done.stdout
