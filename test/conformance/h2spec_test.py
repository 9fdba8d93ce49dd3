"""What h2spec, a conformance test of HTTP/2 that others have written (in Go), says of a listener: over clear text, where it
shares the port with HTTP/1.1, and over TLS. Go's packages come from its module proxy; without it this is skipped."""
import os
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from lib.ports import free_port, listening
from lib.process import wait_until
from lib.tls import Authority

SOURCE = Path(__file__).parent / "h2spec"
CASES_MIN = 140
TIMEOUT_S = 4  # after which it takes silence for the answer
# The port speaks HTTP/1.1 too, and answers in it: 400, and the end of the connection.
NOT_IN_CLEAR = ("http2/3.5", "Sends invalid connection preface")


@pytest.fixture
def h2spec(tmp_path):
    go = shutil.which("go")
    if not go:
        pytest.skip("there is no go (golang-go)")
    program = tmp_path / "h2spec"
    built = subprocess.run([go, "build", "-o", program, "github.com/summerwind/h2spec/cmd/h2spec"], cwd=SOURCE,
                           capture_output=True, text=True, timeout=100,
                           env={**os.environ, "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local"})
    if built.returncode:
        pytest.skip(f"h2spec cannot be built: {built.stderr.strip()[-300:]}")
    return program


def failures(report):
    """Of all its cases: {(section, case)}"""
    cases = list(ElementTree.parse(report).iter("testcase"))
    assert len(cases) >= CASES_MIN
    return {(c.get("package"), c.get("classname")) for c in cases
            if c.find("failure") is not None or c.find("error") is not None}


def test_h2spec(h2spec, weir, origin, tmp_path, each_loop):
    clear, tls, pair = free_port(), free_port(), Authority(tmp_path / "ca").issue("localhost", "IP:127.0.0.1")
    gate = weir(f'listen: ["127.0.0.1:{clear}", {{address: "127.0.0.1:{tls}", tls: {pair}}}]\n'
                f'routes: [{{match: /*, service: s}}]\nservices: {{s: {{servers: ["{origin().address}"]}}}}', ready=False)
    wait_until(lambda: listening(clear) and listening(tls), 20, "weir listens")
    reports = tmp_path / "clear.xml", tmp_path / "tls.xml"
    runs = [subprocess.Popen([h2spec, "-p", str(port), "-S", "-o", str(TIMEOUT_S), "-j", report, *more], stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT)
            for port, report, more in ((clear, reports[0], []), (tls, reports[1], ["-t", "-k"]))]
    said = [r.communicate(timeout=100)[0].decode() for r in runs]
    assert all(r.exists() for r in reports), said
    over_clear, over_tls = map(failures, reports)
    assert over_tls == set(), said
    assert over_clear == {NOT_IN_CLEAR}, said
    assert gate.running
