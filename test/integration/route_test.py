"""Which request goes where."""
import pytest

from lib.servers import answer

ROUTES = """
routes:
  - {match: /*, service: any}
  - {match: /exact, service: exact}
  - {match: /api/*, service: api}
  - {match: /api/v2/*, service: v2}
  - {match: shop.example/*, service: shop}
  - {match: shop.example/api/*, service: shopapi}
  - {match: "shop.example/only", service: only}
  - {match: "[::1]/*", service: six}
services:
"""
NAMES = ["any", "exact", "api", "v2", "shop", "shopapi", "only", "six"]


@pytest.fixture
def routed(weir, scripted):
    return weir(ROUTES + "".join(f'  {n}: {{servers: ["{scripted(answer(n)).address}"]}}\n' for n in NAMES))


def test_the_most_specific_route_takes_it(routed):
    wanted = [
        ("a", "/", "any"),
        ("a", "/exact", "exact"),
        ("a", "/exact?query", "exact"),
        ("a", "/exact/", "any"),
        ("a", "/exactly", "any"),
        ("a", "/EXACT", "any"),
        ("a", "/api", "any"),
        ("a", "/api/", "api"),
        ("a", "/api/v2", "api"),
        ("a", "/api/v2/x", "v2"),
        ("shop.example", "/", "shop"),
        ("SHOP.Example:8080", "/", "shop"),
        ("shop.example", "/exact", "shop"),  # a route with the host goes first
        ("shop.example", "/api/v2/x", "shopapi"),
        ("shop.example", "/only", "only"),
        ("www.shop.example", "/", "any"),
        ("[::1]:80", "/", "six"),
        ("a", "/api/../exact", "exact"),
        ("a", "/x/./../exact", "exact"),
        ("a", "/api/%2e%2e/exact", "exact"),
        ("a", "/api/%2E./exact", "exact"),
        ("a", "/api/v2/..", "api"),
        ("a", "/x/../api/v2/x", "v2"),
        ("a", "/api/...", "api"),
        ("a", "/x?/../exact", "any"),
        ("a", "http://shop.example/only", "only"),  # absolute form: its authority counts
    ]
    with routed.connect() as client:
        for host, target, name in wanted:
            response = client.request("GET", target, {"Host": host})
            assert (response.status, response.text) == (200, name), (host, target)


def test_a_path_above_the_root_is_refused(routed):
    with routed.connect() as client:
        for target in ("/..", "/../exact", "/api/../../x", "/%2e%2e/exact"):
            assert client.request("GET", target).status == 400, target
        assert client.get("/exact").status == 200


def test_no_route(weir, scripted):
    server = scripted(answer())
    gate = weir(f'''
        routes: [{{match: "shop.example/a/*", service: shop}}]
        services: {{shop: {{servers: ["{server.address}"]}}}}
    ''')
    with gate.connect() as client:
        for host, path in (("shop.example", "/b"), ("other", "/a/"), ("", "/a/")):
            assert client.request("GET", path, {"Host": host}).status == 404
        assert client.request("GET", "/a/", {"Host": "shop.example"}).status == 200
    assert client_of_none(gate) == 3


def client_of_none(gate):
    return gate.metric("weir_http_requests_total", service="none", code="4xx")


def test_the_server_gets_the_target_as_it_came(weir, scripted):
    server = scripted(answer())
    gate = weir(f'''
        routes: [{{match: "/b/*", service: shop}}]
        services: {{shop: {{servers: ["{server.address}"]}}}}
    ''')
    assert gate.get("/a/../b/%2e/c?x=/../").status == 200
    assert server.requests[0].startswith(b"GET /a/../b/%2e/c?x=/../ HTTP/1.1\r\n")


def test_conditions_captures_and_wildcards(weir, scripted):
    names = ["any", "user", "orders", "canary", "post", "sub", "both", "lang"]
    servers = {n: scripted(answer(n)) for n in names}
    gate = weir("""
        routes:
          - {match: /*, service: any}
          - {match: "/users/{id}", service: user, headers: {request: {set: {X-Id: $capture.id}}}}
          - {match: "/users/{id}/orders/*", service: orders, headers: {request: {set: {X-Rest: $rest}}}}
          - match: {path: /users/*, header: {X-Canary: present}, cookie: {plan: gold}}
            service: canary
          - {match: POST /*, service: post}
          - {match: "*.shop.example/*", service: sub}
          - {match: [/a/x, {host: b.example, query: {v: "2*"}}], service: both}
        services:
""" + "".join(f'          {n}: {{servers: ["{s.address}"]}}\n' for n, s in servers.items()))
    wanted = [
        ("GET", "/users/17", {}, "user"),
        ("HEAD", "/users/17", {}, ""),
        ("GET", "/users/17/orders/9/x", {}, "orders"),
        ("GET", "/users/", {}, "any"),
        ("GET", "/users/17/y", {"X-Canary": "", "Cookie": "a=b; plan=gold"}, "canary"),
        ("GET", "/users/17/y", {"X-Canary": "", "Cookie": "a=b; plan=golden"}, "any"),
        ("POST", "/elsewhere", {}, "post"),
        ("GET", "/", {"Host": "x.y.shop.example:80"}, "sub"),
        ("GET", "/", {"Host": "shop.example"}, "any"),
        ("GET", "/a/x", {}, "both"),
        ("GET", "/q?v=%32x", {"Host": "b.example"}, "both"),
        ("GET", "/q?v=1", {"Host": "b.example"}, "any"),
    ]
    with gate.connect() as client:
        for method, target, headers, name in wanted:
            response = client.request(method, target, headers)
            assert (response.status, response.text) == (200, name), (method, target, headers)
    assert b"\r\nX-Id: 17\r\n" in servers["user"].requests[0]
    assert b"\r\nX-Rest: 9/x\r\n" in servers["orders"].requests[0]


def test_a_method_that_nobody_takes(weir, scripted):
    gate = weir(f"""
        routes: [{{match: {{path: /a, method: [GET, PUT]}}, service: shop}}]
        services: {{shop: {{servers: ["{scripted(answer()).address}"]}}}}
    """)
    response = gate.request("DELETE", "/a")
    assert (response.status, response.all("allow")) == (405, ["GET, HEAD, PUT"])
    assert gate.request("DELETE", "/b").status == 404


def test_regexes_match_and_never_stall(weir, scripted, weir_command):
    if "pcre2" not in weir_command("version").stdout.partition("without")[0]:
        pytest.skip("this weir has no PCRE2")
    gate = weir(f"""
        routes:
          - {{match: /*, respond: 200 any}}
          - {{match: {{regex: '/(?<lang>[a-z]{{2}})/.*'}}, respond: 200 lang $capture.lang}}
          - {{match: {{regex: '/(a|aa)+b'}}, respond: 200 evil}}
        services: {{shop: {{servers: ["{scripted(answer()).address}"]}}}}
    """)
    with gate.connect() as client:
        assert client.get("/de/x/y").text == "lang de"
        assert client.get("/deu/x").text == "any"
        assert client.get("/aab").text == "evil"
        for _ in range(20):  # each would take longer than the sun shines
            assert client.get("/" + "a" * 4000 + "!b").status == 400
        assert client.get("/x").text == "any"


def test_connect_is_not_served(routed):
    answer_ = routed.raw(b"CONNECT shop.example:443 HTTP/1.1\r\nHost: shop.example:443\r\nConnection: close\r\n\r\n")
    assert answer_.startswith(b"HTTP/1.1 501")
