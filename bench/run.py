#!/usr/bin/python3
"""bench/run.py: weir beside nginx and haproxy, one worker each on one core, clients and servers on another.

README.md says how it measures. Standard library only.
"""
import argparse
import datetime
import itertools
import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time

import http2_load
from cases import ALL, CASE, CASES, IDLE_BYTES_TARGET, PEERS, POLICIES_TARGET, TLS_IDLE, is_idle
from configure import FILES_WANTED, configure, files_max

BENCH = pathlib.Path(__file__).resolve().parent
ROOT = BENCH.parent
RESULTS = BENCH / "results"
START_SECONDS_MAX = 10
IDLE_REPEAT_MAX = 3
IDLE_FIRST = 100      # connections that warm a proxy up before its memory is read

SATURATED = 0.93         # of a core: below that the proxy is said not to have been the limit


class Failed(Exception):
    pass


# ---- processes ----

def raise_files_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FILES_WANTED:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (FILES_WANTED, FILES_WANTED))
            return
        except (ValueError, PermissionError):
            pass
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, FILES_WANTED)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def free_ports():
    """Ports below the ephemeral range, so that no client's own port is in the way."""
    for port in itertools.cycle(range(18000, 28000)):
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        yield port


PORTS = free_ports()


def disturbed_less():
    """Runs in the child, in its own session: where that is allowed, it goes before all else on its core."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -19)
        pathlib.Path("/proc/self/autogroup").write_text("-19")
    except OSError:
        pass


def start(core, command, **more):
    return subprocess.Popen(["taskset", "-c", core, *command], start_new_session=True, preexec_fn=disturbed_less,
                            **more)


def descendants(pid):
    pids = [pid]
    for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        pids += descendants(int(child))
    return pids


class Load:
    """bench/load: its servers stand when this returns."""

    def __init__(self, case, seconds, warmup):
        arguments = [*case.load, "--servers", str(case.servers), "--seconds", str(seconds), "--warmup", str(warmup)]
        congestion = OPTIONS.congestion or case.congestion
        if congestion and congestion != "system":
            arguments += ["--congestion", congestion]
        self.process = start(str(OPTIONS.load_core), [OPTIONS.load, *arguments], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True)
        ready = self.process.stdout.readline().split()
        if ready[:1] != ["ready"]:
            raise Failed("the load generator does not start")
        self.ports = [int(p) for p in ready[1:]]

    def command(self, *words):
        self.process.stdin.write(" ".join(str(w) for w in words) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise Failed("the load generator gave up")
        return json.loads(line)

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        self.process.stdin.close()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Proxy:
    def __init__(self, name, case, ports):
        self.folder = tempfile.mkdtemp(prefix="weir-bench-")
        os.chmod(self.folder, 0o755)
        self.port = next(PORTS)
        command = configure(OPTIONS, name, case, self.port, ports, self.folder)
        cores = OPTIONS.proxy_cores[:case.workers]
        self.tls, self.http2, self.http3 = case.tls, case.http2, case.http3
        self.process = start(",".join(map(str, cores)), command, stdin=subprocess.DEVNULL,
                             stdout=open(self.folder + "/out", "w"), stderr=subprocess.STDOUT)
        self.address = f"127.0.0.1:{self.port}"
        end = time.monotonic() + START_SECONDS_MAX
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > end:
                with open(self.folder + "/out") as f:
                    said = f.read()[-2000:]
                self.stop()
                raise Failed(f"{name} does not start: {said}")
            time.sleep(0.05)

    def connect(self):
        s = socket.create_connection(("127.0.0.1", self.port), timeout=2)
        if not self.tls:
            return s
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(s)

    def answers(self):
        try:
            with self.connect() as s:
                if self.http2:
                    return True
                s.sendall(b"GET / HTTP/1.1\r\nHost: bench.example\r\nConnection: close\r\n\r\n")
                return s.recv(12) == b"HTTP/1.1 200"
        except OSError:
            return False

    def pids(self):
        return descendants(self.process.pid)

    def resident_bytes(self):
        total = 0
        for pid in self.pids():
            for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Rss:"):
                    total += int(line.split()[1]) * 1024
        return total

    def stop(self):
        """At once: nobody measures how they stop. Those who would start others again first."""
        if self.process.poll() is None:
            for pid in self.pids():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            self.process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def busy_seconds():
    """What all processes of the machine have used; less the proxy and the load it is what disturbed them."""
    fields = [int(x) for x in open("/proc/stat").readline().split()[1:]]
    return (sum(fields[:3]) + sum(fields[5:8])) / os.sysconf("SC_CLK_TCK")


# ---- measuring ----

class Pair:
    """A proxy and a load generator of its own; they rest while the others' turn is measured."""

    def __init__(self, proxy, case):
        self.load = Load(case, OPTIONS.seconds, OPTIONS.warmup)
        try:
            self.proxy = Proxy(proxy, case, self.load.ports)
        except BaseException:
            self.load.stop()
            raise

    def stop(self):
        self.load.stop()
        self.proxy.stop()


