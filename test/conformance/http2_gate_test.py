"""RFC 9113, section by section: what breaks a rule ends the stream or the connection as the section says, and what keeps
them is answered. (The cases are those that h2spec knows, and some more; h2spec itself runs too where it is installed.)"""

import pytest

from lib import http2
from lib.conf import one_service
from lib.http2 import (ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PRIORITY, PUSH_PROMISE,
                       RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, settings_frame, window_update)
from lib.servers import answer

PROTOCOL, FLOW, CLOSED, SIZE, COMPRESSION, CALM, REFUSED = 1, 3, 5, 6, 9, 11, 7
PADDED, HAS_PRIORITY = 8, 0x20
GET = [(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", "/")]
POST = [(":method", "POST"), *GET[1:]]


@pytest.fixture
def gate(weir, scripted):
    return weir(one_service(scripted(answer("here"))))


def head(c, stream=1, fields=None, flags=END_HEADERS | END_STREAM, before=b"", behind=b""):
    return frame(HEADERS, flags, stream, before + c.encoder.encode(fields or GET) + behind)


def opened(c, stream=1):
    """A stream whose body is still to come."""
    return head(c, stream, POST, END_HEADERS)


# name: (what is sent, codes of which one ends the connection)
CONNECTION_ERRORS = {
    "4.2 a frame beyond MAX_FRAME_SIZE": (lambda c: opened(c) + frame(DATA, 0, 1, bytes(16385)), {SIZE}),
    "4.2 a HEADERS frame beyond it": (lambda c: frame(HEADERS, 5, 1, bytes(16385)), {SIZE}),
    "4.3 a block that cannot be decoded": (lambda c: frame(HEADERS, 5, 1, b"\xff\xff\xff\xff\xff\xff"), {COMPRESSION}),
    "4.3 PRIORITY inside a block": (lambda c: frame(HEADERS, END_STREAM, 1, c.encoder.encode(GET))
                                    + frame(PRIORITY, 0, 1, b"\0\0\0\0\x10"), {PROTOCOL}),
    "4.3 another stream inside a block": (lambda c: frame(HEADERS, END_STREAM, 1, c.encoder.encode(GET))
                                          + head(c, 3), {PROTOCOL}),
    "5.1 idle: DATA": (lambda c: frame(DATA, END_STREAM, 1, b"x"), {PROTOCOL}),
    "5.1 idle: RST_STREAM": (lambda c: http2.reset_frame(1), {PROTOCOL}),
    "5.1 idle: WINDOW_UPDATE": (lambda c: window_update(1, 100), {PROTOCOL}),
    "5.1 idle: CONTINUATION": (lambda c: frame(CONTINUATION, END_HEADERS, 1, c.encoder.encode(GET)), {PROTOCOL}),
    "5.1 closed: DATA": (lambda c: c.get() and frame(DATA, END_STREAM, 1, b"x"), {CLOSED}),
    "5.1 closed: HEADERS": (lambda c: c.get() and head(c), {CLOSED}),
    "5.1 closed, and others are open": (lambda c: c.get() and opened(c, 3) + opened(c, 5) + head(c), {CLOSED}),
    "5.1 taken back: DATA": (lambda c: opened(c) + http2.reset_frame(1) + frame(DATA, END_STREAM, 1, b"x"), {CLOSED}),
    "5.1 taken back: HEADERS": (lambda c: opened(c) + http2.reset_frame(1) + head(c), {CLOSED}),
    "5.1.1 an even stream": (lambda c: head(c, 2), {PROTOCOL}),
    "5.1.1 a smaller stream": (lambda c: head(c, 5) + head(c, 3), {PROTOCOL, CLOSED}),
    "6.1 DATA on stream 0": (lambda c: frame(DATA, END_STREAM, 0, b"x"), {PROTOCOL}),
    "6.1 padding as long as the frame": (lambda c: opened(c) + frame(DATA, END_STREAM | PADDED, 1, b"\x05test"),
                                         {PROTOCOL}),
    "6.2 HEADERS on stream 0": (lambda c: head(c, 0), {PROTOCOL}),
    "6.2 padding longer than the frame": (lambda c: frame(HEADERS, 5 | PADDED, 1, b"\xff" + c.encoder.encode(GET)),
                                          {PROTOCOL}),
    "6.3 PRIORITY on stream 0": (lambda c: frame(PRIORITY, 0, 0, b"\0\0\0\0\x10"), {PROTOCOL}),
    "6.4 RST_STREAM on stream 0": (lambda c: http2.reset_frame(0), {PROTOCOL}),
    "6.4 RST_STREAM of another length": (lambda c: opened(c) + frame(RST_STREAM, 0, 1, b"\0\0\0"), {SIZE}),
    "6.5 ACK with a payload": (lambda c: frame(SETTINGS, ACK, 0, bytes(6)), {SIZE}),
    "6.5 SETTINGS on a stream": (lambda c: frame(SETTINGS, 0, 1), {PROTOCOL}),
    "6.5 SETTINGS of another length": (lambda c: frame(SETTINGS, 0, 0, b"\0\3\0"), {SIZE}),
    "6.5.2 ENABLE_PUSH 2": (lambda c: settings_frame({2: 2}), {PROTOCOL}),
    "6.5.2 a window beyond 2^31": (lambda c: settings_frame({4: 1 << 31}), {FLOW}),
    "6.5.2 MAX_FRAME_SIZE below 16384": (lambda c: settings_frame({5: 16383}), {PROTOCOL}),
    "6.5.2 MAX_FRAME_SIZE above 2^24": (lambda c: settings_frame({5: 1 << 24}), {PROTOCOL}),
    "6.7 PING on a stream": (lambda c: frame(PING, 0, 1, bytes(8)), {PROTOCOL}),
    "6.7 PING of another length": (lambda c: frame(PING, 0, 0, bytes(6)), {SIZE}),
    "6.8 GOAWAY on a stream": (lambda c: frame(GOAWAY, 0, 1, bytes(8)), {PROTOCOL}),
    "6.9 WINDOW_UPDATE of 0": (lambda c: window_update(0, 0), {PROTOCOL}),
    "6.9 WINDOW_UPDATE of another length": (lambda c: frame(WINDOW_UPDATE, 0, 0, b"\0\0\1"), {SIZE}),
    "6.9.1 a window of the connection beyond 2^31": (lambda c: window_update(0, 2**31 - 1), {FLOW}),
    "6.10 CONTINUATION on stream 0": (lambda c: frame(HEADERS, END_STREAM, 1, c.encoder.encode(GET))
                                      + frame(CONTINUATION, END_HEADERS, 0), {PROTOCOL}),
    "6.10 CONTINUATION behind END_HEADERS": (lambda c: head(c) + frame(CONTINUATION, END_HEADERS, 1), {PROTOCOL, CLOSED}),
    "8.2 PUSH_PROMISE from a client": (lambda c: opened(c) + frame(PUSH_PROMISE, END_HEADERS, 1,
                                                                  b"\0\0\0\2" + c.encoder.encode(GET)), {PROTOCOL}),
}


@pytest.mark.parametrize("name", CONNECTION_ERRORS)
def test_connection_errors(gate, name):
    data, codes = CONNECTION_ERRORS[name]
    with http2.Client(gate.port) as c:
        try:
            c.send(data(c))
            c.read_to_end()
        except http2.Closed:
            pass
        assert c.goaway and c.goaway[1] in codes, name
    with http2.Client(gate.port) as c:
        assert c.get().text == "here"


# name: (what is sent behind an opened stream 1, codes of which one resets it or ends the connection)
STREAM_ERRORS = {
    "5.1 half-closed: DATA": (lambda c: head(c, 1, POST) + frame(DATA, END_STREAM, 1, b"x"), {CLOSED, PROTOCOL}),
    "5.1 half-closed: HEADERS": (lambda c: head(c, 1, POST) + head(c), {CLOSED, PROTOCOL}),
    "6.3 PRIORITY of another length": (lambda c: frame(PRIORITY, 0, 1, b"\0\0\0\0"), {SIZE}),
    "6.9 WINDOW_UPDATE of 0": (lambda c: window_update(1, 0), {PROTOCOL}),
    "6.9.1 a window beyond 2^31": (lambda c: window_update(1, 2**31 - 1), {FLOW}),
    "6.9.2 settings that push a window beyond it": (lambda c: window_update(1, 2**30) + settings_frame({4: 2**31 - 1}),
                                                    {FLOW}),
    "8.1 a second head without END_STREAM": (lambda c: head(c, 1, [("x-a", "1")], END_HEADERS), {PROTOCOL}),
    "8.1.1 less body than content-length": (lambda c: frame(DATA, END_STREAM, 1, b"x"), {PROTOCOL}),
    "8.1 a pseudo field in trailers": (lambda c: head(c, 1, [(":path", "/")]), {PROTOCOL}),
}


@pytest.mark.parametrize("name", STREAM_ERRORS)
def test_stream_errors(gate, name):
    data, codes = STREAM_ERRORS[name]
    half_closed = name.startswith("5.1")
    with http2.Client(gate.port) as c:
        try:
            first = b"" if half_closed else head(c, 1, [*POST, ("content-length", "5")], END_HEADERS)
            c.send(first + data(c))
            m = c.message(1)
            c.read_until(lambda: m.reset is not None or c.goaway)
        except http2.Closed:
            pass
        got = c.goaway[1] if c.goaway else m.reset
        assert got in codes, name


# name: what is sent, and answered on stream 1
ANSWERED = {
    "4.1 unknown types and flags": lambda c: frame(0x42, 0xff, 0, b"x") + frame(PING, 0xfe, 0, bytes(8)) + head(c),
    "5.1 PRIORITY on an idle and a closed stream": lambda c: frame(PRIORITY, 0, 9, b"\0\0\0\0\x10") + head(c)
    + frame(PRIORITY, 0, 1, b"\0\0\0\0\x10"),
    "5.1 other frames on a closed stream": lambda c: c.get() and window_update(1, 1) + http2.reset_frame(1) + head(c, 3),
    "6.1 padding": lambda c: opened(c) + frame(DATA, END_STREAM | PADDED, 1, b"\3abc\0\0\0"),
    "6.2 padding and priority": lambda c: head(c, flags=5 | PADDED | HAS_PRIORITY, before=b"\2\0\0\0\0\x10", behind=b"\0\0"),
    "6.5.2 unknown settings": lambda c: settings_frame({0x99: 1, 1: 0}) + head(c),
    "6.8 GOAWAY of a client": lambda c: head(c) + frame(GOAWAY, 0, 0, bytes(8)),
    "6.10 CONTINUATION": lambda c: (lambda block: frame(HEADERS, END_STREAM, 1, block[:1]) + frame(CONTINUATION, 0, 1, block[1:3])
                                    + frame(CONTINUATION, END_HEADERS, 1, block[3:]))(c.encoder.encode(GET)),
    "8.1 trailers": lambda c: opened(c) + frame(DATA, 0, 1, b"x") + head(c, 1, [("x-a", "1")]),
    "8.3 OPTIONS *": lambda c: head(c, 1, [(":method", "OPTIONS"), (":scheme", "http"), (":authority", "a"), (":path", "*")]),
}


@pytest.mark.parametrize("name", ANSWERED)
def test_answered(gate, name):
    with http2.Client(gate.port) as c:
        c.send(ANSWERED[name](c))
        assert c.response(1).text == "here" or name.startswith("8.3"), name
        assert not name.startswith("5.1 other") or c.response(3).text == "here"


def test_settings_and_pings_are_acknowledged(gate):
    with http2.Client(gate.port) as c:
        c.send(frame(PING, 0, 0, b"12345678"))
        seen = []
        while len(seen) < 2:
            kind, flags, _, payload = c.read_frame()
            if kind in (SETTINGS, PING) and flags & ACK:
                seen.append((kind, payload))
        assert seen == [(SETTINGS, b""), (PING, b"12345678")]
        assert c.settings[http2.MAX_STREAMS] and http2.ENABLE_PUSH not in c.settings


def test_windows_are_kept(weir, origin):
    """6.9.1: never more than the window, down to one byte; 6.9.2: settings change it, below 0 too."""
    gate = weir(one_service(origin()))
    with http2.Client(gate.port, window=1, auto_window=False) as c:
        stream = c.start(path="/bytes/100")
        m = c.message(stream)
        c.read_until(lambda: m.body)
        assert len(m.body) == 1
        c.send(settings_frame({4: 10}))
        c.read_until(lambda: len(m.body) == 10)
        c.send(settings_frame({4: 5}) + frame(PING, 0, 0, bytes(8)))
        pongs = c.pongs
        c.read_until(lambda: c.pongs > pongs)
        c.send(window_update(stream, 5) + frame(PING, 0, 0, bytes(8)))
        c.read_until(lambda: c.pongs > pongs + 1)
        assert len(m.body) == 10
        c.send(window_update(stream, 90))
        assert len(c.response(stream).body) == 100


def test_a_preface_that_is_none(gate):
    assert gate.raw(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + bytes(9)) is not None  # closed, not hung
    with http2.Client(gate.port) as c:
        assert c.get().text == "here"


def test_a_table_of_fields_smaller_than_before(gate):
    """RFC 7541 4.2: the other side's table may shrink at any time."""
    with http2.Client(gate.port) as c:
        for size in (0, 4096, 64):
            assert c.get().text == "here"
            c.send(settings_frame({http2.HEADER_TABLE_SIZE: size}))
            c.decoder.max_allowed_table_size = size
        assert c.get().text == "here"
