"""Which collection is a store's: made, found and dropped. Every method blocks, and may be called by several threads."""

import hashlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from apps.vector_io import checks
from apps.vector_io.protocol import Store
from apps.vector_io.providers.in_milvus import schema
from apps.vector_io.providers.in_milvus.client import Gone, translated
from apps.vector_io.providers.in_milvus.collection import Collection
from llamastack.errors import BadRequest, Conflict, Unavailable, UpstreamError, UpstreamTimeout

STRIPES = 64
T = TypeVar("T")


class Locks:
    """One writer of a collection at a time, and one who opens it: milvus-lite bears no more.

    `torn` are collections where a write failed: what milvus-lite logs behind half a write is lost in a crash.
    """

    def __init__(self) -> None:
        self.torn: set[str] = set()
        self._stripes = [threading.RLock() for _ in range(STRIPES)]

    def of(self, name: str) -> threading.RLock:
        return self._stripes[hash(name) % STRIPES]


class Stores:
    """`_known` are collections that have been found as they should be; others may have dropped them since."""

    def __init__(self, client: Any, consistency: str, index_type: str, seconds: float, locks: Locks) -> None:
        self.client = client
        with translated():
            self._lite = "lite" in client.get_server_version(timeout=seconds)
        self._consistency, self._index_type, self._seconds = consistency, index_type, seconds
        self._locks = locks
        self._known: dict[str, Collection] = {}

    def create(self, store: Store) -> None:
        name = named(store)
        with self._locks.of(name), translated():
            if not self.client.has_collection(name, timeout=self._seconds):
                self._make(name, store)
            found = self._found(name)
        if found.dimension != store.dimension:
            raise Conflict(f"The vector store '{store.key}' has vectors of {found.dimension} numbers.")

    def drop(self, store: Store) -> None:
        name = named(store)
        with self._locks.of(name), translated():
            self.client.drop_collection(name, timeout=self._seconds)
            self._known.pop(name, None)

    def read(self, store: Store, work: Callable[[Collection], T]) -> T:
        """What `work` makes of the store's collection, asked again where that is another one than it was."""
        for _ in range(2):
            try:
                with translated():
                    return work(self._opened(store))
            except Gone:
                self._known.pop(named(store), None)
        raise checks.missing(store)

    def write(self, store: Store, work: Callable[[Collection], T]) -> T:
        name = named(store)
        with self._locks.of(name):
            try:
                done = self.read(store, work)
                if name in self._locks.torn:
                    self._settle(name)
                return done
            except (UpstreamError, Unavailable, UpstreamTimeout):
                if self._lite:
                    self._locks.torn.add(name)
                raise

    def _settle(self, name: str) -> None:
        """Has all that is in the log, and after it, written to the collection's other files."""
        with translated():
            self.client.flush(name, timeout=self._seconds)
        self._locks.torn.discard(name)

    def _make(self, name: str, store: Store) -> None:
        description = f"Vector store {store.key[:100]} of tenant {store.tenant[:100]}"
        self.client.create_collection(
            name,
            schema=schema.schema(store.dimension, description),
            consistency_level=self._consistency,
            timeout=self._seconds,
        )

    def _opened(self, store: Store) -> Collection:
        name = named(store)
        found = self._known.get(name)
        if found is None:
            with self._locks.of(name):
                found = self._known[name] = self._found(name)
        if found.dimension != store.dimension:
            raise BadRequest(f"This vector store has vectors of {found.dimension} numbers.", param="dimension")
        return found

    def _found(self, name: str) -> Collection:
        """The collection with its indexes, and loaded. Who made it may have been killed before that."""
        described = self.client.describe_collection(name, timeout=self._seconds)
        [dimension] = [int(each["params"]["dim"]) for each in described["fields"] if each["name"] == "embedding"]
        if not self._lite:  # which searches the better without, and then has each collection loaded
            self._index(name)
        return Collection(self.client, name, dimension, self._lite, self._consistency, self._seconds)

    def _index(self, name: str) -> None:
        there = self.client.list_indexes(name)
        for field, index in schema.indexes(self._index_type).items():
            if field not in there:
                self.client.create_index(name, index, timeout=self._seconds)
        self.client.load_collection(name, timeout=self._seconds)


def named(store: Store) -> str:
    """Of a tenant and a key that may hold anything, a name as Milvus takes it."""
    whole = f"{store.tenant}\0{store.key}"
    return f"vs_{hashlib.sha256(whole.encode()).hexdigest()[:40]}"
