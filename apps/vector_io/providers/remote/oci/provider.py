"""Vectors in Oracle's database: Oracle AI Database 26ai, or Oracle Database 23ai."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeVar

from pydantic import Field, SecretStr, field_validator

from apps.vector_io import checks
from apps.vector_io.filters import Attributes
from apps.vector_io.protocol import Chunk, Hit, Place, Query, Size, Store, Vector
from apps.vector_io.providers.remote.oci import connections, stores
from apps.vector_io.providers.remote.oci.connections import code, line, translated
from apps.vector_io.providers.remote.oci.rows import Rows, check
from apps.vector_io.providers.remote.oci.tables import LONGEST, MOST_NUMBERS, Table
from apps.vector_io.providers.remote.oci.where import ordered
from llamastack.call import Call
from llamastack.errors import BadRequest, Conflict, StackError, Unavailable
from llamastack.providers import Health, Provider, ProviderConfig, ProviderUnavailable

OLDEST = 23
UNICODE = "AL32UTF8"
CHARACTERS = "SELECT value FROM nls_database_parameters WHERE parameter = 'NLS_CHARACTERSET'"
GROWN = 20_000  # chunks of a store: to compare its vectors one by one takes some milliseconds
ATTEMPTS = 10  # to write, where another writes the same chunks at once
T = TypeVar("T")
logger = logging.getLogger(__name__)


class OracleDatabaseConfig(ProviderConfig):
    conn_str: str = Field(
        min_length=1, description="Where the database is: host:port/service, a descriptor, or a name in tnsnames.ora."
    )
    user: str = Field(min_length=1, description="Its schema keeps the tables. It needs DB_DEVELOPER_ROLE and a quota.")
    password: SecretStr
    tnsnames_loc: str | None = Field(None, description="The folder of tnsnames.ora, where `conn_str` is a name in it.")
    ewallet_pem_loc: str | None = Field(None, description="The folder of ewallet.pem, for mutual TLS.")
    ewallet_password: SecretStr | None = Field(None, description="Of ewallet.pem.")
    vector_datatype: Literal["FLOAT32", "FLOAT64"] = Field(
        "FLOAT32", description="Of the columns of stores that are made from now on."
    )
    consistency_level: str | None = Field(
        "Strong", description="Without effect: what has been committed is found by every search."
    )
    persistence: dict[str, Any] | None = Field(
        None, description="Where Llama Stack keeps what it knows of a store. Here that is this database."
    )

    @field_validator("tnsnames_loc", "ewallet_pem_loc", "ewallet_password", mode="before")
    @classmethod
    def empty_is_none(cls, value: Any) -> Any:
        """As a variable that is not set leaves it."""
        return None if value == "" else value

    @field_validator("vector_datatype", mode="before")
    @classmethod
    def in_capitals(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @property
    def of_the_server(self) -> Mapping[str, Any]:
        return {"tnsnames_loc": self.tnsnames_loc or "", "ewallet_pem_loc": self.ewallet_pem_loc or ""}

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        return {"conn_str": "localhost:1521/FREEPDB1", "user": "llamastack", "password": "secret"}


class OracleDatabase(Provider):
    """It was written by Oracle's references and tested against a stand-in: not yet against a database of Oracle's."""

    config_class = OracleDatabaseConfig
    grown = GROWN

    def __init__(self, provider_id: str, config: OracleDatabaseConfig) -> None:
        super().__init__(provider_id, config)
        self._tables: dict[tuple[str, str], Table] = {}  # that are known; another process may have dropped one
        self._indexed: set[int] = set()
        self._building: dict[int, asyncio.Task[None]] = {}
        self._making = asyncio.Lock()
        self._pool: Any = None

    def driver(self) -> Any:
        """Oracle's package. Raises ImportError where it is not installed."""
        return connections.driver()

    async def start(self) -> None:
        if self.confined:
            raise ProviderUnavailable(
                "Oracle's database is reached without the guards of this server: an operator adds it."
            )
        if self._pool is not None:
            return
        self._oracledb = self.driver()
        self._address = connections.address(self.config)
        try:
            async with translated(self._oracledb), connections.alone(self._oracledb, self._address) as connection:
                await self._prepare(connection)
            self._pool = connections.pool(self._oracledb, self._address)
        except ProviderUnavailable:
            raise
        except StackError as error:
            raise ProviderUnavailable(error.message) from error

    async def _prepare(self, connection: Any) -> None:
        if int(connection.version.split(".")[0]) < OLDEST:
            raise ProviderUnavailable(
                f"Oracle Database 23ai or later keeps vectors, and this one is {connection.version}."
            )
        [(characters,)] = await connection.fetchall(CHARACTERS)
        if characters != UNICODE:
            raise ProviderUnavailable(
                f"This database keeps texts in {characters}, and would lose some: {UNICODE} is needed."
            )
        await stores.prepare(connection, self._oracledb)

    async def stop(self) -> None:
        building = list(self._building.values())
        for task in building:
            task.cancel()
        await asyncio.gather(*building, return_exceptions=True)
        if self._pool is not None:
            pool, self._pool = self._pool, None
            with contextlib.suppress(self._oracledb.Error, OSError):  # of a database that does not answer
                async with asyncio.timeout(connections.CLOSE_SECONDS):
                    await pool.close(force=True)

    async def health(self) -> Health:
        """By a connection of its own: who waits for one of the pool may wait for a busy one, and for too long."""
        try:
            async with translated(self._oracledb), connections.alone(self._oracledb, self._address) as connection:
                await connection.ping()
        except StackError as error:
            return Health(False, error.message)
        return Health(True)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Any]:
        """Committed at its end; the pool takes back what an error leaves."""
        async with translated(self._oracledb):
            if self._pool is None:
                raise Unavailable("This provider is being stopped.", retry_after=connections.RETRY_SECONDS)
            async with self._pool.acquire() as connection:
                yield connection
                await connection.commit()

    async def create_store(self, call: Call, store: Store) -> None:
        if store.dimension > MOST_NUMBERS:
            raise BadRequest(
                f"Oracle's database keeps vectors of at most {MOST_NUMBERS:,} numbers.", param="embedding_dimension"
            )
        if len(store.tenant.encode()) > LONGEST or len(store.key.encode()) > LONGEST:
            raise BadRequest(f"Oracle's database keeps names of at most {LONGEST} bytes.", param="vector_store_id")
        async with self._transaction() as connection:
            table = await stores.table(connection, store)
        if table is None:
            table = await self._made(store)
        if table.dimension != store.dimension:
            raise Conflict(f"The vector store '{store.key}' has vectors of {table.dimension} numbers.")

    async def _made(self, store: Store) -> Table:
        async with self._making, self._two() as (guard, working):
            for _ in range(ATTEMPTS):
                if table := await stores.made(guard, working, self._oracledb, store, self.config.vector_datatype):
                    return table
        raise Conflict("This vector store is being dropped by others at once; try again.")

    async def drop_store(self, call: Call, store: Store) -> None:
        table = self._tables.pop((store.tenant, store.key), None)
        if table and (building := self._building.get(table.store_id)):
            building.cancel()
        async with self._making, self._two() as (guard, working):
            await stores.dropped(guard, working, self._oracledb, store)

    @asynccontextmanager
    async def _two(self) -> AsyncIterator[tuple[Any, Any]]:
        """A connection that holds a lock, and one that works."""
        async with self._transaction() as guard, connections.alone(self._oracledb, self._address) as working:
            yield guard, working

    async def insert(self, call: Call, store: Store, chunks: Sequence[Chunk]) -> None:
        vectors = checks.vectors(store, chunks)
        check(chunks)
        table, count = await self._write(store, lambda rows: self._inserted(rows, chunks, vectors))
        if count >= self.grown:
            self._build(table)

    async def _inserted(self, rows: Rows, chunks: Sequence[Chunk], vectors: Vector) -> tuple[Table, int]:
        """The store's table, and how many chunks it has, where that matters yet."""
        await rows.insert(chunks, vectors)
        known = rows.table.store_id in self._indexed
        return rows.table, 0 if known else (await rows.size()).chunks

    async def delete(
        self, call: Call, store: Store, *, chunk_ids: Sequence[str] = (), file_id: str | None = None
    ) -> int:
        return await self._write(store, lambda rows: rows.delete(chunk_ids, file_id))

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
        for value in attributes.values():
            ordered(value, "attributes")
        await self._write(store, lambda rows: rows.set_attributes(file_id, attributes))

    async def size(self, call: Call, store: Store) -> Size:
        return await self._of(store, lambda rows: rows.size())

    async def _write(self, store: Store, work: Callable[[Rows], Awaitable[T]]) -> T:
        """Done again where another writes the same chunks at once, and then by one at a time."""

        async def written(rows: Rows) -> T:
            for attempt in range(ATTEMPTS):
                try:
                    if attempt:
                        await rows.one_writer()
                    return await work(rows)
                except self._oracledb.DatabaseError as error:
                    if code(error) not in connections.TWICE:
                        raise
                    await rows.connection.rollback()
            raise Conflict("These chunks are being written by others at once; try again.")

        return await self._of(store, written)

    async def _of(self, store: Store, work: Callable[[Rows], Awaitable[T]]) -> T:
        """What `work` makes of the store's rows, asked again where its tables are others than they were."""
        for _ in range(2):
            async with self._transaction() as connection:
                try:
                    return await work(Rows(connection, await self._known(connection, store)))
                except self._oracledb.DatabaseError as error:
                    if code(error) not in connections.NO_TABLE:
                        raise
                await connection.rollback()
            self._tables.pop((store.tenant, store.key), None)
        raise checks.missing(store)

    async def _known(self, connection: Any, store: Store) -> Table:
        key = (store.tenant, store.key)
        table = self._tables.get(key)
        if table is None or table.dimension != store.dimension:
            table = await stores.table(connection, store)
            if table is None:
                raise checks.missing(store)
            self._tables[key] = table
        if table.dimension != store.dimension:
            raise BadRequest(f"This vector store has vectors of {table.dimension} numbers.", param="dimension")
        return table

    def _build(self, table: Table) -> None:
        if table.store_id not in self._indexed and table.store_id not in self._building:
            task = asyncio.create_task(self._index(table))
            self._building[table.store_id] = task
            task.add_done_callback(lambda _: self._building.pop(table.store_id, None))

    async def _index(self, table: Table) -> None:
        """Build the store's index. Where that fails, searches go on without, until the next start."""
        try:
            async with translated(self._oracledb), connections.alone(self._oracledb, self._address) as connection:
                await stores.index(connection, self._oracledb, table)
        except StackError as error:
            logger.warning("The index of %s was not built, its searches stay slow: %s", table.name, line(error))
        self._indexed.add(table.store_id)


async def _queried(rows: Rows, query: Query, vector: Vector | None) -> list[Hit]:
    several = query.candidates
    near = {} if vector is None else await rows.nearest(vector, several, query.filter)
    worded = {} if query.mode == "vector" else await rows.worded(query.text or "", several, query.filter)
    best = query.best(near, worded)
    chunks = await rows.read([id for id, _ in best], query.embeddings)
    return [Hit(chunks[id], score) for id, score in best if id in chunks]
