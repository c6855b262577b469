"""Connections to PostgreSQL: the server's own database, or another. Each begins with what searches need."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import AsyncConnection, OperationalError
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from llamastack.errors import DiskFull, Unavailable
from llamastack.providers import ProviderUnavailable

if TYPE_CHECKING:
    from apps.vector_io.providers.remote.pgvector.provider import PGVectorConfig

Connection = AsyncConnection[tuple[Any, ...]]
MOST_CONNECTIONS = 10
WAIT_SECONDS = 5.0
RETRY_SECONDS = 5.0
# More rows are looked at until enough are found that a filter keeps. Compiling a query would cost more than it.
SETTINGS = {
    "hnsw.ef_search": "200",
    "hnsw.iterative_scan": "relaxed_order",
    "hnsw.max_scan_tuples": "200000",
    "random_page_cost": "1.1",
    "plan_cache_mode": "force_custom_plan",
    "jit": "off",
    "application_name": "llamastack-vectors",
}


def address(config: "PGVectorConfig") -> str:
    """Where to connect to. Raises ProviderUnavailable where there is no PostgreSQL."""
    options = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
    if config.is_of_the_server:
        return make_conninfo(**_of_the_server(), options=options, connect_timeout=5)
    password = config.password.get_secret_value() if config.password else None
    named = {"host": config.host, "port": config.port, "dbname": config.db, "user": config.user, "password": password}
    given: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    return make_conninfo(**given, options=options, connect_timeout=5)


def _of_the_server() -> dict[str, Any]:
    from django.db import connections

    settings = connections["default"].settings_dict
    if "postgresql" not in settings["ENGINE"]:
        raise ProviderUnavailable(
            "The server's own database is SQLite. Name a PostgreSQL with pgvector by host, port, db, user and password."
        )
    names = {"HOST": "host", "PORT": "port", "NAME": "dbname", "USER": "user", "PASSWORD": "password"}
    others = {name: value for name, value in settings["OPTIONS"].items() if name.startswith("ssl")}
    return {own: settings[name] for name, own in names.items() if settings[name]} | others


def pool(conninfo: str) -> AsyncConnectionPool[Connection]:
    """Not opened yet."""
    return AsyncConnectionPool(
        conninfo,
        connection_class=AsyncConnection[tuple[Any, ...]],
        min_size=0,
        max_size=MOST_CONNECTIONS,
        timeout=WAIT_SECONDS,
        reconnect_timeout=2,
        configure=knows_vectors,
        open=False,
    )


async def knows_vectors(connection: Connection) -> None:
    from pgvector.psycopg import register_vector_async

    await register_vector_async(connection)
    await connection.rollback()  # it has asked for the types


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """What PostgreSQL raises, as the errors that callers know."""
    try:
        yield
    except psycopg.errors.DiskFull as error:
        raise DiskFull("There is no room for these chunks in the vectors' database.") from error
    except (OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
        raise Unavailable(
            "The vectors' database cannot be reached; try again shortly.", retry_after=RETRY_SECONDS
        ) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise Unavailable(
            f"The vectors' database does not let this server work: {error.diag.message_primary}."
        ) from error
