"""doc/variable.md, rewrite.md, redirect.md and respond.md, against the running gate."""
import re

from lib.servers import answer


def fields(request, name):
    return re.findall(rb"\r\n" + name + rb": *([^\r]*)", request, re.I)


def test_headers_with_variables(weir, scripted):
    shop = scripted(answer("hello", headers=[("X-Old", "o")]))
    gate = weir(f"""
        routes:
          - match: "/item/{{id}}/*"
            service: shop
            headers:
              request:
                set:
                  X-All: $method $host $scheme $path ?$query $rest $capture.id $client $service $route
                  X-Given: "${{header.X-In}}|$cookie.c|$arg.q|$arg.none|$$"
                  X-Id: $request_id
              response:
                set: {{X-Server: "$server $status $answer.X-Old", X-Path: $path}}
        services: {{shop: {{servers: ["{shop.address}"]}}}}
    """)
    response = gate.get("/item/7/a/b?q=%0d%0aEvil:%201", [("Host", "a.example:8"), ("X-In", "in"), ("Cookie", "c=d"),
                                                          ("X-Request-Id", "0123456789")])
    request = shop.requests[0]
    assert fields(request, b"x-all") == [
        b"GET a.example http /item/7/a/b ?q=%0d%0aEvil:%201 a/b 7 127.0.0.1 shop /item/{id}/*"]
    assert fields(request, b"x-given") == [b"in|d|??Evil: 1||$"]
    assert fields(request, b"evil") == []
    assert fields(request, b"x-id") == [b"0123456789"]
    assert response.all("x-server") == [f"{shop.address} 200 o"]
    assert response.all("x-path") == ["/item/7/a/b"]


def test_rewrite(weir, scripted):
    shop = scripted(answer("hello"))
    gate = weir(f"""
        routes:
          - {{match: /api/*, service: shop, rewrite: /api to /v2}}
          - {{match: "/u/{{id}}/*", service: shop, rewrite: {{path: /users/$arg.as/$rest, query: "id=$capture.id"}}}}
          - {{match: /up, service: shop, rewrite: /../x}}
          - {{match: /h, service: shop, rewrite: {{host: inner.example}}}}
        services: {{shop: {{servers: ["{shop.address}"]}}}}
    """)
    with gate.connect() as client:
        for target, wanted in [
            ("/api/a/../b?c=d", b"GET /v2/b?c=d HTTP/1.1"),
            ("/api/", b"GET /v2/ HTTP/1.1"),
            ("/u/9/x?as=a/b%20c%0d%0a", b"GET /users/a%2Fb%20c%0D%0A/x?id=9 HTTP/1.1"),
        ]:
            assert client.get(target).status == 200
            assert shop.requests[-1].split(b"\r\n")[0] == wanted
        assert client.get("/up").status == 400
        assert client.get("/h").status == 200
        assert fields(shop.requests[-1], b"host") == [b"inner.example"]
    assert len(shop.requests) == 4
    assert [line["target"] for line in weir_lines(gate, 5)][:2] == ["/api/a/../b?c=d", "/api/"]
    assert gate.metric("weir_rewrite_changed_total", route="/api/*") == 2
    assert gate.metric("weir_rewrite_refused_total", route="/up") == 1


def weir_lines(gate, count):
    from lib.process import wait_until
    wait_until(lambda: len(gate.access()) >= count, 20, f"{count} lines in the access log")
    return gate.access()


def test_redirect_and_respond_need_no_server(weir, tmp_path):
    (tmp_path / "sorry.html").write_text("<h1>$host</h1>")
    gate = weir(f"""
        routes:
          - {{match: /*, redirect: https}}
          - {{match: /old/*, redirect: 302 to /new/$rest?from=$host}}
          - {{match: /ping, respond: 204}}
          - {{match: /who, respond: {{text: '{{"q": "$arg.q"}}', content_type: application/json}}}}
          - match: /sorry
            respond: {{status: 503, file: {tmp_path}/sorry.html}}
            headers: {{response: {{set: {{Retry-After: 60}}}}}}
        services: {{}}
    """)
    with gate.connect() as client:
        response = client.request("POST", "/a?b=c", {"Host": "shop.example:80"}, b"body")
        assert (response.status, response.all("location")) == (308, ["https://shop.example/a?b=c"])
        response = client.get("/old//evil.example", {"Host": "h"})
        assert (response.status, response.all("location")) == (302, ["/new//evil.example?from=h"])
        response = client.get("/ping")
        assert (response.status, response.text, response.all("content-length")) == (204, "", [])
        response = client.get('/who?q=%22%0a')
        assert (response.status, response.text) == (200, '{"q": "\\"\\u000A"}')
        response = client.get("/sorry")
        assert (response.status, response.text) == (503, "<h1>$host</h1>")
        assert response.all("content-type") == ["text/html; charset=utf-8"]
        assert response.all("retry-after") == ["60"]
        head = client.request("HEAD", "/sorry")
        assert (head.status, head.text, head.all("content-length")) == (503, "", ["14"])
    assert gate.metric("weir_redirect_sent_total") == 2
    assert gate.metric("weir_respond_sent_total", route="/sorry") == 2


def test_mistakes_are_said(weir_command, tmp_path):
    conf = tmp_path / "weir.yaml"
    conf.write_text("""
listen: ["127.0.0.1:1"]
routes:
  - match: "/a/{id}"
    service: shop
    rewrite: /b/$capture.ids
  - match: /b
    service: shop
    headers: {response: {set: {X-A: $hots}}}
  - match: /c
services: {shop: {servers: ["127.0.0.1:2"]}}
""")
    checked = weir_command("check", "-c", conf)
    assert checked.returncode == 1
    assert f"{conf}:9:" in checked.stderr and 'X-A: $hots is no variable; did you mean "host"?' in checked.stderr
    assert f"{conf}:10:" in checked.stderr and '"service" is missing' in checked.stderr
    conf.write_text(conf.read_text().replace("$hots", "$host").replace("  - match: /c\n", ""))
    checked = weir_command("check", "-c", conf)
    assert checked.returncode == 1
    assert f"{conf}:6:" in checked.stderr and 'did you mean "id"?' in checked.stderr
