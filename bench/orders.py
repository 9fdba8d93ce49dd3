#!/usr/bin/python3
"""What a durable flash-sale order costs over HTTP, weir beside what one would build of nginx, Lua and redis.

    bench/orders.py                     64 and 512 connections, three rounds: about two minutes
    bench/orders.py --seconds 1 --repeat 1

Each stack has one core for all of it (proxy, scripts, store, the log's thread); the clients (`weir load`) have the other. The
figure is the CPU time, user and system, of all processes of a stack per order, from /proc/PID/task/*/schedstat, and orders a
second. Stacks take turns within a round; the table shows medians.

    weir      order: check the item, the user's limit, hold, log, sync, answer (durability: commit)
    nginx     POST ─▶ Lua, a pooled unix socket ─▶ redis: EVALSHA (check the item, the user's limit, decrement, XADD)

After each round the stores are asked how much they sold: it has to be what the clients were told.
"""
import argparse
import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
STOCK = 100_000_000
NDK, LUA = "ndk_http_module.so", "ngx_http_lua_module.so"
PORTS = iter(range(18600, 18990))

LUA_SCRIPT = """
local item = KEYS[1]
local quantity = tonumber(ARGV[3])
local stock = redis.call('HMGET', item, 'free', 'per_user')
if not stock[1] then return 'unknown' end
if tonumber(stock[1]) < quantity then return 'sold_out' end
local has = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '0')
if has + quantity > tonumber(stock[2]) then return 'user_limit' end
redis.call('HINCRBY', item, 'free', -quantity)
redis.call('HINCRBY', KEYS[2], ARGV[1], quantity)
redis.call('XADD', KEYS[3], '*', 'order', ARGV[2], 'user', ARGV[1], 'quantity', ARGV[3])
return 'held'
"""

NGINX = """
%(modules)s
worker_processes 1;
daemon off;
error_log stderr error;
pid %(folder)s/nginx.pid;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path %(folder)s/body;
  proxy_temp_path %(folder)s/proxy;
  fastcgi_temp_path %(folder)s/fastcgi;
  uwsgi_temp_path %(folder)s/uwsgi;
  scgi_temp_path %(folder)s/scgi;
  keepalive_requests 100000000;
  lua_package_path "%(lua_path)s;;";
  init_by_lua_block {
    function order()
      local id, user = ngx.var.request_id, ngx.var.cookie_uid
      local s = ngx.socket.tcp()
      local ok = s:connect("unix:%(folder)s/redis.sock")
      if not ok then return ngx.exit(503) end
      local parts = {"EVALSHA", "%(sha)s", "3", "stock:radio", "users:radio", "orders", user, id, "1"}
      local out = {"*", #parts, "\\r\\n"}
      for i = 1, #parts do
        out[#out + 1] = "$" .. #parts[i] .. "\\r\\n" .. parts[i] .. "\\r\\n"
      end
      if not s:send(out) then return ngx.exit(503) end
      local line = s:receive()
      if not line then return ngx.exit(503) end
      local said = line
      if line:sub(1, 1) == "$" then
        said = s:receive(tonumber(line:sub(2)))
        s:receive(2)
      end
      s:setkeepalive(60000, 1024)
      ngx.header["Content-Type"] = "application/json"
      if said == "held" then
        ngx.status = 202
        ngx.header["Location"] = "/orders/" .. id
        ngx.print('{"order":"', id, '","state":"held"}')
      elseif said == "sold_out" then
        ngx.status = 410
        ngx.print('{"reason":"sold_out"}')
      else
        ngx.status = 409
        ngx.print('{"reason":"', said, '"}')
      end
    end
  }
  server {
    listen 127.0.0.1:%(port)d reuseport backlog=4096;
    location / { content_by_lua_block { order() } }
  }
}
"""

WEIR = """
listen: 127.0.0.1:%(port)d
admin: unix:%(folder)s/admin.sock
workers: 1
access_log: off
state_dir: off
via: off
x_forwarded: off
request_id: off
ledger: {path: %(folder)s/ledger, http: unix:%(folder)s/ledger.sock, stock_file: %(folder)s/items.csv}
routes:
  - match: POST /buy/{item}
    order: {item: capture item, user: cookie uid}
"""


def descendants(pid):
    pids = [pid]
    for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        pids += descendants(int(child))
    return pids


