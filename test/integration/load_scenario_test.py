"""weir load with a scenario: what virtual users send, what they take from answers, and that the sums are right."""
import json
import re
import subprocess
import sys
import textwrap
import urllib.request
import uuid

import pytest

from lib import weir as weir_module
from lib.ports import free_port, listening
from lib.process import Process, wait_until
from lib.servers import answer

SHOP = weir_module.ROOT / "examples" / "flash-sale"


@pytest.fixture
def load(weir_command, tmp_path):
    """load(text, *args) -> (exit code, the JSON result or what was said)"""
    def run(text, *args, timeout=90):
        (tmp_path / "scenario.yaml").write_text(textwrap.dedent(text))
        done = weir_command("load", "--quiet", "--json", "-", *args, tmp_path / "scenario.yaml", timeout=timeout)
        assert not weir_module.BUGS.search(done.stderr), done.stderr
        return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr
    return run


def kinds(result):
    return {k["name"]: k for k in result["kinds"]}


def shop_script(peer):
    """A login with a cookie and a token, orders with ids, and a page that wants both."""
    while request := peer.read_request():
        line = request.split(b"\r\n", 1)[0].decode()
        if line.startswith("POST /login"):
            user = json.loads(request.partition(b"\r\n\r\n")[2])["user"]
            peer.send(answer("{}", headers=[("Set-Cookie", f"SID={user}; Path=/"), ("X-Token", f"t-{user}")]))
        elif line.startswith("POST /order"):
            peer.send(answer(json.dumps({"order": {"id": f"o~{uuid.uuid4()}", "lines": [{"n": 1}, {"n": 2}]}})))
        elif line.startswith("GET /page"):
            peer.send(answer("<p>ref=42-7</p>"))
        else:
            peer.send(answer("ok"))


def test_what_is_taken_comes_back(load, scripted, tmp_path, each_loop):
    server = scripted(shop_script)
    (tmp_path / "people.csv").write_text('name,mail\nann,"a,x@example"\nbob,b@example\n')
    code, result = load(f"""
        target: http://{server.address}
        users: 3
        duration: 5s
        spread: 0s
        data: {{people: people.csv in_order}}
        before:
          - post: /login
            json: '{{"user": "u${{user}}"}}'
            take: {{token: header X-Token}}
        kinds:
          order:
            steps:
              - post: /order
                body: '${{people.name}} ${{people.mail}} ${{counter}} ${{uuid}} ${{token}}'
                take: {{id: json /order/id, second: json /order/lines/1/n}}
              - get: /page
                take: {{ref: 'regex ref=([0-9]+)'}}
                think: 1ms
              - get: /order/${{id}}?ref=${{ref}}&n=${{second}}
                fields: {{X-Token: "${{token}}"}}
                expect: {{contains: ok}}
        """, "-n", "30", "--loop", each_loop)
    assert code == 0 and result["total"]["errors"] == {} and result["iterations"] == 30
    assert result["total"]["good"] == 3 + 90
    orders = [r.partition(b"\r\n\r\n") for r in server.requests if r.startswith(b"POST /order")]
    bodies = [re.fullmatch(rb"(ann a,x@example|bob b@example) (\d+) (\S{36}) t-u(\d)", b) for _, _, b in orders]
    assert all(bodies)
    assert sorted(int(m[2]) for m in bodies) == list(range(1, 31))
    assert len({uuid.UUID(m[3].decode()) for m in bodies}) == 30
    assert sum(m[1].startswith(b"ann") for m in bodies) == 15  # each line in its turn
    for head, _, body in orders:  # each user has its own cookie
        assert b"\r\nCookie: SID=u" + body[-1:] + b"\r\n" in head + b"\r\n"
    finals = [r for r in server.requests if r.startswith(b"GET /order/")]
    assert len(finals) == 30
    for final in finals:
        assert re.match(rb"GET /order/o~[0-9a-f-]{36}\?ref=42&n=2 HTTP/1.1\r\n", final)
        assert re.search(rb"\r\nX-Token: t-u\d\r\n", final)


