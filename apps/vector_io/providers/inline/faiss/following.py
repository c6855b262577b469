"""The index in memory, brought up to what its store's file says."""

import json
import sqlite3
from collections.abc import Sequence

import numpy

from apps.vector_io.providers.inline.faiss.index import Index

ROWS = 4096  # read at once
NEW = """
SELECT number, attribute_set, embedding FROM chunks JOIN vectors USING (number) WHERE number > ? ORDER BY number
"""


class Followed:
    """Used by one thread at a time; the index it returns, by many."""

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self._index = Index(dimension)
        self._seen = -1  # of the file's changes, as SQLite counts those of other connections
        self._version = 0  # of the last row of `changes`
        self._number = 0  # of the last chunk
        self._attributes = 0  # the last set of them

    def index(self, connection: sqlite3.Connection) -> Index:
        """The index as the file is now. `connection` never writes."""
        (seen,) = connection.execute("PRAGMA data_version").fetchone()
        if seen != self._seen:
            connection.execute("BEGIN")  # all that follows is of one moment
            try:
                self._follow(connection)
            finally:
                connection.execute("COMMIT")
            self._seen = seen
        return self._index

    def _follow(self, connection: sqlite3.Connection) -> None:
        oldest, newest = connection.execute("SELECT min(version), max(version) FROM changes").fetchone()
        if self._number == 0:
            self._version = newest or 0
        elif oldest is not None and oldest > self._version + 1:
            self._index, self._number, self._attributes = Index(self._dimension), 0, 0
            self._version = newest
        with self._index.gate.alone():
            self._read_attributes(connection)
            self._read_changes(connection)
            self._read_new(connection)

    def _read_attributes(self, connection: sqlite3.Connection) -> None:
        rows = connection.execute(
            "SELECT number, attributes FROM attribute_sets WHERE number > ? ORDER BY number", [self._attributes]
        )
        for number, attributes in rows:
            self._index.attributes[number] = json.loads(attributes)
            self._attributes = number

    def _read_changes(self, connection: sqlite3.Connection) -> None:
        rows = connection.execute("SELECT version, number FROM changes WHERE version > ?", [self._version]).fetchall()
        if not rows:
            return
        numbers = {number for _, number in rows if number <= self._number}
        there = connection.execute(
            "SELECT number, attribute_set FROM chunks WHERE number IN (SELECT value FROM json_each(?))",
            [json.dumps(list(numbers))],
        )
        self._index.changed(list(numbers), dict(there.fetchall()))
        self._version = max(version for version, _ in rows)

    def _read_new(self, connection: sqlite3.Connection) -> None:
        found = connection.execute(NEW, [self._number])
        while rows := found.fetchmany(ROWS):
            self._add(rows)

    def _add(self, rows: Sequence[tuple[int, int, bytes]]) -> None:
        numbers, sets, embeddings = zip(*rows, strict=True)
        vectors = numpy.frombuffer(b"".join(embeddings), dtype="<f4").reshape(len(rows), self._dimension)
        self._index.add(numbers, sets, vectors)
        self._number = numbers[-1]
