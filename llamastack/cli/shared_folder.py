"""The folder in which the workers of one server count together, for as long as one of them lives."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from llamastack.home import home

LOCK = "lock"


@contextmanager
def shared_folder() -> Iterator[tuple[Path, int]]:
    """A new folder and its lock, an open file: it is held until every process that has been given it has ended.

    Those that nobody holds any more are removed first; a server that was killed leaves one behind.
    """
    folders = home() / "workers"
    folders.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(folders):
        for folder in folders.iterdir():
            _remove_unheld(folder)
        made = Path(tempfile.mkdtemp(dir=folders))
        lock = os.open(made / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield made, lock
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(lock)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def _remove_unheld(folder: Path) -> None:
    with suppress(OSError):  # it is held, or somebody else's
        lock = os.open(folder / LOCK, os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
        finally:
            os.close(lock)
