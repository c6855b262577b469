"""What the provider uses of `oracledb`: its functions, pools, connections and cursors, in the driver's own manner."""

import array
import asyncio
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import oracledb

from tests.oracle import statements
from tests.oracle.database import Database, Session, vector
from tests.oracle.errors import dpy, ora

USER, PASSWORD = "llamastack", "tiger"
CONNECT = frozenset(
    ("dsn", "user", "password", "config_dir", "wallet_location", "wallet_password", "tcp_connect_timeout")
)
POOL = CONNECT | {"min", "max", "increment", "getmode", "wait_timeout", "session_callback"}


class Lob:
    """What a CLOB is read as, where `fetch_lobs` is not False."""


class Driver:
    """The module. `dsn` is the path of the database's file.

    `down`: nobody listens, and who was connected is no more. `failing`: what the next statements with such words raise.
    """

    Error = oracledb.Error
    DatabaseError = oracledb.DatabaseError
    IntegrityError = oracledb.IntegrityError
    InterfaceError = oracledb.InterfaceError
    OperationalError = oracledb.OperationalError
    POOL_GETMODE_TIMEDWAIT = oracledb.POOL_GETMODE_TIMEDWAIT

    def __init__(self, version: str = "23.4.0.24.5", characters: str = "AL32UTF8", lossy: bool = False) -> None:
        self.version, self.characters, self.lossy = version, characters, lossy
        self.databases: dict[str, Database] = {}
        self.down = False
        self.failing: list[tuple[str, int]] = []
        self.told: list[str] = []
        self.connected = 0

    def connect_async(self, **given: Any) -> "Acquired":
        _known(given, CONNECT)
        return Acquired(self._connect(given))

    def create_pool_async(self, **given: Any) -> "Pool":
        _known(given, POOL)
        return Pool(self, given)

    async def _connect(self, given: Mapping[str, Any]) -> "Connection":
        await asyncio.sleep(0)
        if self.down:
            raise dpy(6005, "cannot connect to database")
        if (given["user"], given["password"]) != (USER, PASSWORD):
            raise ora(1017, "invalid credential or not authorized; logon denied")
        dsn = given["dsn"]
        if dsn not in self.databases:
            self.databases[dsn] = Database(Path(dsn), self.characters)
        self.connected += 1
        return Connection(self, Session(self.databases[dsn], int(self.version.split(".")[0]), self.lossy))


class Acquired:
    """A connection that is awaited, or entered."""

    def __init__(self, connecting: Any) -> None:
        self.connecting = connecting

    def __await__(self) -> Generator[Any, Any, "Connection"]:
        return self.connecting.__await__()  # type: ignore[no-any-return]

    async def __aenter__(self) -> "Connection":
        self.connection = await self.connecting
        return self.connection

    async def __aexit__(self, *raised: object) -> None:
        await self.connection.close()


class Pool:
    def __init__(self, driver: Driver, given: Mapping[str, Any]) -> None:
        self.driver, self.given = driver, given
        self.free: list[Connection] = []
        self.room = asyncio.Semaphore(given["max"])
        self.closed = False

    def acquire(self) -> Acquired:
        if self.closed:
            raise dpy(1002, "connection pool is not open")
        return Acquired(self._acquire())

    async def _acquire(self) -> "Connection":
        try:
            async with asyncio.timeout(self.given["wait_timeout"] / 1000):
                await self.room.acquire()
        except TimeoutError as error:
            raise dpy(4005, "timed out waiting for the connection pool to return a connection") from error
        try:
            while self.free:
                connection = self.free.pop()
                if not self.driver.down:
                    connection.open = True
                    return connection
            connection = await self.driver._connect({name: self.given.get(name) for name in CONNECT})
            connection.pool = self
            await self.given["session_callback"](connection, None)
        except BaseException:
            self.room.release()
            raise
        return connection

    def taken_back(self, connection: "Connection") -> None:
        self.room.release()
        if self.closed or self.driver.down:
            connection.session.close()
        else:
            self.free.append(connection)

    async def close(self, force: bool = False) -> None:
        self.closed = True
        for connection in self.free:
            connection.session.close()


class Connection:
    def __init__(self, driver: Driver, session: Session) -> None:
        self.driver, self.session = driver, session
        self.pool: Pool | None = None
        self.call_timeout = 0
        self.open = True

    @property
    def version(self) -> str:
        return self.driver.version

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.close()

    async def close(self) -> None:
        """What was not committed is gone."""
        self.open = False
        self.session.rollback()
        if self.pool is not None:
            self.pool.taken_back(self)
        else:
            self.session.close()

    async def commit(self) -> None:
        await self._there()
        self.session.commit()

    async def rollback(self) -> None:
        await self._there()
        self.session.rollback()

    async def ping(self) -> None:
        await self._there()

    async def execute(self, statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        with self.cursor() as cursor:
            await cursor.executemany(statement, [parameters or {}])

    async def fetchall(
        self,
        statement: str,
        parameters: Mapping[str, Any] | None = None,
        arraysize: int = 100,
        *,
        fetch_lobs: bool | None = None,
    ) -> list[tuple[Any, ...]]:
        await self._asked(statement)
        asked = statements.statement(statement)
        if asked.kind != "query":
            raise dpy(1003, "the executed statement does not return rows")
        rows, _ = await self.session.run(asked, parameters or {})
        types = self.session.types(asked.tables)
        kinds = [types.get(name, "") for name in asked.outputs]
        whole = fetch_lobs is False
        return [tuple(_read(kind, value, whole) for kind, value in zip(kinds, row, strict=True)) for row in rows]

    def cursor(self) -> "Cursor":
        return Cursor(self)

    async def _there(self) -> None:
        await asyncio.sleep(0)
        if not self.open:
            raise dpy(1001, "not connected to database")
        if self.driver.down:
            raise dpy(4011, "the database or network closed the connection")

    async def _asked(self, words: str) -> None:
        await self._there()
        self.driver.told.append(words)
        for place, (part, number) in enumerate(self.driver.failing):
            if part in words:
                del self.driver.failing[place]
                raise ora(number, "as this test wants it")


class Cursor:
    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.rowcount = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        """Nothing is held."""

    async def executemany(self, statement: str, parameters: Sequence[Mapping[str, Any]]) -> None:
        await self.connection._asked(statement)
        _alike(parameters)
        asked = statements.statement(statement)
        self.rowcount = 0
        for each in parameters:
            _, count = await self.connection.session.run(asked, each)
            self.rowcount += count


def _known(given: Mapping[str, Any], names: frozenset[str]) -> None:
    if unknown := given.keys() - names:
        raise TypeError(f"got an unexpected keyword argument {sorted(unknown)}")


def _alike(binds: Sequence[Mapping[str, Any]]) -> None:
    """The driver binds a column of values by the type of the first."""
    for name in binds[0]:
        kinds = {type(each[name]) for each in binds if each[name] is not None}
        if len(kinds) > 1:
            raise dpy(2010, f"mixed types of {name}: {kinds}")


def _read(kind: str, value: Any, whole: bool) -> Any:
    if value is None:
        return None
    if kind == "CLOB":
        return value if whole else Lob()
    if kind.startswith("VECTOR"):
        return array.array("d" if "FLOAT64" in kind else "f", vector(value))
    return value
