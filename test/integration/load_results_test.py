"""weir load: its page, metrics, comparison, replay, scripts, and runs on several machines."""
import json
import os
import re
import signal
import subprocess
import textwrap
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from lib import hdr
from lib import weir as weir_module
from lib.ports import free_port, listening
from lib.process import Process, wait_until
from lib.servers import answer

TOKEN = "a-token-of-some-length"
WITHOUT_LUAJIT = "luajit" in subprocess.run([weir_module.BINARY, "version"], capture_output=True,
                                            text=True).stdout.partition("without")[2]


@pytest.fixture
def load(weir_command, monkeypatch):
    """load(*args) -> (exit code, the JSON result or what was said)"""
    def run(*args, timeout=60):
        monkeypatch.setenv("WEIR_TOKEN", TOKEN)
        done = weir_command("load", "--quiet", "--json", "-", *args, timeout=timeout)
        assert not weir_module.BUGS.search(done.stderr), done.stderr
        return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr
    return run


def test_the_page_needs_nothing_else(load, origin, tmp_path):
    server = origin()
    code, result = load("-r", 100, "-d", "1s", "--interval", "200ms", "--html", tmp_path / "a.html",
                        f"http://{server.address}/")
    page = (tmp_path / "a.html").read_text()
    assert code == 0 and page.startswith("<!DOCTYPE html>") and page.rstrip().endswith("</html>")
    assert not re.search(r"""(src|href)\s*=|https?://(?!127\.0\.0\.1|www\.w3\.org/2000/svg)""", page)
    data = re.search(r'<script type="application/json" id="data">\n(.*?)</script>', page, re.S)[1]
    assert json.loads(data) == result


def test_metrics_while_it_runs(origin, tmp_path):
    server, port = origin(), free_port()
    child = subprocess.Popen([weir_module.BINARY, "load", "-q", "-r", "200", "-d", "5m", "--interval", "50ms", "--metrics",
                              f"127.0.0.1:{port}", "--json", tmp_path / "out", f"http://{server.address}/"])
    try:
        def metrics():
            if not listening(port):
                return {}
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as page:
                lines = page.read().decode().splitlines()
            return {k: float(v) for k, _, v in (line.rpartition(" ") for line in lines if line[0] != "#")}
        answers = 'weir_load_answers_total{kind="request",status="200"}'
        wait_until(lambda: metrics().get(answers, 0) > 50, 20, "answers are counted")
        seen = metrics()
        assert seen['weir_load_wanted'] == 200
        assert seen['weir_load_response_seconds_count{kind="request"}'] == seen[answers]
        assert seen['weir_load_service_seconds_bucket{kind="request",le="+Inf"}'] == seen[answers]
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20)
    finally:
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 0
    assert json.loads((tmp_path / "out").read_text())["total"]["answers"] >= seen[answers]


def test_an_address_that_is_taken(load, origin):
    server = origin()
    code, said = load("-n", 1, "--metrics", server.address, f"http://{server.address}/")
    assert code == 1 and "in use" in said


def test_compare(load, weir_command, origin, tmp_path):
    server = origin()
    for name, path in (("a", "/"), ("b", "/delay/40")):
        code, result = load("-n", 40, "-c", 2, f"http://{server.address}{path}")
        (tmp_path / f"{name}.json").write_text(json.dumps(result))
    same = weir_command("load", "compare", "--worse", "5%", tmp_path / "a.json", tmp_path / "a.json")
    assert same.returncode == 0 and "worse" not in same.stdout and "+0.0%" in same.stdout
    worse = weir_command("load", "compare", "--worse", "5%", tmp_path / "a.json", tmp_path / "b.json")
    assert worse.returncode == 3 and re.search(r"^  p50 .*worse$", worse.stdout, re.M)
    looked = weir_command("load", "compare", tmp_path / "b.json", tmp_path / "a.json")
    assert looked.returncode == 0 and re.search(r"^  p50 .*better$", looked.stdout, re.M)
    (tmp_path / "c.json").write_text("{}")
    wrong = weir_command("load", "compare", tmp_path / "a.json", tmp_path / "c.json")
    assert wrong.returncode == 1 and "no result" in wrong.stderr


