"""doc/ledger.md, against the running program: settings, state, copies, and that one process has it at a time."""
import re
import signal
import struct

import pytest

from lib import weir as program
from lib.process import wait_until

CONF = """
ledger: {ledger}
routes:
  - match: GET /stock/{{item}}
    order: stock capture item
  - {{match: "POST /buy/{{id}}", order: {{item: query item, id: capture id}}}}
  - {{match: "POST /release/{{id}}", order: {{release: capture id}}}}
  - match: /*
    respond: 200 hello
"""


@pytest.fixture
def ledger(weir, tmp_path):
    """A gate with a ledger in tmp_path."""
    def start(settings="", folder="ledger", more="", **options):
        return weir(CONF.format(ledger=f"{{path: {tmp_path}/{folder}{settings}}}") + more, **options)
    return start


def status(gate):
    return gate.admin("/v1/ledger").json


@pytest.mark.parametrize("settings, said", [
    ("ledger", "no absolute path"),
    ("{path: /var/lib/x, durability: now}", "now is not one of commit, interval, memory"),
    ("{path: /var/lib/x, durability: commit 50ms}", "only `interval` has a time"),
    ("{path: /var/lib/x, key: secret}", "neither file:/path nor env:NAME"),
    ("{path: /var/lib/x, segment_bytes: 1k}", "1k is out of bounds"),
    ("{durability: commit}", "path"),
])
def test_settings_that_cannot_work(tmp_path, settings, said):
    conf = tmp_path / "weir.yaml"
    conf.write_text(f"listen: 127.0.0.1:1\nledger: {settings}\nroutes: [{{match: /*, respond: 200 hello}}]\n")
    found = program.run("check", "-c", conf)
    assert found.returncode == 1 and said in found.stderr, found.stderr


@pytest.mark.parametrize("word, durability", [("commit", "commit"), ("interval 20ms", "interval"), ("memory", "memory")])
def test_its_state_says_how_safe_answers_are(ledger, word, durability):
    gate = ledger(f", durability: {word}")
    assert (status(gate)["state"], status(gate)["durability"]) == ("serving", durability)
    gate.get("/stock/nothing")
    wait_until(lambda: gate.metric("weir_ledger_reads_total", durability=durability)
               + gate.metric("weir_ledger_refused_total", durability=durability) > 0, 20, "it is counted")
    assert gate.metric("weir_ledger_stopped", durability=durability) == 0
    assert gate.metric("weir_ledger_log_bytes") == 16 << 20  # its first segment


def test_without_one(weir):
    gate = weir("routes: [{match: /*, respond: 200 hello}]")
    assert status(gate) == {"state": "off"}
    assert not any("weir_ledger" in name for name in gate.metrics())


def test_a_change_of_its_settings_takes_a_restart(ledger, tmp_path):
    gate = ledger()
    gate.reload(CONF.format(ledger=f"{{path: {tmp_path}/other}}"), done="takes effect at the next start")
    assert gate.get().status == 200 and not (tmp_path / "other").exists()


def test_one_process_has_it(ledger, tmp_path):
    ledger()
    second = ledger(ready=False)
    second.status_expected = 1
    assert second.wait(20) == 1 and "another process has the ledger" in second.log()
    found = program.run("ledger", "verify", tmp_path / "ledger")
    assert found.returncode == 1 and "another process has the ledger" in found.stderr


def test_a_copy_while_it_runs_is_a_ledger(ledger, tmp_path):
    admin = f"unix:{tmp_path}/admin.sock"
    gate = ledger(more=f"admin: {admin}\n")
    shown = program.run("ctl", "-a", admin, "ledger")
    assert shown.returncode == 0 and re.search(r"^state +serving$", shown.stdout, re.M)
    copied = program.run("ctl", "-a", admin, "backup", tmp_path / "copy")
    assert copied.returncode == 0, copied.stderr
    again = program.run("ctl", "-a", admin, "backup", tmp_path / "copy")
    assert again.returncode == 1 and "copy" in again.stderr
    relative = program.run("ctl", "-a", admin, "backup", "copy")
    assert relative.returncode == 1 and "no absolute path" in relative.stderr
    assert gate.stop(20) == 0
    for folder in ("ledger", "copy"):
        found = program.run("ledger", "verify", tmp_path / folder)
        assert found.returncode == 0 and ": ok: batches to " in found.stdout, found.stderr
    restored = program.run("ledger", "restore", tmp_path / "copy", tmp_path / "back")
    assert restored.returncode == 0, restored.stderr
    assert program.run("ledger", "restore", tmp_path / "copy", tmp_path / "back").returncode == 1
    back = ledger(folder="back")
    assert status(back)["state"] == "serving"


