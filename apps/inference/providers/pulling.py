"""Models that an Ollama server lacks, pulled by it when they are asked for: one pull a model, whoever waits for it.

Format: https://github.com/ollama/ollama/blob/main/docs/api.md#pull-a-model
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from pydantic import BaseModel, Field

from apps.inference.providers.remote.translation import parsed
from llamastack.egress.sentences import shown as in_short
from llamastack.errors import NotFound, StackError, Unavailable, UpstreamError, UpstreamTimeout

AT_ONCE = 2
PATIENCE_SECONDS = 30.0  # a client waits no longer for a pull
AGAIN_SECONDS = 10
FAILED_SECONDS = 15.0  # a pull that failed is not tried again before
SILENCES = 5  # each as long as a stream may be silent
STEP = 10  # per cent, in the log
logger = logging.getLogger(__name__)


class Progress(BaseModel):
    """A line of a pull. `digest` is the layer that `total` and `completed` bytes are of."""

    status: str = ""
    digest: str | None = None
    total: int | None = Field(None, ge=0)
    completed: int | None = Field(None, ge=0)
    error: str | None = None


class Pull:
    """One model's: how far each of its layers has come."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.layers: dict[str, tuple[int, int]] = {}
        self.task: asyncio.Task[None] | None = None

    @property
    def percent(self) -> int:
        total = sum(size for _, size in self.layers.values())
        return 100 * sum(done for done, _ in self.layers.values()) // total if total else 0

    def heard(self, progress: Progress) -> None:
        if progress.digest is not None and progress.total is not None:
            self.layers[progress.digest] = (min(progress.completed or 0, progress.total), progress.total)


class Pulls:
    """What one server is pulling. `ask` is the request: a model's name -> the lines of its pull."""

    def __init__(
        self,
        upstream: str,
        ask: Callable[[str], AsyncGenerator[Any, None]],
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self.upstream = upstream
        self._ask = ask
        self._patience = patience
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._pulls: dict[str, Pull] = {}

    async def stop(self) -> None:
        """The server keeps what it has of a model, and goes on from there when it is asked again."""
        tasks = [pull.task for pull in self._pulls.values() if pull.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def wait_for(self, model: str) -> None:
        """Until the server has the model. A pull goes on when nobody waits for it any more.

        Raises Unavailable with the percentage where it takes longer, NotFound where the server cannot find the model,
        and UpstreamError with its words where it fails on the way.
        """
        pull = self._pulls.get(model) or self._begin(model)
        assert pull.task is not None
        await asyncio.wait({pull.task}, timeout=self._patience)
        if not pull.task.done():
            raise Unavailable(f"{self.upstream} is pulling {shown(pull)}. Ask again.", retry_after=AGAIN_SECONDS)
        if error := pull.task.exception():
            raise error.with_traceback(None)

    def under_way(self) -> list[str]:
        """The models that are being pulled, each with its percentage."""
        return [shown(pull) for pull in self._pulls.values() if pull.task and not pull.task.done()]

    def _begin(self, model: str) -> Pull:
        pull = self._pulls[model] = Pull(model)
        pull.task = asyncio.create_task(self._pull(pull))
        pull.task.add_done_callback(lambda task: self._ended(pull, task))
        return pull

    def _ended(self, pull: Pull, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        if error := task.exception():
            said = error.message if isinstance(error, StackError) else repr(error)
            logger.warning("Pulling '%s' failed: %s", pull.model, said)
            asyncio.get_running_loop().call_later(FAILED_SECONDS, self._pulls.pop, pull.model)
        else:
            logger.info("%s has pulled '%s'", self.upstream, pull.model)
            del self._pulls[pull.model]

    async def _pull(self, pull: Pull) -> None:
        async with self._gate:
            logger.info("%s begins to pull '%s'", self.upstream, pull.model)
            for left in reversed(range(SILENCES)):
                try:
                    await self._follow(pull)
                    break
                except UpstreamTimeout:  # it checks large files in silence; asked again, it goes on where it was
                    if not left:
                        raise

    async def _follow(self, pull: Pull) -> None:
        async with aclosing(self._ask(pull.model)) as lines:
            async for line in lines:
                progress = parsed(Progress, line, self.upstream)
                if progress.error is not None:
                    raise self._failure(pull, progress.error)
                before = pull.percent
                pull.heard(progress)
                if pull.percent // STEP > before // STEP:
                    logger.info("%s is pulling %s", self.upstream, shown(pull))
                if progress.status == "success":
                    return
        raise UpstreamError(f"{self.upstream} ended the pull of '{pull.model}' before it was complete.")

    def _failure(self, pull: Pull, said: str) -> StackError:
        """Before it knows of any layer, the server has not found the model."""
        said = in_short(said, ())
        if pull.layers:
            return UpstreamError(f"{self.upstream} could not pull '{pull.model}': {said}")
        return NotFound(
            f"{self.upstream} has no model '{pull.model}' and cannot pull it: {said}",
            param="model",
            code="model_not_found",
        )


def shown(pull: Pull) -> str:
    return f"'{pull.model}': {pull.percent} %"
