"""An HTTP/1.1 client that sends exactly what it is told and reads exactly one strict answer at a time."""
import json
import re
import socket
import struct
from dataclasses import dataclass, field

TIMEOUT_S = 10


class Closed(Exception):
    """The peer closed (or reset) before the answer was whole; `got` is what came of it."""

    def __init__(self, got=b""):
        super().__init__(f"closed after {len(got)} bytes: {got[:200]!r}")
        self.got = got


class Malformed(Exception):
    pass


@dataclass
class Response:
    status: int
    reason: str
    version: str
    headers: list  # (name as it came, value)
    body: bytes = b""
    trailers: list = field(default_factory=list)
    head: bytes = b""  # as it came

    def all(self, name):
        return [v for n, v in self.headers if n.lower() == name.lower()]

    def get(self, name, default=None):
        values = self.all(name)
        return ", ".join(values) if values else default

    @property
    def text(self):
        return self.body.decode()

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def keep_alive(self):
        return "close" not in (self.get("connection") or "").lower() and self.version == "HTTP/1.1"


STATUS = re.compile(rb"(HTTP/1\.[01]) ([1-5][0-9][0-9]) ([\t\x20-\x7e\x80-\xff]*)\Z")
FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*\Z")


def parse_fields(lines):
    fields = []
    for line in lines:
        match = FIELD.match(line)
        if not match:
            raise Malformed(f"field line {line!r}")
        fields.append((match[1].decode(), match[2].decode("latin-1")))
    return fields


class End:
    """One end of a connection: whoever has it open."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()


class Client(End):
    """address: a port on 127.0.0.1, (host, port), or the path of a unix socket."""

    def __init__(self, address, timeout=TIMEOUT_S):
        if isinstance(address, str):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(timeout)
            self.socket.connect(address)
        else:
            self.socket = socket.create_connection(
                ("127.0.0.1", address) if isinstance(address, int) else address, timeout)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def reset(self):
        """Closes with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            raise Closed() from None

    def finish(self):
        """Half-close: nothing more will be sent."""
        self.socket.shutdown(socket.SHUT_WR)

    def request(self, method="GET", path="/", headers=(), body=None, host="test"):
        """Sends one and reads its answer. headers: a dict or pairs."""
        self.send_request(method, path, headers, body, host)
        return self.read_response(method)

    def get(self, path="/", headers=()):
        return self.request("GET", path, headers)

    def send_request(self, method="GET", path="/", headers=(), body=None, host="test"):
        pairs = list(headers.items() if isinstance(headers, dict) else headers)
        if host is not None and not any(n.lower() == "host" for n, _ in pairs):
            pairs.insert(0, ("Host", host))
        framed = any(n.lower() in ("content-length", "transfer-encoding") for n, _ in pairs)
        if body is not None and not framed:
            pairs.append(("Content-Length", str(len(body))))
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in pairs) + "\r\n"
        self.send(head.encode("latin-1") + (body or b""))

    def more(self):
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            raise Closed(self.buffer)
        self.buffer += data

    def read_exactly(self, size):
        parts, have = [self.buffer], len(self.buffer)
        while have < size:
            try:
                part = self.socket.recv(min(size - have, 1 << 20))
            except ConnectionResetError:
                part = b""
            if not part:
                raise Closed(b"".join(parts))
            parts.append(part)
            have += len(part)
        data = b"".join(parts)
        self.buffer = data[size:]
        return data[:size]

    def read_until(self, mark):
        """Up to and with mark."""
        while mark not in self.buffer:
            self.more()
        data, _, self.buffer = self.buffer.partition(mark)
        return data + mark

    def read_line(self):
        line = self.read_until(b"\n")
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            raise Malformed(f"line {line!r}")
        return line[:-2]

    def read_all(self):
        """Until the peer closes."""
        try:
            while True:
                self.more()
        except Closed:
            data, self.buffer = self.buffer, b""
            return data

    def is_closed(self, seconds=TIMEOUT_S):
        """True when the peer closes within that time and sends nothing before it."""
        if self.buffer:
            return False
        before = self.socket.gettimeout()
        self.socket.settimeout(seconds)
        try:
            self.more()
            return False
        except Closed:
            return True
        except socket.timeout:
            return False
        finally:
            self.socket.settimeout(before)

    def read_head(self):
        lines = [self.read_line()]
        while lines[-1]:
            lines.append(self.read_line())
        match = STATUS.match(lines[0])
        if not match:
            raise Malformed(f"status line {lines[0]!r}")
        return Response(int(match[2]), match[3].decode("latin-1"), match[1].decode(), parse_fields(lines[1:-1]),
                        head=b"\r\n".join(lines) + b"\r\n")

    def read_response(self, method="GET", interim=None):
        """One final answer; 1xx before it go to the list `interim` (dropped without one)."""
        while True:
            response = self.read_head()
            if response.status >= 200 or response.status == 101:
                break
            if interim is not None:
                interim.append(response)
        self._read_body(response, method)
        return response

    def _read_body(self, response, method):
        lengths, codings = response.all("content-length"), response.all("transfer-encoding")
        if len(lengths) > 1 or (lengths and codings):
            raise Malformed(f"framing {lengths} {codings}")
        if lengths and not re.fullmatch("[0-9]+", lengths[0]):
            raise Malformed(f"content-length {lengths[0]!r}")
        if method == "HEAD" or response.status in (101, 204, 304):
            return
        if codings:
            if codings != ["chunked"]:
                raise Malformed(f"transfer-encoding {codings}")
            self._read_chunked(response)
        elif lengths:
            response.body = self.read_exactly(int(lengths[0]))
        else:
            response.body = self.read_all()

    def _read_chunked(self, response):
        parts = []
        while True:
            line = self.read_line()
            if not re.fullmatch(rb"[0-9a-fA-F]{1,16}", line.split(b";")[0].rstrip()):
                raise Malformed(f"chunk size {line!r}")
            size = int(line.split(b";")[0], 16)
            if size == 0:
                break
            parts.append(self.read_exactly(size))
            if self.read_exactly(2) != b"\r\n":
                raise Malformed("no CRLF behind a chunk")
        lines = []
        while line := self.read_line():
            lines.append(line)
        response.trailers = parse_fields(lines)
        response.body = b"".join(parts)


def raw(address, data, timeout=TIMEOUT_S):
    """Sends data on a new connection and returns all that comes until the peer closes."""
    with Client(address, timeout) as client:
        try:
            client.send(data)
        except Closed:
            pass
        return client.read_all()


def parse_all(data, methods=("GET",)):
    """The answers in what raw() returned, for requests of these methods; the rest must be empty."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        client = Client.__new__(Client)
        client.socket, client.buffer = ours, data
        theirs.close()
        answers = [client.read_response(m) for m in methods]
        if client.buffer:
            raise Malformed(f"left over: {client.buffer[:200]!r}")
        return answers
