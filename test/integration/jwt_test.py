"""doc/jwt.md, against the running gate, with tokens that another implementation has made."""
import json
import re
import time

import pytest

pytest.importorskip("cryptography")
from lib.conf import one_service  # noqa: E402
from lib.process import wait_until  # noqa: E402
from lib.servers import answer  # noqa: E402
from lib.tokens import Key, key_set, mac  # noqa: E402

ALGS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
RSA, OTHER = Key("RS256", "rsa"), Key("RS256", "other")


@pytest.fixture(autouse=True)
def needs_it(weir_command):
    if "openssl" not in weir_command("version").stdout.split("without")[0]:
        pytest.skip("this weir has no openssl")


def guarded(weir, shop, tmp_path, *keys, **settings):
    path = tmp_path / "jwks.json"
    path.write_text(key_set(*keys))
    return weir(one_service(shop, route="jwt: " + json.dumps({"file": str(path), **settings})))


def ask(gate, token, headers=()):
    return gate.get("/", [("Authorization", f"Bearer {token}"), *headers])


def status(gate, token):
    return ask(gate, token).status


def fields(request, name):
    return [v.decode() for v in re.findall(rb"\r\n" + name.encode() + rb": ([^\r]*)", request, re.I)]


def test_each_algorithm(weir, scripted, tmp_path, each_loop):
    keys = [Key(alg, f"k-{alg}") for alg in ALGS]
    shop = scripted(answer())
    gate = guarded(weir, shop, tmp_path, *keys)
    for key in keys:
        token = key.token()
        assert status(gate, token) == 200, key.alg
        assert status(gate, token[:-8] + ("AAAAAAAA" if token[-8:] != "AAAAAAAA" else "BBBBBBBB")) == 401, key.alg
    assert len(shop.requests) == len(ALGS)
    assert gate.metric("weir_jwt_accepted_total", route="/*") == len(ALGS)
    assert gate.metric("weir_jwt_refused_total", route="/*") == len(ALGS)


def test_claims_become_fields_and_spoofed_ones_do_not_pass(weir, scripted, tmp_path):
    shop = scripted(answer())
    gate = guarded(weir, shop, tmp_path, RSA, headers={"X-User": "sub", "X-Roles": "roles", "X-Tenant": "app.tenant"},
                   hide=True)
    token = RSA.token(roles=["a", "b"], app={"tenant": 7})
    for _ in range(2):  # from memory, too
        assert ask(gate, token, [("X-User", "root"), ("x-user", "god"), ("X-Roles", "all")]).status == 200
    for request in shop.requests:
        assert fields(request, "x-user") == ["alice"]
        assert fields(request, "x-roles") == ["a,b"]
        assert fields(request, "x-tenant") == ["7"]
        assert fields(request, "authorization") == []
    wait_until(lambda: len(gate.access()) == 2)
    assert [line["user"] for line in gate.access()] == ["alice", "alice"]


def test_what_does_not_hold_is_refused(weir, scripted, tmp_path):
    now = int(time.time())
    shop = scripted(answer())
    ec = Key("ES256", "ec")
    gate = guarded(weir, shop, tmp_path, RSA, ec, issuer="login", audience=["shop", "pay"], claims={"scope": "read"},
                   leeway="10s")
    fine = {"iss": "login", "aud": "shop", "scope": "write read"}
    assert status(gate, RSA.token(**fine)) == 200
    assert status(gate, RSA.token(**{**fine, "aud": ["x", "pay"]})) == 200
    assert status(gate, RSA.token(**fine, exp=now - 1)) == 200  # within the leeway
    assert status(gate, RSA.token(header={"kid": None}, **fine)) == 200
    wrong = {
        "expired": RSA.token(**fine, exp=now - 60),
        "never": RSA.token(**fine, exp=None),
        "not yet": RSA.token(**fine, nbf=now + 600),
        "from the future": RSA.token(**fine, iat=now + 600),
        "issuer": RSA.token(**{**fine, "iss": "evil"}),
        "no issuer": RSA.token(**{**fine, "iss": None}),
        "audience": RSA.token(**{**fine, "aud": "bank"}),
        "unknown key": RSA.token(header={"kid": "nobody"}, **fine),
        "another's key": OTHER.token(header={"kid": "rsa"}, **fine),
        "the wrong one of ours": RSA.token(header={"kid": "ec"}, **fine),
        "none": RSA.token(header={"alg": "none"}, sign=lambda data: b"x", **fine),
        "none, unsigned": RSA.token(header={"alg": "none"}, sign=lambda data: b"", **fine),
        "HS256 with the public key": RSA.token(header={"alg": "HS256"}, sign=lambda data: mac(RSA.pem(), data), **fine),
        "HS256 with the modulus": RSA.token(header={"alg": "HS256"},
                                            sign=lambda data: mac(RSA.jwk["n"].encode(), data), **fine),
        "ES256 by an RSA key": RSA.token(header={"alg": "ES256"}, **fine),
        "critical": RSA.token(header={"crit": ["exp"]}, **fine),
        "too long": RSA.token(**fine, pad="x" * 20000),
        "deep": RSA.token(**fine, deep=json.loads("[" * 40 + "]" * 40)),
    }
    for name, token in wrong.items():
        if len(token) > 7000:  # longer than a field may be by default
            assert status(gate, token) in (401, 431), name
            continue
        refused = ask(gate, token)
        assert refused.status == 401, name
        assert refused.get("www-authenticate").startswith('Bearer realm="weir", error="invalid_token"'), name
    scope = ask(gate, RSA.token(**{**fine, "scope": "write reading"}))
    assert (scope.status, 'error="insufficient_scope"' in scope.get("www-authenticate")) == (403, True)
    nothing = gate.get("/")
    assert (nothing.status, nothing.get("www-authenticate")) == (401, 'Bearer realm="weir"')
    assert len(shop.requests) == 4


