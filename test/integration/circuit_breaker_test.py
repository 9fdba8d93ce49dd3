"""doc/circuit_breaker.md, against the running gate and an origin that fails when it is told to."""
import json
import threading
import time

import pytest

from lib.client import Client
from lib.process import wait_until
from lib.servers import answer

CONF = """
workers: 2
routes:
  - match: /*
    service: shop
    circuit_breaker: {breaker}
services: {{shop: {{servers: ["{address}"]}}}}
"""


def own(origin, path):
    with Client(origin.port) as client:
        return client.get(path).text


def asked(origin):
    """How many requests have reached it."""
    return json.loads(own(origin, "/_count"))["requests"]


def metric(gate, name):
    return gate.metric(f"weir_circuit_breaker_{name}", route="/*")


def statuses(gate, count):
    """Each on a connection, and so perhaps on a worker, of its own."""
    return [gate.get().status for _ in range(count)]


def test_the_short_form_of_the_manual(weir_command, tmp_path):
    conf = tmp_path / "weir.yaml"
    conf.write_text("""
listen: [":8080"]
admin: 127.0.0.1:9901
workers: auto
access_log: stdout            # or off, or a path
routes:
  - match: /api/*
    service: shop
    rate_limit: 50/s per ip
    mirror: 30% to shadow
    circuit_breaker: 5% over 10s
services:
  shop:
    servers: [10.0.0.1:80, 10.0.0.2:80, {address: 10.0.0.3:80, weight: 2}]
    balance: least_request
    health_check: GET /healthz every 2s
  shadow:
    servers: [10.0.0.9:80]
""")
    checked = weir_command("check", "-c", conf)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    conf.write_text(conf.read_text().replace("5% over 10s", "5 over 10s"))
    checked = weir_command("check", "-c", conf)
    assert checked.returncode == 1
    assert f"{conf}:11:" in checked.stdout + checked.stderr


def test_it_opens_after_requests_min_and_the_server_is_left_alone(weir, origin, each_loop):
    shop = origin()
    gate = weir(CONF.format(breaker="{errors: 50%, window: 1m, open: 1h}", address=shop.address))
    assert statuses(gate, 5) == [200] * 5
    own(shop, "/_control?status=500")
    assert statuses(gate, 15) == [500] * 15  # twenty answers, most of them errors
    assert asked(shop) == 20
    assert statuses(gate, 10) == [503] * 10
    assert asked(shop) == 20
    refused = gate.get()
    assert 3590 <= int(refused.get("retry-after")) <= 3600
    assert refused.text == "503 Service Unavailable\n"
    assert metric(gate, "opened_total") == 1
    assert metric(gate, "refused_total") == 11
    assert metric(gate, "errors_total") == 15
    assert metric(gate, "open") == 1
    assert "opened route=/* errors=15 slow=0 requests=20" in gate.log()
    wait_until(lambda: gate.access() and gate.access()[-1].get("answered_by") == "circuit_breaker")


def test_fewer_errors_than_the_share_pass(weir, origin):
    shop = origin()
    gate = weir(CONF.format(breaker="{errors: 40%, window: 1m, requests_min: 10, open: 1h}", address=shop.address))
    assert statuses(gate, 10) == [200] * 10
    own(shop, "/_control?status=503")
    assert statuses(gate, 7) == [503] * 7  # 7 of 17 are more than 40%: the seventh is the last
    assert asked(shop) == 17
    assert gate.get().get("retry-after")
    assert asked(shop) == 17


def test_it_recovers_through_half_open(weir, origin):
    shop = origin()
    gate = weir(CONF.format(breaker="{errors: 50%, requests_min: 4, open: 300ms, probes: 2, ramp: 0ms}", address=shop.address))
    own(shop, "/_control?status=500")
    assert statuses(gate, 4) == [500] * 4
    wait_until(lambda: asked(shop) == 5 or gate.get() is None)  # asks until one probe passes, and fails
    assert metric(gate, "half_open") == 0
    assert metric(gate, "opened_total") == 2
    assert metric(gate, "closed_total") == 0
    own(shop, "/_control?status=0")
    wait_until(lambda: gate.get().status == 200)
    wait_until(lambda: gate.get().status == 200)
    assert metric(gate, "closed_total") == 1
    assert metric(gate, "open") == 0 and metric(gate, "half_open") == 0
    assert statuses(gate, 10) == [200] * 10
    own(shop, "/_control?status=500")
    assert statuses(gate, 3) == [500] * 3  # 3 of 13: what was before it opened is forgotten
    assert metric(gate, "open") == 0
    assert "closed route=/*" in gate.log()


