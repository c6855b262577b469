"""The registry as this process knows it: a snapshot kept current, and the providers that follow it.

The version is polled twice a second; rows changed since are read and the next snapshot is built in a thread. A request
that misses a name has the poll run at once, shared by all who miss, at most four times a second.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from django.db import transaction

from apps.access.models import ApiKey, SnapshotVersion, Tombstone
from apps.access.service import Route, admit, authenticate, unknown_model
from apps.registry import effective, service
from apps.registry.listing import Listing
from apps.registry.models import CHECK_EVERY, DISCOVER_EVERY, Model, Provider
from apps.registry.schemas import ProviderModel
from llamastack.apis import Api
from llamastack.call import Call, Principal
from llamastack.db import db
from llamastack.errors import AuthenticationError, NotFound, StackError
from llamastack.pool import ProviderPool
from llamastack.providers import Health
from llamastack.snapshot import Changes, ModelRecord, Snapshot

POLL_SECONDS = 0.5
CHECK_SECONDS = 0.25
DUTY_SECONDS = 5.0
NEVER_AGAIN = timedelta(days=36_500)
SYSTEM = Principal("system")
logger = logging.getLogger(__name__)


class Live:
    def __init__(self, pool: ProviderPool, *, duties: bool = True) -> None:
        """Without `duties` others list models and check health: those that run all of the providers."""
        self.pool = pool
        self._has_duties = duties
        self.snapshot = Snapshot()
        self.listing = Listing()
        self._lock = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._check: asyncio.Task[None] | None = None
        self._next_look = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._duties = asyncio.Event()
        pool.on_started = self._duties.set

    async def start(self) -> None:
        """Read the registry, start its providers, and follow both from now on."""
        await self.refresh()
        duties = self._keep_duties() if self._has_duties else self._keep_started()
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(duties)]

    async def stop(self) -> None:
        tasks = [*self._tasks, *self._under_way]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- reading ---

    async def admitted(self, call: Call, model: str, model_type: str) -> Route:
        """The route of a call; a name nobody knows is looked for once more before it is a 404."""
        if self.snapshot.model(call.principal.tenant, model) is None:
            await self.check()
        return admit(call, self.snapshot, model, model_type)

    async def named(self, call: Call, name: str) -> ModelRecord:
        """The model of that identifier or alias."""
        tenant = call.principal.tenant
        if self.snapshot.model(tenant, name) is None:
            await self.check()
        model = self.snapshot.model(tenant, name)
        if model is None:
            raise unknown_model(name, self.snapshot, tenant)
        return model

    async def principal(self, headers: dict[str, str], *, required: bool) -> Principal:
        try:
            return authenticate(headers, self.snapshot, required=required)
        except AuthenticationError:
            await self.check()
            return authenticate(headers, self.snapshot, required=required)

    async def check(self) -> None:
        """Wait for one look at the database, shared with everybody who waits now."""
        if self._check is None or self._check.done():
            self._check = asyncio.create_task(self._look())
        await asyncio.shield(self._check)

    async def _look(self) -> None:
        now = self._loop.time()
        await asyncio.sleep(max(0, self._next_look - now))
        self._next_look = max(now, self._next_look) + CHECK_SECONDS
        await self.refresh_if_possible()

    # --- following the database ---

    async def refresh(self) -> None:
        """Bring the snapshot and the providers up to the database's version."""
        async with self._lock:
            following = await db(next_snapshot, self.snapshot)
            if following is not None:
                before, self.snapshot = self.snapshot, following
                if before.providers is not following.providers:
                    self.pool.apply(following.providers)
                    self._duties.set()

    async def refresh_if_possible(self) -> None:
        """With the database gone, routing goes on from the snapshot there is."""
        try:
            await self.refresh()
        except StackError as error:
            logger.warning("The registry cannot be read: %s", error.message)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await self.refresh_if_possible()
            except Exception:  # one bad row must not end the following of all others
                logger.exception("The registry could not be followed")

    async def _keep_started(self) -> None:
        """What a health check does beside checking: try those again whose start has failed."""
        while True:
            await asyncio.sleep(CHECK_EVERY.total_seconds())
            for key in list(self.snapshot.providers):
                await self.pool.restart(key)

    # --- duties that one process does for all ---

    async def _keep_duties(self) -> None:
        while True:
            self._duties.clear()
            try:
                await self._do_duties()
            except Exception:  # a provider's failure is its own; the next round comes
                logger.exception("Discovery or health checks failed")
            try:
                async with asyncio.timeout(DUTY_SECONDS):
                    await self._duties.wait()
            except TimeoutError:
                continue

    async def _do_duties(self) -> None:
        ready = [key for key in self.snapshot.providers if self.pool.started(key)]
        listing = [key for key in ready if self.snapshot.providers[key].api == Api.inference]
        changing = [key for key in listing if self.pool.refreshes(key)]
        discover = await db(claimed, changing, "discovered_at", DISCOVER_EVERY)
        discover += await db(claimed, listing, "discovered_at", NEVER_AGAIN)
        check = await db(claimed, ready, "checked_at", CHECK_EVERY)
        duties = [(self.discover, key) for key in discover] + [(self.check_health, key) for key in check]
        for duty, key in duties:
            task = asyncio.create_task(_quietly(duty, key))  # of its own: a silent provider holds up no other
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def discover(self, key: int) -> int:
        """Ask a provider what it serves and register it; returns how many models are new. Raises its StackError."""
        call = Call(SYSTEM)
        record = self.snapshot.providers.get(key)
        if record is None:
            raise NotFound("This provider is not running: enable it first.")
        async with self.pool.use(record) as provider:
            listing: list[ProviderModel] = await provider.get_models(call)
        count = await db(service.record_listing, key, listing)
        await self.refresh()
        return count

    async def check_health(self, key: int) -> Health:
        """Ask a provider how it is, keep the answer, and start it anew where its start had failed."""
        await self.pool.restart(key)
        health = await self.pool.health(key)
        await db(service.record_health, key, health)
        return health


