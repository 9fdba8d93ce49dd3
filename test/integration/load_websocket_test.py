"""weir load: virtual users that talk over WebSockets."""
import json
import struct
import textwrap

import pytest

from lib import weir as weir_module
from lib import websocket
from lib.conf import one_service
from lib.ports import free_port
from lib.tls import Authority


@pytest.fixture
def load(weir_command, tmp_path):
    """load(scenario, "-n", 10) -> (exit code, the JSON result or what was said)"""
    def run(scenario, *args):
        (tmp_path / "s.yaml").write_text(textwrap.dedent(scenario))
        done = weir_command("load", "--quiet", "--json", "-", *args, tmp_path / "s.yaml", timeout=60)
        assert not weir_module.BUGS.search(done.stderr), done.stderr
        return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr
    return run


def steps(target, *lines, more=""):
    return (f"target: {target}\nusers: 3\n{more}\nkinds:\n  chat:\n    steps:\n" + "".join(f"      - {line}\n" for line in lines))


def kinds(result):
    return {k["name"]: k for k in result["kinds"]}


def test_each_message_has_its_answer(load, weir, scripted, each_loop):
    gate = weir(one_service(scripted(websocket.echo), service="", route=""))
    code, result = load(steps(gate.url, "websocket: /room", "{send: 'hi ${visit} of ${user}', expect: {contains: 'hi '}, name: hi}",
                              "{send: '{\"id\": \"${uuid}\"}', take: {id: json /id}, name: ask}",
                              "{send: '${id}', expect: {matches: '^[0-9a-f-]{36}$'}, name: again}", "close: 1000"),
                        "-n", 30, "--loop", each_loop)
    assert code == 0 and result["total"]["errors"] == {} and result["total"]["good"] == 120
    assert {n: k["good"] for n, k in kinds(result).items()} == {"chat WEBSOCKET /room": 30, "hi": 30, "ask": 30, "again": 30}
    assert kinds(result)["chat WEBSOCKET /room"]["statuses"] == {"101": 30}
    assert result["messages_out"] == result["messages_in"] == 90 and result["connects"] == 30
    assert kinds(result)["hi"]["latency_ns"]["service"]["count"] == 30 and kinds(result)["hi"]["latency_ns"]["service"]["min"] > 0


def test_what_comes_by_itself(load, scripted, each_loop):
    """Pings are answered, fragments are put together, what is not expected is passed over."""
    def push(peer):
        websocket.accept(peer)
        peer.send(websocket.frame(websocket.PING, b"are you there"))
        got = websocket.read_frame(peer)
        assert (got.opcode, got.payload, got.masked) == (websocket.PONG, b"are you there", True)
        for i in range(3):
            peer.send(websocket.frame(websocket.TEXT, "noise"))
            peer.send(websocket.frame(websocket.TEXT, "price ", fin=False) + websocket.frame(websocket.PING)
                      + websocket.frame(websocket.CONT, "9" * 70000, fin=False) + websocket.frame(websocket.CONT, str(i)))
            pongs.append(websocket.read_frame(peer).opcode)
        closes.append(websocket.read_frame(peer))
        peer.send(websocket.close(1000))
    pongs, closes = [], []
    server = scripted(push)
    code, result = load(steps(f"http://{server.address}", "websocket: /", "{receive: 3, expect: {matches: 'price 9+[0-2]$'}}",
                              "close: 4001"), "-n", 9, "--loop", each_loop)
    assert code == 0 and result["total"]["errors"] == {} and kinds(result)["chat RECEIVE"]["good"] == 27
    assert result["messages_in"] == 54 and result["messages_out"] == 0
    assert pongs == [websocket.PONG] * 27 and [c.code for c in closes] == [4001] * 9


def test_a_user_that_thinks_still_listens(load, scripted, each_loop):
    def push(peer):
        websocket.accept(peer)
        for _ in range(20):
            peer.send(websocket.frame(websocket.TEXT, "x"))
        peer.send(websocket.frame(websocket.PING))
        assert websocket.read_frame(peer).opcode == websocket.PONG  # or the server would wait in vain
        answered.append(1)
        got = websocket.read_frame(peer)
        peer.send(websocket.frame(websocket.TEXT, got.payload))
        ends.append(websocket.read_frame(peer).code)
    answered, ends = [], []
    server = scripted(push)
    code, result = load(steps(f"http://{server.address}", "{websocket: /, think: 300ms}", "{send: done, expect: {contains: done}}"),
                        "-n", 6, "--loop", each_loop)
    assert code == 0 and result["total"]["errors"] == {} and result["total"]["good"] == 12
    assert len(answered) == 6 and result["messages_in"] == 6 * 21 and ends == [1000] * 6  # the visit's end closes it


