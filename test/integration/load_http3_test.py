"""weir load over HTTP/3: what it counts, and what it does when the server refuses, ends or says nothing."""
import json
import re
import signal
import socket
import threading

import pytest

from lib import weir as weir_module
from lib.conf import one_service
from lib.ports import free_port, listening
from lib.process import Process, wait_until
from lib.servers import answer
from lib.tls import Authority


@pytest.fixture
def load(weir_command):
    """load("-n", 10, url) -> (exit code, the JSON result)"""
    def run(*args):
        done = weir_command("load", "--http3", "--quiet", "--json", "-", *args, timeout=60)
        assert not weir_module.BUGS.search(done.stderr), done.stderr
        return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr
    return run


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def gate(weir, authority):
    """gate(server, http3="streams_max: 5", root="") -> a Weir with HTTP/3 for localhost; its port, and https: its URL"""
    def start(server, http3="", root="", **options):
        port = free_port()
        thing = weir(one_service(server, root=f'listen: {{address: "127.0.0.1:{port}", tls: "{authority.issue("localhost")}", '
                                              f'http3: {"{" + http3 + "}" if http3 else "true"}}}\n{root}'), **options)
        thing.port, thing.https = port, f"https://localhost:{port}"
        return thing
    return start


def test_counts_are_exact(load, gate, origin, authority, each_loop):
    g = gate(origin())
    for path, size in (("/", 0), ("/bytes/100000", 100000), ("/status/204", 0), ("/headers/60", 0)):
        code, result = load("-n", 500, "-c", 7, "-m", 5, "-t", 2, "--ca", authority.certificate, "--loop", each_loop,
                            f"{g.https}{path}")
        total = result["total"]
        assert code == 0 and total["sent"] == total["answers"] == total["good"] == 500 and total["errors"] == {}
        assert sum(total["statuses"].values()) == 500 and total["latency_ns"]["service"]["count"] == 500
        assert result["http3"] and 500 * size < total["bytes_in"] < 500 * (size * 1.01 + 8000) and result["connects"] == 7


def test_large_bodies_go_out_whole(load, gate, origin, authority, tmp_path, each_loop):
    g = gate(origin())
    (tmp_path / "body").write_bytes(b"0123456789abcdef" * 20000)
    for args in ([], ["-r", 1000, "-d", "20s"]):
        code, result = load("-n", 20, "-c", 2, "-m", 4, "--body", f"@{tmp_path}/body", "--ca", authority.certificate,
                            "--loop", each_loop, *args, f"{g.https}/echo")
        assert code == 0 and result["total"]["good"] == 20 and result["total"]["errors"] == {}
        assert result["total"]["bytes_out"] > 20 * 320000 and result["total"]["bytes_in"] > 20 * 320000


def test_open_loop(load, gate, origin, authority, each_loop):
    """What is due goes out on time over as few connections as it takes, and counts from when it was due."""
    g = gate(origin(), http3="streams_max: 3")
    code, result = load("-r", 500, "-n", 250, "-d", "20s", "-c", 20, "-m", 10, "--ca", authority.certificate,
                        "--loop", each_loop, f"{g.https}/")
    total = result["total"]
    assert code == 0 and total["good"] == 250 and total["errors"] == {} and 1 <= result["connects"] <= 20
    latency = total["latency_ns"]
    assert latency["response"]["count"] == latency["service"]["count"] == 250
    assert latency["response"]["mean"] >= latency["service"]["mean"]


def test_no_more_streams_than_the_server_takes(load, gate, scripted, authority):
    """The third waits until one of two is answered."""
    lock, now, most = threading.Lock(), [0], [0]

    def serve(peer):
        while peer.read_request():
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            released.wait(0.02)
            with lock:
                now[0] -= 1
            peer.send(answer("ok"))
    released = threading.Event()
    g = gate(scripted(serve), http3="streams_max: 2")
    code, result = load("-n", 40, "-c", 1, "-m", 16, "--ca", authority.certificate, f"{g.https}/")
    assert code == 0 and result["total"]["good"] == 40 and result["connects"] == 1 and most[0] == 2


