"""The flash-sale example as it stands in examples/, on other ports: a thousand shoppers, and whether the sums are right."""
import re
import subprocess
import sys

import pytest

from lib import weir as weir_module
from lib.ports import free_port, listening
from lib.process import Process, wait_until

EXAMPLE = weir_module.ROOT / "examples" / "flash-sale"


@pytest.fixture
def sale(weir, started, tmp_path):
    """sale(durability) -> (Weir, the ledger's address): the example's own configuration, pages and servers."""
    shops = []

    def start():
        ports = [free_port() for _ in range(3)]
        socket = f"unix:{tmp_path}/ledger.sock"
        for i, port in enumerate(ports):
            shops.append(Process([sys.executable, EXAMPLE / "shop.py", "--port", str(port), "--name", f"shop-{i}", "--ledger",
                                  socket, "--pace", "0"], tmp_path / f"shop-{i}.log"))
            started.append(shops[-1])
        (tmp_path / "items.csv").write_text("item,total,price,per_user\nradio,500,3900,2\n")
        conf = (EXAMPLE / "weir.yaml").read_text()
        for line in ("listen", "admin", "workers", "access_log"):
            conf, count = re.subn(rf"^{line}:.*\n", "", conf, flags=re.M)
            assert count == 1, line
        for old, new in (("/tmp/weir-flash-sale", str(tmp_path)), ("hold: 30s", "hold: 3s"), ("rate: 200/s", "rate: 300/s"), ("burst: 50", "burst: 1"),
                         ("300/s per ip", "100000/s per ip"), *((f"127.0.0.1:900{i + 1}", f"127.0.0.1:{p}") for i, p in enumerate(ports))):
            assert old in conf, old
            conf = conf.replace(old, new)
        gate = weir(conf)
        for port in ports:
            wait_until(lambda port=port: listening(port), 20, "a shop listens")
        wait_until(lambda: gate.get("/api/stock/radio").status == 200, 20, "the radios are there")
        return gate, socket, shops

    yield start
    for shop in shops:
        shop.kill()


def crowd(gate, ledger, *args):
    done = subprocess.run([sys.executable, EXAMPLE / "shoppers", "--url", gate.url, "--ledger", ledger, "--seed", "1",
                           "--seconds", "90", *args], capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_thousand_shoppers(sale):
    gate, ledger, shops = sale()
    count = 300 if weir_module.SANITIZED else 1000
    said = crowd(gate, ledger, "--count", str(count), "--patience", "0")
    assert "the sums are right" in said
    ended = {how: int(n) for n, how in re.findall(r"(\d+) (paid|released|forgotten|sold out|late|failed)", said.partition("shoppers (seed")[2])}
    assert sum(ended.values()) == count and "failed" not in ended
    assert 0 < ended["paid"] <= 500
    assert gate.metric("weir_order_waiting_total") > 0  # a burst of 1, and hundreds who come at once
    assert shops[0].running and shops[1].running


def test_a_shop_server_that_dies_loses_no_order(sale):
    gate, ledger, shops = sale()
    page = gate.get("/")
    assert page.status == 200 and "/shop.js" in page.text
    shops[1].kill()
    assert "the sums are right" in crowd(gate, ledger, "--count", "60")
