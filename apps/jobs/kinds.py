"""The kinds of jobs: names and dotted paths, each imported when the first of its kind is done."""

from functools import partial

from django.utils.module_loading import import_string

from apps.jobs.work import Run, Unreadable
from llamastack.stack import LlamaStack

# `async def run(stack: LlamaStack, running: Running) -> None`
KINDS = {
    "batch": "apps.batches.jobs.run",
}


def of(stack: LlamaStack, kind: str) -> Run:
    """What does a job of this kind. Raises Unreadable where it is none of ours."""
    if kind not in KINDS:
        raise Unreadable(f"There are no jobs of the kind '{kind}' in this version. There are: {', '.join(KINDS)}.")
    return partial(import_string(KINDS[kind]), stack)