def cpu_seconds(pids):
    total = 0
    for pid in pids:
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            try:
                total += int((task / "schedstat").read_text().split()[0]) / 1e9
            except (FileNotFoundError, ProcessLookupError):
                pass
    return total


def resp(path, *words):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(path)
        s.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in
                                                    (str(w).encode() for w in words)))
        f = s.makefile("rb")
        line = f.readline().strip()
        return f.read(int(line[1:])).decode() if line[:1] == b"$" and line != b"$-1" else line[1:].decode()


def module(options, name):
    """Where nginx's module stands; None: it does not."""
    for root in (options.lua_root, "/"):
        path = pathlib.Path(root, "usr/lib/nginx/modules", name)
        if path.exists():
            return path
    return None


class Stack:
    def __init__(self, options, stock):
        self.options, self.stock, self.sold_before = options, stock, 0
        self.folder = tempfile.mkdtemp(prefix="weir-orders-")
        os.chmod(self.folder, 0o755)
        self.port = next(PORTS)
        self.children = []
        self.open()
        self.wait()

    def start(self, *command):
        log = open(f"{self.folder}/{pathlib.Path(command[0]).name}.log", "w")
        self.children.append(subprocess.Popen(["taskset", "-c", str(self.options.core), *map(str, command)], stdout=log, stderr=log,
                                              stdin=subprocess.DEVNULL, start_new_session=True))

    def wait(self):
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                if self.sold() == 0:
                    return
            except (OSError, ValueError, KeyError):
                pass
            if time.monotonic() > end or any(c.poll() is not None for c in self.children):
                logs = "".join(p.read_text()[-1500:] for p in pathlib.Path(self.folder).glob("*.log"))
                self.stop()
                raise SystemExit(f"orders: {self.name} does not start:\n{logs}")
            time.sleep(0.1)

    def pids(self):
        return [p for c in self.children for p in descendants(c.pid)]

    def stop(self):
        for c in self.children:
            for pid in descendants(c.pid) if c.poll() is None else ():  # parents first: they start others again
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            c.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)


class Weir(Stack):
    name = "weir, commit"
    path = "/buy/radio"

    def open(self):
        pathlib.Path(self.folder, "items.csv").write_text(f"radio,{self.stock},3900,1000000\n")
        pathlib.Path(self.folder, "weir.yaml").write_text(WEIR % {"port": self.port, "folder": self.folder})
        self.start(self.options.weir, "run", "-c", f"{self.folder}/weir.yaml")

    def sold(self):
        out = subprocess.run(["curl", "-s", "--unix-socket", f"{self.folder}/ledger.sock", "http://l/v1/stock/radio"],
                             capture_output=True, text=True, timeout=10).stdout
        item = json.loads(out)
        return item["held"] + item["sold"]


class Redis(Stack):
    path = "/"

    def open(self):
        self.start("redis-server", "--port", "0", "--unixsocket", f"{self.folder}/redis.sock", "--dir", self.folder, "--save", "",
                   "--appendonly", "yes", "--appendfsync", self.fsync, "--auto-aof-rewrite-percentage", "0")
        sock = f"{self.folder}/redis.sock"
        for _ in range(100):
            try:
                resp(sock, "HSET", "stock:radio", "free", self.stock, "per_user", "1000000")
                break
            except OSError:
                time.sleep(0.1)
        sha = resp(sock, "SCRIPT", "LOAD", LUA_SCRIPT)
        modules = "".join(f"load_module {module(self.options, m)};\n" for m in (NDK, LUA))
        pathlib.Path(self.folder, "nginx.conf").write_text(NGINX % {
            "modules": modules, "folder": self.folder, "port": self.port, "sha": sha,
            "lua_path": f"{self.options.lua_root}/usr/share/lua/5.1/?.lua;/usr/share/lua/5.1/?.lua"})
        os.chmod(sock, 0o777)
        # its LuaJIT, where that was unpacked too
        libraries = next(iter(pathlib.Path(self.options.lua_root, "usr/lib").glob("*/libluajit-5.1.so.2")), None)
        if libraries and self.options.lua_root != "/":
            os.environ["LD_LIBRARY_PATH"] = str(libraries.parent)
        self.start("nginx", "-c", f"{self.folder}/nginx.conf", "-e", f"{self.folder}/error.log")

    def sold(self):
        return self.stock - int(resp(f"{self.folder}/redis.sock", "HGET", "stock:radio", "free"))


