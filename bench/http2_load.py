"""The load of bench/run.py's HTTP/2 cases: h2load (nghttp2-client). Standard library only."""
import os
import pathlib
import re
import subprocess
import tempfile

TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids):
    ticks = 0
    for pid in pids:
        try:
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICK


def run(core, seconds, address, tls, pids):
    """One run of 16 connections with 32 streams each, as bench/load's "go" tells of one."""
    with tempfile.NamedTemporaryFile("r", prefix="weir-bench-h2load-") as log:
        before, children = cpu_seconds(pids), os.times()
        done = subprocess.run(["taskset", "-c", core, "h2load", "-c", "16", "-m", "32", "-D", str(seconds),
                               f"--log-file={log.name}", f"{'https' if tls else 'http'}://{address}/"],
                              capture_output=True, text=True)
        after, now = cpu_seconds(pids), os.times()
        took_us = sorted(int(line.split()[2]) for line in log if line.count("\t") == 2)
    match = re.search(r"(\d+) total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed", done.stdout)
    good, failed = (int(match[2]), int(match[3])) if match else (0, 1)
    at = lambda share: took_us[min(int(len(took_us) * share), len(took_us) - 1)] if took_us else 0
    return {"answers": good, "seconds": seconds, "failures": failed, "failure": done.stdout[-300:] if failed else "",
            "proxy_cpu_seconds": after - before,
            "load_cpu_seconds": now.children_user + now.children_system - children.children_user - children.children_system,
            "load_idle_seconds": 0, "p50_us": at(0.5), "p99_us": at(0.99), "p999_us": at(0.999)}
