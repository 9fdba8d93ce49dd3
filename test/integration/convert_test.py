"""weir convert: what nginx or haproxy does with a configuration, weir does with the converted one."""
import os
import re
import shutil
import socket
import textwrap
import urllib.parse

import pytest

from lib.client import Client
from lib.ports import free_port, listening
from lib.process import Process, wait_until
from lib.streams import UdpClient, connect, receive_exactly

PATH = os.environ["PATH"] + ":/usr/sbin"


def tell(name):
    """A server that says its name and what it was asked, and how, but for what is each proxy's own."""
    own = ("connection", "accept-encoding", "user-agent", "content-length")

    def script(peer):
        while request := peer.read_request():
            first, *lines = request.split(b"\r\n\r\n")[0].decode().split("\r\n")
            fields = [line.partition(":") for line in lines]
            told = [f"server: {name}", first.rpartition(" ")[0],
                    *sorted(f"{n.lower()}:{v}" for n, _, v in fields if n.lower() not in own)]
            body = "\n".join(told).encode()
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Name: %s\r\n\r\n" % (len(body), name.encode()) + body)
    return script


@pytest.fixture
def rich(weir_command):
    """What most of these need is a module of its own."""
    there = weir_command("reference").stdout.split()
    if missing := {"redirect", "hash", "ip_allow", "size_limit", "outlier", "static"} - set(there):
        pytest.skip(f"this weir has no {missing}")


@pytest.fixture
def both(started, tmp_path, weir_command, weir):
    """both(program, text) -> (port of the program, port of weir): PORT in text is where it listens."""
    def start(program, text, complete=True):
        binary = shutil.which(program, path=PATH)
        if not binary:
            pytest.skip(f"{program} is not installed")
        original, converted = free_port(), free_port()
        folder = tmp_path / program
        folder.mkdir()
        path = folder / "original.conf"
        path.write_text(textwrap.dedent(text).replace("PORT", str(original)).replace("FOLDER", str(folder)))
        args = ["-c", path, "-p", folder, "-e", "stderr"] if program == "nginx" else ["-db", "-f", path]
        process = Process([binary, *args], folder / "log")
        started.append(process)
        try:
            wait_until(lambda: listening(original) or not process.running, 20)
            assert process.running, process.log()
            result = convert(weir_command, path)
            assert result.returncode == (0 if complete else 3), result.stderr
            yaml = result.stdout.replace(f":{original}", f":{converted}")
            checked = tmp_path / "checked.yaml"
            checked.write_text(yaml)
            check = weir_command("check", "-c", checked)
            assert check.returncode == 0, check.stderr + yaml
            weir(yaml)
            wait_until(lambda: listening(converted), 20)
            yield_back.append(process)
            return original, converted, result
        except BaseException:
            process.kill()
            raise

    yield_back = []
    yield start
    for process in yield_back:
        process.kill()


def convert(weir_command, path, *more):
    return weir_command("convert", *more, path)


def ask(port, method="GET", path="/", host="shop.example", headers=(), body=None):
    with Client(port) as c:
        c.send_request(method, path, [("Host", host), *headers], body)
        response = c.read_response(method)
    kept = {n.lower(): v for n, v in response.headers
            if n.lower().startswith("x-") or n.lower() in ("location", "content-encoding")}
    if "location" in kept:  # nginx says it in full, weir as short as it can be
        kept["location"] = re.sub(r"^http://[^/]*", "", urllib.parse.urljoin(path, kept["location"]))
    kept.pop("x-request-id", None)
    served = response.status == 200 and "server:" in response.body.decode("latin-1")
    return response.status, kept, response.body if served or response.status == 200 else b""


def same(ports, *args, **options):
    """Both answer alike, down to what the server behind got."""
    original, converted = (ask(port, *args, **options) for port in ports[:2])
    assert (original[0], original[1]) == (converted[0], converted[1])
    assert original[2].replace(b":%d" % ports[0], b"") == converted[2].replace(b":%d" % ports[1], b"")
    return converted


NGINX = """
daemon off;
USER
worker_processes 1;
pid FOLDER/nginx.pid;
events { worker_connections 256; }
http {
    access_log off;
    client_body_temp_path FOLDER/body; proxy_temp_path FOLDER/proxy; fastcgi_temp_path FOLDER/f;
    uwsgi_temp_path FOLDER/u; scgi_temp_path FOLDER/s;
    BODY
}
""".replace("USER", "user root;" if os.getuid() == 0 else "")