@pytest.mark.parametrize("expect,kind", [("201", "status"), ("{contains: nothing}", "body"), ("{matches: '^x'}", "body"),
                                         ("{json: {/a: 2}}", "body"), ("{within: 1ms}", "time")])
def test_expectations(load, origin, expect, kind):
    server = origin()
    path = "/delay/20" if kind == "time" else "/echo"
    code, result = load(f"""
        target: http://{server.address}
        users: 2
        kinds: {{a: {{steps: [{{get: {path}, expect: {expect}}}, GET /never]}}}}
        """, "-n", "6", "--fail-if", "errors > 99%")
    assert code == 3 and kinds(result)["a GET " + path]["errors"] == {kind: 6}
    assert kinds(result)["a GET /never"]["sent"] == 0  # the rest of such a visit is not made


def test_a_timeout_counts_with_its_wait(load, origin):
    code, result = load(f"""
        target: http://{origin().address}
        timeout: 200ms
        users: 2
        kinds: {{a: {{steps: [GET /hang]}}}}
        """, "-n", "4")
    service = result["total"]["latency_ns"]["service"]
    assert code == 0 and result["total"]["errors"] == {"timeout": 4}
    assert service["count"] == 4 and service["min"] >= 200 * 10**6


def test_what_cannot_be_taken(load, origin):
    server = origin()
    code, result = load(f"""
        target: http://{server.address}
        users: 2
        kinds: {{a: {{steps: [{{get: /, take: {{x: header X-None}}}}, "GET /${{x}}"]}}}}
        """, "-n", "4")
    assert code == 0 and result["total"]["errors"] == {"extract": 4} and result["total"]["sent"] == 4


def test_a_rate_of_visits(load, origin):
    server = origin()
    code, result = load(f"""
        target: http://{server.address}
        stages: [{{constant: 50/s for 500ms}}, {{burst: 10x for 400ms}}, {{ramp: 100/s to 0/s over 500ms}}]
        arrivals: even
        users_max: 300
        kinds: {{a: {{steps: [GET /, {{get: /delay/30, name: slow}}]}}}}
        """, "-t", "2")
    total, slow = result["total"], kinds(result)["slow"]
    visits = 25 + 200 + 25
    unsent = total["errors"].get("unsent", 0)
    assert code == 0 and result["open_loop"] and set(total["errors"]) <= {"unsent"}
    assert kinds(result)["a GET /"]["sent"] + unsent == visits
    assert slow["latency_ns"]["service"]["min"] >= 28 * 10**6


def test_users_come_and_go(load, origin):
    """From the points of the result: no more users than the stages ask for, and some of them later than others."""
    server = origin()
    code, result = load(f"""
        target: http://{server.address}
        stages: [{{constant: 2 for 300ms}}, {{constant: 12 for 1s}}, {{constant: 1 for 300ms}}]
        spread: 0s
        think: 20ms
        kinds: {{a: {{steps: [GET /]}}}}
        """, "--interval", "200ms")
    assert code == 0 and result["total"]["errors"] == {}
    assert result["connects"] == 12  # each of them has one of its own
    assert result["connections"] == 12


def test_who_leaves_does_so_from_thoughts_too(load, origin):
    """Three of four are gone when the level falls, however long they would think, and begin anew when it rises."""
    code, result = load(f"""
        target: http://{origin().address}
        stages: [{{constant: 4 for 500ms}}, {{constant: 1 for 3s}}, {{constant: 4 for 1s}}]
        spread: 0s
        think: 10m
        kinds: {{a: {{steps: [GET /]}}}}
        """)
    assert code == 0 and result["total"]["errors"] == {}
    assert result["iterations"] == 4 + 3


def test_a_connection_that_rests_too_long_is_no_error(load, nginx):
    """The server closes idle connections while users think: they connect again."""
    server = nginx("keepalive_timeout 1; location / { return 200 x; }")
    code, result = load(f"""
        target: http://{server.address}
        users: 2
        spread: 0s
        duration: 30s
        kinds: {{a: {{steps: [{{get: /, think: 1800ms}}, GET /]}}}}
        """, "-n", "2")
    assert code == 0 and result["total"]["errors"] == {} and result["total"]["good"] == 4
    assert 2 <= result["connects"] <= 4  # four, if the server closes as soon as it may


