"""HTTP/3 byte by byte: build/quic_client (a QUIC client that does what it is told), and the frames to tell it."""
import queue
import subprocess
import threading
import time

import pytest

from lib.weir import BUILD

CLIENT = BUILD / "quic_client"
H3_NO_ERROR, H3_INTERNAL_ERROR, H3_REQUEST_CANCELLED = 0x100, 0x102, 0x10c
QPACK_ENCODER_STREAM_ERROR = 0x201
DATA, HEADERS, SETTINGS, GOAWAY, PRIORITY_UPDATE = 0, 1, 4, 7, 0xf0700


def needs_quic_client():
    if not CLIENT.exists():
        pytest.skip("this build is without ngtcp2")


def varint(n):
    for size, mark in ((1, 0), (2, 0x40), (4, 0x80), (8, 0xc0)):
        if n < 1 << (8 * size - 2):
            return bytes([n >> 8 * (size - 1) | mark]) + (n & (1 << 8 * (size - 1)) - 1).to_bytes(size - 1, "big")
    raise ValueError(n)


def read_varint(data, at=0):
    size = 1 << (data[at] >> 6)
    return int.from_bytes(data[at:at + size], "big") & (1 << 8 * size - 2) - 1, at + size


def frame(kind, payload=b""):
    return varint(kind) + varint(len(payload)) + payload


def frames(data):
    """[(type, payload), ...] of whole ones."""
    found, at = [], 0
    while at < len(data):
        kind, at = read_varint(data, at)
        size, at = read_varint(data, at)
        found.append((kind, data[at:at + size]))
        at += size
    return found


def prefixed(n, bits, mark=0):
    """RFC 7541 5.1."""
    most = (1 << bits) - 1
    if n < most:
        return bytes([mark | n])
    out, n = bytes([mark | most]), n - most
    while n >= 128:
        out, n = out + bytes([n % 128 + 128]), n // 128
    return out + bytes([n])


def fields(*pairs):
    """RFC 9204 4.5.6: literal names and values, no table."""
    out = b"\0\0"
    for name, value in pairs:
        name, value = name.encode(), value.encode()
        out += prefixed(len(name), 3, 0x20) + name + prefixed(len(value), 7) + value
    return out


def request(path, *more, method="GET"):
    return frame(HEADERS, fields((":method", method), (":scheme", "https"), (":authority", "localhost"), (":path", path),
                                 *more))


class Quic:
    """A connection with its control stream. events: [(word, stream, bytes or number, fin)], in the order they came."""

    def __init__(self, port, window=1 << 20, token=b"", wait=True):
        needs_quic_client()
        self.process = subprocess.Popen([CLIENT, str(port), str(window), token.hex()], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1)
        self.waiting, self.events = queue.Queue(), []
        self.ended = None  # with what code
        self.certificate = None  # its SHA-256
        threading.Thread(target=self._read, daemon=True).start()
        if wait:
            self.params = self.wait(lambda e: e[0] == "handshaken")[1:]
            self.control = self.open("uni")
            self.send(self.control, b"\0" + frame(SETTINGS))

    def _read(self):
        for line in self.process.stdout:
            self.waiting.put(line.split())
        self.waiting.put(["end", "-1"])

    def tell(self, *words):
        try:
            self.process.stdin.write(" ".join(map(str, words)) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass

    def _take(self, words):
        if words[0] == "data":
            hexes = words[2] if len(words) > 2 and words[2] != "fin" else ""
            event = ("data", int(words[1]), bytes.fromhex(hexes), words[-1] == "fin")
        elif words[0] == "certificate":
            self.certificate = words[1]
            event = (words[0],)
        else:
            event = (words[0], *map(int, words[1:]))
        if event[0] == "end" and self.ended is None:
            self.ended = event[1]
        self.events.append(event)
        return event

    def wait(self, right, seconds=20):
        """Until an event is right; it is among events as all before it."""
        end = time.monotonic() + seconds
        while True:
            try:
                event = self._take(self.waiting.get(timeout=max(end - time.monotonic(), 0.001)))
            except queue.Empty:
                raise AssertionError(f"it does not come; what came: {[e[:2] for e in self.events[-20:]]}") from None
            if right(event):
                return event
            assert self.ended is None or event[0] != "end", f"it has ended: {[e[:2] for e in self.events[-20:]]}"

    def open(self, kind="bidi"):
        self.tell(kind)
        return self.wait(lambda e: e[0] == "opened")[1]

    def send(self, stream, data, fin=False):
        self.tell("send", stream, data.hex(), "fin" if fin else "")

    def ask(self, path, *more, body=b"", method=None, fin=True):
        """Its stream."""
        stream = self.open()
        self.send(stream, request(path, *more, method=method or ("POST" if body else "GET"))
                  + (frame(DATA, body) if body else b""), fin)
        return stream

    def goaways(self):
        """What weir's control stream has said of the end: ids of streams."""
        said = self.data(3)
        return [read_varint(payload)[0] for kind, payload in frames(said[1:]) if kind == GOAWAY]

    def data(self, stream):
        return b"".join(e[2] for e in self.events if e[0] == "data" and e[1] == stream)

    def answered(self, stream, seconds=20):
        """Until all of it is there; its body."""
        if not any(e[:2] == ("data", stream) and e[3] for e in self.events):
            self.wait(lambda e: e[:2] == ("data", stream) and e[3], seconds)
        return b"".join(payload for kind, payload in frames(self.data(stream)) if kind == DATA)

    def wait_end(self, seconds=20):
        """The code that it was closed with."""
        if self.ended is None:
            self.wait(lambda e: e[0] == "end", seconds)
        return self.ended

    def close(self):
        self.tell("close", H3_NO_ERROR)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
