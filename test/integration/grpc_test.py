"""doc/grpc.md, with real clients and servers (python3-grpcio), and frame by frame where those would hide something."""
import threading
import time

import pytest

from lib import http2
from lib.conf import one_service
from lib.grpc_server import NOT_SERVING, SERVING, GrpcClient, GrpcServer
from lib.process import wait_until

grpc = pytest.importorskip("grpc")
Code = grpc.StatusCode
HEAD = [("content-type", "application/grpc"), ("te", "trailers")]


@pytest.fixture
def server():
    ours = []

    def start():
        ours.append(GrpcServer(grpc))
        return ours[-1]
    yield start
    for s in ours:
        s.stop()


@pytest.fixture
def client():
    ours = []

    def start(gate):
        ours.append(GrpcClient(grpc, f"127.0.0.1:{gate.port}"))
        return ours[-1]
    yield start
    for c in ours:
        c.close()


def conf(*servers, service="", route="", root=""):
    return one_service(*servers, service=", ".join(filter(None, ["protocol: http2", service])), route=route, root=root)


def failure(call, *args, **options):
    """The error that a call ends with."""
    with pytest.raises(grpc.RpcError) as caught:
        result = call(*args, **{"timeout": 60, **options})
        if hasattr(result, "__next__"):
            list(result)
    return caught.value


def logged(gate, count=1):
    return wait_until(lambda: len(gate.access()) >= count and gate.access(), 20, "lines in the access log")


# ---- calls

def test_all_four_kinds(weir, server, client, each_loop):
    gate = weir(conf(server()))
    c = client(gate)
    answer, call = c.unary.with_call(b"hello", timeout=60, metadata=(("x-mine", "1"), ("x-bin", b"\x00\xff")))
    assert answer == b"HELLO" and ("x-trailer", "there") in call.trailing_metadata()
    assert list(c.server_stream(b"50", timeout=60)) == [b"%d" % i for i in range(50)]
    assert c.client_stream(iter([b"a", b"b", b"c"]), timeout=60) == b"A B C"
    assert list(c.bidi(iter([b"x"] * 20), timeout=60)) == [b"X"] * 20
    large = bytes(range(256)) * 8192
    assert c.unary(large, timeout=60) == large.upper()
    lines = logged(gate, 5)
    assert [line["grpc_status"] for line in lines] == [0] * 5
    wait_until(lambda: gate.metric("weir_grpc_calls_total", service="shop", status="ok") == 5, 20)


def test_many_at_the_same_time(weir, server, client):
    gate = weir(conf(server()))
    c = client(gate)
    calls = [c.unary.future(b"call %d" % i, timeout=60) for i in range(200)]
    assert [call.result() for call in calls] == [b"CALL %d" % i for i in range(200)]


def test_nothing_is_held_back_in_a_conversation(weir, server, client, each_loop):
    gate = weir(conf(server()))
    said = []
    go = threading.Semaphore(0)

    def talk():
        for i in range(20):
            go.acquire(timeout=60)
            yield b"turn %d" % i
    answers = client(gate).bidi(talk(), timeout=60)
    for i in range(20):
        go.release()
        said.append(next(answers))
    assert said == [b"TURN %d" % i for i in range(20)]


def test_a_servers_own_status_passes(weir, server, client):
    gate = weir(conf(server()))
    c = client(gate)
    e = failure(c.unary, "fail 9 not so: 100% \u00e9\n".encode())
    assert (e.code(), e.details()) == (Code.FAILED_PRECONDITION, "not so: 100% \u00e9\n")
    e = failure(c.unary, b"late 13")
    assert e.code() == Code.INTERNAL
    assert [line["grpc_status"] for line in logged(gate, 2)] == [9, 13]
    wait_until(lambda: gate.metric("weir_grpc_calls_total", status="internal") == 1, 20)


# ---- deadlines

