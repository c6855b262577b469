"""Images that requests name by an http(s) address, fetched before they are decoded."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from apps.inference.providers.inline.meta_reference import images
from llamastack.egress.fetch import Fetched, Fetcher
from llamastack.errors import BadRequest, RateLimited

# The latter two: as stores of files call what they know nothing of.
ACCEPT = (*images.FORMATS, "application/octet-stream", "binary/octet-stream")
SECONDS = 20.0  # for all images of a request
MAX_TOTAL_BYTES = 32 << 20  # of a request's images
AT_ONCE = 4  # of one request
REQUESTS = 8  # that fetch, or hold what they have fetched until it is decoded
WAITING = 32  # requests beside these; the next one is answered 429


class Fetching:
    """Bounds how much is fetched at once, and so what is held of it: REQUESTS times MAX_TOTAL_BYTES, and a little."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._turns = asyncio.Semaphore(REQUESTS)
        self._waiting = 0

    @asynccontextmanager
    async def fetched(self, found: list[images.Place]) -> AsyncIterator[Mapping[str, Fetched]]:
        """What stands at the images' addresses, by their URL; room is taken for it until the block is left.

        Raises BadRequest that names the part, and RateLimited. Whoever is cancelled here has its connections closed.
        """
        fields = images.remote(found)
        if not fields:
            yield {}
            return
        await self._turn()
        try:
            yield await self._all(fields)
        finally:
            self._turns.release()

    async def _turn(self) -> None:
        if self._waiting >= WAITING:
            raise RateLimited("Too many requests wait for their images to be fetched.", retry_after=5)
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1

    async def _all(self, fields: Mapping[str, str]) -> Mapping[str, Fetched]:
        batch = _Batch(self._fetcher, asyncio.get_running_loop().time() + SECONDS)
        try:
            async with asyncio.TaskGroup() as group:
                for url, field in fields.items():
                    group.create_task(batch.add(url, field))
        except* BadRequest as refusals:
            raise refusals.exceptions[0] from None
        return batch.fetched


class _Batch:
    """The images of one request; the first that fails ends the others."""

    def __init__(self, fetcher: Fetcher, deadline: float) -> None:
        self._fetcher = fetcher
        self._deadline = deadline
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._bytes = 0
        self.fetched: dict[str, Fetched] = {}

    async def add(self, url: str, field: str) -> None:
        async with self._at_once:
            left = max(0.0, self._deadline - asyncio.get_running_loop().time())
            one = await self._fetcher.fetch(url, accept=ACCEPT, max_bytes=images.MAX_BYTES, seconds=left, param=field)
        self._bytes += len(one.content)
        if self._bytes > MAX_TOTAL_BYTES:
            raise BadRequest(f"The images have more than {MAX_TOTAL_BYTES >> 20} MiB together.", param=field)
        self.fetched[url] = one
