"""Fixtures of all tests that drive the real program. Each factory stops what it started when the test ends.

    def test_it(weir, scripted):
        shop = scripted(answer("hello"))
        gate = weir(f'''
            routes: [{{match: /*, service: shop}}]
            services: {{shop: {{servers: ["{shop.address}"]}}}}
        ''')
        assert gate.get("/").text == "hello"
"""
import os
import shutil
import zlib

import pytest

from lib import load as load_module
from lib import weir as weir_module
from lib.servers import Nginx, Origin, Scripted
from lib.streams import TcpServer, UdpServer


def pytest_report_header():
    return f"weir: {weir_module.BINARY}, loop {weir_module.LOOP}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        item.has_failed = True
        for process in getattr(item, "weir_logs", []):
            if hasattr(process, "log_path"):  # it may have failed before it had one
                report.sections.append((f"log of {process.log_path.name}", process.log()[-10000:]))
    elif call.when == "teardown" and not getattr(item, "has_failed", False) and "tmp_path" in item.funcargs:
        shutil.rmtree(item.funcargs["tmp_path"], ignore_errors=True)  # a ledger's files are large


def pytest_collection_modifyitems(config, items):
    """WEIR_LOOPS=one: of the two runs of a test on each event loop one is left, always the same."""
    if os.environ.get("WEIR_LOOPS", "both") != "one":
        return
    kept, spare = [], []
    for item in items:
        (spare if is_spare(item) else kept).append(item)
    config.hook.pytest_deselected(items=spare)
    items[:] = kept


def is_spare(item):
    params = item.callspec.params if hasattr(item, "callspec") else {}
    if "each_loop" not in params:
        return False
    others = {name: at for name, at in item.callspec.indices.items() if name != "each_loop"}
    name = f"{item.location[0]} {item.originalname} {sorted(others.items())}"
    wanted = "io_uring" if weir_module.uring_usable() and zlib.crc32(name.encode()) % 2 else "epoll"
    return params["each_loop"] != wanted


@pytest.fixture(params=["epoll", "io_uring"])
def each_loop(request):
    """A test that asks for it runs once on each event loop."""
    if request.param == "io_uring" and not weir_module.uring_usable():
        pytest.skip("this kernel refuses io_uring")
    return request.param


@pytest.fixture
def started(request):
    """Whatever was started, in order; the factories below append to it."""
    things = []
    request.node.weir_logs = things
    yield things


@pytest.fixture
def weir(request, started, tmp_path):
    """weir(conf, loop=..., args=..., ready=True) -> lib.weir.Weir"""
    if not weir_module.BINARY.exists():
        pytest.skip(f"{weir_module.BINARY} is not built")
    loop = request.getfixturevalue("each_loop") if "each_loop" in request.fixturenames else weir_module.LOOP
    ours = []

    def start(conf, **options):
        folder = tmp_path / f"weir-{len(ours)}"
        folder.mkdir()
        thing = weir_module.Weir.__new__(weir_module.Weir)
        ours.append(thing)
        started.append(thing)
        thing.__init__(folder, conf, **{"loop": loop, **options})
        return thing

    yield start
    finish_all([t.finish for t in ours if hasattr(t, "child")])


def finish_all(finishers):
    """All of them, whatever the first says."""
    first = None
    for finish in finishers:
        try:
            finish()
        except Exception as e:
            first = first or e
    if first:
        raise first


@pytest.fixture
def weir_command():
    """weir_command("check", "-c", path) -> .returncode, .stdout, .stderr"""
    if not weir_module.BINARY.exists():
        pytest.skip(f"{weir_module.BINARY} is not built")
    return weir_module.run


@pytest.fixture
def scripted():
    """scripted(script, port=None) -> lib.servers.Scripted"""
    ours = []

    def start(script, port=None):
        ours.append(Scripted(script, port))
        return ours[-1]

    yield start
    for server in ours:
        server.stop()
    assert not [e for s in ours for e in s.errors], f"scripts failed: {[e for s in ours for e in s.errors]}"


@pytest.fixture
def tcp_server():
    """tcp_server(serve=echo, name=b"a", port=None) -> lib.streams.TcpServer"""
    yield from _streams(TcpServer)


@pytest.fixture
def udp_server():
    """udp_server(answer=..., name=b"a", port=None) -> lib.streams.UdpServer"""
    yield from _streams(UdpServer)


def _streams(kind):
    ours = []

    def start(*args, **options):
        ours.append(kind(*args, **options))
        return ours[-1]

    yield start
    for server in ours:
        server.stop()


@pytest.fixture
def origin(started, tmp_path):
    """origin("--flag", ..., port=None) -> lib.servers.Origin"""
    binary = weir_module.BUILD / "origin"
    if not binary.exists():
        pytest.skip(f"{binary} is not built")
    ours = []

    def start(*args, port=None):
        thing = Origin(binary, tmp_path / f"origin-{len(ours)}.log", args, port)
        ours.append(thing)
        started.append(thing)
        return thing

    yield start
    for server in ours:
        server.kill()


@pytest.fixture
def nginx(started, tmp_path):
    """nginx("location / { ... }", port=None) -> lib.servers.Nginx"""
    ours = []

    def start(server="", port=None):
        thing = Nginx(tmp_path / f"nginx-{len(ours)}", server, port)
        ours.append(thing)
        started.append(thing)
        return thing

    yield start
    finish_all([t.stop for t in ours])


@pytest.fixture
def load():
    """load(address, connections=8, path="/", check=...) -> lib.load.Load, running"""
    ours = []

    def start(address, **options):
        ours.append(load_module.Load(address, **options))
        return ours[-1]

    yield start
    for thing in ours:
        thing.stop()
