"""doc/balancing.md and the pages of the balancers, against the running gate."""
import asyncio
import json
import socket
import threading
from collections import Counter

import pytest
from lib import mmdb
from lib.bad_servers import Servers, Setting, keep_busy
from lib.client import Client
from lib.conf import one_service
from lib.process import wait_until
from lib.servers import answer

WAIT_S = 20


def named(scripted, count):
    return [scripted(answer(str(i))) for i in range(count)]


def ask(gate, count, path="/", headers=()):
    """How often each server answered."""
    with gate.connect() as client:
        return Counter(client.get(path, headers).text for _ in range(count))


@pytest.mark.parametrize("balance", ["random", "peak_ewma"])
def test_all_servers_get_their_share(weir, scripted, balance):
    servers = named(scripted, 4)
    gate = weir(one_service(*servers, service=f"balance: {balance}", root="workers: 1"))
    got = ask(gate, 400)
    assert set(got) == set("0123")
    if balance == "random":
        assert all(40 <= n <= 160 for n in got.values())  # 100 ± 8.7: seven sigma


def test_peak_ewma_sends_a_server_that_fails_at_once_less(weir, scripted, each_loop):
    servers = [scripted(answer("broken", status="503 Broken")), *named(scripted, 3)]
    gate = weir(one_service(*servers, service="balance: peak_ewma", root="workers: 1"))
    got = ask(gate, 400)
    assert got["broken"] <= 50  # round_robin: 100
    assert sum(got.values()) == 400


@pytest.mark.parametrize("balance", ["hash", "maglev"])
@pytest.mark.parametrize("by", ["header X-User", "cookie user", "path", "query user"])
def test_a_key_stays_on_its_server(weir, scripted, balance, by):
    servers = named(scripted, 5)
    gate = weir(one_service(*servers, service=f"balance: {balance} by {by}"))

    def home(user):
        request = {"header X-User": ("/", {"X-User": user}), "cookie user": ("/", {"Cookie": f"a=b; user={user}"}),
                   "path": (f"/{user}", {}), "query user": (f"/?user={user}", {})}[by]
        with gate.connect() as client:  # another connection, likely another worker
            return client.get(*request).text

    homes = {f"u{i}": home(f"u{i}") for i in range(40)}
    assert len(set(homes.values())) >= 4
    assert all(home(user) == where for user, where in homes.items())
    gone = servers[int(homes["u0"])]
    gone.stop()
    for user, where in homes.items():
        assert home(user) != str(servers.index(gone))
        if where != homes["u0"]:
            assert home(user) == where


def test_a_hot_key_does_not_drown_its_server(weir, scripted):
    free = threading.Event()

    def held(peer):
        while peer.read_request():
            free.wait(30)
            peer.send(answer("late"))

    servers = [scripted(held) for _ in range(4)]
    gate = weir(one_service(*servers, service="balance: {hash: {by: path, load_max_percent: 150}}", root="workers: 1"))
    stuck = [threading.Thread(target=gate.get, args=("/hot",)) for _ in range(24)]
    for t in stuck:
        t.start()
    wait_until(lambda: sum(len(s.requests) for s in servers) == 24, WAIT_S)
    counts = sorted(len(s.requests) for s in servers)
    free.set()
    for t in stuck:
        t.join()
    assert counts[-1] <= 9  # 1.5 × 24 / 4
    assert counts[0] <= 6 and counts != [6, 6, 6, 6]  # and no more than it has to


class Shop:
    """Answers with its name; its health is told."""

    def __init__(self, name, scripted):
        self.name, self.well = name, True
        self.server = scripted(self.serve)
        self.address = self.server.address

    def serve(self, peer):
        while request := peer.read_request():
            if request.startswith(b"GET /healthz "):
                peer.send(answer("", status="200 OK" if self.well else "503 Sick"))
            else:
                peer.send(answer(self.name))


# not by one late answer
QUICK = "health_check: {path: /healthz, interval: 200ms, healthy_after: 1, unhealthy_after: 3}"


def is_up(gate, shop):
    return gate.metric("weir_health_check_up", service="shop", server=shop.address)


def set_well(gate, shops, well):
    for shop in shops:
        shop.well = well
    for shop in shops:
        wait_until(lambda: is_up(gate, shop) == well, WAIT_S)


def test_the_next_priority_takes_over_and_gives_back(weir, scripted):
    first, backup = [Shop(str(i), scripted) for i in range(2)], Shop("backup", scripted)
    servers = [*first, f'{{address: "{backup.address}", priority: 1}}']
    gate = weir(one_service(*servers, service=QUICK))
    assert set(ask(gate, 50)) == {"0", "1"}
    set_well(gate, first, False)
    wait_until(lambda: set(ask(gate, 20)) == {"backup"}, WAIT_S)
    set_well(gate, first, True)
    wait_until(lambda: set(ask(gate, 20)) == {"0", "1"}, WAIT_S)
    set_well(gate, first[:1], False)  # half of them: 71% of the requests
    wait_until(lambda: set(ask(gate, 100)) == {"1", "backup"}, WAIT_S)


