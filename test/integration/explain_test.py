"""doc/explain.md: what weir says about a request without running."""
import pytest

CONF = """
listen: ["127.0.0.1:1"]
routes:
  - match: /*
    service: shop
  - match: "shop.example/api/users/{id}"
    service: users
    rewrite: /v2/accounts/$capture.id
    headers: {request: {set: {X-Id: $capture.id}}}
  - match: {host: shop.example, path: "/api/users/{id}", header: {X-Env: prod}}
    service: shop
  - match: {host: shop.example, path: /only, method: [GET, PUT]}
    service: shop
  - match: old.example/*
    redirect: to https://new.example$target
  - match: /canary/*
    service: shop
    split: {services: [{percent: 10%, service: users, cookie: {beta: present}}]}
services:
  shop: {servers: ["127.0.0.1:2"]}
  users: {balance: least_request, host: inner.example, servers: ["127.0.0.1:3", {address: "127.0.0.1:4", weight: 2}]}
"""


@pytest.fixture
def explain(weir_command, tmp_path):
    path = tmp_path / "weir.yaml"
    path.write_text(CONF)

    def run(*args):
        done = weir_command("explain", "-c", path, *args)
        return done.returncode, done.stdout + done.stderr
    return run


def has(text, *parts):
    at = 0
    for part in parts:
        assert part in text[at:], f"{part!r} in this order in:\n{text}"
        at = text.index(part, at) + len(part)


def test_the_way_of_a_request(explain):
    code, text = explain("GET http://shop.example/api/../api/users/17?x=1", "-H", "X-Env: dev")
    assert code == 0
    has(text, "path      /api/users/17", "route     shop.example/api/users/{id} (", ":6)", "capture   id = 17",
        "headers", "X-Id: ", "rewrite", "= asks for /v2/accounts/17?x=1 at shop.example",
        "service   users, balance least_request", "127.0.0.1:3\n", "127.0.0.1:4 weight 2",
        "asks for  GET /v2/accounts/17?x=1, Host: inner.example",
        "less specific, so not asked:", "/* (line 4)",
        "nearly:", "header x-env=prod (line 10): it asks for header x-env=prod")


def test_filters_that_answer_or_choose(explain):
    code, text = explain("http://old.example/a?b")
    assert code == 0
    has(text, "redirect", "= answers 308, Location: https://new.example/a?b", "service   none is asked")
    code, text = explain("/canary/x")
    has(text, "= one of users (10%), shop (90%)", "service   shop,")
    code, text = explain("/canary/x", "-H", "Cookie: beta=")
    has(text, "= its conditions send it to users", "service   users,")


def test_nobody_takes_it(explain, tmp_path):
    path = tmp_path / "weir.yaml"
    path.write_text(CONF.replace("  - match: /*\n    service: shop\n", ""))
    code, text = explain("POST http://shop.example/only")
    assert code == 1
    has(text, "route     none; weir answers 405", "nearly:", "shop.example/only GET,PUT (line ", "the method is another")
    code, text = explain("http://shop.example/only/")
    has(text, "route     none; weir answers 404", "nearly:", "the path is not /only")
    code, text = explain("http://elsewhere/only")
    has(text, "weir answers 404", "nearly:", "the host is not shop.example")


def test_requests_and_files_that_are_wrong(explain, tmp_path):
    for args, words in (
        (["GET http://shop.example/../x"], "weir answers 400: the path climbs above the root"),
        (["G@T http://shop.example/"], "weir answers 400"),
        (["http://shop.example/", "-H", "no field"], "weir answers 400"),
        (["http://shop.example/", "-H", "X-Long: " + "x" * 9000], "weir answers 431"),
        (["shop.example"], "expected METHOD http://host/path"),
    ):
        code, text = explain(*args)
        assert code == 1 and words in text, (args, text)
    assert explain()[0] == 2
    (tmp_path / "weir.yaml").write_text(CONF.replace("service: users\n    rewrite", "service: user\n    rewrite"))
    code, text = explain("/")
    assert code == 1 and 'there is no "user" in "services"; did you mean "users"?' in text


SHOP = """
listen: ["127.0.0.1:1"]
ledger: /tmp/nowhere
routes:
  - match: /*
    service: shop
    session: {sticky: on}
  - match: POST /buy/{item}
    order: {item: capture item, quantity: query n, items: "", user: json /who, admit: {rate: 5/s, waiting_room: on}}
  - match: GET /orders/{id}
    order: status capture id
services:
  shop: {servers: ["127.0.0.1:2"]}
"""


def test_sessions_and_orders(explain, tmp_path):
    (tmp_path / "weir.yaml").write_text(SHOP)
    _, text = explain("http://shop.example/x")
    has(text, "session", "a new session; the answer sets the cookie weir_session", "the server that the session stays at",
        "127.0.0.1:2")
    _, text = explain("http://shop.example/x", "-H", "X-Session-Id: 1", "-H", "Cookie: weir_session=1")
    has(text, "takes out what only weir may say, fields that begin with X-Session", "the session of the cookie, if weir signed it")
    _, text = explain("POST http://shop.example/buy/radio?n=2")
    has(text, "429 with a place in the line", "holds what is ordered", "item: radio", "quantity: 2",
        "user: of the body's JSON, /who", "id: the request has none")
    _, text = explain("http://shop.example/orders/4711")
    has(text, "shows an order", "id: 4711")
    assert "Idempotency" not in text.partition("shows an order")[2]
