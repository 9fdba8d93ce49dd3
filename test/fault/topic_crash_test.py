"""weir is killed again and again while messages are published, pulled and acked: none that was acknowledged is lost, none comes
again once its ack was answered, and each key keeps its order."""
import json
import random
import threading
import time

from lib.client import Client, Closed
from lib.ports import free_port
from lib.process import wait_until

KILLS = 5
PUBLISHERS = 3

CONF = """
workers: 2
ledger:
  path: {path}
  http: {{address: "127.0.0.1:{port}", token_file: {path}.tokens}}
  topics: {{orders: {{order_by_key: true}}}}
routes: [{{match: /*, respond: 204}}]
"""


class Queue:
    def __init__(self, start):
        self.start = start
        self.gate, self.port = start()
        self.published = {i: [] for i in range(PUBLISHERS)}  # key -> numbers whose publishing was answered
        self.acked, self.seen, self.problems = {}, {}, []
        self.maybe = set()  # whose ack was cut off
        self.done = threading.Event()

    def ask(self, method, path, body):
        """None: it was cut off; it may have happened or not."""
        try:
            with Client(self.port, timeout=20) as c:
                answer = c.request(method, path, {"Authorization": "Bearer secret", "Content-Type": "application/json"},
                                   json.dumps(body).encode())
            return answer if answer.status != 503 else None
        except (OSError, Closed):
            time.sleep(0.02)
            return None

    def publish(self, key):
        number = 0
        while not self.done.is_set():
            number += 1
            answer = self.ask("POST", "/v1/topics/orders/messages", {"key": str(key), "body": f"{key}.{number}"})
            if answer is not None:
                assert answer.status == 201, answer.text
                self.published[key].append(number)

    def consume(self, until):
        """Keys keep their order: what is acked for the first time is later than what was acked before of its key."""
        while not until():
            answer = self.ask("POST", "/v1/topics/orders/groups/g/pull", {"count": 5, "wait": "100ms"})
            for m in answer.json["messages"] if answer is not None and answer.status == 200 else []:
                key, number = m["body"].split(".")
                assert m["id"] not in self.acked, f"{m['body']} comes again though its ack was answered"
                assert int(number) >= self.seen.get(key, 0), f"{m['body']} comes after {self.seen[key]} of its key"
                self.seen[key] = int(number)
                done = self.ask("POST", "/v1/topics/orders/groups/g/ack", {"ids": [m["id"]]})
                if done is not None and done.status == 200:
                    self.acked[m["id"]] = m["body"]
                else:
                    self.maybe.add(m["body"])

    def run(self, fn, *args):
        try:
            fn(*args)
        except Exception as e:  # noqa: BLE001: a thread's failure is the test's
            self.problems.append(e)


def test_kills_while_messages_come_and_go(weir, tmp_path):
    rng = random.Random(20261201)
    path = tmp_path / "ledger"
    (tmp_path / "ledger.tokens").write_text("shop:secret\n")

    def start():
        port = free_port()
        return weir(CONF.format(path=path, port=port)), port

    q = Queue(start)
    group = {"lease": "300ms", "attempts": 0, "back_off": "1ms", "back_off_max": "5ms"}
    wait_until(lambda: (a := q.ask("PUT", "/v1/topics/orders/groups/g", group)) is not None and a.status == 200, 20,
               "the group is there")
    threads = [threading.Thread(target=q.run, args=(q.publish, i)) for i in range(PUBLISHERS)]
    threads.append(threading.Thread(target=q.run, args=(q.consume, q.done.is_set)))
    for t in threads:
        t.start()
    try:
        for _ in range(KILLS):
            before, wanted = len(q.acked), 10 + rng.randrange(20)
            wait_until(lambda: len(q.acked) >= before + wanted or q.problems, 40, "messages are acked")
            q.gate.kill()
            q.gate, q.port = q.start()
    finally:
        q.done.set()
        for t in threads:
            t.join()
    assert not q.problems, q.problems
    wanted = {f"{key}.{n}" for key, numbers in q.published.items() for n in numbers}
    end = time.monotonic() + 60

    def all_had():
        return wanted <= set(q.acked.values()) | q.maybe or time.monotonic() > end

    q.consume(all_had)
    assert not wanted - set(q.acked.values()) - q.maybe
