"""HTTP/2 over TLS, agreed on by ALPN, on both sides."""
import shutil
import socket
import ssl
import subprocess

import pytest

from lib import http2
from lib.conf import one_service
from lib.ports import free_port
from lib.process import Process, wait_until
from lib.servers import answer
from lib.tls import Authority
from lib.websocket import echo

pytestmark = pytest.mark.usefixtures("each_loop")


def conf(port, server, service="", root=""):
    return one_service(server, service=service,
                       root=f'listen: [{{address: "127.0.0.1:{port}", tls: {{self_signed: true}}}}]\n{root}')


def connect(port, *protocols, pair=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(list(protocols))
    if pair:
        context.load_cert_chain(pair.certificate, pair.key)
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), 20))


class TlsClient(http2.Client):
    def __init__(self, port, pair=None):
        http2.Connection.__init__(self, connect(port, "h2", "http/1.1", pair=pair))
        assert self.socket.selected_alpn_protocol() == "h2"
        self.next_stream = 1
        self.send(http2.PREFACE + http2.settings_frame({}))


def test_a_client(weir, origin):
    port = free_port()
    gate = weir(conf(port, origin(), root="access_log: {path: stdout, format: 'spoke ${protocol}'}"))
    with TlsClient(port) as c:
        streams = [c.start(path=f"/bytes/{n * 1000}") for n in range(30)]
        assert [len(c.response(s).body) for s in streams] == [n * 1000 for n in range(30)]
        assert '"X-Forwarded-Proto", "https"' in c.request("POST", "/echo", body=b"hi").text
        assert len(c.get("/bytes/3000000").body) == 3000000
    wait_until(lambda: gate.log().count("spoke HTTP/2\n") == 32, 20)


@pytest.mark.skipif(not shutil.which("openssl"), reason="there is no openssl")
def test_what_is_known_of_the_connection(weir, scripted, tmp_path):
    """A client's certificate above all: servers and logs hear of it as over HTTP/1.1."""
    authority = Authority(tmp_path)
    port = free_port()
    server = scripted(answer("here"))
    gate = weir(f"""
        listen: [{{address: "127.0.0.1:{port}", tls: {{self_signed: true, client_ca: {authority.certificate}}}}}]
        access_log: {{path: stdout, format: "log ${{tls_client_subject}} ${{tls_version}} ${{tls_protocol}}"}}
        routes: [{{match: /*, service: shop, headers: {{request: {{set: {{X-Subject: "$tls_client_subject"}}}}}}}}]
        services: {{shop: {{servers: ["{server.address}"]}}}}
    """)
    with TlsClient(port, authority.issue("ann.example", subject="/O=Example/CN=ann")) as c:
        assert c.get(fields=[("x-subject", "CN=forged")]).text == "here"
    assert b"X-Subject: CN=ann,O=Example\r\n" in server.requests[0] and b"forged" not in server.requests[0]
    wait_until(lambda: "log CN=ann,O=Example TLSv1.3 h2\n" in gate.log(), 20)


def test_off(weir, scripted):
    port = free_port()
    weir(conf(port, scripted(answer("here")), root="client: {http2: off}"))
    with connect(port, "h2", "http/1.1") as s:
        assert s.selected_alpn_protocol() == "http/1.1"


def test_a_listener_that_is_off(weir, scripted):
    ports = [free_port(), free_port()]
    listen = ", ".join(f'{{address: "127.0.0.1:{p}", tls: {{self_signed: true}}, http2: {said}}}'
                       for p, said in zip(ports, ("off", "{streams_max: 7}")))
    weir(one_service(scripted(answer("here")), root=f"listen: [{listen}]\nclient: {{http2: off}}"))
    with connect(ports[0], "h2", "http/1.1") as s:
        assert s.selected_alpn_protocol() == "http/1.1"
    with TlsClient(ports[1]) as c:
        assert c.get().text == "here" and c.settings[http2.MAX_STREAMS] == 7


