"""weir load over TLS: which certificates it believes, and that all of it works as without."""
import json

import pytest

from lib import weir as weir_module
from lib.ports import free_port
from lib.servers import answer
from lib.tls import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def load(weir_command):
    """load(...) -> (exit code, the JSON result or what was said)"""
    def run(*args):
        done = weir_command("load", "--quiet", "--json", "-", *args, timeout=60)
        assert not weir_module.BUGS.search(done.stderr), done.stderr
        return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr
    return run


@pytest.fixture
def gate(weir, scripted, authority):
    """weir with a certificate for localhost; its port."""
    server, port = scripted(answer("ok")), free_port()
    weir(f'''
        listen: {{address: "127.0.0.1:{port}", tls: "{authority.issue("localhost")}"}}
        routes: [{{match: /*, service: s}}]
        services: {{s: {{servers: ["{server.address}"]}}}}
        ''')
    return port


def test_https(load, gate, authority, each_loop):
    for args in (["-c", 4], ["-c", 8, "-r", 1000]):
        code, result = load("-n", 200, "--ca", authority.certificate, "--loop", each_loop, *args, f"https://localhost:{gate}/")
        assert code == 0 and result["total"]["errors"] == {} and result["total"]["good"] == 200


def test_a_certificate_that_is_not_believed(load, gate, authority):
    code, result = load("-n", 3, "-c", 1, f"https://localhost:{gate}/")
    assert code == 0 and result["total"]["errors"] == {"connect": 3}
    code, result = load("-n", 3, "-c", 1, "--ca", authority.certificate, f"https://127.0.0.1:{gate}/")
    assert code == 0 and result["total"]["errors"] == {"connect": 3}  # another name
    code, result = load("-n", 3, "-c", 1, "--insecure", f"https://127.0.0.1:{gate}/")
    assert code == 0 and result["total"]["good"] == 3
    code, said = load("-n", 3, "--ca", "/nowhere/ca.pem", f"https://localhost:{gate}/")
    assert code == 1 and "/nowhere/ca.pem" in said


def test_a_scenario(load, gate, authority, tmp_path):
    (tmp_path / "s.yaml").write_text(f"target: https://localhost:{gate}\nusers: 5\n"
                                     "kinds: {a: {steps: [GET /, {post: /x, body: hello}]}}\n")
    code, result = load("-n", 30, "--ca", authority.certificate, tmp_path / "s.yaml")
    assert code == 0 and result["total"]["errors"] == {} and result["total"]["good"] == 60
    assert 1 <= result["connects"] <= 5  # kept by each user
