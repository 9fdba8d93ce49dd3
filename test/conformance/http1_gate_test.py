"""The request cases of the corpus against the running gate with a real server behind it: what the parser refuses is
answered with that status and a close, and nothing of it reaches the server; what it takes arrives as one request."""
import pytest

from conformance import http1_corpus
from lib.client import Closed
from lib.servers import answer

REQUESTS = [c for c in http1_corpus.cases("request") if not c.limits]
FILES = sorted({c.file for c in REQUESTS})
# The gate's own matters, not the parser's: it makes no tunnels by CONNECT, and an upgrade needs a server that agrees.
NOT_PASSED_ON = {"CONNECT", "TRACE"}
# Sound on the wire, but the router takes no path that climbs out of its root or holds a NUL.
REFUSED_BY_ROUTER = {"origin-dots", "origin-escapes-stay"}


def serve(peer):
    """Answers each request; bodies behind HEAD would be taken for the next answer."""
    while request := peer.read_request():
        peer.send(answer(b"" if request.startswith(b"HEAD ") else b"ok"))


def is_whole(case):
    """Whether the case brings the body that its head announces."""
    rest = case.input.partition(b"\r\n\r\n")[2]
    if case.fact("framing") == b"length":
        return len(rest) >= int(case.fact("length") or 0)
    if case.fact("framing") == b"chunked":
        return rest.startswith(b"0\r\n\r\n")
    return True


def is_runnable(case):
    method = case.input.lstrip(b"\r\n").split(b" ")[0].decode("latin-1")
    return method not in NOT_PASSED_ON and case.fact("upgrade") != b"yes" and is_whole(case)


def wrong_with_refusal(gate, shop, case):
    before = len(shop.requests)
    with gate.connect() as client:
        try:
            client.send(case.input)
        except Closed:
            pass
        response = client.read_response()
        if response.status != int(case.verdict):
            return f"answered {response.status}, not {case.verdict}"
        if client.read_all():
            return "answered more than once"
    return "reached the server" if len(shop.requests) != before else None


def wrong_with_pass(gate, shop, case):
    before = len(shop.requests)
    head = case.input.lstrip(b"\r\n")
    with gate.connect() as client:
        client.send(case.input)
        response = client.read_response(head.split(b" ")[0].decode("latin-1"))
    if case.name in REFUSED_BY_ROUTER:
        return None if response.status == 400 and len(shop.requests) == before else "passed the router"
    if response.status != 200:
        return f"answered {response.status}"
    if len(shop.requests) == before:
        return "did not reach the server"
    got = shop.requests[before]
    if got.split(b" ")[0] != head.split(b" ")[0]:
        return f"reached the server as {got[:60]!r}"
    lines = got.partition(b"\r\n\r\n")[0].lower().split(b"\r\n")
    framing = [line for line in lines if line.startswith((b"content-length:", b"transfer-encoding:"))]
    hosts = [line for line in lines if line.startswith(b"host:")]
    if len(framing) > 1 or len(hosts) != 1:
        return f"reached the server with {framing} {hosts}"
    return None


def wrong_with(gate, shop, case):
    try:
        check = wrong_with_pass if case.verdict == "ok" else wrong_with_refusal
        return check(gate, shop, case)
    except (Closed, TimeoutError) as e:
        return repr(e)


@pytest.mark.parametrize("file", FILES)
def test_requests(weir, scripted, file):
    shop = scripted(serve)
    gate = weir(f"""
        routes: [{{match: /*, service: shop}}]
        services: {{shop: {{servers: ["{shop.address}"]}}}}
    """)
    cases = [c for c in REQUESTS if c.file == file and c.verdict != "more"]
    runnable = [c for c in cases if c.verdict != "ok" or is_runnable(c)]
    assert len(runnable) > len(cases) // 2
    wrong = {c.name: why for c in runnable if (why := wrong_with(gate, shop, c))}
    assert not wrong, "\n".join(f"{name}: {why}" for name, why in wrong.items())


def test_unfinished_requests_reach_nobody(weir, scripted):
    shop = scripted(serve)
    gate = weir(f"""
        routes: [{{match: /*, service: shop}}]
        services: {{shop: {{servers: ["{shop.address}"]}}}}
    """)
    for case in (c for c in REQUESTS if c.verdict == "more"):
        with gate.connect() as client:
            client.send(case.input)
            client.finish()
            client.read_all()
    assert shop.requests == []