def test_the_server_is_told_what_is_left(weir, server, client):
    s = server()
    gate = weir(conf(s))
    client(gate).unary(b"x", timeout=1000)
    assert 0 < s.left <= 1000
    with http2.Client(gate.port) as c:
        stream = c.start("POST", "/test.Test/Unary", HEAD + [("grpc-timeout", "50S")], end=False)
        c.send_body(stream, b"\0\0\0\0\1x")
        assert dict(c.response(stream).trailers)["grpc-status"] == "0"
    assert 0 < s.left <= 50


def timeouts_seen(weir, *texts):
    """What a server of frames gets for these grpc-timeout fields, one after the other."""
    seen = []

    def serve(c):
        while True:
            stream, m = c.next_request()
            seen.append(m.get("grpc-timeout"))
            c.answer(stream, fields=[("content-type", "application/grpc"), ("grpc-status", "0")])
    s = http2.Server(serve)
    gate = weir(conf(s.address))
    with http2.Client(gate.port) as c:
        for text in texts:
            c.request("POST", "/t", HEAD + [("grpc-timeout", text)], b"")
    s.stop()
    return seen


def test_it_is_shortened_as_it_passes(weir):
    hour, none = timeouts_seen(weir, "9H", "soon")
    assert hour.endswith("m") and int(hour[:-1]) <= 600_000  # the service's own timeout comes first
    assert none == "soon"


def test_each_attempt_has_less(weir):
    seen = []

    def serve(c):
        while True:
            stream, m = c.next_request()
            seen.append(m.get("grpc-timeout"))
            time.sleep(0.05)
            c.answer(stream, fields=[("content-type", "application/grpc"), ("grpc-status", "14")])
    s = http2.Server(serve)
    gate = weir(conf(s.address, service="retry: {on: [unavailable], attempts: 1}"))
    with http2.Client(gate.port) as c:
        m = c.request("POST", "/t", HEAD + [("grpc-timeout", "1M")], b"")
    s.stop()
    first, second = (int(text[:-1]) for text in seen if text.endswith("u"))
    assert m.get("grpc-status") == "14" and first <= 60_000_000 and second <= first - 50_000


def test_a_deadline_is_the_gates_too(weir, each_loop):
    def serve(c):
        while True:
            c.next_request()  # and no answer
    s = http2.Server(serve)
    gate = weir(conf(s.address))
    with http2.Client(gate.port) as c:
        m = c.request("POST", "/t", HEAD + [("grpc-timeout", "300m")], b"")
    s.stop()
    assert (m.status, m.get("grpc-status"), m.get("content-type")) == (200, "4", "application/grpc")
    assert m.get("grpc-message") and not m.body and not m.trailers
    assert logged(gate)[0]["grpc_status"] == 4


def test_one_that_passes_inside_an_answer(weir, each_loop):
    """The head has gone: the stream is reset, on both sides."""
    reset = threading.Event()

    def serve(c):
        stream, _ = c.next_request()
        c.send(c.headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
               + http2.frame(http2.DATA, 0, stream, b"\0\0\0\0\1x"))
        c.read_until(lambda: c.message(stream).reset is not None)
        reset.set()
    s = http2.Server(serve)
    gate = weir(conf(s.address))
    with http2.Client(gate.port) as c:
        m = c.request("POST", "/t", HEAD + [("grpc-timeout", "2S")], b"")
    assert (m.status, m.body, m.reset) == (200, b"\0\0\0\0\1x", http2.INTERNAL_ERROR) and reset.wait(20)
    s.stop()
    wait_until(lambda: gate.metric("weir_grpc_calls_total", status="deadline_exceeded") == 1, 20)


def test_a_call_that_its_client_ends(weir, server, client, each_loop):
    """Inside a stream of answers: the server is told at once, though it says nothing for long."""
    s = server()
    gate = weir(conf(s))
    c = client(gate)
    answers = c.server_stream(b"1 13", timeout=600)
    assert next(answers) == b"0"
    answers.cancel()
    assert s.over.wait(20) and not s.go.is_set()
    wait_until(lambda: gate.metric("weir_grpc_calls_total", status="cancelled") == 1, 20)
    assert c.unary(b"x", timeout=60) == b"X"  # and nothing is thought of the server
    assert gate.metric("weir_upstream_failures_total") == 0
    assert [line.get("grpc_status") for line in logged(gate, 2)] == [None, 0]


