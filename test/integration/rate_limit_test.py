"""doc/rate_limit.md, against the running gate."""
import re
import threading

import pytest

from lib.servers import answer

CONF = """
routes:
  - match: /*
    service: shop
    rate_limit: {limit}
services: {{shop: {{servers: ["{address}"]}}}}
"""


def checked(weir_command, tmp_path, text):
    conf = tmp_path / "weir.yaml"
    conf.write_text('listen: [":1"]\n' + text)
    done = weir_command("check", "-c", conf)
    return done.returncode, done.stdout + done.stderr


def test_the_refused_are_told_when_to_come_again(weir, scripted):
    shop = scripted(answer())
    gate = weir(CONF.format(limit="3/h per ip", address=shop.address))
    assert [gate.get().status for _ in range(5)] == [200, 200, 200, 429, 429]
    refused = gate.get()
    assert 1100 <= int(refused.get("retry-after")) <= 1200
    assert refused.get("ratelimit-policy") == '"3/h per ip";q=3;w=3600'
    assert re.fullmatch(r'"3/h per ip";r=0;t=1[12][0-9]{2}', refused.get("ratelimit"))
    assert len(shop.requests) == 3
    assert gate.metric("weir_rate_limit_allowed_total", route="/*", limit="3/h per ip") == 3
    assert gate.metric("weir_rate_limit_limited_total", route="/*") == 3


@pytest.mark.parametrize("key", ["all", "ip"])
def test_workers_together_let_exactly_the_burst_pass(weir, scripted, each_loop, key):
    """The rate is so low that nothing comes back while the test runs: the answer must be exact."""
    gate = weir("workers: 4" + CONF.format(limit=f"{{rate: 40/h, key: {key}}}", address=scripted(answer()).address))
    allowed = []

    def ask():
        for _ in range(15):  # each on a connection, and so on a worker, of its own
            allowed.append(gate.get().status == 200)

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(allowed) == 240
    assert sum(allowed) == 40


@pytest.mark.parametrize("key,one,other", [
    ("header X-Api-Key", {"headers": {"X-Api-Key": "a"}}, {"headers": {"X-Api-Key": "b"}}),
    ("cookie SID", {"headers": {"Cookie": "x=1; SID=a"}}, {"headers": {"Cookie": 'SID="b"'}}),
    ("query user", {"path": "/?user=a%20b"}, {"path": "/?user=ab"}),
    ("path", {"path": "/a"}, {"path": "/b"}),
    ("host", {"headers": {"Host": "a.example"}}, {"headers": {"Host": "b.example"}}),
])
def test_keys_of_each_kind_are_counted_apart(weir, scripted, key, one, other):
    gate = weir(CONF.format(limit=f"2/h per {key}", address=scripted(answer()).address))
    assert [gate.get(**one).status for _ in range(3)] == [200, 200, 429]
    assert [gate.get(**other).status for _ in range(3)] == [200, 200, 429]


def test_all_of_several_must_admit_and_the_refused_is_charged_nowhere(weir, scripted):
    gate = weir(CONF.format(limit="[6/h per ip, 2/h per header X-Api-Key burst 3]", address=scripted(answer()).address))

    def statuses(key, count):
        return [gate.get(headers={"X-Api-Key": key}).status for _ in range(count)]

    assert statuses("a", 10) == [200] * 3 + [429] * 7
    assert statuses("b", 4) == [200] * 3 + [429]  # the address was charged for those that passed, and only for those
    refused = gate.get(headers={"X-Api-Key": "c"})
    assert refused.status == 429
    assert refused.get("ratelimit").startswith('"6/h per ip";r=0;')
    assert refused.get("ratelimit-policy") == '"6/h per ip";q=6;w=3600, "2/h per header X-Api-Key";q=2;w=3600'


def test_routes_share_a_limit_by_its_name(weir, scripted):
    address = scripted(answer()).address
    gate = weir(f"""
routes:
  - {{match: /a/*, service: shop, rate_limit: 3/h per ip as login}}
  - {{match: /b/*, service: shop, rate_limit: 3/h per ip as login}}
  - {{match: /c/*, service: shop, rate_limit: 3/h per ip}}
services: {{shop: {{servers: ["{address}"]}}}}
""")
    assert [gate.get(p).status for p in ("/a/", "/b/", "/a/", "/b/", "/a/")] == [200, 200, 200, 429, 429]
    assert gate.get("/c/").status == 200


def test_answers_that_pass_say_what_is_left_when_wanted(weir, scripted):
    gate = weir(CONF.format(limit="{rate: 5/h, key: ip, fields: always, legacy_fields: on}",
                            address=scripted(answer()).address))
    passed = gate.get()
    assert passed.status == 200
    assert passed.get("ratelimit").startswith('"5/h per ip";r=4;t=')
    assert (passed.get("x-ratelimit-limit"), passed.get("x-ratelimit-remaining")) == ("5", "4")


def test_a_reload_forgets_nothing_unless_the_rate_changes(weir, scripted):
    shop = scripted(answer())
    gate = weir(CONF.format(limit="2/h per ip", address=shop.address))
    assert [gate.get().status for _ in range(3)] == [200, 200, 429]
    gate.reload()
    assert gate.get().status == 429
    gate.reload(CONF.format(limit="3/h per ip", address=shop.address))
    assert [gate.get().status for _ in range(4)] == [200, 200, 200, 429]


def test_the_rate_gives_back(weir, scripted):
    gate = weir(CONF.format(limit="{rate: 20/s, burst: 1}", address=scripted(answer()).address))
    with gate.connect() as client:
        seen = set()
        while seen != {200, 429}:  # refused, and taken again later
            seen.add(client.get().status)
        while client.get().status != 200:
            pass


def test_operators_see_it(weir, scripted):
    gate = weir(CONF.format(limit="2/h per ip", address=scripted(answer()).address))
    assert [gate.get().status for _ in range(3)] == [200, 200, 429]
    shown = gate.admin("/v1/filters").text
    assert '"name":"2/h per ip"' in shown
    assert '"allowed":2,"limited":1' in shown


@pytest.mark.parametrize("limit,words", [
    ("50/s per planet", "planet"),
    ("50/s per ip/7", "multiple of 8"),
    ("50/s per header", "header NAME"),
    ("[50/s per ip, 50/s per ip]", "give one of them another `name`"),
    ("[]", "needs at least one item"),
    ("{rate: 1/h, burst: 1000000000}", "takes? longer than can be counted"),
])
def test_a_mistake_has_a_place(weir_command, tmp_path, limit, words):
    status, said = checked(weir_command, tmp_path, CONF.format(limit=limit, address="127.0.0.1:1"))
    assert status == 1
    assert ":6:" in said
    assert re.search(words, said)


def test_limits_of_one_name_must_be_the_same(weir_command, tmp_path):
    status, said = checked(weir_command, tmp_path, """
routes:
  - {match: /a/*, service: shop, rate_limit: 3/h per ip as login}
  - {match: /b/*, service: shop, rate_limit: 4/h per ip as login}
services: {shop: {servers: ["127.0.0.1:1"]}}
""")
    assert status == 1
    assert ":5:" in said and '"login"' in said
