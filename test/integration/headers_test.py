"""doc/headers.md, against the running gate."""
import re

from lib.servers import answer


def fields(request, name):
    return re.findall(rb"\r\n" + name + rb": *([^\r]*)", request, re.I)


def test_fields_are_edited_both_ways(weir, scripted):
    shop = scripted(answer("hello", headers=[("X-Powered-By", "a"), ("Server", "s"), ("Set-Cookie", "a=1")]))
    gate = weir(f"""
        routes:
          - match: /*
            service: shop
            headers:
              request:
                set: {{X-Env: prod}}
                add: {{X-Tag: two}}
                remove: [Cookie]
              response:
                set: {{Server: front}}
                add: {{Set-Cookie: b=2}}
                remove: x-powered-by
        services: {{shop: {{servers: ["{shop.address}"]}}}}
    """)
    response = gate.get(headers=[("X-Env", "forged"), ("x-env", "twice"), ("Cookie", "c=1"), ("X-Tag", "one")])
    assert response.text == "hello"
    assert response.all("server") == ["front"]
    assert response.all("x-powered-by") == []
    assert response.all("set-cookie") == ["a=1", "b=2"]
    request = shop.requests[0]
    assert fields(request, b"x-env") == [b"prod"]
    assert fields(request, b"x-tag") == [b"one", b"two"]
    assert fields(request, b"cookie") == []


def test_framing_is_not_to_be_edited(weir_command, tmp_path):
    conf = tmp_path / "weir.yaml"
    conf.write_text("""
listen: ["127.0.0.1:1"]
routes:
  - match: /*
    service: shop
    headers:
      request: {set: {Content-Length: 1}}
services: {shop: {servers: ["127.0.0.1:2"]}}
""")
    checked = weir_command("check", "-c", conf)
    assert checked.returncode == 1
    assert "Content-Length" in checked.stdout + checked.stderr
    assert f"{conf}:7:" in checked.stdout + checked.stderr
