"""doc/concurrency_limit.md, against the running gate."""
import threading

import pytest

from lib.process import wait_until
from lib.servers import answer

CONF = """
workers: 2
routes:
  - match: /*
    service: shop
    concurrency_limit: {limit}
services: {{shop: {{servers: ["{address}"]}}}}
"""


class Held:
    """A server that answers no one until it is told."""

    def __init__(self, scripted):
        self.go = threading.Event()
        self.server = scripted(self.script)

    def script(self, peer):
        while peer.read_request():
            self.go.wait(60)
            peer.send(answer())


def test_beyond_the_limit_they_are_refused_until_one_ends(weir, scripted, each_loop):
    held = Held(scripted)
    gate = weir(CONF.format(limit="3", address=held.server.address))
    running = [gate.connect() for _ in range(3)]
    for client in running:
        client.send_request()
    wait_until(lambda: gate.metric("weir_concurrency_limit_running", route="/*") == 3)
    refused = [gate.get() for _ in range(5)]
    assert [(r.status, r.get("retry-after")) for r in refused] == [(503, "1")] * 5
    assert gate.metric("weir_concurrency_limit_refused_total", route="/*") == 5
    assert gate.metric("weir_concurrency_limit_limit", route="/*") == 3
    gate.reload()  # what runs stays counted
    assert gate.get().status == 503
    held.go.set()
    assert [client.read_response().status for client in running] == [200] * 3
    for client in running:
        client.close()
    wait_until(lambda: gate.metric("weir_concurrency_limit_running", route="/*") == 0)
    assert gate.get().status == 200


def test_operators_see_it(weir, scripted):
    gate = weir(CONF.format(limit="adaptive", address=scripted(answer()).address))
    assert gate.get().status == 200
    shown = gate.admin("/v1/filters").text
    assert '"adaptive":true' in shown and '"limit":20' in shown


@pytest.mark.parametrize("limit,words", [
    ("0", "out of bounds"),
    ("many", "many"),
    ("{requests_max: adaptive, start: 3}", "start has to be between"),
])
def test_a_mistake_has_a_place(weir_command, tmp_path, limit, words):
    conf = tmp_path / "weir.yaml"
    conf.write_text('listen: [":1"]' + CONF.format(limit=limit, address="127.0.0.1:1"))
    checked = weir_command("check", "-c", conf)
    assert checked.returncode == 1
    assert f"{conf}:6:" in checked.stdout + checked.stderr
    assert words in checked.stdout + checked.stderr
