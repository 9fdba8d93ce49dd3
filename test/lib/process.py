"""A child process whose output goes to a file."""
import ctypes
import os
import signal
import subprocess
import time
import uuid
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
MARK = "WEIR_TEST_PROCESS"  # in the environment: what a process starts has it too
# What a child leaves behind when it ends becomes a child of ours, so that it can be waited for and ended.
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def wait_until(condition, seconds=10, what=None):
    """The condition's value as soon as it is true."""
    end = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what or condition}")
        time.sleep(0.01)


class Process:
    def __init__(self, args, log_path, env=None, cwd=None):
        self.args = [str(a) for a in args]
        self.log_path = log_path
        self.mark = uuid.uuid4().hex
        env = {**(os.environ if env is None else env), MARK: self.mark}
        with open(log_path, "ab") as log:
            self.child = subprocess.Popen(self.args, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env,
                                          cwd=cwd)

    @property
    def pid(self):
        return self.child.pid

    @property
    def running(self):
        return self.child.poll() is None

    def log(self):
        return self.log_path.read_text(errors="replace")

    def wait_log(self, text, seconds=10):
        wait_until(lambda: text in self.log(), seconds, f"{text!r} in the log of {self.args[0]}:\n{self.log()}")

    def signal(self, number):
        self.child.send_signal(number)

    def wait(self, seconds=10):
        """The exit status; negative when a signal ended it."""
        return self.child.wait(seconds)

    def stop(self, seconds=10):
        """SIGTERM; the exit status. Stopping what has ended already is fine."""
        if self.running:
            self.signal(signal.SIGTERM)
        try:
            return self.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.args[0]} did not end within {seconds} s of SIGTERM:\n{self.log()}")

    def kill(self):
        """SIGKILL."""
        if self.child.poll() is None:
            self.child.kill()
        status = self.child.wait(10)
        self.end_leftovers()
        return status

    def end_leftovers(self):
        """Ends what it started and left behind (an upgrade's new process): whatever of our children has its mark."""
        mark = f"{MARK}={self.mark}\0".encode()
        while left := [pid for pid in children() if mark in environment(pid)]:
            for pid in left:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def children():
    """Of this process: what its children leave behind comes to it (above)."""
    pids = []
    for task in Path("/proc/self/task").iterdir():
        try:
            pids += map(int, (task / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):  # a thread that has ended
            continue
    return pids


def environment(pid):
    """Nothing of one that has ended."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except (FileNotFoundError, PermissionError, ProcessLookupError):
        return b""