def test_a_server_that_ends_its_connections(load, gate, origin, authority, tmp_path, each_loop):
    """It ends each after 20 requests (GOAWAY); what it does not look at is asked again, and none is counted twice."""
    server = origin()
    g = gate(server, root="client: {requests_max: 20}")
    code, result = load("-n", 600, "-c", 3, "-m", 16, "--ca", authority.certificate, "--loop", each_loop, f"{g.https}/")
    total = result["total"]
    assert code == 0 and total["errors"] == {} and total["sent"] == total["good"] == 600
    assert result["connects"] >= 10
    (tmp_path / "s.yaml").write_text(f"{{target: '{g.https}', users: 2, kinds: {{a: {{steps: [GET /, GET /b]}}}}}}")
    code, result = load("-n", 60, "--ca", authority.certificate, "--loop", each_loop, tmp_path / "s.yaml")
    assert code == 0 and result["total"]["errors"] == {} and result["total"]["good"] == 120 and result["connects"] >= 5


def test_whom_it_does_not_believe(load, gate, origin, authority):
    g = gate(origin())
    code, result = load("-n", 3, "-c", 1, f"{g.https}/")
    assert code == 0 and result["total"]["errors"] == {"connect": 3}
    code, result = load("-n", 3, "-c", 1, "--ca", authority.certificate, f"https://127.0.0.1:{g.port}/")
    assert code == 0 and result["total"]["errors"] == {"connect": 3}  # another name
    code, result = load("-n", 3, "-c", 1, "--insecure", f"https://127.0.0.1:{g.port}/")
    assert code == 0 and result["total"]["good"] == 3
    code, said = load("-n", 3, "--ca", "/nowhere/ca.pem", f"{g.https}/")
    assert code == 1 and "/nowhere/ca.pem" in said


def test_nobody_is_there(load, tmp_path):
    """Refused at once where the kernel says so; a socket that says nothing is a timeout of the connect."""
    code, result = load("-n", 3, "-c", 1, "--insecure", f"https://127.0.0.1:{free_port()}/")
    assert code == 0 and result["total"]["errors"] == {"connect": 3}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        code, result = load("-n", 1, "-c", 1, "--timeout", "300ms", "--insecure", f"https://127.0.0.1:{silent.getsockname()[1]}/")
        assert code == 0 and result["total"]["errors"] == {"connect": 1} and silent.recv(2000)
        (tmp_path / "s.yaml").write_text(f"{{target: 'https://127.0.0.1:{silent.getsockname()[1]}', timeout: 300ms, users: 1, "
                                         "kinds: {a: {steps: [GET /]}}}")
        code, result = load("-n", 1, "--insecure", tmp_path / "s.yaml")
        assert code == 0 and result["total"]["errors"] == {"connect": 1}


def hold(which, others_s=0):
    """A server that never answers a request that which(number) says, and others after others_s."""
    numbers = iter(range(1 << 30))

    def serve(peer):
        while peer.read_request():
            if which(next(numbers)):
                peer.stopping.wait(60)
                return
            peer.stopping.wait(others_s)
            peer.send(answer("ok"))
    return serve


def test_one_stream_that_is_not_answered_holds_up_no_other(load, gate, scripted, authority):
    """Those that are in flight when its time is over (there are 36 of half a second, three at a time) are answered."""
    g = gate(scripted(hold(lambda n: n == 2, 0.5)))
    code, result = load("-n", 37, "-c", 1, "-m", 4, "--timeout", "4s", "--ca", authority.certificate, f"{g.https}/")
    assert code == 0 and result["total"]["errors"] == {"timeout": 1} and result["total"]["good"] == 36 and result["connects"] == 1


def test_a_server_that_says_nothing_gets_another_connection(load, gate, scripted, authority):
    g = gate(scripted(hold(lambda n: True)))
    code, result = load("-n", 2, "-c", 1, "--timeout", "500ms", "--ca", authority.certificate, f"{g.https}/")
    assert code == 0 and result["total"]["errors"] == {"timeout": 2} and result["connects"] == 2


def test_a_connection_that_is_idle_for_too_long(load, gate, scripted, authority):
    """The server's idle timeout passes before the answer is there, or the request's own."""
    g = gate(scripted(hold(lambda n: True)), http3="idle_timeout: 1s")
    code, result = load("-n", 1, "-c", 1, "--timeout", "30s", "--ca", authority.certificate, f"{g.https}/")
    assert code == 0 and result["total"]["errors"] == {"closed": 1}


