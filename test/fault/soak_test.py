"""The soak of `make soak`, for seconds instead of half an hour; and reloads under long connections."""
import os
import subprocess
import sys

import pytest

from lib.client import Client
from lib.conf import one_service
from lib.weir import BINARY, BUILD, LOOP, ROOT, SANITIZED

RELOADS = 100 if SANITIZED else 1000
LONG = 200


def test_a_short_soak():
    origin = BUILD / "origin"
    if not BINARY.exists() or not origin.exists():
        pytest.skip("weir or origin is not built")
    done = subprocess.run([sys.executable, ROOT / "bench" / "soak", "--seconds", "5", "--round", "1", "--connections", "4",
                           "--tunnels", "20", "--loop", LOOP, "--weir", BINARY, "--origin", origin],
                          capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr


def statm_kib(pid):
    with open(f"/proc/{pid}/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE") // 1024


def test_reloads_with_long_connections(weir, scripted, load, tmp_path):
    def echo(peer):
        request = peer.read_request()
        while request and b"Upgrade" not in request:
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            request = peer.read_request()
        if not request:
            return
        peer.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        while True:
            peer.send(peer.read_exactly(4))

    server = scripted(echo)
    conf = one_service(server, root=f"admin: unix:{tmp_path}/admin.sock\nstate_dir: off", route="rate_limit: 1000000/s per ip",
                       service="idle_timeout: 1h, health_check: GET / every 1s")
    gate = weir(conf)
    clients = [gate.connect(timeout=60) for _ in range(LONG)]
    for client in clients:
        client.send_request("GET", "/", {"Connection": "Upgrade", "Upgrade": "echo"})
        assert client.read_response().status == 101
    running = load(gate.port, connections=2)
    before = None
    with Client(str(tmp_path / "admin.sock"), timeout=60) as admin:
        for n in range(RELOADS):
            gate.write_conf(conf + f"# {n}\n")
            assert admin.request("POST", "/v1/reload").status == 200
            client = clients[n % LONG]
            client.send(b"%04d" % n)
            assert client.read_exactly(4) == b"%04d" % n
            if n == RELOADS // 3:
                before = statm_kib(gate.pid)
    grown = statm_kib(gate.pid) - before
    for n, client in enumerate(clients):
        client.send(b"%04d" % n)
        assert client.read_exactly(4) == b"%04d" % n
        client.close()
    running.assert_clean(10)
    assert running.reopened == 0
    assert SANITIZED or grown < 16000, f"{grown} KiB in {RELOADS - RELOADS // 3} reloads"
