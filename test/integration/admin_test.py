"""The admin address: metrics that Prometheus accepts and that count what happened, the configuration in force."""
import shutil
import subprocess
import time

import pytest

from lib.client import Client
from lib.conf import one_service
from lib.ports import free_port
from lib.process import wait_until
from lib.servers import answer


def test_metrics_are_accepted_by_promtool(weir, scripted):
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("promtool is not installed (package prometheus)")
    gate = weir(one_service(scripted(answer()), route="rate_limit: 1000/s per ip, headers: {response: {set: {a: b}}}",
                            service="health_check: GET / every 1s"))
    for _ in range(3):
        gate.get()
    response = gate.admin("/metrics")
    assert response.status == 200
    assert response.get("content-type") == "text/plain; version=0.0.4; charset=utf-8"
    checked = subprocess.run([promtool, "check", "metrics"], input=response.body, capture_output=True, timeout=30)
    assert checked.returncode == 0, checked.stdout.decode() + checked.stderr.decode()
    lines = response.text.splitlines()
    series = [l.rpartition(" ")[0] for l in lines if l and l[0] != "#"]
    assert len(series) == len(set(series))  # each once
    assert all(s.startswith(("weir_", "process_")) for s in series)


def test_requests_are_counted_by_class(weir, origin):
    gate = weir(one_service(origin()))
    with gate.connect() as client:
        for status, times in ((200, 3), (204, 1), (302, 2), (404, 4), (503, 5)):
            for _ in range(times):
                client.get(f"/status/{status}")
        client.request("POST", "/bytes/1000", body=b"x" * 500)
    assert {c: gate.metric("weir_http_requests_total", service="shop", code=c) for c in
            ("2xx", "3xx", "4xx", "5xx")} == {"2xx": 5, "3xx": 2, "4xx": 4, "5xx": 5}
    assert gate.metric("weir_http_request_seconds_count", service="shop") == 16
    assert gate.metric("weir_http_request_bytes_total", service="shop") == 500
    assert gate.metric("weir_http_response_bytes_total", service="shop") >= 1000
    assert gate.metric("weir_http_failures_total", service="shop") == 0
    assert gate.metric("weir_upstream_requests_total", service="shop") == 16


def test_histogram_is_consistent(weir, origin):
    gate = weir(one_service(origin()))
    with gate.connect() as client:
        for path in ("/", "/delay/20", "/delay/100"):
            client.get(path)
    buckets = [(k, v) for k, v in gate.metrics().items() if k.startswith("weir_http_request_seconds_bucket")
               and 'service="shop"' in k]
    counts = [v for _, v in buckets]
    assert counts == sorted(counts) and counts[-1] == 3 and 'le="+Inf"' in buckets[-1][0]
    assert 0.12 <= gate.metric("weir_http_request_seconds_sum", service="shop") < 10


def test_retries_and_failures_are_counted(weir, scripted):
    def cut(peer):
        peer.read_request()

    bad = scripted(cut)
    good = scripted(answer())
    gate = weir(one_service(bad, good, root="workers: 1"))
    for _ in range(4):
        gate.get()
    assert gate.metric("weir_http_retries_total", service="shop") == len(bad.requests) == \
        gate.metric("weir_upstream_failures_total", server=bad.address)
    assert gate.metric("weir_http_failures_total", service="shop") == 0
    bad.stop()
    good.stop()
    assert gate.get().status in (502, 503)
    assert gate.metric("weir_http_failures_total", service="shop") == 1
    assert gate.metric("weir_http_requests_total", service="shop", code="5xx") == 1


def test_process_metrics(weir, scripted):
    gate = weir(one_service(scripted(answer())))
    clients = [gate.connect() for _ in range(7)]
    for client in clients:
        client.get()
    metrics = gate.metrics()
    assert metrics["process_resident_memory_bytes"] > 1 << 20
    assert metrics["process_cpu_seconds_total"] > 0
    assert metrics["weir_conf_generation"] == 1
    assert any(k.startswith("weir_build_info{") and v == 1 for k, v in metrics.items())
    assert gate.metric("weir_worker_connections") >= 7
    assert gate.metric("weir_worker_fibers", worker="0") == 0  # idle connections have none
    for client in clients:
        client.close()
    wait_until(lambda: gate.metric("weir_worker_connections") <= 4, 10, "connections are gone")