def measure_load(pair):
    busy, begun = busy_seconds(), time.monotonic()
    if pair.proxy.http3:
        r = http2_load.run_http3(str(OPTIONS.load_core), OPTIONS.seconds, OPTIONS.weir, pair.proxy.address, pair.proxy.pids(),
                                 pair.load.process.pid)
    elif pair.proxy.http2:
        r = http2_load.run(str(OPTIONS.load_core), OPTIONS.seconds, pair.proxy.address, pair.proxy.tls, pair.proxy.pids(),
                           pair.load.process.pid)
    else:
        r = pair.load.command("go", pair.proxy.address, *pair.proxy.pids())
    busy, whole = busy_seconds() - busy, time.monotonic() - begun
    n = max(r["answers"], 1)
    r["cpu_us"] = r["proxy_cpu_seconds"] / n * 1e6
    r["load_cpu_us"] = r["load_cpu_seconds"] / n * 1e6
    r["per_second"] = r["answers"] / r["seconds"]
    r["proxy_busy"] = r["proxy_cpu_seconds"] / r["seconds"]
    r["load_busy"] = r["load_cpu_seconds"] / r["seconds"]
    r["others_busy"] = max(0.0, busy / whole - r["proxy_busy"] - r["load_busy"] - r["load_idle_seconds"] / r["seconds"])
    return r


def measure_idle(proxy, case):
    with Load(case, 1, 1) as load, Proxy(proxy, case, load.ports) as p:
        load.command("hold", p.address, IDLE_FIRST)
        time.sleep(0.5)
        before = p.resident_bytes()
        wanted = min(OPTIONS.idle, TLS_IDLE) if case.tls else OPTIONS.idle
        r = load.command("hold", p.address, IDLE_FIRST + wanted)
        time.sleep(1.5)
        after = p.resident_bytes()
        load.stop()
    held = r["held"] - IDLE_FIRST
    if held < wanted:
        r["failures"] += 1
        r["failure"] = r["failure"] or f"only {held} of {wanted} were held"
    r["idle_bytes"] = (after - before) / max(held, 1)
    return r


MEDIANS = ("cpu_us", "p50_us", "p99_us", "p999_us", "per_second", "proxy_busy", "load_busy", "load_cpu_us",
           "others_busy", "idle_bytes")


def summary(runs):
    s = {key: statistics.median(r[key] for r in runs) for key in MEDIANS if all(key in r for r in runs)}
    s["failures"] = sum(r["failures"] + r.get("malformed", 0) for r in runs)
    return s


def say(case, repeat, proxy, r):
    said = f"{r['idle_bytes']:.0f} bytes" if "idle_bytes" in r else \
        f"{r['cpu_us']:.2f} us, proxy {r['proxy_busy']:.2f}, load {r['load_busy']:.2f} " \
        f"({r['load_cpu_us']:.1f} us), others {r['others_busy']:.2f}, p99 {r['p99_us']:.0f} us"
    print(f"  {case.name} {repeat + 1} {proxy}: {said}"
          + (f", {r['failures']} FAILED ({r['failure']})" if r["failures"] else ""), file=sys.stderr)


def run_idle(case, proxies, runs, errors):
    for repeat in range(min(OPTIONS.repeat, IDLE_REPEAT_MAX)):
        for p in proxies:
            try:
                runs[p].append(measure_idle(p, case))
                say(case, repeat, p, runs[p][-1])
            except Failed as e:
                errors.append(f"{p}: {e}")


def run_load(case, proxies, runs, errors):
    pairs = {}
    try:
        for p in proxies:
            pairs[p] = Pair(p, case)
        for repeat in range(OPTIONS.repeat):
            for i in range(len(proxies)):  # each round begins with another one
                p = proxies[(repeat + i) % len(proxies)]
                runs[p].append(measure_load(pairs[p]))
                say(case, repeat, p, runs[p][-1])
    except Failed as e:
        errors.append(str(e))
    finally:
        for pair in pairs.values():
            pair.stop()


