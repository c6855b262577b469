"""The stand-in for Oracle's database refuses what that refuses: else the tests of the provider would show nothing."""

import array
import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import oracledb
import pytest

from tests.oracle.driver import CONNECT, PASSWORD, POOL, USER, Connection, Cursor, Driver, Lob, Pool

TABLE = """
    CREATE TABLE things (
        thing_key RAW(4) NOT NULL PRIMARY KEY,
        thing VARCHAR2(10 BYTE),
        amount NUMBER(2) NOT NULL,
        embedding VECTOR(2, FLOAT32),
        content CLOB
    )
"""
NEAR = "CREATE VECTOR INDEX near ON things (embedding) ORGANIZATION"
INSERT = "INSERT INTO things (thing_key, thing, amount, embedding, content) VALUES (:k, :thing, :amount, :v, :content)"
THING = {"k": b"a", "thing": "one", "amount": 1, "v": array.array("f", (0.6, 0.8)), "content": "A cat sleeps"}


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[Connection]:
    async with Driver().connect_async(dsn=str(tmp_path / "db"), user=USER, password=PASSWORD) as made:
        await made.execute(TABLE)
        await made.execute(INSERT, THING)
        await made.commit()
        yield made


async def refused(connection: Connection, words: str, binds: Any = None) -> str:
    asking = connection.fetchall if words.startswith("SELECT") else connection.execute
    with pytest.raises(oracledb.Error) as told:
        await asking(words, binds)
    return str(told.value.args[0].full_code)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("SELECT thing FROM absent", "ORA-00942"),
        ("SELECT absent FROM things", "ORA-00904"),
        ("SELECT thing FRM things WHERE", "ORA-00900"),
        ("SELECT thing FROM things LIMIT 3", "ORA-00933"),
        ("SELECT level FROM things", "ORA-00904"),
        ('SELECT "thing" FROM things', "ORA-00972"),
        (f"SELECT {'x' * 129} FROM things", "ORA-00972"),
        ("SELECT LENGTH(thing) FROM things", "ORA-00904"),
        ("SELECT SCORE(1) FROM things", "ORA-29908"),
        ("SELECT thing FROM things WHERE CONTAINS(content, '${cat}', 1) > 0", "ORA-20000"),
        ("SELECT thing FROM things WHERE thing IN (" + ", ".join(["1"] * 1001) + ")", "ORA-01795"),
        ("TRUNCATE TABLE things", "ORA-00900"),
        ("CREATE TABLE things (a NUMBER(1))", "ORA-00955"),
        ("CREATE TABLE others (a TEXT)", "ORA-00902"),
        ("CREATE TABLE others (a VARCHAR2(4001))", "ORA-00902"),
        ("CREATE TABLE others (a NUMBER(1) DEFAULT 0)", "ORA-00922"),
        ("CREATE INDEX near ON things (embedding)", "ORA-02327"),
        ("DROP TABLE absent PURGE", "ORA-00942"),
        (f"{NEAR} NEIGHBOR PARTITIONS DISTANCE DOT WITH TARGET ACCURACY 95 ONLINE", "ORA-02158"),
        (f"{NEAR} INMEMORY NEIGHBOR GRAPH DISTANCE DOT WITH TARGET ACCURACY 95", "ORA-51962"),
    ],
)
async def test_statements_that_oracle_would_not_take(connection: Connection, words: str, code: str) -> None:
    assert await refused(connection, words) == code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"k": b"a"}, "ORA-00001"),
        ({"k": b""}, "ORA-01400"),
        ({"k": b"abcde"}, "ORA-12899"),
        ({"k": "text"}, "ORA-00932"),
        ({"thing": "ééééééx"}, "ORA-12899"),
        ({"amount": None}, "ORA-01400"),
        ({"amount": 100}, "ORA-01438"),
        ({"v": array.array("f", (1,))}, "ORA-51803"),
        ({"v": b"12345678"}, "ORA-51803"),
        ({"v": [0.6, 0.8]}, "DPY-3002"),
        ({"amount": True}, "DPY-3002"),
        ({"another": 1}, "DPY-4008"),
    ],
)
async def test_values_that_oracle_would_not_take(connection: Connection, changes: Any, code: str) -> None:
    assert await refused(connection, INSERT, THING | {"k": b"b"} | changes) == code
    assert len(await connection.fetchall("SELECT thing FROM things")) == 1


