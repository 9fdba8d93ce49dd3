"""The corpus against the whole gate: what is refused is answered, closed and never seen by a server; what is accepted
reaches the server exactly once, as it was meant. For what is refused the server is the origin, whose parser is not weir's."""
import json
import re
import select
import socket
import time

import pytest

from conformance.http1_corpus import cases
from lib.client import Client, Closed, Malformed, parse_all
from lib.conf import one_service

BATCH = 60
REQUESTS = list(cases("request"))
CHUNKED = list(cases("chunked"))


def limits_of(case):
    names = {"line": "line_bytes_max", "head": "head_bytes_max", "fields": "fields_max"}
    usual = {"line": 8192, "head": 65536, "fields": 100}
    return tuple((names[k], v) for k, v in {**usual, **case.limits}.items())


def by_limits(these):
    groups = {}
    for case in these:
        if case.limits.get("head", 256) < 256:
            continue  # cannot be configured
        groups.setdefault(limits_of(case), []).append(case)
    return [(limits, group[n:n + BATCH]) for limits, group in groups.items() for n in range(0, len(group), BATCH)]


def batch_id(batch):
    return f"{batch[1][0].name}..{batch[1][-1].name}"


def ask_all(port, inputs, seconds=10, finish=False):
    """One connection for each input, all at once; what came back on each until it was closed or stayed silent."""
    sockets = {}
    for n, data in enumerate(inputs):
        s = socket.create_connection(("127.0.0.1", port))
        s.setblocking(True)
        try:
            s.sendall(data)
            if finish:
                s.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        s.setblocking(False)
        sockets[s] = n
    got, closed = [b""] * len(inputs), [False] * len(inputs)
    end = time.monotonic() + seconds
    while sockets and time.monotonic() < end:
        ready, _, _ = select.select(list(sockets), [], [], 0.2)
        for s in ready:
            n = sockets[s]
            try:
                data = s.recv(65536)
            except ConnectionResetError:
                data = b""
            got[n] += data
            if not data:
                closed[n] = True
                del sockets[s]
                s.close()
    for s in sockets:
        s.close()
    return got, closed


@pytest.fixture
def gate_for(weir, origin):
    server = origin()

    def start(limits):
        client = ", ".join(f"{k}: {v}" for k, v in limits)
        return weir(one_service(server, root=f"client: {{{client}, idle_timeout: 500ms, head_timeout: 500ms, "
                                              f"body_timeout: 500ms, http2: off}}"))
    start.server = server
    return start


def counts(server):
    with Client(server.port) as direct:
        return json.loads(direct.get("/_count").text)


REFUSED = [c for c in REQUESTS if c.verdict.isdigit()]
ACCEPTED = [c for c in REQUESTS if c.verdict == "ok"]
PARTIAL = [c for c in REQUESTS if c.verdict == "more"]


@pytest.mark.parametrize("batch", by_limits(REFUSED), ids=batch_id)
def test_refused_requests(gate_for, batch):
    limits, these = batch
    gate = gate_for(limits)
    got, closed = ask_all(gate.port, [c.input for c in these])
    wrong = []
    for case, data, is_closed in zip(these, got, closed):
        try:
            answers = parse_all(data)
            verdict = str(answers[0].status)
        except (Closed, Malformed) as e:
            verdict = repr(e)
        if verdict != case.verdict or not is_closed:
            wrong.append((case.name, case.verdict, verdict, "closed" if is_closed else "open"))
    assert not wrong
    assert counts(gate_for.server)["requests"] == 0, "a refused request reached the server"
    assert counts(gate_for.server)["malformed"] == 0


def completed(case):
    """The case's request, whole, alone on its connection, and its body; None: it cannot be completed here."""
    start = len(case.input) - len(case.input.lstrip(b"\r\n"))
    head = case.input[:case.input.index(b"\r\n\r\n", start) + 4]
    if re.search(rb"\r\ntransfer-encoding:", head, re.I):
        return head + b"5\r\nhello\r\n0\r\n\r\n", b"hello"
    match = re.search(rb"\r\ncontent-length:[ \t]*([0-9]+)", head, re.I)
    size = int(match[1]) if match else 0
    return None if size > 100000 else (head + b"x" * size, b"x" * size)


