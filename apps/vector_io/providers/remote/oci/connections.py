"""Connections to Oracle's database by its own driver, which needs no client of Oracle's (its thin mode).

It reaches the database by itself, without this server's guards: so an operator alone writes where that is.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from llamastack.errors import BadRequest, DiskFull, StackError, Unavailable, UpstreamError, UpstreamTimeout

if TYPE_CHECKING:
    from apps.vector_io.providers.remote.oci.provider import OracleDatabaseConfig

MOST_CONNECTIONS = 10
WAIT_SECONDS = 5
CONNECT_SECONDS = 10.0
CALL_SECONDS = 60
CLOSE_SECONDS = 5.0
RETRY_SECONDS = 5.0
SHOWN = 300
# How texts are compared must not depend on how the database was set up. Who drops a table waits for who writes to it.
SETTINGS = (
    "ALTER SESSION SET NLS_COMP = BINARY",
    "ALTER SESSION SET NLS_SORT = BINARY",
    "ALTER SESSION SET DDL_LOCK_TIMEOUT = 30",
)
NO_TABLE = ("ORA-00942", "ORA-08103")  # there is none; it was dropped while it was read
THERE_ALREADY = "ORA-00955"
TWICE = ("ORA-00001", "ORA-00060")  # another has inserted the same; both wait for each other
REFUSED = ("ORA-01017", "ORA-01005", "ORA-01045", "ORA-28000", "ORA-28001", "ORA-28002", "DPY-4001")
NOWHERE = ("DPY-4000", "DPY-4017", "DPY-4018", "DPY-4021", "DPY-4026", "DPY-4027")
FORBIDDEN = ("ORA-01031", "ORA-01950")
FULL = ("ORA-01536", "ORA-01652", "ORA-01653", "ORA-01654", "ORA-01658", "ORA-01691", "ORA-01688", "ORA-30036")
GONE = ("DPY-1001", "DPY-1002", "DPY-4005", "DPY-4011", "DPY-6000", "DPY-6001", "DPY-6003", "DPY-6005", "DPY-6006")
BUSY = ("ORA-00018", "ORA-00020", "ORA-00054", "ORA-04021", "ORA-30006", "ORA-00060", "ORA-12514", "ORA-12516")
TOO_SLOW = ("DPY-4024", "ORA-01013")
OTHER_VECTOR = ("ORA-51803", "ORA-51808")


def driver() -> Any:
    """The package, imported where a provider starts."""
    import oracledb

    return oracledb


def address(config: "OracleDatabaseConfig") -> dict[str, Any]:
    """What a connection is made with."""
    wallet = config.ewallet_password.get_secret_value() if config.ewallet_password else None
    named = {
        "dsn": config.conn_str,
        "user": config.user,
        "password": config.password.get_secret_value(),
        "config_dir": config.tnsnames_loc,
        "wallet_location": config.ewallet_pem_loc,
        "wallet_password": wallet,
        "tcp_connect_timeout": CONNECT_SECONDS,
    }
    return {name: value for name, value in named.items() if value}


def pool(oracledb: Any, given: dict[str, Any]) -> Any:
    """It connects when it is asked for a connection."""
    return oracledb.create_pool_async(
        **given,
        min=0,
        max=MOST_CONNECTIONS,
        increment=1,
        getmode=oracledb.POOL_GETMODE_TIMEDWAIT,
        wait_timeout=1000 * WAIT_SECONDS,
        session_callback=prepared,
    )


async def prepared(connection: Any, tag: str | None = None) -> None:
    """A session as all that is asked here expects it."""
    connection.call_timeout = 1000 * CALL_SECONDS
    for setting in SETTINGS:
        await connection.execute(setting)


@asynccontextmanager
async def alone(oracledb: Any, given: dict[str, Any]) -> AsyncIterator[Any]:
    """A connection outside of the pool, for what may take long: it has no end set."""
    async with asyncio.timeout(CONNECT_SECONDS):
        connection = await oracledb.connect_async(**given)
    async with connection:
        await prepared(connection)
        connection.call_timeout = 0
        yield connection


def code(error: BaseException) -> str:
    """`ORA-…` of the database, or `DPY-…` of the driver."""
    [told, *_] = error.args or (None,)
    return str(told.full_code) if hasattr(told, "full_code") else ""


@asynccontextmanager
async def translated(oracledb: Any) -> AsyncIterator[None]:
    """What the driver raises, as the errors that callers know."""
    try:
        yield
    except oracledb.Error as error:
        raise _meaning(code(error), isinstance(error, oracledb.OperationalError), line(error)) from error
    except OSError as error:  # of a name that is not found, and of a time-out, which the driver leaves as they are
        raise _gone(line(error)) from error


def _meaning(code: str, operational: bool, told: str) -> StackError:
    if code in REFUSED + NOWHERE:
        remedy = "it refuses this user: check `user` and `password`" if code in REFUSED else f"check `conn_str`: {told}"
        return _gone(remedy)
    if code in FORBIDDEN:
        return Unavailable(f"The vectors' database does not let this server work: {told}")
    if code in FULL:
        return DiskFull("There is no room for these chunks in the vectors' database.")
    if code in TOO_SLOW:
        return UpstreamTimeout("The vectors' database did not answer in time; try again.")
    if code in BUSY:
        return Unavailable(f"The vectors' database is busy: {told}", retry_after=RETRY_SECONDS)
    if code in OTHER_VECTOR:
        return BadRequest(f"The vectors' database refuses this vector: {told}", param="dimension")
    if code in GONE or operational:
        return _gone(told)
    return UpstreamError(f"The vectors' database answered with an error: {told}")


def _gone(told: str) -> StackError:
    return Unavailable(f"The vectors' database cannot be reached: {told}", retry_after=RETRY_SECONDS)


def line(error: BaseException) -> str:
    """Without the address of the page that Oracle explains it by."""
    words = str(error).partition("\nHelp:")[0].split()
    return " ".join(words)[:SHOWN] or type(error).__name__
