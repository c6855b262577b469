"""Of many streams at once, the longest gap of each is seen."""

import asyncio
from typing import Any

import pytest

from benchmarks._streams import Watched

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Sink(asyncio.Transport):
    def write(self, data: Any) -> None:
        """To nobody."""

    def is_closing(self) -> bool:
        return False


async def test_the_longest_gap_of_each_answer_is_noted() -> None:
    times = iter([10.0, 10.1, 10.6, 10.7, 20.0, 20.2])
    link = Watched(clock=lambda: next(times))
    link.connection_made(Sink())
    for pieces in ([HEAD, b"1\r\na\r\n", b"1\r\nb\r\n", b"0\r\n\r\n"], [HEAD, b"0\r\n\r\n"]):
        answered = link.ask(b"")
        for piece in pieces:
            link.data_received(piece)
        await answered
        await asyncio.sleep(0)
    assert link.gaps == pytest.approx([500, 200])