@pytest.mark.parametrize("form", ["json", "combined"])
def test_replay(load, scripted, tmp_path, form):
    """As often, with the same methods and targets, in that order."""
    lines, asked = [], []
    for i in range(30):
        method, target = ("POST" if i % 5 == 0 else "GET"), f"/p/{i}?q=%20{i}"
        asked.append((method, target))
        if form == "json":
            lines.append(json.dumps({"time": f"2026-03-02T10:15:00.{i * 10000:06}Z", "method": method, "host": "shop",
                                     "target": target, "status": 200}))
        else:
            lines.append(f'127.0.0.1 - - [02/Mar/2026:10:15:0{i // 15} +0000] "{method} {target} HTTP/1.1" 200 5 "-" "x"')
    sink = scripted(answer("x"))
    (tmp_path / "access.log").write_text("\n".join(lines) + "\nno request\n")
    code, result = load("--replay", tmp_path / "access.log", "--speed", "8x", "-c", 1, "-H", "X-Again: 1", f"http://{sink.address}/")
    assert code == 0 and result["total"]["good"] == 30 and result["open_loop"]
    got = [tuple(r.split(b" ", 2)[:2]) for r in sink.requests]
    assert got == [(m.encode(), t.encode()) for m, t in asked]
    assert all(b"\r\nX-Again: 1\r\n" in r for r in sink.requests)


def test_replay_at_a_speed(load, scripted, tmp_path):
    """What took hours is over in a second; at its own pace it takes what it took."""
    times = []

    def note(peer):
        while peer.read_request():
            times.append(time.monotonic())
            peer.send(answer("x"))
    sink, log = scripted(note), tmp_path / "access.log"

    def replay(at, *options):
        times.clear()
        log.write_text("".join(f'127.0.0.1 - - [02/Mar/2026:10:{at(i)} +0000] "GET /{i} HTTP/1.1" 200 5 "-" "x"\n' for i in range(3)))
        code, result = load("--replay", log, *options, "-c", 1, f"http://{sink.address}/")
        assert code == 0 and result["total"]["good"] == len(times) == 3
        return times[-1] - times[0]
    assert 0.5 < replay(lambda i: f"{20 * i:02}:00", "--speed", "2400x") < 60
    assert replay(lambda i: f"00:0{i}") > 1.5


def test_replay_of_weirs_own_log(load, weir, origin, scripted):
    server, sink = origin(), scripted(answer("x"))
    gate = weir(f"""
        access_log: {{path: access.log, flush_interval: 10ms}}
        routes: [{{match: /*, service: shop}}]
        services: {{shop: {{servers: ["{server.address}"]}}}}
        """.replace("access.log", str(server.log_path.parent / "own.log")))
    targets = ["/a?b=%22c%22", "/d'e", "/bytes/10"]
    for target in targets:
        assert gate.get(target).status == 200
    log = server.log_path.parent / "own.log"
    wait_until(lambda: log.exists() and len(log.read_text().splitlines()) == 3, 20, "three lines")
    code, result = load("--replay", log, "-c", 1, f"http://{sink.address}/")
    assert code == 0 and result["total"]["good"] == 3
    assert [r.split(b" ", 2)[1].decode() for r in sink.requests] == targets


def test_replay_of_what_is_no_log(load, tmp_path):
    (tmp_path / "log").write_text("a,b,c\n")
    code, said = load("--replay", tmp_path / "log", "http://127.0.0.1:1/")
    assert code == 1 and "no line in it" in said


@pytest.mark.skipif(WITHOUT_LUAJIT, reason="built without LuaJIT")
def test_a_script_has_its_say(load, scripted, tmp_path):
    def check(peer):
        while request := peer.read_request():
            peer.send(answer("good" if b"\r\nX-Sum: 6\r\n" in request else "bad"))
    server = scripted(check)
    (tmp_path / "hooks.lua").write_text(textwrap.dedent("""
        function request(r)
          if r.kind == "signed" then r.fields["X-Sum"] = #r.body + #r.vars.extra end
          r.path = r.path .. "&by=lua"
        end
        function response(r)
          if r.kind == "page" then r.vars.extra = "xyz" end
          return r.status == 200 and (r.kind == "page" or r.body == "good")
        end
        """))
    (tmp_path / "s.yaml").write_text(textwrap.dedent(f"""
        target: http://{server.address}
        users: 3
        script: hooks.lua
        variables: [extra]
        kinds:
          a: {{steps: [{{get: "/?a=1", name: page}}, {{post: "/?b=1", name: signed, body: abc}}]}}
          b: {{steps: [{{get: "/?a=1", name: page}}, {{get: "/?c=1", name: unsigned}}]}}
        """))
    code, result = load("-n", 40, tmp_path / "s.yaml")
    kinds = {k["name"]: k for k in result["kinds"]}
    assert code == 0 and kinds["signed"]["errors"] == {} and kinds["signed"]["good"] > 0
    assert kinds["unsigned"]["errors"] == {"script": kinds["unsigned"]["sent"]}
    assert all(b"&by=lua HTTP/1.1" in r for r in server.requests)
    (tmp_path / "hooks.lua").write_text("function request(")
    code, said = load("-n", 40, tmp_path / "s.yaml")
    assert code == 2 and "hooks.lua:1:" in said