def test_calls_that_end_while_more_is_sent(weir, server, client, each_loop):
    """Whatever the fibers are about when their streams end, each ends once."""
    gate = weir(conf(server()))
    c = client(gate)
    for n in range(30):
        answers = c.server_stream(b"1000000", timeout=600)
        for _ in range(n):
            next(answers)
        answers.cancel()
    wait_until(lambda: gate.metric("weir_grpc_calls_total", status="cancelled") >= 29, 20)
    assert c.unary(b"x", timeout=60) == b"X"
    assert gate.metric("weir_upstream_failures_total") == 0


# ---- the gate's own answers

@pytest.mark.parametrize("route,code", [
    ("rate_limit: 1/h per ip", Code.RESOURCE_EXHAUSTED),
    ("ip_allow: [10.9.9.9]", Code.PERMISSION_DENIED),
    ("respond: 503", Code.UNAVAILABLE),
    ("respond: 504", Code.DEADLINE_EXCEEDED),
    ("respond: 401", Code.UNAUTHENTICATED),
    ("respond: 418", Code.UNKNOWN),
])
def test_refusals_are_statuses(weir, server, client, route, code):
    s = server()
    gate = weir(conf(s, route=route))
    c = client(gate)
    if "rate" in route:
        assert c.unary(b"x", timeout=60) == b"X"
    assert failure(c.unary, b"x").code() == code


def test_what_a_refusal_keeps(weir):
    """When to come back; not what only readers of HTTP would understand."""
    gate = weir(conf("127.0.0.1:1", route="rate_limit: 1/h per ip"))
    with http2.Client(gate.port) as c:
        c.request("POST", "/t", HEAD, b"")
        m = c.request("POST", "/t", HEAD, b"")
    assert (m.status, m.get("grpc-status"), m.get("content-type")) == (200, "8", "application/grpc")
    assert int(m.get("retry-after")) > 0 and m.get("date") and m.get("x-request-id")
    assert {k for k, _ in m.fields} == {":status", "grpc-status", "grpc-message", "content-type", "content-length",
                                        "retry-after", "date", "x-request-id"}


def test_no_server_and_no_route(weir, server, client):
    s = server()
    gate = weir(conf(s).replace("match: /*", "match: /test.Test/Unary"))
    c = client(gate)
    assert failure(c.client_stream, iter([b"x"])).code() == Code.UNIMPLEMENTED
    s.stop()
    e = failure(c.unary, b"x")
    assert e.code() == Code.UNAVAILABLE and e.details()
    assert logged(gate, 2)[-1]["status"] == 200 and logged(gate, 2)[-1]["grpc_status"] == 14


def test_others_get_http(weir, server):
    s = server()
    gate = weir(conf(s, route="respond: 503"))
    assert gate.request("POST", "/x", {"Content-Type": "application/grpc"}, b"x").status == 503  # HTTP/1.1 is none of gRPC's
    with http2.Client(gate.port) as c:
        assert c.request("POST", "/x", [("content-type", "application/grpc-web")], b"x").status == 503
        assert c.request("GET", "/x", HEAD).status == 503


# ---- retries, breakers, checks

def test_a_status_that_is_named_is_tried_again(weir, server, client, each_loop):
    bad, good = server(), server()
    bad.fail = 14
    gate = weir(conf(bad, good, service="retry: {on: [unavailable], attempts: 3, budget_per_second: 1000, backoff: off}"))
    c = client(gate)
    for i in range(6):
        assert c.unary(b"call %d" % i, timeout=60) == b"CALL %d" % i
    assert bad.calls and gate.metric("weir_retry_rescued_total") == len(bad.calls)
    bad.fail = good.fail = 9
    before = len(bad.calls) + len(good.calls)
    assert failure(c.unary, b"x").code() == Code.FAILED_PRECONDITION
    assert len(bad.calls) + len(good.calls) == before + 1


