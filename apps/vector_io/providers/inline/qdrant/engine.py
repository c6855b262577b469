"""The process of Qdrant's engine, as the server sees it: started with its provider, and again where it has died."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from apps.vector_io.providers.inline.qdrant.framed import Missing, OtherDimension, received, send
from llamastack.errors import DiskFull, Unavailable

SERVING = "apps.vector_io.providers.inline.qdrant.serving"
ROOT = Path(__file__).parents[5]
ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")
ANSWER_SECONDS = 600.0
END_SECONDS = 30.0
LOCK_SECONDS = 20.0  # a process whose server was killed has something to end yet


class Engine:
    """One question after the other: so the engine answers them anyway."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.users = 0
        self._lock_seconds = LOCK_SECONDS
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="qdrant")
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    @property
    def process_id(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self, lock_seconds: float) -> None:
        """Another process that has the folder yet is waited for so long."""
        self._lock_seconds = lock_seconds
        await self._run(self._started)

    async def ask(self, do: str, **given: Any) -> Any:
        return await self._run(self._asked, {"do": do, "with": given})

    async def stop(self) -> None:
        await self._run(self._ended)
        self._thread.shutdown()

    async def _run(self, work: Any, *given: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *given)

    def _started(self) -> socket.socket:
        if self._socket is not None:
            return self._socket
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        ours, theirs = socket.socketpair()
        ours.settimeout(ANSWER_SECONDS)
        path = os.pathsep.join([str(ROOT), *(entry for entry in sys.path if entry)])
        environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", SERVING, str(self.folder), str(theirs.fileno()), str(self._lock_seconds)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**environment, "PYTHONPATH": path},
            )
        self._socket = ours
        self._answer()
        return ours

    def _asked(self, request: dict[str, Any]) -> Any:
        connection = self._started()
        try:
            send(connection, request)
        except OSError as error:
            raise self._died() from error
        return self._answer()

    def _answer(self) -> Any:
        assert self._socket is not None
        try:
            answer = received(self._socket)
        except OSError as error:
            raise self._died() from error
        if answer is None:
            raise self._died()
        if "error" in answer:
            raise self._meant(answer["error"], answer["message"])
        return answer["result"]

    def _meant(self, kind: str, message: str) -> Exception:
        if kind == "missing":
            return Missing()
        if kind == "dimension":
            return OtherDimension(message)
        if kind == "full":
            return DiskFull("There is no room for these chunks on the server's disk.")
        if kind == "locked":
            self._ended()
            return Unavailable(f"Another process has {self.folder} open: a folder of inline::qdrant has one server.")
        return Unavailable(f"Qdrant's engine could not do this: {message}.")

    def _died(self) -> Unavailable:
        self._ended(at_once=True)
        return Unavailable("The process of Qdrant's engine has ended; it starts anew with the next call. Try again.")

    def _ended(self, at_once: bool = False) -> None:
        """It writes what it has, and ends, when its socket is closed."""
        connection, process = self._socket, self._process
        self._socket = self._process = None
        if connection is not None:
            connection.close()
        if process is not None:
            if at_once:
                process.kill()
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Engines:
    """Those of this process by their folders: a provider that replaces another of one folder has the same engine."""

    def __init__(self) -> None:
        self._engines: dict[Path, Engine] = {}
        self._lock = threading.Lock()

    def take(self, folder: Path) -> Engine:
        with self._lock:
            if folder not in self._engines:
                self._engines[folder] = Engine(folder)
            engine = self._engines[folder]
            engine.users += 1
            return engine

    def give_back(self, engine: Engine) -> bool:
        """Whether that was its last user, who ends it."""
        with self._lock:
            engine.users -= 1
            if not engine.users:
                del self._engines[engine.folder]
            return not engine.users


ENGINES = Engines()
