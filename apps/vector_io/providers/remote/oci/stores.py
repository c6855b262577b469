"""Which stores there are: how their tables are made and dropped, by one process at a time.

Oracle commits before and after each statement that makes or drops a table. So a store's row says whether its tables are
whole, and who makes or drops them holds the lock of that row with one connection, and works with another.
"""

import hashlib
import json
from typing import Any

from apps.vector_io.protocol import Store
from apps.vector_io.providers.remote.oci import connections
from apps.vector_io.providers.remote.oci.tables import STORES, Table

FOUND = "SELECT store_id, dimension_count, ready FROM llamastack_stores WHERE store_digest = :store_digest"


def named(store: Store) -> bytes:
    """A tenant and a key, of any length."""
    return hashlib.sha256(json.dumps([store.tenant, store.key]).encode()).digest()


async def prepare(connection: Any, oracledb: Any) -> None:
    """The table of the stores."""
    await _unless(connection, oracledb, STORES, connections.THERE_ALREADY)


async def table(connection: Any, store: Store) -> Table | None:
    """The store's, where its tables are whole."""
    row = await _row(connection, FOUND, store)
    return Table(row[0], row[1]) if row and row[2] else None


async def made(guard: Any, working: Any, oracledb: Any, store: Store, vector_type: str) -> Table | None:
    """The store's tables, made where they are not whole. None where another has dropped them meanwhile."""
    if await _row(guard, FOUND, store) is None:
        await _added(guard, oracledb, store)
    row = await _row(guard, f"{FOUND} FOR UPDATE", store)
    if row is None:
        return None
    store_id, dimension, ready = row
    if ready:
        return Table(store_id, dimension)
    table = Table(store_id, store.dimension)
    await _drop(working, oracledb, table)
    for statement in table.made(vector_type):
        await working.execute(statement)
    await guard.execute(
        "UPDATE llamastack_stores SET ready = 1, dimension_count = :dimension_count WHERE store_id = :store_id",
        {"dimension_count": table.dimension, "store_id": store_id},
    )
    await guard.commit()
    return table


async def dropped(guard: Any, working: Any, oracledb: Any, store: Store) -> None:
    """First nobody finds it, then it is dropped: who comes after a crash between the two drops the rest."""
    await guard.execute(
        "UPDATE llamastack_stores SET ready = 0 WHERE store_digest = :store_digest", {"store_digest": named(store)}
    )
    await guard.commit()
    row = await _row(guard, f"{FOUND} FOR UPDATE", store)
    if row is None or row[2]:  # another has dropped it, and may have made it anew
        return
    await _drop(working, oracledb, Table(row[0], row[1]))
    await guard.execute("DELETE FROM llamastack_stores WHERE store_id = :store_id", {"store_id": row[0]})
    await guard.commit()


async def _row(connection: Any, statement: str, store: Store) -> Any:
    found = await connection.fetchall(statement, {"store_digest": named(store)})
    return found[0] if found else None


async def _added(connection: Any, oracledb: Any, store: Store) -> None:
    statement = (
        "INSERT INTO llamastack_stores (store_digest, tenant, store_key, dimension_count, ready) "
        "VALUES (:store_digest, :tenant, :store_key, :dimension_count, 0)"
    )
    told = {"tenant": store.tenant, "store_key": store.key, "dimension_count": store.dimension}
    try:
        await connection.execute(statement, {"store_digest": named(store), **told})
    except oracledb.IntegrityError:  # another has added it
        await connection.rollback()
    else:
        await connection.commit()


async def _drop(connection: Any, oracledb: Any, table: Table) -> None:
    for statement in table.dropped():
        await _unless(connection, oracledb, statement, *connections.NO_TABLE)


async def _unless(connection: Any, oracledb: Any, statement: str, *codes: str) -> None:
    """Tells the database this, which it may refuse by these codes."""
    try:
        await connection.execute(statement)
    except oracledb.DatabaseError as error:
        if connections.code(error) not in codes:
            raise


async def index(connection: Any, oracledb: Any, table: Table) -> None:
    """The index of the store's vectors, built beside those who write where this release can."""
    try:
        await _unless(connection, oracledb, table.indexing(online=True), connections.THERE_ALREADY)
    except oracledb.DatabaseError:
        await _unless(connection, oracledb, table.indexing(online=False), connections.THERE_ALREADY)