def test_without_that_it_is_not(weir, server, client):
    s = server()
    s.fail = 14
    gate = weir(conf(s, service="retry: {attempts: 3}"))
    assert failure(client(gate).unary, b"x").code() == Code.UNAVAILABLE and len(s.calls) == 1


def test_a_stream_whose_answer_has_begun_is_not_repeated(weir, server, client):
    s = server()
    gate = weir(conf(s, service="retry: {on: [internal], attempts: 3}"))
    answers = client(gate).server_stream(b"1 13", timeout=60)
    assert next(answers) == b"0"
    s.go.set()
    assert failure(lambda timeout: list(answers)).code() == Code.INTERNAL and len(s.calls) == 1


@pytest.mark.parametrize("late", [False, True])
def test_statuses_count_as_failures(weir, server, client, late):
    bad, good = server(), server()
    gate = weir(conf(bad, good, service="outlier: {errors: 3, rest: 1m, rest_max: 10m, error_ratio: 100%}"))
    c = client(gate)
    bad.fail, bad.late = 5, late
    for _ in range(20):  # NOT_FOUND is an answer like others
        c.unary.future(b"x", timeout=60).exception()
    assert gate.metric("weir_outlier_ejected") == 0
    bad.fail = 13
    for _ in range(20):
        c.unary.future(b"x", timeout=60).exception()
    wait_until(lambda: gate.metric("weir_outlier_ejected", server=bad.address) == 1, 20)


def test_a_status_that_comes_long_after_the_head_counts(weir):
    head_seen = threading.Event()

    def serve(c):
        stream, _ = c.next_request()
        c.send(c.headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
               + http2.frame(http2.DATA, 0, stream, b"\0\0\0\0\1x"))
        head_seen.wait(60)
        c.send(c.headers(stream, [("grpc-status", "13")], end=True))
        c.next_request()
    s = http2.Server(serve)
    gate = weir(conf(s.address))
    with http2.Client(gate.port) as c:
        stream = c.start("POST", "/t", HEAD)
        c.read_until(lambda: c.message(stream).body)
        assert gate.metric("weir_upstream_errors_total") == 0
        head_seen.set()
        assert dict(c.response(stream).trailers)["grpc-status"] == "13"
    wait_until(lambda: gate.metric("weir_upstream_errors_total") == 1, 20)
    s.stop()


def test_a_circuit_breaker_goes_by_them(weir, server, client):
    s = server()
    gate = weir(conf(s, route="circuit_breaker: {errors: 50%, window: 60s, requests_min: 5, open: 10m}"))
    c = client(gate)
    s.fail = 13
    codes = [failure(c.unary, b"x").code() for _ in range(12)]
    assert codes[0] == Code.INTERNAL and codes[-1] == Code.UNAVAILABLE and len(s.calls) < 12


def test_health_by_the_standard_service(weir, server, client):
    a, b = server(), server()
    a.health[b"shop.Orders"] = SERVING
    b.health[b"shop.Orders"] = NOT_SERVING
    gate = weir(conf(a, b, service="health_check: grpc shop.Orders every 100ms"))
    wait_until(lambda: gate.metric("weir_health_check_up", server=b.address) == 0, 20)
    assert gate.metric("weir_health_check_up", server=a.address) == 1
    c = client(gate)
    for _ in range(6):
        c.unary(b"x", timeout=60)
    assert len(a.calls) == 6 and "does not serve" in gate.log()
    b.health[b"shop.Orders"] = SERVING
    wait_until(lambda: gate.metric("weir_health_check_up", server=b.address) == 1, 20)
    del a.health[b"shop.Orders"]
    wait_until(lambda: gate.metric("weir_health_check_up", server=a.address) == 0, 20)
    assert "not_found" in gate.log()


@pytest.mark.parametrize("text,words", [
    ("grpc /x every 1s", "is not a service of gRPC"),
    ("{method: grpc, contains: x}", "no body to look at"),
])
def test_checks_that_cannot_work(weir, text, words):
    gate = weir(conf("127.0.0.1:1", service=f"health_check: {text}"), ready=False)
    assert gate.wait(20) != 0 and words in gate.log()
    gate.status_expected = gate.wait()
