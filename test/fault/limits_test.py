"""Services that fail or fill up behind circuit_breaker, fallback and an adaptive concurrency_limit: what trips when, and
what is saved. Counts only; bench/limits prints the same with times."""
import json
import threading
import time

import pytest

from lib.client import Client
from lib.load import Load
from lib.process import wait_until
from lib.servers import answer

BREAKER = """
workers: 2
routes:
  - match: /*
    service: shop
    circuit_breaker: {{errors: 50%, window: 1m, requests_min: 20, open: 1h}}
    {fallback}
services:
  shop: {{servers: ["{shop}"]}}
  backup: {{servers: ["{backup}"]}}
"""


def own(origin, path):
    with Client(origin.port) as client:
        return client.get(path).text


def asked(origin):
    return json.loads(own(origin, "/_count"))["requests"]


@pytest.mark.usefixtures("each_loop")
def test_a_failing_service_is_left_alone_and_nobody_sees_it_fail(weir, origin):
    """8 clients at once: it trips at the 20th answer, so at most 20 + 7 reach the service; the fallback has the rest."""
    shop, backup = origin(), origin()
    own(shop, "/_control?status=503")
    gate = weir(BREAKER.format(fallback="fallback: to backup", shop=shop.address, backup=backup.address))
    with Load(gate.port, connections=8) as load:
        load.wait_done(2000)
    load.assert_clean(2000)
    assert 20 <= asked(shop) <= 27
    assert asked(backup) >= 2000
    assert gate.metric("weir_circuit_breaker_opened_total", route="/*") == 1


def test_without_a_fallback_the_service_is_left_alone_too(weir, origin):
    shop = origin()
    own(shop, "/_control?status=503")
    gate = weir(BREAKER.format(fallback="", shop=shop.address, backup=shop.address))
    with Load(gate.port, connections=8, check=lambda r: r.status == 503) as load:
        load.wait_done(1000)
    load.assert_clean(1000)
    assert 20 <= asked(shop) <= 27


PLACES = 4


class Narrow:
    """A server that works on four requests at a time, 20 ms each; the others wait in line."""

    def __init__(self, scripted):
        self.places = threading.Semaphore(PLACES)
        self.server = scripted(self.script)

    def script(self, peer):
        while peer.read_request():
            with self.places:
                time.sleep(0.02)
            peer.send(answer())


def test_an_adaptive_limit_finds_what_a_server_can_do(weir, scripted):
    """40 clients, each of which comes again at once: without a limit all 40 would wait in line."""
    narrow = Narrow(scripted)
    gate = weir(f"""
workers: 2
routes:
  - match: /*
    service: shop
    concurrency_limit: {{requests_max: adaptive, start: 4, at_least: 2, window: 50ms}}
services: {{shop: {{servers: ["{narrow.server.address}"]}}}}
""")

    def limit():
        return gate.metric("weir_concurrency_limit_limit", route="/*")

    with Load(gate.port, connections=40, pause_s=0.005, check=lambda r: r.status in (200, 503)) as load:
        wait_until(lambda: gate.metric("weir_concurrency_limit_refused_total") > 200 and PLACES <= limit() <= 30, 60,
                   "a limit near the server's places")
        load.wait_done(200)
    load.assert_clean(200)
    wait_until(lambda: gate.metric("weir_concurrency_limit_running") == 0)
