"""doc/basic_auth.md, against the running gate."""
import base64
import re
import threading

import pytest

from lib.conf import one_service
from lib.process import wait_until
from lib.servers import answer

# of "secret", made by crypt(3) and `openssl passwd -apr1`
BCRYPT = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"
SHA512 = "$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/O6IND4WQhG."
APR1 = "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/"
USERS = f"# people\nbob:{BCRYPT}\nsue:{SHA512}\npat:{APR1}\n"


@pytest.fixture(autouse=True)
def needs_them(weir_command):
    with_ = weir_command("version").stdout.split("without")[0]
    if "crypt" not in with_ or "openssl" not in with_:
        pytest.skip("this weir has no libcrypt or no openssl")


def basic(name, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def guarded(weir, shop, tmp_path, more=""):
    (tmp_path / "users").write_text(USERS)
    return weir(one_service(shop, route=f'basic_auth: {{file: "{tmp_path}/users"{more}}}'))


def test_each_kind_of_hash(weir, scripted, tmp_path, each_loop):
    shop = scripted(answer())
    gate = guarded(weir, shop, tmp_path, ", user_header: X-User, hide: on")
    for name in ("bob", "sue", "pat"):
        assert gate.get("/", {**basic(name, "secret"), "X-User": "root"}).status == 200
        assert gate.get("/", basic(name, "Secret")).status == 401
    refused = gate.get()
    assert (refused.status, refused.get("www-authenticate")) == (401, 'Basic realm="weir", charset="UTF-8"')
    assert gate.get("/", basic("nobody", "secret")).status == 401
    assert gate.get("/", {"Authorization": "Basic !"}).status == 401
    names = [re.findall(rb"\r\nx-user: ([^\r]*)", r, re.I) for r in shop.requests]
    assert names == [[b"bob"], [b"sue"], [b"pat"]]
    assert not any(b"uthorization" in r for r in shop.requests)
    wait_until(lambda: len(gate.access()) == 9)
    assert sorted(line["user"] for line in gate.access() if "user" in line) == ["bob", "pat", "sue"]
    assert gate.metric("weir_basic_auth_refused_total") == 6


def test_a_right_password_is_remembered(weir, scripted, tmp_path):
    gate = guarded(weir, scripted(answer()), tmp_path)
    with gate.connect() as client:
        for _ in range(5):
            assert client.get("/", basic("bob", "secret")).status == 200
    assert gate.metric("weir_basic_auth_cached_total") == 4
    (tmp_path / "users").write_text(USERS.replace("bob", "rob"))
    gate.reload()
    wait_until(lambda: gate.get("/", basic("rob", "secret")).status == 200)
    assert gate.get("/", basic("bob", "secret")).status == 401


def test_hashing_holds_up_nobody(weir, scripted, tmp_path):
    """A worker that hashed by itself would serve nobody for that time: with one worker and a hash of a second and
    more, another request goes through while it is made."""
    slow = "$6$rounds=400000$abcdefgh$" + "a" * 86
    (tmp_path / "users").write_text(f"bob:{slow}\n")
    shop = scripted(answer())
    gate = weir(f"""
        workers: 1
        routes:
          - {{match: /slow, service: shop, basic_auth: "{tmp_path}/users"}}
          - {{match: /*, service: shop}}
        services: {{shop: {{servers: ["{shop.address}"]}}}}
    """)
    done = []

    def ask():
        done.append(gate.get("/slow", basic("bob", "secret")).status)

    asking = threading.Thread(target=ask)
    asking.start()
    served = 0
    while asking.is_alive():
        served += gate.get("/quick").status == 200
    asking.join()
    assert done == [401]
    assert served >= 3


def test_too_many_at_once_get_503(weir, scripted, tmp_path):
    slow = "$6$rounds=300000$abcdefgh$" + "a" * 86
    (tmp_path / "users").write_text(f"bob:{slow}\n")
    gate = weir(one_service(scripted(answer()), route=f'basic_auth: "{tmp_path}/users"', root="workers: 1\ndrain_timeout: 100ms\n"))
    clients = [gate.connect(timeout=60) for _ in range(330)]
    for n, client in enumerate(clients):
        client.send_request("GET", "/", basic("bob", f"wrong{n}"))
    wait_until(lambda: gate.metric("weir_basic_auth_busy_total") >= 20, 20)
    for client in clients:
        client.close()


@pytest.mark.parametrize("users,words", [("bob:secret\n", "users:1: no hash that is known here"),
                                         (f"# x\nbob:{APR1}\nbob:{APR1}\n", 'users:3: "bob" stands in line 2'),
                                         ("", "there is nobody in it")])
def test_a_mistake_has_a_place(weir_command, tmp_path, users, words):
    conf = tmp_path / "weir.yaml"
    (tmp_path / "users").write_text(users)
    conf.write_text('listen: [":1"]' + one_service("127.0.0.1:1", route=f'basic_auth: "{tmp_path}/users"'))
    checked = weir_command("check", "-c", conf)
    assert checked.returncode == 1
    assert f"{conf}:2:" in checked.stderr and words in checked.stderr