def test_a_server_that_goes_away(gate, origin, authority, started, tmp_path):
    """What was under way is lost, what comes after it is not to be connected."""
    g, port = gate(origin()), free_port()
    run = Process([weir_module.BINARY, "load", "--http3", "--quiet", "--json", str(tmp_path / "r.json"), "-c", "2", "-m", "4", "-d", "60s",
                   "--timeout", "3s", "--metrics", f"127.0.0.1:{port}", "--ca", str(authority.certificate), f"{g.https}/"], tmp_path / "load.log")
    started.append(run)

    def count(what):
        if not listening(port):
            return 0
        with socket.create_connection(("127.0.0.1", port), 10) as s:
            s.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            text = b""
            while part := s.recv(65536):
                text += part
        return sum(float(n) for n in re.findall(what + r"[^\n]* ([0-9.e+]+)\n", text.decode()))
    wait_until(lambda: count("weir_load_answers_total") > 50, 20, "answers")
    g.kill()
    wait_until(lambda: count('weir_load_errors_total{[^}]*error="connect"') > 0, 20, "refused connections")
    run.signal(signal.SIGINT)
    wait_until(lambda: not run.running, 20, "its end")
    errors = json.loads((tmp_path / "r.json").read_text())["total"]["errors"]
    under_way = errors.get("closed", 0) + errors.get("timeout", 0)  # what was acknowledged and waits in silence is overdue some time
    assert errors.pop("connect") >= 1 and 1 <= under_way == sum(errors.values()) <= 8
    assert not weir_module.BUGS.search(run.log())


def test_a_scenario(load, gate, scripted, authority, tmp_path, each_loop):
    def shop(peer):
        while request := peer.read_request():
            if request.startswith(b"POST /login"):
                peer.send(answer('{"id": 7}', headers=[("Set-Cookie", "sid=abc"), ("X-Token", "t1")]))
            elif request.startswith(b"POST /buy/7") and b"sid=abc" in request and b"t1" in request and request.endswith(b"one"):
                peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + answer("sold " * 30000, status="201 Created"))
            else:
                peer.send(answer("no", status="400 Bad Request"))
    g = gate(scripted(shop))
    (tmp_path / "s.yaml").write_text(f"""
        target: {g.https}
        users: 4
        http3: on
        kinds:
          a:
            steps:
              - {{post: /login, take: {{id: json /id, token: header X-Token}}}}
              - {{post: "/buy/${{id}}", body: one, fields: {{X-Token: "${{token}}"}},
                  expect: {{status: 201, contains: sold sold}}}}
        """)
    code, result = load("-n", 40, "--ca", authority.certificate, "--loop", each_loop, tmp_path / "s.yaml")
    assert code == 0 and result["total"]["errors"] == {} and result["total"]["good"] == 80
    assert 1 <= result["connects"] <= 4  # kept by each user


def test_agents(load, gate, origin, authority, started, tmp_path, monkeypatch):
    g, at = gate(origin()), free_port()
    monkeypatch.setenv("WEIR_TOKEN", "a-token-of-tests")
    agent = Process([weir_module.BINARY, "load", "agent", "--listen", f"127.0.0.1:{at}"], tmp_path / "agent.log")
    started.append(agent)
    wait_until(lambda: listening(at) or not agent.running, 20, "the agent listens")
    code, result = load("--agents", f"127.0.0.1:{at}", "-n", 100, "-c", 2, "-m", 5, "--ca", authority.certificate, f"{g.https}/")
    assert code == 0 and result["total"]["errors"] == {} and result["total"]["good"] == 100 and result["connects"] == 2
    assert agent.stop(20) == 0 and not re.search(weir_module.BUGS, agent.log())


@pytest.mark.parametrize(("args", "says"), [
    (["http://localhost/"], "https"),
    (["--http2", "https://localhost/"], "--http2"),
    (["--pipeline", "2", "https://localhost/"], "--streams"),
])
def test_mistakes(load, args, says):
    code, said = load(*args)
    assert code in (1, 2) and says in said


def test_no_websockets_over_it(load, tmp_path):
    (tmp_path / "s.yaml").write_text("{target: 'https://localhost:1', users: 1, kinds: {a: {steps: [{websocket: /x}, {close: 1000}]}}}")
    code, said = load("--insecure", tmp_path / "s.yaml")
    assert code == 2 and "WebSocket" in said
