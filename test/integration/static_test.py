"""doc/static.md, against the running gate; a real nginx over the same folder says what is usual."""
import email.utils
import gzip
import os
import random
import re
import threading

import pytest

from lib.client import Client, Closed
from lib.process import wait_until
from lib.servers import answer

CONF = """
workers: 1
routes:
  - match: /*
    service: shop
    static: {static}
    {more}
services: {{shop: {{servers: ["{shop}"]}}}}
"""


@pytest.fixture
def www(tmp_path):
    folder = tmp_path / "www"
    (folder / "sub").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "index.html").write_text("<p>root")
    (folder / "sub/index.html").write_text("<p>sub")
    (folder / "a b.txt").write_text("spaced")
    (folder / "range.txt").write_bytes(bytes(range(256)) * 4)
    (folder / "large.bin").write_bytes(random.Random(1).randbytes(5_000_003))
    (folder / ".secret").write_text("hidden")
    (folder / ".well-known").mkdir()
    (folder / ".well-known/x").write_text("known")
    (folder / "none.txt").write_text("")
    return folder


def gate_of(weir, www, more="", shop="127.0.0.1:1", **settings):
    settings = {"folder": www, **settings}
    static = "{" + ", ".join(f"{k}: {v}" for k, v in settings.items()) + "}"
    return weir(CONF.format(static=static, more=more, shop=shop))


def test_files(weir, www, each_loop):
    gate = gate_of(weir, www)
    with gate.connect() as client:
        for path, name in (("/", "index.html"), ("/sub/", "sub/index.html"), ("/a%20b.txt", "a b.txt"),
                           ("/sub/../range.txt", "range.txt"), ("//range.txt", "range.txt"), ("/none.txt", "none.txt"),
                           ("/.well-known/x", ".well-known/x"), ("/large.bin", "large.bin")):
            content = (www / name).read_bytes()
            got = client.get(path)
            assert (got.status, got.body) == (200, content), path
            assert got.get("content-length") == str(len(content))
            assert got.get("accept-ranges") == "bytes"
            changed = email.utils.parsedate_to_datetime(got.get("last-modified")).timestamp()
            assert changed == int((www / name).stat().st_mtime)
            head = client.request("HEAD", path)
            assert (head.status, head.body) == (200, b"")
            for field in ("content-length", "etag", "content-type", "last-modified"):
                assert head.get(field) == got.get(field)
        assert client.get("/").get("content-type") == "text/html; charset=utf-8"
        assert client.get("/large.bin").get("content-type") == "application/octet-stream"
    assert gate.metric("weir_static_sent_total", route="/*") == 18
    wait_until(lambda: len(gate.access()) == 18 and gate.access()[-1].get("answered_by") == "static", 20)


def test_what_is_not_there(weir, www):
    os.symlink("/etc/hostname", www / "absolute")
    os.symlink("../outside.txt", www / "up")
    os.symlink("range.txt", www / "inside")
    (www.parent / "outside.txt").write_text("outside")
    (www.parent / "www2").mkdir()
    os.mkfifo(www / "pipe")
    gate = gate_of(weir, www)
    with gate.connect() as client:
        for path in ("/missing", "/range.txt/", "/range.txt/x", "/.secret", "/%2esecret", "/absolute", "/up", "/pipe",
                     "/a%00b", "/..%2foutside.txt", "/sub%2findex.html", "/empty/", "/%zz", "/" + "a" * 5000):
            got = client.get(path)
            assert (got.status, got.body) == (404, b"404 Not Found\n"), path
        assert client.get("/../outside.txt").status == 400
        assert client.get("/sub/%2e%2e/%2e%2e/outside.txt").status == 400
        assert client.get("/inside").status == 200
        posted = client.request("POST", "/", body=b"x")
        assert (posted.status, posted.get("allow")) == (405, "GET, HEAD")


