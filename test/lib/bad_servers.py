"""Servers of which some are slow and some fail, and clients who keep coming: for bench/balancing_live and its test.

Each server works on `slots` requests at a time, the others wait in line; a request takes a time drawn from an
exponential distribution. A failing one answers 503 at once. Everything runs on one asyncio loop.
"""
import asyncio
import random
import time
from dataclasses import dataclass, field


@dataclass
class Setting:
    servers: int = 16
    slow: int = 2
    failing: int = 1
    slots: int = 2
    service_s: float = 0.02
    slow_factor: float = 10
    seed: int = 1


@dataclass
class Outcome:
    latencies_s: list = field(default_factory=list)
    failed: int = 0
    by_server: list = field(default_factory=list)  # requests that each got

    def quantile_ms(self, share):
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000

    def share(self, first, count):
        return sum(self.by_server[first:first + count]) / sum(self.by_server)


class Servers:
    """async with Servers(setting) as s: s.addresses"""

    def __init__(self, setting):
        self.setting = setting
        self.random = random.Random(setting.seed)
        self.counts = [0] * setting.servers
        self.listeners, self.addresses = [], []

    async def __aenter__(self):
        for number in range(self.setting.servers):
            slots = asyncio.Semaphore(self.setting.slots)

            async def serve(reader, writer, number=number, slots=slots):
                try:
                    await self._serve(number, slots, reader, writer)
                except (ConnectionError, asyncio.IncompleteReadError):
                    pass
                finally:
                    writer.close()

            listener = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024)
            self.listeners.append(listener)
            self.addresses.append("127.0.0.1:%d" % listener.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_):
        for listener in self.listeners:
            listener.close()

    async def _serve(self, number, slots, reader, writer):
        s = self.setting
        while True:
            await reader.readuntil(b"\r\n\r\n")
            self.counts[number] += 1
            status = "503 Broken" if s.slow <= number < s.slow + s.failing else "200 OK"
            if status == "200 OK":
                mean_s = s.service_s * (s.slow_factor if number < s.slow else 1)
                async with slots:
                    await asyncio.sleep(self.random.expovariate(1 / mean_s))
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok".encode())


async def _ask(port, connections):
    """One request on a connection of its own at that time; returns its status, 0 when there was no answer."""
    try:
        reader, writer = connections.pop() if connections else await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        lower = head.lower()
        length = int(lower.split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
    except (ConnectionError, asyncio.IncompleteReadError):
        return 0
    connections.append((reader, writer))
    return int(head.split(b" ")[1])


async def _measure(outcome, at_s, port, connections):
    status = await _ask(port, connections)
    outcome.latencies_s.append(time.monotonic() - at_s)
    outcome.failed += status != 200


async def keep_coming(port, count, rate_per_s, seed=1):
    """count requests at times that do not depend on the answers; a late one counts from when it was due."""
    dice, outcome, connections, asked = random.Random(seed), Outcome(), [], []
    due_s = time.monotonic()
    for _ in range(count):
        due_s += dice.expovariate(rate_per_s)
        await asyncio.sleep(max(0, due_s - time.monotonic()))
        asked.append(asyncio.create_task(_measure(outcome, due_s, port, connections)))
    await asyncio.gather(*asked)
    for _, writer in connections:
        writer.close()
    return outcome


async def keep_busy(port, count, at_a_time):
    """count requests, so many at a time: how fast they are does not matter."""
    outcome, connections, left = Outcome(), [], iter(range(count))

    async def one_after_the_other():
        for _ in left:
            await _measure(outcome, time.monotonic(), port, connections)

    await asyncio.gather(*(one_after_the_other() for _ in range(at_a_time)))
    for _, writer in connections:
        writer.close()
    return outcome
