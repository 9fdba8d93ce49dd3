"""doc/rate_limit.md, against the running gate."""
import re
import threading

import pytest

from lib.servers import answer

CONF = """
routes:
  - match: /*
    service: shop
    rate_limit: {limit}
services: {{shop: {{servers: ["{address}"]}}}}
"""


def test_the_refused_are_told_when_to_come_again(weir, scripted):
    shop = scripted(answer())
    gate = weir(CONF.format(limit="3/h per ip", address=shop.address))
    assert [gate.get().status for _ in range(5)] == [200, 200, 200, 429, 429]
    refused = gate.get()
    assert 1100 <= int(refused.get("retry-after")) <= 1200
    assert refused.get("ratelimit-policy") == '"rate_limit";q=3;w=3600'
    assert re.fullmatch(r'"rate_limit";r=0;t=1[12][0-9]{2}', refused.get("ratelimit"))
    assert len(shop.requests) == 3
    assert gate.metric("weir_rate_limit_allowed_total", route="/*") == 3
    assert gate.metric("weir_rate_limit_limited_total", route="/*") == 3


@pytest.mark.parametrize("key", ["all", "ip"])
def test_workers_together_let_exactly_the_burst_pass(weir, scripted, each_loop, key):
    """The rate is so low that nothing comes back while the test runs: the answer must be exact."""
    gate = weir("workers: 4" + CONF.format(limit=f"{{rate: 40/h, key: {key}}}", address=scripted(answer()).address))
    allowed = []

    def ask():
        for _ in range(15):  # each on a connection, and so on a worker, of its own
            allowed.append(gate.get().status == 200)

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(allowed) == 240
    assert sum(allowed) == 40


def test_a_reload_forgets_nothing_unless_the_rate_changes(weir, scripted):
    shop = scripted(answer())
    gate = weir(CONF.format(limit="2/h per ip", address=shop.address))
    assert [gate.get().status for _ in range(3)] == [200, 200, 429]
    gate.reload()
    assert gate.get().status == 429
    gate.reload(CONF.format(limit="3/h per ip", address=shop.address))
    assert [gate.get().status for _ in range(4)] == [200, 200, 200, 429]


def test_the_rate_gives_back(weir, scripted):
    gate = weir(CONF.format(limit="{rate: 20/s, burst: 1}", address=scripted(answer()).address))
    with gate.connect() as client:
        seen = set()
        while seen != {200, 429}:  # refused, and taken again later
            seen.add(client.get().status)
        while client.get().status != 200:
            pass


def test_a_mistake_has_a_place(weir_command, tmp_path):
    conf = tmp_path / "weir.yaml"
    conf.write_text('listen: [":1"]\n' + CONF.format(limit="50/s per planet", address="127.0.0.1:1"))
    checked = weir_command("check", "-c", conf)
    assert checked.returncode == 1
    assert f"{conf}:6:" in checked.stdout + checked.stderr
