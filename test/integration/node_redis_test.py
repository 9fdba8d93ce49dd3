"""doc/resp.md: what Node's applications keep their sessions with, against the running program: redis, connect-redis and
express-session from npm, in versions that Node 18 and 20 run. Skipped where there is no node, or npm gets them from nowhere."""
import shutil
import subprocess
from pathlib import Path

import pytest

from lib.ports import free_port

PACKAGES = ["redis@4.7.1", "redis5@npm:redis@5.10.0", "connect-redis@8.1.0", "express-session@1.18.2"]
SCRIPT = Path(__file__).parent / "node_redis.mjs"


@pytest.fixture
def modules(tmp_path):
    """A folder with them in it. npm keeps what it got, so it asks its registry once."""
    for tool in ("node", "npm"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, timeout=30).stdout.strip().lstrip("v")
    if int(version.partition(".")[0] or 0) < 18:
        pytest.skip(f"node {version} is older than 18")
    (tmp_path / "package.json").write_text('{"private": true}')
    try:
        done = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--prefer-offline", "--ignore-scripts",
                               "--fetch-retries=0", "--fetch-timeout=15000", *PACKAGES], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        pytest.skip("npm did not get the packages within a minute")
    if done.returncode:
        pytest.skip(f"npm cannot get the packages: {done.stderr.strip()[-200:]}")
    return tmp_path


def test_what_node_keeps_sessions_with(weir, modules, tmp_path):
    port = free_port()
    weir(f"""
        ledger: {{path: {tmp_path}/ledger, listen: "127.0.0.1:{port}"}}
        routes: [{{match: /*, respond: 204}}]
    """)
    done = subprocess.run(["node", SCRIPT, str(port)], cwd=modules, capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == "done", done.stdout + done.stderr