def test_in_panic_all_are_used(weir, scripted):
    shops = [Shop(str(i), scripted) for i in range(3)]
    gate = weir(one_service(*shops, service=f"{QUICK}, panic: 50%"))
    set_well(gate, shops[:1], False)
    wait_until(lambda: set(ask(gate, 30)) == {"1", "2"}, WAIT_S)
    set_well(gate, shops[1:2], False)
    wait_until(lambda: set(ask(gate, 30)) == {"0", "1", "2"}, WAIT_S)


def test_a_server_that_came_back_starts_slowly(weir, scripted):
    shops = [Shop(str(i), scripted) for i in range(2)]
    gate = weir(one_service(*shops, service=f"{QUICK}, slow_start: 1h from 1%", root="workers: 1"))
    assert ask(gate, 100) == {"0": 50, "1": 50}
    set_well(gate, shops[:1], False)
    wait_until(lambda: set(ask(gate, 20)) == {"1"}, WAIT_S)
    set_well(gate, shops[:1], True)
    got = ask(gate, 400)
    assert got["1"] > 350  # about 4 are the other's
    set_well(gate, shops[1:], False)
    wait_until(lambda: ask(gate, 20) == {"0": 20}, WAIT_S)  # there is no other


def test_a_new_server_starts_slowly_and_the_first_ones_do_not(weir, scripted):
    servers = named(scripted, 3)

    def conf(count):
        return one_service(*servers[:count], service="slow_start: 1h from 1%", root="workers: 1")

    gate = weir(conf(2))
    assert ask(gate, 100) == {"0": 50, "1": 50}
    gate.reload(conf(3))
    got = ask(gate, 400)
    assert got["2"] < 40 and got["0"] > 150 and got["1"] > 150


@pytest.mark.parametrize("balance", ["round_robin", "least_request", "peak_ewma"])
def test_what_they_make_of_bad_servers(weir, balance):
    """bench/balancing_live in short: two of 16 are slow, one fails. Only shares are looked at, no times."""
    async def run():
        async with Servers(Setting(service_s=0.002, slow_factor=100)) as servers:
            gate = await asyncio.to_thread(weir, one_service(*servers.addresses, service=f"balance: {balance}",
                                                             root="workers: 1"))
            outcome = await keep_busy(gate.port, 480, 16)
            outcome.by_server = servers.counts
            return outcome

    outcome = asyncio.run(run())
    slow, failing = outcome.share(0, 2), outcome.share(2, 1)
    assert len(outcome.latencies_s) == 480
    if balance == "round_robin":
        assert 0.12 <= slow <= 0.13 and 0.06 <= failing <= 0.07
    if balance == "least_request":
        assert slow < 0.1 and failing > 0.04  # one that fails at once is never busy
    if balance == "peak_ewma":
        assert slow < 0.1 and failing < 0.04
        assert outcome.failed < 0.04 * 480


# ---- zones ----

def in_zones(shops, zones):
    return [f'{{address: "{s.address}", zone: {z}}}' for s, z in zip(shops, zones)]


def test_the_own_zone_is_preferred_until_it_is_unwell(weir, scripted):
    shops = [Shop(str(i), scripted) for i in range(4)]
    gate = weir(one_service(*in_zones(shops, ["a", "b", "a", "b"]), service=f"{QUICK}, balance: zone a"))
    assert set(ask(gate, 50)) == {"0", "2"}
    set_well(gate, shops[:1], False)  # half of it is well: 71% stay
    wait_until(lambda: set(ask(gate, 100)) == {"1", "2", "3"}, WAIT_S)
    set_well(gate, shops[2:3], False)
    wait_until(lambda: set(ask(gate, 30)) == {"1", "3"}, WAIT_S)
    set_well(gate, [shops[0], shops[2]], True)
    wait_until(lambda: set(ask(gate, 30)) == {"0", "2"}, WAIT_S)
    zones = json.loads(gate.admin("/v1/services").text)
    assert "zones" in json.dumps(zones)


def ask_from(gate, source):
    """Who answers a client of this address (all of 127.0.0.0/8 is this machine)."""
    client = Client.__new__(Client)
    client.socket, client.buffer = socket.create_connection(("127.0.0.1", gate.port), 10, (source, 0)), b""
    with client:
        return client.get().text


