"""Texts of several files are embedded together."""

import asyncio
from collections.abc import Sequence

from apps.vector_io.batching import AT_ONCE, Batching
from apps.vector_io.protocol import Vector


async def test_what_waits_is_one_request_whatever_file_it_is_of() -> None:
    asked: list[list[str]] = []
    full, go_on = asyncio.Event(), asyncio.Event()

    async def embed(texts: Sequence[str]) -> list[Vector]:
        asked.append(list(texts))
        if len(asked) == AT_ONCE:
            full.set()
        await go_on.wait()
        return [[float(len(text))] for text in texts]

    async with Batching(embed) as batching:
        first = []
        for number in range(AT_ONCE):
            first.append(asyncio.create_task(batching.vectors([f"first {number}"])))
            while len(asked) <= number:
                await asyncio.sleep(0)
        await full.wait()
        files = [asyncio.create_task(batching.vectors([text, "of each"])) for text in ("a", "bb", "ccc")]
        await asyncio.sleep(0)  # each has begun
        go_on.set()
        assert await asyncio.gather(*files) == [[[1.0], [7.0]], [[2.0], [7.0]], [[3.0], [7.0]]]
        await asyncio.gather(*first)
    assert asked[AT_ONCE:] == [["a", "of each", "bb", "of each", "ccc", "of each"]]
