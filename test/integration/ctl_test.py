"""weir ctl and the admin API behind it: what it shows, what it changes, who may, and what it says when it cannot."""
import json
import os
import re
import subprocess
import threading

import pytest

from lib import weir as weir_module
from lib.client import Client
from lib.conf import one_service
from lib.process import wait_until
from lib.servers import answer


def conf(tmp_path, *servers, admin=None, **more):
    admin = admin or f"unix:{tmp_path}/admin.sock"
    return one_service(*servers, root=f"admin: {admin}\nstate_dir: {tmp_path}/state", **more)


@pytest.fixture
def ctl(tmp_path):
    """ctl(gate, "status") -> .returncode, .stdout, .stderr; asked over the address in its file."""
    def run(gate, *args, env=None):
        return subprocess.run([str(weir_module.BINARY), "ctl", "-c", str(gate.conf_path), *map(str, args)],
                              capture_output=True, text=True, timeout=60, env={**os.environ, **(env or {})})
    return run


def good(done):
    assert done.returncode == 0, done
    return done.stdout


def told(ctl, gate, *args):
    return json.loads(good(ctl(gate, "--json", *args)))


class Admin:
    """Requests to the unix socket."""

    def __init__(self, path):
        self.path = str(path)

    def ask(self, method, path, body=None, token=None):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with Client(self.path) as client:
            return client.request(method, path, headers, json.dumps(body).encode() if body is not None else None)


def problem(response, status, says):
    assert response.status == status, response
    assert response.get("content-type") == "application/problem+json"
    told = response.json
    assert told["status"] == status and told["type"] == "about:blank" and told["title"]
    assert says in told["detail"], told
    return told


def test_status_services_filters(weir, scripted, ctl, tmp_path):
    server = scripted(answer())
    gate = weir(conf(tmp_path, server, route="circuit_breaker: 5% over 10s"))
    gate.get()
    assert "generation   1 (start, by file" in good(ctl(gate, "status"))
    assert told(ctl, gate, "status")["state"] == "serving"
    lines = good(ctl(gate, "services")).splitlines()
    assert lines[0].split() == ["SERVICE", "SERVER", "STATE", "HEALTH", "WEIGHT", "ACTIVE", "REQUESTS", "FAILURES"]
    assert lines[1].split() == ["shop", server.address, "enabled", "up", "1", "0", "1", "0"]
    assert "circuit_breaker" in good(ctl(gate, "filters"))
    assert server.address in good(ctl(gate, "config"))


def test_servers_at_run_time(weir, scripted, ctl, tmp_path):
    one, two = scripted(answer("one")), scripted(answer("two"))
    gate = weir(conf(tmp_path, one, two))

    def who(requests=12):
        return {gate.get().text for _ in range(requests)}

    assert who() == {"one", "two"}
    good(ctl(gate, "drain", "shop", one.address))
    assert who() == {"two"}
    gate.reload(conf(tmp_path, one, two) + "# again\n", done="reloaded generation=")
    assert who() == {"two"}
    gate.upgrade()
    assert who() == {"two"}
    two.stop()  # a draining one still helps out; a disabled one does not
    wait_until(lambda: gate.get().text == "one", 20, "who drains takes what nobody else can")
    good(ctl(gate, "disable", "shop", one.address))
    assert gate.get().status in (502, 503)
    good(ctl(gate, "enable", "shop", one.address))
    wait_until(lambda: gate.get().text == "one", 20, "it is back")
    done = ctl(gate, "drain", "shop", "10.0.0.1:1")
    assert done.returncode == 1 and "10.0.0.1:1" in done.stderr


