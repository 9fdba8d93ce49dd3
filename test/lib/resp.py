"""Clients of Redis, lean; weir with a ledger that they find, and a real Redis to compare it with."""
import shutil
import socket
import subprocess

import pytest

from lib.ports import free_port, listening
from lib.process import wait_until

CONF = """
ledger: {{path: {path}, listen: "127.0.0.1:{port}"{more}}}
routes: [{{match: /*, respond: 204}}]
"""


class Error(str):
    """An error's text."""


class Resp:
    """One connection, lean: what a reply is, type and all."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 20)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.file.close()
        self.socket.close()

    @staticmethod
    def pack(*args):
        parts = [a if isinstance(a, bytes) else str(a).encode() for a in args]
        return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)

    def reply(self):
        line = self.file.readline()
        assert line.endswith(b"\r\n"), line
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return "+" + rest.decode()
        if kind == b"-":
            return Error(rest.decode("latin-1"))
        if kind == b":":
            return int(rest)
        if kind == b"_" or rest == b"-1":
            return None
        if kind == b"$":
            return self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        if kind == b"%":
            return {self.reply(): self.reply() for _ in range(int(rest))}
        raise AssertionError(line)

    def __call__(self, *args):
        self.socket.sendall(self.pack(*args))
        return self.reply()

    def pipeline(self, commands):
        self.socket.sendall(b"".join(self.pack(*c) for c in commands))
        return [self.reply() for _ in commands]


@pytest.fixture
def ledger(weir, tmp_path):
    """ledger(more) -> (Weir, port of RESP)"""
    def start(more="", **options):
        port = free_port()
        w = weir(CONF.format(path=tmp_path / "ledger", port=port, more=more), **options)
        return w, port
    return start


@pytest.fixture
def redis(tmp_path):
    """The port of a real one."""
    program = shutil.which("redis-server")
    if not program:
        pytest.skip("no redis-server here")
    port = free_port()
    child = subprocess.Popen([program, "--port", str(port), "--save", "", "--dir", str(tmp_path)],
                             stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: listening(port), 20, "redis listens")
        yield port
    finally:
        child.kill()
        child.wait()