def test_what_cannot_be_opened_is_said(ledger, tmp_path):
    gate = ledger()
    assert gate.stop(20) == 0
    (tmp_path / "ledger" / "ledger").unlink()
    second = ledger(ready=False)
    second.status_expected = 1
    assert second.wait(20) == 1 and "damaged or missing: restore a backup" in second.log()
    assert program.run("ledger", "verify", tmp_path / "nothing").returncode == 1
    assert program.run("ledger", "look").returncode == 2


def in_checkpoint(gate):
    wait_until(lambda: (s := status(gate))["checkpoint_batch"] == s["batch"], 20, "the checkpoint has it")


def test_a_finished_record_stands_in_one_table(ledger, tmp_path):
    """In the checkpoint what is open is loaded at start, and what is finished stands in another table: in that alone."""
    (tmp_path / "items.csv").write_text("radio,3\n")
    settings = f", checkpoint_interval: 10ms, stock_file: {tmp_path}/items.csv"
    gate = ledger(settings)
    wait_until(lambda: gate.get("/stock/radio").status == 200, 20, "there are radios")
    assert gate.request("POST", "/buy/one?item=radio").status == 202
    in_checkpoint(gate)  # among the open ones
    assert gate.request("POST", "/release/one").status == 200
    in_checkpoint(gate)
    assert gate.stop(20) == 0
    found = program.run("ledger", "verify", tmp_path / "ledger")
    assert found.returncode == 0, found.stderr
    gate = ledger(settings)
    again = gate.request("POST", "/buy/one?item=radio")
    assert again.json["state"] == "released" and gate.get("/stock/radio").json["free"] == 3


def test_a_checkpoint_of_another_version_is_refused(ledger, tmp_path):
    (tmp_path / "items.csv").write_text("radio,3\n")
    gate = ledger(f", stock_file: {tmp_path}/items.csv")
    wait_until(lambda: gate.get("/stock/radio").status == 200, 20, "there are radios")
    assert gate.stop(20) == 0
    data = tmp_path / "ledger/checkpoint/data.mdb"
    state, other = (b"state" + struct.pack("<I", version) for version in (2, 3))
    whole = data.read_bytes()
    assert state in whole
    data.write_bytes(whole.replace(state, other))
    second = ledger(ready=False)
    second.status_expected = 1
    assert second.wait(20) == 1 and "the checkpoint is of another version of the format" in second.log()


def test_keys(ledger, tmp_path):
    if "openssl" not in program.run("version").stdout.partition("without")[0]:
        pytest.skip("built without openssl")
    keys = tmp_path / "keys"
    keys.write_text("1:" + "ab" * 32 + "\n")
    gate = ledger(f", key: 'file:{keys}'")
    assert gate.stop(20) == 0
    assert program.run("ledger", "-k", f"file:{keys}", "verify", tmp_path / "ledger").returncode == 0
    found = program.run("ledger", "verify", tmp_path / "ledger")
    assert found.returncode == 1 and "encrypted with key 1" in found.stderr
    keys.write_text("2:" + "cd" * 32 + "\n")
    second = ledger(f", key: 'file:{keys}'", ready=False)
    second.status_expected = 1
    assert second.wait(20) == 1 and "encrypted with key 1" in second.log()


def test_an_upgrade_hands_it_over_and_requests_wait(ledger):
    gate = ledger()
    for _ in range(2):
        gate.upgrade()
        wait_until(lambda: status(gate)["state"] == "serving", 20, "the next process has it")
        assert gate.get("/stock/nothing").status == 404
        wait_until(lambda: gate.predecessors() == 0, 30, "the one before has ended")
    wait_until(lambda: len(re.findall("ledger: open path=", gate.log())) == 3, 20, "each process has said so")


def test_killed_and_started_again(ledger):
    gate = ledger()
    gate.get("/stock/nothing")
    gate.signal(signal.SIGKILL)
    gate.wait(20)
    gate.status_expected = -signal.SIGKILL
    assert status(ledger())["state"] == "serving"