def run_case(case):
    proxies = [p for p in case.proxies if p in OPTIONS.proxies or (p == "plain" and "weir" in OPTIONS.proxies)]
    if len(case.proxies) > 1:
        proxies += [p for p in ("h2o", "bare", "floor") if p in OPTIONS.proxies and (p != "floor" or case.floor)]
    runs = {p: [] for p in proxies}
    errors = []
    (run_idle if is_idle(case) else run_load)(case, proxies, runs, errors)
    return {"title": case.title, "target": IDLE_BYTES_TARGET.get(case.name, case.target),
            "errors": errors, "summary": {p: summary(r) for p, r in runs.items() if r}, "runs": runs}


# ---- what comes out ----

def ratio_of(result, key="cpu_us", whose="weir"):
    """The median over the rounds of weir's (or `whose`) figure by that of the better peer, both of the same round: the machine
    changes its pace from one second to the next, and both see that."""
    s, runs = result["summary"], result["runs"]
    peers = [p for p in PEERS if p in s]
    if whose not in s or not peers:
        return None
    better = min(peers, key=lambda p: s[p][key])
    return statistics.median(w[key] / max(b[key], 1e-9) for w, b in zip(runs[whose], runs[better]))


def verdict(result):
    """True or False where there is a target, None where there is none or too little was measured."""
    s = result["summary"]
    if result["target"] is None or "weir" not in s:
        return None
    if "idle_bytes" in s["weir"]:
        return s["weir"]["idle_bytes"] <= result["target"]
    ratio = ratio_of(result)
    return ratio <= result["target"] if ratio else None  # 0: it did not work at all


def cell(s, key, digits):
    return f"{s[key]:,.{digits}f}" if s and key in s else "–"


def table(results):
    names = [p for p in ("weir", "nginx", "haproxy", "h2o", "bare") if any(p in r["summary"] for r in results.values())]
    word = {True: "met", False: "missed", None: ""}
    rows = [["case"] + [f"{p}, us" for p in names] + ["weir / better peer", "target", "", "weir p99 / better peer",
                                                       "proxy core busy", "floor, us", "floor / better peer"]]
    for r in results.values():
        idle = "idle_bytes" in next(iter(r["summary"].values()), {})
        key, digits = ("idle_bytes", 0) if idle else ("cpu_us", 1)
        ratio, p99 = ratio_of(r, key), None if idle else ratio_of(r, "p99_us")
        floor = ratio_of(r, whose="floor")
        target = "" if r["target"] is None else f"{r['target']} bytes" if idle else f"{r['target']:.2f}"
        busy = "" if idle else ", ".join(cell(r["summary"].get(p), "proxy_busy", 2) for p in names)
        rows.append([r["title"] + (" (bytes)" if idle else "")]
                    + [cell(r["summary"].get(p), key, digits) for p in names]
                    + [f"{ratio:.2f}" if ratio else "", target, word[verdict(r)], f"{p99:.2f}" if p99 else "", busy,
                       cell(r["summary"].get("floor"), "cpu_us", 1), f"{floor:.2f}" if floor else ""])
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def remarks(results):
    out = []
    for name, r in results.items():
        out += [f"- {name}: {e}" for e in r["errors"]]
        if "plain" in r["summary"]:
            more = statistics.median(w["cpu_us"] / p["cpu_us"] for w, p in zip(r["runs"]["weir"], r["runs"]["plain"])) - 1
            out.append(f"- {name}: weir costs {more:+.0%} a request against itself without them, measured in the same rounds "
                       f"({r['summary']['plain']['cpu_us']:.1f} us; target +{POLICIES_TARGET:.0%})")
        for p, s in r["summary"].items():
            if s["failures"]:
                out.append(f"- {name}: {p}: {s['failures']} wrong or missing answers")
            if "proxy_busy" in s and s["proxy_busy"] < SATURATED * CASE[name].workers:
                out.append(f"- {name}: {p} used {s['proxy_busy']:.2f} of its core, the load {s['load_busy']:.2f} of its"
                           " own: " + ("the load was the limit" if s["load_busy"] > 0.85 else "neither was saturated"))
            if s.get("others_busy", 0) > 0.1:
                out.append(f"- {name}: {p}: other processes used {s['others_busy']:.2f} of a core meanwhile")
    return "\n".join(out) + "\n" if out else ""


