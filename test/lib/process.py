"""A child process whose output goes to a file."""
import signal
import subprocess
import time


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
        if self.running:
            self.child.kill()
        return self.child.wait(10)
