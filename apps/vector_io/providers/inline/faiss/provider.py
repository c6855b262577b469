"""Stores whose vectors are searched in memory by faiss, and kept with all else in SQLite files.

The files are the truth: the index is made of them when a store is first asked, and follows each change that it finds
there, whoever has made it. So nothing has to be saved apart, a crash leaves nothing half-written, and several processes
may serve one store, each with an index of its own.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from apps.vector_io.filters import Filter
from apps.vector_io.protocol import Store, Vector
from apps.vector_io.providers.in_sqlite.file import Scored, StoreFile, dumped
from apps.vector_io.providers.in_sqlite.opened import OpenStore
from apps.vector_io.providers.in_sqlite.provider import StoresInSQLite
from llamastack.home import home
from llamastack.providers import ProviderConfig

MORE = 30  # candidates than hits


class FaissConfig(ProviderConfig):
    other_names = {"kvstore": "persistence"}

    storage_dir: str | None = Field(
        None,
        description="The folder, made where it is missing. By default one of the provider's name, under `vector_io` "
        "in LLAMA_STACK_HOME.",
    )
    persistence: dict[str, Any] | None = Field(
        None, description="Where Llama Stack keeps its index. Here each store is a file in the folder."
    )

    @property
    def of_the_server(self) -> Mapping[str, Any]:
        return {"storage_dir": self.storage_dir or ""}

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return {"storage_dir": "~/.llama/vector_io/faiss"}


class VectorRows:
    """Vectors in a table of the file, as the four bytes of each number."""

    def schema(self, dimension: int) -> str:
        return "CREATE TABLE vectors (number INTEGER PRIMARY KEY, embedding BLOB NOT NULL);\n"

    def add(self, connection: sqlite3.Connection, numbers: Sequence[int], vectors: Vector) -> None:
        rows = ((number, vector.astype("<f4").tobytes()) for number, vector in zip(numbers, vectors, strict=True))
        connection.executemany("INSERT INTO vectors (number, embedding) VALUES (?, ?)", rows)

    def remove(self, connection: sqlite3.Connection, numbers: Sequence[int]) -> None:
        connection.execute("DELETE FROM vectors WHERE number IN (SELECT value FROM json_each(?))", [dumped(numbers)])

    def read(self, connection: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, Vector]:
        import numpy

        rows = connection.execute(
            "SELECT number, embedding FROM vectors WHERE number IN (SELECT value FROM json_each(?))", [dumped(numbers)]
        )
        return {number: numpy.frombuffer(embedding, dtype="<f4") for number, embedding in rows}


class FaissStore(OpenStore):
    def __init__(self, reader: StoreFile, writer: StoreFile, store: Store) -> None:
        from apps.vector_io.providers.inline.faiss.following import Followed

        super().__init__(reader, writer, store)
        self._followed = Followed(store.dimension)

    def nearest(self, vector: Vector, limit: int, filter: Filter | None) -> Scored:
        """The index knows half of each number, so that some more are asked for, and compared as they are kept."""
        with self.reading() as file:
            index = self._followed.index(file.connection)
        candidates = [number for number, _ in index.nearest(vector, limit + MORE, filter)]
        with self.reading() as file:
            exact = file.vectors.read(file.connection, candidates)
        scored = [(number, float(exact[number] @ vector)) for number in candidates if number in exact]
        return sorted(scored, key=lambda item: (-item[1], item[0]))[:limit]


class Faiss(StoresInSQLite):
    config_class = FaissConfig
    vectors = VectorRows()
    opens = FaissStore

    def __init__(self, provider_id: str, config: FaissConfig) -> None:
        folder = Path(config.storage_dir).expanduser() if config.storage_dir else home() / "vector_io" / provider_id
        super().__init__(provider_id, config, folder.absolute())

    async def start(self) -> None:
        import faiss  # noqa: F401 -- where it is missing, the provider does not start, and says so

        await super().start()
