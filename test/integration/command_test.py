"""The command line: what it says and what it exits with."""
import json
import pathlib
import re
import socket

import pytest

from lib.conf import one_service
from lib.ports import free_port
from lib.servers import answer

GOOD = '''listen: [":8080"]
routes: [{match: /*, service: shop}]
services: {shop: {servers: ["127.0.0.1:9001"]}}
'''


@pytest.fixture
def check(weir_command, tmp_path):
    def run(text):
        path = tmp_path / "weir.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        done = weir_command("check", "-c", path)
        return done.returncode, done.stdout, done.stderr.replace(f"{path}:", "FILE:")
    return run


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_the_front_pages_configuration(check, weir_command, tmp_path, page):
    text = (pathlib.Path(__file__).parents[2] / page).read_text()
    conf = re.search(r"^```yaml\n(.*?)^```$", text, re.M | re.S).group(1)
    assert len(conf.splitlines()) <= 12 and "health_check" in conf
    status, out, errors = check(conf)
    assert (status, errors) == (0, ""), errors
    told = weir_command("explain", "-c", tmp_path / "weir.yaml", "GET http://shop.example/api/x").stdout
    for pattern in ("rate_limit", "rate: 50/s", "mirror", "30%", "circuit_breaker", "5%", "shadow",
                    r"10\.0\.0\.1:80", r"10\.0\.0\.2:80"):
        assert re.search(pattern, told), (pattern, told)


def test_check_good(check):
    status, out, errors = check(GOOD)
    assert status == 0 and out.endswith("ok\n") and errors == ""


@pytest.mark.parametrize("text,wanted", [
    (GOOD.replace("{match: /*,", "{match: /*, rate_limits: 5/s,"), [r"^FILE:2:22: .*rate_limits.*rate_limit"]),
    (GOOD.replace("service: shop}", "service: shp}"), [r'^FILE:2:\d+: .*"shp".*did you mean "shop"']),
    (GOOD + "client: {head_timeout: 500}\n", [r"^FILE:4:24: 500 is not a duration"]),
    (GOOD + "client: {head_timeout: 500}\nworkers: many\n", [r"^FILE:4:24: ", r"^FILE:5:10: "]),
    (GOOD + "workers: 0\n", [r"^FILE:4:10: .*bounds"]),
    (GOOD.replace("servers:", "weight_of: {report: 20}, servers:"), [r"^FILE:3:19: .*weight_of.*top of the file"]),
    (GOOD + "worker: 1\n", [r'^FILE:4:1: .*"worker".*"workers"']),
    (GOOD.replace('"127.0.0.1:9001"', ""), [r"^FILE:3:\d+: .*at least one"]),
    (GOOD.replace("127.0.0.1:9001", "nonsense"), [r"^FILE:3:\d+: .*nonsense"]),
    (GOOD.replace('["127.0.0.1:9001"]', '["127.0.0.1:9001"], balance: leastrequest'),
     [r"^FILE:3:\d+: .*leastrequest.*least_request"]),
    (GOOD.replace("listen: [\":8080\"]\n", ""), [r"listen"]),
    (GOOD.replace("[{match: /*, service: shop}]", "[{match: /*, service: shop}, {match: /*, service: shop}]"),
     [r"^FILE:2:\d+: .*twice"]),
    (GOOD.replace("/*", "/*/a"), [r"^FILE:2:\d+: .*not at the end"]),
    (GOOD.replace('":8080"', '":99999"'), [r"^FILE:1:\d+: "]),
    (GOOD.replace('":8080"', '{address: ":8080", congestion: none_such}'), [r"^FILE:1:\d+: .*none_such"]),
    ("routes: [\n", [r"^FILE:\d+:\d+: not YAML"]),
    ("", [r"."]),
    (b"\xff\xfe\x00", [r"."]),
    ("a: &x [*x]\n", [r"."]),
    ("[" * 10000, [r"."]),
])
def test_check_mistakes(check, text, wanted):
    status, out, errors = check(text)
    assert status == 1 and out == ""
    for pattern in wanted:
        assert re.search(pattern, errors, re.M), (pattern, errors)
    mistakes = len(errors.splitlines()) - 1
    assert re.search(rf"^FILE: {mistakes} mistakes?$", errors, re.M), errors


