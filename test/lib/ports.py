"""Ports that no other test takes, whichever process it runs in, and that the kernel gives to nobody.

They lie below the range that connect() and bind(0) draw from. Each is claimed by a lock on a file named after it;
the lock ends with this process.
"""
import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

FIRST, LAST = 10240, 32767
CLAIMS = Path(tempfile.gettempdir()) / f"weir-test-ports-{os.getuid()}"
_held = []


def free_port():
    CLAIMS.mkdir(exist_ok=True)
    for _ in range(1000):
        port = random.randint(FIRST, LAST)
        claim = open(CLAIMS / str(port), "w")
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            claim.close()
            continue
        _held.append(claim)
        if _bindable(port):
            return port
    raise RuntimeError("no free port found")


def _bindable(port):
    for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        try:
            with socket.socket(family) as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                s.bind((host, port))
        except OSError as e:
            if family == socket.AF_INET6 and e.errno != 98:
                continue  # this machine has no IPv6
            return False
    return True


def listening(port):
    """Without connecting, which the program under test would notice."""
    wanted = f":{port:04X}"
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except FileNotFoundError:
            continue
        for line in lines:
            fields = line.split()
            if fields[1].endswith(wanted) and fields[3] == "0A":
                return True
    return False
