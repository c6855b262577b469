"""A distribution's own PostgreSQL, for demos: it lies in the distribution's folder.

Whoever comes first starts it, whoever comes later shares it, and it ends with the process that started it.
"""

import fcntl
import time
from functools import cache
from pathlib import Path
from typing import TextIO

import psycopg

from llamastack.environment import EnvironmentFault
from llamastack.services import START_SECONDS, Running, ServicesError, start

POLL_SECONDS = 0.1
_running: list[Running] = []  # they end where nobody holds them
INSTEAD = (
    "Name a server of yours: DATABASE_URL=postgresql://user:password@host:5432/name, or POSTGRES_HOST; or set "
    "LLAMA_STACK_HOME to another folder"
)


@cache
def postgres(folder: Path) -> str:
    """The URL of the PostgreSQL of this folder, which runs from now on. Raises EnvironmentFault."""
    folder = folder / "services"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o711)  # the servers run as another user where we are root
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise EnvironmentFault(f"Cannot write to {error.filename}: {error.strerror}. Set LLAMA_STACK_HOME.") from None
    deadline = time.monotonic() + START_SECONDS
    while not (url := _begun(folder, lock) if _is_ours(lock) else _found(folder)):
        if time.monotonic() > deadline:
            raise EnvironmentFault(f"The private PostgreSQL of another process in {folder} does not answer. {INSTEAD}.")
        time.sleep(POLL_SECONDS)
    return url


def _is_ours(lock: TextIO) -> bool:
    """The servers hold it too: until they have ended, after whoever started them."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _begun(folder: Path, lock: TextIO) -> str:
    try:
        running = start(folder, redis=False, held=[lock.fileno()])
    except ServicesError as error:
        raise EnvironmentFault(f"{error} {INSTEAD}.") from None
    _running.append(running)
    address = folder / "database_url"
    address.touch(mode=0o600)
    address.write_text(running.services.database_url)
    return running.services.database_url


def _found(folder: Path) -> str:
    """The address that another process has left, where something answers there; else ''."""
    try:
        url = (folder / "database_url").read_text()
        psycopg.connect(url, connect_timeout=5).close()
    except (OSError, psycopg.Error):
        return ""
    return url