def test_while_the_probes_are_out_the_others_are_refused(weir, scripted):
    let_go = threading.Event()

    def script(peer):
        while request := peer.read_request():
            if b"/slow" in request:
                let_go.wait(30)
            peer.send(answer(status="500 No" if b"/bad" in request else "200 OK"))

    shop = scripted(script)
    gate = weir(CONF.format(breaker="{errors: 50%, requests_min: 2, open: 100ms, probes: 2, ramp: 0ms}", address=shop.address))
    assert [gate.get("/bad").status for _ in range(2)] == [500, 500]
    time.sleep(0.2)
    with gate.connect() as one, gate.connect() as two:
        one.send_request(path="/slow")
        two.send_request(path="/slow")
        wait_until(lambda: len(shop.requests) == 4)
        refused = gate.get()
        assert (refused.status, refused.get("retry-after")) == (503, "1")
        assert metric(gate, "half_open") == 1
        let_go.set()
        assert [one.read_response().status, two.read_response().status] == [200, 200]
    assert gate.get().status == 200
    assert metric(gate, "probes_total") == 2
    assert len(shop.requests) == 5


def test_a_server_that_is_gone_opens_it(weir, scripted):
    shop = scripted(answer())
    shop.stop()
    gate = weir(CONF.format(breaker="{errors: 100%, requests_min: 3, open: 1h}", address=shop.address))
    answers = [gate.get() for _ in range(4)]
    assert [a.get("retry-after") is not None for a in answers] == [False] * 3 + [True]
    assert {a.status for a in answers[:3]} <= {502, 503}
    assert metric(gate, "errors_total") == 3


def test_what_clients_do_wrong_does_not_count(weir, origin):
    shop = origin()
    gate = weir(CONF.format(breaker="{errors: 1%, requests_min: 1, open: 1h}", address=shop.address))
    for _ in range(3):
        with gate.connect() as client:  # says ten bytes, sends three and goes
            client.send_request("POST", "/echo", {"Content-Length": "10"}, b"abc")
            client.finish()
            client.read_all()
        with gate.connect() as client:
            client.send_request("POST", "/echo", {"Transfer-Encoding": "chunked"}, b"no chunk\r\n")
            client.read_all()
    assert gate.get("/status/404").status == 404
    assert gate.get("/status/501").status == 501
    assert gate.get().status == 200
    assert metric(gate, "errors_total") == 0
    assert gate.get("/status/500").status == 500
    assert gate.get().status == 503


def test_refusals_of_rate_limit_are_not_seen_by_it(weir, origin):
    shop = origin()
    gate = weir(CONF.format(breaker="{errors: 50%, requests_min: 4, open: 1h}\n    rate_limit: 3/h",
                            address=shop.address))
    own(shop, "/_control?status=500")
    assert statuses(gate, 6) == [500] * 3 + [429] * 3
    assert metric(gate, "opened_total") == 0


def test_slow_answers_open_it(weir, origin):
    shop = origin()
    gate = weir(CONF.format(breaker="{errors: 100%, window: 1m, requests_min: 4, open: 1h, slow: 50% over 100ms}",
                            address=shop.address))
    assert gate.get().status == 200
    own(shop, "/_control?delay=200")
    wait_until(lambda: gate.get().status == 503)
    assert metric(gate, "slow_total") >= 2
    assert metric(gate, "errors_total") == 0
    assert metric(gate, "opened_total") == 1


def test_after_the_probes_a_growing_share_passes(weir, origin):
    """The ramp takes an hour, so that during the test about a fiftieth passes, whatever the machine does."""
    shop = origin()
    gate = weir(CONF.format(breaker="{errors: 50%, requests_min: 4, open: 100ms, probes: 2, ramp: 1h}",
                            address=shop.address))
    own(shop, "/_control?status=500")
    assert statuses(gate, 4) == [500] * 4
    own(shop, "/_control?status=0")
    wait_until(lambda: gate.get().status and metric(gate, "ramp") == 1)
    before = asked(shop)
    with gate.connect() as client:
        got = [client.get().status for _ in range(1000)]
    assert asked(shop) - before == got.count(200)
    assert 0 < got.count(200) < 100  # 20 wanted; 6 sigma are 27
    assert set(got) == {200, 503}
    assert metric(gate, "closed_total") == 0


def test_operators_see_it(weir, origin):
    shop = origin()
    gate = weir(CONF.format(breaker="{errors: 50%, requests_min: 4, open: 1h}", address=shop.address))
    own(shop, "/_control?status=500")
    assert '"state":"closed"' in gate.admin("/v1/filters").text
    assert statuses(gate, 5) == [500] * 4 + [503]
    shown = gate.admin("/v1/filters").text
    assert '"state":"open"' in shown and '"opened":1' in shown and '"refused":1' in shown


SERVICE = """
workers: 2
routes:
  - {{match: /a/*, service: shop}}
  - {{match: /b/*, service: shop}}
services:
  shop:
    servers: [{servers}]
    circuit_breaker: {breaker}
"""


def test_a_services_breaker_is_that_of_all_its_routes(weir, origin):
    shop = origin()
    gate = weir(SERVICE.format(breaker="{errors: 50%, requests_min: 4, open: 1h}", servers=f'"{shop.address}"'))
    own(shop, "/_control?status=500")
    assert [gate.get(p).status for p in ("/a/", "/b/", "/a/", "/b/", "/a/", "/b/")] == [500] * 4 + [503] * 2
    assert asked(shop) == 4
    assert gate.metric("weir_circuit_breaker_refused_total", service="shop") == 2
    assert gate.get("/a/").get("retry-after")
    gate.reload()
    assert gate.get("/b/").status == 503


