"""A real browser: the page of the flash sale comes over HTTP/3."""
import shutil
import subprocess

import pytest

from lib.conf import one_service
from lib.http3 import certificate, spki, tls_listener
from lib.ports import free_port, listening
from lib.process import Process, wait_until
from lib.weir import ROOT

CHROMIUM = shutil.which("chromium")
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--disable-background-networking", "--dump-dom"]


@pytest.fixture
def shop(tmp_path):
    port = free_port()
    server = Process(["/usr/bin/python3", ROOT / "examples/flash-sale/shop.py", "--name", "shop-1", "--port", port], tmp_path / "shop.log")
    wait_until(lambda: listening(port), 20, "the shop listens")
    yield f"127.0.0.1:{port}"
    server.kill()


def test_the_page_of_the_flash_sale(weir, shop, tmp_path):
    if not CHROMIUM:
        pytest.skip("chromium is not installed")
    port = free_port()
    gate = weir(f"""
listen: {tls_listener(tmp_path, port)}
access_log: {{path: {tmp_path}/protocol.log, format: "${{protocol}} ${{method}} ${{target}} ${{status}}"}}
{one_service(shop)}""")
    page = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path}/chromium", f"--origin-to-force-quic-on=127.0.0.1:{port}",
         f"--ignore-certificate-errors-spki-list={spki(certificate(tmp_path)[0])}", f"https://127.0.0.1:{port}/"],
        capture_output=True, text=True, timeout=60, check=False)
    assert "on sale today</title>" in page.stdout, page.stderr[-3000:]

    def seen():
        lines = (tmp_path / "protocol.log").read_text().splitlines()
        return {"HTTP/3 GET / 200", "HTTP/3 GET /shop.js 200", "HTTP/3 GET /shop.css 200"} <= set(lines) and lines

    assert all(line.startswith("HTTP/3 ") for line in wait_until(seen, 20, "page, script and style"))
    assert gate.metric("weir_quic_handshakes_total") >= 1
