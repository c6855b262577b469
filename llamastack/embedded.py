"""A Stack inside another program: prepared as `llama stack run` prepares it, but without a word and without a port.

One thread owns its loop, its providers and their engines. All library clients of the process share it; it ends with the
last of them, or with the interpreter.
"""

import asyncio
import logging
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llamastack import environment
from llamastack.config import StackConfig
from llamastack.config.lookup import find
from llamastack.environment import SETTINGS, EnvironmentFault, reachable_url
from llamastack.errors import StackError
from llamastack.exchange import Exchange, Inbox

PASSED_ON = (
    *("DATABASE_URL", "DJANGO_SETTINGS_MODULE"),
    *(f"LLAMA_STACK_{name}" for name in ("ALLOWED_ORIGINS", "FAST_LANE", "VECTOR_PROVIDER")),
)
GRACE_SECONDS = 5
PATIENCE_SECONDS = 60  # with a thread whose start was interrupted: it loads what it loads, and then ends
SERVE_INSTEAD = "serve it by `llama stack run` and use the HTTP client"
logger = logging.getLogger(__name__)


def prepare(source: str | Path) -> None:
    """Django, the tables and the YAML's rows, in a thread without a running loop. The environment stays as it was.

    Raises ConfigError, or EnvironmentFault where this program cannot hold that Stack.
    """
    config = environment.read(source)
    for note in config.notes:
        logger.warning(note)
    _refuse_other_settings()
    _refuse_other_database(config)
    with _environment_kept():
        from llamastack import database

        database.prepare_embedded(config)
        logging.getLogger("django.request").setLevel(logging.ERROR)  # it warns of every 4xx; the caller has it anyway
        import llamastack.asgi  # noqa: F401 - here, where it finds its settings


def _refuse_other_settings() -> None:
    from django.conf import settings

    module = settings.SETTINGS_MODULE if settings.configured else os.environ.get("DJANGO_SETTINGS_MODULE") or SETTINGS
    if module != SETTINGS:
        named = f"with {module}" if module else "by settings.configure()"
        raise EnvironmentFault(
            f"Django is set up {named} in this program, and a process has one set-up: the Stack cannot run inside it. "
            f"Run it beside: {SERVE_INSTEAD}."
        )


def _refuse_other_database(config: StackConfig) -> None:
    from django.conf import settings

    if settings.configured and reachable_url(config) != settings.DATABASE_URL:
        raise EnvironmentFault(
            f"Django is already set up on another database in this process than '{config.image_name}' uses. Set "
            f"DATABASE_URL before the first use, take a process for each, or {SERVE_INSTEAD}."
        )


@contextmanager
def _environment_kept() -> Iterator[None]:
    """What Django's settings are told goes no further: programs started from here are not ours."""
    before = {name: os.environ.get(name) for name in PASSED_ON}
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


class Closed(StackError):
    """The Stack that was to answer has ended."""


class Embedded:
    """The thread and what it owns. `host` is a name that the server's guards let pass."""

    loop: asyncio.AbstractEventLoop
    host: bytes

    def __init__(self, source: str | Path, path: Path) -> None:
        self.path = path
        self.process = os.getpid()
        self.shares = 0
        self._source = source
        self._lock = threading.Lock()
        self._closing = False
        self._over = asyncio.Event()
        self._ready: Future[None] = Future()
        self._exchanges: dict[asyncio.Task[None], Exchange] = {}
        self._begun = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="llama-stack", daemon=True)

    def start(self) -> None:
        """Returns when the Stack answers; raises what kept it from starting."""
        try:
            self._begun = True
            self._thread.start()
            self._ready.result()
        except BaseException:
            if not self._ready.cancel():  # where the wait was interrupted before, the thread ends by itself
                if self._ready.exception() is None:
                    self.close()
                self._thread.join()
            raise

    def begin(self, scope: dict[str, Any], body: bytes, inbox: Inbox) -> Exchange:
        """Send a request off. Raises Closed, or EnvironmentFault in a forked child."""
        if self.process != os.getpid():
            raise forked()
        exchange = Exchange(self.loop, scope, body, inbox)
        with self._lock:
            if self._closing:
                raise Closed("The library client has been closed; make a new one.")
            self.loop.call_soon_threadsafe(self._spawn, exchange)
        return exchange

    def close(self) -> None:
        """End the answers under way, the Stack, the loop and the thread. A forked child has none of them."""
        if self.process != os.getpid():
            return
        with self._lock:
            if not self._closing:
                self._closing = True
                self.loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def wait(self) -> None:
        """Until its thread has ended, which it does by itself where the start or the close was interrupted."""
        if self.process == os.getpid() and self._begun and self._done.wait(PATIENCE_SECONDS):
            self._thread.join()

    # --- below here, the Stack's thread ---

    def _run(self) -> None:
        try:
            prepare(self._source)
            self.host = _host()
            asyncio.run(self._serve())
        except BaseException as error:  # raised by whoever waits for the start
            if not self._ready.done():
                self._ready.set_exception(error)
            elif not self._ready.cancelled():
                logger.exception("The Stack ended")
        finally:
            _leave_database()
            self._done.set()

    async def _serve(self) -> None:
        from llamastack import stack
        from llamastack.asgi import threads

        self.loop = asyncio.get_running_loop()
        await stack.start()
        try:
            if self._ready.set_running_or_notify_cancel():
                self._ready.set_result(None)
                await self._over.wait()
            await self._end_exchanges()
        finally:
            await stack.stop()
            threads.end()

    def _spawn(self, exchange: Exchange) -> None:
        from llamastack.asgi import application

        task = self.loop.create_task(exchange.run(application))
        self._exchanges[task] = exchange
        task.add_done_callback(self._exchanges.pop)

    async def _end_exchanges(self) -> None:
        for exchange in self._exchanges.values():
            exchange.leave()
        if self._exchanges:
            await asyncio.wait(self._exchanges, timeout=GRACE_SECONDS)