def test_weight_at_run_time(weir, scripted, ctl, tmp_path):
    one, two = scripted(answer("one")), scripted(answer("two"))
    gate = weir(conf(tmp_path, one, two) + "workers: 1\n")

    def share():
        return sum(gate.get().text == "one" for _ in range(40))

    assert share() == 20
    good(ctl(gate, "weight", "shop", one.address, 3))
    assert share() == 30
    gate.reload(done="reloaded generation=")
    assert share() == 30
    (told_one, _) = told(ctl, gate, "services")["services"][0]["servers"]
    assert told_one["weight"] == 3 and told_one["weight_set"]
    assert told(ctl, gate, "status")["generation"]["number"] == 2
    good(ctl(gate, "weight", "shop", one.address, "configured"))
    assert share() == 20


def test_generations_and_rollback(weir, scripted, ctl, tmp_path):
    one, two = scripted(answer("one")), scripted(answer("two"))
    first, second = conf(tmp_path, one), conf(tmp_path, two)
    gate = weir(first)
    first_text = gate.conf_path.read_text()
    gate.write_conf(second)
    assert f"-services: {{shop: {{servers: [\"{one.address}\"]}}}}" in good(ctl(gate, "diff"))
    assert "generation 2" in good(ctl(gate, "reload"))
    assert good(ctl(gate, "diff")) == ""
    assert gate.get().text == "two"
    assert f"+services: {{shop: {{servers: [\"{two.address}\"]}}}}" in good(ctl(gate, "diff", 2))
    assert good(ctl(gate, "config", 1)) == first_text

    said = good(ctl(gate, "rollback", 1))
    assert "generation 3" in said and "the next reload takes it again" in said
    assert gate.get().text == "one"
    assert gate.conf_path.read_text() != first_text
    kept = told(ctl, gate, "generations")
    assert [g["number"] for g in kept["generations"]] == [1, 2, 3] and kept["in_force"] == 3
    assert [g["reason"] for g in kept["generations"]] == ["start", "reload", "rollback to 1"]
    assert kept["generations"][0]["author"] == "file"
    assert kept["generations"][1]["author"].startswith(f"uid {os.getuid()} ")
    assert good(ctl(gate, "diff", 1, 3)) == ""
    assert "rollback to 1 is in force" in good(ctl(gate, "status"))

    gate.upgrade()  # goes on with what is in force, not with the file
    assert gate.get().text == "one"
    assert told(ctl, gate, "status")["generation"]["rolled_back_to"] == 1
    gate.reload(done="reloaded generation=")
    assert gate.get().text == "two"

    good(ctl(gate, "rollback", 1, "--write"))
    assert gate.conf_path.read_text() == first_text
    assert good(ctl(gate, "diff")) == "" and "is in force;" not in good(ctl(gate, "status"))
    gate.conf_path.with_suffix(".yaml.part").mkdir()  # what the new file would be written to
    done = ctl(gate, "rollback", 2, "--write")
    assert done.returncode == 1 and "could not be written" in done.stderr and gate.get().text == "two"
    assert gate.conf_path.read_text() == first_text
    good(ctl(gate, "rollback", 5))  # 1 is no more among the last five
    done = ctl(gate, "rollback", 99)
    assert done.returncode == 1 and "generation 99 is not kept" in done.stderr
    assert gate.get().text == "one"


def test_kept_over_a_restart(weir, scripted, ctl, tmp_path):
    server = scripted(answer())
    gate = weir(conf(tmp_path, server))
    for n in range(7):
        gate.reload(conf(tmp_path, server) + f"# {n}\n", done="reloaded generation=")
    numbers = [g["number"] for g in told(ctl, gate, "generations")["generations"]]
    assert numbers == [4, 5, 6, 7, 8]
    text = gate.conf_path.read_text()
    assert gate.stop() == 0
    again = subprocess.Popen([str(weir_module.BINARY), "run", "-c", str(gate.conf_path)], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: ctl(gate, "status").returncode == 0, 20, "it is back")
        assert told(ctl, gate, "status")["generation"]["number"] == 8  # the same text: the same generation
        gate.conf_path.write_text(text + "# more\n")
        assert "generation 9" in good(ctl(gate, "reload"))
        assert [g["number"] for g in told(ctl, gate, "generations")["generations"]] == [5, 6, 7, 8, 9]
    finally:
        again.terminate()
        assert again.wait(20) == 0