@pytest.fixture
def agents(started, tmp_path):
    """agents(2) -> their addresses; files: how many each may have open"""
    ours = []

    def start(count, files=None):
        limit = ["sh", "-c", f'ulimit -n {files}; exec "$0" "$@"'] if files else []
        for i in range(count):
            port = free_port()
            agent = Process([*limit, weir_module.BINARY, "load", "agent", "--listen", f"127.0.0.1:{port}"],
                            tmp_path / f"agent-{len(ours)}.log", env={**os.environ, "WEIR_TOKEN": TOKEN})
            agent.address = f"127.0.0.1:{port}"
            ours.append(agent)
            started.append(agent)
            wait_until(lambda port=port, agent=agent: listening(port) or not agent.running, 20, "the agent listens")
        return ours
    yield start
    statuses = [agent.stop(20) for agent in ours]
    for agent in ours:
        agent.end_leftovers()
        assert not weir_module.BUGS.search(agent.log()), agent.log()
    assert statuses == [0] * len(ours)


def addresses(agents):
    return ",".join(a.address for a in agents)


def test_several_machines_are_one(load, origin, agents):
    """Three agents, together so many requests on so many connections; the sum is whole and exact."""
    server = origin()
    code, result = load("--agents", addresses(agents(3)), "-n", 1000, "-c", 7, "--body", "hello", "-H", "X-A: b",
                        f"http://{server.address}/")
    total = result["total"]
    assert code == 0 and total["sent"] == total["good"] == 1000 and result["connects"] == 7
    service = total["latency_ns"]["service"]
    counts = hdr.decode(service["hdr"])
    assert sum(n for _, n in counts) == service["count"] == 1000
    assert service["min"] <= counts[0][0] and counts[-1][0] >= service["max"]
    assert result["threads"] == 3


def test_agents_share_a_rate_and_a_scenario(load, origin, scripted, agents, tmp_path):
    server, sink = origin(), scripted(answer("x"))
    ours = agents(2)
    code, result = load("--agents", addresses(ours), "-r", 100, "-d", "1s", "-t", 2, f"http://{server.address}/")
    assert code == 0 and result["total"]["tried"] == 100 and result["threads"] == 4
    assert {round(p["wanted"]) for p in result["points"]} == {100}
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "people.csv").write_text("name\nann\nbob\ncat\ndan\n")
    (tmp_path / "s.yaml").write_text(textwrap.dedent(f"""
        target: http://{sink.address}
        users: 8
        data: {{people: data/people.csv}}
        kinds: {{a: {{steps: [{{get: "/${{people.name}}/${{counter}}", name: named}}]}}}}
        """))
    code, result = load("--agents", addresses(ours), "-n", 80, "-t", 2, tmp_path / "s.yaml")
    assert code == 0 and result["total"]["good"] == result["iterations"] == 80
    assert len({r.split(b" ", 2)[1].rpartition(b"/")[2] for r in sink.requests}) == 80  # no two threads count the same
    assert [k["name"] for k in result["kinds"]] == ["named"]


def test_agents_find_the_limit_together(load, scripted, agents):
    """Two agents with a connection each, 50 ms an answer: never more than 40 a second. Each step is a run of both, and what is
    told of it is their sum."""
    def slow(peer):
        while peer.read_request():
            time.sleep(0.05)
            peer.send(answer("x"))
    server = scripted(slow)
    code, result = load("--agents", addresses(agents(2)), "--find-limit", "p99 < 10s, errors < 50%", "-c", 2, "-d", "300ms",
                        "--timeout", "5s", f"http://{server.address}/", timeout=110)
    limit, total, steps = result["limit"], result["total"], result["limit"]["steps"]
    assert code == 0 and 0 < limit["holds"] <= 50 and limit["fails"] > limit["holds"]
    assert [s["rate"] for s in steps[:2]] == [100, 50] and not steps[0]["holds"]
    assert server.connections >= 2 * len([s for s in steps if s["rate"] > 20])
    counts = hdr.decode(total["latency_ns"]["response"]["hdr"])
    assert sum(n for _, n in counts) == total["answers"] > 0
    assert total["answers"] == pytest.approx(steps[-1]["answered"] * result["seconds"])