async def _quietly(duty: Callable[[int], Awaitable[object]], key: int) -> None:
    """A provider's failure is its own; its health tells it."""
    try:
        await duty(key)
    except StackError as error:
        logger.info("A listing or a health check failed: %s", error.message)
    except Exception:  # nobody waits for this task
        logger.exception("A listing or a health check failed")


def next_snapshot(snapshot: Snapshot) -> Snapshot | None:
    """The snapshot after what changed in the database, or None where nothing did."""
    version = SnapshotVersion.current()
    if version == snapshot.version and version:
        return None
    since = snapshot if version > snapshot.version else Snapshot()
    return since.after(changes_since(since.version, version))


@transaction.atomic
def changes_since(since: int, version: int) -> Changes:
    gone: dict[str, set[int]] = {"provider": set(), "model": set(), "apikey": set()}
    for kind, row in Tombstone.objects.filter(version__gt=since).values_list("kind", "row"):
        gone.setdefault(kind, set()).add(row)
    providers, models, keys = [], [], []
    for provider in Provider.objects.changed_since(since).each():
        if provider.enabled:
            providers.append(effective.provider_record(provider))
        else:
            gone["provider"].add(provider.pk)
    for model in Model.objects.changed_since(since).each():
        if model.enabled:
            models.append(effective.model_record(model))
        else:
            gone["model"].add(model.pk)
    for key in ApiKey.objects.changed_since(since).each():
        if key.revoked_at is None:
            keys.append(effective.key_record(key))
        else:
            gone["apikey"].add(key.pk)
    held = {kind: frozenset(rows) for kind, rows in gone.items()}
    return Changes(version, tuple(providers), tuple(models), tuple(keys), held)


def claimed(keys: list[int], clock: str, every: timedelta) -> list[int]:
    """Those of `keys` whose periodic duty is due, and is now ours to do."""
    due = list(Provider.objects.filter(pk__in=keys).due(clock, every).values_list("pk", flat=True))
    return [key for key in due if Provider.objects.filter(pk=key).claim(clock, every)]
