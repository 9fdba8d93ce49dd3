"""The program under test, one running instance of it."""
import ctypes
import json
import os
import platform
import re
import signal
import subprocess
import textwrap
import time
from pathlib import Path

from lib import client
from lib.ports import free_port, listening
from lib.process import Process, wait_until

ROOT = Path(__file__).resolve().parent.parent.parent
BINARY = Path(os.environ.get("WEIR_BINARY", ROOT / "build" / "weir"))
BUILD = BINARY.parent
SANITIZED = b"__asan_" in BINARY.read_bytes() if BINARY.exists() else False
LOOP = os.environ.get("WEIR_LOOP", "auto")
READY = "process: ready"
BUGS = re.compile(r"weir: bug:|AddressSanitizer|LeakSanitizer|UndefinedBehaviorSanitizer|runtime error:")


def uring_usable():
    """Whether this kernel (or container) lets us have an io_uring."""
    if platform.machine() not in ("x86_64", "aarch64"):
        return False
    params = ctypes.create_string_buffer(120)
    fd = ctypes.CDLL(None, use_errno=True).syscall(425, 8, params)
    if fd < 0:
        return False
    os.close(fd)
    return True


def run(*args, timeout=30):
    """One command to its end: .returncode, .stdout, .stderr."""
    return subprocess.run([str(BINARY), *map(str, args)], capture_output=True, text=True, timeout=timeout)


