"""Rows on their way to the database: one bounded queue a process, written in groups, each in one transaction."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from django.db import models, transaction

from llamastack.db import db
from llamastack.errors import StackError, Unavailable

MAX_ROWS = 10_000
MAX_BYTES = 64 * 1024 * 1024
GROUP_ROWS = 500
GATHER_SECONDS = 0.5  # how long a row that nobody waits for may lie until others have gathered
GROUP_SECONDS = 0.01  # from one group to the next: a transaction costs as much as many rows
PATIENCE_SECONDS = 10.0
UNAWAITED_SHARE = 0.5  # of the room, so that rows that nobody waits for never keep out the others
logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Queued:
    """A row, the bytes it takes, and who waits for it, if anybody does."""

    row: models.Model
    size: int
    written: asyncio.Future[None] | None = None

    @property
    def given_up(self) -> bool:
        return self.written is not None and self.written.done()


class Flusher:
    """Writes rows of any model. Those that somebody waits for are written at once, in the order they came, as many
    as have gathered while the group before was written; the others within a second, where there is room for them.
    """

    def __init__(
        self,
        write: Callable[[Sequence[models.Model]], None] | None = None,
        max_rows: int = MAX_ROWS,
        max_bytes: int = MAX_BYTES,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self.write = write or insert
        self.max_rows = max_rows
        self.max_bytes = max_bytes
        self.patience_seconds = patience_seconds
        self.dropped = 0
        self._told = 0
        self._awaited: deque[Queued] = deque()
        self._unawaited: deque[Queued] = deque()
        self._bytes = 0
        self._wanted = asyncio.Event()
        self._room = asyncio.Event()
        self._gathering: asyncio.TimerHandle | None = None
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Write what is queued, and take no more."""
        self._stopping = True
        self._wanted.set()
        self._room.set()
        if self._task:
            await self._task

    def offer(self, row: models.Model, size: int) -> None:
        """Write the row soon, if there is room and the database is there; drop it otherwise."""
        if self._stopping or self._full(UNAWAITED_SHARE):
            self.dropped += 1
            return
        self._add(self._unawaited, Queued(row, size))
        if len(self._unawaited) >= GROUP_ROWS:
            self._wanted.set()
        elif self._gathering is None:
            self._gathering = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._wanted.set)

    async def commit(self, row: models.Model, size: int) -> None:
        """Return once the row is committed. Raises Unavailable, in which case it was not, as far as one can know."""
        queued = Queued(row, size, asyncio.get_running_loop().create_future())
        try:
            async with asyncio.timeout(self.patience_seconds):
                while self._full() and not self._stopping:
                    self._room.clear()
                    await self._room.wait()
                if self._stopping:
                    raise Unavailable("The server is stopping.", retry_after=1)
                self._add(self._awaited, queued)
                self._wanted.set()
                assert queued.written
                await queued.written
        except TimeoutError as error:
            raise Unavailable("The database is too slow to store this; try again shortly.", retry_after=5) from error

    @property
    def rows(self) -> int:
        """How many wait."""
        return len(self._awaited) + len(self._unawaited)

    # --- the queue ---

    def _full(self, share: float = 1.0) -> bool:
        return self.rows >= self.max_rows * share or self._bytes >= self.max_bytes * share

    def _add(self, queue: deque[Queued], queued: Queued) -> None:
        queue.append(queued)
        self._bytes += queued.size

    def _taken(self) -> Iterator[Queued]:
        for queue in (self._awaited, self._unawaited):
            while queue:
                queued = queue.popleft()
                self._bytes -= queued.size
                if not queued.given_up:
                    yield queued

    def _group(self) -> list[Queued]:
        """The next rows to write: those that somebody waits for come first."""
        group = list(islice(self._taken(), GROUP_ROWS))
        self._room.set()
        return group

    # --- the writer ---

    async def _run(self) -> None:
        """Until the flusher stops; what is queued by then is still written."""
        loop, stopping = asyncio.get_running_loop(), False
        while not stopping:
            await self._wanted.wait()
            stopping = self._stopping
            self._wanted.clear()
            if self._gathering:
                self._gathering.cancel()
                self._gathering = None
            while self._awaited or self._unawaited:
                began = loop.time()
                await self._write(self._group())
                await asyncio.sleep(began + GROUP_SECONDS - loop.time())
            self._tell()

    async def _write(self, group: list[Queued]) -> None:
        """Write a group, or, where a row of it is refused, each row on its own."""
        if not group:  # everybody has given up
            return
        try:
            await db(self.write, [queued.row for queued in group])
        except Unavailable as error:
            self._fail([*group, *self._taken()], error)  # the next group would only wait as long for the same
        except Exception as error:  # whatever is wrong with one row must not take the others down
            if len(group) == 1:
                self._fail(group, refused(error))
            else:
                for queued in group:
                    await self._write([queued])
        else:
            for queued in group:
                if queued.written and not queued.written.done():
                    queued.written.set_result(None)

    def _fail(self, group: list[Queued], error: StackError) -> None:
        for queued in group:
            if queued.written is None:
                self.dropped += 1
            elif not queued.written.done():
                queued.written.set_exception(error)

    def _tell(self) -> None:
        """Say in the log how many rows were dropped since it was said last."""
        if self.dropped > self._told:
            logger.warning("%d rows that nobody waited for were dropped", self.dropped - self._told)
            self._told = self.dropped


def insert(rows: Sequence[models.Model]) -> None:
    """All of them or none."""
    kinds: dict[type[models.Model], list[models.Model]] = {}
    for row in rows:
        kinds.setdefault(type(row), []).append(row)
    with transaction.atomic():
        for kind, same in kinds.items():
            kind._base_manager.bulk_create(same)


def refused(error: Exception) -> StackError:
    if isinstance(error, StackError):
        return error
    logger.error("A row could not be written", exc_info=error)
    return StackError("The server failed to store this; its log says more.", code="internal_error")
