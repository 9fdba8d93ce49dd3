#!/usr/bin/python3
"""How the ledger grows: sessions and stock in one ledger, ten times as many with each line, as a table of Markdown.

    bench/sessions.py [--weir build/weir] [--folder FOLDER] [--requests 200000] [--items 1000] [COUNT ...]

COUNT: of sessions, 10000 100000 1000000 10000000 when not said; beside them lie --items items with ten times as many units in all, and
100 each at least. A session is what the `session` filter keeps (@made and two small values, under a key of 40 bytes, with a time to live), written over RESP.
FOLDER is on the disk that is measured. Each count is a ledger of its own, in which every answer is on disk (durability: commit).

    memory      what the ledger says of its records, and the process's resident memory
    disk        the checkpoint (LMDB) and the log, when all that was written is in the checkpoint
    load, read, write, reserve
                CPU of the whole process for one session (or item, where there are more of these) written, one session read
                (HGETALL), one value set in one (HSET), one STOCK.RESERVE of an item at random, pipelines of 16, keys at
                random; the checkpoint that they cause included
    start       from the start of weir until it serves, everything read back; CPU of the process until then
"""
import argparse
import csv
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "test"))
from lib.client import Client  # noqa: E402
from lib.ports import free_port, listening  # noqa: E402

PATIENCE = 600  # seconds
KEY = "session:" + 20 * "0"  # and 12 digits
CHUNK = 5000


def cpu_seconds(pid):
    return sum(int((task / "schedstat").read_text().split()[0]) for task in pathlib.Path(f"/proc/{pid}/task").iterdir()) / 1e9


def wait_for(condition, seconds, what):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"sessions: {what}")
        time.sleep(0.02)


