"""Keep-alive load from threads that check each answer, while a test does things to the servers behind weir."""
import itertools
import random
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

    def _ask(self, client):
        """One request; its answer, or None when there is nothing more to be said of it."""
        return client.get(self.path, self.headers)

    def _run(self):
        client, used = None, False
        while not self._stop.is_set():
            try:
                if client is None:
                    client, used = Client(self.address), False
                response = self._ask(client)
                if response is None:
                    continue
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


class Tokens(Load):
    """Each request carries a token of its own in its target, and its answer must speak of that one: an answer that
    was meant for somebody else is a failure. For servers that answer with the target: origin's /echo, echo_target.

    methods are taken in turn; a request whose method is not idempotent may be answered with an error (errors counts
    those), everything else must be answered with 200. `tokens` are those that were answered with 200."""

    def __init__(self, address, methods=("GET",), path="/echo", **options):
        self.methods = methods
        self.errors = []
        self.tokens = []
        self._numbers = itertools.count()
        self._prefix = f"{random.getrandbits(32):08x}"
        super().__init__(address, path=path, **options)

    def _ask(self, client):
        number = next(self._numbers)
        token = f"t{self._prefix}x{number}x"
        method = self.methods[number % len(self.methods)]
        target = f"{self.path}?{token}"
        if method == "POST":
            client.send_request(method, target, self.headers, body=token.encode())
        else:
            client.send_request(method, target, self.headers)
        response = client.read_response(method)
        if response.status == 200:
            if method != "HEAD" and target not in response.text:
                raise AssertionError(f"asked for {target}, got {response.body[:200]!r}")
            with self._lock:
                self.tokens.append(token)
        elif method == "POST" and response.status in (502, 503, 504):
            with self._lock:
                self.errors.append((token, response.status))
            return None
        return response
