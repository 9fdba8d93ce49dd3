"""The program's own life: it starts, serves, reloads, says what it did, and stops."""
import shutil
import signal
import subprocess

import pytest

from lib.process import wait_until
from lib.servers import answer


def conf(server, more=""):
    return f"""
        {more}
        routes: [{{match: /*, service: shop}}]
        services:
          shop:
            servers: ["{server.address}"]
    """


def test_it_serves_on_each_loop(weir, scripted, each_loop):
    shop = scripted(answer("hello", headers=[("X-Shop", "1")]))
    gate = weir(conf(shop))
    response = gate.get("/a?b=c")
    assert (response.status, response.text, response.get("x-shop")) == (200, "hello", "1")
    assert shop.requests[0].startswith(b"GET /a?b=c HTTP/1.1\r\n")
    assert f"loop={each_loop}" in gate.log()


def test_it_says_what_it_did(weir, scripted):
    gate = weir(conf(scripted(answer("hello"))))
    gate.get("/a")
    assert gate.metric("weir_http_request_seconds_count", service="shop") == 1
    assert gate.stop() == 0
    (line,) = gate.access()
    assert (line["method"], line["target"], line["status"]) == ("GET", "/a", 200)


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool (package prometheus) is not installed")
def test_prometheus_takes_its_metrics(weir, scripted):
    gate = weir(conf(scripted(answer("hello"))))
    gate.get("/")
    done = subprocess.run(["promtool", "check", "metrics"], input=gate.admin("/metrics").body, capture_output=True)
    assert done.returncode == 0 and not done.stderr, (done.stdout + done.stderr).decode()


def test_a_reload_moves_to_the_new_servers_without_a_lost_request(weir, scripted, load):
    one, two = scripted(answer("one")), scripted(answer("two"))
    gate = weir(conf(one))
    running = load(gate.port, check=lambda r: r.body in (b"one", b"two"))
    for i in range(10):
        running.wait_done(20)
        gate.reload(conf((two, one)[i % 2]))
    gate.reload(conf(two))
    assert gate.get().text == "two"
    running.assert_clean(200)


def test_a_bad_file_never_replaces_a_good_one(weir, scripted):
    gate = weir(conf(scripted(answer("good"))))
    gate.reload("routes: [{match: /*, service: nowhere}]\nservices: {shop: {servers: ['127.0.0.1:1']}}")
    assert "nowhere" in gate.log()
    assert gate.get().text == "good"


def test_sigterm_lets_requests_that_run_end(weir, scripted):
    def slow(peer):
        while peer.read_request():
            peer.stopping.wait(1)
            peer.send(answer("late"))

    shop = scripted(slow)
    gate = weir(conf(shop))
    with gate.connect() as client:
        client.send_request()
        wait_until(lambda: shop.requests)
        gate.signal(signal.SIGTERM)
        response = client.read_response()
        assert response.text == "late" and not response.keep_alive
        assert client.is_closed()
    assert gate.wait() == 0


def test_a_port_that_is_taken_is_said(weir, scripted):
    shop = scripted(answer())
    gate = weir(conf(shop, f'listen: ["127.0.0.1:{shop.port}"]'), ready=False)
    assert gate.wait() != 0
    gate.status_expected = gate.child.returncode
    assert str(shop.port) in gate.log() and "use" in gate.log()


def test_check_names_the_place(weir_command, tmp_path):
    path = tmp_path / "weir.yaml"
    path.write_text('listen: [":8080"]\nroutez: []\n')
    done = weir_command("check", "-c", path)
    assert done.returncode == 1
    assert f"{path}:2:1:" in done.stdout + done.stderr and "routes" in done.stdout + done.stderr


def test_version_says_what_is_in_it(weir_command):
    done = weir_command("version")
    assert done.returncode == 0
    assert done.stdout.startswith("weir ") and "libyaml" in done.stdout