def test_the_zone_nearest_to_the_client_is_preferred(weir, weir_command, scripted, tmp_path):
    if "without: " in (said := weir_command("version").stdout) and "maxminddb" in said.split("without: ")[1]:
        pytest.skip("built without libmaxminddb")
    database = mmdb.write(tmp_path / "places.mmdb", {
        "127.0.0.2/32": mmdb.place(48.9, 2.3), "127.0.0.3/32": mmdb.place(40.7, -74.0),
        "127.0.0.4/32": {"country": "nowhere"}})
    shops = [Shop(name, scripted) for name in ("berlin", "virginia")]
    zone = f"database: {database}, own: virginia, places: {{berlin: '52.5,13.4', virginia: '38.9,-77.5'}}"
    gate = weir(one_service(*in_zones(shops, ["berlin", "virginia"]),
                            service=f"{QUICK}, balance: {{zone: {{{zone}, within: peak_ewma}}}}"))
    for _ in range(5):
        assert ask_from(gate, "127.0.0.2") == "berlin"
        assert ask_from(gate, "127.0.0.3") == "virginia"
        assert ask_from(gate, "127.0.0.4") == ask_from(gate, "127.0.0.5") == "virginia"  # no place: one's own
    set_well(gate, shops[:1], False)
    wait_until(lambda: ask_from(gate, "127.0.0.2") == "virginia", WAIT_S)


def test_a_database_that_is_none_is_refused(weir_command, scripted, tmp_path):
    path = tmp_path / "weir.yaml"
    (tmp_path / "x.mmdb").write_bytes(b"no database")
    zone = f"database: {tmp_path}/x.mmdb, places: {{a: '1,2'}}"
    path.write_text(one_service("{address: '127.0.0.1:1', zone: a}", root="listen: 127.0.0.1:0",
                                service=f"balance: {{zone: {{{zone}}}}}"))
    done = weir_command("check", "-c", path)
    assert done.returncode == 1 and ("x.mmdb" in done.stderr or "without libmaxminddb" in done.stderr)


# ---- reported load ----

def test_shares_follow_what_servers_report(weir, scripted, each_loop):
    reports = ["TEXT rps_fractional=900,cpu_utilization=0.5", 'JSON {"rps_fractional": 100, "cpu_utilization": 0.5}']
    servers = [scripted(answer(str(i), headers=[("Endpoint-Load-Metrics", r)])) for i, r in enumerate(reports)]
    quick = "balance: {reported_load: {update: 100ms, blackout: 0s%s}}"
    gate = weir(one_service(*servers, service=quick % "", root="workers: 1"))
    wait_until(lambda: ask(gate, 20)["0"] > 0 and ask(gate, 20)["1"] < 8, WAIT_S)
    wait_until(lambda: ask(gate, 200)["0"] > 150, WAIT_S)  # 180 ± 4
    assert gate.get().get("endpoint-load-metrics") is None
    gate.reload(one_service(*servers, service=quick % ", pass_on: true", root="workers: 1"))
    assert gate.get().get("endpoint-load-metrics") in reports


# ---- request classes ----

def test_a_heavy_request_counts_as_many(weir, scripted):
    free = threading.Event()

    def work(peer):
        while request := peer.read_request():
            if b"/report" in request.split(b"\r\n")[0]:
                free.wait(30)
            peer.send(answer(str(peer.number)))

    servers = [scripted(work) for _ in range(2)]
    gate = weir(f"""
workers: 1
weight_of: {{report: 1000}}
routes:
  - {{match: /report, service: shop, request_class: report}}
  - {{match: /*, service: shop, request_class: by header X-Class}}
services:
  shop: {{servers: ["{servers[0].address}", "{servers[1].address}"], balance: least_request}}
""")
    stuck = threading.Thread(target=gate.get, args=("/report",))
    stuck.start()
    wait_until(lambda: sum(len(s.requests) for s in servers) == 1, WAIT_S)
    free_one = servers[0] if servers[1].requests else servers[1]
    threads = [threading.Thread(target=gate.get, args=("/page",)) for _ in range(20)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(free_one.requests) == 20  # one report outweighs them all
    free.set()
    stuck.join()
    gate.get("/", {"X-Class": "report"})
    gate.get("/", {"X-Class": "other"})
    assert gate.metric("weir_request_class_heavy_total", route="/*") == 1
    assert gate.metric("weir_request_class_weight_total", route="/*") == 20 + 1000 + 1


@pytest.mark.parametrize("settings, said", [
    ("balance: hash by shoe", "nothing to tell requests apart by"),
    ("balance: {maglev: {table_size: 100}}", "not a prime number"),
    ("balance: {hash: {load_max_percent: 100}}", "101"),
    ("slow_start: 0s", "1ms"),
    ("panic: 101%", "100%"),
    ("balance: zone moon", "zone \"moon\""),
    ("balance: zone", "own"),
    ("balance: {zone: {own: a, within: zone}}", "within"),
    ("balance: {zone: {own: a, places: {a: here}}}", "not a place"),
])
def test_mistakes_are_named(weir_command, tmp_path, settings, said):
    path = tmp_path / "weir.yaml"
    path.write_text(one_service("127.0.0.1:1", service=settings, root="listen: :1"))
    done = weir_command("check", "-c", path)
    assert done.returncode == 1 and said in done.stderr