def command(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


class Ledger:
    """A running weir with one in its folder."""

    def __init__(self, binary, folder):
        self.binary, self.folder = binary, folder
        self.resp, self.admin, self.child = free_port(), free_port(), None
        folder.mkdir()
        (folder / "weir.yaml").write_text(f"""
listen: ["127.0.0.1:{free_port()}"]
admin: "127.0.0.1:{self.admin}"
workers: 1
access_log: off
state_dir: off
ledger: {{path: {folder}/ledger, listen: "127.0.0.1:{self.resp}", memory_bytes_max: 16g}}
routes: [{{match: /*, respond: 204}}]
""")

    def start(self):
        begin = time.monotonic()
        self.child = subprocess.Popen([self.binary, "run", "-c", self.folder / "weir.yaml"], stdout=subprocess.DEVNULL,
                                      stderr=(self.folder / "weir.log").open("w"))
        wait_for(lambda: self.child.poll() is not None or listening(self.resp), PATIENCE, "weir does not start")
        self.ask(command(b"PING"), 1)
        return time.monotonic() - begin, cpu_seconds(self.child.pid)

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        self.child.wait(PATIENCE)

    def ask(self, data, answers):
        """All of data in one connection; each answer is one line."""
        with socket.create_connection(("127.0.0.1", self.resp), 60) as s, s.makefile("rb") as f:
            s.sendall(data)
            for _ in range(answers):
                line = f.readline()
                if line[:1] not in (b":", b"+"):
                    raise SystemExit(f"sessions: weir says {line}")

    def state(self):
        with Client(self.admin) as c:
            return c.get("/v1/ledger").json

    def settle(self, records=0):
        """Until the checkpoint has it all, and there are so many (the state is told a moment later)."""
        wait_for(lambda: (s := self.state())["checkpoint_batch"] == s["batch"] and s["records"] >= records, PATIENCE, "the checkpoint stays behind")

    def resident(self):
        status = pathlib.Path(f"/proc/{self.child.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    def disk(self):
        """(checkpoint, log) in bytes that the disk has given."""
        sizes = {"log": 0, "checkpoint": 0}
        for path in (self.folder / "ledger").rglob("*"):
            if path.is_file():
                kind = "checkpoint" if path.suffix == ".mdb" else "log"
                sizes[kind] += path.stat().st_blocks * 512
        return sizes["checkpoint"], sizes["log"]


def load(ledger, count, items):
    """Writes the items and the sessions; CPU microseconds for each of what there is more of."""
    units = max(10 * count // items, 100)
    begin = cpu_seconds(ledger.child.pid)
    for first in range(0, items, CHUNK):
        last = min(first + CHUNK, items)
        ledger.ask(b"".join(command(b"STOCK.SET", b"item%012d" % i, b"TOTAL", b"%d" % units, b"PRICE", b"3900") for i in range(first, last)), last - first)
    if count >= items:
        ledger.settle(items)
        begin = cpu_seconds(ledger.child.pid)
    one = (command(b"HSET", b"%s%%012d" % KEY.encode(), b"@made", b"1790000000000", b"user", b"user-%012d", b"cart", b"radio:2,lamp:1") +
           command(b"PEXPIRE", b"%s%%012d" % KEY.encode(), b"86400000")).replace(b"$10\r\nuser-%012d", b"$17\r\nuser-%012d").replace(
               b"$%d\r\n" % (len(KEY) + 5), b"$%d\r\n" % (len(KEY) + 12))
    with socket.create_connection(("127.0.0.1", ledger.resp), PATIENCE) as s, s.makefile("rb") as f:
        for first in range(0, count, CHUNK):
            last = min(first + CHUNK, count)
            s.sendall(b"".join([one % (i, i, i) for i in range(first, last)]))
            answers = f.read(4 * 2 * (last - first))  # ":3\r\n:1\r\n" each
            if answers != b":3\r\n:1\r\n" * (last - first):
                raise SystemExit(f"sessions: weir says {answers[:200]}")
    ledger.settle(items + count)
    return (cpu_seconds(ledger.child.pid) - begin) / max(count, items) * 1e6


def measure(ledger, requests, keys, *words):
    """(a second, CPU microseconds each)"""
    begin = cpu_seconds(ledger.child.pid)
    done = subprocess.run(["redis-benchmark", "-p", str(ledger.resp), "--csv", "-n", str(requests), "-P", "16", "-c", "50", "-r", str(keys),
                           *words], capture_output=True, text=True, check=True)
    ledger.settle()
    rows = [r for r in csv.reader(done.stdout.splitlines()) if len(r) > 1 and r[0] != "test"]
    return float(rows[0][1]), (cpu_seconds(ledger.child.pid) - begin) / requests * 1e6


def figure(measured):
    return f"{measured[1]:.2f} ({measured[0]:,.0f}/s)"


def power(folder, options, count):
    ledger = Ledger(options.weir.resolve(), folder)
    ledger.start()
    try:
        loaded = load(ledger, count, options.items)
        state, resident, (checkpoint, log) = ledger.state(), ledger.resident(), ledger.disk()
        key = KEY + "__rand_int__"
        read = figure(measure(ledger, options.requests, count, "HGETALL", key)) if count else ""
        write = figure(measure(ledger, options.requests, count, "HSET", key, "cart", "radio:3,lamp:2")) if count else ""
        # each its own order, twice 12 digits; items are drawn from the same bound
        reserve = measure(ledger, min(options.requests, max(count, options.items)), options.items, "STOCK.RESERVE", "order-__rand_int____rand_int__",
                          "user-__rand_int__", "600000", "item__rand_int__", "1")
        ledger.stop()
        started = ledger.start()
    finally:
        if ledger.child.poll() is None:
            ledger.stop()
    units = max(10 * count, 100 * options.items)
    print(f"| {count:,} | {options.items:,} | {units:,} | {state['record_bytes'] / 1e6:,.1f} MB ({state['record_bytes'] / state['records']:.0f} B) | "
          f"{resident / 1e6:,.0f} MB | {checkpoint / 1e6:,.0f} MB | {log / 1e6:,.0f} MB | {loaded:.2f} | {read} | {write} | "
          f"{figure(reserve)} | {started[0]:.1f} s, {started[1]:.1f} s CPU |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", nargs="*", type=int, default=[10_000, 100_000, 1_000_000, 10_000_000])
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--weir", type=pathlib.Path, default=ROOT / "build/weir")
    parser.add_argument("--folder", default=None)
    options = parser.parse_args()
    if not shutil.which("redis-benchmark"):
        raise SystemExit("sessions: redis-benchmark is missing")
    print("| sessions | items | units of stock | records (each) | resident | checkpoint | log | load, us | read, us | write, us | reserve, us | start |\n"
          "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        for count in options.count:
            folder = pathlib.Path(name) / str(count)
            power(folder, options, count)
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