def test_nginx_routes_and_fields(rich, both, scripted):
    a, b = scripted(tell("a")), scripted(tell("b"))
    ports = both("nginx", NGINX.replace("BODY", f"""
    keepalive_timeout 30s;
    upstream shop {{ server {a.address} weight=2 max_fails=3 fail_timeout=10s; keepalive 8; }}
    server {{
        listen 127.0.0.1:PORT;
        server_name shop.example www.shop.example;
        client_max_body_size 1k;
        add_header X-Frame-Options DENY;
        location / {{
            proxy_pass http://shop;
            proxy_set_header Host $host;
            proxy_set_header X-Fixed "a value";
            proxy_set_header X-Gone "";
            proxy_connect_timeout 2s;
            proxy_read_timeout 20s;
        }}
        location /plain/ {{ proxy_pass http://{b.address}; proxy_hide_header X-Name; }}
        location = /exact {{ proxy_pass http://{b.address}; }}
    }}
    server {{
        listen 127.0.0.1:PORT;
        server_name other.example;
        location / {{ proxy_pass http://{b.address}; proxy_set_header Host fixed.example; }}
    }}
    """))
    for path in ("/", "/x?q=1", "/plain/y", "/plainer", "/exact", "/exact/no"):
        for host in ("shop.example", "www.shop.example", "unknown.example"):
            status, fields, body = same(ports, path=path, host=host, headers=[("X-Gone", "1"), ("X-Kept", "2")])
            assert status == 200 and body
    assert b"server: b" in same(ports, path="/exact")[2] and b"server: a" in same(ports, path="/exact/no")[2]
    assert b"host: fixed.example" in same(ports, host="other.example")[2]
    assert same(ports, "POST", body=b"x" * 1024)[0] == 200
    assert [ask(port, "POST", body=b"x" * 1025)[0] for port in ports[:2]] == [413, 413]


def test_nginx_answers_and_rewrites(rich, both, scripted):
    a = scripted(tell("a"))
    ports = both("nginx", NGINX.replace("BODY", f"""
    server {{
        listen 127.0.0.1:PORT default_server;
        server_name shop.example;
        rewrite ^/gone/([a-z]+)$ /found/$1 permanent;
        location / {{ proxy_pass http://{a.address}; proxy_set_header Host $http_host; proxy_set_header X-Client $remote_addr; }}
        location /api/ {{ proxy_pass http://{a.address}/v2/; }}
        location /item {{ rewrite ^/item-([0-9]+)$ /items/$1 break; proxy_pass http://{a.address}; }}
        location = /ping {{ default_type text/plain; return 200 "pong"; }}
        location /old {{ return 301 /new?x=$arg_q; }}
        location /away {{ return 302 https://example.org$request_uri; }}
        location ~ \\.php$ {{ return 403; }}
        location ~* ^/img/.*\\.jpeg$ {{ proxy_pass http://{a.address}; }}
    }}
    server {{
        listen 127.0.0.1:PORT;
        server_name *.static.example .both.example;
        location /docs {{ proxy_pass http://{a.address}; }}
    }}
    server {{ listen 127.0.0.1:PORT; server_name moved.example; return 308 https://shop.example$request_uri; }}
    """))
    for path in ("/api/x?y=1", "/api/", "/item-12", "/item-x", "/ping", "/old?q=7", "/away/z?q", "/x.php", "/gone/abc?q=1",
                 "/gone/A1", "/img/x.JPEG", "/img/x.png"):
        same(ports, path=path)
    assert same(ports, path="/x.php")[0] == 403
    assert b"GET /v2/x?y=1" in same(ports, path="/api/x?y=1")[2]
    for host in ("a.static.example", "both.example", "x.both.example", "moved.example"):
        same(ports, path="/docs/1", host=host)
    assert same(ports, path="/none", host="a.static.example")[0] == 404


def test_nginx_files(rich, both, scripted, tmp_path):
    a = scripted(tell("a"))
    root = tmp_path / "www"
    (root / "sub").mkdir(parents=True)
    for name, text in (("index.html", "first"), ("a.txt", "a"), ("sub/index.html", "sub"), ("app.html", "app")):
        (root / name).write_text(text)
    ports = both("nginx", NGINX.replace("BODY", f"""
    server {{
        listen 127.0.0.1:PORT;
        root {root};
        index index.html;
        location / {{ try_files $uri $uri/ =404; }}
        location /files/ {{ alias {root}/; }}
        location /app/ {{ try_files $uri /app.html; }}
        location /api/ {{ proxy_pass http://{a.address}; proxy_set_header Host $host; }}
    }}
    """))
    for path in ("/", "/a.txt", "/none", "/sub/", "/sub", "/files/a.txt", "/files/none", "/app/anything", "/api/x"):
        same(ports, path=path)
    assert same(ports, path="/app/anything")[2] == b"app"


