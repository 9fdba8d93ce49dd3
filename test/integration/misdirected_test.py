"""421: a request for a host over a connection that its client made for another one (RFC 9110 7.4)."""
import pytest

from lib import http2
from lib.client import Client
from lib.http3 import Http3, needs_client
from lib.ports import free_port
from lib.servers import answer
from lib.streams import connect
from lib.tls import Authority, TlsClient, believing


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


def start(weir, server, tls, more=""):
    port = free_port()
    gate = weir(f'''
listen: {{address: "127.0.0.1:{port}", tls: {tls}{more}}}
routes: [{{match: /*, service: s}}]
services: {{s: {{servers: ["{server.address}"]}}}}
''')
    gate.port = port
    return gate


def several(authority):
    """A listener's tls: a.example with www.a.example, *.b.example, c.example, and d.example with a.example."""
    a, b, c = authority.issue("a.example", "www.a.example"), authority.issue("*.b.example"), authority.issue("c.example")
    d = authority.issue("d.example", "a.example")
    return f"{{certificate: {a.certificate}, key: {a.key}, certificates: [{b}, {c}, {d}]}}"


@pytest.mark.parametrize("name, host, status", [
    ("a.example", "a.example", 200),
    ("a.example", "A.Example:443", 200),
    ("a.example", "www.a.example", 200),  # its certificate has both names
    ("d.example", "a.example", 200),  # who asks for that one gets another, but this one has it as well
    ("a.example", "c.example", 421),
    ("a.example", "C.EXAMPLE:8443", 421),
    ("x.b.example", "y.b.example", 200),
    ("x.b.example", "a.example", 421),
    ("a.example", "x.b.example", 421),
    ("a.example", "nobody.example", 200),  # no certificate would be any better
    ("a.example", "127.0.0.1", 200),
    ("nobody.example", "a.example", 200),  # it was given the first one
    ("nobody.example", "c.example", 421),
    (None, "c.example", 200),  # it asked for no name
])
def test_a_request_over_anothers_connection(weir, scripted, authority, name, host, status):
    server = scripted(answer("ok"))
    gate = start(weir, server, several(authority))
    with TlsClient(gate.port, believing(), name) as c:
        assert c.request(headers={"Host": host}).status == status
        assert c.request(headers={"Host": name or "a.example"}).status == 200  # the connection is good for its own
    assert len(server.requests) == (1 if status == 421 else 2)


def test_a_request_over_anothers_connection_is_served_where_that_is_wanted(weir, scripted, authority):
    gate = start(weir, scripted(answer("ok")), several(authority)[:-1] + ", misdirected: serve}")
    with TlsClient(gate.port, believing(), "a.example") as c:
        assert c.request(headers={"Host": "c.example"}).status == 200


def test_over_http2(weir, scripted, authority):
    server = scripted(answer("ok"))
    gate = start(weir, server, several(authority))
    context = believing()
    context.set_alpn_protocols(["h2"])

    class H2(http2.Client):
        def __init__(self, name):
            http2.Connection.__init__(self, context.wrap_socket(connect(gate.port), server_hostname=name))
            self.next_stream = 1
            self.send(http2.PREFACE + http2.settings_frame({}))

        def status(self, host):
            return self.response(self.start(host=host)).status

    with H2("a.example") as c:  # one refused stream takes none of the others with it
        assert [c.status(h) for h in ("a.example", "c.example", "www.a.example")] == [200, 421, 200]
    with H2(None) as c:
        assert c.status("c.example") == 200
    assert len(server.requests) == 3


@pytest.mark.parametrize("host, status", [("localhost", 200), ("www.example", 200), ("nobody.example", 200),
                                          ("a.example", 421), ("c.example", 421)])
def test_over_http3(weir, scripted, authority, tmp_path, host, status):
    """The client asks for localhost in its handshake."""
    needs_client()
    first, second, third = (authority.issue(*names) for names in (["a.example"], ["localhost", "www.example"], ["c.example"]))
    tls = f"{{certificate: {first.certificate}, key: {first.key}, certificates: [{second}, {third}]}}"
    gate = start(weir, scripted(answer("ok")), tls, ", http3: on")
    assert Http3(tmp_path, gate.port, "/", name=host).answer().status == status


def test_in_the_clear_there_is_no_other_certificate(weir, scripted, authority):
    server = scripted(answer("ok"))
    plain, port = free_port(), free_port()
    weir(f'''
listen: [{{address: "127.0.0.1:{port}", tls: {several(authority)}}}, "127.0.0.1:{plain}"]
routes: [{{match: /*, service: s}}]
services: {{s: {{servers: ["{server.address}"]}}}}
''')
    with Client(plain) as c:
        assert c.request(headers={"Host": "c.example"}).status == 200
