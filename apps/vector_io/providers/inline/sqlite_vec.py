"""Stores whose vectors are searched by the extension sqlite-vec, in the SQLite files that hold all else.

Not every Python lets SQLite load an extension; where this one does not, pysqlite3 brings an SQLite that does.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import Field

from apps.vector_io.filters import Filter
from apps.vector_io.protocol import Store, Vector
from apps.vector_io.providers.in_sqlite.file import Scored, StoreFile, opened
from apps.vector_io.providers.in_sqlite.opened import OpenStore
from apps.vector_io.providers.in_sqlite.provider import StoresInSQLite
from llamastack.errors import BadRequest
from llamastack.home import home
from llamastack.providers import ProviderConfig, ProviderUnavailable

MOST_HITS = 4096  # https://github.com/asg017/sqlite-vec/blob/v0.1.9/sqlite-vec.c, SQLITE_VEC_VEC0_K_MAX
MOST_NUMBERS = 8192


class SQLiteVecConfig(ProviderConfig):
    other_names = {"kvstore": "persistence"}

    db_path: str | None = Field(
        None,
        description="Where Llama Stack has its one file. Here each store is a file, in a folder of this name without "
        "its ending. By default it is one of the provider's name, under `vector_io` in LLAMA_STACK_HOME.",
    )
    persistence: dict[str, Any] | None = Field(
        None, description="Where Llama Stack keeps what it knows of a store. Here that is the store's file."
    )

    @property
    def of_the_server(self) -> Mapping[str, Any]:
        return {"db_path": self.db_path or ""}

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return {"db_path": "~/.llama/vector_io/sqlite_vec.db"}


class VectorTable:
    """A table of sqlite-vec: it compares the vectors of those rows alone that a condition on `rowid` leaves."""

    def schema(self, dimension: int) -> str:
        return f"CREATE VIRTUAL TABLE vectors USING vec0 (embedding float[{dimension}] distance_metric=cosine);\n"

    def add(self, connection: sqlite3.Connection, numbers: Sequence[int], vectors: Vector) -> None:
        rows = ((number, vector.astype("<f4").tobytes()) for number, vector in zip(numbers, vectors, strict=True))
        connection.executemany("INSERT INTO vectors (rowid, embedding) VALUES (?, ?)", rows)

    def remove(self, connection: sqlite3.Connection, numbers: Sequence[int]) -> None:
        connection.executemany("DELETE FROM vectors WHERE rowid = ?", ((number,) for number in numbers))

    def read(self, connection: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, Vector]:
        import numpy

        found = (
            (number, connection.execute("SELECT embedding FROM vectors WHERE rowid = ?", [number]).fetchone())
            for number in numbers
        )
        return {number: numpy.frombuffer(row[0], dtype="<f4") for number, row in found if row}


class SQLiteVecStore(OpenStore):
    def nearest(self, vector: Vector, limit: int, filter: Filter | None) -> Scored:
        with self.reading() as file:
            kept, values = file.kept(filter)
            rows = file.connection.execute(
                f"SELECT rowid, distance FROM vectors WHERE embedding MATCH ? AND k = ?{kept}",
                [vector.astype("<f4").tobytes(), min(limit, MOST_HITS), *values],
            ).fetchall()
        return [(number, 0.0 if distance is None else 1.0 - distance) for number, distance in rows]


class SQLiteVec(StoresInSQLite):
    config_class = SQLiteVecConfig
    vectors = VectorTable()
    opens = SQLiteVecStore

    def __init__(self, provider_id: str, config: SQLiteVecConfig) -> None:
        named = Path(config.db_path).expanduser().with_suffix("") if config.db_path else None
        super().__init__(provider_id, config, (named or home() / "vector_io" / provider_id).absolute())

    def file(self, path: Path) -> StoreFile:
        import sqlite_vec

        connection = opened(path, self.sqlite)
        connection.enable_load_extension(True)
        sqlite_vec.load(connection)
        connection.enable_load_extension(False)
        return StoreFile(connection, self.vectors)

    async def start(self) -> None:
        import sqlite_vec  # noqa: F401 -- where it is missing, the provider does not start, and says so

        self.sqlite = loading()
        await super().start()

    def check(self, store: Store) -> None:
        if store.dimension > MOST_NUMBERS:
            raise BadRequest(
                f"sqlite-vec keeps vectors of at most {MOST_NUMBERS} numbers.", param="embedding_dimension"
            )


def loading() -> ModuleType:
    """A module like sqlite3, whose SQLite can load extensions."""
    if "enable_load_extension" in dir(sqlite3.Connection):
        return sqlite3
    try:
        import pysqlite3
    except ImportError:
        raise ProviderUnavailable(
            "SQLite of this Python loads no extensions. Install pysqlite3-binary, or use inline::faiss."
        ) from None
    module: ModuleType = pysqlite3
    return module
