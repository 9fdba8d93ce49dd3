"""doc/overload.md and doc/priority.md, against the running gate. The thresholds make the result certain, whatever else
the machine does: either anything that runs at all is full pressure, or nothing ever is."""
import pytest

from lib.process import wait_until
from lib.servers import answer

CONF = """
routes:
  - {{match: /low/*, service: shop, priority: low, overload: {overload}}}
  - {{match: /normal/*, service: shop, overload: {overload}}}
  - {{match: /high/*, service: shop, priority: high, overload: {overload}}}
  - {{match: /asked/*, service: shop, priority: header X-Priority, overload: {overload}}}
  - {{match: /*, service: shop}}
services: {{shop: {{servers: ["{address}"]}}}}
"""
FULL = "{cpu_from: 0%, cpu_full: 0.000001%, lag_from: 59m, lag_full: 60m, recovery: 60m, spare: SPARE}"
NEVER = "{cpu_from: 99.9999%, cpu_full: 100%, lag_from: 59m, lag_full: 60m, recovery: 0ms, spare: normal}"


def test_the_low_are_shed_and_who_is_spared_is_not(weir, scripted, each_loop):
    gate = weir(CONF.format(overload=FULL.replace("SPARE", "high"), address=scripted(answer()).address))
    wait_until(lambda: gate.get("/low/").status == 503)
    refused = gate.get("/low/")
    assert (refused.status, refused.get("retry-after")) == (503, "1")
    assert gate.get("/normal/").status == 503
    assert gate.get("/high/").status == 200
    assert gate.get("/other").status == 200
    for said, status in (("low", 503), ("u=7", 503), ("nonsense", 503), ("high", 200), ("u=0", 200)):
        assert gate.get("/asked/", headers={"X-Priority": said}).status == status, said
    assert gate.metric("weir_overload_shed_low_total", route="/low/*") >= 2
    assert gate.metric("weir_overload_shed_normal_total", route="/normal/*") == 1
    assert gate.metric("weir_overload_shed_high_total") == 0
    assert '"pressure":' in gate.admin("/v1/filters").text


def test_full_pressure_sheds_all_but_those_routes_that_do_not_say_it(weir, scripted):
    gate = weir(CONF.format(overload=FULL.replace("SPARE", "nobody"), address=scripted(answer()).address))
    wait_until(lambda: gate.get("/high/").status == 503)
    assert {gate.get(p).status for p in ("/low/", "/normal/", "/high/")} == {503}
    assert gate.get("/other").status == 200


def test_without_pressure_all_pass(weir, scripted):
    gate = weir(CONF.format(overload=NEVER, address=scripted(answer()).address))
    assert {gate.get(p).status for p in ("/normal/", "/high/", "/asked/") * 10} == {200}


@pytest.mark.parametrize("overload,words", [
    ("{cpu_from: 90%, cpu_full: 80%}", "cpu_full has to be above cpu_from"),
    ("{lag_from: 300ms}", "lag_full above lag_from"),
])
def test_a_mistake_has_a_place(weir_command, tmp_path, overload, words):
    conf = tmp_path / "weir.yaml"
    conf.write_text('listen: [":1"]' + CONF.format(overload=overload, address="127.0.0.1:1"))
    checked = weir_command("check", "-c", conf)
    assert checked.returncode == 1
    assert f"{conf}:3:" in checked.stdout + checked.stderr
    assert words in checked.stdout + checked.stderr
