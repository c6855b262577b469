"""Vectors in PostgreSQL with pgvector: in the server's own database, or in another."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeVar

import psycopg
from psycopg import errors
from psycopg_pool import AsyncConnectionPool
from pydantic import Field, SecretStr

from apps.vector_io import checks
from apps.vector_io.filters import Attributes
from apps.vector_io.protocol import Chunk, Hit, Place, Query, Size, Store, Vector
from apps.vector_io.providers.remote.pgvector import connections
from apps.vector_io.providers.remote.pgvector.connections import Connection, translated
from apps.vector_io.providers.remote.pgvector.rows import Rows
from apps.vector_io.providers.remote.pgvector.tables import MOST_NUMBERS, SCHEMA, Table
from llamastack.call import Call
from llamastack.errors import BadRequest, Conflict, StackError
from llamastack.providers import Health, Provider, ProviderConfig, ProviderUnavailable

LOCK = 8_321_000_002  # an advisory lock of the database: who makes tables
BUILDING = 8_321  # and of who builds the index of a store, with its number
INDEX_BYTES = 16 * 1024 * 1024  # of a partition: to compare it row by row takes some milliseconds
ATTEMPTS = 10  # to insert, where another inserts chunks of the same ids at once
T = TypeVar("T")
logger = logging.getLogger(__name__)


class PGVectorConfig(ProviderConfig):
    host: str | None = Field(
        None, description="Where PostgreSQL is. Without host, db and user: the server's own database."
    )
    port: int | None = Field(None, ge=1, le=65535, description="By default 5432.")
    db: str | None = Field(None, description="The database. Its owner may have to run CREATE EXTENSION vector once.")
    user: str | None = None
    password: SecretStr | None = None
    distance_metric: Literal["COSINE"] = Field("COSINE", description="How near two vectors are: by their angle.")
    vector_index: dict[str, Any] | None = Field(
        None, description="What Llama Stack builds its index with. Here it is HNSW, for a store that has grown."
    )
    persistence: dict[str, Any] | None = Field(
        None, description="Where Llama Stack keeps what it knows of a store. Here that is this database."
    )

    @property
    def is_of_the_server(self) -> bool:
        return not (self.host or self.db or self.user)

    @property
    def of_the_server(self) -> Mapping[str, Any]:
        return {"host": self.host or ""}

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return {"host": "localhost", "port": 5432, "db": "vectors", "user": "vectors", "password": "secret"}


class PGVector(Provider):
    """`_tables` are the stores whose partitions are known; a process that is not alone may find one gone."""

    config_class = PGVectorConfig
    index_bytes = INDEX_BYTES

    def __init__(self, provider_id: str, config: PGVectorConfig) -> None:
        super().__init__(provider_id, config)
        self._tables: dict[tuple[str, str], Table] = {}
        self._indexed: set[int] = set()
        self._building: dict[int, asyncio.Task[None]] = {}
        self._pool: AsyncConnectionPool[Connection] | None = None

    async def start(self) -> None:
        if self.confined and self.config.host:
            raise ProviderUnavailable("A database is reached without the guards of this server: an operator adds it.")
        self._address = connections.address(self.config)
        await self._prepare()
        self._pool = connections.pool(self._address)
        await self._pool.open()

    async def stop(self) -> None:
        """Also where the start failed, or was broken off, before there was a pool."""
        building = list(self._building.values())
        for task in building:
            task.cancel()
        await asyncio.gather(*building, return_exceptions=True)
        if self._pool is not None:
            await self._pool.close()

    async def health(self) -> Health:
        """By a connection of its own: who waits for one of the pool may wait for a busy one, and for too long."""
        try:
            async with translated(), await psycopg.AsyncConnection.connect(self._address) as connection:
                await connection.execute("SELECT 1")
        except StackError as error:
            return Health(False, error.message)
        return Health(True)

    async def _prepare(self) -> None:
        """The extension and the schema, made by one process at a time."""
        try:
            async with await psycopg.AsyncConnection.connect(self._address) as connection:
                await connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
                await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
                await connection.execute(SCHEMA)
        except errors.OperationalError as error:
            raise ProviderUnavailable(f"The vectors' database cannot be reached: {_line(error)}") from error
        except psycopg.Error as error:
            raise ProviderUnavailable(
                f"The vectors' database cannot be prepared: {_line(error)} Its owner runs CREATE EXTENSION vector, "
                "and grants this user CREATE on the database."
            ) from error

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Connection]:
        assert self._pool is not None
        async with translated(), self._pool.connection() as connection:
            yield connection

    async def create_store(self, call: Call, store: Store) -> None:
        if store.dimension > MOST_NUMBERS:
            raise BadRequest(f"pgvector keeps vectors of at most {MOST_NUMBERS} numbers.", param="embedding_dimension")
        async with self._transaction() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
            table = await _table(connection, store) or await _made(connection, store)
        if table.dimension != store.dimension:
            raise Conflict(f"The vector store '{store.key}' has vectors of {table.dimension} numbers.")

    async def drop_store(self, call: Call, store: Store) -> None:
        async with self._transaction() as connection:
            table = await _table(connection, store)
        if table is None:
            return
        if building := self._building.get(table.number):
            building.cancel()
        async with self._transaction() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
            await connection.execute(f"DROP TABLE IF EXISTS {table.name}")
            await connection.execute("DELETE FROM vector_io.stores WHERE number = %s", [table.number])
        self._tables.pop((store.tenant, store.key), None)

    async def insert(self, call: Call, store: Store, chunks: Sequence[Chunk]) -> None:
        vectors = checks.vectors(store, chunks)
        table, size = await self._of(store, lambda rows: self._insert(rows, chunks, vectors))
        if size >= self.index_bytes and table.can_be_indexed:
            self._build(table)

    async def _insert(self, rows: Rows, chunks: Sequence[Chunk], vectors: Vector) -> tuple[Table, int]:
        for attempt in range(ATTEMPTS):
            try:
                async with rows.connection.transaction():
                    if attempt:
                        await rows.one_writer()
                    await rows.insert(chunks, vectors)
                return rows.table, await rows.size_on_disk()
            except errors.UniqueViolation:  # another has inserted one of these ids since it was deleted here
                continue
        raise Conflict("These chunks are being inserted by others at once; try again.")

    async def delete(
        self, call: Call, store: Store, *, chunk_ids: Sequence[str] = (), file_id: str | None = None
    ) -> int:
        return await self._of(store, lambda rows: rows.delete(chunk_ids, file_id))

    async def query(self, call: Call, store: Store, query: Query) -> list[Hit]:
        vector = checks.query(store, query)
        return await self._of(store, lambda rows: _queried(rows, query, vector))

    async def chunks(
        self,
        call: Call,
        store: Store,
        file_id: str,
        *,
        after: Place | None = None,
        limit: int = 100,
        embeddings: bool = False,
    ) -> list[Chunk]:
        return await self._of(store, lambda rows: rows.of_file(file_id, after, limit, embeddings))

    async def set_attributes(self, call: Call, store: Store, file_id: str, attributes: Attributes) -> None:
        checks.attributes(attributes)
        await self._of(store, lambda rows: rows.set_attributes(file_id, attributes))

    async def size(self, call: Call, store: Store) -> Size:
        return await self._of(store, lambda rows: rows.size())

    async def _of(self, store: Store, work: Callable[[Rows], Awaitable[T]]) -> T:
        """What `work` makes of the store's rows, asked again where the partition is another one than it was."""
        with contextlib.suppress(errors.UndefinedTable):
            async with self._transaction() as connection:
                return await work(Rows(connection, await self._known(connection, store)))
        self._tables.pop((store.tenant, store.key), None)
        try:
            async with self._transaction() as connection:
                return await work(Rows(connection, await self._known(connection, store)))
        except errors.UndefinedTable as error:
            raise checks.missing(store) from error

    async def _known(self, connection: Connection, store: Store) -> Table:
        key = (store.tenant, store.key)
        if key not in self._tables:
            table = await _table(connection, store)
            if table is None:
                raise checks.missing(store)
            self._tables[key] = table
        if self._tables[key].dimension != store.dimension:
            raise BadRequest(f"This vector store has vectors of {self._tables[key].dimension} numbers.")
        return self._tables[key]

    def _build(self, table: Table) -> None:
        if table.number not in self._indexed and table.number not in self._building:
            task = asyncio.create_task(self._index(table))
            self._building[table.number] = task
            task.add_done_callback(lambda _: self._building.pop(table.number, None))

    async def _index(self, table: Table) -> None:
        """Build the store's index beside those who read and write. Where that fails, searches go on without."""
        try:
            async with await psycopg.AsyncConnection.connect(self._address, autocommit=True) as connection:
                await _indexed(connection, table)
                self._indexed.add(table.number)
        except psycopg.Error as error:
            logger.warning("The index of %s was not built, its searches stay slow: %s", table.name, _line(error))


