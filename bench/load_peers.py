#!/usr/bin/python3
"""weir load beside wrk, h2load and Locust: what a request costs the generator, as tables of Markdown.

    bench/load_peers.py [--seconds 2] [--rounds 5] [--build build] [--without locust,wrk,h2load,http3]

The server is build/origin on a core of its own, for HTTP/2 nginx, for HTTP/3 (which no peer of Debian 12 speaks) weir. Generators take
turns, one core each, in a closed loop. The figure is the generator's CPU time, user and system, divided by the answers it reports: the
whole of its process from start to end, so what it does before and after is in it (but for Locust, whose start is measured apart and taken
off).

"apart": generator and server on two cores; whoever is slower lets the other rest. "together": both on one core, so that the generator
is never without work; the ratio there is the one at saturation.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "test"))

from lib.ports import free_port, listening  # noqa: E402

SCENARIO_SECONDS = 6  # Locust's users take a while to come

LOCUSTFILE = """
from locust import constant, task
from locust.contrib.fasthttp import FastHttpUser

class Visitor(FastHttpUser):
    wait_time = constant(0)

    @task(70)
    def buy(self):
        self.client.post("/buy", json={"request": "x"})

    @task(20)
    def page(self):
        self.client.get("/bytes/4000", name="page")

    @task(10)
    def stock(self):
        self.client.get("/stock")
"""

WRK_SCRIPT = """
local buy, page, stock, n = nil, nil, nil, 0

function init()
    buy = wrk.format("POST", "/buy", {["Content-Type"] = "application/json"}, '{"request": "x"}')
    page = wrk.format("GET", "/bytes/4000")
    stock = wrk.format("GET", "/stock")
end

function request()
    n = (n + 1) % 10
    return n < 7 and buy or n < 9 and page or stock
end
"""

SCENARIO = """
target: {url}
users: {users}
duration: {seconds}s
spread: 0s
kinds:
  buy: {{weight: 70, steps: [{{post: /buy, json: '{{"request": "x"}}'}}]}}
  page: {{weight: 20, steps: [GET /bytes/4000]}}
  stock: {{weight: 10, steps: [GET /stock]}}
"""


NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u;
  scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port} http2; location / {{ return 200 "{body}"; }} }}
}}
"""

GATE = """
workers: 1
admin: "unix:{folder}/admin.sock"
state_dir: {folder}/state
access_log: off
listen: {{address: "127.0.0.1:{port}", tls: {{certificate: {folder}/cert.pem, key: {folder}/key.pem}}, http3: true}}
routes: [{{match: /*, respond: 200 {body}}}]
"""


def pinned(core, args):
    return ["taskset", "-c", str(core), *map(str, args)]