def test_without_a_state_dir(weir, scripted, ctl, tmp_path):
    gate = weir(one_service(scripted(answer()), root=f"admin: unix:{tmp_path}/admin.sock\nstate_dir: off"))
    assert "none are kept" in good(ctl(gate, "generations"))
    done = ctl(gate, "rollback", 1)
    assert done.returncode == 1 and "there is no state_dir" in done.stderr


def test_a_bad_file_is_said(weir, scripted, ctl, tmp_path):
    text = conf(tmp_path, scripted(answer()))
    gate = weir(text)
    gate.write_conf(text.replace("service: shop", "service: shp"))
    done = ctl(gate, "reload", env={"WEIR_ADMIN": f"unix:{tmp_path}/admin.sock"})
    assert done.returncode == 1 and 'no "shp"' in done.stderr
    by_address = subprocess.run([str(weir_module.BINARY), "ctl", "-a", f"unix:{tmp_path}/admin.sock", "upgrade"],
                                capture_output=True, text=True, timeout=60)
    assert by_address.returncode == 1 and 'no "shp"' in by_address.stderr
    assert gate.get().status == 200


def test_upgrade_by_ctl(weir, scripted, ctl, tmp_path, load):
    gate = weir(conf(tmp_path, scripted(answer())))
    running = load(gate.port, connections=2)
    said = []
    gate.upgrade(lambda: said.append(good(ctl(gate, "upgrade"))))
    assert said[0] == f"upgraded: process {gate.pid}\n"
    assert told(ctl, gate, "status")["pid"] == gate.pid
    running.assert_clean(1)


def test_log_level(weir, scripted, ctl, tmp_path):
    gate = weir(conf(tmp_path, scripted(answer())))
    assert good(ctl(gate, "log")) == "info\n"
    assert good(ctl(gate, "log", "error")) == "error\n"
    before = gate.log()
    gate.upgrade(lambda: good(ctl(gate, "upgrade")), done="")
    gate.successors.append(told(ctl, gate, "status")["pid"])
    assert gate.log() == before and good(ctl(gate, "log")) == "error\n"
    done = ctl(gate, "log", "loud")
    assert done.returncode == 1 and "loud" in done.stderr and "debug" in done.stderr