def test_a_folder_is_redirected_to(weir, www):
    gate = gate_of(weir, www, strip="/assets")
    for path, location in (("/assets/sub", "./sub/"), ("/assets/sub?a=b", "./sub/?a=b"), ("/assets", "./assets/"),
                           ("/assets//sub", "./sub/")):
        got = gate.get(path)
        assert (got.status, got.get("location")) == (301, location)
    assert gate.get("/assets/").text == "<p>root"
    assert gate.get("/assets2/").status == 404
    assert gate.get("/index.html").status == 404


def test_it_may_be_asked_of_the_service_otherwise(weir, www, scripted):
    gate = gate_of(weir, www, shop=scripted(answer("shop")).address, otherwise="service")
    assert gate.get("/range.txt").body == (www / "range.txt").read_bytes()
    assert gate.get("/missing").text == "shop"
    assert gate.request("POST", "/range.txt", body=b"x").text == "shop"
    gate.reload(CONF.format(static=f"{{folder: {www}, fallback: sub/index.html}}", more="", shop="127.0.0.1:1"))
    got = gate.get("/some/route")
    assert (got.status, got.text, got.get("content-type")) == (200, "<p>sub", "text/html; charset=utf-8")


def test_preconditions(weir, www):
    gate = gate_of(weir, www)
    with gate.connect() as client:
        first = client.get("/range.txt")
        etag, date = first.get("etag"), first.get("last-modified")
        for headers, status in (({"If-None-Match": etag}, 304), ({"If-None-Match": f'"x", W/{etag}'}, 304),
                                ({"If-None-Match": "*"}, 304), ({"If-None-Match": '"x"'}, 200),
                                ({"If-Modified-Since": date}, 304), ({"If-Match": '"x"'}, 412), ({"If-Match": etag}, 200),
                                ({"If-Modified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"}, 200),
                                ({"If-Unmodified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"}, 412),
                                ({"If-None-Match": '"x"', "If-Modified-Since": date}, 200)):
            got = client.get("/range.txt", headers)
            assert got.status == status, headers
            if status == 304:
                assert (got.get("etag"), got.body, got.get("content-length")) == (etag, b"", None)
        (www / "new").write_bytes(b"changed")
        os.utime(www / "new", ns=(1, (www / "range.txt").stat().st_mtime_ns + 1))
        (www / "new").rename(www / "range.txt")
        assert client.get("/range.txt", {"If-None-Match": etag}).text == "changed"


def parts_of(response):
    """[(Content-Range, bytes)] of a multipart/byteranges answer."""
    boundary = re.fullmatch(r"multipart/byteranges; boundary=(\S+)", response.get("content-type"))[1].encode()
    pieces = (b"\r\n" + response.body).split(b"\r\n--" + boundary)
    assert pieces[0] == b"" and pieces[-1] == b"--\r\n"
    found = []
    for piece in pieces[1:-1]:
        head, _, content = piece.partition(b"\r\n\r\n")
        found.append((re.search(rb"Content-Range: (.*)", head)[1].strip().decode(), content))
    return found


def test_ranges(weir, www, nginx, each_loop):
    other = nginx()
    content = (www / "large.bin").read_bytes()
    (other.root / "large.bin").write_bytes(content)
    gate = gate_of(weir, www)
    size = len(content)
    with gate.connect() as client, Client(other.port) as reference:
        for wanted in ("0-0", "0-99", "100-", "-1", "-100000", f"{size - 1}-", f"0-{size + 5}", "70000-4000000", f"{size}-"):
            ours = client.get("/large.bin", {"Range": "bytes=" + wanted})
            theirs = reference.get("/large.bin", {"Range": "bytes=" + wanted})
            assert ours.status == theirs.status, wanted
            assert ours.get("content-range") == theirs.get("content-range")
            if ours.status == 206:
                assert ours.body == theirs.body
        several = client.get("/large.bin", {"Range": "bytes=0-9, 100000-300000, -5"})
        assert several.status == 206
        assert parts_of(several) == [(f"bytes {a}-{b}/{size}", content[a:b + 1])
                                     for a, b in ((0, 9), (100000, 300000), (size - 5, size - 1))]
        for ignored in ("bytes=5-4", "lines=0-5", "bytes=0-9,5-20", "bytes=" + ",".join("%d-%d" % (i, i) for i in range(0, 40, 2))):
            assert client.get("/large.bin", {"Range": ignored}).status == 200
        whole = client.get("/range.txt")
        fits = {"Range": "bytes=0-3", "If-Range": whole.get("etag")}
        assert client.get("/range.txt", fits).status == 206
        assert client.get("/range.txt", {**fits, "If-Range": whole.get("last-modified")}).status == 206
        assert client.get("/range.txt", {**fits, "If-Range": '"x"'}).status == 200
        assert client.request("HEAD", "/range.txt", {"Range": "bytes=0-3"}).status == 200
        assert client.get("/none.txt", {"Range": "bytes=0-"}).status == 416
    assert gate.metric("weir_static_partial_total", route="/*") == 11