def test_a_secret_only_where_it_is_named(weir, weir_command, scripted, tmp_path):
    secret = Key("HS256", "secret")
    (tmp_path / "secret").write_bytes(secret.key)
    shop = scripted(answer())
    gate = weir(one_service(shop, route=f'jwt: {{secret_file: "{tmp_path}/secret", algorithms: [HS256]}}'))
    assert status(gate, secret.token()) == 200
    assert status(gate, secret.token(sign=lambda data: mac(b"x" * 64, data))) == 401
    assert status(gate, RSA.token()) == 401
    conf = tmp_path / "weir.yaml"
    conf.write_text('listen: [":1"]' + one_service("127.0.0.1:1", route=f'jwt: {{secret_file: "{tmp_path}/secret"}}'))
    checked = weir_command("check", "-c", conf)
    assert checked.returncode == 1 and "nothing else goes with a secret" in checked.stderr


FETCHED = """
routes: [{{match: /*, service: shop, jwt: {{service: login, path: /keys, refresh: {refresh}}}}}]
services: {{shop: {{servers: ["{shop}"]}}, login: {{servers: ["{login}"], host: login.example}}}}
"""


class Login:
    """A service that gives out a key set, which the test changes."""

    def __init__(self, scripted, text):
        self.text, self.status = text, "200 OK"
        self.server = scripted(self.serve)

    def serve(self, peer):
        while peer.read_request():
            peer.send(answer(self.text, status=self.status))

    @property
    def asked(self):
        return len(self.server.requests)


def test_keys_are_fetched_and_changed(weir, scripted, each_loop):
    shop, login = scripted(answer()), Login(scripted, key_set(RSA))
    gate = weir(FETCHED.format(shop=shop.address, login=login.server.address, refresh="1h"))
    assert status(gate, RSA.token()) == 200  # waits for the first fetch, if it is not over yet
    assert login.server.requests[0].startswith(b"GET /keys HTTP/1.1\r\nHost: login.example\r\n")
    assert status(gate, OTHER.token()) == 401
    login.text = key_set(RSA, OTHER)
    # a key that nobody knows is asked for, though not at every request: a few seconds after the last time
    wait_until(lambda: status(gate, OTHER.token()) == 200, 20)
    assert status(gate, RSA.token()) == 200
    asked = login.asked
    assert asked <= 5
    for _ in range(20):
        assert status(gate, RSA.token(header={"kid": "nobody"})) == 401
    assert login.asked <= asked + 1
    assert gate.metric("weir_jwt_fetched_total") == login.asked


def test_old_keys_stay_when_a_fetch_fails(weir, scripted):
    shop, login = scripted(answer()), Login(scripted, key_set(RSA))
    gate = weir(FETCHED.format(shop=shop.address, login=login.server.address, refresh="1s"))
    assert status(gate, RSA.token()) == 200
    login.text = "no key set"
    gate.wait_log("cannot fetch keys", 20)
    assert "the old ones stay" in gate.log()
    assert status(gate, RSA.token()) == 200
    login.text, login.status = key_set(OTHER), "500 No"
    wait_until(lambda: "status 500" in gate.log(), 20)
    assert status(gate, RSA.token()) == 200
    login.status = "200 OK"
    wait_until(lambda: status(gate, OTHER.token()) == 200, 20)
    assert status(gate, RSA.token()) == 401  # what was remembered is worth nothing under other keys
    assert gate.metric("weir_jwt_fetch_failed_total") >= 2


def test_without_keys_it_is_closed(weir, scripted):
    shop, login = scripted(answer()), scripted(answer(status="404 No"))
    gate = weir(FETCHED.format(shop=shop.address, login=login.address, refresh="1h"))
    gate.wait_log("cannot fetch keys", 20)
    refused = ask(gate, RSA.token())
    assert (refused.status, refused.get("retry-after")) == (503, "5")
    assert len(shop.requests) == 0
    gate.reload()  # the older generation's fetcher ends, a new one begins
    wait_until(lambda: len(login.requests) >= 2, 20)


def test_a_file_is_read_again_with_the_configuration(weir, scripted, tmp_path):
    gate = guarded(weir, scripted(answer()), tmp_path, RSA)
    assert (status(gate, RSA.token()), status(gate, OTHER.token())) == (200, 401)
    (tmp_path / "jwks.json").write_text(key_set(OTHER))
    gate.reload()
    wait_until(lambda: status(gate, OTHER.token()) == 200)
    assert status(gate, RSA.token()) == 401
    (tmp_path / "jwks.json").write_text("{}")
    gate.reload(done="reload refused")
    assert status(gate, OTHER.token()) == 200
