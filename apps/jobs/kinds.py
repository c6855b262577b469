"""The kinds of jobs: names and dotted paths, each imported when the first of its kind is done."""

from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

from django.utils.module_loading import import_string

from apps.jobs.work import Run, Unreadable
from llamastack.stack import LlamaStack

DEFAULT, GPU = "default", "gpu"
QUEUES = (DEFAULT, GPU)


class Kind(NamedTuple):
    """`run` is the path of an `async def run(stack: LlamaStack, running: Running) -> None`.

    `queue` says which workers do it, where there are workers. `scheduled` is the path of what a schedule may ask for: a
    pydantic model, with a `make(self, principal: Principal) -> None` that makes the job of one turn. What is `long` may
    take hours, and leaves places to others (worker.py). `again` is the path of a function of a payload, which raises
    Conflict where to try its job again would change nothing.
    """

    run: str
    queue: str = DEFAULT
    scheduled: str = ""
    long: bool = False
    again: str = ""


KINDS = {
    "batch": Kind(
        "apps.batches.jobs.run",
        scheduled="apps.batches.service.ScheduledBatch",
        long=True,
        again="apps.batches.jobs.again",
    ),
    "batches.sweep": Kind("apps.batches.jobs.sweep"),
    "files.sweep": Kind("apps.files.jobs.sweep"),
    "jobs.sweep": Kind("apps.jobs.jobs.sweep"),
    "vector_stores.ingest": Kind("apps.vector_io.jobs.ingest"),
    "vector_stores.remove": Kind("apps.vector_io.jobs.remove"),
    "vector_stores.sweep": Kind("apps.vector_io.jobs.sweep"),
}
LONG = frozenset(name for name, kind in KINDS.items() if kind.long)
# Jobs that nobody asks for: one of the kind in so many seconds, with an empty payload, in the tenant `default`.
PERIODIC = {"batches.sweep": 600, "files.sweep": 600, "jobs.sweep": 3600, "vector_stores.sweep": 3600}


def of(stack: LlamaStack, kind: str) -> Run:
    """What does a job of this kind. Raises Unreadable where it is none of ours."""
    if kind not in KINDS:
        raise Unreadable(f"There are no jobs of the kind '{kind}' in this version. There are: {', '.join(KINDS)}.")
    return partial(import_string(KINDS[kind].run), stack)


def refuse_again(kind: str, payload: Any) -> None:
    """Raises Conflict where to try such a job again would change nothing."""
    if kind in KINDS and (path := KINDS[kind].again):
        import_string(path)(payload)


def queue(kind: str) -> str:
    """Of a kind that there is not: whoever does its job finds that out."""
    return KINDS[kind].queue if kind in KINDS else DEFAULT


def elsewhere(queues: Iterable[str]) -> list[str]:
    """The kinds that are done by other queues than these."""
    wanted = set(queues)
    return [name for name, kind in KINDS.items() if kind.queue not in wanted]
