#!/usr/bin/python3
"""RESP beside Redis, by redis-benchmark: what a command costs and how many a second, with and without pipelines.

    bench/resp.py                              all cases, three rounds: about three minutes
    bench/resp.py --case SET --repeat 1        one of them (--pipeline, --connections, --weir, --folder, --json: see --help)

weir commits every answer (durability: commit), Redis writes its log once a second (appendfsync everysec). Each has one core for
all of its threads, redis-benchmark has another. The two take turns, the medians are shown; a ratio is the median of
the rounds' ratios. The CPU time, user and system, is that of all threads (/proc/PID/task/*/schedstat); for weir it is shown apart
as well: the worker, the ledger's writer, and what the checkpoint takes behind it.

STOCK.RESERVE stands beside a script (EVALSHA) that looks up stock and the user's limit, decrements and XADDs; afterwards both are
asked how much they sold.
"""
import argparse
import csv
import json
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
sys.path.insert(0, str(ROOT / "bench"))
from lib.ports import free_port, listening  # noqa: E402
from orders import LUA_SCRIPT  # noqa: E402

STOCK = 100_000_000
KEYS, ORDERS = 100_000, 2_000_000_000
KEY, COUNTER = ["key:__rand_int__"], ["counter:__rand_int__"]
# {name: (what weir is asked, what Redis is (None: the same), how many beside the usual)}
CASES = {
    "GET": (["GET", *KEY], None, 1),
    "SET": (["SET", *KEY, "xxx"], None, 1),
    "INCR": (["INCR", *COUNTER], None, 1),
    "DECR": (["DECR", *COUNTER], None, 1),
    "STOCK.RESERVE": (["STOCK.RESERVE", "o:__rand_int__", "u:__rand_int__", "3600000", "radio", "1"],
                      ["EVALSHA", None, "3", "stock:radio", "users:radio", "orders", "u:__rand_int__", "o:__rand_int__", "1"], 0.5),
}


class Server:
    def __init__(self, folder, options):
        self.folder, self.options, self.port = folder, options, free_port()
        folder.mkdir()
        self.child = subprocess.Popen(["taskset", "-c", str(options.core), *self.command()], stdout=subprocess.DEVNULL,
                                      stderr=subprocess.DEVNULL)

    def wait(self):
        end = time.monotonic() + 20
        while not listening(self.port):
            if time.monotonic() > end or self.child.poll() is not None:
                raise SystemExit(f"resp: {self.name} does not listen on {self.port}")
            time.sleep(0.02)
        self.prepare()

    def cli(self, *words):
        done = subprocess.run(["redis-cli", "-p", str(self.port), *map(str, words)], capture_output=True, text=True, timeout=20)
        return done.stdout.strip()

    def cpu_seconds(self):
        """{a thread's name: user and system}"""
        sums = {}
        for task in pathlib.Path(f"/proc/{self.child.pid}/task").iterdir():
            try:
                name, ns = (task / "comm").read_text().strip(), int((task / "schedstat").read_text().split()[0])
            except FileNotFoundError:
                continue
            sums[name] = sums.get(name, 0) + ns / 1e9
        return sums

    def stop(self):
        self.child.kill()
        self.child.wait()


class Weir(Server):
    name = "weir"

    def command(self):
        conf = self.folder / "weir.yaml"
        conf.write_text(f'listen: ["127.0.0.1:{free_port()}"]\nworkers: 1\naccess_log: off\nstate_dir: off\n'
                        f'ledger: {{path: {self.folder}/ledger, listen: "127.0.0.1:{self.port}"}}\nroutes: [{{match: /*, respond: 204}}]\n')
        return [str(self.options.weir), "run", "-c", str(conf)]

    def prepare(self):
        if self.cli("STOCK.SET", "radio", "TOTAL", STOCK, "PER_USER", 1000000) != "done":
            raise SystemExit("resp: weir takes no stock")

    def words(self, case):
        return CASES[case][0]

    def sold(self):
        fields = self.cli("STOCK.GET", "radio").splitlines()
        return int(fields[fields.index("held") + 1])


class Redis(Server):
    name = "redis"

    def command(self):
        return ["redis-server", "--port", str(self.port), "--save", "", "--appendonly", "yes", "--appendfsync", "everysec",
                "--auto-aof-rewrite-percentage", "0", "--dir", str(self.folder)]

    def prepare(self):
        self.cli("HSET", "stock:radio", "free", STOCK, "per_user", 1000000)
        self.sha = self.cli("SCRIPT", "LOAD", LUA_SCRIPT)

    def words(self, case):
        return [word or self.sha for word in CASES[case][1] or CASES[case][0]]

    def sold(self):
        return STOCK - int(self.cli("HGET", "stock:radio", "free"))


