"""HTTP/2 as the tests need it: a client and a server of frames, that may break every rule (python3-hpack packs the
heads)."""
import socket
import struct
import threading
import time

import pytest

from lib.client import End
from lib.ports import free_port

hpack = pytest.importorskip("hpack")

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
PRIORITY_UPDATE = 16
END_STREAM = ACK = 1
END_HEADERS = 4
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = range(4)
REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 7, 8, 11
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, WINDOW_SIZE, MAX_FRAME, MAX_LIST = range(1, 7)
ENABLE_CONNECT = 8
TIMEOUT_S = 20


class Closed(Exception):
    """The other side has closed the connection."""


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def settings_frame(values):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", k, v) for k, v in values.items()))


def window_update(stream, n):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", n))


def reset_frame(stream, code=CANCEL):
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


class Message:
    """What has come on one stream."""

    def __init__(self):
        self.fields = []
        self.interim = []  # heads of 1xx
        self.trailers = []
        self.body = b""
        self.headed = self.ended = False
        self.reset = None  # the code of a RST_STREAM

    def get(self, name, default=None):
        return next((v for k, v in self.fields if k == name), default)

    @property
    def status(self):
        return int(self.get(":status"))

    @property
    def text(self):
        return self.body.decode()

    @property
    def over(self):
        return self.ended or self.reset is not None


