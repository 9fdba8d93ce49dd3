"""What testssl.sh (Debian's testssl.sh) says of a listener with its default settings: nothing above LOW.

Protocols, cipher categories and forward secrecy of a listener with an ECDSA and an RSA certificate; with WEIR_SOAK of each
alone too, and all that it knows, vulnerabilities among it (minutes)."""
import json
import os
import shutil
import subprocess

import pytest

from lib.ports import free_port
from lib.servers import answer
from lib.tls import Authority

TESTSSL = shutil.which("testssl") or shutil.which("testssl.sh")
FINE = {"OK", "INFO", "LOW", "DEBUG", "WARN"}
# of the certificate (signed by an authority of this test), and of the service: its headers are the security_headers filter's
SOAK = bool(os.environ.get("WEIR_SOAK"))
NOT_OURS = ("cert_chain_of_trust", "cert_crlDistributionPoints", "cert_revocation", "cert_trust", "overall_grade", "grade_cap",
            "security_headers")


@pytest.mark.timeout(600)  # a shell script that starts thousands of processes
@pytest.mark.skipif(not TESTSSL, reason="testssl.sh is not installed")
@pytest.mark.parametrize("kinds", [["ec", "rsa"], *([["ec"], ["rsa"]] if SOAK else [])], ids="-".join)
def test_nothing_above_low(weir, scripted, tmp_path, kinds):
    authority = Authority(tmp_path / "ca")
    pairs = [str(authority.issue("localhost", "IP:127.0.0.1", kind=kind, days=365)) for kind in kinds]
    port, report = free_port(), tmp_path / "report.json"
    weir(f'listen: {{address: "127.0.0.1:{port}", tls: {{certificates: {pairs}}}}}\nroutes: [{{match: /*, service: s}}]\n'
         f'services: {{s: {{servers: ["{scripted(answer("ok")).address}"]}}}}')
    checks = [] if SOAK else ["-p", "-s", "-f"]
    done = subprocess.run([TESTSSL, *checks, "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--jsonfile",
                           report, "--connect-timeout", "10", "--openssl-timeout", "10", f"127.0.0.1:{port}"],
                          capture_output=True, text=True, timeout=1500, env={**os.environ, "TERM": "xterm"})
    findings = json.loads(report.read_text())
    names = {f["id"] for f in findings}
    assert {"TLS1_3", "TLS1_2", "SSLv3"} <= names and names & {"FS", "PFS"}, (done.stdout[-3000:], done.stderr[-1000:])
    bad = [f for f in findings if f["severity"] not in FINE and not f["id"].startswith(NOT_OURS)]
    assert not bad, json.dumps(bad, indent=1)
    offered = {f["id"]: f["finding"] for f in findings}
    assert "offered" in offered["TLS1_3"] and "not offered" in offered["TLS1_1"] and "not offered" in offered["SSLv3"]