def test_precompressed(weir, www):
    (www / "a.css").write_text("p {}" * 500)
    (www / "a.css.gz").write_bytes(gzip.compress(b"p {}" * 500))
    (www / "a.css.br").write_bytes(b"this stands for brotli")
    gate = gate_of(weir, www, precompressed="[br, zstd, gzip]", more="compress: {codings: gzip}")
    with gate.connect() as client:
        tags = set()
        for accept, coding in (("gzip, br", "br"), ("gzip;q=1, br;q=0.5, zstd", "gzip"), ("zstd", None), ("", None)):
            got = client.get("/a.css", {"Accept-Encoding": accept})
            assert got.get("content-encoding") == coding, accept
            assert got.get("content-type") == "text/css; charset=utf-8"
            assert got.all("vary") == ["Accept-Encoding"]
            tags.add(got.get("etag"))
        assert len(tags) == 3
        sidecar = client.get("/a.css", {"Accept-Encoding": "gzip"})
        assert gzip.decompress(sidecar.body) == b"p {}" * 500
        part = client.get("/a.css", {"Accept-Encoding": "gzip", "Range": "bytes=2-5"})
        assert (part.status, part.body, part.get("content-encoding")) == (206, sidecar.body[2:6], "gzip")
        made = client.get("/range.txt", {"Accept-Encoding": "gzip"})  # no sidecar: compressed here
        assert gzip.decompress(made.body) == (www / "range.txt").read_bytes()


def test_a_slow_client_holds_up_nobody(weir, www, each_loop):
    content = (www / "large.bin").read_bytes() * 4
    (www / "huge.bin").write_bytes(content)
    gate = gate_of(weir, www)
    slow = [gate.connect(timeout=30) for _ in range(4)]
    for client in slow:
        client.send_request("GET", "/huge.bin")
    assert gate.get("/").text == "<p>root"
    got = {}
    threads = [threading.Thread(target=lambda c=c: got.update({c: c.read_response().body})) for c in slow]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert all(got[c] == content for c in slow)
    for client in slow:
        client.close()


def test_a_file_that_shrinks_is_cut(weir, www):
    (www / "huge.bin").write_bytes(bytes(30_000_000))
    gate = gate_of(weir, www)
    with gate.connect() as client:
        client.send_request("GET", "/huge.bin")
        client.more()
        os.truncate(www / "huge.bin", 1000)
        with pytest.raises(Closed):
            client.read_response()
    wait_until(lambda: gate.access(), 20)


def test_mistakes_have_a_place(weir_command, tmp_path):
    conf = tmp_path / "weir.yaml"
    for static, said in (("/no/such/folder", "no folder"), (f"{{folder: {tmp_path}, strip: x}}", "no path"),
                         (f"{{folder: {tmp_path}, precompressed: [gzip, gzip]}}", "twice"),
                         (f"{{folder: {tmp_path}, types: {{a: b}}}}", "no media type")):
        conf.write_text('listen: [":1"]' + CONF.format(static=static, more="", shop="127.0.0.1:1"))
        checked = weir_command("check", "-c", conf)
        assert checked.returncode == 1
        assert f"{conf}:6:" in checked.stdout + checked.stderr
        assert said in checked.stdout + checked.stderr
