"""doc/mirror.md, against the running gate."""
import re

from lib.ports import free_port
from lib.process import wait_until
from lib.servers import answer

CONF = """
routes:
  - match: /*
    service: shop
    mirror: {mirror}
services:
  shop: {{servers: ["{shop}"]}}
  shadow: {{servers: ["{shadow}"]}}
"""


def mirrored(gate):
    return {k: gate.metric(f"weir_mirror_{k}_total") for k in ("sent", "failed", "busy", "too_long", "unfinished")}


def test_the_copy_is_the_request(weir, scripted, each_loop):
    shop, shadow = scripted(answer("shop")), scripted(answer("shadow"))
    gate = weir(CONF.format(mirror="to shadow", shop=shop.address, shadow=shadow.address))
    body = bytes(range(256)) * 100
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in (body[:7], body[7:20000])) + b"0\r\n\r\n"
    with gate.connect() as client:
        assert client.get("/a?b=c", {"X-A": "1"}).text == "shop"
        assert client.request("POST", "/post", body=body).text == "shop"
        assert client.request("POST", "/chunked", {"Transfer-Encoding": "chunked"}, chunked).text == "shop"
    wait_until(lambda: mirrored(gate)["sent"] == 3, 10, mirrored(gate))
    by_path = {r.split()[1]: r for r in shadow.requests}
    assert set(by_path) == {b"/a?b=c", b"/post", b"/chunked"}
    assert b"\r\nX-A: 1\r\n" in by_path[b"/a?b=c"]
    assert by_path[b"/post"].endswith(b"\r\n\r\n" + body)
    assert by_path[b"/chunked"].endswith(b"\r\n\r\n" + body[:20000])
    for request in shadow.requests:
        assert re.search(rb"\r\nx-weir-mirror: 1\r\n", request, re.I)
        assert re.search(rb"\r\nhost: test\r\n", request, re.I)
    for request in shop.requests:
        assert b"mirror" not in request.lower()
    ids = [{re.search(rb"x-request-id: (\S+)", r, re.I)[1] for r in s.requests} for s in (shop, shadow)]
    assert ids[0] == ids[1]


def test_nobody_waits_for_the_mirror(weir, scripted, load):
    shop = scripted(answer("shop"))
    hanging = scripted(lambda peer: peer.stopping.wait(60))
    gate = weir(CONF.format(mirror="{service: shadow, timeout: 300ms, in_flight_max: 3}", shop=shop.address,
                            shadow=hanging.address))
    running = load(gate.port, connections=4, check=lambda r: r.body == b"shop")
    running.wait_done(300)
    wait_until(lambda: mirrored(gate)["failed"] >= 3, 10)
    running.assert_clean()
    assert mirrored(gate)["busy"] > 0
    assert mirrored(gate)["sent"] == 0
    hanging.stop()


def test_a_mirror_that_is_gone_harms_nobody(weir, scripted):
    gate = weir(CONF.format(mirror="100% to shadow", shop=scripted(answer("shop")).address,
                            shadow=f"127.0.0.1:{free_port()}"))
    for _ in range(5):
        assert gate.request("POST", body=b"x").text == "shop"
    wait_until(lambda: mirrored(gate)["failed"] == 5, 10)


def test_long_bodies_are_not_copied(weir, scripted):
    shop, shadow = scripted(answer("shop")), scripted(answer("shadow"))
    gate = weir(CONF.format(mirror="{service: shadow, body_bytes_max: 1000}", shop=shop.address,
                            shadow=shadow.address))
    body = b"x" * 200000
    chunked = b"".join(b"%x\r\n%s\r\n" % (1000, body[:1000]) for _ in range(200)) + b"0\r\n\r\n"
    assert gate.request("POST", "/said", body=body).text == "shop"
    assert gate.request("POST", "/unsaid", {"Transfer-Encoding": "chunked"}, chunked).text == "shop"
    assert gate.request("POST", "/short", body=body[:1000]).text == "shop"
    wait_until(lambda: mirrored(gate)["sent"] == 1, 10)
    assert mirrored(gate)["too_long"] == 2
    assert [r.split()[1] for r in shadow.requests] == [b"/short"]
    assert shop.requests[0].endswith(body)
    assert shop.requests[1].partition(b"\r\n\r\n")[2].count(b"x") == len(body)


def test_a_share_of_the_requests_is_copied(weir, scripted):
    shop, shadow = scripted(answer()), scripted(answer())
    gate = weir("workers: 1" + CONF.format(mirror="30% to shadow", shop=shop.address, shadow=shadow.address))
    with gate.connect() as client:
        for _ in range(1000):
            assert client.get().status == 200
    wait_until(lambda: mirrored(gate)["sent"] == len(shadow.requests) > 0, 10)
    assert 200 < len(shadow.requests) < 400  # six standard deviations


def test_mirrors_that_point_at_each_other_end(weir, scripted):
    shop = scripted(answer())
    gate = weir(CONF.format(mirror="to shadow", shop=shop.address, shadow="127.0.0.1:{port}").replace(
        "{port}", str(port := free_port())).replace("routes:", f'listen: ["127.0.0.1:{port}"]\nroutes:'))
    gate.port = port
    assert gate.get().status == 200
    wait_until(lambda: mirrored(gate)["sent"] == 1, 10)
    assert len(shop.requests) == 2


def test_a_reload_while_copies_are_under_way(weir, scripted):
    shop = scripted(answer("shop"))
    hanging = scripted(lambda peer: peer.stopping.wait(60))
    conf = CONF.format(mirror="{service: shadow, timeout: 500ms}", shop=shop.address, shadow=hanging.address)
    gate = weir(conf)
    for _ in range(5):
        assert gate.get().text == "shop"
        gate.reload(conf)
    assert gate.get().text == "shop"
    hanging.stop()


def test_only_some_requests_are_drawn_from(weir, scripted):
    shop, shadow = scripted(answer("shop")), scripted(answer("shadow"))
    only = 'methods: [POST, PUT], path: [/a/*, /b], headers: {X-Beta: "*"}'
    gate = weir(CONF.format(mirror="{service: shadow, only: {%s}}" % only, shop=shop.address, shadow=shadow.address))
    beta = {"X-Beta": "1"}
    for method, path, headers in (("GET", "/a/1", beta), ("POST", "/c", beta), ("POST", "/a/2", {}),
                                  ("POST", "/a/3", beta), ("PUT", "/x/../b", beta)):
        assert gate.request(method, path, headers).text == "shop"
    wait_until(lambda: mirrored(gate)["sent"] == 2, 20)
    assert sorted(r.split()[1] for r in shadow.requests) == [b"/a/3", b"/x/../b"]
    assert len(shop.requests) == 5