class Bench:
    def __init__(self, options):
        self.options = options
        self.build = pathlib.Path(options.build)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="load-peers."))
        self.cores = sorted(os.sched_getaffinity(0))[:2]

    def run(self, core, args):
        """(what it printed, CPU seconds)"""
        with open(self.folder / "out", "w+b") as out:
            child = subprocess.Popen(pinned(core, args), stdout=out, stderr=subprocess.STDOUT)
            _, status, used = os.wait4(child.pid, 0)
            out.seek(0)
            text = out.read().decode(errors="replace")
        if status:
            raise SystemExit(f"{args[0]} ended with {status}:\n{text[-2000:]}")
        return text, used.ru_utime + used.ru_stime

    # each: (answers, CPU seconds)

    def wrk(self, core, url, connections, *args, seconds=None):
        text, cpu = self.run(core, ["wrk", "-t1", f"-c{connections}", f"-d{seconds or self.options.seconds}s", *args, url])
        assert "Non-2xx" not in text and "Socket errors" not in text, text
        return int(re.search(r"(\d+) requests in", text)[1]), cpu

    def h2load(self, core, url, connections, streams):
        text, cpu = self.run(core, ["h2load", "-t1", f"-c{connections}", f"-m{streams}", f"-D{self.options.seconds}s", url])
        done = re.search(r"requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text)
        assert done and int(done[1]) and done[2] == done[3] == done[4] == "0", text
        return int(done[1]), cpu

    def weir(self, core, url, connections, loop, *args):
        text, cpu = self.run(core, [self.build / "weir", "load", "-q", "--json", "-", "-t1", "-c", connections, "-d",
                                    f"{self.options.seconds}s", "--loop", loop, *args, url])
        total = json.loads(text)["total"]
        assert total["failed"] == 0, total["errors"]
        return total["answers"], cpu

    def weir_scenario(self, core, url, users):
        path = self.folder / "scenario.yaml"
        path.write_text(SCENARIO.format(url=url, users=users, seconds=SCENARIO_SECONDS))
        text, cpu = self.run(core, [self.build / "weir", "load", "-q", "--json", "-", path])
        total = json.loads(text)["total"]
        assert total["failed"] == 0, total["errors"]
        return total["answers"], cpu

    def wrk_scenario(self, core, url, users):
        path = self.folder / "scenario.lua"
        path.write_text(WRK_SCRIPT)
        return self.wrk(core, url, users, "-s", path, seconds=SCENARIO_SECONDS)

    def locust(self, core, url, users):
        (self.folder / "locustfile.py").write_text(LOCUSTFILE)
        stem = self.folder / "locust"
        _, cpu = self.run(core, [shutil.which("locust"), "-f", self.folder / "locustfile.py", "--headless", "-u", users, "-r", users, "-t",
                        f"{SCENARIO_SECONDS}s", "--host", url, "--csv", stem, "--only-summary", "--skip-log-setup"])
        rows = [line.split(",") for line in pathlib.Path(f"{stem}_stats.csv").read_text().splitlines()]
        total = dict(zip(rows[0], rows[-1]))
        assert total["Name"] == "Aggregated" and int(total["Failure Count"]) == 0, total
        # what Python needs to start is not its cost of a request
        _, start = self.run(core, [shutil.which("locust"), "--version"])
        return int(total["Request Count"]), max(cpu - start, 1e-9)

    def origin(self, core, port):
        return subprocess.Popen(pinned(core, [self.build / "origin", f"127.0.0.1:{port}"]), stdout=subprocess.DEVNULL)

    def nginx(self, core, port):
        conf = self.folder / "nginx.conf"
        conf.write_text(NGINX.format(folder=self.folder, port=port, body="x" * 100))
        return subprocess.Popen(pinned(core, ["nginx", "-e", self.folder / "nginx.log", "-c", conf]))

    def gate(self, core, port):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
                        "/CN=localhost", "-keyout", self.folder / "key.pem", "-out", self.folder / "cert.pem"], check=True, capture_output=True)
        conf = self.folder / "weir.yaml"
        conf.write_text(GATE.format(folder=self.folder, port=port, body="x" * 100))
        return subprocess.Popen(pinned(core, [self.build / "weir", "run", "-c", conf]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def compare(self, title, generators, cores, seconds, start=None, scheme="http"):
        """generators: {name: function(core, url) -> (answers, CPU seconds)}; the first is the one that ratios are of."""
        port = free_port()
        url = f"{scheme}://127.0.0.1:{port}/"
        server = (start or self.origin)(cores[1], port)
        try:
            end = time.monotonic() + 20
            while not listening(port):
                assert time.monotonic() < end and server.poll() is None, "the server does not start"
                time.sleep(0.01)
            results = {name: [] for name in generators}
            for _ in range(self.options.rounds):
                for name, generator in generators.items():
                    answers, cpu = generator(cores[0], url)
                    results[name].append((cpu / answers * 1e6, answers / seconds))
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()
        first = next(iter(generators))
        print(f"\n{title}\n\n| generator | CPU µs a request | requests a CPU second | requests a second | ratio to {first} |")
        print("| --- | --- | --- | --- | --- |")
        for name, rounds in results.items():
            cost = statistics.median(c for c, _ in rounds)
            ratio = statistics.median(c / f for (c, _), (f, _) in zip(rounds, results[first]))
            print(f"| {name} | {cost:.2f} | {1e6 / cost:,.0f} | {statistics.median(r for _, r in rounds):,.0f} | {ratio:.2f} |",
                  flush=True)


def main():
    arguments = argparse.ArgumentParser(description="weir load beside wrk, h2load and Locust")
    arguments.add_argument("--seconds", type=int, default=2)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--build", default=ROOT / "build")
    arguments.add_argument("--without", default="", help="of wrk, h2load, http3, locust")
    options = arguments.parse_args()
    bench = Bench(options)
    without = options.without.split(",")
    weir = {"weir load, io_uring": lambda core, url, c: bench.weir(core, url, c, "io_uring"),
            "weir load, epoll": lambda core, url, c: bench.weir(core, url, c, "epoll")}
    apart, together = bench.cores, [bench.cores[0]] * 2
    if shutil.which("wrk") and "wrk" not in without:
        for connections in (64, 512):
            for where, cores in (("together", together), ("apart", apart)):
                generators = {"wrk": bench.wrk, **weir}
                bench.compare(f"HTTP/1.1 keep-alive, 100-byte answers, {connections} connections, {where}",
                              {n: lambda core, url, g=g: g(core, url, connections) for n, g in generators.items()}, cores,
                              options.seconds)
    if shutil.which("h2load") and shutil.which("nginx") and "h2load" not in without:
        for connections, streams in ((64, 1), (8, 32)):
            generators = {"h2load": lambda core, url: bench.h2load(core, url, connections, streams)}
            for loop in ("io_uring", "epoll"):
                generators[f"weir load, {loop}"] = lambda core, url, loop=loop: bench.weir(core, url, connections, loop, "--http2",
                                                                                          "-m", streams)
            bench.compare(f"HTTP/2, 100-byte answers, {connections} connections, {streams} streams on each, together", generators,
                          together, options.seconds, bench.nginx)
    if "http3" not in without:
        versions = {"weir load, HTTP/2": "--http2", "weir load, HTTP/3": "--http3"}
        bench.compare("HTTP/2 and HTTP/3 over TLS, 100-byte answers, 8 connections, 32 streams on each, apart",
                      {n: lambda core, url, v=v: bench.weir(core, url, 8, "auto", v, "-m", 32, "--insecure") for n, v in versions.items()},
                      apart, options.seconds, bench.gate, "https")
    if shutil.which("locust") and "locust" not in without:
        generators = {"Locust": lambda core, url: bench.locust(core, url.rstrip("/"), 100),
                      "weir load": lambda core, url: bench.weir_scenario(core, url.rstrip("/"), 100)}
        if shutil.which("wrk"):
            generators["wrk, a Lua script"] = lambda core, url: bench.wrk_scenario(core, url, 100)
        bench.compare("A scenario of 70/20/10, 100 users, no think time, apart", generators, apart, SCENARIO_SECONDS)
    shutil.rmtree(bench.folder)


if __name__ == "__main__":
    main()