def test_nginx_stream(both, scripted, tcp_server, udp_server, weir_command, tmp_path):
    """Its own parser only: this nginx may have no stream module."""
    tcp, udp = tcp_server(), udp_server()
    port, udp_port = free_port(), free_port()
    path = tmp_path / "stream.conf"
    path.write_text(f"""
events {{ }}
stream {{
    upstream db {{ least_conn; server {tcp.address}; }}
    server {{ listen 127.0.0.1:{port}; proxy_pass db; proxy_timeout 1h; proxy_connect_timeout 2s; }}
    server {{ listen 127.0.0.1:{udp_port} udp; proxy_pass {udp.address}; proxy_responses 1; }}
}}
""")
    result = convert(weir_command, path)
    assert (result.returncode, result.stderr) == (0, "")
    assert "idle_timeout: 3600s" in result.stdout and "responses: 1" in result.stdout
    gate_conf = tmp_path / "weir.yaml"
    gate_conf.write_text(result.stdout)
    assert weir_command("check", "-c", gate_conf).returncode == 0


def test_nginx_stream_runs(weir, weir_command, tcp_server, udp_server, tmp_path):
    tcp, udp = tcp_server(), udp_server()
    port, udp_port = free_port(), free_port()
    path = tmp_path / "stream.conf"
    path.write_text(f"stream {{ server {{ listen 127.0.0.1:{port}; proxy_pass {tcp.address}; }} "
                    f"server {{ listen 127.0.0.1:{udp_port} udp; proxy_pass {udp.address}; }} }}")
    weir(convert(weir_command, path).stdout)
    wait_until(lambda: listening(port), 20)
    with connect(port) as c:
        assert receive_exactly(c, 1) == b"a"
    client = UdpClient(udp_port)
    assert client.ask(b"x") == b"ax"
    client.close()


def test_what_was_not_converted_is_named(weir_command, tmp_path):
    path = tmp_path / "nginx.conf"
    path.write_text("""
events { }
http {
    proxy_cache_path /tmp/c keys_zone=c:1m;
    server {
        listen 8080;
        listen 8443 ssl;
        if ($host = x) { return 403; }
        location / { proxy_pass http://127.0.0.1:9000; proxy_cache c; proxy_set_header X-A $ssl_cipher; }
        location /scripts { fastcgi_pass 127.0.0.1:9001; }
    }
}
""")
    result = convert(weir_command, path)
    assert result.returncode == 3
    for line, what in ((4, "proxy_cache_path"), (7, "listen 8443 ssl"), (8, "if"), (9, "proxy_cache c"),
                       (9, "proxy_set_header X-A"), (10, "location /scripts")):
        assert re.search(rf"^{re.escape(str(path))}:{line}: {re.escape(what)}.*: ", result.stderr, re.M), (line, what)
        assert re.search(rf"^#   {re.escape(str(path))}:{line}: {re.escape(what)}", result.stdout, re.M)
    out = tmp_path / "weir.yaml"
    assert convert(weir_command, path, "-o", out).returncode == 3
    assert out.read_text() == result.stdout
    assert weir_command("check", "-c", out).returncode == 0


def test_includes_are_followed(rich, weir_command, tmp_path):
    (tmp_path / "sites").mkdir()
    for n in (1, 2):
        (tmp_path / "sites" / f"{n}.conf").write_text(
            f"server {{ listen 8080; server_name s{n}.example; location / {{ proxy_pass http://127.0.0.1:900{n}; bad{n} x; }} }}\n")
    path = tmp_path / "nginx.conf"
    path.write_text("events { }\nhttp { include sites/*.conf; include gone.conf; }\n")
    result = convert(weir_command, path)
    assert result.returncode == 3
    assert f"{tmp_path}/sites/2.conf:1: bad2 x" in result.stderr and "nginx.conf:2: include gone.conf" in result.stderr
    assert "127.0.0.1:9002" in result.stdout and "s2.example" in result.stdout


@pytest.mark.parametrize("text, wanted", [
    ("http { server {", "does not end"),
    ("http { } }", "too many"),
    ('http { server { listen "80; } }', "quote"),
    ("http { server { listen 80 } }", "; is missing"),
    ("events { }", "nothing in it"),
    ("http { server { listen 80; location / { return 404; } } }", "nothing in it that weir could pass on"),
    ("frontend f\n  bind :80\n", "nothing in it"),
])
def test_what_cannot_be_read_is_said(weir_command, tmp_path, text, wanted):
    path = tmp_path / "some.conf"
    path.write_text(text)
    result = convert(weir_command, path)
    assert result.returncode == 1 and wanted in result.stderr and not result.stdout