def said(*command):
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)
    except OSError:
        return None
    return done.stdout.strip().splitlines()[0] if done.returncode == 0 and done.stdout.strip() else None


def machine():
    model = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    congestion = pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    return {"date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            "commit": said("git", "rev-parse", "--short", "HEAD"), "cpu": model[0] if model else None,
            "cores": os.cpu_count(), "kernel": os.uname().release, "congestion": congestion,
            "versions": {"weir": said(OPTIONS.weir, "--version"), "nginx": said("nginx", "-v"),
                         "haproxy": said("haproxy", "-v"), "h2o": said("h2o", "-v")},
            "repeat": OPTIONS.repeat, "seconds": OPTIONS.seconds, "idle_connections": OPTIONS.idle}


def report(about, results):
    head = (f"{about['date']}, commit {about['commit']}; {about['cpu']}, {about['cores']} cores, Linux "
            f"{about['kernel']}, {about['congestion']}; {about['versions']['nginx']}; {about['versions']['haproxy']}; "
            f"medians of {about['repeat']} rounds of {about['seconds']:g} s. CPU time of the proxy per request.\n\n")
    rest = remarks(results)
    return head + table(results) + ("\n" + rest if rest else "")


def options():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--case", action="append", choices=[c.name for c in CASES], help="only this one (repeatable)")
    p.add_argument("--proxy", action="append", choices=ALL + ("h2o", "bare", "floor"), help="only this one (repeatable)")
    p.add_argument("--repeat", type=int, default=15, help="rounds")
    p.add_argument("--seconds", type=float, default=0.8, help="of one proxy in a round")
    p.add_argument("--warmup", type=float, default=0.2, help="before each of them")
    p.add_argument("--idle", type=int, default=15000, help="idle connections")
    p.add_argument("--weir", default=str(ROOT / "build" / "weir"))
    p.add_argument("--load", default=str(ROOT / "build" / "bench_load"))
    p.add_argument("--bare", default=str(ROOT / "build" / "bench_bare"))
    p.add_argument("--floor", default=str(ROOT / "build" / "bench_floor"))
    p.add_argument("--proxy-core", type=int, default=0)
    p.add_argument("--load-core", type=int, default=1)
    p.add_argument("--congestion", help="of the load's own sockets, instead of the case's; system: the system's")
    p.add_argument("--smoke", action="store_true", help="a second for each case, weir alone: does the bench work?")
    o = p.parse_args()
    o.proxies = o.proxy or (("weir",) if o.smoke else ALL + ("floor",))
    if o.smoke:
        o.repeat, o.seconds, o.warmup, o.idle = 1, 1, 0.2, 1000
    others = [c for c in range(os.cpu_count()) if c not in (o.proxy_core, o.load_core)]
    o.proxy_cores = [o.proxy_core] + others + [o.load_core]
    return o


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is stopped
    raise_files_limit()
    if os.cpu_count() < 2:
        sys.exit("the bench needs two cores")
    ours = {"weir": OPTIONS.weir, "bare": OPTIONS.bare, "floor": OPTIONS.floor}
    missing = [p for p in OPTIONS.proxies if not shutil.which(ours.get(p, p))]
    if "floor" in OPTIONS.proxies and "floor" not in missing and subprocess.run([OPTIONS.floor, "check"]).returncode:
        missing.append("floor")  # no io_uring here
    if missing:
        print(f"left out, not there: {', '.join(missing)}", file=sys.stderr)
        OPTIONS.proxies = [p for p in OPTIONS.proxies if p not in missing]
    cases = [c for c in CASES if not OPTIONS.case or c.name in OPTIONS.case]
    results = {c.name: run_case(c) for c in cases if any(p in OPTIONS.proxies for p in c.proxies)}
    about = machine()
    text = report(about, results)
    print(text)
    if not OPTIONS.smoke:
        whole = not OPTIONS.case and not OPTIONS.proxy and set(missing) <= {"floor"}
        stamp = about["date"].translate(str.maketrans({" ": "-", ":": ""}))
        for name in [stamp] + (["latest"] if whole else []):
            (RESULTS / f"{name}.json").write_text(json.dumps({**about, "cases": results}, indent=1) + "\n")
            (RESULTS / f"{name}.md").write_text(text)
    bad = any(r["errors"] or any(s["failures"] for s in r["summary"].values()) for r in results.values())
    sys.exit(1 if bad or not results else 0)


if __name__ == "__main__":
    OPTIONS = options()
    main()
