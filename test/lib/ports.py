"""Ports that no other test takes, whichever process it runs in, and that the kernel gives to nobody.

They lie below the range that connect() and bind(0) draw from. Each is claimed by a lock on a file named after it;
the lock ends with this process.
"""
import fcntl
import os
import random
import socket
import struct
import tempfile
from pathlib import Path

FIRST, LAST = 10240, 32767
NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY = 4, 20
NLM_F_REQUEST_DUMP, NLMSG_ERROR, NLMSG_DONE = 0x301, 2, 3
TCP_LISTEN = 10
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
    """Without connecting, which the program under test would notice. The kernel is asked for listeners only: its tables in
    /proc are as long as its hash tables are, and each test reads them some ten times."""
    try:
        return any(_listens(port, family) for family in (socket.AF_INET, socket.AF_INET6))
    except OSError:
        return any(_stands_in(table, f":{port:04X}") for table in ("/proc/net/tcp", "/proc/net/tcp6"))


def _listens(port, family):
    """sock_diag(7): inet_diag_req_v2 with the one port and the one state."""
    request = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, 1 << TCP_LISTEN) + struct.pack(">HH", port, 0) + bytes(44)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as s:
        s.send(struct.pack("=IHHII", 16 + len(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP, 1, 0) + request)
        found = False
        while answer := s.recv(65536):
            while answer:
                size, kind = struct.unpack_from("=IH", answer)
                if kind == NLMSG_DONE:
                    return found
                if kind == NLMSG_ERROR:
                    raise OSError(-struct.unpack_from("=i", answer, 16)[0], "sock_diag")
                found |= struct.unpack_from(">H", answer, 20)[0] == port
                answer = answer[size + 3 & ~3:]


def _stands_in(table, wanted):
    try:
        lines = Path(table).read_text().splitlines()[1:]
    except FileNotFoundError:
        return False
    return any(fields[1].endswith(wanted) and fields[3] == "0A" for fields in map(str.split, lines))