class Connection(End):
    """Either side of one: sends frames, and keeps what comes by stream."""

    def __init__(self, sock, auto_window=True):
        self.socket = sock
        self.socket.settimeout(TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.auto_window = auto_window
        self.streams = {}
        self.settings = {}
        self.settled = False  # the other side's SETTINGS have come
        self.goaway = None  # (last stream, code)
        self.goaways = []
        self.pongs = 0
        self.pinged = []
        self.data_order = []  # of streams, a DATA frame each
        self.updates = {}  # of streams, and 0: what WINDOW_UPDATEs have added
        self.closed = False
        self.block = b""

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            self.closed = True
            raise Closed() from None

    def headers(self, stream, fields, end=False):
        flags = END_HEADERS | (END_STREAM if end else 0)
        return frame(HEADERS, flags, stream, self.encoder.encode(fields))

    def message(self, stream):
        return self.streams.setdefault(stream, Message())

    def _read(self, size):
        while len(self.buffer) < size:
            try:
                more = self.socket.recv(65536)
            except ConnectionResetError:
                more = b""
            if not more:
                self.closed = True
                raise Closed()
            self.buffer += more
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def read_frame(self):
        """One, noted; returns (kind, flags, stream, payload)."""
        head = self._read(9)
        kind, flags, stream = head[3], head[4], struct.unpack(">I", head[5:])[0]
        payload = self._read(int.from_bytes(head[:3], "big"))
        self._note(kind, flags, stream, payload)
        return kind, flags, stream, payload

    def _note(self, kind, flags, stream, payload):
        if kind == SETTINGS and not flags & ACK:
            for at in range(0, len(payload), 6):
                key, value = struct.unpack(">HI", payload[at:at + 6])
                self.settings[key] = value
            self.settled = True
            self.send(frame(SETTINGS, ACK))
        elif kind == PING and flags & ACK:
            self.pongs += 1
        elif kind == PING:
            self.pinged.append(payload)
            self.send(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            self.goaway = struct.unpack(">II", payload[:8])
            self.goaways.append(self.goaway)
        elif kind == RST_STREAM:
            self.message(stream).reset = struct.unpack(">I", payload)[0]
        elif kind == WINDOW_UPDATE:
            self.updates[stream] = self.updates.get(stream, 0) + struct.unpack(">I", payload)[0]
        elif kind == DATA:
            self._note_data(flags, stream, payload)
        elif kind in (HEADERS, CONTINUATION):
            self._note_headers(kind, flags, stream, payload)

    def _note_data(self, flags, stream, payload):
        m = self.message(stream)
        m.body += payload
        m.ended |= bool(flags & END_STREAM)
        self.data_order.append(stream)
        if payload and self.auto_window:
            self.send(window_update(0, len(payload)) + window_update(stream, len(payload)))

    def _note_headers(self, kind, flags, stream, payload):
        if kind == HEADERS:
            self.block, self.block_ends = b"", bool(flags & END_STREAM)
            if flags & 0x20:  # priority
                payload = payload[5:]
        self.block += payload
        if not flags & END_HEADERS:
            return
        fields = self.decoder.decode(self.block)
        m = self.message(stream)
        if m.headed:
            m.trailers = fields
        elif dict(fields).get(":status", "200").startswith("1"):
            m.interim.append(fields)
        else:
            m.fields, m.headed = fields, True
        m.ended |= self.block_ends

    def read_until(self, condition):
        """Frames, until the condition holds; Closed when the other side closes first."""
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError("the frame that was waited for does not come")
            self.read_frame()

    def read_to_end(self):
        """All frames until the other side closes."""
        try:
            while True:
                self.read_frame()
        except Closed:
            pass

    def response(self, stream):
        m = self.message(stream)
        self.read_until(lambda: m.over)
        return m


class Client(Connection):
    """Of weir's, by prior knowledge. window: of each stream, for what weir sends."""

    def __init__(self, port, window=None, auto_window=True, more_settings=None):
        super().__init__(socket.create_connection(("127.0.0.1", port), TIMEOUT_S), auto_window)
        values = dict(more_settings or {})
        if window is not None:
            values[WINDOW_SIZE] = window
        self.next_stream = 1
        self.send(PREFACE + settings_frame(values))

    def start(self, method="GET", path="/", fields=(), end=True, host="test"):
        """Sends a head; returns the stream."""
        stream = self.next_stream
        self.next_stream += 2
        pseudo = [(":method", method), (":scheme", "http"), (":authority", host), (":path", path)]
        self.send(self.headers(stream, [*pseudo, *fields], end))
        return stream

    def send_body(self, stream, data, end=True):
        """Without a look at windows: for what fits into the first one."""
        pieces = [data[at:at + 16384] for at in range(0, len(data), 16384)] or [b""]
        for i, piece in enumerate(pieces):
            last = end and i == len(pieces) - 1
            self.send(frame(DATA, END_STREAM if last else 0, stream, piece))

    def request(self, method="GET", path="/", fields=(), body=None):
        stream = self.start(method, path, fields, end=body is None)
        if body is not None:
            self.send_body(stream, body)
        return self.response(stream)

    def get(self, path="/", fields=()):
        return self.request("GET", path, fields)

    def raw_head(self, fields, end=True):
        """Exactly these fields."""
        stream = self.next_stream
        self.next_stream += 2
        self.send(self.headers(stream, fields, end))
        return stream


class Server:
    """serve(connection) runs in a thread for each of weir's connections; connection.request() is the next stream that
    is whole, connection.answer answers one."""

    def __init__(self, serve, port=None, values=None):
        self.port = port or free_port()
        self.serve, self.values = serve, values or {}
        self.connections = []
        self.errors = []
        self.listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def stop(self):
        for s in [self.listener, *(c.socket for c in self.connections)]:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            c = Served(sock)
            self.connections.append(c)
            threading.Thread(target=self._run, args=(c,), daemon=True).start()

    def _run(self, c):
        try:
            assert c._read(len(PREFACE)) == PREFACE
            c.send(settings_frame(self.values))
            self.serve(c)
        except (Closed, OSError):
            pass
        except Exception as e:
            self.errors.append(e)
        finally:
            c.close()


class Served(Connection):
    def __init__(self, sock):
        super().__init__(sock)
        self.taken = set()

    def next_request(self):
        """The next stream that is whole: (stream, message)."""
        def whole():
            return [s for s, m in self.streams.items() if m.over and s not in self.taken]
        self.read_until(whole)
        stream = min(whole())
        self.taken.add(stream)
        return stream, self.streams[stream]

    def answer(self, stream, body=b"", status="200", fields=(), trailers=None):
        out = self.headers(stream, [(":status", status), *fields], end=not body and trailers is None)
        for at in range(0, len(body), 16384):
            last = at + 16384 >= len(body) and trailers is None
            out += frame(DATA, END_STREAM if last else 0, stream, body[at:at + 16384])
        if trailers is not None:
            out += self.headers(stream, trailers, end=True)
        self.send(out)


def echo(c):
    """A script: each answer is the request's path, or its body when there is one."""
    while True:
        stream, m = c.next_request()
        if m.reset is None:
            c.answer(stream, m.body or m.get(":path").encode(), fields=[("x-method", m.get(":method"))])
