"""Servers for weir to stand in front of: scripted ones that misbehave on demand, the C origin, a real nginx."""
import os
import re
import shutil
import socket
import threading

import pytest

from lib.client import Client, Closed
from lib.ports import free_port, listening
from lib.process import Process, wait_until


def answer(body=b"ok", status="200 OK", headers=()):
    """The bytes of a plain answer."""
    if isinstance(body, str):
        body = body.encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *(f"{n}: {v}" for n, v in headers)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def echo_target(peer):
    """A script: each answer is the request's target."""
    while request := peer.read_request():
        target = request.split(b" ", 2)[1]
        peer.send(answer(b"" if request.startswith(b"HEAD") else target))


class Peer(Client):
    """The server's side of one connection. `stopping` is set when the server stops: wait on it to hang."""

    def __init__(self, connection, number, stopping):
        self.socket, self.number, self.stopping = connection, number, stopping
        self.socket.settimeout(30)
        self.buffer = b""

    def read_request(self):
        """Head and body as they came; b'' when the client closed between requests."""
        try:
            head = self.read_until(b"\r\n\r\n")
        except Closed as e:
            if e.got:
                raise
            return b""
        if match := re.search(rb"\r\ncontent-length: *([0-9]+)", head, re.I):
            return head + self.read_exactly(int(match[1]))
        if re.search(rb"\r\ntransfer-encoding: *chunked", head, re.I):
            return head + self._read_chunks()
        return head

    def _read_chunks(self):
        parts = []
        while True:
            line = self.read_until(b"\r\n")
            size = int(line.split(b";")[0], 16)
            parts.append(line)
            if size == 0:
                break
            parts.append(self.read_exactly(size + 2))
        while (line := self.read_until(b"\r\n")) != b"\r\n":
            parts.append(line)
        return b"".join(parts) + line


class Scripted:
    """script: bytes (the answer to every request), a list of bytes (one a request of a connection, then it closes),
    or a function that is called with each connection's Peer in a thread of its own.

    `requests` are the raw requests in the order they came; `connections` counts."""

    def __init__(self, script, port=None):
        self.script = script
        self.port = port or free_port()
        self.requests = []
        self.errors = []
        self.connections = 0
        self.listener = None
        self.start()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        self.stopping = threading.Event()
        self.peers = []
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen(1024)
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def stop(self):
        """Closes everything; connecting is refused from now on. start() brings it back on the same port."""
        self.stopping.set()
        for s in [self.listener, *(p.socket for p in self.peers)]:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()

    def _accept(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            peer = Peer(connection, self.connections, self.stopping)
            self.peers.append(peer)
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer):
        original = peer.read_request

        def recorded():
            request = original()
            if request:
                self.requests.append(request)
            return request

        peer.read_request = recorded
        try:
            if callable(self.script):
                self.script(peer)
            elif isinstance(self.script, bytes):
                while peer.read_request():
                    peer.send(self.script)
            else:
                for data in self.script:
                    if not peer.read_request():
                        break
                    peer.send(data)
        except (Closed, OSError):
            pass  # the other side went away, or stop() did it
        except Exception as e:
            self.errors.append(e)
        finally:
            peer.close()


class Origin(Process):
    """build/origin, the fast C server: what it does for each path is in test/origin/answer.h."""

    def __init__(self, binary, log_path, args=(), port=None):
        self.port = port or free_port()
        super().__init__([binary, *args, self.address], log_path)
        wait_until(lambda: not self.running or re.search(r"^ready\b", self.log(), re.M), 10, "origin is ready")
        assert self.running, f"origin ended at once:\n{self.log()}"

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"


NGINX = """
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000;
    server {{
        listen 127.0.0.1:{port};
        root {folder}/root;
        {server}
    }}
}}
"""


class Nginx(Process):
    """A real server. server: more lines for its server block; files go into .root."""

    def __init__(self, folder, server="", port=None):
        binary = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
        if not binary:
            pytest.skip("nginx is not installed")
        self.port = port or free_port()
        self.root = folder / "root"
        self.root.mkdir(parents=True)
        conf = folder / "nginx.conf"
        conf.write_text(NGINX.format(folder=folder, port=self.port, server=server,
                                     user="user root;" if os.getuid() == 0 else ""))
        super().__init__([binary, "-c", conf, "-p", folder, "-e", "stderr"], folder / "nginx.log")
        wait_until(lambda: listening(self.port) or not self.running, 10, "nginx is ready")
        assert self.running, f"nginx ended at once:\n{self.log()}"

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"
