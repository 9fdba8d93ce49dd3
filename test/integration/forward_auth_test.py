"""doc/forward_auth.md, against the running gate and an auth service of its own."""
import re

import pytest

from lib.process import wait_until
from lib.servers import answer

CONF = """
routes: [{{match: /*, service: shop, forward_auth: {auth}}}]
services: {{shop: {{servers: ["{shop}"]}}, auth: {{servers: ["{login}"]}}}}
"""


def fields(request, name):
    return [v.decode() for v in re.findall(rb"\r\n" + name.encode() + rb": ([^\r]*)", request, re.I)]


def decide(peer):
    """200 with the user's name to those who say the word, a redirect to all others."""
    while request := peer.read_request():
        if b"letmein" in request:
            peer.send(answer("", headers=[("X-User", "alice"), ("Set-Cookie", "s=1"), ("X-Internal", "no")]))
        else:
            peer.send(answer("who are you?", status="302 Found",
                             headers=[("Location", "https://login.example/"), ("Content-Type", "text/x-own")]))


def started(weir, scripted, script=decide, settings=""):
    shop, login = scripted(answer("goods")), scripted(script)
    auth = f"{{service: auth, path: /verify, copy: [X-User], answer: [Set-Cookie]{settings}}}"
    return weir(CONF.format(auth=auth, shop=shop.address, login=login.address)), shop, login


def test_two_hundred_passes(weir, scripted, each_loop):
    gate, shop, login = started(weir, scripted)
    reply = gate.request("POST", "/buy?a=b", {"Authorization": "letmein", "X-User": "root", "X-Forwarded-Uri": "/free"},
                         b"x" * 100)
    assert (reply.status, reply.text, reply.get("set-cookie")) == (200, "goods", "s=1")
    assert reply.get("x-internal") is None
    asked, served = login.requests[0], shop.requests[0]
    assert asked.startswith(b"GET /verify HTTP/1.1\r\n")
    assert fields(asked, "x-forwarded-method") == ["POST"]
    assert fields(asked, "x-forwarded-uri") == ["/buy?a=b"]
    assert fields(asked, "x-forwarded-host") == ["test"]
    assert fields(asked, "x-forwarded-for") == ["127.0.0.1"]
    assert fields(asked, "authorization") == ["letmein"]
    assert fields(asked, "x-user") == [] and fields(asked, "content-length") == []
    assert fields(served, "x-user") == ["alice"]
    assert served.endswith(b"x" * 100)
    assert fields(served, "x-forwarded-for") == ["127.0.0.1"]  # once, not twice


def test_its_refusal_goes_to_the_client(weir, scripted):
    gate, shop, login = started(weir, scripted)
    reply = gate.get("/private", {"X-User": "root"})
    assert (reply.status, reply.text) == (302, "who are you?")
    assert (reply.get("location"), reply.get("content-type")) == ("https://login.example/", "text/x-own")
    assert not shop.requests
    wait_until(lambda: gate.access())
    assert gate.access()[0]["answered_by"] == "forward_auth"
    assert gate.metric("weir_forward_auth_refused_total") == 1


def test_in_doubt_it_is_closed(weir, scripted):
    def hang(peer):
        peer.read_request()
        peer.stopping.wait(30)

    gate, shop, login = started(weir, scripted, hang, ", timeout: 200ms")
    assert gate.get("/", {"Authorization": "letmein"}).status == 503
    login.stop()
    assert gate.get("/", {"Authorization": "letmein"}).status == 503
    assert not shop.requests
    assert gate.metric("weir_forward_auth_failed_total") == 2


def test_a_cached_answer_counts_for_the_same_secret_only(weir, scripted):
    gate, shop, login = started(weir, scripted, settings=", cache: 1h")
    with gate.connect() as client:
        for _ in range(3):
            assert client.get("/a", {"Authorization": "letmein"}).status == 200
        assert client.get("/b", {"Authorization": "letmein"}).status == 200
        assert client.get("/a", {"Authorization": "other"}).status == 302
        assert client.get("/a", {"Authorization": "letmein", "Cookie": "s=2"}).status == 200
        assert client.get("/a").status == 302
    assert len(login.requests) == 5
    assert [fields(r, "x-user") for r in shop.requests] == [["alice"]] * 5
    assert gate.metric("weir_forward_auth_cached_total") == 2


def test_without_a_path_its_own_is_asked_for(weir, scripted):
    shop, login = scripted(answer()), scripted(answer())
    gate = weir(CONF.format(auth="auth", shop=shop.address, login=login.address))
    assert gate.get("/x/y?z=1").status == 200
    assert login.requests[0].startswith(b"GET /x/y?z=1 HTTP/1.1\r\n")


@pytest.mark.parametrize("auth,words", [("{service: nobody}", 'there is no "nobody"'), ("{service: auth, path: x}", "is no path"),
                                        ("{service: auth, copy: [a b]}", "is no name of a field")])
def test_a_mistake_has_a_place(weir_command, tmp_path, auth, words):
    conf = tmp_path / "weir.yaml"
    conf.write_text('listen: [":1"]' + CONF.format(auth=auth, shop="127.0.0.1:1", login="127.0.0.1:2"))
    checked = weir_command("check", "-c", conf)
    assert checked.returncode == 1
    assert f"{conf}:2:" in checked.stderr and words in checked.stderr