def test_check_without_a_file(weir_command, tmp_path):
    done = weir_command("check", "-c", tmp_path / "none.yaml")
    assert done.returncode == 1 and "none.yaml" in done.stderr
    done = weir_command("check", "-c", tmp_path)
    assert done.returncode == 1 and str(tmp_path) in done.stderr
    assert weir_command("check").returncode == 2


def test_check_opens_nothing(weir_command, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        path = tmp_path / "weir.yaml"
        path.write_text(GOOD.replace(":8080", "127.0.0.1:%d" % taken.getsockname()[1])
                        + f"access_log: {tmp_path}/made.log\n")
        assert weir_command("check", "-c", path).returncode == 0
    assert not (tmp_path / "made.log").exists()


def test_version_and_help(weir_command):
    for args in (["version"], ["--version"]):
        done = weir_command(*args)
        assert done.returncode == 0 and re.match(r"weir \d+\.\d+", done.stdout)
        assert "loop: " in done.stdout
    for args in (["help"], ["--help"], ["-h"]):
        done = weir_command(*args)
        assert done.returncode == 0 and done.stdout.startswith("usage: weir run -c FILE")
        assert done.stderr == ""


def test_reference(weir_command):
    names = weir_command("reference")
    assert names.returncode == 0
    for name in names.stdout.split():
        done = weir_command("reference", name)
        assert done.returncode == 0 and done.stdout.strip(), name
    for name in ("weir", "listen", "client", "service", "rate_limit", "health_check", "access_log"):
        assert name in names.stdout.split()
    assert "head_timeout" in weir_command("reference", "client").stdout
    done = weir_command("reference", "nonsense")
    assert done.returncode == 1 and "nonsense" in done.stderr


def test_schema(weir_command):
    done = weir_command("schema")
    assert done.returncode == 0
    schema = json.loads(done.stdout)
    assert "listen" in schema["properties"] and "$schema" in schema
    try:
        import jsonschema
    except ImportError:
        return
    jsonschema.validators.validator_for(schema).check_schema(schema)


@pytest.mark.parametrize("args", [[], ["serve"], ["run"], ["check"], ["run", "-x"], ["run", "--nonsense"],
                                  ["run", "-c"], ["run", "-c", "x", "--loop", "kqueue"]])
def test_what_is_not_understood(weir_command, args):
    done = weir_command(*args)
    assert done.returncode == 2 and "usage: weir run" in done.stderr and done.stdout == ""


def fails_to_start(weir_command, tmp_path, text):
    path = tmp_path / "weir.yaml"
    path.write_text(text)
    done = weir_command("run", "-c", path)
    assert done.returncode == 1, done
    return done.stderr


def test_a_taken_port(weir_command, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))
        taken.listen()
        port = taken.getsockname()[1]
        errors = fails_to_start(weir_command, tmp_path, GOOD.replace(":8080", f"127.0.0.1:{port}"))
        assert f"127.0.0.1:{port}" in errors and "in use" in errors.lower()
        errors = fails_to_start(weir_command, tmp_path, GOOD.replace(":8080", f"127.0.0.1:{free_port()}")
                                + f"admin: 127.0.0.1:{port}\n")
        assert f"127.0.0.1:{port}" in errors


def test_a_port_that_another_weir_has(weir, weir_command, scripted, tmp_path):
    gate = weir(one_service(scripted(answer())))
    errors = fails_to_start(weir_command, tmp_path, GOOD.replace(":8080", f"127.0.0.1:{gate.port}"))
    assert f"127.0.0.1:{gate.port}" in errors
    for _ in range(10):
        assert gate.get().status == 200


def test_files_that_cannot_be_used(weir_command, tmp_path):
    done = weir_command("run", "-c", tmp_path / "none.yaml")
    assert done.returncode == 1 and "none.yaml" in done.stderr
    errors = fails_to_start(weir_command, tmp_path, "routes: [\n")
    assert re.search(r"weir\.yaml:\d+:\d+: not YAML", errors)
    errors = fails_to_start(weir_command, tmp_path, GOOD.replace(":8080", f"127.0.0.1:{free_port()}")
                            + "access_log: /nonexistent/x.log\n")
    assert "/nonexistent/x.log" in errors
