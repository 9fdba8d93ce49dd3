"""Binary upgrades under HTTP/3: connections stay with the process that has them, and their datagrams find it."""
import threading

import pytest

from lib.conf import one_service
from lib.http3 import Http3, needs_client, tls_listener
from lib.ports import free_port
from lib.process import wait_until
from lib.servers import answer


@pytest.mark.usefixtures("each_loop")
def test_connections_stay_with_the_old_process(weir, scripted, tmp_path):
    needs_client()
    port = free_port()
    half = b"h" * 300000
    go_on = [threading.Event() for _ in range(2)]

    def serve(peer):
        while request := peer.read_request():
            if b" /slow" not in request:
                peer.send(answer(b"new"))
                continue
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * len(half)) + half)
            go_on[int(request.split(b" ")[1][-1:])].wait(60)
            peer.send(half)

    server = scripted(serve)
    gate = weir(f"""
listen: {tls_listener(tmp_path, port)}
{one_service(server)}""")
    clients = []
    for i in range(2):  # the second is begun in the second process, and ends in the third's time
        clients.append(Http3(tmp_path, port, f"/slow{i}", args=["--timeout=60s"]))
        wait_until(lambda: len(server.requests) == i + 1, 20, "the request is there")
        gate.upgrade()
        fresh = Http3(tmp_path, port, "/fresh")
        assert fresh.answer().status == 200 and fresh.body("/fresh") == b"new"
    for i, client in enumerate(clients):
        go_on[i].set()
        assert client.answer().status == 200, client.log()[-3000:]
        assert client.body(f"/slow{i}") == half + half
    # what the clients acknowledged came to the new process's sockets
    assert gate.metric("weir_quic_forwarded_datagrams_total") > 0
    wait_until(lambda: gate.predecessors() == 0, 30, "those before have ended")
