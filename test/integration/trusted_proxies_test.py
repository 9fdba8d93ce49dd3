"""doc/trusted_proxies.md, against the running gate: who the client is, wherever weir speaks of it."""
import re

import pytest

from lib.conf import one_service
from lib.process import wait_until
from lib.servers import answer


def fields(request, name):
    """The values of a field in a request as a server got it."""
    return [v.decode() for v in re.findall(rb"\r\n" + name.encode() + rb": ([^\r]*)", request, re.I)]


def test_the_client_is_whom_a_trusted_proxy_names(weir, scripted, each_loop):
    shop = scripted(answer())
    gate = weir(one_service(shop, root="trusted_proxies: [127.0.0.0/8, 10.0.0.0/8]\nforwarded: true"))
    gate.get("/", {"X-Forwarded-For": "6.6.6.6, 203.0.113.7, 10.0.0.9", "X-Forwarded-Proto": "https",
                   "X-Forwarded-Host": "shop.example"})
    wait_until(lambda: gate.access())
    assert gate.access()[0]["client"] == "203.0.113.7"
    # the server sees the whole list, with weir's own peer behind it, and what the proxy said of scheme and host
    request = shop.requests[0]
    assert fields(request, "x-forwarded-for") == ["6.6.6.6, 203.0.113.7, 10.0.0.9, 127.0.0.1"]
    assert fields(request, "x-forwarded-proto") == ["https"]
    assert fields(request, "x-forwarded-host") == ["shop.example"]
    assert fields(request, "forwarded") == ['for=127.0.0.1;host="test";proto=https']


def test_what_anybody_else_says_is_taken_out(weir, scripted):
    shop = scripted(answer())
    gate = weir(one_service(shop, root="trusted_proxies: 10.0.0.0/8"))
    gate.get("/", {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil",
                   "Forwarded": "for=6.6.6.6"})
    request = shop.requests[0]
    assert fields(request, "x-forwarded-for") == ["127.0.0.1"]
    assert fields(request, "x-forwarded-proto") == ["http"]
    assert fields(request, "x-forwarded-host") == ["test"]
    assert fields(request, "forwarded") == []
    wait_until(lambda: gate.access())
    assert gate.access()[0]["client"] == "127.0.0.1"


def test_limits_and_lists_go_by_the_client(weir, scripted):
    shop = scripted(answer())
    gate = weir(one_service(shop, root="trusted_proxies: loopback",
                            route="rate_limit: 2/h per ip, ip_allow: {deny: 203.0.113.66}"))

    def ask(ip):
        return gate.get("/", {"X-Forwarded-For": ip}).status

    assert [ask("203.0.113.1") for _ in range(3)] == [200, 200, 429]
    assert ask("203.0.113.2") == 200
    assert ask("203.0.113.66") == 403


def test_forwarded_of_rfc_7239(weir, scripted):
    shop = scripted(answer())
    gate = weir(one_service(shop, root="trusted_proxies: {from: loopback, header: forwarded}"))
    gate.get("/", {"Forwarded": 'for=6.6.6.6, for="[2001:db8::17]:4711";proto=https', "X-Forwarded-For": "7.7.7.7"})
    assert fields(shop.requests[0], "x-forwarded-proto") == ["https"]
    wait_until(lambda: gate.access())
    assert gate.access()[0]["client"] == "2001:db8::17"
    broken = gate.get("/", {"Forwarded": 'for=", for=203.0.113.7'})
    assert broken.status == 400
    wait_until(lambda: len(gate.access()) == 2)
    assert [line["answered_by"] for line in gate.access() if "answered_by" in line] == ["trusted_proxies"]
    assert len(shop.requests) == 1


def test_without_it_nobody_is_believed(weir, scripted):
    shop = scripted(answer())
    gate = weir(one_service(shop))
    gate.get("/", {"X-Forwarded-For": "203.0.113.7"})
    assert fields(shop.requests[0], "x-forwarded-for") == ["203.0.113.7, 127.0.0.1"]
    wait_until(lambda: gate.access())
    assert gate.access()[0]["client"] == "127.0.0.1"


@pytest.mark.parametrize("setting,words", [("[10.0.0.1/8]", "did you mean 10.0.0.0/8?"),
                                           ("{from: private, header: via}", "via"),
                                           ("[]", "needs at least one item")])
def test_a_mistake_has_a_place(weir_command, tmp_path, setting, words):
    conf = tmp_path / "weir.yaml"
    conf.write_text('listen: [":1"]\n' + f"trusted_proxies: {setting}" + one_service("127.0.0.1:1"))
    checked = weir_command("check", "-c", conf)
    assert checked.returncode == 1
    assert f"{conf}:2:" in checked.stderr
    assert words in checked.stderr
