"""doc/split.md, against the running gate."""
from lib.servers import answer


def served(gate, count, headers=()):
    with gate.connect() as client:
        return [client.request("GET", "/", headers) for _ in range(count)]


def test_shares_are_exact_over_workers_and_reloads(weir, scripted):
    old, new = scripted(answer("old")), scripted(answer("new"))
    conf = f"""
        workers: 3
        routes:
          - {{match: /*, service: old, split: 10% to new, headers: {{response: {{set: {{X-Side: $service}}}}}}}}
        services: {{old: {{servers: ["{old.address}"]}}, new: {{servers: ["{new.address}"]}}}}
    """
    gate = weir(conf)
    count = 0
    for turn in range(10):  # a connection each: whichever worker takes it
        for response in served(gate, 25):
            assert response.text == response.all("x-side")[0]
            count += response.text == "new"
        if turn == 5:
            gate.reload(conf)
    assert count == 25
    assert gate.metric("weir_split_requests_total", service="new") == 25
    assert gate.metric("weir_split_requests_total", service="old") == 225


def test_conditions_and_cookies(weir, scripted):
    names = ["a", "b", "c"]
    servers = {n: scripted(answer(n)) for n in names}
    gate = weir("""
        routes:
          - match: /*
            split:
              services: [{service: c, header: {X-Canary: present}}, 50% to a, 50% to b]
              sticky: cookie
        services:
""" + "".join(f'          {n}: {{servers: ["{s.address}"]}}\n' for n, s in servers.items()))
    assert {r.text for r in served(gate, 10, {"X-Canary": "1"})} == {"c"}
    first, second = served(gate, 2)
    assert {first.text, second.text} == {"a", "b"}
    for one in (first, second):
        cookie, _, flags = one.all("set-cookie")[0].partition(";")
        assert "HttpOnly" in flags and "Max-Age=86400" in flags
        again = served(gate, 5, {"Cookie": f"x=y; {cookie}"})
        assert {r.text for r in again} == {one.text}
        assert all(r.all("set-cookie") == [] for r in again)
    assert gate.metric("weir_split_forced_total", service="c") == 10
    assert gate.metric("weir_split_stuck_total") == 10
