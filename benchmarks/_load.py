"""Clients that ask as fast as they are answered: raw sockets, and nothing is read of an answer but where it ends."""

import asyncio
import gc
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
LANE = re.compile(rb"\r\nx-llamastack-lane: *(\w+)", re.IGNORECASE)
MOST_OF_HEAD = 1000
PATIENCE_SECONDS = 60


class Connection(asyncio.Protocol):
    """One connection that is kept: a request, its whole answer, the next request."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.due = 0  # bytes of the answer; 0 until its head has come, -1 where its last chunk ends it
        self.answered: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def ask(self, request: bytes) -> "asyncio.Future[bytes]":
        if self.transport.is_closing():
            raise ConnectionError("The connection was closed.")
        self.answered = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self.answered

    def data_received(self, data: bytes) -> None:
        self.received += data
        if not self.due:
            end = self.received.find(b"\r\n\r\n")
            if end < 0:
                return
            told = LENGTH.search(self.received, 0, end)
            self.due = end + 4 + int(told[1]) if told else -1
        whole = len(self.received) >= self.due if self.due > 0 else self.received.endswith(b"\r\n0\r\n\r\n")
        if whole and self.answered is not None:
            answer, self.received, self.due = bytes(self.received), bytearray(), 0
            self.answered.set_result(answer)

    def connection_lost(self, error: Exception | None) -> None:
        if self.answered is not None and not self.answered.done():
            self.answered.set_exception(error or ConnectionError("The connection was closed."))


class Calls(Protocol):
    def next(self) -> tuple[int, bytes]:
        """The next request, and its number."""

    def kept(self, number: int, answer: bytes) -> bytes:
        """What is kept of an answer until it is checked."""


@dataclass
class Cell:
    """What so many clients got within some seconds: what is kept of each answer, by the number that was asked."""

    clients: int
    answers: dict[int, bytes] = field(default_factory=dict, repr=False)
    milliseconds: list[float] = field(default_factory=list, repr=False)
    lanes: Counter[str] = field(default_factory=Counter)  # which of our lanes answered, and how often
    errors: int = 0
    seconds: float = 0.0
    memory: float = 0.0  # the server's PSS after it, in MB
    server: float = 0.0  # seconds of the processor
    others: float = 0.0  # the same of the clients and the upstream

    @property
    def rate(self) -> float:
        return len(self.answers) / self.seconds

    @property
    def cost(self) -> float:
        """Microseconds of the server's processor for a request."""
        return 1e6 * self.server / max(len(self.answers), 1)

    @property
    def fast(self) -> int:
        return self.lanes["fast"]

    def p(self, share: float) -> float:
        return percentile(self.milliseconds, share)


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values) or [0.0]
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


async def load(port: int, calls: Calls, clients: int, seconds: float) -> Cell:
    """Each client asks, once at least, until the time is over, and waits for its last answer."""
    cell = Cell(clients)
    loop = asyncio.get_running_loop()
    links = [(await loop.create_connection(Connection, "127.0.0.1", port))[1] for _ in range(clients)]
    gc.collect()
    gc.disable()
    began = time.perf_counter()
    async with asyncio.timeout(seconds + PATIENCE_SECONDS):
        await asyncio.gather(*(client(link, calls, cell, began + seconds) for link in links))
    cell.seconds = time.perf_counter() - began
    gc.enable()
    for link in links:
        link.transport.close()
    return cell


async def client(link: Connection, calls: Calls, cell: Cell, until: float) -> None:
    began = time.perf_counter()
    while True:
        number, request = calls.next()
        try:
            answer = await link.ask(request)
        except OSError:
            cell.errors += 1
            return
        cell.milliseconds.append(1000 * (time.perf_counter() - began))
        cell.answers[number] = calls.kept(number, answer)
        if told := LANE.search(answer, 0, MOST_OF_HEAD):
            cell.lanes[told[1].decode()] += 1
        if (began := time.perf_counter()) >= until:
            return


def body_of(answer: bytes) -> bytes:
    """The body of an answer of status 200, put together from its chunks. Raises ValueError for any other."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise ValueError(answer[:300])
    if LENGTH.search(head):
        return body
    pieces = []
    while True:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return b"".join(pieces)
        pieces.append(body[:length])
        body = body[length + 2 :]


def cpu_seconds(pid: int) -> float:
    """Of the processor, that a process and all its threads have had, to the nanosecond: /proc tells ticks of 10 ms.

    As clock_getcpuclockid(3) makes a process's clock of its id.
    """
    return time.clock_gettime(~pid << 3 | 2)


def pss_megabytes(pid: int) -> float:
    return int(re.findall(r"^Pss: +(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)[0]) / 1024
