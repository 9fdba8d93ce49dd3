"""Reloads under load: nobody notices, nothing is left behind; and one that is refused changes nothing."""
import re
import signal
import time

import pytest

from lib.client import Client
from lib.conf import one_service
from lib.load import Tokens
from lib.ports import free_port
from lib.process import wait_until
from lib.servers import answer
from lib.weir import BUGS, SANITIZED



def two_confs(gate_port, servers, extra_port, upstream="keepalive"):
    """Weights, filters, servers, balancers, routes and listeners differ; what stays is the first listener."""
    a, b, c = (s.address for s in servers)
    padding = "# padding\n" * 90000  # a generation that is not freed shall be seen
    one = f'''
listen: ["127.0.0.1:{gate_port}"]
routes:
  - {{match: /*, service: shop, headers: {{response: {{set: {{x-conf: one}}}}}}}}
services:
  shop: {{servers: [{{address: "{a}", weight: 5}}, "{b}"], upstream: {upstream}}}
{padding}'''
    two = f'''
listen: ["127.0.0.1:{gate_port}", "127.0.0.1:{extra_port}"]
routes:
  - {{match: /*, service: shop, rate_limit: 1000000/s per ip, mirror: 1% to other, headers: {{response: {{set: {{x-conf: two}}}}}}}}
  - {{match: /never/*, service: other}}
services:
  other: {{servers: ["{c}"]}}
  shop:
    servers: [{{address: "{c}", weight: 2}}, "{b}"]
    balance: least_request
    health_check: GET /healthz every 50ms
    upstream: {upstream}
{padding}'''
    return one, two


def storm(gate, confs, seconds, pause_s):
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end:
        gate.write_conf(confs[count % 2])
        gate.signal(signal.SIGHUP)
        count += 1
        time.sleep(pause_s)
    return count


@pytest.mark.usefixtures("each_loop")
def test_a_reload_every_100_ms(weir, origin, upstream):
    servers = [origin(), origin(), origin()]
    extra = free_port()
    gate = weir(one_service(servers[0]))
    confs = two_confs(gate.port, servers, extra, upstream)
    with Tokens(gate.port, connections=4) as running:
        storm(gate, confs, 2, 0.1)
        before = gate.rss_kib()
        count = storm(gate, confs, 8 if upstream == "keepalive" and not SANITIZED else 3, 0.1)
        running.assert_clean(100)
    assert running.reopened == 0
    assert count >= 3  # on a machine that is busy with other things
    assert gate.metric("weir_conf_reloads_refused_total") == 0
    assert gate.metric("weir_conf_reloads_total") > count / 2
    wait_until(lambda: gate.metric("weir_conf_generation") == gate.metric("weir_conf_reloads_total") + 1)  # the last may be under way
    if not SANITIZED:  # each generation has 900 KB of text alone; buffers may still grow once, by 16 MiB
        assert gate.rss_kib() - before < 20000, count


def test_an_old_generation_lives_as_long_as_its_requests(weir, origin):
    server, other = origin(), origin()
    gate = weir(one_service(server, route="headers: {response: {set: {x-conf: old}}}"))
    with gate.connect() as client:
        client.send_request("GET", "/delay/1000")
        wait_until(lambda: gate.metric("weir_upstream_requests_total", server=server.address) == 1)
        for _ in range(3):
            gate.reload(one_service(other, route="headers: {response: {set: {x-conf: new}}}"))
        response = client.read_response()
        assert response.status == 200 and response.get("x-conf") == "old"
        response = client.get()  # the next one of the same connection
        assert response.get("x-conf") == "new"


def test_a_reload_keeps_idle_connections_to_servers(weir, scripted):
    server = scripted(answer())
    conf = one_service(server, root="workers: 1")
    gate = weir(conf)
    with gate.connect() as client:
        client.get()
        for n in range(5):
            gate.reload(conf + f"# {n}\n")
            assert client.get().status == 200
    assert server.connections == 1
    assert gate.metric("weir_http_requests_total", service="shop", code="2xx") == 6


