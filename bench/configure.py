"""How the proxies of bench/run.py are set up. Standard library only."""
import os
import pathlib
import resource
import subprocess

from cases import body_of

BENCH = pathlib.Path(__file__).resolve().parent
FILES_WANTED = 65536
LARGE_BYTES = 65536


def files_max():
    return min(FILES_WANTED, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def fill(template, values):
    text = (BENCH / "peers" / template).read_text()
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    return text


def certificate(folder):
    """An ECDSA P-256 certificate and its key, in one file."""
    path = os.path.join(folder, "bench.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", "/CN=bench.example", "-addext", "subjectAltName=DNS:bench.example", "-keyout", path + ".key",
                    "-out", path + ".crt"], check=True, capture_output=True)
    with open(path, "w") as f:
        for part in (".crt", ".key"):
            with open(path + part) as text:
                f.write(text.read())
    os.chmod(path, 0o644)
    return path


def configure(options, proxy, case, port, ports, folder):
    """Writes the proxy's configuration, returns its command line."""
    large = body_of(case) > LARGE_BYTES
    servers = [f"127.0.0.1:{p}" for p in ports]
    values = {"DIR": folder, "PORT": port, "WORKERS": case.workers, "FILES": files_max(),
              "MODULE": nginx_stream(), "TCP": "", "MAXCONN": files_max() - 500, "KEEPALIVE": max(1024, 2 * len(ports)), "EXTRA": "", "GLOBAL": "", "FRONTEND": "",
              "LOG": "off", "ROUTE": "", "HTTP": ""}
    pem = certificate(folder) if case.tls else None
    values.update(SSL="", BIND="", H2OTLS="")
    if case.tls:
        values["SSL"] = f" ssl{' http2' if case.http2 else ''}; ssl_certificate {pem}; ssl_certificate_key {pem}; ssl_protocols TLSv1.3; ssl_session_tickets on"
        values["BIND"] = f" ssl crt {pem}"
        values["H2OTLS"] = f", ssl: {{certificate-file: {pem}, key-file: {pem}}}"
    elif case.http2:
        values["SSL"] = " http2"
    if case.http2:
        values["BIND"] += " alpn h2" if case.tls else " proto h2"
    if proxy == "nginx":
        values["SERVERS"] = "\n".join(f"        server {s};" for s in servers)
        if large:
            values["EXTRA"] = NGINX_LARGE
        elif case.fields:
            values["EXTRA"] = NGINX_FIELDS
        elif case.policies:
            values["EXTRA"], values["HTTP"] = NGINX_POLICIES, NGINX_POLICIES_HTTP
            values["LOG"] = f"{folder}/access.log json buffer=64k flush=1s"
        file, command = "nginx.conf", ["nginx", "-p", folder, "-c"]
    elif proxy == "haproxy":
        values["SERVERS"] = "\n".join(f"    server s{i} {s}" for i, s in enumerate(servers))
        if large:
            values["EXTRA"], values["GLOBAL"] = HAPROXY_LARGE, HAPROXY_LARGE_GLOBAL
        elif case.fields:
            values["FRONTEND"] = HAPROXY_FIELDS
        elif case.policies:
            values["FRONTEND"], values["EXTRA"] = HAPROXY_POLICIES, HAPROXY_POLICIES_DEFAULTS
        file, command = "haproxy.cfg", ["haproxy", "-db", "-f"]
    elif proxy == "bare":
        return [options.bare, "uring", str(port), *servers]
    elif proxy == "floor":
        return [options.floor, str(port), case.floor, *servers]
    elif proxy == "h2o":
        values["SERVERS"] = servers[0]
        file, command = "h2o.conf", ["h2o", "-c"]
    else:
        values["SERVERS"] = ", ".join(f'"{s}"' for s in servers)
        values["LISTEN"] = f'"127.0.0.1:{port}"'
        if case.tls:
            values["LISTEN"] = f'{{address: "127.0.0.1:{port}", tls: {{certificate: {pem}}}{", http3: true" if case.http3 else ""}}}'
        values["FIELDS"] = "" if case.fields else "via: off\nx_forwarded: off\nrequest_id: off"
        extra = []
        if case.policies and proxy == "weir":
            values["LOG"], values["ROUTE"] = folder + "/access.log", WEIR_POLICIES
            extra.append("    retry: 2")
        if case.pipelined:
            extra.append("    upstream: pipelined")
        if case.congestion:
            values["LISTEN"] = f'{{address: "127.0.0.1:{port}", congestion: {case.congestion}}}'
            extra.append(f"    congestion: {case.congestion}")
        values["EXTRA"] = "\n".join(extra)
        file, command = "weir.yaml", [options.weir, "run", "-c"]
    if case.tcp:
        file = "tcp-" + file
        values["TCP"] = f", congestion: {case.congestion}" if case.congestion else ""
    path = os.path.join(folder, file)
    with open(path, "w") as f:
        f.write(fill(file, values))
    return command + [path]


def nginx_stream():
    """The line that loads nginx's stream module, where it is not built in."""
    for folder in ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules"):
        module = pathlib.Path(folder) / "ngx_stream_module.so"
        if module.exists():
            return f"load_module {module};"
    return ""


# Large bodies: each peer as it was found to be fastest here (README.md).
NGINX_LARGE = """            proxy_buffering off;
            proxy_buffer_size 120k;
            proxy_buffers 8 120k;
            proxy_busy_buffers_size 120k;"""
HAPROXY_LARGE = "    option splice-response"
# What weir adds by default.
NGINX_FIELDS = """            proxy_set_header Via "1.1 nginx";
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Request-Id $request_id;"""
HAPROXY_FIELDS = """    option forwardfor
    unique-id-format %{+X}o%ci%cp%Ts%rt
    unique-id-header X-Request-Id
    http-request add-header Via "1.1 haproxy"
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Host %[req.hdr(host)]"""
# A realistic route; the peers' nearest to a breaker are passive checks.
WEIR_POLICIES = """    rate_limit: 10000000/s per ip
    circuit_breaker: 5% over 10s
    headers: {request: {set: {X-Route: bench}}, response: {set: {X-Gate: weir}}}"""
NGINX_POLICIES_HTTP = """    limit_req_zone $binary_remote_addr zone=clients:10m rate=10000000r/s;
    log_format json escape=json '{"time":"$time_iso8601","client":"$remote_addr","method":"$request_method","uri":"$request_uri",'
        '"status":$status,"bytes":$body_bytes_sent,"seconds":$request_time,"server":"$upstream_addr","id":"$request_id",'
        '"agent":"$http_user_agent"}';"""
NGINX_POLICIES = """            limit_req zone=clients burst=100000 nodelay;
            proxy_next_upstream error timeout http_502 http_503 http_504;
            proxy_next_upstream_tries 3;
            proxy_set_header X-Route bench;
            add_header X-Gate nginx;"""
HAPROXY_POLICIES = """    stick-table type ip size 100k expire 30s store http_req_rate(1s)
    http-request track-sc0 src
    http-request deny deny_status 429 if { sc_http_req_rate(0) gt 10000000 }
    http-request set-header X-Route bench
    http-response set-header X-Gate haproxy
    log stdout format raw local0
    option httplog"""
HAPROXY_POLICIES_DEFAULTS = """    retries 2
    option redispatch
    retry-on conn-failure empty-response response-timeout 502 503 504
    default-server observe layer7 error-limit 50 on-error mark-down check inter 1h"""
HAPROXY_LARGE_GLOBAL = "    tune.pipesize 524288"
