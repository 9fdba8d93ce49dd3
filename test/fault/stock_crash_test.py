"""weir is killed in the middle of a sale, again and again: what its clients see stays possible, and nothing is lost or sold
twice."""
import random
import threading
import time

from lib import stock_history
from lib.client import Client, Closed
from lib.process import wait_until
from lib.stock_history import Op

KILLS = 5
CLIENTS = 5
TOTAL = 15

CONF = """
workers: 2
ledger: {{path: {path}, stock_file: {path}.csv}}
routes:
  - match: POST /buy
    order: {{item: radio, quantity: query n, id: query id, user: query user, hold: 1h}}
  - match: POST /release
    order: {{release: query id}}
  - match: GET /stock
    order: {{stock: radio}}
"""


class Sale:
    def __init__(self, start):
        self.start = start
        self.gate = start()
        self.ops, self.problems = [], []
        self.done = threading.Event()

    def ask(self, path):
        """Until there is an answer: a request that was cut off is sent again, by the same id."""
        while True:
            try:
                with Client(self.gate.port, timeout=20) as c:
                    answer = c.request("POST", path)
                if answer.status != 503:
                    return answer
            except (OSError, Closed):
                pass
            time.sleep(0.02)

    def client(self, number, seed):
        rng = random.Random(seed)
        mine = []
        count = 0
        try:
            while not self.done.is_set():
                begin = time.monotonic()
                if mine and rng.random() < 0.5:
                    op = Op("release", mine.pop(rng.randrange(len(mine))), 1, begin)
                    answer = self.ask(f"/release?id={op.order}")
                    assert answer.status == 200, answer.text
                    op.result = "released"
                else:
                    count += 1
                    op = Op("reserve", f"{number}-{count}", 1 + rng.randrange(3), begin)
                    answer = self.ask(f"/buy?id={op.order}&n={op.quantity}&user=u")
                    op.result = {202: "held", 409: "sold_out", 410: "sold_out"}[answer.status]
                    if op.result == "held":
                        mine.append(op.order)
                op.end = time.monotonic()
                self.ops.append(op)
        except Exception as e:  # noqa: BLE001: a thread's failure is the test's
            self.problems.append(e)


def test_kills_in_the_middle_of_a_sale(weir, tmp_path):
    seed = 20261130
    rng = random.Random(seed)
    path = tmp_path / "ledger"
    (tmp_path / "ledger.csv").write_text(f"radio,{TOTAL}\n")
    sale = Sale(lambda: weir(CONF.format(path=path)))
    wait_until(lambda: sale.gate.get("/stock").status == 200, 20, "the radios are there")
    threads = [threading.Thread(target=sale.client, args=(i, seed + i)) for i in range(CLIENTS)]
    for t in threads:
        t.start()
    try:
        for _ in range(KILLS):
            before = len(sale.ops)
            wanted = 20 + rng.randrange(30)
            wait_until(lambda: len(sale.ops) >= before + wanted or sale.problems, 30, "requests are answered")
            sale.gate.kill()
            sale.gate = sale.start()
        before = len(sale.ops)
        wait_until(lambda: len(sale.ops) >= before + 20 or sale.problems, 30, "requests are answered")
    finally:
        sale.done.set()
        for t in threads:
            t.join()
    assert not sale.problems, sale.problems
    wrong = stock_history.check(sale.ops, TOTAL)
    assert wrong is None, f"seed {seed}: {wrong}"
    released = {op.order for op in sale.ops if op.kind == "release"}
    held = sum(op.quantity for op in sale.ops if op.result == "held" and op.order not in released)
    item = sale.gate.get("/stock").json
    assert (item["free"], item["held"], item["sold"]) == (TOTAL - held, held, 0)
    assert item["orders"]["reserved"] == sum(op.result == "held" for op in sale.ops)