def zombie(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return False


class Weir(Process):
    """conf: YAML. `listen`, `admin`, `access_log`, `workers` and `state_dir` are added where it does not say them.
    under: a command that runs it."""

    def __init__(self, folder, conf, loop=LOOP, args=(), env=None, ready=True, under=()):
        self.folder = folder
        self.port = free_port()
        self.admin_port = free_port()
        self.conf_path = folder / "weir.yaml"
        self.access_path = folder / "access.log"
        self.status_expected = 0
        self.successors = []  # numbers of the processes that took over, one after the other
        self.write_conf(conf)
        command = [*under, BINARY, "run", "-c", self.conf_path]
        if loop != "auto":
            command += ["--loop", loop]
        self.env = {"ASAN_OPTIONS": "abort_on_error=0:detect_leaks=1", **os.environ, **(env or {})}
        self.log_path = folder / "weir.log"
        self.begin([*command, *args], ready)

    def again(self, ready=True):
        """After it has ended: the same once more, on the same ports."""
        self.begin(self.args, ready)

    def begin(self, args, ready):
        self.readies = self.log().count(READY) if self.log_path.exists() else 0
        super().__init__(args, self.log_path, env=self.env)
        if ready:
            self.wait_ready()

    def write_conf(self, conf):
        text = textwrap.dedent(conf)
        extra = {
            "listen": f'["127.0.0.1:{self.port}"]',
            "admin": f"127.0.0.1:{self.admin_port}",
            "access_log": f"{{path: {self.access_path}, flush_interval: 20ms}}",
            "workers": 2,
            "state_dir": "off",
        }
        for key, value in extra.items():
            if not re.search(rf"^{key}:", text, re.M):
                text = f"{key}: {value}\n{text}"
        # whole or not at all: a reload may read it at any moment
        new = self.conf_path.with_suffix(".new")
        new.write_text(text)
        new.rename(self.conf_path)
        self.waits_for = [p for p in (self.port, self.admin_port) if f":{p}" in text]

    def wait_ready(self, seconds=15):
        """When it says so, and listens: not all that it starts has a port."""
        wait_until(lambda: not self.running or (all(map(listening, self.waits_for)) and self.log().count(READY) > self.readies),
                   seconds, f"weir listens on {self.waits_for} and is ready")
        assert self.running, f"weir ended at once, status {self.child.returncode}:\n{self.log()}"

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def connect(self, **options):
        return client.Client(self.port, **options)

    def get(self, path="/", headers=()):
        """On a connection of its own."""
        return self.request("GET", path, headers)

    def request(self, method="GET", path="/", headers=(), body=None):
        with self.connect() as c:
            return c.request(method, path, headers, body)

    def raw(self, data, timeout=client.TIMEOUT_S):
        """Sends data; all that comes until weir closes."""
        return client.raw(self.port, data, timeout)

    def admin(self, path):
        with client.Client(self.admin_port) as c:
            return c.get(path)

    def metrics(self):
        """{'name{label="x"}': value}"""
        lines = self.admin("/metrics").text.splitlines()
        return {k: float(v) for k, _, v in (line.rpartition(" ") for line in lines if line and line[0] != "#")}

    def metric(self, name, **labels):
        """The sum of all series of that name that have these labels."""
        wanted = [f'{k}="{v}"' for k, v in labels.items()]
        return sum(value for key, value in self.metrics().items()
                   if key.partition("{")[0] == name and all(w in key for w in wanted))

    def access(self):
        """The access log's lines, parsed."""
        if not self.access_path.exists():
            return []
        return [json.loads(line) for line in self.access_path.read_text().splitlines()]

    def reload(self, conf=None, done=" conf: ", seconds=10):
        """SIGHUP, with a new configuration if one is given; until a new line of the log says `done`."""
        if conf is not None:
            self.write_conf(conf)
        before = len(self.log())
        self.signal(signal.SIGHUP)
        wait_until(lambda: done in self.log()[before:], seconds, f"{done!r} in the log:\n{self.log()}")

    @property
    def pid(self):
        return self.successors[-1] if self.successors else self.child.pid

    @property
    def running(self):
        if not self.successors:
            return self.child.poll() is None
        return Path(f"/proc/{self.pid}").exists() and not zombie(self.pid)

    def signal(self, number):
        os.kill(self.pid, number)

    def wait(self, seconds=10):
        """The exit status of the last of its processes; those before it have ended then too."""
        end = time.monotonic() + seconds
        status = self.child.wait(seconds)
        for pid in self.successors:  # ours since its parent has ended
            def ended(pid=pid):
                found, status = os.waitpid(pid, os.WNOHANG)
                return found and (os.waitstatus_to_exitcode(status),)
            (status,) = wait_until(ended, max(end - time.monotonic(), 0), f"process {pid} ends")
            assert status == 0 or pid == self.pid, f"process {pid} ended with {status}:\n{self.log()[-5000:]}"
        if self.successors:
            assert self.child.returncode == 0, f"the first process ended with {self.child.returncode}"
            self.wait = lambda seconds=10: status
        return status

    def upgrade(self, ask=None, done="has taken over", seconds=60):
        """SIGUSR2, or ask(); until the log says `done`."""
        before = len(self.log())
        if ask:
            ask()
        else:
            self.signal(signal.SIGUSR2)
        wait_until(lambda: done in self.log()[before:], seconds, f"{done!r} in the log:\n{self.log()}")
        if match := re.search(r"process (\d+) has taken over", self.log()[before:]):
            self.successors.append(int(match[1]))

    def predecessors(self):
        """How many processes before this one have not ended yet."""
        return sum(Path(f"/proc/{pid}").exists() and not zombie(pid)
                   for pid in [self.child.pid, *self.successors][:-1])

    def threads(self):
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def rss_kib(self):
        return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text())[1])

    def finish(self):
        """At the end of each test: it stops cleanly, and no sanitizer and no must() had anything to say."""
        killed = not self.running and self.child.returncode == -signal.SIGKILL
        try:
            status = self.stop(20)
        finally:
            self.end_leftovers()
        if bugs := BUGS.search(self.log()):
            raise AssertionError(f"{bugs[0]} in the log:\n{self.log()[-20000:]}")
        if not killed:
            assert status == self.status_expected, f"weir ended with {status}:\n{self.log()[-5000:]}"