def test_listeners_come_and_go(weir, scripted):
    server = scripted(answer("ok"))
    one, two = free_port(), free_port()
    conf = one_service(server)
    gate = weir(f'listen: ["127.0.0.1:{one}"]\n' + conf)
    kept = Client(one)
    assert kept.get().status == 200
    gate.reload(f'listen: ["127.0.0.1:{one}", "127.0.0.1:{two}"]\n' + conf)
    for port in (one, two):
        with Client(port) as client:
            assert client.get().text == "ok"
    gate.reload(f'listen: ["127.0.0.1:{two}"]\n' + conf)
    with pytest.raises(ConnectionRefusedError):
        Client(one)
    assert kept.get().status == 200  # no connection is closed by a reload
    kept.close()
    gate.reload(f'listen: [{{address: "127.0.0.1:{two}", backlog: 100}}]\n' + conf)  # other options, same address
    for _ in range(5):
        with Client(two) as client:
            assert client.get().text == "ok"


def test_admin_moves(weir, scripted):
    conf = one_service(scripted(answer()))
    gate = weir(conf)
    old = gate.admin_port
    gate.admin_port = free_port()
    gate.reload(conf + f"admin: 127.0.0.1:{gate.admin_port}\n")
    assert gate.metric("weir_conf_generation") == 2
    with pytest.raises(ConnectionRefusedError):
        Client(old)


BROKEN = [
    ("routes: [{match: /*, service: shp}]\nservices: {shop: {servers: [\"127.0.0.1:1\"]}}\n", 'no "shp"'),
    ("routes: [{match: /*, service: shop, rate_limits: 5/s}]\nservices: {shop: {servers: [\"127.0.0.1:1\"]}}\n",
     '"rate_limits"'),
    ("routes: [\n", "YAML"),
    ("", ""),
]


def test_a_refused_reload_changes_nothing_and_says_why(weir, scripted, load):
    server = scripted(answer("ok"))
    good = one_service(server)
    gate = weir(good)
    running = load(gate.port, connections=2, check=lambda r: r.body == b"ok")
    before = None
    for n in range(100):
        text, says = BROKEN[n % len(BROKEN)]
        at = len(gate.log())
        gate.reload(text, done="reload refused")
        line = next(l for l in gate.log()[at:].splitlines() if "reload refused" in l)
        assert says in line and re.search(rf"{re.escape(str(gate.conf_path))}:\d+:\d+: ", line), line
        if n == 20:
            before = gate.rss_kib()
    assert gate.rss_kib() - before < 4000 or SANITIZED
    running.assert_clean(100)
    assert running.reopened == 0
    assert gate.metric("weir_conf_reloads_refused_total") == 100
    assert gate.metric("weir_conf_generation") == 1
    gate.reload(good, done="reloaded generation=")
    assert gate.get().text == "ok"


def test_a_file_that_is_gone_is_a_refused_reload(weir, scripted):
    gate = weir(one_service(scripted(answer("ok"))))
    gate.conf_path.unlink()
    gate.reload(done="reload refused")
    assert str(gate.conf_path) in gate.log()
    assert gate.get().text == "ok"


def test_a_new_listener_whose_address_is_taken_refuses_the_whole(weir, scripted, load):
    server, other = scripted(answer("ok")), scripted(answer("new"))
    good = one_service(server)
    gate = weir(good)
    free = free_port()
    running = load(gate.port, connections=2, check=lambda r: r.body == b"ok")
    for _ in range(5):
        gate.reload(f'listen: ["127.0.0.1:{gate.port}", "127.0.0.1:{free}", "127.0.0.1:{server.port}"]\n'
                    + one_service(other), done="reload refused", seconds=20)
        assert f":{server.port}" in gate.log().splitlines()[-1]
    with pytest.raises(ConnectionRefusedError):
        Client(free)  # not even half of it is there
    running.assert_clean(10)
    assert running.reopened == 0
    assert gate.metric("weir_conf_generation") == 1
    gate.reload(f'listen: ["127.0.0.1:{gate.port}", "127.0.0.1:{free}"]\n' + one_service(other),
                done="reloaded generation=")
    with Client(free) as client:
        assert client.get().text == "new"


def test_an_access_log_that_cannot_be_opened_refuses_the_whole(weir, scripted):
    server = scripted(answer("ok"))
    gate = weir(one_service(server))
    gate.reload(one_service(server) + "access_log: /nonexistent/folder/x.log\n", done="reload refused")
    assert "/nonexistent/folder/x.log" in gate.log()
    assert gate.get().text == "ok"
    gate.reload(one_service(server), done="reloaded generation=")


def test_changed_workers_are_said(weir, scripted):
    conf = one_service(scripted(answer("ok")))
    gate = weir(conf + "workers: 2\n")
    gate.reload(conf + "workers: 1\n", done="reloaded generation=")
    assert "workers" in gate.log()
    assert gate.get().text == "ok"
    assert not BUGS.search(gate.log())
