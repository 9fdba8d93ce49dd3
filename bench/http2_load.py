"""The load of bench/run.py's HTTP/2 cases: h2load (nghttp2-client). Standard library only."""
import itertools
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


def run(core, seconds, address, tls, pids, servers):
    """One run of 16 connections with 32 streams each, as bench/load's "go" tells of one. servers: the process of the origin
    servers, which is part of the load."""
    with tempfile.NamedTemporaryFile("r", prefix="weir-bench-h2load-") as log:
        before, served, children = cpu_seconds(pids), cpu_seconds([servers]), os.times()
        done = subprocess.run(["taskset", "-c", core, "h2load", "-c", "16", "-m", "32", "-D", f"{round(seconds * 1000)}ms",
                               f"--log-file={log.name}", f"{'https' if tls else 'http'}://{address}/"],
                              capture_output=True, text=True)
        after, served, now = cpu_seconds(pids), cpu_seconds([servers]) - served, os.times()
        took_us = sorted(int(line.split()[2]) for line in log if line.count("\t") == 2)
    match = re.search(r"(\d+) total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed", done.stdout)
    good, failed = (int(match[2]), int(match[3])) if match else (0, 1)
    at = lambda share: took_us[min(int(len(took_us) * share), len(took_us) - 1)] if took_us else 0
    return {"answers": good, "seconds": seconds, "failures": failed, "failure": done.stdout[-300:] if failed else "",
            "proxy_cpu_seconds": after - before,
            "load_cpu_seconds": served + now.children_user + now.children_system - children.children_user -
                                children.children_system,
            "load_idle_seconds": 0, "p50_us": at(0.5), "p99_us": at(0.99), "p999_us": at(0.999)}
