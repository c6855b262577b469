"""Rows on their way to the database: bounded queues in each process, written in groups, each in one transaction."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from django.db import IntegrityError

from llamastack.db import db
from llamastack.errors import StackError, Unavailable
from llamastack.rows import Row, insert

BEYOND = 2  # times as many records are kept: those of the calls that had begun, and of those that waited in vain
GROUP_ROWS = 500  # of those that somebody waits for, with others beside them
GATHERED_ROWS = 2000  # that nobody waits for: in larger groups a row takes a third less
GATHER_SECONDS = 0.5  # how long a row that nobody waits for may lie until others have gathered
GROUP_SECONDS = 0.01  # from one group to the next: a transaction costs as much as many rows
UNAWAITED_SHARE = 0.5  # of the room, so that rows that nobody waits for never keep out the others
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """How much may be queued, and for how many seconds a call waits for room, a row to be committed, who writes for
    a database that is gone, and a server that stops for it to come back.
    """

    rows: int = 10_000
    bytes: int = 64 * 1024 * 1024
    records: int = 20_000  # about 20 MB
    room: float = 1.0
    patience: float = 10.0
    retry: float = 1.0
    drain: float = 5.0


@dataclass(slots=True)
class Queued:
    """A row, the bytes it takes, and who waits for it, if anybody does. A record is kept until it is written.

    One that the database was gone for may be there all the same: its commit may have come through without an answer.
    """

    row: Row
    size: int = 0
    written: asyncio.Future[None] | None = None
    record: bool = False
    doubtful: bool = False

    @property
    def given_up(self) -> bool:
        return self.written is not None and self.written.done()


class Flusher:
    """Writes rows of any table. Those that somebody waits for are written at once, in the order they came, as many
    as have gathered while the group before was written; the others within a second: records, which are kept while the
    database is gone, and then what is dropped where there is no room.

    It counts for whoever shows it: records that were `lost`, calls for whose record there was no room when they
    began (`waits`), and other rows that were `dropped`.
    """

    def __init__(self, write: Callable[[Sequence[Row]], None] = insert, limits: Limits = Limits()) -> None:
        self.write = write
        self.limits = limits
        self.dropped = self.lost = self.waits = 0
        self._told = (0, 0)
        self._awaited: deque[Queued] = deque()
        self._records: deque[Queued] = deque()
        self._unawaited: deque[Queued] = deque()
        self._writing = self._writing_records = 0
        self._bytes = 0
        self._wanted = asyncio.Event()
        self._room = asyncio.Event()
        self._fewer = asyncio.Event()
        self._gathering: asyncio.TimerHandle | None = None
        self._stopping = self._ended = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Write what is queued, and take no more."""
        self._stopping = True
        for event in (self._wanted, self._room, self._fewer):
            event.set()
        if self._task:
            await self._task

    # --- records ---

    @property
    def full(self) -> bool:
        """Whether a call that begins now shall wait first: see `room`."""
        return len(self._records) + self._writing_records >= self.limits.records

    async def room(self) -> None:
        """Wait for room for the records of more calls, though not for long: then the call begins all the same."""
        if not self.full:
            return
        self.waits += 1
        with suppress(TimeoutError):
            async with asyncio.timeout(self.limits.room):
                while self.full and not self._stopping:
                    self._fewer.clear()
                    await self._fewer.wait()

    def note(self, record: Row) -> None:
        """Write the record soon. It is kept while the database is gone, and lost where there are too many by then."""
        if self._ended or len(self._records) + self._writing_records >= BEYOND * self.limits.records:
            self.lost += 1
            if self._ended:
                self._tell()
            return
        self._records.append(Queued(record, record=True))
        if len(self._records) == GATHERED_ROWS:
            self._wanted.set()
        elif self._gathering is None:
            self._write_within(GATHER_SECONDS)

    # --- other rows ---

    def offer(self, row: Row, size: int) -> None:
        """Write the row soon, if there is room and the database is there; drop it otherwise."""
        if self._stopping or self._full(UNAWAITED_SHARE):
            self.dropped += 1
            return
        self._add(self._unawaited, Queued(row, size))
        if len(self._unawaited) == GATHERED_ROWS:
            self._wanted.set()
        elif self._gathering is None:
            self._write_within(GATHER_SECONDS)

    async def commit(self, row: Row, size: int) -> None:
        """Return once the row is committed. Raises Unavailable, in which case it was not, as far as one can know."""
        queued = Queued(row, size, asyncio.get_running_loop().create_future())
        try:
            async with asyncio.timeout(self.limits.patience):
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

    # --- the queues ---

    @property
    def rows(self) -> int:
        """How many there are that are not written yet."""
        return len(self._awaited) + self._gathered + self._writing

    @property
    def _gathered(self) -> int:
        return len(self._records) + len(self._unawaited)

    def _full(self, share: float = 1.0) -> bool:
        rows = len(self._awaited) + len(self._unawaited)
        return rows >= self.limits.rows * share or self._bytes >= self.limits.bytes * share

    def _add(self, queue: deque[Queued], queued: Queued) -> None:
        queue.append(queued)
        self._bytes += queued.size

    def _taken(self, *queues: deque[Queued]) -> Iterator[Queued]:
        for queue in queues:
            while queue:
                queued = queue.popleft()
                self._bytes -= queued.size
                if not queued.given_up:
                    yield queued

    def _group(self) -> list[Queued]:
        """The next rows to write: those that somebody waits for come first, and then records."""
        most = GROUP_ROWS if self._awaited else GATHERED_ROWS
        group = list(islice(self._taken(self._awaited, self._records, self._unawaited), most))
        self._writing, self._writing_records = len(group), sum(queued.record for queued in group)
        self._room.set()
        return group

    # --- the writer ---

    def _write_within(self, seconds: float) -> None:
        self._gathering = asyncio.get_running_loop().call_later(seconds, self._wanted.set)

    async def _run(self) -> None:
        """Until the flusher stops; what is queued by then is still written, if the database comes back in time."""
        while not self._stopping:
            await self._wanted.wait()
            self._wanted.clear()
            if self._gathering:
                self._gathering.cancel()
                self._gathering = None
            await self._write_due()
            self._tell()
        await self._drain()
        self._ended = True
        self.lost += len(self._records)
        self._records.clear()
        self._tell()

    async def _write_due(self) -> None:
        """A group, and more while somebody waits or others have gathered. What is left has its time."""
        there = await self._write_group()
        while there and (self._awaited or self._gathered >= GATHERED_ROWS):
            there = await self._write_group()
        if self._gathered and self._gathering is None:
            self._write_within(GATHER_SECONDS if there else self.limits.retry)

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + self.limits.drain
        while self._awaited or self._gathered:
            if not await self._write_group():
                if loop.time() >= until:
                    return
                await asyncio.sleep(min(self.limits.retry, self.limits.drain))

    async def _write_group(self) -> bool:
        """Whether the database is there."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        there = await self._write(self._group())
        self._writing = self._writing_records = 0
        if not self.full:
            self._fewer.set()
        await asyncio.sleep(began + GROUP_SECONDS - loop.time())
        return there

    async def _write(self, group: list[Queued]) -> bool:
        """Write a group, or, where a row of it is refused, the halves of it. Returns whether the database is there."""
        parts = deque([group])
        while parts:
            part = parts.popleft()
            try:
                if part:  # or else everybody has given up
                    await db(self.write, [queued.row for queued in part])
            except Unavailable as error:
                self._put_off([*part, *(queued for later in parts for queued in later)], error)
                return False
            except Exception as error:  # whatever is wrong with one row must not take the others down
                if len(part) == 1:
                    if not (part[0].doubtful and isinstance(error, IntegrityError)):  # or else it is there
                        self._fail(part, refused(error))
                else:
                    parts.extendleft((part[len(part) // 2 :], part[: len(part) // 2]))
            else:
                for queued in part:
                    if queued.written and not queued.written.done():
                        queued.written.set_result(None)
        return True

    def _put_off(self, group: list[Queued], error: StackError) -> None:
        """Records wait until the database is back. All else fails: the next group would only wait as long for that."""
        records = [queued for queued in group if queued.record]
        for queued in records:
            queued.doubtful = True
        self._records.extendleft(reversed(records))
        others = [queued for queued in group if not queued.record]
        self._fail([*others, *self._taken(self._awaited, self._unawaited)], error)

    def _fail(self, group: Iterable[Queued], error: StackError) -> None:
        for queued in group:
            if queued.record:
                logger.error("A usage record could not be written: %s", error.message)
                self.lost += 1
            elif queued.written is None:
                self.dropped += 1
            elif not queued.written.done():
                queued.written.set_exception(error)

    def _tell(self) -> None:
        """Say in the log how many rows were dropped, and records lost, since it was said last."""
        dropped, lost = self._told
        if self.dropped > dropped:
            logger.warning("%d rows that nobody waited for were dropped", self.dropped - dropped)
        if self.lost > lost:
            logger.error("%d usage records were lost", self.lost - lost)
        self._told = self.dropped, self.lost


def refused(error: Exception) -> StackError:
    if isinstance(error, StackError):
        return error
    logger.error("A row could not be written", exc_info=error)
    return StackError("The server failed to store this; its log says more.", code="internal_error")
