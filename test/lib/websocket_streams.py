"""WebSocket over HTTP/2 (RFC 8441): one on a stream, and many of them on few connections."""
import os

from lib import http2
from lib.websocket import Crowd, files_max, frame

STREAMS = 500  # of a connection


def ask(path="/chat", version="13", protocol="websocket"):
    return [(":method", "CONNECT"), (":protocol", protocol), (":scheme", "http"), (":path", path), (":authority", "test"),
            ("sec-websocket-version", version)]


class Stream:
    """One as the peer that lib.websocket reads from."""

    def __init__(self, c, id_):
        self.c, self.id, self.at = c, id_, 0
        self.message = c.message(id_)

    @classmethod
    def opened(cls, c, path="/chat"):
        """Asked for, and answered in whatever way."""
        stream = cls(c, c.raw_head(ask(path), end=False))
        c.read_until(lambda: stream.message.headed or stream.message.over)
        return stream

    def read_exactly(self, size):
        self.c.read_until(lambda: len(self.message.body) >= self.at + size or self.message.over)
        data = self.message.body[self.at:self.at + size]
        assert len(data) == size, f"the stream ended: {self.message.reset}"
        self.at += size
        return data

    def send(self, data):
        self.c.send_body(self.id, data, end=False)

    def say(self, opcode, payload=b""):
        self.send(frame(opcode, payload, masked=True))


def streams_room():
    """How many a gate, and this process, which has their servers, have descriptors for: they need one each. This one
    has others open too, of earlier tests (lib.ports)."""
    return files_max() - max(300, len(os.listdir("/proc/self/fd")) + 100)


class StreamCrowd(Crowd):
    """As the other, but the clients' ends are streams: the gate's descriptors go to its servers. Those have several
    addresses: where half of its ports are taken for one, the kernel has to look for each further one."""

    def __init__(self):
        super().__init__(host="")
        self.connections = []

    @property
    def addresses(self):
        return [f"127.0.0.{n}:{self.listener.getsockname()[1]}" for n in range(1, 5)]

    def open(self, port, count, batch=100):
        block = b"".join(b"\0" + bytes([len(k)]) + k.encode() + bytes([len(v)]) + v.encode() for k, v in ask("/crowd"))
        while count:
            now = min(batch, count)
            if not self.connections or self.connections[-1].next_stream // 2 + now > STREAMS:
                self.connections.append(http2.Client(port, auto_window=False, more_settings={http2.HEADER_TABLE_SIZE: 0}))
            c = self.connections[-1]
            streams = [Stream(c, c.next_stream + 2 * i) for i in range(now)]
            c.next_stream += 2 * now
            c.send(b"".join(http2.frame(http2.HEADERS, http2.END_HEADERS, s.id, block) for s in streams))
            servers = self.serve(now)
            for stream in streams:
                m = stream.message
                c.read_until(lambda m=m: m.headed or m.over)
                assert m.headed and m.status == 200, m.fields
                self.clients.append(stream)
                self.servers.append(servers[int(m.get("x-number"))])
            count -= now

    def close(self):
        for end in self.connections + self.servers:
            end.close()
        self.clients, self.servers, self.connections = [], [], []
