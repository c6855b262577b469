"""Models that load in a thread, once for all who ask at the same time."""

import asyncio
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from llamastack import collector
from llamastack.providers import Health, ProviderUnavailable

Loaded = TypeVar("Loaded")
# transformers makes a model on torch's `meta` device, and whatever another thread loads meanwhile is made there too.
LOADING = threading.Lock()


class Loads(Generic[Loaded]):
    """What is loaded and what is loading, by name. `load` blocks and runs in a thread."""

    def __init__(self, load: Callable[[str], Loaded]) -> None:
        self._load = load
        self._tasks: dict[str, asyncio.Task[Loaded]] = {}

    @property
    def names(self) -> list[str]:
        return list(self._tasks)

    @property
    def loading(self) -> list[str]:
        return [name for name, task in self._tasks.items() if not task.done()]

    def health(self, wanted: str | None) -> Health:
        """What is loaded or loading; not well where the one model that is `wanted` is neither."""
        if self.loading:
            return Health(True, f"loading {', '.join(self.loading)}; calls wait")
        if not self.names and wanted:
            return Health(False, f"{wanted} is not loaded")
        return Health(True, f"loaded: {', '.join(self.names) or 'nothing yet; the first request loads its model'}")

    async def get(self, name: str) -> Loaded:
        """The model, after its load; a load that failed is tried again by the next caller."""
        if name not in self._tasks:
            self._tasks[name] = asyncio.create_task(asyncio.to_thread(self._loaded, name))
        task = self._tasks[name]
        try:
            return await asyncio.shield(task)
        finally:
            if task.done() and (task.cancelled() or task.exception()) and self._tasks.get(name) is task:
                del self._tasks[name]

    async def take_all(self) -> list[Loaded]:
        """Everything that was loaded, and no longer here: for stopping it."""
        tasks, self._tasks = list(self._tasks.values()), {}
        results = await asyncio.gather(*tasks, return_exceptions=True)
        return [result for result in results if not isinstance(result, BaseException)]

    def _loaded(self, name: str) -> Loaded:
        try:
            # It replaces its own module at its end: who says `from transformers import …` while another thread imports
            # it gets the first one, which is empty. This waits.
            import transformers  # noqa: F401

            with LOADING:
                loaded = self._load(name)
            collector.settle_model()
            return loaded
        except ImportError as error:
            raise ProviderUnavailable(
                f"The package '{error.name}' is missing. Install it with `pip install -r requirements/local.txt`."
            ) from error