async def test_binds_are_named_and_complete(connection: Connection) -> None:
    assert await refused(connection, "SELECT thing FROM things WHERE thing = :other", {}) == "DPY-4010"
    assert await refused(connection, "SELECT thing FROM things WHERE thing = :size", {"size": 1}) == "ORA-01745"
    with connection.cursor() as cursor, pytest.raises(oracledb.Error, match="DPY-2010"):
        await cursor.executemany(INSERT, [THING | {"k": b"b"}, THING | {"k": b"c", "thing": 5}])


async def test_an_empty_text_is_null(connection: Connection) -> None:
    await connection.execute(INSERT, THING | {"k": b"b", "thing": "", "content": ""})
    empty = await connection.fetchall("SELECT thing, content FROM things WHERE thing IS NULL")
    assert empty == [(None, None)]
    assert await connection.fetchall("SELECT thing FROM things WHERE thing = :t", {"t": ""}) == []


async def test_long_texts_are_places_to_read_from_and_vectors_are_arrays(connection: Connection) -> None:
    [(place, near)] = await connection.fetchall("SELECT content, embedding FROM things")
    assert isinstance(place, Lob)
    assert near == THING["v"]
    assert await connection.fetchall("SELECT content FROM things", fetch_lobs=False) == [("A cat sleeps",)]


async def test_a_text_index_knows_what_was_committed(connection: Connection) -> None:
    await connection.execute(
        "CREATE INDEX worded ON things (content) INDEXTYPE IS CTXSYS.CONTEXT PARAMETERS ('SYNC (ON COMMIT)')"
    )
    asked = "SELECT thing, SCORE(1) AS worth FROM things WHERE CONTAINS(content, :words, 1) > 0"
    assert [name for name, _ in await connection.fetchall(asked, {"words": "${cats} ACCUM ${dog}"})] == ["one"]
    assert await connection.fetchall(asked, {"words": "${the}"}) == []
    for wrong in ("cat AND", "${cat} OR ${dog}", "${?}", "", "{cat"):
        assert await refused(connection, asked, {"words": wrong}) in ("ORA-29902", "ORA-20000")


async def test_what_is_not_committed_is_gone_with_its_connection(tmp_path: Path) -> None:
    driver = Driver()
    address = {"dsn": str(tmp_path / "db"), "user": USER, "password": PASSWORD}
    async with driver.connect_async(**address) as one, driver.connect_async(**address) as other:
        await one.execute(TABLE)
        await one.execute(INSERT, THING)
        assert await other.fetchall("SELECT thing FROM things") == []
    async with driver.connect_async(**address) as one:
        assert await one.fetchall("SELECT thing FROM things") == []
        await one.execute(INSERT, THING)
        await one.execute("CREATE TABLE others (a NUMBER(1))")  # commits
        await one.rollback()
        assert len(await one.fetchall("SELECT thing FROM things")) == 1


async def test_who_asks_for_a_row_that_another_holds_waits(tmp_path: Path) -> None:
    driver = Driver()
    address = {"dsn": str(tmp_path / "db"), "user": USER, "password": PASSWORD}
    held = "SELECT thing FROM things WHERE thing = :thing FOR UPDATE"
    async with driver.connect_async(**address) as one, driver.connect_async(**address) as other:
        await one.execute(TABLE)
        await one.execute(INSERT, THING)
        await one.commit()
        assert await one.fetchall(held, {"thing": "one"}) == [("one",)]
        waiting = asyncio.create_task(other.fetchall(held, {"thing": "one"}))
        await one.execute("CREATE INDEX by_thing ON things (thing, amount)")  # commits, and so lets go
        assert await waiting == [("one",)]
        waiting = asyncio.create_task(one.fetchall(held, {"thing": "one"}))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not waiting.done()
        await other.rollback()
        assert await waiting == [("one",)]


def named(function: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(function).parameters)


@pytest.mark.parametrize(
    ("stand_in", "real"),
    [
        (Connection, oracledb.AsyncConnection),
        (Cursor, oracledb.AsyncCursor),
        (Pool, oracledb.AsyncConnectionPool),
    ],
)
def test_the_driver_has_what_the_stand_in_has(stand_in: type, real: type) -> None:
    for name, own in vars(stand_in).items():
        if inspect.isfunction(own) and not name.startswith("_") and name != "taken_back":
            assert inspect.iscoroutinefunction(own) == inspect.iscoroutinefunction(getattr(real, name))
            assert named(own) <= named(getattr(real, name)), name


def test_the_driver_takes_what_the_stand_in_takes() -> None:
    assert named(oracledb.connect_async) >= CONNECT
    assert named(oracledb.create_pool_async) >= POOL
    assert all(hasattr(oracledb, name) for name in vars(Driver) if name[0].isupper())
    assert {"version", "call_timeout", "__aenter__", "__await__"} <= set(dir(oracledb.AsyncConnection))