def test_turned_off_while_a_client_shakes_hands(weir, scripted):
    """It agrees on h2 by the settings that it came under, and is let go of."""
    port = free_port()
    server = scripted(answer("here"))
    gate = weir(conf(port, server))
    before = gate.metric("weir_worker_connections")
    early = socket.create_connection(("127.0.0.1", port), 20)
    wait_until(lambda: gate.metric("weir_worker_connections") > before, 20, "it has arrived")
    gate.reload(conf(port, server, root="client: {http2: off}"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with context.wrap_socket(early) as s:
        assert s.selected_alpn_protocol() == "h2"
        s.settimeout(20)
        assert s.recv(1) == b""
    with connect(port, "h2", "http/1.1") as s:
        assert s.selected_alpn_protocol() == "http/1.1"


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
def test_curl(weir, origin):
    port = free_port()
    weir(conf(port, origin()))
    done = subprocess.run(["curl", "-sk", "--http2", "-w", " %{http_version}", f"https://127.0.0.1:{port}/bytes/3"],
                          capture_output=True, text=True, timeout=30)
    assert done.stdout.endswith(" 2")


@pytest.mark.skipif(not shutil.which("nghttpd") or not shutil.which("openssl"), reason="there is no nghttpd or no openssl")
def test_a_server(weir, tmp_path):
    port = free_port()
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", "/CN=shop.example", "-addext", "subjectAltName=DNS:shop.example",
                    "-keyout", key, "-out", certificate], check=True, capture_output=True)
    (tmp_path / "big").write_bytes(b"x" * 300_000)
    server = Process([shutil.which("nghttpd"), "-d", str(tmp_path), str(port), key, certificate], tmp_path / "nghttpd.log")
    try:
        gate = weir(one_service(f"127.0.0.1:{port}",
                                service=f"protocol: http2, tls: {{ca: {certificate}, server_name: shop.example}}"))
        wait_until(lambda: gate.get("/big").status == 200, 20)
        assert len(gate.get("/big").body) == 300_000
        other = weir(one_service(f"127.0.0.1:{port}", service="protocol: http2, tls: {server_name: shop.example}"))
        assert other.get("/big").status == 502  # it is not believed
    finally:
        server.stop()


PAGE = """<!doctype html><script>
const said = text => fetch("/said/" + text);
(async () => {
    const answers = await Promise.all([...Array(20).keys()].map(n => fetch("/bytes/" + n * 1000).then(r => r.text())));
    const posted = await fetch("/echo", {method: "POST", body: "x".repeat(100000)}).then(r => r.json());
    const how = performance.getEntriesByType("resource").map(e => e.nextHopProtocol);
    const socket = new WebSocket(location.href.replace("https", "wss") + "chat");
    socket.onopen = () => socket.send("hello");
    socket.onmessage = m => said([answers.reduce((sum, a) => sum + a.length, 0), posted.body_bytes, m.data,
                                  how.every(h => h == "h2") ? "h2" : how.join("+")].join("/"));
    socket.onerror = () => said("error");
})();
</script>"""


@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")
def test_a_real_browser(weir, scripted, origin, tmp_path, each_loop):
    if each_loop == "epoll":
        pytest.skip("once is enough")
    port = free_port()
    pages = scripted(answer(PAGE, headers=[("Content-Type", "text/html")]))
    gate = weir(f"""
        listen: [{{address: "127.0.0.1:{port}", tls: {{self_signed: true}}}}]
        access_log: {{path: stdout, format: "spoke ${{protocol}} ${{target}}"}}
        routes:
          - {{match: /chat, service: chat}}
          - {{match: [/bytes/*, /echo], service: shop}}
          - {{match: /*, service: pages}}
        services:
          pages: {{servers: ["{pages.address}"]}}
          shop: {{servers: ["{origin().address}"]}}
          chat: {{servers: ["{scripted(echo).address}"]}}
    """)
    shown = Process([shutil.which("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                     "--ignore-certificate-errors", "--remote-debugging-port=0", f"--user-data-dir={tmp_path}/browser",
                     f"https://127.0.0.1:{port}/"], tmp_path / "browser.log")
    try:
        wait_until(lambda: "HTTP/2 /said/190000/100000/hello/h2" in gate.log(), 60, f"the page says so: {gate.log()}")
    finally:
        shown.kill()
