#!/usr/bin/python3
"""What outlier, retry and hedge do in a fault, as a table of Markdown (doc/resilience.md shows one).

    bench/resilience.py [--seconds 3] [--weir build/weir]

Four servers behind one weir on this machine, eight clients that ask one request after the other. Servers and clients are
Python's threads: the figures compare with and without, they are no measure of weir's speed.
"""
import argparse
import os
import pathlib
import random
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "test"))

SERVERS = 4
CLIENTS = 8


class Fault:
    """A server: status and pause are asked for with each request."""

    def __init__(self, scripted, answer):
        self.status, self.slow = "200 OK", 0.0
        self.random = random.Random(7)

        def serve(peer):
            while peer.read_request():
                time.sleep(0.2 if self.random.random() < self.slow else 0.002)
                peer.send(answer("ok", self.status))

        self.server = scripted(serve)


class Clients:
    def __init__(self, client, port):
        self.client, self.port = client, port
        self.stop = threading.Event()
        self.results = []  # (when, status, seconds)
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def run(self):
        with self.client(self.port) as c:
            while not self.stop.is_set():
                begin = time.monotonic()
                status = c.get("/").status
                self.results.append((begin, status, time.monotonic() - begin))

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        return self.results


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))]


class Run:
    """One weir in front of fresh servers, under load; break_it(servers) happens after a second."""

    def __init__(self, service, break_it, seconds):
        from lib.client import Client
        from lib.conf import one_service
        from lib.servers import Scripted, answer
        from lib.weir import Weir
        self.servers = [Fault(Scripted, answer) for _ in range(SERVERS)]
        with tempfile.TemporaryDirectory() as folder:
            gate = Weir(pathlib.Path(folder), one_service(*[s.server for s in self.servers], service=service,
                                                          root="access_log: off"))
            clients = Clients(Client, gate.port)
            time.sleep(1.5)
            self.broken = time.monotonic()
            break_it(self.servers)
            asked = gate.metric("weir_upstream_requests_total")
            self.out_after = None
            while time.monotonic() < self.broken + seconds:
                if self.out_after is None and gate.metric("weir_outlier_ejected_for_errors_total"):
                    self.out_after = time.monotonic() - self.broken
                time.sleep(0.01)
            self.attempts = gate.metric("weir_upstream_requests_total") - asked
            results = clients.end()
            gate.finish()
        for s in self.servers:
            s.server.stop()
        self.after = [r for r in results if r[0] >= self.broken]
        self.errors = sum(1 for r in self.after if r[1] >= 500)
        self.requests = len(self.after)

    @property
    def failed(self):
        return f"{100 * self.errors / self.requests:.2f}%"

    @property
    def extra(self):
        return f"{max(0, 100 * (self.attempts / self.requests - 1)):.0f}%"

    def ms(self, share):
        return f"{1000 * percentile([r[2] for r in self.after], share):.0f} ms"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seconds", type=float, default=3)
    arguments.add_argument("--weir", type=pathlib.Path, default=ROOT / "build" / "weir")
    options = arguments.parse_args()
    os.environ["WEIR_BINARY"] = str(options.weir.resolve())

    def one_fails(servers):
        servers[0].status = "503 Service Unavailable"

    def all_fail(servers):
        for s in servers:
            s.status = "503 Service Unavailable"

    def tail(servers):
        for s in servers:
            s.slow = 0.02

    def run(service, fault):
        return Run(service, fault, options.seconds)

    none, out = run("tries_max: 1", one_fails), run("tries_max: 1, outlier: {errors: 5, rest: 60s}", one_fails)
    print("| one of four servers answers 503 | requests failed | server out after |\n| --- | --- | --- |")
    print(f"| nothing | {none.failed} | never |")
    print(f"| `outlier` | {out.failed} | {1000 * out.out_after:.0f} ms, {out.errors} failed requests |")

    budget = "retry: {on: 503, attempts: 2, budget: 20%, backoff: off}"
    free = "retry: {on: 503, attempts: 2, budget: 100%, backoff: off}"
    unbounded = "retry: {on: 503, attempts: 2, budget: 100%, budget_per_second: 1000000, backoff: off}"
    print("\n| retry | requests failed | extra load |\n| --- | --- | --- |")
    print(f"| one of four fails, nothing | {none.failed} | 0% |")
    for words, service, fault in (("one of four fails, budget 20%", budget, one_fails),
                                  ("one of four fails, budget 100%", free, one_fails),
                                  ("all fail, budget 20%", budget, all_fail),
                                  ("all fail, no budget to speak of", unbounded, all_fail)):
        r = run(service, fault)
        print(f"| {words} | {r.failed} | {r.extra} |")

    print("\n| 2% of the answers take 200 ms | p50 | p95 | p99 | extra load |\n| --- | --- | --- | --- | --- |")
    for words, service in (("nothing", "tries_max: 1"), ("`hedge: p95`", "hedge: p95"),
                           ("`hedge: 20ms`", "hedge: 20ms")):
        r = run(service, tail)
        print(f"| {words} | {r.ms(0.5)} | {r.ms(0.95)} | {r.ms(0.99)} | {r.extra} |")


if __name__ == "__main__":
    main()