def test_more_connections_than_a_process_may_have(load, origin, agents):
    """Shared out over processes, also on one machine; what is too much for one is said."""
    server = origin()
    first, second, third = (a.address for a in agents(3, files=500))
    code, result = load("--agents", f"{first},{second},{third}", "-n", 3000, "-c", 1000, "--from", "127.0.0.2,127.0.0.3",
                        f"http://{server.address}/")
    assert code == 0 and result["total"]["errors"] == {} and result["total"]["good"] == 3000 and result["connects"] == 1000
    code, said = load("--agents", first, "-n", 3000, "-c", 1000, f"http://{server.address}/")
    assert code == 1 and "1000 connections need more open files than the 500" in said and first in said


def test_agents_end_with_the_one_that_asked(origin, agents, tmp_path):
    server = origin()
    ours = agents(2)
    child = subprocess.Popen([weir_module.BINARY, "load", "-q", "--agents", addresses(ours), "-r", "50", "-d", "10m", "--interval",
                              "50ms", "--json", tmp_path / "out", f"http://{server.address}/"],
                             env={**os.environ, "WEIR_TOKEN": TOKEN})

    def asked():
        with urllib.request.urlopen(f"http://{server.address}/_count", timeout=20) as page:
            return json.load(page)["requests"]
    wait_until(lambda: asked() > 20, 20, "requests have come")
    child.send_signal(signal.SIGINT)
    assert child.wait(30) == 0
    result = json.loads((tmp_path / "out").read_text())
    assert result["interrupted"] and result["total"]["good"] == result["total"]["sent"] == asked()


def test_a_lost_agent_ends_the_run(origin, agents, tmp_path):
    """Half a load is another load: it says which one, and that is no result."""
    server, ours = origin(), agents(2)
    run = subprocess.Popen([weir_module.BINARY, "load", "--quiet", "--json", tmp_path / "r.json", "--agents", addresses(ours), "-r", "100",
                            "-d", "60s", f"http://{server.address}/"], env={**os.environ, "WEIR_TOKEN": TOKEN}, stderr=subprocess.PIPE, text=True)
    children = Path(f"/proc/{ours[1].pid}/task/{ours[1].pid}/children")
    wait_until(lambda: children.read_text().split(), 20, "its run has begun")
    os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
    said = run.communicate(timeout=60)[1]
    assert run.returncode == 1 and f"agent {ours[1].address}: it ended in the middle of the run" in said and not (tmp_path / "r.json").exists()


def test_agents_want_the_token(load, agents, monkeypatch, weir_command, tmp_path):
    ours = agents(1)
    (tmp_path / "token").write_text("another-token\n")
    code, said = load("--agents", addresses(ours), "--token-file", tmp_path / "token", "http://127.0.0.1:1/")
    assert code == 1 and "refuses the token" in said
    code, said = load("--agents", f"127.0.0.1:{free_port()}", "http://127.0.0.1:1/")
    assert code == 1 and "cannot be reached" in said
    monkeypatch.delenv("WEIR_TOKEN")
    done = weir_command("load", "agent", "--listen", "127.0.0.1:0")
    assert done.returncode == 2 and "token" in done.stderr


@pytest.mark.parametrize("job", [
    {"args": ["--json", "/tmp/x", "http://127.0.0.1:1/"]},
    {"args": ["/etc/passwd.yaml"]},
    {"args": ["../s.yaml"]},
    {"args": ["--body", "@/etc/passwd", "http://127.0.0.1:1/"]},
    {"args": ["--replay"]},
    {"args": ["--connect", "unix:/run/x.sock", "http://127.0.0.1:1/"]},
    {"args": ["s.yaml"], "files": [{"name": "../s.yaml", "base64": ""}]},
    {"args": ["s.yaml"], "files": [{"name": "/s.yaml", "base64": ""}]},
    {"args": [1]},
    [],
])
def test_an_agent_does_only_what_it_is_for(agents, job):
    agent, = agents(1)
    request = urllib.request.Request(f"http://{agent.address}/v1/load", json.dumps(job).encode(),
                                     {"Authorization": f"Bearer {TOKEN}"})
    if job == []:
        request.data = b"nonsense"
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(request, timeout=20)
