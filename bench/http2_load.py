"""The load of bench/run.py's HTTP/2 cases, h2load (nghttp2-client), and of its HTTP/3 case, weir load. Standard library
only."""
import itertools
import json
import os
import pathlib
import re
import subprocess
import tempfile


def cpu_seconds(pids):
    """Of all their threads, kernel included."""
    ns = 0
    for task in itertools.chain.from_iterable(pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat") for pid in pids):
        try:
            ns += int(task.read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue  # a thread that has ended
    return ns / 1e9


def measured(core, seconds, command, pids, servers):
    """Runs it: what it has said, and what bench/load's "go" tells of a run's cost. servers: the process of the origin
    servers, which is part of the load."""
    before, served, children = cpu_seconds(pids), cpu_seconds([servers]), os.times()
    done = subprocess.run(["taskset", "-c", core, *command], capture_output=True, text=True)
    after, served, now = cpu_seconds(pids), cpu_seconds([servers]) - served, os.times()
    return done.stdout, {"seconds": seconds, "proxy_cpu_seconds": after - before,
                         "load_cpu_seconds": served + now.children_user + now.children_system - children.children_user -
                                             children.children_system,
                         "load_idle_seconds": 0}


def run(core, seconds, address, tls, pids, servers):
    """16 connections with 32 streams each."""
    with tempfile.NamedTemporaryFile("r", prefix="weir-bench-h2load-") as log:
        said, cost = measured(core, seconds, ["h2load", "-c", "16", "-m", "32", "-D", f"{round(seconds * 1000)}ms",
                                              f"--log-file={log.name}", f"{'https' if tls else 'http'}://{address}/"],
                              pids, servers)
        took_us = sorted(int(line.split()[2]) for line in log if line.count("\t") == 2)
    match = re.search(r"(\d+) total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed", said)
    good, failed = (int(match[2]), int(match[3])) if match else (0, 1)
    at = lambda share: took_us[min(int(len(took_us) * share), len(took_us) - 1)] if took_us else 0
    return {**cost, "answers": good, "failures": failed, "failure": said[-300:] if failed else "",
            "p50_us": at(0.5), "p99_us": at(0.99), "p999_us": at(0.999)}


def run_http3(core, seconds, weir, address, pids, servers):
    """The same over HTTP/3."""
    said, cost = measured(core, seconds, [weir, "load", "--http3", "--insecure", "--quiet", "--json", "-", "--threads", "1",
                                          "-c", "16", "-m", "32", "-d", f"{round(seconds * 1000)}ms", f"https://{address}/"],
                          pids, servers)
    total = json.loads(said)["total"] if said else {"good": 0, "failed": 1, "errors": {}}
    took = total.get("latency_ns", {}).get("service", {})
    return {**cost, "answers": total["good"], "failures": total["failed"],
            "failure": str(total["errors"]) if total["failed"] else "",
            **{f"{name}_us": took.get(key, 0) / 1000 for name, key in (("p50", "p50"), ("p99", "p99"), ("p999", "p99_9"))}}
