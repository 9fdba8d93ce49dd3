"""doc/websocket.md: many at once, a library that others have written, a browser."""
import asyncio
import shutil
import signal

import pytest

from lib.conf import one_service
from lib.process import Process, wait_until
from lib.servers import answer
from lib.websocket import CLOSE, Crowd, accept, close, frame, read_frame, room
from lib.websocket_streams import STREAMS, StreamCrowd, streams_room
from lib.weir import SANITIZED

STREAM_BYTES_MAX = 10 * 1024  # of one at rest, with its stream; doc/websocket.md has the figure


def test_at_rest_they_have_no_fiber_and_no_buffer(weir, each_loop):
    crowd = Crowd()
    count = min(400, room())
    gate = weir(one_service(crowd, route="websocket: {}", service="connections_max: 60000", root="workers: 1"))
    crowd.open(gate.port, 100, batch=10)
    fibers, before_kib = gate.metric("weir_worker_fibers"), gate.rss_kib()
    crowd.open(gate.port, count, batch=10)
    assert gate.metric("weir_websocket_open") == 100 + count
    wait_until(lambda: gate.metric("weir_worker_fibers") <= fibers, 20, "no fiber for any of them")
    assert gate.rss_kib() - before_kib < count * 16 or SANITIZED  # two buffers alone would be 32 KiB
    crowd.talk()
    crowd.close()
    wait_until(lambda: gate.metric("weir_websocket_open") == 0, 20)
    assert gate.metric("weir_websocket_client_messages_total") == 100 + count


def test_twenty_thousand(weir):
    """Or as many as one gate has descriptors for: their clients share connections of HTTP/2, their servers cannot."""
    crowd = StreamCrowd()
    count, first = min(1000 if SANITIZED else 20000, streams_room()), 200
    gate = weir(one_service(*crowd.addresses, route="websocket: {idle_timeout: off}", service="connections_max: 60000",
                            root=f"workers: 1\nclient: {{http2: {{streams_max: {STREAMS}}}}}\ndrain_timeout: 60s"))
    crowd.open(gate.port, first)
    fibers, before_kib = gate.metric("weir_worker_fibers"), gate.rss_kib()
    crowd.open(gate.port, count - first)
    assert gate.metric("weir_websocket_open") == count
    assert gate.metric("weir_http2_connections") == len(crowd.connections) <= count / STREAMS * 2
    wait_until(lambda: gate.metric("weir_worker_fibers") <= fibers, 20, "no fiber for any of them")
    each = (gate.rss_kib() - before_kib) * 1024 / (count - first)
    assert each < STREAM_BYTES_MAX or SANITIZED, f"{each:.0f} bytes a connection, of {count}"
    crowd.talk(step=10)
    messages = [gate.metric(f"weir_websocket_{side}_messages_total") for side in ("client", "server")]
    assert messages == [(count + 9) // 10] * 2
    crowd.close()
    wait_until(lambda: gate.metric("weir_websocket_open") == 0, 20)


def test_stopping_with_many(weir):
    crowd = Crowd()
    gate = weir(one_service(crowd, root="drain_timeout: 60s"))
    crowd.open(gate.port, min(300, room()))
    gate.signal(signal.SIGTERM)
    for client, server in zip(crowd.clients, crowd.servers):
        assert (read_frame(client).code, read_frame(server).code) == (1001, 1001)
        server.send(close(1001))
        client.send(close(1001, masked=True))
    assert all(end.read_all() == b"" for end in crowd.clients)
    assert gate.wait(30) == 0 and "are cut" not in gate.log()


# ---- real ones

def test_a_real_library_on_both_sides(weir):
    """python3-websockets: compression, large and many messages, its own pings, at the same time."""
    websockets = pytest.importorskip("websockets")

    async def serve(ws, _path=None):
        async for message in ws:
            await ws.send(message)
        assert ws.close_code == 1000

    async def talk(port, i):
        async with websockets.connect(f"ws://127.0.0.1:{port}/", compression="deflate" if i % 2 else None,
                                      max_size=1 << 24, ping_interval=0.2, ping_timeout=60) as ws:
            extensions = ws.extensions if hasattr(ws, "extensions") else ws.protocol.extensions  # before and since version 14
            assert bool(extensions) == bool(i % 2)
            for size in (0, 1, 125, 126, 65535, 65536, 1 << 20):
                text = (str(i) * size)[:size]
                await ws.send(text)
                assert await ws.recv() == text
            await ws.send([b"in ", b"pieces"])
            assert await ws.recv() == b"in pieces"
            await asyncio.wait_for(await ws.ping(), 60)

    async def main():
        server = await websockets.serve(serve, "127.0.0.1", 0, max_size=1 << 24, ping_interval=0.2, ping_timeout=60)
        port = server.sockets[0].getsockname()[1]
        gate = weir(one_service(f"127.0.0.1:{port}", route="websocket: ping every 100ms"))
        await asyncio.gather(*(talk(gate.port, i) for i in range(8)))
        server.close()
        await server.wait_closed()
        return gate

    gate = asyncio.run(main())
    wait_until(lambda: gate.metric("weir_websocket_open") == 0, 20)
    assert gate.metric("weir_websocket_closes_total", code="1000") == 8
    assert gate.metric("weir_websocket_pings_lost_total") == 0


PAGE = b"""<!doctype html><title>a page</title><script>
const out = [];
const ws = new WebSocket("ws://" + location.host + "/echo", ["chat"]);
ws.onopen = () => { out.push("open-" + ws.protocol); ws.send("from the page"); };
ws.onmessage = e => { out.push("got-" + e.data.length); ws.close(3001, "enough"); };
ws.onclose = e => { out.push("closed-" + e.code + "-" + e.wasClean); fetch("/said/" + out.join("/")); };
</script>"""


def test_a_real_browser(weir, scripted, tmp_path):
    browser = shutil.which("chromium")
    if not browser:
        pytest.skip("chromium is not installed")

    def serve(peer):
        accept(peer, "Sec-WebSocket-Protocol: chat\r\n")
        got = read_frame(peer)
        peer.send(frame(got.opcode, got.payload))
        peer.send(frame(CLOSE, read_frame(peer).payload))

    pages = scripted(answer(PAGE, headers=[("Content-Type", "text/html")]))
    conf = """
        routes:
          - {match: /*, service: pages}
          - {match: /echo, service: shop, websocket: {origins: ["ORIGIN"]}}
        services: {pages: {servers: ["PAGES"]}, shop: {servers: ["SHOP"]}}
        """.replace("PAGES", pages.address).replace("SHOP", scripted(serve).address)
    gate = weir(conf)
    gate.reload(conf.replace("ORIGIN", gate.url))
    shown = Process([browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                     "--remote-debugging-port=0", f"--user-data-dir={tmp_path}/browser", gate.url + "/"],
                    tmp_path / "browser.log")
    try:
        wait_until(lambda: any(b"GET /said/open-chat/got-13/closed-3001-true" in r for r in pages.requests), 60,
                   f"the page says so: {pages.requests}")
    finally:
        shown.kill()
    assert gate.metric("weir_websocket_closes_total", code="other") == 1
