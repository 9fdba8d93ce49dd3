"""Who waits where, as a debugger sees it; weir under valgrind; and that busy ones leave room for new ones."""
import re
import selectors
import shutil
import socket
import subprocess
import threading

import pytest

from lib.conf import one_service
from lib.process import wait_until
from lib.weir import ROOT, SANITIZED

STREAMS = 12
STREAM_BYTES = 1 << 40


# ---- gdb ----

def backtraces(pid):
    """What tool/gdb/fibers.py says of each fiber: a list of texts."""
    got = subprocess.run(["gdb", "-nx", "-batch", "-p", str(pid), "-ex", "set width 0", "-x", ROOT / "tool/gdb/fibers.py",
                          "-ex", "weir fibers"], capture_output=True, text=True, timeout=100)
    if "Operation not permitted" in got.stderr:
        pytest.skip("no process may be looked into here: " + got.stderr.strip().splitlines()[0])
    assert got.returncode == 0, got.stdout + got.stderr
    return re.split(r"^fiber ", got.stdout, flags=re.M)[1:]


@pytest.mark.skipif(SANITIZED, reason="AddressSanitizer's frames hide the way down")
@pytest.mark.skipif(not shutil.which("gdb"), reason="gdb is not installed")
def test_gdb_shows_a_fiber_that_waits(weir, scripted):
    server = scripted(lambda peer: peer.read_request() and peer.stopping.wait())
    gate = weir(one_service(server))
    with gate.connect() as client:
        client.send_request("GET", "/slow")
        wait_until(lambda: server.requests)
        shown = backtraces(gate.pid)
        asking = [text for text in shown if "http1_client_read_head" in text]
        assert len(asking) == 1, shown
        first, *frames = asking[0].splitlines()
        assert re.match(r"0x[0-9a-f]+: (blocked|waiting), .*conn_run", first), asking[0]
        innermost = [re.sub(r"^ *#\d+ +(0x[0-9a-f]+ in )?", "", f) for f in frames if f.startswith("    #")]
        at = next(i for i, f in enumerate(innermost) if f.startswith("http1_client_read_head"))
        assert any(f.startswith(("leave", "block_as", "fiber_block", "wait_as_reader")) for f in innermost[:at]), asking[0]
        for outer in ("proxy_handle", "gate_serve", "conn_run"):  # one calls the other, down to where the fiber began
            at = next(i for i, f in enumerate(innermost) if i > at and f.startswith(outer))
        server.stop()
        assert client.read_response().status >= 500  # and it goes on
    assert gate.running


# ---- valgrind ----

@pytest.mark.skipif(SANITIZED, reason="valgrind and AddressSanitizer do not go together")
@pytest.mark.skipif(not shutil.which("valgrind"), reason="valgrind is not installed")
def test_valgrind_follows_the_fibers(weir, origin):
    # without its search for leaks: that would read the shared areas, which are large and empty
    gate = weir(one_service(origin()), loop="epoll", under=("valgrind", "-q", "--leak-check=no", "--error-exitcode=9"))
    with gate.connect() as client:
        for path, size in (("/bytes/100", 100), ("/chunked/7000/7", 7000), ("/bytes/100000", 100000)):
            assert len(client.get(path).body) == size
    assert gate.stop(60) == 0, gate.log()


# ---- room for new ones ----

class Drain:
    """Reads and drops what comes over many connections."""

    def __init__(self, sockets):
        self.got = {s: 0 for s in sockets}
        self.selector = selectors.DefaultSelector()
        for s in sockets:
            self.selector.register(s, selectors.EVENT_READ)
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        buffer = bytearray(1 << 16)
        while not self.over.is_set():
            for key, _ in self.selector.select(1):
                self.got[key.fileobj] += key.fileobj.recv_into(buffer)

    def stop(self):
        self.over.set()
        self.thread.join(30)


@pytest.mark.usefixtures("each_loop")
def test_busy_streams_leave_room_for_new_requests(weir, origin):
    gate = weir(one_service(origin(), root="workers: 1"))
    streams = [socket.create_connection(("127.0.0.1", gate.port)) for _ in range(STREAMS)]
    drain = None
    try:
        for s in streams:
            s.sendall(b"GET /chunked/%d/16384 HTTP/1.1\r\nHost: a\r\n\r\n" % STREAM_BYTES)
        drain = Drain(streams)
        wait_until(lambda: all(drain.got.values()), 20, "all streams run")
        with gate.connect() as kept:
            for n in range(10):
                assert len(kept.get(f"/bytes/{n}").body) == n
            assert gate.get("/bytes/1").status == 200
        before = dict(drain.got)
        wait_until(lambda: all(drain.got[s] > before[s] for s in streams), 20, "all streams still run")
    finally:
        if drain:
            drain.stop()
        for s in streams:
            s.close()