def test_a_servers_breaker_leaves_it_out(weir, origin, each_loop):
    good, bad = origin(), origin()
    gate = weir(SERVICE.format(breaker="{errors: 50%, window: 1m, requests_min: 5, open: 1h, per: server}",
                               servers=f'"{good.address}", "{bad.address}"'))
    own(bad, "/_control?status=500")
    wait_until(lambda: gate.get("/a/").status and gate.metric("weir_circuit_breaker_open", server=bad.address) == 1)
    before = asked(bad)
    assert [gate.get(p).status for p in ("/a/", "/b/") * 10] == [200] * 20
    assert asked(bad) == before
    assert gate.metric("weir_circuit_breaker_opened_total", server=good.address) == 0
    gate.reload()
    assert [gate.get("/a/").status for _ in range(10)] == [200] * 10


def test_the_last_server_is_asked_whatever_its_breaker_says(weir, origin):
    shop = origin()
    gate = weir(SERVICE.format(breaker="[{errors: 50%, requests_min: 2, open: 1h, per: server}]",
                               servers=f'"{shop.address}"'))
    own(shop, "/_control?status=500")
    assert [gate.get("/a/").status for _ in range(6)] == [500] * 6
    assert gate.metric("weir_circuit_breaker_open", server=shop.address) == 1
    own(shop, "/_control?status=0")
    assert gate.get("/a/").status == 200


def test_a_server_comes_back_by_a_growing_share(weir, origin):
    """The ramp takes an hour: about a fiftieth of the picks that fall on it stand."""
    good, bad = origin(), origin()
    gate = weir(SERVICE.format(breaker="{errors: 50%, window: 1m, requests_min: 4, open: 100ms, ramp: 1h, per: server}",
                               servers=f'"{good.address}", "{bad.address}"'))
    own(bad, "/_control?status=500")
    wait_until(lambda: gate.get("/a/").status and gate.metric("weir_circuit_breaker_opened_total", server=bad.address))
    own(bad, "/_control?status=0")
    wait_until(lambda: gate.get("/a/").status and gate.metric("weir_circuit_breaker_ramp", server=bad.address) == 1)
    before = asked(bad)
    with gate.connect() as client:
        assert {client.get("/a/").status for _ in range(1000)} == {200}
    assert asked(bad) - before < 100  # of 500 without a breaker; 10 wanted


def test_a_service_has_one_of_each(weir_command, tmp_path):
    conf = tmp_path / "weir.yaml"
    text = 'listen: [":1"]' + SERVICE.format(breaker="[5% over 10s, 50% over 10s per server]", servers='"127.0.0.1:1"')
    conf.write_text(text)
    assert weir_command("check", "-c", conf).returncode == 0
    conf.write_text(text.replace(" per server", ""))
    checked = weir_command("check", "-c", conf)
    assert checked.returncode == 1
    assert "one per service and one per server" in checked.stdout + checked.stderr


def test_a_reload_keeps_it_unless_its_settings_change(weir, origin):
    shop = origin()
    conf = CONF.format(breaker="{errors: 50%, requests_min: 4, open: 1h}", address=shop.address)
    gate = weir(conf)
    own(shop, "/_control?status=500")
    assert statuses(gate, 3) == [500] * 3
    gate.reload()
    assert gate.get().status == 500  # the fourth of four, three of them before the reload
    assert gate.get().status == 503
    gate.reload()
    assert statuses(gate, 4) == [503] * 4
    assert asked(shop) == 4
    assert metric(gate, "open") == 1
    gate.reload(conf.replace("50%", "60%"))
    assert gate.get().status == 500
    wait_until(lambda: metric(gate, "open") == 0)


def test_workers_share_it(weir, origin, each_loop):
    """Many connections at once, so both workers have some of them."""
    shop = origin()
    gate = weir(CONF.format(breaker="{errors: 100%, window: 1m, requests_min: 40, open: 1h}", address=shop.address))
    own(shop, "/_control?status=500")
    clients = [gate.connect() for _ in range(32)]
    got = [c.get().status for _ in range(3) for c in clients]
    for c in clients:
        c.close()
    assert got == [500] * 40 + [503] * 56
    assert asked(shop) == 40
    assert metric(gate, "opened_total") == 1
    assert metric(gate, "refused_total") == 56


@pytest.mark.parametrize("breaker,words", [("{errors: 0%}", "0% is out of bounds"),
                                           ("{window: 10s}", '"errors" is missing'),
                                           ("{errors: 5%, probes: 0}", "0 is out of bounds"),
                                           ("5% over 1ms", "1ms is out of bounds")])
def test_a_mistake_has_a_place(weir_command, tmp_path, breaker, words):
    conf = tmp_path / "weir.yaml"
    conf.write_text('listen: [":1"]' + CONF.format(breaker=breaker, address="127.0.0.1:1"))
    checked = weir_command("check", "-c", conf)
    assert checked.returncode == 1
    assert f"{conf}:6:" in checked.stdout + checked.stderr
    assert words in checked.stdout + checked.stderr
