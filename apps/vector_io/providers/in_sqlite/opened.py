"""The open files of a provider's stores: who reads waits for no writer, and what nobody has used for long is closed."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

from apps.vector_io import checks
from apps.vector_io.filters import Filter
from apps.vector_io.protocol import Store, Vector
from apps.vector_io.providers.in_sqlite.file import Scored, StoreFile
from llamastack.errors import BadRequest

JOURNALS = ("-wal", "-shm")


class OpenStore:
    """A store's file, twice: to read and to write. Each is used under its own lock."""

    def __init__(self, reader: StoreFile, writer: StoreFile, store: Store) -> None:
        self.store = store
        self.users = 0
        self.inode: int | None = None
        self.dropped = False
        self._reader, self._writer = reader, writer
        self._reads, self._writes = threading.Lock(), threading.Lock()

    @contextmanager
    def reading(self) -> Iterator[StoreFile]:
        with self._reads:
            yield self._reader

    @contextmanager
    def writing(self) -> Iterator[StoreFile]:
        with self._writes:
            yield self._writer

    def nearest(self, vector: Vector, limit: int, filter: Filter | None) -> Scored:
        """The chunks whose vectors are nearest, each with the cosine, of those that the filter keeps."""
        raise NotImplementedError

    def close(self) -> None:
        self._reader.close()
        self._writer.close()


Opened = TypeVar("Opened", bound=OpenStore)


class OpenStores(Generic[Opened]):
    """A folder of stores, of which `most` stay open that nobody uses.

    `file` opens one of its files, and `opens` makes of two of them what a provider uses.
    """

    def __init__(
        self,
        folder: Path,
        file: Callable[[Path], StoreFile],
        opens: Callable[[StoreFile, StoreFile, Store], Opened],
        most: int,
    ) -> None:
        self.folder = folder
        self.most = most
        self._file, self._opens = file, opens
        self._open: OrderedDict[Path, Opened] = OrderedDict()
        self._lock = threading.Lock()
        self._making = threading.Lock()  # of files, while others are used

    def create(self, store: Store) -> None:
        path = self._path(store)
        with self._making:
            if not path.exists():
                remove_journals(path)  # of a store that was being dropped
            file = self._file(path)
            try:
                file.create(store)
            finally:
                file.close()

    def drop(self, store: Store) -> None:
        path = self._path(store)
        with self._making:
            with self._lock:
                self._close(path)
            path.unlink(missing_ok=True)
            remove_journals(path)

    @contextmanager
    def using(self, store: Store) -> Iterator[Opened]:
        with self._lock:
            opened = self._found(store)
            opened.users += 1
            self._close_idle()
        try:
            yield opened
        finally:
            with self._lock:
                opened.users -= 1
                if opened.dropped:
                    self._close_unused(opened)

    def close(self) -> None:
        with self._lock:
            for path in list(self._open):
                self._close(path)

    def _found(self, store: Store) -> Opened:
        path = self._path(store)
        opened = self._open.get(path)
        if opened is None or opened.inode != inode(path):  # another process has dropped it, and may have made it anew
            self._close(path)
            opened = self._open[path] = self._opened(path, store)
        self._open.move_to_end(path)
        if opened.store.dimension != store.dimension:
            raise BadRequest(f"This vector store has vectors of {opened.store.dimension} numbers.", param="dimension")
        return opened

    def _opened(self, path: Path, store: Store) -> Opened:
        if not path.exists():
            raise checks.missing(store)
        reader = self._file(path)
        try:
            reader.check(store)
            opened = self._opens(reader, self._file(path), store)
            opened.inode = inode(path)
            return opened
        except BaseException:
            reader.close()
            raise

    def _close_idle(self) -> None:
        idle = [path for path, opened in self._open.items() if not opened.users]
        for path in idle[: max(0, len(self._open) - self.most)]:
            self._open.pop(path).close()

    def _close(self, path: Path) -> None:
        """At once, or when its last user has done."""
        if opened := self._open.pop(path, None):
            opened.dropped = True
            self._close_unused(opened)

    def _close_unused(self, opened: Opened) -> None:
        if not opened.users:
            opened.close()

    def _path(self, store: Store) -> Path:
        """A name of a tenant may hold anything, and be long."""
        name = hashlib.sha256(f"{store.tenant}\0{store.key}".encode()).hexdigest()[:40]
        return self.folder / f"{name}.db"


def inode(path: Path) -> int | None:
    """Which file it is; None where there is none."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def remove_journals(path: Path) -> None:
    for ending in JOURNALS:
        path.with_name(path.name + ending).unlink(missing_ok=True)