@pytest.mark.parametrize("batch", by_limits([c for c in ACCEPTED if completed(c)]), ids=batch_id)
def test_accepted_requests(weir, scripted, batch):
    """The server writes down what it got."""
    limits, these = batch
    heads = []

    def serve(peer):
        while request := peer.read_request():
            heads.append(request)
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    client = ", ".join(f"{k}: {v}" for k, v in limits)
    gate = weir(one_service(scripted(serve), root=f"client: {{{client}, idle_timeout: 300ms}}"))
    wrong = []
    for case in these:
        heads.clear()
        data, body = completed(case)
        with Client(gate.port) as c:
            c.send(data)
            try:
                response = c.read_response("HEAD")
            except (Closed, Malformed) as e:
                wrong.append((case.name, repr(e)))
                continue
        wrong += [(case.name, mistake) for mistake in mistakes(case, body, response, list(heads))]
    assert not wrong


def mistakes(case, body, response, heads):
    method = (case.fact("method") or case.input.lstrip(b"\r\n").split(b" ")[0])
    if method == b"CONNECT":
        if response.status != 501 or heads:
            yield f"CONNECT: {response.status}"
        return
    if case.fact("upgrade") == b"yes" and re.search(rb"\r\nupgrade:[ \t]*websocket\r\n", case.input, re.I):
        if response.status != 426 or heads:  # RFC 6455 4.2.1: no handshake without a key and version 13
            yield f"WebSocket: {response.status}, {len(heads)} requests reached the server"
        return
    path = case.fact("path") or b""
    if response.status == 400 and b".." in re.sub(b"%2e", b".", path, flags=re.I):
        return  # it climbs above the root: the parser lets it pass, the router does not
    if response.status != 200 or len(heads) != 1:
        yield f"{response.status}, {len(heads)} requests reached the server"
        return
    line, _, rest = heads[0].partition(b"\r\n")
    words = line.split(b" ")
    if words[0] != method or words[2] != b"HTTP/1.1":
        yield f"{line!r}"
    if path:
        target = path + (b"?" + case.fact("query") if case.fact("query") is not None else b"")
        if case.fact("query") is not None and words[1] != target:
            yield f"target {words[1]!r}, not {target!r}"
        elif words[1].partition(b"?")[0] != path:
            yield f"path {words[1]!r}, not {path!r}"
    if case.fact("authority"):
        if f"\r\nhost: {case.fact('authority').decode('latin-1')}\r\n".lower().encode("latin-1") not in \
                (b"\r\n" + rest).lower():
            yield f"host is not {case.fact('authority')!r}: {rest!r}"
    got = rest.partition(b"\r\n\r\n")[2]
    if b"\r\ntransfer-encoding: chunked\r\n" in heads[0].lower():
        got = parse_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + got)[0].body
    if got != body:
        yield f"body {got!r}, not {body!r}"


def test_unfinished_requests_reach_nobody(gate_for):
    for limits, these in by_limits(PARTIAL):
        gate = gate_for(limits)
        got, closed = ask_all(gate.port, [c.input for c in these], seconds=5)
        for case, data, is_closed in zip(these, got, closed):
            assert is_closed and (not data or data.startswith(b"HTTP/1.1 408")), (case.name, data)
    assert counts(gate_for.server)["requests"] == 0


CHUNKED_HEAD = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("batch", by_limits(CHUNKED), ids=batch_id)
def test_chunked_bodies(gate_for, batch):
    limits, these = batch
    gate = gate_for(limits)
    got, _ = ask_all(gate.port, [CHUNKED_HEAD + c.input for c in these], seconds=4)
    wrong = []
    for case, data in zip(these, got):
        status = data[9:12].decode()
        if case.verdict == "ok":
            body = case.fact("body")
            echoed = re.search(rb'"body": "((?:[^"\\]|\\.)*)"', data)
            if status != "200" or body is not None and json.loads(b'"%s"' % echoed[1]).encode("latin-1") != body:
                wrong.append((case.name, status))
        elif status == "200":
            wrong.append((case.name, case.verdict, "was accepted"))
        elif case.verdict == "syntax" and status != "400" or case.verdict == "limit" and status not in ("400", "413"):
            wrong.append((case.name, case.verdict, data[:40]))
    assert not wrong
    count = counts(gate_for.server)
    # requests that began well are counted when their head came; none of the broken ones ended well
    assert count["malformed"] == 0
