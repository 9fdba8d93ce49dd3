"""WebSocket over HTTP/3 (extended CONNECT, RFC 9220), to servers of HTTP/1.1, from a real browser."""
import shutil
import threading

import pytest

from lib.http3 import Relay, certificate, spki, tls_listener
from lib.ports import free_port
from lib.process import Process, wait_until
from lib.servers import answer
from lib.websocket import CLOSE, PING, PONG, TEXT, accept, close, frame, read_frame

CHROMIUM = shutil.which("chromium")
# `said` is what the page tells: /said/... is asked for once at its end
PAGE = """<!doctype html><title>a page</title><script>
const said = [], ws = new WebSocket("wss://" + location.host + "/chat", ["chat"]);
const say = what => said.push(what);
ws.onopen = () => { say("open-" + ws.protocol); %s };
ws.onmessage = e => { %s };
ws.onclose = e => { say("closed-" + e.code + "-" + e.wasClean); fetch("/said/" + said.join("/")); };
</script>"""


class Browser:
    """Opens a page whose script talks over a WebSocket to serve(peer), by HTTP/3."""

    def __init__(self, weir, scripted, folder, serve, on_open="", on_message="", route="", lost=False):
        if not CHROMIUM:
            pytest.skip("chromium is not installed")
        port, self.folder = free_port(), folder
        self.relay = Relay(port) if lost else None
        to = self.relay.port if lost else port
        self.pages = scripted(answer((PAGE % (on_open, on_message)).encode(), headers=[("Content-Type", "text/html")]))
        self.gate = weir(f"""
listen: {tls_listener(folder, port, "idle_timeout: 3s" if lost else "")}
access_log: {{path: {folder}/over.log, format: "${{protocol}} ${{target}} ${{status}} ${{websocket_code}}"}}
routes:
  - {{match: /*, service: pages}}
  - {{match: /chat, service: chat{route and ', ' + route}}}
services: {{pages: {{servers: ["{self.pages.address}"]}}, chat: {{servers: ["{scripted(serve).address}"]}}}}
""")
        self.shown = Process(
            [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", "--remote-debugging-port=0", "--enable-features=EnableWebsocketsOverHttp3",
             f"--user-data-dir={folder}/chromium", f"--origin-to-force-quic-on=127.0.0.1:{to}",
             f"--ignore-certificate-errors-spki-list={spki(certificate(folder)[0])}", f"https://127.0.0.1:{to}/"],
            folder / "browser.log")

    def said(self):
        def there():
            return [r.split(b" ", 2)[1].decode() for r in self.pages.requests if r.startswith(b"GET /said/")]
        return wait_until(there, 60, f"the page says how it went: {self.pages.requests}")[0].removeprefix("/said/").split("/")

    def logged(self):
        """The WebSocket's line in the access log: protocol, target, status and code."""
        return wait_until(lambda: [line for line in (self.folder / "over.log").read_text().splitlines() if "/chat" in line], 20)[0]


@pytest.fixture
def browse(weir, scripted, tmp_path):
    ours = []

    def start(*args, **options):
        ours.append(Browser(weir, scripted, tmp_path, *args, **options))
        return ours[-1]

    yield start
    for browser in ours:
        browser.shown.kill()
        if browser.relay:
            browser.relay.close()


def test_messages_both_ways(browse):
    """Small ones and some that fill windows; the page's own close."""
    def serve(peer):
        accept(peer, "Sec-WebSocket-Protocol: chat\r\n")
        peer.send(frame(TEXT, "welcome"))
        while (got := read_frame(peer)).opcode != CLOSE:
            peer.send(frame(got.opcode, got.payload, fin=got.fin))
        peer.send(frame(CLOSE, got.payload))

    browser = browse(serve, on_message="""
        say(e.data.length);
        if (said.length == 2) for (const n of [1, 100000, 1000000, 2000000]) ws.send("x".repeat(n));
        if (said.length == 6) ws.close(3001, "enough");""")
    assert browser.said() == ["open-chat", "7", "1", "100000", "1000000", "2000000", "closed-3001-true"]
    assert browser.logged() == "HTTP/3 /chat 200 3001"


def test_what_is_no_acceptance_is_taken_for_none(browse):
    def serve(peer):
        peer.read_until(b"\r\n\r\n")
        peer.send(answer("not here"))

    browser = browse(serve)
    assert browser.said() == ["closed-1006-false"]
    assert browser.logged().startswith("HTTP/3 /chat 502")


def test_the_gates_own_pings_and_a_server_that_is_lost(browse):
    over = threading.Event()

    def serve(peer):
        accept(peer, "Sec-WebSocket-Protocol: chat\r\n")
        for _ in range(3):
            assert (got := read_frame(peer)).opcode == PING
            peer.send(frame(PONG, got.payload))
        over.set()

    browser = browse(serve, route="websocket: ping every 200ms")
    assert browser.said() == ["open-chat", "closed-1006-false"] and over.is_set()
    assert browser.gate.metric("weir_websocket_pings_lost_total") == 0 < browser.gate.metric("weir_websocket_pings_total")


def test_it_outlives_a_reload_and_the_stop_says_going_away(browse):
    opened, go = threading.Event(), threading.Event()

    def serve(peer):
        accept(peer, "Sec-WebSocket-Protocol: chat\r\n")
        opened.set()
        go.wait(60)
        peer.send(frame(TEXT, "still there"))
        assert read_frame(peer).payload == b"yes"
        browser.gate.signal(15)
        assert read_frame(peer).code == 1001
        peer.send(close(1001))

    browser = browse(serve, on_message="ws.send('yes')")
    assert opened.wait(60)
    browser.gate.reload()
    go.set()
    assert browser.logged() == "HTTP/3 /chat 200 1001"
    assert browser.gate.wait(30) == 0 and "are cut" not in browser.gate.log()


@pytest.mark.parametrize("how", ["left", "lost"])
def test_the_end_of_its_connection_is_its_servers(browse, how):
    """The browser is closed, or nothing is heard of it any more."""
    opened, ended = threading.Event(), threading.Event()

    def serve(peer):
        accept(peer, "Sec-WebSocket-Protocol: chat\r\n")
        opened.set()
        peer.read_all()
        ended.set()

    browser = browse(serve, lost=how == "lost")
    assert opened.wait(60)
    if how == "lost":
        browser.relay.close()
    else:
        browser.shown.kill()
    assert ended.wait(60)
    assert browser.logged() in ("HTTP/3 /chat 200 1006", "HTTP/3 /chat 200 1001")  # it may have said so
