"""doc/ip_allow.md, against the running gate. 127.0.0.0/8 is all ours: a client may come from any address of it."""
import socket

import pytest

from lib.client import Client
from lib.conf import one_service
from lib.process import wait_until
from lib.servers import answer


def status_from(gate, ip, headers=()):
    """The status of a request that comes from that loopback address."""
    client = Client.__new__(Client)
    client.socket = socket.create_connection(("127.0.0.1", gate.port), 10, (ip, 0))
    client.buffer = b""
    with client:
        return client.get("/", headers).status


def test_only_those_on_the_list(weir, scripted, each_loop):
    shop = scripted(answer())
    gate = weir(one_service(shop, route="ip_allow: [127.0.0.2, 127.1.0.0/16]"))
    assert status_from(gate, "127.0.0.2") == 200
    assert status_from(gate, "127.1.2.3") == 200
    assert status_from(gate, "127.0.0.1") == 403
    assert len(shop.requests) == 2
    wait_until(lambda: len(gate.access()) == 3)
    refused = [line for line in gate.access() if "answered_by" in line]  # in any order: there are two workers
    assert [(line["answered_by"], line["client"]) for line in refused] == [("ip_allow", "127.0.0.1")]
    assert gate.metric("weir_ip_allow_allowed_total", route="/*") == 2
    assert gate.metric("weir_ip_allow_denied_total", route="/*") == 1


def test_the_most_specific_entry_of_both_lists_decides(weir, scripted):
    shop = scripted(answer())
    gate = weir(one_service(
        shop, route="ip_allow: {allow: [loopback, 127.3.0.9], deny: [127.3.0.0/16, 127.4.0.1], status: 404}"))
    assert status_from(gate, "127.0.0.1") == 200
    assert status_from(gate, "127.3.0.1") == 404
    assert status_from(gate, "127.3.0.9") == 200
    assert status_from(gate, "127.4.0.1") == 404
    assert status_from(gate, "127.4.0.2") == 200


def test_a_file_of_100000_entries_is_read_again_with_the_configuration(weir, scripted, tmp_path):
    shop = scripted(answer())
    blocked = tmp_path / "blocked"

    def write(*more):
        lines = [f"{1 + i // 65536}.{i // 256 % 256}.{i % 256}.0/24 # {i}" for i in range(100_000)]
        blocked.write_text("\n".join([*lines, *more]) + "\n")

    write("127.0.0.9")
    gate = weir(one_service(shop, route=f'ip_allow: {{deny: "file:{blocked}"}}'))
    assert status_from(gate, "127.0.0.9") == 403
    assert status_from(gate, "127.0.0.8") == 200
    write("127.0.0.8")
    gate.reload()
    wait_until(lambda: status_from(gate, "127.0.0.9") == 200)
    assert status_from(gate, "127.0.0.8") == 403
    write("nonsense")
    gate.reload(done="reload refused")
    assert f"{blocked}:100001:" in gate.log()
    assert status_from(gate, "127.0.0.8") == 403


@pytest.mark.parametrize("setting,words", [
    ("[10.0.0.1/8]", 'has bits behind its prefix; did you mean 10.0.0.0/8?'),
    ("[10.0.0.0/33]", '"10.0.0.0/33" is no address range'),
    ("{status: 403}", "say whom to allow or whom to deny"),
    ('"file:/does/not/exist"', "cannot read /does/not/exist"),
    ("{allow: private, status: 200}", "200 is out of bounds"),
])
def test_a_mistake_has_a_place(weir_command, tmp_path, setting, words):
    conf = tmp_path / "weir.yaml"
    conf.write_text('listen: [":1"]' + one_service("127.0.0.1:1", route=f"ip_allow: {setting}"))
    checked = weir_command("check", "-c", conf)
    assert checked.returncode == 1
    assert f"{conf}:2:" in checked.stderr
    assert words in checked.stderr
