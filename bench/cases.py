"""What bench/run.py measures. Standard library only."""
import collections

PEERS = ("nginx", "haproxy")
# name, what it is, arguments of the load, and: target = weir's CPU time over the better peer's; proxies that take
# part; upstream, congestion = weir's settings; servers, workers; fields = each adds Via, X-Forwarded-* and X-Request-Id
# to the requests (weir's default), else none does (the peers' default); tcp = passed on as bytes; policies = below;
# http2 = the clients are h2load, 16 connections with 32 streams each; http3 = weir load, the same over HTTP/3: no peer in the
# distributions speaks it; floor = with floor.c beside them, which keeps the servers' connections so
Case = collections.namedtuple("Case", "name title load target proxies pipelined congestion servers workers fields tcp policies tls http2 "
                                      "http3 floor",
                              defaults=(None, None, False, None, 3, 1, False, False, False, False, False, False, None))
ALL = ("weir",) + PEERS
CASES = [
    Case("keepalive", "100 B, 64 connections", ["--connections", "64"], 0.68, ALL, floor="own"),
    Case("pipelined", "100 B, 64 connections, weir `upstream: pipelined`", ["--connections", "64"], 0.42, ALL, True,
         floor="shared"),
    Case("fields", "100 B, 64 connections, all add Via, X-Forwarded-*, X-Request-Id", ["--connections", "64"], None, ALL,
         fields=True),
    Case("10k", "10 KiB, 64 connections", ["--connections", "64", "--body", "10240"], 0.75, ALL, floor="own"),
    Case("1m", "1 MiB, 16 connections", ["--connections", "16", "--body", "1048576"], 0.55, ALL, False, "reno"),
    Case("new", "100 B, a new connection per request, 64 at a time", ["--connections", "64", "--close"], 0.85, ALL),
    Case("512", "100 B, 512 connections", ["--connections", "512"], 0.60, ALL, floor="own"),
    Case("client-pipelining", "100 B, 64 connections, clients pipeline 32 deep",
         ["--connections", "64", "--pipeline", "32"], None, ALL),
    Case("policies", "100 B, 64 connections, limit, breaker, retries, fields, log and metrics on", ["--connections", "64"], None,
         ALL + ("plain",), policies=True),
    Case("idle", "memory of an idle connection", [], None, ALL),
    Case("workers-1", "100 B, 64 connections, 1 worker", ["--connections", "64"], None, ("weir",)),
    Case("workers-2", "100 B, 64 connections, 2 workers", ["--connections", "64"], None, ("weir",), workers=2),
    Case("servers-3", "100 B, 64 connections, 3 servers", ["--connections", "64"], None, ALL),
    Case("tcp", "TCP: 100 B, 64 connections", ["--connections", "64"], None, ALL, tcp=True),
    Case("tcp-1m", "TCP: 1 MiB, 16 connections", ["--connections", "16", "--body", "1048576"], None, ALL, congestion="reno",
         tcp=True),
    Case("tcp-new", "TCP: 100 B, a new connection per request, 64 at a time", ["--connections", "64", "--close"], None, ALL,
         tcp=True),
    Case("tcp-idle", "TCP: memory of an idle connection", [], None, ALL, tcp=True),
    Case("tls", "TLS 1.3: 100 B, 64 connections", ["--connections", "64", "--tls", "full"], 0.75, ALL, tls=True),
    Case("tls-10k", "TLS 1.3: 10 KiB, 64 connections", ["--connections", "64", "--body", "10240", "--tls", "full"], 0.85, ALL,
         tls=True),
    Case("tls-new", "TLS 1.3: full handshake, 100 B, 64 at a time", ["--connections", "64", "--close", "--tls", "full"], 1.0,
         ALL, tls=True),
    Case("tls-resumed", "TLS 1.3: resumed handshake, 100 B, 64 at a time",
         ["--connections", "64", "--close", "--tls", "resume"], None, ALL, tls=True),
    Case("tls-idle", "TLS 1.3: memory of an idle connection", ["--tls", "full"], None, ALL, tls=True),
    Case("http2", "HTTP/2: 100 B, 16 connections with 32 streams", [], 0.60, ALL, http2=True),
    Case("http2-pipelined", "HTTP/2: the same, weir `upstream: pipelined`", [], 0.35, ALL, True, http2=True),
    Case("http2-tls", "HTTP/2 over TLS 1.3: the same as `http2`", [], None, ALL, tls=True, http2=True),
    Case("http3", "HTTP/3: 100 B, 16 connections with 32 streams (weir alone)", [], None, ("weir",), tls=True, http3=True),
    Case("servers-1000", "100 B, 64 connections, 1,000 servers", ["--connections", "64"], None, ALL, servers=1000),
]
IDLE_BYTES_TARGET = {"idle": 300, "tls-idle": 10240}
TLS_IDLE = 5000         # connections
POLICIES_TARGET = 0.15
CASE = {c.name: c for c in CASES}


def body_of(case):
    return int(case.load[case.load.index("--body") + 1]) if "--body" in case.load else 100


def is_idle(case):
    return case.name.endswith("idle")
