#!/usr/bin/python3
"""Queues: weir's topics beside Redis Streams and NATS JetStream: publish, take, and how long a message is on its way.

    bench/queue.py [--weir build/weir] [--client build/bench_queue] [--nats nats-server] [--folder FOLDER] [--json FILE]
                   [--rounds 3] [--seconds 1] [--case WORD] [--only WORD] [--rate 50000]

Each has one core for all its processes and threads, the clients (bench/queue.c) the other. Messages of 100 bytes, one topic, every one
acknowledged. FOLDER is on the disk that is measured. The stacks take turns within a round; the table shows medians; a ratio is the
median of the rounds' ratios. Each turn has a topic of its own.

    weir      XADD, XREADGROUP, XACK, or POST; answered when it is on disk (durability: commit)
    redis     the same commands; appendonly, appendfsync always: answered when it is on disk
    nats      JetStream, file storage: PUB with a reply; a pull consumer, +ACK. As it comes it acknowledges when the
              message is written and syncs now and then (2.9: at least once in two minutes): what it acknowledged last is lost with the power
    nats, always   the same with `sync_interval: always`, where this nats-server knows it (2.10 and later)

    publish   so many connections, each with `depth` messages on their way. CPU of the whole stack a message, messages a second
    take      what is there is taken, 100 at a time, and acknowledged
    way       an open loop of --rate messages a second through 4 connections, 2 consumers that wait: from when a message was due to be
              sent until a consumer has it, and until it was acknowledged. Where a stack cannot, its rate is halved until it can
"""
import argparse
import json
import os
import pathlib
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "test"))
from lib.ports import free_port, listening  # noqa: E402
from orders import cpu_seconds, descendants  # noqa: E402

TOKEN = "bench"
BODY = 100


class Stack:
    protocol = "resp"
    said = "it is slower than any rate that was tried"

    def __init__(self, options, folder):
        self.options, self.folder, self.port, self.turns = options, folder, free_port(), 0
        folder.mkdir()
        log = (folder / "log").open("w")
        self.child = subprocess.Popen(["taskset", "-c", str(options.core), *map(str, self.command())], stdout=log, stderr=log,
                                      stdin=subprocess.DEVNULL, start_new_session=True)
        end = time.monotonic() + 20
        while not listening(self.port):
            if self.child.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"queue: {self.name} does not start:\n{(folder / 'log').read_text()[-1500:]}")
            time.sleep(0.02)

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGKILL)
        self.child.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)

    def cpu(self):
        return cpu_seconds(descendants(self.child.pid))

    def client(self, topic, protocol, *more, patience=60):
        """What bench/queue.c says; None: it gave up, which it has said."""
        words = [self.options.client, protocol, self.port_of(protocol), "--topic", topic, "--token", TOKEN, "--body", BODY, *more]
        done = subprocess.run(["taskset", "-c", str(self.options.load_core), *map(str, words)], capture_output=True, text=True, timeout=patience)
        if done.returncode:
            self.said = done.stderr.strip()
            return None
        return json.loads(done.stdout)

    def port_of(self, _protocol):
        return self.port


def resp(port, *words):
    """One command of Redis; its answer is one line."""
    with socket.create_connection(("127.0.0.1", port), 10) as s, s.makefile("rb") as f:
        s.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in (str(w).encode() for w in words)))
        line = f.readline()
        if line[:1] == b"-":
            raise SystemExit(f"queue: {line.decode().strip()}")


class Streams(Stack):
    def make(self, topic):
        resp(self.port, "XGROUP", "CREATE", topic, "g", "0", "MKSTREAM")

    def drop(self, topic):
        resp(self.port, "DEL", topic)


class Weir(Streams):
    name = "weir"

    def command(self):
        self.http = free_port()
        (self.folder / "tokens").write_text(f"bench:{TOKEN}\n")
        (self.folder / "tokens").chmod(0o600)
        (self.folder / "weir.yaml").write_text(f"""
listen: ["127.0.0.1:{free_port()}"]
workers: 1
access_log: off
state_dir: off
ledger:
  path: {self.folder}/ledger
  listen: "127.0.0.1:{self.port}"
  http: {{address: "127.0.0.1:{self.http}", token_file: {self.folder}/tokens}}
routes: [{{match: /*, respond: 204}}]
""")
        return [self.options.weir, "run", "-c", self.folder / "weir.yaml"]

    def port_of(self, protocol):
        return self.http if protocol == "http" else self.port