class Everysec(Redis):
    name, fsync = "nginx + lua + redis, everysec", "everysec"


class Always(Redis):
    name, fsync = "nginx + lua + redis, always", "always"


def load(stack, connections, seconds, options, *more):
    command = ["taskset", "-c", options.load_core, options.weir, "load", "-q", "--method", "POST", "-H", "Cookie: uid=ann", "-c",
               connections, "-d", f"{round(seconds * 1000)}ms", "--json", "-", *more, f"http://127.0.0.1:{stack.port}{stack.path}"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=seconds + 60)
    if not done.stdout:
        raise SystemExit(f"orders: {stack.name}: the load gave up: {done.stderr}")
    return json.loads(done.stdout)["total"]


def measure(stack, case, connections, options):
    """{cpu_us an answer, answers a second}; a wrong answer, or a sale that nobody was told of, ends the bench."""
    load(stack, connections, options.warmup, options, *case.more)
    sold, cpu, at = stack.sold(), cpu_seconds(stack.pids()), time.monotonic()
    total = load(stack, connections, options.seconds, options, *case.more)
    cpu, seconds = cpu_seconds(stack.pids()) - cpu, time.monotonic() - at
    sold = stack.sold() - sold
    good = sum(n for status, n in total["statuses"].items() if status in case.statuses)
    if good != total["answers"] or sold != (good if case.sells else 0) or good == 0:
        raise SystemExit(f"orders: {stack.name}: {total['statuses']} answers, {sold} sold")
    return {"cpu_us": cpu * 1e6 / good, "rate": total["rate"], "busy": cpu / seconds}


class Case:
    def __init__(self, name, stock, statuses, sells, *more):
        self.name, self.stock, self.statuses, self.sells, self.more = name, stock, statuses, sells, more


CASES = [
    Case("orders", STOCK, ("202",), True),
    Case("sold out", 0, ("410",), False),
    Case("sold out, with an id", 0, ("410",), False, "-H", "Idempotency-Key: 7"),
]


def run(case, connections, kinds, options):
    stacks = []
    try:
        for kind in kinds:
            stacks.append(kind(options, case.stock))
        rounds = {s.name: [] for s in stacks}
        for _ in range(options.repeat):
            for s in stacks:
                rounds[s.name].append(measure(s, case, connections, options))
        return rounds
    finally:
        for s in stacks:
            s.stop()


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--weir", default=ROOT / "build" / "weir")
    arguments.add_argument("--seconds", type=float, default=2)
    arguments.add_argument("--warmup", type=float, default=0.5)
    arguments.add_argument("--repeat", type=int, default=3)
    arguments.add_argument("--connections", type=int, nargs="+", default=[64, 512])
    arguments.add_argument("--case", default="", help="those whose name has this")
    arguments.add_argument("--only", default="", help="stacks whose name has this")
    arguments.add_argument("--lua-root", default="/", help="where libnginx-mod-http-lua and lua-resty-core were unpacked, if not installed")
    arguments.add_argument("--core", type=int, default=0)
    arguments.add_argument("--load-core", type=int, default=1)
    options = arguments.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(65536, hard), hard))
    kinds = [Weir, Everysec, Always]
    if not (module(options, LUA) and module(options, NDK) and shutil.which("redis-server") and shutil.which("nginx")):
        print("orders: nginx with Lua, or redis, is not here: weir alone (bench/README.md says how to get them)", file=sys.stderr)
        kinds = [Weir]
    print("| | connections | stack | CPU us an answer | of that, weir | answers a second | core busy |\n"
          "| --- | --- | --- | --- | --- | --- | --- |")
    for case in CASES:
        for connections in options.connections if options.case in case.name else ():
            rounds = run(case, connections, [k for k in kinds if options.only in k.name], options)
            for name, all_of in rounds.items():
                median = {key: statistics.median(r[key] for r in all_of) for key in all_of[0]}
                ratio = statistics.median(w["cpu_us"] / r["cpu_us"] for w, r in zip(rounds.get(Weir.name, all_of), all_of))
                print(f"| {case.name} | {connections} | {name} | {median['cpu_us']:.1f} | {ratio:.2f}x | {median['rate']:,.0f} | "
                      f"{median['busy']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
