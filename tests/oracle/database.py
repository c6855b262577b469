"""A database, which is a file: what several sessions, of several processes, see of one another is SQLite's."""

import array
import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy

from tests.oracle.errors import dpy, of_sqlite, ora
from tests.oracle.statements import Statement
from tests.oracle.tables import MARK, SIZES
from tests.oracle.text import Corpus

PAUSE = 0.002
WAITS = 15_000  # pauses: half a minute
LONGEST_IN_SQL = 32_767  # bytes of a bind that is not for a CLOB
CATALOG = "CREATE TABLE IF NOT EXISTS own_indexes (name TEXT PRIMARY KEY, kind TEXT, of TEXT, col TEXT)"
PARAMETERS = "CREATE TABLE IF NOT EXISTS nls_database_parameters (parameter TEXT, value TEXT)"


class Database:
    """`locks` are the sessions that hold rows, by the table and the row."""

    def __init__(self, path: Path, characters: str) -> None:
        self.path = path
        self.locks: dict[tuple[str, int], Session] = {}
        with closing(self.opened()) as file:
            file.execute("PRAGMA journal_mode = WAL")
            file.execute(CATALOG)
            file.execute(PARAMETERS)
            file.execute("DELETE FROM nls_database_parameters")
            file.execute("INSERT INTO nls_database_parameters VALUES ('NLS_CHARACTERSET', ?)", [characters])

    def opened(self) -> sqlite3.Connection:
        file = sqlite3.connect(self.path, isolation_level=None, timeout=0)
        file.execute("PRAGMA foreign_keys = ON")
        file.execute("PRAGMA synchronous = NORMAL")
        file.create_function("vector_count", 1, vector_count, deterministic=True)
        return file


