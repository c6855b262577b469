"""The job that removes files that have expired, and what broken uploads have left."""

from apps.jobs.work import Running
from llamastack.stack import LlamaStack


async def sweep(stack: LlamaStack, running: Running) -> None:
    async for removed in stack.files.swept():
        await running.progress(removed=removed)
