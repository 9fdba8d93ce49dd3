"""doc/fault.md, against the running gate."""
import time

import pytest

from lib.process import wait_until
from lib.servers import answer, echo_target

CONF = """
workers: 1
routes:
  - match: /*
    service: shop
    fault: {fault}
services: {{shop: {{servers: ["{shop}"]}}}}
"""


def counted(gate):
    return {k: gate.metric(f"weir_fault_{k}_total", route="/*") for k in ("delayed", "aborted", "busy")}


def test_a_delay_holds_the_request_up(weir, scripted, each_loop):
    shop = scripted(echo_target)
    gate = weir(CONF.format(fault="{delay: 300ms, only: {path: /slow*}}", shop=shop.address))
    begin = time.monotonic()
    assert gate.get("/slow").text == "/slow"
    assert time.monotonic() - begin >= 0.3
    assert gate.get("/fast").text == "/fast"
    assert counted(gate) == {"delayed": 1, "aborted": 0, "busy": 0}


def test_an_abort_asks_no_server(weir, scripted):
    shop = scripted(answer())
    gate = weir(CONF.format(fault='{abort: 503, only: {headers: {X-Test: "*"}}}', shop=shop.address))
    got = gate.get("/", {"X-Test": "1"})
    assert (got.status, got.text) == (503, "503 Service Unavailable\n")
    assert shop.requests == []
    assert gate.get("/").status == 200
    wait_until(lambda: [a.get("answered_by") for a in gate.access()] == ["fault", None])


def test_a_share_is_drawn(weir, scripted):
    gate = weir(CONF.format(fault="{abort: 500 for 30%}", shop=scripted(answer()).address))
    with gate.connect() as client:
        failed = sum(client.get().status == 500 for _ in range(1000))
    assert 200 < failed < 400  # six standard deviations
    assert counted(gate)["aborted"] == failed


def test_a_request_may_ask_where_it_is_allowed(weir, scripted):
    shop = scripted(answer())
    gate = weir(CONF.format(fault="{by_header: true, delay_max: 100ms}", shop=shop.address))
    asked = {"X-Weir-Fault-Abort": "502", "X-Weir-Fault-Delay": "3600000"}
    assert gate.get("/", asked).status == 502
    assert gate.get("/", {"X-Weir-Fault-Abort": "200"}).status == 200
    assert b"fault" not in shop.requests[0].lower()
    assert counted(gate) == {"delayed": 1, "aborted": 1, "busy": 0}
    gate.reload(CONF.format(fault="{abort: 500 for 0%}", shop=shop.address))
    assert gate.get("/", asked).status == 200


def test_only_so_many_are_held_up(weir, scripted):
    gate = weir(CONF.format(fault="{delay: 30s, delays_max: 2}", shop=scripted(answer()).address))
    held = [gate.connect() for _ in range(2)]
    for client in held:
        client.send_request()
    wait_until(lambda: counted(gate)["delayed"] == 2, 20)
    assert gate.get().status == 200
    assert counted(gate)["busy"] == 1
    for client in held:
        client.close()
    gate.kill()


@pytest.mark.parametrize("fault,words", [("{}", "does nothing"), ("{abort: 200}", "200 is out of bounds"),
                                         ("{abort: 503, only: {path: x}}", "no path")])
def test_a_mistake_has_a_place(weir_command, tmp_path, fault, words):
    conf = tmp_path / "weir.yaml"
    conf.write_text('listen: [":1"]' + CONF.format(fault=fault, shop="127.0.0.1:1"))
    checked = weir_command("check", "-c", conf)
    assert checked.returncode == 1
    assert f"{conf}:6:" in checked.stdout + checked.stderr
    assert words in checked.stdout + checked.stderr