HAPROXY = """
global
    maxconn 1000
defaults
    mode http
    timeout connect 2s
    timeout client 30s
    timeout server 20s
    timeout http-request 5s
    retries 2
    option http-server-close
"""


def test_haproxy_frontend_and_backends(rich, both, scripted):
    a, b, c = (scripted(tell(n)) for n in "abc")
    ports = both("haproxy", HAPROXY + f"""
frontend web
    bind 127.0.0.1:PORT
    acl api path_beg /api/ /rest/
    acl api path /api
    acl shop hdr(host) -i Shop.example
    acl post method POST
    http-request set-header X-Front "a b"
    http-request set-header X-Src %[src]
    http-request del-header X-Evil
    http-response add-header X-Out 1
    http-request deny if {{ path_beg /secret }}
    http-request deny deny_status 404 if {{ path /missing }} || {{ path /lost }}
    redirect location https://new.example/ code 301 if {{ path /old }}
    http-request redirect prefix https://www.example.org code 307 if {{ path_beg /moved/ }}
    use_backend posts if api post
    use_backend api if api
    use_backend shop if shop
    default_backend web
backend web
    balance roundrobin
    server w1 {a.address} weight 10
backend api
    balance source
    http-request replace-path ^/rest/(.*) /v1/\\1
    http-request set-header X-Back api
    server a1 {b.address}
backend posts
    server p1 {b.address}
backend shop
    balance leastconn
    option httpchk GET /healthz
    http-check expect status 200
    server s1 {c.address} check inter 500ms fall 2 rise 1 maxconn 100
""")
    for path in ("/", "/api", "/api/x?q=1", "/rest/y", "/apix", "/secret", "/secret/x", "/missing", "/lost", "/old", "/old/x",
                 "/moved/a?b=c"):
        for host in ("shop.example", "other.example"):
            same(ports, path=path, host=host, headers=[("X-Evil", "1"), ("X-Front", "mine")])
            same(ports, "POST", path=path, host=host, body=b"x")
    assert same(ports, path="/secret", host="shop.example")[0] == 403
    status, fields, body = same(ports, path="/rest/y")
    assert b"GET /v1/y" in body and b"server: b" in body and b"x-back: api" in body and fields["x-out"] == "1"


def test_haproxy_addresses(rich, both, scripted):
    a = scripted(tell("a"))
    ports = both("haproxy", HAPROXY + f"""
frontend web
    bind 127.0.0.1:PORT
    acl inside src 10.0.0.0/8 127.0.0.1
    http-request deny if !inside
    default_backend web
backend web
    server w1 {a.address}
""")
    assert same(ports)[0] == 200
    with Client(ports[1]) as client:
        client.socket.close()
        client.socket = socket.socket()
        client.socket.settimeout(20)
        client.socket.bind(("127.0.0.9", 0))
        client.socket.connect(("127.0.0.1", ports[1]))
        assert client.get().status == 403


def test_haproxy_tcp(both, tcp_server, weir_command):
    server = tcp_server()
    ports = both("haproxy", f"""
defaults
    mode tcp
    timeout connect 2s
    timeout client 1h
    timeout server 1h
listen db
    bind 127.0.0.1:PORT
    balance leastconn
    server d1 {server.address} check inter 1s
""")
    for port in ports[:2]:
        with connect(port) as c:
            assert receive_exactly(c, 1) == b"a"


def test_what_haproxy_lines_were_not_converted(weir_command, tmp_path):
    path = tmp_path / "haproxy.cfg"
    path.write_text(HAPROXY + """
frontend web
    bind :443 ssl crt /x.pem
    bind :80
    acl odd ssl_fc_sni -i x
    use_backend web if odd
    use_backend web if { path_beg /a } !{ path_beg /a/b }
    http-request lua.x
    compression algo gzip
    default_backend web
backend web
    cookie SRV insert
    option mysql-check
    server w1 127.0.0.1:9000
resolvers dns
    nameserver a 127.0.0.1:53
""")
    result = convert(weir_command, path)
    assert result.returncode == 3
    lines = path.read_text().splitlines()
    for what in ("bind :443", "acl odd", "use_backend web if odd", "use_backend web if {", "http-request lua.x",
                 "compression algo", "cookie SRV", "option mysql-check", "resolvers dns"):
        number = next(i for i, line in enumerate(lines, 1) if line.strip().startswith(what))
        assert f":{number}: {what}" in result.stderr, what
    out = tmp_path / "weir.yaml"
    out.write_text(result.stdout)
    assert weir_command("check", "-c", out).returncode == 0