def test_who_may(weir, scripted, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("# ours\nanna:secret-of-anna\nplain-secret\n")
    server = scripted(answer())
    gate = weir(conf(tmp_path, server, admin=f"{{address: \"unix:{tmp_path}/admin.sock\", token_file: {tokens}}}"))
    admin = Admin(tmp_path / "admin.sock")
    assert os.stat(admin.path).st_mode & 0o777 == 0o600
    refused = admin.ask("GET", "/v1/status")
    problem(refused, 401, "a token is needed")
    assert refused.get("www-authenticate") == 'Bearer realm="weir"'
    for wrong in ("x", "anna", "secret-of-ann", "secret-of-annaa", "# ours", "anna:secret-of-anna"):
        problem(admin.ask("GET", "/metrics", token=wrong), 401, "that token")
    assert admin.ask("GET", "/v1/status", token="plain-secret").status == 200
    assert admin.ask("POST", "/v1/reload", token="secret-of-anna").status == 200
    generations = admin.ask("GET", "/v1/status", token="secret-of-anna").json
    assert generations["generation"]["author"] == "admin anna"
    tokens.write_text("plain-secret\n")
    assert admin.ask("GET", "/v1/status", token="secret-of-anna").status == 401
    gate.reload(conf(tmp_path, server, admin=f"{{address: \"unix:{tmp_path}/admin.sock\", token_file: {tokens}, "
                                             "read_without_token: true}"), done="reloaded generation=")
    assert admin.ask("GET", "/v1/status").status == 200
    problem(admin.ask("POST", "/v1/reload"), 401, "a token is needed")


def test_a_tcp_address_without_tokens_only_shows(weir, scripted, tmp_path):
    gate = weir(one_service(scripted(answer())))
    assert gate.admin("/v1/status").status == 200
    with Client(gate.admin_port) as client:
        problem(client.request("POST", "/v1/reload"), 403, "only shows")
        problem(client.request("PUT", "/v1/log", body=b'{"level": "debug"}'), 403, "only shows")


def test_what_is_asked_wrongly(weir, scripted, tmp_path):
    gate = weir(conf(tmp_path, scripted(answer())))
    admin = Admin(tmp_path / "admin.sock")
    problem(admin.ask("GET", "/v2"), 404, "no such page")
    problem(admin.ask("GET", "/v1/services/none"), 404, '"none"')
    problem(admin.ask("GET", "/v1/generations/x"), 404, "x is not kept")
    response = admin.ask("DELETE", "/v1/log")
    problem(response, 405, "DELETE")
    assert response.get("allow") == "GET, HEAD, PUT"
    problem(admin.ask("PUT", "/v1/log", {"levle": "debug"}), 400, "levle")
    problem(admin.ask("PUT", "/v1/log", {}), 400, "level")
    problem(admin.ask("POST", "/v1/rollback", {"generation": "x"}), 400, "whole number")
    problem(admin.ask("GET", "/v1/diff?form=1"), 400, "form")
    problem(admin.ask("GET", "/v1/diff?from=soon"), 400, "soon")
    problem(admin.ask("GET", "/v1/tap?match=colour=red"), 400, "colour=red")
    with Client(admin.path) as client:
        problem(client.request("PUT", "/v1/log", body=b"{" + b"x" * 100000), 413, "")
    with Client(admin.path) as client:
        problem(client.request("PUT", "/v1/log", body=b"\xff\x00{"), 400, "")
    assert gate.get().status == 200


def test_openapi_and_the_page(weir, scripted, tmp_path):
    weir(conf(tmp_path, scripted(answer())))
    admin = Admin(tmp_path / "admin.sock")
    described = admin.ask("GET", "/openapi.json").json
    assert described["openapi"] == "3.1.0" and len(described["paths"]) > 15
    server = described["paths"]["/v1/services/{service}/servers/{server}"]["patch"]
    assert [p["name"] for p in server["parameters"]] == ["service", "server"]
    assert "state" in server["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert [p["name"] for p in described["paths"]["/v1/tap"]["get"]["parameters"]] == ["match", "fields"]
    for path, methods in described["paths"].items():  # each answers
        if "get" in methods and "{" not in path and path != "/v1/tap":
            assert admin.ask("GET", path).status in (200, 204), path
    page = admin.ask("GET", "/")
    assert page.get("content-type").startswith("text/html") and "/v1/services" in page.text
    try:
        from openapi_spec_validator import validate
    except ImportError:
        return
    validate(described)


def test_tap(weir, origin, ctl, tmp_path):
    gate = weir(conf(tmp_path, origin()))
    tap = subprocess.Popen([str(weir_module.BINARY), "ctl", "-c", str(gate.conf_path), "tap", "status=5xx",
                            "path=/status/*", "--fields"], stdout=subprocess.PIPE, text=True)
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(iter(tap.stdout.readline, "")), daemon=True)
    reader.start()

    def seen():
        gate.get("/status/503", {"Cookie": "secret"})
        return [l for l in map(json.loads, lines) if "status" in l]

    first = wait_until(seen, 20, "the tap shows what matches")[0]
    gate.get("/status/404")
    gate.get("/")
    count = len(seen())
    wait_until(lambda: len(seen()) > count, 20)
    shown = seen()
    assert {s["status"] for s in shown} == {503}
    assert first["target"] == "/status/503" and first["service"] == "shop" and first["route"] == "/*"
    assert first["request"]["Cookie"] == "..." and "Content-Length" in first["response"]
    gate.upgrade()  # the old process has no more to show
    assert tap.wait(20) == 0
    reader.join(20)


def test_a_slow_tap_loses_lines_and_slows_nobody(weir, origin, tmp_path):
    gate = weir(conf(tmp_path, origin()))
    with Client(str(tmp_path / "admin.sock")) as slow:
        slow.send_request("GET", "/v1/tap?fields=true")
        assert slow.read_head().status == 200
        slow.socket.setsockopt(1, 8, 4096)  # SO_RCVBUF
        with gate.connect() as client:
            for _ in range(3000):
                assert client.get("/", {"X-Pad": "x" * 700}).status == 200
        body = b""
        def dropped():
            nonlocal body
            slow.more()
            body += slow.buffer
            slow.buffer = b""
            return re.search(rb'{"dropped":[1-9]\d*}', body)
        wait_until(dropped, 20, "it is told how many it lost")


def test_five_taps_are_too_many(weir, scripted, tmp_path):
    weir(conf(tmp_path, scripted(answer())))
    taps = [Client(str(tmp_path / "admin.sock")) for _ in range(4)]
    for tap in taps:
        tap.send_request("GET", "/v1/tap")
        assert tap.read_head().status == 200
    admin = Admin(tmp_path / "admin.sock")
    problem(admin.ask("GET", "/v1/tap"), 503, "4 taps")
    for tap in taps:
        tap.close()

    def again():
        with Client(admin.path) as client:
            client.send_request("GET", "/v1/tap")
            return client.read_head().status == 200
    wait_until(again, 20, "who has gone makes room")


def test_metrics_and_status_while_it_drains(weir, origin, ctl, tmp_path):
    gate = weir(conf(tmp_path, origin()))
    with gate.connect() as client:
        client.send_request("GET", "/hang")
        wait_until(lambda: told(ctl, gate, "services")["services"][0]["servers"][0]["active"] == 1)
        gate.signal(15)
        wait_until(lambda: told(ctl, gate, "status")["state"] == "draining", 20)
        assert Admin(tmp_path / "admin.sock").ask("GET", "/metrics").status == 200
        done = ctl(gate, "reload")
        assert done.returncode == 1
        gate.signal(15)  # the request hangs: enough of it
    assert gate.wait(20) == 0


def test_top_in_80_columns(weir, origin, ctl, tmp_path, load):
    gate = weir(conf(tmp_path, origin()))
    running = load(gate.port, connections=2)
    running.wait_done(20)
    lines = good(ctl(gate, "top", 2)).splitlines()
    running.stop()
    assert max(map(len, lines)) <= 80
    assert lines[1].split() == ["SERVICE", "STATE", "REQ/S", "ERR/S", "ACTIVE", "P50", "P99"]
    (shop, server) = (line.split() for line in lines[-2:])
    assert shop[0] == "shop" and float(shop[1]) > 0 and shop[-1].endswith("s")
    assert server[1] == "up" and float(server[2]) > 0 and server[-1].endswith("s")


def test_top_in_a_terminal(weir, origin, tmp_path):
    import pty
    gate = weir(conf(tmp_path, origin()))
    ours, theirs = pty.openpty()
    top = subprocess.Popen([str(weir_module.BINARY), "ctl", "-c", str(gate.conf_path), "top"], stdin=theirs,
                           stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""

    def read():
        nonlocal shown
        shown += os.read(ours, 65536)
        return b"q quits" in shown and b"shop" in shown
    wait_until(read, 20, "a frame is drawn")
    assert shown.startswith(b"\x1b[?1049h")
    os.write(ours, b"q")
    assert top.wait(20) == 0
    assert os.read(ours, 65536).endswith(b"\x1b[?1049l")
    os.close(ours)


@pytest.mark.parametrize("args", [[], ["nonsense"], ["drain", "shop"], ["rollback", "x"], ["-x"], ["status", "more"]])
def test_what_is_not_understood(weir_command, args):
    done = weir_command("ctl", "-a", "127.0.0.1:1", *args)
    assert done.returncode == 2 and done.stderr and not done.stdout


def test_what_cannot_be_reached(weir_command, tmp_path):
    done = weir_command("ctl", "-a", f"unix:{tmp_path}/none", "status")
    assert done.returncode == 3 and f"{tmp_path}/none" in done.stderr
    done = weir_command("ctl", "-c", tmp_path / "none.yaml", "status")
    assert done.returncode == 1 and "none.yaml" in done.stderr
    assert weir_command("ctl", "--help").returncode == 0


# ---- the ledger's address


@pytest.fixture
def shelves(weir, tmp_path):
    (tmp_path / "tokens").write_text("shop:secret\n")
    return weir(f"""
        ledger: {{path: {tmp_path}/ledger, http: {{address: "unix:{tmp_path}/ledger.sock", token_file: {tmp_path}/tokens}}}}
        routes: [{{match: "/buy/{{item}}", order: {{item: capture item, user: query who}}}}]
    """)


def test_stock_and_orders(shelves, ctl, tmp_path):
    csv = tmp_path / "items.csv"
    csv.write_text("item,total,price,per_user\nradio,100,3900,2\n\"lamp, green\",50\n")
    assert good(ctl(shelves, "stock", "load", csv)) == "loaded: 2 items\n"
    lines = good(ctl(shelves, "stock", "list")).splitlines()
    assert lines[0].split() == ["item", "total", "free", "held", "sold", "price"]
    assert sorted(line.split() for line in lines[1:]) == [["lamp,", "green", "50", "50", "0", "0", "0"],
                                                          ["radio", "100", "100", "0", "0", "3900"]]
    assert "radio 105 105 0 0 3900" in " ".join(good(ctl(shelves, "stock", "add", "radio", "5")).split())
    assert "lamp, green 48 48" in " ".join(good(ctl(shelves, "stock", "add", "lamp, green", "-2")).split())
    location = shelves.request("POST", "/buy/radio?who=ann", {"Idempotency-Key": '"a 1"'}).get("location")
    assert location
    order = good(ctl(shelves, "order", "show", "a 1"))
    assert "state    held" in order and "user     ann" in order and "item     radio, 1 at 3900" in order
    shown = good(ctl(shelves, "stock", "show", "radio"))
    assert "radio 105 104 1 0 3900" in " ".join(shown.split()) and "per user 2" in shown
    assert told(ctl, shelves, "stock", "show", "radio")["held"] == 1
    assert told(ctl, shelves, "order", "show", "a 1")["state"] == "held"


def test_stock_over_many_pages(shelves, ctl, tmp_path):
    csv = tmp_path / "items.csv"
    csv.write_text("".join(f"item-{i},{i}\n" for i in range(2500)))
    good(ctl(shelves, "stock", "load", csv))
    lines = good(ctl(shelves, "stock", "list")).splitlines()[1:]
    assert {int(line.split()[0].split("-")[1]): int(line.split()[1]) for line in lines} == {i: i for i in range(2500)}
    assert len(lines) == 2500


def test_what_stock_refuses(shelves, ctl, tmp_path):
    def refused(*args, status=1, env=None):
        done = ctl(shelves, *args, env=env)
        assert (done.returncode, done.stdout) == (status, ""), done
        return done.stderr

    csv = tmp_path / "items.csv"
    csv.write_text("radio,100\nlamp,many\n")
    assert "line 2" in refused("stock", "load", csv)
    assert ctl(shelves, "stock", "list").stdout.count("\n") == 1  # a mistake changes nothing
    assert "nowhere.csv" in refused("stock", "load", tmp_path / "nowhere.csv")
    assert "item" in refused("stock", "show", "radio")
    assert "item" in refused("stock", "add", "radio", "5")
    refused("order", "show", "4711")
    for args in (["stock"], ["stock", "frobnicate"], ["stock", "add", "radio"], ["stock", "add", "radio", "x"], ["order", "show"]):
        refused(*args, status=2)
    refused("stock", "show", "x", env={"WEIR_TOKEN": "wrong"})
    shelves.write_conf("routes: [{match: /*, respond: 204}]\n")
    assert "expected `http` in its section" in refused("stock", "list")
