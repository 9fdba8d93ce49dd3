"""doc/fallback.md, against the running gate."""
import json

import pytest

from lib.client import Client
from lib.process import wait_until
from lib.servers import answer

CONF = """
routes:
  - match: /*
    service: shop
    fallback: {fallback}
    {more}
services:
  shop: {{servers: ["{address}"]}}
  backup: {{servers: ["{backup}"]}}
"""


def own(origin, path):
    with Client(origin.port) as client:
        return client.get(path).text


def asked(origin):
    return json.loads(own(origin, "/_count"))["requests"]


def metric(gate, name):
    return gate.metric(f"weir_fallback_{name}_total", route="/*")


def test_another_service_answers_and_it_is_marked(weir, origin, scripted, each_loop):
    shop = origin()
    backup = scripted(answer(body=b"from the backup"))
    gate = weir(CONF.format(fallback="{service: backup, on: 5xx}", more="", address=shop.address, backup=backup.address))
    well = gate.get()
    assert (well.status, well.get("x-degraded"), len(backup.requests)) == (200, None, 0)
    own(shop, "/_control?status=500")
    degraded = gate.get()
    assert (degraded.status, degraded.text, degraded.get("x-degraded")) == (200, "from the backup", "500")
    with gate.connect() as client:  # the connection goes on
        assert [client.get().text for _ in range(5)] == ["from the backup"] * 5
    assert metric(gate, "service") == 6
    own(shop, "/_control?status=0")
    assert gate.get().get("x-degraded") is None


def test_it_stands_in_for_an_open_breaker_and_a_server_that_is_gone(weir, scripted):
    shop = scripted(answer())
    shop.stop()
    backup = scripted(answer(body=b"from the backup"))
    gate = weir(CONF.format(fallback="to backup", more="circuit_breaker: {errors: 100%, requests_min: 3, open: 1h}",
                            address=shop.address, backup=backup.address))
    answers = [gate.get() for _ in range(6)]
    assert [a.text for a in answers] == ["from the backup"] * 6
    assert answers[-1].get("x-degraded") == "circuit_breaker"
    assert gate.metric("weir_circuit_breaker_refused_total", route="/*") == 3


def test_a_fixed_answer_and_a_file(weir, origin, scripted, tmp_path):
    page = tmp_path / "degraded.html"
    page.write_text("<p>later</p>")
    shop = origin()
    own(shop, "/_control?status=503")
    fixed = '{status: 200, body: "{}", content_type: application/json, header: ""}'
    gate = weir(CONF.format(fallback=fixed, more="", address=shop.address, backup=shop.address))
    got = gate.get()
    assert (got.status, got.text, got.get("content-type")) == (200, "{}", "application/json")
    assert got.get("x-degraded") is None
    wait_until(lambda: gate.access() and gate.access()[-1].get("answered_by") == "fallback")
    gate.reload(CONF.format(fallback=f"file {page}", more="", address=shop.address, backup=shop.address))
    assert (gate.get().status, gate.get().text) == (200, "<p>later</p>")
    assert gate.get().get("x-degraded") == "503"
    assert '"answer":' in gate.admin("/v1/filters").text


def test_when_the_other_service_fails_too_the_fixed_answer_is_left(weir, origin, scripted):
    shop, backup = origin(), origin()
    own(shop, "/_control?status=500")
    gate = weir(CONF.format(fallback="{service: backup, on: 5xx, status: 203, body: sorry}", more="",
                            address=shop.address, backup=backup.address))
    assert gate.get().status == 200
    own(backup, "/_control?status=502")
    assert (gate.get().status, gate.get().text) == (203, "sorry")
    assert metric(gate, "failed") == 2


def test_a_limit_may_call_for_it(weir, scripted):
    shop = scripted(answer())
    gate = weir(CONF.format(fallback='{status: 200, body: "busy", on: rate_limit}', more="rate_limit: 2/h",
                            address=shop.address, backup=shop.address))
    assert [gate.get().text for _ in range(4)][2:] == ["busy", "busy"]
    assert gate.get().get("x-degraded") == "rate_limit"


def test_a_request_body_goes_to_the_other_service_while_it_is_whole(weir, scripted):
    shop = scripted(answer())
    shop.stop()
    backup = scripted(answer(body=b"taken"))
    gate = weir(CONF.format(fallback="to backup", more="", address=shop.address, backup=backup.address))
    assert gate.request("POST", "/", body=b"x" * 1000).text == "taken"
    assert backup.requests[-1].endswith(b"x" * 1000) or len(backup.requests) == 1


@pytest.mark.parametrize("fallback,words", [
    ("to nobody", "nobody"),
    ("{on: [503]}", "needs a service, a file, or a status or body"),
    ("{service: backup, on: [200]}", "200"),
    ("file /none/such", "/none/such"),
])
def test_a_mistake_has_a_place(weir_command, tmp_path, fallback, words):
    conf = tmp_path / "weir.yaml"
    conf.write_text('listen: [":1"]' + CONF.format(fallback=fallback, more="", address="127.0.0.1:1",
                                                   backup="127.0.0.1:2"))
    checked = weir_command("check", "-c", conf)
    assert checked.returncode == 1
    assert f"{conf}:5:" in checked.stdout + checked.stderr
    assert words in checked.stdout + checked.stderr