def measure(server, case, pipeline, options):
    """{rate, p99_ms, cpu_us of a command: all, and by thread}"""
    requests = int(options.requests * CASES[case][2]) * (5 if pipeline > 1 else 1)
    keys = KEYS if case != "STOCK.RESERVE" else ORDERS
    command = ["taskset", "-c", str(options.load_core), "redis-benchmark", "-p", str(server.port), "--csv", "-c", str(options.connections),
               "-P", str(pipeline), "-r", str(keys)]
    words = server.words(case)
    subprocess.run([*command, "-n", str(requests // 10), *words], capture_output=True, check=True, timeout=120)
    before, sold = server.cpu_seconds(), server.sold()
    done = subprocess.run([*command, "-n", str(requests), *words], capture_output=True, text=True, check=True, timeout=120)
    after = server.cpu_seconds()
    row = [r for r in csv.reader(done.stdout.splitlines()) if len(r) > 1 and r[0] != "test"][0]
    # a few orders have the number of one that was there before, and the last pipelines may be longer than what was wanted
    if "rror" in done.stderr or (case == "STOCK.RESERVE" and abs(server.sold() - sold - requests) > requests / 100):
        raise SystemExit(f"resp: {server.name}: {case}: {done.stderr} {server.sold() - sold} sold of {requests}")
    threads = {name: (s - before.get(name, 0)) / requests * 1e6 for name, s in after.items()}
    return {"rate": float(row[1]), "p99_ms": float(row[6]), "cpu_us": sum(threads.values()), "threads_us": threads}


def row_of(case, pipeline, ours, theirs):
    def median(key, rounds):
        return statistics.median(r[key] for r in rounds)

    def ratio(key):
        return statistics.median(w[key] / r[key] for w, r in zip(ours, theirs))

    def thread(begin):
        return statistics.median(sum(us for name, us in r["threads_us"].items() if name.startswith(begin)) for r in ours)

    return {"case": case, "pipeline": pipeline, "weir": {k: median(k, ours) for k in ("rate", "p99_ms", "cpu_us")},
            "redis": {k: median(k, theirs) for k in ("rate", "p99_ms", "cpu_us")}, "rate_ratio": ratio("rate"), "cpu_ratio": ratio("cpu_us"),
            "worker_us": thread("weir-0"), "writer_us": thread("weir-ledger"), "checkpoint_us": thread("weir-checkpoint")}


HEAD = """\
| command | -P | weir, commit: a second | redis, everysec: a second | weir / redis | weir: CPU us | worker | writer | checkpoint | redis: CPU us | \
weir / redis |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"""


def line_of(r):
    w, o = r["weir"], r["redis"]
    return (f"| {r['case']} | {r['pipeline']} | {w['rate']:,.0f} | {o['rate']:,.0f} | {r['rate_ratio']:.2f}x | {w['cpu_us']:.2f} | "
            f"{r['worker_us']:.2f} | {r['writer_us']:.2f} | {r['checkpoint_us']:.2f} | {o['cpu_us']:.2f} | {r['cpu_ratio']:.2f}x |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100000, help="of a turn without pipelines; five times as many with")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--case", default="", help="those whose name has this")
    parser.add_argument("--pipeline", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--weir", type=pathlib.Path, default=ROOT / "build/weir")
    parser.add_argument("--folder", default=None, help="on the disk that is measured")
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--load-core", type=int, default=1)
    parser.add_argument("--json", type=pathlib.Path, help="the results, also there")
    options = parser.parse_args()
    for tool in ("redis-server", "redis-benchmark", "redis-cli", "taskset"):
        if not shutil.which(tool):
            raise SystemExit(f"resp: {tool} is missing")
    results = []
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        servers = [kind(pathlib.Path(name, kind.name), options) for kind in (Weir, Redis)]
        try:
            for s in servers:
                s.wait()
            print(HEAD)
            for case in (c for c in CASES if options.case in c):
                for pipeline in options.pipeline:
                    rounds = [[measure(s, case, pipeline, options) for s in servers] for _ in range(options.repeat)]
                    results.append(row_of(case, pipeline, *zip(*rounds)))
                    print(line_of(results[-1]), flush=True)
        finally:
            for s in servers:
                s.stop()
    if options.json:
        options.json.write_text(json.dumps({"cores": os.cpu_count(), "cases": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
