"""The providers that run in this process, and their replacement while calls are in flight."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from llamastack.apis import Api
from llamastack.call import DEFAULT_TENANT, SHARED_TENANT
from llamastack.config.known import NOT_BUILT
from llamastack.errors import ProviderOff, StackError
from llamastack.provider_data import ProviderData
from llamastack.providers import Health, Provider, ProviderConfig, ProviderUnavailable, find, load
from llamastack.recording import Tape, Track, keeping
from llamastack.recording.secrets import of_config
from llamastack.snapshot import ProviderRecord

HEALTH_SECONDS = 3.0
DRAIN_SECONDS = 30.0
STOP_SECONDS = 5.0
SOON_SECONDS = 1.0
CUT_SECONDS = 1.0  # for those that are stopped at once then
logger = logging.getLogger(__name__)


class Running:
    """One started provider and the calls it is serving."""

    def __init__(
        self, record: ProviderRecord, services: Mapping[Api, Any], tape: Tape | None, workers: int = 1
    ) -> None:
        self.workers = workers
        self.record = record
        self.calls = 0
        self.idle = asyncio.Event()
        self.idle.set()
        self.provider = Provider(record.provider_id, None)  # until it is made
        self.track: Track | None = None
        self.started = asyncio.create_task(self._start(services, tape))
        self.started.add_done_callback(lambda task: task.cancelled() or task.exception())
        self.began = asyncio.get_running_loop().time()

    async def _start(self, services: Mapping[Api, Any], tape: Tape | None) -> None:
        """Errors are kept: whoever waits for this task gets the reason."""
        try:
            kind, config, needed = _parts(self.record, services, self.workers)
            self.track = _track(self.record, config, tape)
            with keeping(self.track):
                self.provider = kind(self.record.provider_id, config, **needed)
                self.provider.confined = self.record.tenant not in (SHARED_TENANT, DEFAULT_TENANT)
                await self.provider.start()
        except StackError:
            raise
        except ImportError as error:
            spec = find(self.record.api, self.record.provider_type, self.record.module)
            where = f"pip install -r {spec.requirements}" if spec and spec.requirements else f"pip install {error.name}"
            raise ProviderUnavailable(f"Package '{error.name}' is missing: {where}") from error
        except Exception as error:  # whatever a provider raises, the start of the others goes on
            logger.exception("Provider %s failed to start", self.record.provider_id)
            raise ProviderUnavailable(f"It failed to start: {error}") from error

    @asynccontextmanager
    async def use(self) -> AsyncIterator[Provider]:
        """The provider, once it has started; counted as a call in flight until the block ends."""
        self.taken()
        try:
            await self._ready()
            with keeping(self.track):
                yield self.provider
        finally:
            self.given_back()

    def taken(self) -> None:
        """A call is in flight, until it is given back."""
        self.calls += 1
        self.idle.clear()

    def given_back(self) -> None:
        self.calls -= 1
        if not self.calls:
            self.idle.set()

    async def _ready(self) -> None:
        try:
            await asyncio.shield(self.started)
        except StackError as error:
            raise ProviderOff(f"Provider '{self.record.provider_id}' is unavailable: {error.message}") from error

    async def starts_soon(self, seconds: float) -> bool:
        """Whether it has started, well or not; waited for until it has taken so many seconds, and no longer."""
        left = self.began + seconds - asyncio.get_running_loop().time()
        if not self.started.done() and left > 0:
            await asyncio.wait([self.started], timeout=left)
        return self.started.done()

    @property
    def failed(self) -> bool:
        return self.started.done() and not self.started.cancelled() and self.started.exception() is not None

    async def retire(self) -> None:
        """Stop once the calls in flight have ended, or after 30 seconds; at once where this is cancelled."""
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await self.idle.wait()
        except TimeoutError:
            logger.warning("Provider %s is stopped with %d calls in flight", self.record.provider_id, self.calls)
        finally:
            self.started.cancel()
            await asyncio.gather(self.started, return_exceptions=True)
            await self.provider.stop()


def _parts(
    record: ProviderRecord, services: Mapping[Api, Any], workers: int
) -> tuple[type[Provider], ProviderConfig, dict[str, Any]]:
    """The class of a provider, its config, and the services it needs."""
    spec = find(record.api, record.provider_type, record.module)
    if spec is None:
        raise ProviderUnavailable(f"Provider type '{record.provider_type}' is {NOT_BUILT}.")
    if spec.exclusive and workers > 1:
        remedy = "use --workers 1, and no `llama worker`"
        raise ProviderUnavailable(f"It keeps its state in one process, and there are {workers}: {remedy}.")
    kind = load(spec)
    needed = {str(api): services[api] for api in spec.needs}
    return kind, kind.config_class.model_validate(dict(record.config)), needed


def _track(record: ProviderRecord, config: ProviderConfig, tape: Tape | None) -> Track | None:
    return None if tape is None else Track(tape, record.api, record.provider_id, tuple(of_config(config)))


class ProviderPool:
    """The running providers by the key of their row."""

    def __init__(self, services: Mapping[Api, Any], tape: Tape | None = None, workers: int = 1) -> None:
        """`workers` is how many processes run these providers, this one among them."""
        self.on_started: Callable[[], None] = lambda: None
        self.patience = (STOP_SECONDS, CUT_SECONDS)
        self._services = services
        self._tape = tape
        self._workers = workers
        self._running: dict[int, Running] = {}
        self._retiring: set[asyncio.Task[None]] = set()

    def apply(self, records: Mapping[int, ProviderRecord]) -> None:
        """Run exactly these: start what is new, replace what changed, retire the rest. Returns at once."""
        wanted = {key: record for key, record in records.items() if record.unavailable is None}
        for key, running in list(self._running.items()):
            if key not in wanted or running.record.revision != wanted[key].revision:
                self._retire(key)
        for key, record in wanted.items():
            if key not in self._running:
                self._run(record)

    def _run(self, record: ProviderRecord) -> None:
        running = self._running[record.key] = Running(record, self._services, self._tape, self._workers)
        running.started.add_done_callback(lambda _: self.on_started())

    async def restart(self, key: int) -> None:
        """Start a provider anew whose start failed; wait a moment for how its start goes, whoever has asked for it."""
        if (running := self._running.get(key)) is None:
            return
        if running.failed:
            self._retire(key)
            self._run(running.record)
        if not (started := self._running[key].started).done():
            await asyncio.wait([started], timeout=HEALTH_SECONDS)

    @asynccontextmanager
    async def use(self, record: ProviderRecord) -> AsyncIterator[Any]:
        running = self._running.get(record.key)
        if running is None:
            raise ProviderOff(f"Provider '{record.provider_id}' is not running.", retry_after=1)
        async with running.use() as provider:
            yield provider

    def live(self, key: int) -> Running | None:
        """A provider that has started and is neither recorded nor replayed."""
        running = self._running.get(key)
        if running is None or running.track is not None or not running.started.done() or running.failed:
            return None
        return running

    def started(self, key: int) -> bool:
        running = self._running.get(key)
        return running is not None and running.started.done()

    async def starts_soon(self, key: int, seconds: float = SOON_SECONDS) -> bool:
        """Whether nobody need wait for a provider's start any more, or not for long."""
        running = self._running.get(key)
        return running is None or await running.starts_soon(seconds)

    def refuses(self, key: int) -> bool:
        """Whether a provider would fail any call at once."""
        running = self._running.get(key)
        return running is None or running.failed or (running.started.done() and running.provider.refuses)

    @property
    def in_flight(self) -> int:
        """The calls that providers are answering, but for those that are being replaced."""
        return sum(running.calls for running in self._running.values())

    def refreshes(self, key: int) -> bool:
        running = self._running.get(key)
        return running is not None and running.provider.refreshes

    def uses(self, key: int, data: ProviderData) -> bool:
        """Whether a provider is asked with something of the caller's own."""
        running = self._running.get(key)
        return running is not None and running.provider.uses(data)

    async def health(self, key: int) -> Health:
        """The provider's word on itself, or the reason why there is none within three seconds."""
        running = self._running.get(key)
        if running is None:
            return Health(False, "not running")
        if not running.started.done():
            return Health(True, "starting")
        try:
            async with asyncio.timeout(HEALTH_SECONDS), running.use() as provider:
                return await provider.health()
        except TimeoutError:
            return Health(False, f"no answer within {HEALTH_SECONDS:g} s")
        except StackError as error:
            return Health(False, error.message)

    def _retire(self, key: int) -> None:
        task = asyncio.create_task(self._running.pop(key).retire())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def close(self) -> None:
        """Stop them all: after five seconds also those that still serve calls.

        A provider that is still loading, in a thread that nobody can stop, is not waited for long.
        """
        for key in list(self._running):
            self._retire(key)
        for seconds in self.patience:
            if self._retiring:
                _, late = await asyncio.wait(self._retiring, timeout=seconds)
                for task in late:
                    task.cancel()
