"""Keep-alive load from threads that check each answer, while a test does things to the servers behind weir."""
import threading
import time

from lib.client import Client, Closed
from lib.process import wait_until


class Load:
    """check(response) raises or returns False for a wrong answer. An idle connection that the server closes before
    a byte of the answer came is opened again, as any client does; that is counted and no failure."""

    def __init__(self, address, connections=8, path="/", headers=(), check=None, pause_s=0):
        self.address, self.path, self.headers, self.pause_s = address, path, headers, pause_s
        self.check = check or (lambda r: r.status == 200)
        self.done = 0
        self.reopened = 0
        self.failures = []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(connections)]
        for thread in self._threads:
            thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def wait_done(self, more, seconds=30):
        """Until that many more requests were answered."""
        goal = self.done + more
        wait_until(lambda: self.done >= goal, seconds, f"{more} more answers (have {self.done}: {self.failures[:3]})")

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def assert_clean(self, done_min=1):
        self.stop()
        assert not self.failures, f"{len(self.failures)} of {self.done} failed: {self.failures[:5]}"
        assert self.done >= done_min, f"only {self.done} answers"

    def _run(self):
        client, used = None, False
        while not self._stop.is_set():
            try:
                if client is None:
                    client, used = Client(self.address), False
                response = client.get(self.path, self.headers)
                good = self.check(response) is not False
                with self._lock:
                    self.done += 1
                    if not good:
                        self.failures.append(f"{response.status} {response.body[:100]!r}")
                used = True
                if not response.keep_alive:
                    client.close()
                    client = None
            except Closed as e:
                client.close()
                client = None
                with self._lock:
                    if used and not e.got:
                        self.reopened += 1
                    else:
                        self.failures.append(str(e))
            except Exception as e:  # whatever it is, the test shall see it
                if client:
                    client.close()
                client = None
                with self._lock:
                    self.failures.append(f"{type(e).__name__}: {e}")
                time.sleep(0.01)
            if self.pause_s:
                time.sleep(self.pause_s)
