"""doc/health_check.md, against the running gate."""
from lib.process import wait_until
from lib.servers import answer

CONF = """
routes: [{{match: /*, service: shop}}]
services:
  shop:
    servers: ["{0}", "{1}"]
    health_check: {check}
"""
QUICK = "{path: /healthz, interval: 200ms, healthy_after: 2, unhealthy_after: 3}"


class Shop:
    """Answers requests with its name, and checks as it is told."""

    def __init__(self, name, scripted):
        self.name = name
        self.status = "200 OK"
        self.checks = []
        self.server = scripted(self.serve)

    def serve(self, peer):
        while request := peer.read_request():
            if b"/healthz" in request.split(b"\r\n")[0]:
                self.checks.append(request)
                if self.status is None:
                    peer.stopping.wait(30)
                peer.send(answer("", self.status or "200 OK"))
            else:
                peer.send(answer(self.name))


def answered_by(gate, count=10):
    with gate.connect() as client:
        return {client.get().text for _ in range(count)}


def is_up(gate, shop):
    return gate.metric("weir_health_check_up", service="shop", server=shop.server.address)


def test_a_sick_server_gets_no_requests_until_it_is_well(weir, scripted, each_loop):
    a, b = Shop("a", scripted), Shop("b", scripted)
    gate = weir(CONF.format(a.server.address, b.server.address, check=QUICK))
    assert answered_by(gate) == {"a", "b"}
    for sick in ("503 Busy", None):
        b.status = sick
        wait_until(lambda: is_up(gate, b) == 0, 20)
        assert answered_by(gate) == {"a"}
        b.status = "204 No Content"
        b.server.stop()
        b.server.start()
        wait_until(lambda: is_up(gate, b) == 1, 20)
        assert answered_by(gate) == {"a", "b"}
    assert f"\r\nHost: {b.server.address}\r\n".encode() in b.checks[0]
    assert "down service=shop" in gate.log() and "up again service=shop" in gate.log()
    assert gate.metric("weir_health_check_failed_total", server=b.server.address) >= 4
    assert gate.metric("weir_health_check_succeeded_total", server=a.server.address) >= 4


def test_a_server_that_is_down_stays_down_over_a_reload(weir, scripted):
    a, b = Shop("a", scripted), Shop("b", scripted)
    b.status = "500 Oh"
    conf = CONF.format(a.server.address, b.server.address, check=QUICK)
    gate = weir(conf)
    wait_until(lambda: is_up(gate, b) == 0, 20)
    for _ in range(5):
        gate.reload(conf)
        assert answered_by(gate) == {"a"}
    # nobody checks any more: nobody is down
    gate.reload(conf.replace("    health_check", "    # health_check"))
    wait_until(lambda: answered_by(gate) == {"a", "b"}, 20)


def test_tcp_checks_only_connect(weir, scripted):
    a, b = Shop("a", scripted), Shop("b", scripted)
    gate = weir(CONF.format(a.server.address, b.server.address,
                            check="{method: tcp, interval: 200ms, unhealthy_after: 3}"))
    wait_until(lambda: a.server.connections > 2, 20)
    assert a.checks == []
    b.server.stop()
    wait_until(lambda: is_up(gate, b) == 0, 20)
    assert answered_by(gate) == {"a"}
    b.server.start()
    wait_until(lambda: is_up(gate, b) == 1, 20)


def test_when_nobody_is_well_all_are_asked(weir, scripted):
    a, b = Shop("a", scripted), Shop("b", scripted)
    a.status = b.status = "500 Oh"
    gate = weir(CONF.format(a.server.address, b.server.address, check=QUICK))
    wait_until(lambda: is_up(gate, a) + is_up(gate, b) == 0, 20)
    assert answered_by(gate) == {"a", "b"}


def test_what_the_body_says(weir, scripted, each_loop):
    said = {"a": "status: fine", "b": "status: fine"}

    def server(name, chunked):
        def serve(peer):
            while request := peer.read_request():
                if b"/healthz" not in request.split(b"\r\n")[0]:
                    peer.send(answer(name))
                elif chunked:
                    text = said[name].encode()
                    peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n"
                              % (len(text), text))
                else:
                    peer.send(answer(said[name]))
        return scripted(serve)

    a, b = server("a", False), server("b", True)
    check = "{{path: /healthz, interval: 100ms, healthy_after: 1, unhealthy_after: 1, {}}}"
    for condition in ("contains: fine", "regex: '^status: (fine|well)$'"):
        gate = weir(CONF.format(a.address, b.address, check=check.format(condition)))
        assert answered_by(gate) == {"a", "b"}
        for name in "ab":
            said[name] = "status: bad"
            wait_until(lambda: gate.metric("weir_health_check_up") == 1 and answered_by(gate) == {"a", "b"} - {name}, 20)
            said[name] = "status: fine"
            wait_until(lambda: gate.metric("weir_health_check_up") == 2, 20)
        assert "the body does not" in gate.log()
        gate.finish()


def test_a_conversation_over_tcp(weir, scripted, each_loop):
    pong = {"text": b"+PONG\r\n"}

    def serve(peer):
        first = peer.more() or peer.buffer
        if peer.buffer.startswith(b"PING\r\n") or first == b"PING\r\n":
            peer.send(pong["text"][:3])
            peer.send(pong["text"][3:])

    server = scripted(serve)
    gate = weir(CONF.format(server.address, server.address.replace("127.0.0.1", "127.0.0.2"),
                            check='{method: tcp, send: "PING\\r\\n", expect: "+PONG", interval: 100ms, '
                                  'healthy_after: 1, unhealthy_after: 1}'))

    def up():
        return gate.metric("weir_health_check_up", server=server.address)

    wait_until(lambda: gate.metric("weir_health_check_succeeded_total", server=server.address) >= 2, 20)
    assert up() == 1
    pong["text"] = b"-LOADING\r\n"
    wait_until(lambda: up() == 0, 20)
    assert "the answer does not contain what it should" in gate.log()
    pong["text"] = b"+PONG\r\n"
    wait_until(lambda: up() == 1, 20)