def test_config_round_trips(weir, weir_command, scripted, tmp_path):
    server = scripted(answer("ok"))
    gate = weir(f'''
        forwarded: on
        client: {{head_timeout: 3s, body_bytes_max: 5m}}
        routes:
          - {{match: "shop.example/a/*", service: shop, rate_limit: 50/s per ip, mirror: 30% to other}}
          - {{match: /*, service: other, headers: {{response: {{set: {{x-a: "b: c"}}}}}}}}
        services:
          shop: {{servers: [{{address: "{server.address}", weight: 3}}], balance: least_request, upstream: pipelined}}
          other: {{servers: ["{server.address}"], health_check: GET /healthz every 2s}}
    ''')
    response = gate.admin("/config")
    assert response.status == 200 and response.get("content-type") == "application/yaml"
    for text in ("30%", "50/s", "least_request", "pipelined", "5m", "3s", "tries_max: 3"):
        assert text in response.text, text
    again = tmp_path / "again.yaml"
    again.write_text(response.text)
    checked = weir_command("check", "-c", again)
    assert checked.returncode == 0, checked.stderr + response.text
    gate.reload(response.text)
    assert gate.admin("/config").text == response.text
    assert gate.get("/").text == "ok"


def test_services_and_filters_are_told(weir, scripted):
    server = scripted(answer())
    gate = weir(one_service(server, route="rate_limit: 50/s per ip, circuit_breaker: 5% over 10s",
                            service="health_check: GET / every 1s"))
    for _ in range(3):
        gate.get()
    (shop,) = gate.admin("/v1/services").json["services"]
    (told,) = shop["servers"]
    assert shop["name"] == "shop" and "health_check" in shop["modules"]
    assert told["address"] == server.address and told["state"] == "enabled" and told["health"] == "up" and told["requests_total"] == 3
    filters = gate.admin("/v1/filters").json["filters"]
    assert [(f["route"], f["filter"]) for f in filters] == [("/*", "rate_limit"), ("/*", "circuit_breaker")]
    assert all(isinstance(f["state"], dict) for f in filters)


def test_other_pages(weir, scripted):
    gate = weir(one_service(scripted(answer())))
    with Client(gate.admin_port) as client:
        assert client.get("/").status == 200
        assert client.get("/none").status == 404
        assert client.get("/metrics/").status == 404
        response = client.request("POST", "/metrics", body=b"x")
        assert response.status == 405 and response.get("allow") == "GET, HEAD"
        head = client.request("HEAD", "/config")
        assert head.status == 200 and int(head.get("content-length")) > 100 and head.body == b""
        assert client.get("/config?x=y").status == 200


def test_no_admin_unless_told(weir, scripted):
    gate = weir(one_service(scripted(answer())))
    port = free_port()
    gate.reload(one_service(scripted(answer())) + f"admin: 127.0.0.1:{port}\n")
    assert Client(port).get("/metrics").status == 200


@pytest.mark.usefixtures("each_loop")
def test_who_asks_while_it_starts_is_answered(weir, scripted):
    """From the moment on that the port is there: no client is taken before there is a configuration."""
    server = scripted(answer())
    for _ in range(8):
        gate = weir(one_service(server, root="workers: 16"), ready=False)
        wait_until(lambda: asked(gate.admin_port, "/metrics") == 200, 10, "it answers")
        assert gate.running
        assert asked(gate.port, "/") == 200


def asked(port, path):
    """The status; None: nobody listens yet."""
    try:
        with Client(port) as client:
            return client.get(path).status
    except ConnectionRefusedError:
        return None


def test_many_scrapes_under_load(weir, origin, load):
    gate = weir(one_service(origin()))
    running = load(gate.port, connections=4)
    for _ in range(30):
        assert gate.admin("/metrics").status == 200
        time.sleep(0.005)
    running.assert_clean(50)
    done = running.done
    wait_until(lambda: gate.metric("weir_http_requests_total", service="shop", code="2xx") == done, 5,
               f"every one of {done} is counted")
