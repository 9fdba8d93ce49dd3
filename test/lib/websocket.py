"""WebSocket (RFC 6455) by hand, for tests that say and see each frame: a client, and scripts for a server."""
import base64
import hashlib
import os
import resource
import socket
import struct
import threading
from dataclasses import dataclass

from lib.client import Client
from lib.process import wait_until

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
ASK = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": KEY}


def accept_of(key):
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


def frame(opcode, payload=b"", masked=False, fin=True, rsv=0):
    if isinstance(payload, str):
        payload = payload.encode()
    head = bytes([fin << 7 | rsv << 4 | opcode])
    size = len(payload)
    flag = masked << 7
    if size < 126:
        head += bytes([flag | size])
    elif size < 65536:
        head += struct.pack(">BH", flag | 126, size)
    else:
        head += struct.pack(">BQ", flag | 127, size)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    long_mask = mask * (size // 4 + 1)
    return head + mask + (int.from_bytes(payload, "big") ^ int.from_bytes(long_mask[:size], "big")).to_bytes(size, "big")


def close(code, reason="", masked=False):
    return frame(CLOSE, struct.pack(">H", code) + reason.encode(), masked)


@dataclass
class Frame:
    opcode: int
    payload: bytes
    masked: bool
    fin: bool

    @property
    def code(self):
        """Of a Close."""
        return struct.unpack(">H", self.payload[:2])[0] if len(self.payload) >= 2 else None


def read_frame(peer):
    """peer: a Client or a server's Peer."""
    first, second = peer.read_exactly(2)
    size = second & 127
    if size == 126:
        size, = struct.unpack(">H", peer.read_exactly(2))
    elif size == 127:
        size, = struct.unpack(">Q", peer.read_exactly(8))
    mask = peer.read_exactly(4) if second & 128 else None
    payload = peer.read_exactly(size)
    if mask:
        payload = bytes(b ^ mask[i % 4] for i, b in enumerate(payload))
    return Frame(first & 15, payload, mask is not None, bool(first & 128))


def accept(peer, extra="", first=b""):
    """The server's side of the handshake; returns the request's head."""
    head = peer.read_until(b"\r\n\r\n")
    fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
    key = {n.lower(): v for n, v in fields.items()}["sec-websocket-key"]
    peer.send(("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
               f"Sec-WebSocket-Accept: {accept_of(key)}\r\n{extra}\r\n").encode() + first)
    return head


def echo(peer):
    """A server that sends back what it gets, as an endpoint of RFC 6455 does."""
    accept(peer)
    while True:
        got = read_frame(peer)
        assert got.masked
        if got.opcode == PING:
            peer.send(frame(PONG, got.payload))
        elif got.opcode == CLOSE:
            peer.send(frame(CLOSE, got.payload))
            return
        elif got.opcode != PONG:
            peer.send(frame(got.opcode, got.payload, fin=got.fin))


class WebSocket(Client):
    """Opened through the gate at `address`."""

    def __init__(self, address, path="/", headers=(), behind=b"", **options):
        super().__init__(address, **options)
        fields = {**ASK, "Host": "test", **dict(headers)}
        self.send((f"GET {path} HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in fields.items())
                   + "\r\n").encode() + behind)
        self.response = self.read_response()

    def opened(self):
        assert self.response.status == 101, self.response
        assert self.response.get("sec-websocket-accept") == accept_of(KEY)
        return self

    def say(self, opcode, payload=b"", **options):
        self.send(frame(opcode, payload, masked=True, **options))

    def read(self):
        return read_frame(self)

    def echoed(self, text):
        self.say(TEXT, text)
        got = self.read()
        assert (got.opcode, got.payload.decode(), got.masked) == (TEXT, text, False), got
        return self


def files_max():
    """How many descriptors this process and those that it starts may have: raised as far as it may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def room():
    """How many proxied connections a process has descriptors for."""
    return (files_max() - 200) // 2


class Crowd:
    """Many connections through one gate, both their ends in this process: .clients[i] and .servers[i] belong together.
    Each server says who it is, so that a mix-up shows."""

    def __init__(self, host="127.0.0.1"):
        self.listener = socket.create_server((host, 0), backlog=4096)
        self.listener.settimeout(60)
        self.clients, self.servers = [], []

    @property
    def address(self):
        return f"127.0.0.1:{self.listener.getsockname()[1]}"

    @property
    def addresses(self):
        return [self.address]

    def serve(self, count):
        """The next that come; each answer has the place of its server in what is returned."""
        servers = []
        for _ in range(count):
            server = Client.__new__(Client)
            server.socket, server.buffer = self.listener.accept()[0], b""
            server.socket.settimeout(60)
            accept(server, f"X-Number: {len(servers)}\r\n")
            servers.append(server)
        return servers

    def open(self, port, count, batch=50):
        request = ("GET /crowd HTTP/1.1\r\nHost: test\r\n" + "".join(f"{n}: {v}\r\n" for n, v in ASK.items())
                   + "User-Agent: crowd\r\nOrigin: https://shop.example\r\n\r\n").encode()
        while count:
            now = min(batch, count)
            clients = [Client(port, timeout=60) for _ in range(now)]
            for client in clients:
                client.send(request)
            servers = self.serve(now)
            for client in clients:
                response = client.read_response()
                assert response.status == 101, response
                self.clients.append(client)
                self.servers.append(servers[int(response.get("x-number"))])
            count -= now

    def talk(self, step=1):
        """A message each way on all of them, or each step-th."""
        some = list(enumerate(zip(self.clients, self.servers)))[::step]
        for i, (client, _) in some:
            client.send(frame(TEXT, f"to {i}", masked=True))
        for i, (_, server) in some:
            assert read_frame(server).payload == f"to {i}".encode()
            server.send(frame(TEXT, f"from {i}"))
        for i, (client, _) in some:
            assert client.read_exactly(len(frame(TEXT, f"from {i}"))) == frame(TEXT, f"from {i}")

    def close(self):
        for end in self.clients + self.servers:
            end.close()
        self.clients, self.servers = [], []


class Script:
    """A server whose one connection is driven by the test: .peer when it is open."""

    def __init__(self, scripted, extra=""):
        self.opened, self.over = threading.Event(), threading.Event()
        self.extra = extra
        self.server = scripted(self.run)

    def run(self, peer):
        self.head = accept(peer, self.extra)
        self.peer = peer
        self.opened.set()
        self.over.wait(60)

    def wait(self):
        assert self.opened.wait(20)
        return self.peer


def logged(gate):
    """Of the one connection, when it has ended."""
    return wait_until(gate.access, 20, "a line in the access log")[-1]
