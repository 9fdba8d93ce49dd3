#!/usr/bin/python3
"""RESP beside Redis, by redis-benchmark: GET, SET and DECR, with and without pipelines, as a table of Markdown.

    bench/resp.py [--requests 200000] [--rounds 3] [--weir build/weir] [--folder FOLDER]

weir commits every answer (durability: commit), Redis writes its log once a second (appendfsync everysec). Both have one core, the
client another; rounds alternate, the medians are shown. FOLDER is on the disk that is measured.
"""
import argparse
import csv
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "test"))
from lib.ports import free_port, listening  # noqa: E402

CASES = [(test, pipeline) for pipeline in (1, 16) for test in ("get", "set", "decr")]


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_listening(port):
    end = time.monotonic() + 20
    while not listening(port):
        if time.monotonic() > end:
            raise SystemExit(f"nothing listens on {port}")
        time.sleep(0.02)


def start_weir(binary, folder, port):
    conf = folder / "weir.yaml"
    conf.write_text(f'listen: ["127.0.0.1:{free_port()}"]\nworkers: 1\naccess_log: off\nstate_dir: off\n'
                    f'ledger: {{path: {folder}/ledger, listen: "127.0.0.1:{port}"}}\nroutes: [{{match: /*, respond: 204}}]\n')
    return ["taskset", "-c", "0", str(binary), "run", "-c", str(conf)]


def start_redis(folder, port):
    return ["taskset", "-c", "0", "redis-server", "--port", str(port), "--save", "", "--appendonly", "yes", "--appendfsync", "everysec",
            "--dir", str(folder)]


def measure(port, pid, test, pipeline, requests):
    """(operations a second, CPU microseconds of the server per operation)"""
    begin = cpu_seconds(pid)
    done = subprocess.run(["taskset", "-c", "1", "redis-benchmark", "-p", str(port), "--csv", "-n", str(requests), "-P", str(pipeline), "-c", "50",
                           "-r", "100000", *(["-t", test] if test != "decr" else ["DECR", "counter:__rand_int__"])],
                          capture_output=True, text=True, check=True)
    rows = [r for r in csv.reader(done.stdout.splitlines()) if len(r) > 1 and r[0] != "test"]
    return float(rows[0][1]), (cpu_seconds(pid) - begin) / requests * 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--weir", type=pathlib.Path, default=ROOT / "build/weir")
    parser.add_argument("--folder", default=None)
    args = parser.parse_args()
    for tool in ("redis-server", "redis-benchmark", "taskset"):
        if not shutil.which(tool):
            raise SystemExit(f"{tool} is missing")
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = pathlib.Path(name)
        (folder / "redis").mkdir()
        ports = {"weir": free_port(), "redis": free_port()}
        commands = {"weir": start_weir(args.weir, folder, ports["weir"]), "redis": start_redis(folder / "redis", ports["redis"])}
        children = {n: subprocess.Popen(c, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for n, c in commands.items()}
        try:
            for port in ports.values():
                wait_listening(port)
            results = {}
            for _ in range(args.rounds):
                for test, pipeline in CASES:
                    for name, child in children.items():
                        requests = args.requests * (4 if pipeline > 1 else 1)
                        results.setdefault((test, pipeline, name), []).append(measure(ports[name], child.pid, test, pipeline, requests))
        finally:
            for child in children.values():
                child.kill()
                child.wait()
    print("| command | pipeline | weir, commit: a second | us CPU | redis, everysec: a second | us CPU | weir / redis |\n| --- | --- | --- | --- | --- | --- | --- |")
    for test, pipeline in CASES:
        (wr, wc), (rr, rc) = ([statistics.median(v) for v in zip(*results[test, pipeline, n])] for n in ("weir", "redis"))
        print(f"| {test.upper()} | {pipeline} | {wr:,.0f} | {wc:.2f} | {rr:,.0f} | {rc:.2f} | {wr / rr:.2f} |")


if __name__ == "__main__":
    main()
