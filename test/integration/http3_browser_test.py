"""A real browser: the page of the flash sale comes over HTTP/3; a stream that a page takes back."""
import shutil
import subprocess
import threading

import pytest

from lib.conf import one_service
from lib.http3 import certificate, spki, tls_listener
from lib.ports import free_port, listening
from lib.process import Process, wait_until
from lib.servers import answer
from lib.weir import ROOT

CHROMIUM = shutil.which("chromium")
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--disable-background-networking"]
TAKES_BACK = b"""<!doctype html><script>
const stop = new AbortController();
fetch("/stream", {signal: stop.signal}).then(async a => { await a.body.getReader().read(); stop.abort(); });
</script>"""


def browser(tmp_path, port, *flags):
    """The command that shows what port serves over HTTP/3."""
    if not CHROMIUM:
        pytest.skip("chromium is not installed")
    return [CHROMIUM, *FLAGS, *flags, f"--user-data-dir={tmp_path}/chromium",
            f"--origin-to-force-quic-on=127.0.0.1:{port}",
            f"--ignore-certificate-errors-spki-list={spki(certificate(tmp_path)[0])}", f"https://127.0.0.1:{port}/"]


def over_http3(weir, tmp_path, port, server):
    return weir(f"""
listen: {tls_listener(tmp_path, port)}
access_log: {{path: {tmp_path}/protocol.log, format: "${{protocol}} ${{method}} ${{target}} ${{status}}"}}
{one_service(server)}""")


@pytest.fixture
def shop(tmp_path):
    port = free_port()
    server = Process(["/usr/bin/python3", ROOT / "examples/flash-sale/shop.py", "--name", "shop-1", "--port", port], tmp_path / "shop.log")
    wait_until(lambda: listening(port), 20, "the shop listens")
    yield f"127.0.0.1:{port}"
    server.kill()


def test_the_page_of_the_flash_sale(weir, shop, tmp_path):
    port = free_port()
    gate = over_http3(weir, tmp_path, port, shop)
    page = subprocess.run(browser(tmp_path, port, "--dump-dom"), capture_output=True, text=True, timeout=60, check=False)
    assert "on sale today</title>" in page.stdout, page.stderr[-3000:]

    def seen():
        lines = (tmp_path / "protocol.log").read_text().splitlines()
        return {"HTTP/3 GET / 200", "HTTP/3 GET /shop.js 200", "HTTP/3 GET /shop.css 200"} <= set(lines) and lines

    assert all(line.startswith("HTTP/3 ") for line in wait_until(seen, 20, "page, script and style"))
    assert gate.metric("weir_quic_handshakes_total") >= 1


def test_a_stream_that_a_page_takes_back(weir, scripted, tmp_path):
    """The server is told at once, though it says nothing for long and the connection stays."""
    over = threading.Event()

    def serve(peer):
        while request := peer.read_request():
            if not request.startswith(b"GET /stream "):
                peer.send(answer(TAKES_BACK, headers=[("Content-Type", "text/html")]))
                continue
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
                      b"Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
            assert peer.read_request() == b""  # weir gives it up
            over.set()

    port = free_port()
    server = scripted(serve)
    over_http3(weir, tmp_path, port, server)
    page = Process(browser(tmp_path, port), tmp_path / "chromium.log")
    try:
        wait_until(lambda: any(b"GET /stream " in r for r in server.requests), 60, "the page asks for its stream")
        assert over.wait(20)
        wait_until(lambda: "HTTP/3 GET /stream 200" in (tmp_path / "protocol.log").read_text().splitlines(), 20)
    finally:
        page.kill()