class Session:
    """`release` is of the database; `lossy` has an approximate search find the half of what it is asked for."""

    def __init__(self, database: Database, release: int, lossy: bool) -> None:
        self.database, self.release, self.lossy = database, release, lossy
        self.file = database.opened()
        self.settings: set[str] = set()
        self.raised: Exception | None = None
        self.file.create_function("vector_distance", 3, self._guarded(vector_distance))

    def close(self) -> None:
        self.rollback()
        self.file.close()

    def commit(self) -> None:
        self._ended("COMMIT")

    def rollback(self) -> None:
        self._ended("ROLLBACK")

    def _ended(self, how: str) -> None:
        if self.file.in_transaction:
            self.file.execute(how)
        mine = [row for row, holder in self.database.locks.items() if holder is self]
        for row in mine:
            del self.database.locks[row]

    async def run(self, asked: Statement, binds: Mapping[str, Any]) -> tuple[list[tuple[Any, ...]], int]:
        """The rows of a query, and how many a change was of."""
        if asked.kind == "setting":
            self.settings.add(asked.sql)
            return [], 0
        if asked.kind == "definition":
            await self._define(asked)
            return [], 0
        if asked.binds - binds.keys():
            raise dpy(4010, f"a bind variable replacement value was not provided: {asked.binds - binds.keys()}")
        if binds.keys() - asked.binds:
            raise dpy(4008, f"no bind placeholder named {sorted(binds.keys() - asked.binds)} was found in the SQL text")
        given = {name: bound(value) for name, value in binds.items()}
        return await (self._change(asked, given) if asked.kind == "change" else self._query(asked, given))

    async def _define(self, asked: Statement) -> None:
        """Oracle commits before and behind it."""
        self.commit()
        if asked.index:
            await self._index(*asked.index)
            return
        types = self.types(asked.tables)
        if any(types.get(name, "").startswith(("CLOB", "VECTOR")) for name in asked.outputs):
            raise ora(2327, "cannot create index on a column of this datatype")
        await self._executed("BEGIN IMMEDIATE", {})
        try:
            await self._executed(asked.sql, {})
            await self._executed("DELETE FROM own_indexes WHERE of = :of", {"of": asked.dropped})
        except BaseException:
            self.rollback()
            raise
        self.commit()

    async def _index(self, kind: str, name: str, table: str, column: str, *more: str | None) -> None:
        types = self._types(table)
        if not types:
            raise ora(942, "table or view does not exist")
        wanted = {"text": "CLOB", "vector": "VECTOR"}[kind]
        if not types.get(column, "").startswith(wanted):
            raise ora(904, f"{column}: invalid identifier")
        if "INMEMORY NEIGHBOR GRAPH" in more:
            raise ora(51962, "The vector memory area is out of space for the current container.")
        if " ONLINE" in more and self.release < 26:
            raise ora(2158, "invalid CREATE INDEX option")
        told = {"name": name.lower(), "kind": kind, "of": table.lower(), "col": column.lower()}
        await self._executed("INSERT INTO own_indexes VALUES (:name, :kind, :of, :col)", told)

    async def _change(self, asked: Statement, binds: dict[str, Any]) -> tuple[list[tuple[Any, ...]], int]:
        if not self.file.in_transaction:
            await self._executed("BEGIN IMMEDIATE", {})
        return [], (await self._executed(asked.sql, binds)).rowcount

    async def _query(self, asked: Statement, binds: dict[str, Any]) -> tuple[list[tuple[Any, ...]], int]:
        for name, value in binds.items():
            if isinstance(value, str) and len(value.encode()) > LONGEST_IN_SQL:
                raise ora(1461, f"can bind a LONG value only for insert into a LONG column: {name}")
        if asked.contains:
            self._worded(asked)
        if asked.locks:
            await self._lock(asked, binds)
        rows = (await self._executed(asked.sql, binds)).fetchall()
        if asked.approximate and self.lossy and self._indexed("vector", asked.tables):
            rows = rows[: len(rows) // 2]
        return rows, len(rows)

    def _worded(self, asked: Statement) -> None:
        """Its index knows what was committed, and nothing else."""
        table = asked.tables[0]
        if not self._indexed("text", asked.tables):
            raise ora(20000, "Oracle Text error: DRG-10599: column is not indexed")
        with closing(self.database.opened()) as other:
            corpus = Corpus(text for (text,) in other.execute(f"SELECT {asked.contains} FROM {table}"))
        self.file.create_function("contains", 3, self._guarded(lambda text, query, label: corpus.score(text, query)))

    async def _lock(self, asked: Statement, binds: dict[str, Any]) -> None:
        where = asked.sql.partition(" WHERE ")[2]
        for _ in range(WAITS):
            found = await self._executed(f"SELECT rowid FROM {asked.locks} WHERE {where}", binds)
            rows = [(asked.locks, row) for (row,) in found]
            if all(self.database.locks.get(row, self) is self for row in rows):
                self.database.locks.update(dict.fromkeys(rows, self))
                return
            await asyncio.sleep(PAUSE)
        raise ora(30006, "resource busy; acquire with WAIT timeout expired")

    async def _executed(self, sql: str, binds: dict[str, Any]) -> sqlite3.Cursor:
        """As soon as no other writes."""
        self.raised = None
        for _ in range(WAITS):
            try:
                return self.file.execute(sql, binds)
            except sqlite3.OperationalError as error:
                if self.raised:
                    raise self.raised from error
                if "locked" not in str(error):
                    raise of_sqlite(error) from error
            except sqlite3.Error as error:
                raise of_sqlite(error) from error
            await asyncio.sleep(PAUSE)
        raise ora(54, "resource busy and acquire with NOWAIT specified or timeout expired")

    def _indexed(self, kind: str, tables: tuple[str, ...]) -> bool:
        found = self.file.execute("SELECT of FROM own_indexes WHERE kind = ?", [kind]).fetchall()
        return any((table,) in found for table in tables)

    def types(self, tables: tuple[str, ...]) -> dict[str, str]:
        return {name: kind for table in tables for name, kind in self._types(table).items()}

    def _types(self, table: str) -> dict[str, str]:
        return {row[1]: row[2] for row in self.file.execute(f"PRAGMA table_info({table})")}

    def _guarded(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """SQLite tells nothing of what a function has raised."""

        def guarded(*given: Any) -> Any:
            try:
                return function(*given)
            except Exception as error:
                self.raised = error
                raise

        return guarded


def bound(value: Any) -> Any:
    """As the driver takes it. An empty text is NULL."""
    if value is None or type(value) in (int, float):
        return value
    if type(value) in (str, bytes):
        return value or None
    if type(value) is array.array and value.typecode in SIZES:
        return MARK + value.typecode.encode() + value.tobytes()
    raise dpy(3002, f'Python value of type "{type(value).__name__}" is not supported')


def vector(value: bytes) -> "array.array[float]":
    head = len(MARK)
    return array.array(value[head : head + 1].decode(), value[head + 1 :])


def vector_count(value: Any) -> int:
    if not isinstance(value, bytes) or not value.startswith(MARK):
        return -1
    return len(vector(value))


def vector_distance(one: Any, other: Any, metric: str) -> float | None:
    if one is None or other is None:
        return None
    left, right = (numpy.asarray(vector(each), dtype=numpy.float64) for each in (one, other))
    if left.shape != right.shape:
        raise ora(51808, "VECTOR_DISTANCE is not supported for vectors with different dimension counts")
    product = float(left @ right)
    if metric == "DOT":
        return -product
    raise ora(51801, f"nothing here asks for {metric}")