def _host() -> bytes:
    """Of LLAMA_STACK_ALLOWED_HOSTS, whose patterns are Django's: `*`, or `.example.com` with what stands below it."""
    from llamastack import settings

    name = settings.ALLOWED_HOSTS[0]
    return b"localhost" if name == "*" else name.lstrip(".").encode()


def _leave_database() -> None:
    from django.apps import apps

    if apps.ready:
        from llamastack import db

        db.end()


class Process:
    """What runs in this process: one Stack at most, as Django has one set-up in it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._embedded: Embedded | None = None
        self._latest: Embedded | None = None
        self._taken: Path | None = None
        self._leaves_with_interpreter = False

    def share(self, source: str | Path) -> Embedded:
        """The running Stack of that configuration, or a new one; `leave` gives the share back."""
        path = find(source).resolve()
        with self._lock:
            embedded = self._embedded
            if embedded is None or embedded.path != path or embedded.process != os.getpid():
                self._refuse_second(path)
                self._end_with_interpreter()
                embedded = self._latest = Embedded(source, path)
                embedded.start()
                self._embedded = embedded
            embedded.shares += 1
            return embedded

    def leave(self, embedded: Embedded) -> None:
        with self._lock:
            embedded.shares -= 1
            if not embedded.shares and self._embedded is embedded:
                self._embedded = None
                embedded.close()

    def take(self, source: str | Path) -> None:
        """Prepare a Stack that the caller runs on a loop of its own; `free` when it has ended."""
        path = find(source).resolve()
        with self._lock:
            self._refuse_second(path)
            prepare(source)
            self._taken = path

    def free(self) -> None:
        _leave_database()
        self._taken = None

    def close(self) -> None:
        """Whoever still has a share: the interpreter ends."""
        with self._lock:
            embedded, self._embedded = self._embedded, None
            if embedded is not None:
                embedded.close()

    def _refuse_second(self, path: Path) -> None:
        from llamastack import stack

        if self._embedded is not None and self._embedded.process != os.getpid():
            raise forked()
        other = self._taken or (self._embedded and self._embedded.path)
        if other:
            raise EnvironmentFault(
                f"This process already runs the Stack of {other.stem}, and can run one: close its clients before "
                f"{path.stem}. For both at once, take a process for each, or {SERVE_INSTEAD}."
            )
        if self._latest is not None:
            self._latest.wait()
        if stack.is_running():
            raise EnvironmentFault(f"This process already serves a Stack. To use it from here, {SERVE_INSTEAD}.")

    def _end_with_interpreter(self) -> None:
        """Before the executors do, which is before atexit's turn: the last registered is called first."""
        if not self._leaves_with_interpreter:
            import concurrent.futures.thread  # noqa: F401 - registers itself, and so has to come before

            threading._register_atexit(self.close)  # type: ignore[attr-defined]  # as concurrent.futures ends its own
            self._leaves_with_interpreter = True


def forked() -> EnvironmentFault:
    return EnvironmentFault(
        "This process was forked from one that runs a Stack, whose threads stayed there. Make the client after the "
        f"fork, start processes by 'spawn', or {SERVE_INSTEAD}."
    )


PROCESS = Process()
