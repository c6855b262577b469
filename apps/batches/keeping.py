"""The answers of a batch that is being done: those in the database, and those on their way there."""

import asyncio

from apps.batches.answers import Answer
from apps.batches.models import WRITTEN, AnswerRecord, Batch, BatchAnswer
from apps.batches.pace import Pace
from apps.jobs.models import Job
from apps.jobs.work import Lost
from llamastack.db import db
from llamastack.errors import Unavailable


class Kept:
    """`lines` are those whose answers are in the database: after a crash none of them is asked for once more.

    `due` is set where enough has come to be written, so that it is while others are still asked.
    """

    def __init__(self, job: Job, batch: Batch, pace: Pace) -> None:
        self.job = job
        self.batch = batch
        self.pace = pace
        self.due = asyncio.Event()
        self.lines: set[int] = set()
        self.coming: list[Answer] = []
        self._doubtful = True  # whether any other than `lines` may be there

    async def read(self) -> None:
        self.begin(await db(lines_of, self.batch))

    def begin(self, lines: set[int]) -> None:
        self.lines, self._doubtful = lines, False

    def add(self, answer: Answer) -> None:
        self.coming.append(answer)
        if len(self.coming) >= WRITTEN:
            self.due.set()

    async def write(self) -> bool | None:
        """Whether to go on: False where the job is to be cancelled, None where there was nothing to write.

        Raises Lost, and Unavailable while the database is gone: nothing is lost then, and it can be tried again.
        """
        if self._doubtful:
            await self.read()
            self.coming = [one for one in self.coming if one.line not in self.lines]
        answers, self.coming = self.coming, []
        if not answers:
            return None
        writing = asyncio.create_task(self._written(answers))
        try:
            return await asyncio.shield(writing)
        except asyncio.CancelledError:  # the thread goes on all the same: whoever hands the job back waits for it
            await asyncio.gather(writing, return_exceptions=True)
            raise

    async def _written(self, answers: list[Answer]) -> bool:
        rows = [AnswerRecord(self.batch.id, one.line, one.succeeded, one.text.decode()) for one in answers]
        counts = _counts(answers)
        progress = {"done": len(self.lines) + len(answers), "total": self.batch.total}
        try:
            goes_on = await db(Batch.objects.keep, self.job, self.batch.id, rows, counts, progress)
        except Unavailable:  # which may have come before its answer: they may be there all the same
            self.coming[:0], self._doubtful = answers, True
            raise
        if goes_on is None:
            raise Lost
        self.lines.update(one.line for one in answers)
        self.pace.add(len(answers), counts["output_tokens"])
        return goes_on


def lines_of(batch: Batch) -> set[int]:
    return set(BatchAnswer.objects.filter(batch=batch).values_list("line", flat=True))


def _counts(answers: list[Answer]) -> dict[str, int]:
    """By the columns of a batch."""
    asked, cached, said, reasoned = (sum(column) for column in zip(*(one.tokens for one in answers), strict=True))
    done = sum(one.succeeded for one in answers)
    tokens = {"input_tokens": asked, "cached_tokens": cached, "output_tokens": said, "reasoning_tokens": reasoned}
    return {"completed": done, "failed": len(answers) - done, **tokens}
