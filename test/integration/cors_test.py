"""doc/cors.md, against the running gate."""
import pytest

from lib.conf import one_service
from lib.servers import answer

SHOP = "https://shop.example"


def preflight(gate, origin, method="PUT", headers=()):
    return gate.request("OPTIONS", "/", {"Origin": origin, "Access-Control-Request-Method": method, **dict(headers)})


def test_preflights_are_answered_here(weir, scripted, each_loop):
    shop = scripted(answer())
    gate = weir(one_service(shop, route='cors: {origins: ["https://shop.example", "https://*.shop.example"], '
                                        'methods: [GET, PUT], headers: [X-Token], credentials: on, max_age: 1h}'))
    reply = preflight(gate, "https://a.shop.example")
    assert reply.status == 204 and reply.body == b""
    assert reply.get("access-control-allow-origin") == "https://a.shop.example"
    assert reply.get("access-control-allow-credentials") == "true"
    assert reply.get("access-control-allow-methods") == "GET, PUT"
    assert reply.get("access-control-allow-headers") == "X-Token"
    assert reply.get("access-control-max-age") == "3600"
    assert reply.get("vary").startswith("Origin")
    refused = preflight(gate, "https://evil.example")
    assert refused.status == 403 and refused.get("access-control-allow-origin") is None
    assert not shop.requests
    assert gate.metric("weir_cors_preflights_total") == 1
    assert gate.metric("weir_cors_refused_total") == 1


def test_answers_are_marked_and_the_servers_word_is_taken_out(weir, scripted):
    shop = scripted(answer("x", headers=[("Access-Control-Allow-Origin", "*"), ("Vary", "Accept")]))
    gate = weir(one_service(shop, route=f'cors: {{origins: "{SHOP}", expose: [X-Total]}}'))
    reply = gate.get("/", {"Origin": SHOP})
    assert reply.all("access-control-allow-origin") == [SHOP]
    assert reply.get("access-control-expose-headers") == "X-Total"
    assert reply.all("vary") == ["Accept", "Origin"]
    other = gate.get("/", {"Origin": "https://evil.example"})
    assert (other.status, other.text) == (200, "x")
    assert other.all("access-control-allow-origin") == []
    plain = gate.get("/")
    assert plain.all("access-control-allow-origin") == [] and "Origin" in plain.get("vary")


def test_refusals_of_other_filters_are_marked_too(weir, scripted):
    """Else a page would only see that something failed."""
    gate = weir(one_service(scripted(answer()), route=f'cors: "{SHOP}", rate_limit: 1/h'))
    assert gate.get("/", {"Origin": SHOP}).status == 200
    limited = gate.get("/", {"Origin": SHOP})
    assert (limited.status, limited.get("access-control-allow-origin")) == (429, SHOP)
    assert preflight(gate, SHOP).status == 204  # costs nothing of the limit


def test_everybody(weir, scripted):
    gate = weir(one_service(scripted(answer()), route='cors: "*"'))
    reply = gate.get("/", {"Origin": "https://any.example"})
    assert reply.get("access-control-allow-origin") == "*" and reply.get("vary") is None


@pytest.mark.parametrize("setting,words", [('{origins: "*", credentials: on}', "name the origins"),
                                           ("shop.example", "is no origin"),
                                           ('{origins: "https://a.example", headers: [a b]}', "is no name"),
                                           ("[]", "needs at least one item")])
def test_a_mistake_has_a_place(weir_command, tmp_path, setting, words):
    conf = tmp_path / "weir.yaml"
    conf.write_text('listen: [":1"]' + one_service("127.0.0.1:1", route=f"cors: {setting}"))
    checked = weir_command("check", "-c", conf)
    assert checked.returncode == 1
    assert f"{conf}:2:" in checked.stderr and words in checked.stderr