def refuse(peer):
    peer.read_until(b"\r\n\r\n")
    peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")


def wrong_accept(peer):
    peer.read_until(b"\r\n\r\n")
    peer.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
              b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n")


def then(*frames):
    def serve(peer):
        websocket.accept(peer)
        websocket.read_frame(peer)
        for f in frames:
            peer.send(f)
        peer.read_to_end() if hasattr(peer, "read_to_end") else None
    return serve


@pytest.mark.parametrize("serve,kind,where", [
    (refuse, "status", "chat WEBSOCKET /"),
    (wrong_accept, "protocol", "chat WEBSOCKET /"),
    (then(websocket.frame(websocket.TEXT, "x", masked=True)), "protocol", "chat SEND"),
    (then(websocket.frame(websocket.TEXT, "x", rsv=4)), "protocol", "chat SEND"),
    (then(websocket.frame(websocket.CONT, "x")), "protocol", "chat SEND"),
    (then(websocket.frame(websocket.PING, "x", fin=False)), "protocol", "chat SEND"),
    (then(websocket.frame(websocket.CLOSE, struct.pack(">H", 1005))), "protocol", "chat SEND"),
    (then(websocket.close(1001)), "closed", "chat SEND"),
    (then(), "closed", "chat SEND"),
])
def test_errors_by_kind(load, scripted, serve, kind, where):
    server = scripted(serve)
    code, result = load(steps(f"http://{server.address}", "websocket: /", "{send: x, expect: {contains: y, within: 5s}}"), "-n", 3)
    assert code == 0 and result["total"]["errors"] == {kind: 3} and kinds(result)[where]["errors"] == {kind: 3}


def test_a_message_that_does_not_come(load, scripted):
    server = scripted(websocket.echo)
    code, result = load(steps(f"http://{server.address}", "websocket: /", "{send: x, expect: {contains: y, within: 200ms}, name: ask}"),
                        "-n", 3)
    service = kinds(result)["ask"]["latency_ns"]["service"]
    assert code == 0 and result["total"]["errors"] == {"timeout": 3} and result["messages_in"] == 3
    assert service["count"] == 3 and service["min"] >= 199 * 10**6


def test_over_tls_beside_requests(load, weir, scripted, origin, tmp_path, each_loop):
    authority, port = Authority(tmp_path), free_port()
    weir(f'''
        listen: {{address: "127.0.0.1:{port}", tls: "{authority.issue("localhost")}"}}
        routes: [{{match: /ws, service: ws}}, {{match: /*, service: shop}}]
        services: {{ws: {{servers: ["{scripted(websocket.echo).address}"]}}, shop: {{servers: ["{origin().address}"]}}}}
        ''')
    code, result = load(steps(f"https://localhost:{port}", "GET /bytes/10", "websocket: /ws", "{send: hello, expect: {contains: hello}}",
                              "GET /bytes/20"), "-n", 12, "--ca", authority.certificate, "--loop", each_loop)
    assert code == 0 and result["total"]["errors"] == {} and result["total"]["good"] == 48


@pytest.mark.parametrize("lines,says", [
    (["send: x"], "no WebSocket open"),
    (["websocket: /", "websocket: /b"], "open already"),
    (["websocket: /", "close: 1000", "receive: 1"], "no WebSocket open"),
    (["{websocket: /, body: x}"], "a body is for a request"),
    (["websocket: /", "{send: x, expect: 200}"], "no status"),
    (["websocket: /", "{close: 1000, name: x}"], "not counted"),
    (["websocket: /", "{send: x, receive: 1}"], "one thing done with a WebSocket"),
    (["websocket: /", "close: 7"], "1000"),
])
def test_mistakes(load, lines, says):
    code, said = load(steps("http://127.0.0.1:1", *lines))
    assert code == 2 and says in said and "s.yaml:" in said


def test_not_over_http2(load):
    code, said = load(steps("http://127.0.0.1:1", "websocket: /", more="http2: on"))
    assert code == 2 and "HTTP/1.1" in said