@pytest.mark.parametrize("text,place,says", [
    ("users: 1\nkinds: {a: {steps: [{get: '/${x}'}]}}", ":3:", 'no variable "x"'),
    ("users: 1\nkinds: {a: {steps: [{got: /}]}}", ":3:", 'did you mean "get"'),
    ("users: many\nkinds: {a: {steps: [{get: /}]}}", ":2:8:", "many"),
    ("users: 1\nkinds: [", ":", "not YAML"),
])
def test_mistakes_name_their_place(load, text, place, says):
    code, said = load("target: http://127.0.0.1:1\n" + text)
    assert code == 2 and f"scenario.yaml{place}" in said and says in said


@pytest.mark.parametrize("args,says", [
    (["-c", "5"], "is said by the scenario"),
    (["-r", "5"], "is said by the scenario"),
    (["--fail-if", "b.p99 > 1s"], 'there is no kind "b"; there are a'),
])
def test_options_that_do_not_fit(load, args, says):
    code, said = load("target: http://127.0.0.1:1\nusers: 1\nkinds: {a: {steps: [GET /]}}", *args)
    assert code == 2 and says in said


def test_too_many_users(load):
    code, said = load("target: http://127.0.0.1:1\nusers: 1000000\nkinds: {a: {steps: [GET /]}}")
    assert code == 1 and "max_map_count" in said


@pytest.fixture
def shops(started, tmp_path):
    """Three shop servers of the example, with so much to sell that nobody is sold out."""
    def start(stock):
        ports = [free_port() for _ in range(3)]
        for i, port in enumerate(ports):
            started.append(Process([sys.executable, SHOP / "shop.py", "--port", port, "--name", f"shop-{i}", "--stock", stock],
                                   tmp_path / f"shop-{i}.log"))
            ours.append(started[-1])
        for port in ports:
            wait_until(lambda port=port: listening(port), 20, "a shop listens")
        return ports
    ours = []
    yield start
    for shop in ours:
        shop.kill()


def test_five_thousand_users_of_a_flash_sale(load, weir, shops):
    """70% buy, 20% look at the page, 10% ask for the stock, through weir. What the servers have sold is what was
    reported as sold, and kinds come as their weights say (six sigma)."""
    stock, users, visits = 100000, 5000, 6000
    ports = shops(stock)
    gate = weir(f"""
        routes: [{{match: /*, service: shop}}]
        access_log: off
        services:
          shop: {{servers: [{", ".join(f"127.0.0.1:{p}" for p in ports)}], balance: least_request}}
        """)
    text = (SHOP / "load.yaml").read_text()
    for old, new in (("http://localhost:8080", gate.url), ("users: 5000", f"users: {users}"), ("spread: 5s", "spread: 1s"),
                     ("think: exponential 4s", "think: exponential 500ms"), ("[200, 202, 409, 410, 429]", "200"),
                     ("duration: 1m", "duration: 5m\ntimeout: 60s")):
        assert old in text
        text = text.replace(old, new)
    code, result = load(text, "-n", str(visits), timeout=110)
    by_kind = kinds(result)
    assert code == 0 and result["iterations"] == visits and result["total"]["errors"] == {}
    sold = 0
    for port in ports:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/product", timeout=20) as product:
            sold += stock - json.load(product)["left_here"]
    assert sold == by_kind["buy"]["good"] == by_kind["buy"]["sent"]
    for kind, share in (("buy", 0.7), ("page GET /", 0.2), ("stock", 0.1)):
        assert abs(by_kind[kind]["sent"] - visits * share) < 6 * (visits * share * (1 - share)) ** 0.5
    assert by_kind["page GET /shop.js"]["good"] == by_kind["page GET /"]["good"]


def test_the_example_is_well(weir_command, tmp_path):
    """Nobody listens: but it is understood."""
    done = subprocess.run([weir_module.BINARY, "load", "-n", "3", "-q", SHOP / "load.yaml", f"http://127.0.0.1:{free_port()}"],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == ""