class Redis(Streams):
    name = "redis"

    def command(self):
        return ["redis-server", "--port", self.port, "--dir", self.folder, "--save", "", "--appendonly", "yes", "--appendfsync", "always",
                "--auto-aof-rewrite-percentage", "0"]


class Nats(Stack):
    name, protocol, more = "nats", "nats", ""

    def command(self):
        (self.folder / "nats.conf").write_text(f"listen: 127.0.0.1:{self.port}\njetstream {{ store_dir: {self.folder}/js{self.more} }}\n")
        return [self.options.nats, "-c", self.folder / "nats.conf"]

    def ask(self, what, words):
        """A call of JetStream's API."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as s, s.makefile("rb") as f:
            text = json.dumps(words)
            s.sendall(f"CONNECT {{\"verbose\":false,\"headers\":true}}\r\nSUB back 1\r\nPUB $JS.API.{what} back {len(text)}\r\n{text}\r\n".encode())
            line = b""
            while not line.startswith(b"MSG "):
                line = f.readline()
                if line[:4] in (b"-ERR", b""):
                    raise SystemExit(f"queue: nats: {line}")
            answer = json.loads(f.read(int(line.split()[-1])))
            if "error" in answer:
                raise SystemExit(f"queue: nats: {what}: {answer['error']}")

    def make(self, topic):
        self.ask(f"STREAM.CREATE.{topic}", {"name": topic, "subjects": [topic], "storage": "file", "retention": "limits", "num_replicas": 1,
                                            "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_age": 0, "discard": "old"})
        self.ask(f"CONSUMER.DURABLE.CREATE.{topic}.g", {"stream_name": topic, "config": {
            "durable_name": "g", "ack_policy": "explicit", "deliver_policy": "all", "ack_wait": 30_000_000_000, "max_ack_pending": 100_000}})

    def drop(self, topic):
        self.ask(f"STREAM.DELETE.{topic}", {})


class NatsAlways(Nats):
    name, more = "nats, always", ", sync_interval: always"


def knows_always(nats):
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as f:
        f.write("jetstream { sync_interval: always }\n")
        f.flush()
        return not subprocess.run([nats, "-t", "-c", f.name], capture_output=True, check=False).returncode


class Publish:
    def __init__(self, connections, depth, protocol=None, messages=1):
        self.connections, self.depth, self.protocol, self.messages = connections, depth, protocol, messages
        how = {None: "", "http": ", POST"}[protocol] + (f" of {messages}" if messages > 1 else "")
        self.name = f"publish{how}, {connections} connections, depth {depth}" if connections > 1 else f"publish{how}, 1 connection, depth {depth}"

    def is_for(self, stack):
        return not self.protocol or isinstance(stack, Weir)

    def run(self, stack, topic, options):
        before = stack.cpu()
        done = stack.client(topic, self.protocol or stack.protocol, "--publishers", self.connections, "--depth", self.depth, "--ms",
                            round(options.seconds * 1000), "--messages", self.messages)
        if not done:
            return None
        cpu = stack.cpu() - before
        return {"rate": done["acked"] / done["seconds"], "cpu_us": cpu * 1e6 / done["acked"], "busy": cpu / done["seconds"],
                "p50_us": done["ack_p50_us"], "p99_us": done["ack_p99_us"]}


class Take:
    def __init__(self, consumers):
        self.consumers = consumers
        self.name = f"take and acknowledge, {consumers} consumers" if consumers > 1 else "take and acknowledge, 1 consumer"

    def is_for(self, _stack):
        return True

    def run(self, stack, topic, options):
        there = stack.client(topic, stack.protocol, "--publishers", 16, "--depth", 64, "--ms", round(options.seconds * 1000))
        if not there:
            return None
        count, before = there["acked"], stack.cpu()
        done = stack.client(topic, stack.protocol, "--consumers", self.consumers, "--count", count)
        if not done:
            return None
        cpu = stack.cpu() - before
        return {"rate": done["delivered"] / done["seconds"], "cpu_us": cpu * 1e6 / done["delivered"], "busy": cpu / done["seconds"]}


class Way:
    def __init__(self, rate):
        self.wanted = rate
        self.name = f"way, {rate:,} a second"

    def is_for(self, _stack):
        return True

    def run(self, stack, topic, options):
        rate, part = self.wanted, 0
        while rate > 1000:
            before, begin = stack.cpu(), time.monotonic()
            name = f"{topic}-{part}" if part else topic
            if part:
                stack.make(name)
            done = stack.client(name, stack.protocol, "--publishers", 4, "--consumers", 2, "--rate", rate, "--ms", round(1000 + 2000 * options.seconds),
                                "--pull", 500)
            cpu, seconds = stack.cpu() - before, time.monotonic() - begin
            if part:
                stack.drop(name)
            # it kept up: what waited was not growing
            if done and done["delivered"] >= done["sent"] and done["delivery_p50_us"] < 100_000:
                return {"rate": rate, "cpu_us": cpu * 1e6 / done["sent"], "busy": cpu / seconds, "p50_us": done["delivery_p50_us"],
                        "p99_us": done["delivery_p99_us"], "ack_p99_us": done["ack_p99_us"]}
            rate, part = rate // 2, part + 1
        return None


def cases(options):
    return [Publish(1, 1), Publish(1, 64), Publish(16, 1), Publish(16, 16), Publish(64, 1), Publish(64, 16), Publish(64, 1, "http"),
            Publish(4, 1, "http", 64), Take(1), Take(4), Way(options.rate)]


def measure(case, stacks, options):
    """{stack: [{figure: value}]} of the rounds."""
    rounds = {s.name: [] for s in stacks if case.is_for(s)}
    for _ in range(options.rounds):
        for s in stacks:
            if not case.is_for(s):
                continue
            s.turns += 1
            topic = f"t{s.turns}"
            s.make(topic)
            figures = case.run(s, topic, options)
            s.drop(topic)
            if figures:
                rounds[s.name].append(figures)
            else:
                print(f"queue: {case.name}: {s.name}: {s.said}", file=sys.stderr)
    return rounds


def show(case, rounds):
    ours = rounds.get(Weir.name)
    for name, all_of in rounds.items():
        if not all_of:
            print(f"| {case.name} | {name} | it could not | | | | | |", flush=True)
            continue
        m = {key: statistics.median(r[key] for r in all_of) for key in all_of[0]}
        ratio = statistics.median(w["rate"] / r["rate"] for w, r in zip(ours, all_of)) if ours and name != Weir.name else None
        cpu = statistics.median(w["cpu_us"] / r["cpu_us"] for w, r in zip(ours, all_of)) if ours and name != Weir.name else None
        times = [f"{m[key]:,.0f}" if key in m else "" for key in ("p50_us", "p99_us")]
        print(f"| {case.name} | {name} | {m['rate']:,.0f} | {f'{ratio:.2f}x' if ratio else ''} | {m['cpu_us']:.2f} | {f'{cpu:.2f}x' if cpu else ''} | "
              f"{times[0]} / {times[1]} | {m['busy']:.2f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", type=pathlib.Path, default=ROOT / "build/weir")
    parser.add_argument("--client", type=pathlib.Path, default=ROOT / "build/bench_queue")
    parser.add_argument("--nats", default="nats-server")
    parser.add_argument("--folder", help="on the disk that is measured")
    parser.add_argument("--json", type=pathlib.Path, help="the rounds' figures go there too")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1, help="about as long as one turn takes")
    parser.add_argument("--case", default="", help="those whose name has this")
    parser.add_argument("--only", default="", help="stacks whose name has this")
    parser.add_argument("--rate", type=int, default=50_000)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--load-core", type=int, default=1)
    options = parser.parse_args()
    kinds = [Weir]
    for kind, tool in ((Redis, "redis-server"), (Nats, options.nats), (NatsAlways, options.nats)):
        if not shutil.which(tool):
            print(f"queue: {tool} is not here: without {kind.name}", file=sys.stderr)
        elif kind is NatsAlways and not knows_always(tool):
            print("queue: this nats-server knows no `sync_interval: always`: it is measured as it comes", file=sys.stderr)
        else:
            kinds.append(kind)
    results = {}
    print("| | | messages a second | weir / it | CPU us a message | weir / it | p50 / p99, us | core busy |\n| --- | --- | --- | --- | --- | --- | --- | --- |",
          flush=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        stacks = []
        try:
            for i, kind in enumerate(k for k in kinds if options.only in k.name):
                stacks.append(kind(options, pathlib.Path(name, str(i))))
            for case in cases(options):
                if options.case in case.name:
                    results[case.name] = measure(case, stacks, options)
                    show(case, results[case.name])
        finally:
            for s in stacks:
                s.stop()
    if options.json:
        options.json.write_text(json.dumps({"machine": platform.platform(), "cores": os.cpu_count(), "seconds": options.seconds, "cases": results},
                                           indent=1) + "\n")


if __name__ == "__main__":
    main()
