"""doc/security_headers.md, against the running gate."""
from lib.ports import free_port
from lib.servers import answer

CONF = """
routes:
  - match: /*
    service: shop
    security_headers: {headers}
    rate_limit: {limit}
services: {{shop: {{servers: ["{shop}"]}}}}
"""
SHOP = answer("x", headers=[("X-Frame-Options", "DENY"), ("x-powered-by", "abacus")])


def test_every_answer_has_them(weir, scripted):
    shop = scripted(SHOP)
    gate = weir(CONF.format(headers="on", limit="2/h", shop=shop.address))
    first = gate.get()
    assert first.all("x-frame-options") == ["DENY"]
    assert first.all("x-content-type-options") == ["nosniff"]
    assert first.all("referrer-policy") == ["strict-origin-when-cross-origin"]
    assert first.all("x-powered-by") == first.all("strict-transport-security") == []
    shop.stop()
    gone, refused = gate.get(), gate.get()
    assert (gone.status // 100, refused.status) == (5, 429)
    for own in (gone, refused):
        assert own.all("x-frame-options") == ["SAMEORIGIN"]
        assert own.all("x-content-type-options") == ["nosniff"]


def test_each_can_be_said_otherwise(weir, scripted):
    headers = "{frame_options: off, csp: \"default-src 'self'\", force: true, remove: [X-A]}"
    gate = weir(CONF.format(headers=headers, limit="off", shop=scripted(SHOP).address))
    got = gate.get()
    assert got.all("x-frame-options") == ["DENY"]
    assert got.all("content-security-policy") == ["default-src 'self'"]
    assert got.all("x-powered-by") == ["abacus"]


def test_a_value_with_a_line_break_is_refused(weir_command, tmp_path):
    conf = tmp_path / "weir.yaml"
    conf.write_text('listen: [":1"]' + CONF.format(headers='{csp: "a\\nb"}', limit="1/s",
                                                   shop=f"127.0.0.1:{free_port()}"))
    checked = weir_command("check", "-c", conf)
    assert checked.returncode == 1
    assert f"{conf}:5:" in checked.stdout + checked.stderr