async def _table(connection: Connection, store: Store) -> Table | None:
    found = await connection.execute(
        "SELECT number, dimension FROM vector_io.stores WHERE tenant = %s AND key = %s", [store.tenant, store.key]
    )
    row = await found.fetchone()
    return Table(*row) if row else None


async def _made(connection: Connection, store: Store) -> Table:
    made = await connection.execute(
        "INSERT INTO vector_io.stores (tenant, key, dimension) VALUES (%s, %s, %s) RETURNING number, dimension",
        [store.tenant, store.key, store.dimension],
    )
    [row] = await made.fetchall()
    table = Table(*row)
    there = await connection.execute("SELECT to_regclass(%s) IS NOT NULL", [table.parent])
    if await there.fetchone() == (False,):
        await connection.execute(table.first())
    await connection.execute(table.partition())
    return table


async def _queried(rows: Rows, query: Query, vector: Vector | None) -> list[Hit]:
    several = query.candidates
    near = {} if vector is None else await rows.nearest(vector, several, query.filter)
    worded = {} if query.mode == "vector" else await rows.worded(query.text or "", several, query.filter)
    best = query.best(near, worded)
    chunks = await rows.read([id for id, _ in best], query.embeddings)
    return [Hit(chunks[id], score) for id, score in best if id in chunks]


async def _indexed(connection: Connection, table: Table) -> None:
    """Only one builds it: who would wait for that one would be waited for by it. What a crash left is made anew."""
    locked = await connection.execute("SELECT pg_try_advisory_lock(%s, %s)", [BUILDING, table.number])
    if await locked.fetchone() == (False,):
        return
    found = await connection.execute(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [f"vector_io.{table.index}"]
    )
    row = await found.fetchone()
    if row and row[0]:
        return
    await connection.execute(f"DROP INDEX IF EXISTS vector_io.{table.index}")
    await connection.execute(
        "SET maintenance_work_mem = '512MB'"
    )  # taken as it is needed: the graph, while it is built
    await connection.execute(table.indexing())


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
