"""Oracle's database, where it is not there, refuses, or has grown. The contract has the rest.

What needs a database is asked of the stand-in; what needs none, of Oracle's own driver.
"""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from apps.vector_io.filters import Scalar, matches, parse
from apps.vector_io.protocol import Query, Store
from apps.vector_io.providers.remote.oci import connections, where
from apps.vector_io.providers.remote.oci import provider as module
from apps.vector_io.providers.remote.oci.connections import MOST_CONNECTIONS
from apps.vector_io.providers.remote.oci.provider import OracleDatabase, OracleDatabaseConfig
from apps.vector_io.providers.remote.oci.rows import any_of
from llamastack.errors import (
    BadRequest,
    Conflict,
    DiskFull,
    NotFound,
    StackError,
    Unavailable,
    UpstreamError,
    UpstreamTimeout,
)
from llamastack.providers import ProviderUnavailable
from tests.conformance.vector_stores import CALL, Kept, chunk, exact, many, new_store, random_vectors, vector
from tests.oracle.driver import Driver
from tests.oracle.provider import OnStandIn, in_file

ORDINARY = {"conn_str": "db.example:1521/vectors", "user": "llamastack", "password": "secret"}


class Grown(OnStandIn):
    """Every store of it is large enough for an index."""

    grown = 0


@pytest.fixture
def driver() -> Driver:
    return Driver()


def made(driver: Driver, folder: Path, kind: type[OnStandIn] = OnStandIn, **config: Any) -> OnStandIn:
    one = kind("vectors", OracleDatabaseConfig(**{**in_file(folder / "db.oracle"), **config}))
    one.stand_in = driver
    return one


@pytest.fixture
async def vectors(driver: Driver, tmp_path: Path) -> AsyncIterator[OnStandIn]:
    one = made(driver, tmp_path)
    await one.start()
    yield one
    driver.down = False
    await one.stop()


@pytest.fixture
async def store(vectors: OnStandIn) -> Store:
    made = new_store()
    await vectors.create_store(CALL, made)
    return made


def test_upstreams_config_is_taken_and_no_password_is_shown() -> None:
    upstreams = {
        "tnsnames_loc": "",
        "ewallet_pem_loc": "",
        "ewallet_password": "",
        "persistence": {"namespace": "vector_io::oci", "backend": "kv_default"},
        "consistency_level": "Strong",
        "vector_datatype": "float32",
    }
    config = OracleDatabaseConfig(**ORDINARY, **upstreams)
    assert (config.tnsnames_loc, config.ewallet_password, config.vector_datatype) == (None, None, "FLOAT32")
    assert "secret" not in repr(config)
    assert OracleDatabaseConfig(**OracleDatabaseConfig.sample_run_config()).vector_datatype == "FLOAT32"


@pytest.mark.parametrize("wrong", [{"conn_str": ""}, {"user": ""}, {"vector_datatype": "INT8"}, {"wallet": "x"}])
def test_a_config_that_could_not_work_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        OracleDatabaseConfig(**{**ORDINARY, **wrong})


def test_files_of_this_machine_are_nothing_a_tenant_may_name() -> None:
    config = OracleDatabaseConfig(**ORDINARY, tnsnames_loc="/etc/oracle")
    assert config.of_the_server == {"tnsnames_loc": "/etc/oracle", "ewallet_pem_loc": ""}


def closed() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def by_oracles_driver(**config: Any) -> OracleDatabase:
    return OracleDatabase("vectors", OracleDatabaseConfig(**{**ORDINARY, **config}))


async def test_a_database_that_is_not_there_is_told_at_the_start() -> None:
    with pytest.raises(ProviderUnavailable, match="cannot be reached: DPY-6005"):
        await by_oracles_driver(conn_str=f"127.0.0.1:{closed()}/vectors").start()


async def test_a_host_that_nobody_knows_is_told_at_the_start() -> None:
    with pytest.raises(ProviderUnavailable, match="cannot be reached"):
        await by_oracles_driver(conn_str="nowhere.invalid:1521/vectors").start()


async def test_a_server_that_hangs_up_is_told_at_the_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        starting = asyncio.create_task(by_oracles_driver(conn_str=f"127.0.0.1:{server.getsockname()[1]}/v").start())
        accepted, _ = await asyncio.to_thread(server.accept)
        accepted.close()
        with pytest.raises(ProviderUnavailable, match="cannot be reached: DPY-6005"):
            await starting


async def test_a_server_that_says_nothing_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        with pytest.raises(ProviderUnavailable, match="cannot be reached"):
            await by_oracles_driver(conn_str=f"127.0.0.1:{server.getsockname()[1]}/v").start()


@pytest.mark.parametrize(("address", "code"), [("(((", "DPY-4017"), ("nowhere", "DPY-4000"), ("what://x", "DPY-4021")])
async def test_an_address_that_is_none_is_told_at_the_start(address: str, code: str, tmp_path: Path) -> None:
    (tmp_path / "tnsnames.ora").write_text("other = (DESCRIPTION=(ADDRESS=(HOST=h)(PORT=1)))")
    with pytest.raises(ProviderUnavailable, match=f"cannot be reached: check `conn_str`: {code}"):
        await by_oracles_driver(conn_str=address, tnsnames_loc=str(tmp_path)).start()


async def test_a_folder_without_its_file_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ProviderUnavailable, match=r"DPY-4026: file .*tnsnames\.ora' is missing"):
        await by_oracles_driver(conn_str="vectors_high", tnsnames_loc=str(tmp_path)).start()
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcps://127.0.0.1:{server.getsockname()[1]}/v"
        with pytest.raises(ProviderUnavailable, match=r"wallet file .*ewallet\.pem was not found"):
            await by_oracles_driver(conn_str=address, ewallet_pem_loc=str(tmp_path)).start()


async def test_a_name_in_tnsnames_leads_to_the_database(tmp_path: Path) -> None:
    where = f"(ADDRESS=(PROTOCOL=tcp)(HOST=127.0.0.1)(PORT={closed()}))(CONNECT_DATA=(SERVICE_NAME=v))"
    (tmp_path / "tnsnames.ora").write_text(f"vectors_high = (DESCRIPTION={where})")
    with pytest.raises(ProviderUnavailable, match="Connect call failed"):
        await by_oracles_driver(conn_str="vectors_high", tnsnames_loc=str(tmp_path)).start()


async def test_a_wallet_that_is_none_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "ewallet.pem").write_text("no certificate")
    with socket.create_server(("127.0.0.1", 0)) as server:
        given = {"conn_str": f"tcps://127.0.0.1:{server.getsockname()[1]}/v", "ewallet_pem_loc": str(tmp_path)}
        with pytest.raises(ProviderUnavailable, match="X509"):
            await by_oracles_driver(**given, ewallet_password="x").start()


async def test_without_oracles_package_it_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "oracledb", None)
    with pytest.raises(ImportError, match="oracledb"):
        await by_oracles_driver().start()


async def test_a_tenants_own_database_is_refused(driver: Driver, tmp_path: Path) -> None:
    one = made(driver, tmp_path)
    one.confined = True
    with pytest.raises(ProviderUnavailable, match="operator"):
        await one.start()
    assert driver.connected == 0


async def test_a_wrong_password_is_told_at_the_start_and_not_repeated(driver: Driver, tmp_path: Path) -> None:
    with pytest.raises(ProviderUnavailable, match="refuses this user: check `user`") as refused:
        await made(driver, tmp_path, password="wrong-one").start()
    assert "wrong-one" not in refused.value.message


@pytest.mark.parametrize(
    ("driver", "why"),
    [(Driver("21.3.0.0.0"), "23ai or later"), (Driver(characters="WE8MSWIN1252"), "WE8MSWIN1252, and would lose some")],
)
async def test_a_database_that_could_not_keep_it_is_refused(driver: Driver, why: str, tmp_path: Path) -> None:
    with pytest.raises(ProviderUnavailable, match=why):
        await made(driver, tmp_path).start()


async def test_a_user_who_may_make_no_tables_is_told_at_the_start(driver: Driver, tmp_path: Path) -> None:
    driver.failing.append(("CREATE TABLE", 1031))
    with pytest.raises(ProviderUnavailable, match="does not let this server work: ORA-01031"):
        await made(driver, tmp_path).start()


async def test_a_database_that_goes_away_is_told_and_found_again(
    vectors: OnStandIn, store: Store, driver: Driver
) -> None:
    await vectors.insert(CALL, store, [chunk("a")])
    assert (await vectors.health()).ok
    driver.down = True
    for _ in range(MOST_CONNECTIONS + 1):
        with pytest.raises(Unavailable, match="cannot be reached") as gone:
            await vectors.query(CALL, store, Query(vector=vector(1.0)))
        assert gone.value.retry_after
    assert "cannot be reached" in (await vectors.health()).message
    driver.down = False
    assert [hit.chunk.id for hit in await vectors.query(CALL, store, Query(vector=vector(1.0)))] == ["a"]


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (1653, DiskFull),
        (1536, DiskFull),
        (54, Unavailable),
        (1950, Unavailable),
        (1034, Unavailable),
        (3113, Unavailable),
        (28000, Unavailable),
        (1013, UpstreamTimeout),
        (51803, BadRequest),
        (942, NotFound),
        (600, Unavailable),
        (6502, UpstreamError),
    ],
)
async def test_what_oracle_refuses_has_a_meaning(
    vectors: OnStandIn, store: Store, driver: Driver, number: int, kind: type[StackError]
) -> None:
    driver.failing += [("INSERT INTO llamastack_s", number)] * 2
    with pytest.raises(kind) as told:
        await vectors.insert(CALL, store, [chunk("a")])
    assert type(told.value) is kind
    assert "Help:" not in told.value.message


async def test_an_insertion_is_whole_or_not_there(vectors: OnStandIn, store: Store, driver: Driver) -> None:
    await vectors.insert(CALL, store, [chunk("file-1-1", content="old")])
    driver.failing.append(("INSERT INTO llamastack_s1_a", 1653))
    with pytest.raises(DiskFull):
        await vectors.insert(CALL, store, many(5, attributes={"a": 1}))
    assert [hit.chunk.content for hit in await vectors.query(CALL, store, Query(vector=vector(1.0)))] == ["old"]


async def test_who_meets_another_that_writes_the_same_waits_for_it(
    vectors: OnStandIn, store: Store, driver: Driver
) -> None:
    driver.failing += [("INSERT INTO llamastack_s1", 1), ("INSERT INTO llamastack_s1", 60)]
    await vectors.insert(CALL, store, many(3))
    assert [words for words in driver.told if "FOR UPDATE" in words and "store_id = :" in words]
    assert (await vectors.size(CALL, store)).chunks == 3
    driver.failing += [("INSERT INTO llamastack_s1_a", 1), ("DELETE FROM llamastack_s1 ", 60)]
    await vectors.set_attributes(CALL, store, "file-1", {"a": 1})
    assert [one.attributes for one in await vectors.chunks(CALL, store, "file-1")] == [{"a": 1}] * 3
    driver.failing.append(("DELETE FROM llamastack_s1 WHERE file_key", 60))
    assert await vectors.delete(CALL, store, chunk_ids=["file-1-0"], file_id="file-1") == 3
    await vectors.insert(CALL, store, many(2))
    driver.failing += [("INSERT INTO llamastack_s1", 1)] * module.ATTEMPTS
    with pytest.raises(Conflict, match="try again"):
        await vectors.insert(CALL, store, many(3))
    assert (await vectors.size(CALL, store)).chunks == 2


async def test_tables_of_another_dimension_are_no_store_of_this_one(vectors: OnStandIn, store: Store) -> None:
    wider = replace(store, dimension=32)
    for calling in (
        vectors.insert(CALL, wider, [replace(chunk("a"), embedding=vector(1.0, dimension=32))]),
        vectors.query(CALL, wider, Query(vector=vector(1.0, dimension=32))),
    ):
        with pytest.raises(BadRequest, match="vectors of 16 numbers"):
            await calling
    with pytest.raises(BadRequest, match="at most 65,535"):
        await vectors.create_store(CALL, new_store(dimension=70_000))


async def test_a_store_whose_making_broke_off_is_made_by_the_next(vectors: OnStandIn, driver: Driver) -> None:
    store = new_store()
    driver.failing.append(("INDEXTYPE IS CTXSYS.CONTEXT", 29855))
    with pytest.raises(UpstreamError, match="ORA-29855"):
        await vectors.create_store(CALL, store)
    with pytest.raises(NotFound):
        await vectors.insert(CALL, store, [chunk("a")])
    narrow = replace(store, dimension=8)
    await vectors.create_store(CALL, narrow)
    await vectors.insert(CALL, narrow, [replace(chunk("a"), embedding=vector(1.0, dimension=8))])
    assert (await vectors.size(CALL, narrow)).chunks == 1


@pytest.mark.parametrize("words", ["DROP TABLE llamastack_s1_a", "DROP TABLE llamastack_s1 ", "DELETE FROM llamastack"])
async def test_a_store_whose_dropping_broke_off_is_found_no_more(
    vectors: OnStandIn, store: Store, driver: Driver, words: str
) -> None:
    await vectors.insert(CALL, store, many(3))
    driver.failing.append((words, 54))
    with pytest.raises(Unavailable, match="busy"):
        await vectors.drop_store(CALL, store)
    with pytest.raises(NotFound):
        await vectors.size(CALL, store)
    await vectors.create_store(CALL, store)
    assert (await vectors.size(CALL, store)).chunks == 0
    await vectors.drop_store(CALL, store)
    with pytest.raises(NotFound):
        await vectors.size(CALL, store)


async def test_a_store_that_another_has_made_anew_is_known_by_its_new_dimension(
    vectors: OnStandIn, store: Store, driver: Driver, tmp_path: Path
) -> None:
    await vectors.insert(CALL, store, many(3))
    other, wider = made(driver, tmp_path), replace(store, dimension=32)
    await other.start()
    driver.failing.append(("DELETE FROM llamastack", 54))
    with pytest.raises(Unavailable):
        await other.drop_store(CALL, store)
    await other.create_store(CALL, wider)
    await vectors.insert(CALL, wider, [replace(chunk("a"), embedding=vector(1.0, dimension=32))])
    assert (await other.size(CALL, wider)).chunks == 1
    await other.stop()


async def test_several_make_and_drop_one_store_at_once(driver: Driver, tmp_path: Path) -> None:
    several = [made(driver, tmp_path) for _ in range(3)]
    await asyncio.gather(*(one.start() for one in several))
    store = new_store()
    for _ in range(3):
        await asyncio.gather(*(one.create_store(CALL, store) for one in several))
        await several[0].insert(CALL, store, many(3))
        assert [(await one.size(CALL, store)).chunks for one in several] == [3, 3, 3]
        await asyncio.gather(*(one.drop_store(CALL, store) for one in several))
        with pytest.raises(NotFound):
            await several[1].size(CALL, store)
    calls = [one.create_store for one in several] + [one.drop_store for one in several]
    await asyncio.gather(*(call(CALL, store) for call in calls))
    await several[0].create_store(CALL, store)
    await several[0].insert(CALL, store, [chunk("a")])
    assert (await several[2].size(CALL, store)).chunks == 1
    await asyncio.gather(*(one.stop() for one in several))


@pytest.mark.parametrize(("release", "online"), [("23.4.0.24.5", [True, False]), ("26.1.0.0.0", [True])])
async def test_a_store_that_has_grown_gets_an_index(tmp_path: Path, release: str, online: list[bool]) -> None:
    driver = Driver(release, lossy=True)
    one = made(driver, tmp_path, Grown)
    await one.start()
    store = new_store()
    await one.create_store(CALL, store)
    chunks = many(200, attributes={"a": 1})
    await one.insert(CALL, store, chunks)
    await asyncio.gather(*one._building.values())
    told = [words for words in driver.told if "CREATE VECTOR INDEX" in words]
    assert [words.endswith("ONLINE") for words in told] == online
    assert all("ORGANIZATION NEIGHBOR PARTITIONS DISTANCE DOT" in words for words in told)
    wanted = random_vectors(1, seed=7)[0]
    for filter in (None, parse({"type": "eq", "key": "a", "value": 1})):
        hits = await one.query(CALL, store, Query(vector=wanted, filter=filter))
        assert [hit.chunk.id for hit in hits] == exact(chunks, wanted, 10)
    await one.insert(CALL, store, many(1, "file-2"))
    await asyncio.sleep(0)
    assert len([words for words in driver.told if "CREATE VECTOR INDEX" in words]) == len(online)
    await one.stop()


async def test_an_index_that_is_not_built_is_told_in_the_log(
    driver: Driver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = made(driver, tmp_path, Grown)
    await one.start()
    store = new_store()
    await one.create_store(CALL, store)
    driver.failing += [("CREATE VECTOR INDEX", 1658)] * 2
    await one.insert(CALL, store, many(3))
    await asyncio.gather(*one._building.values())
    assert "The index of llamastack_s1 was not built" in caplog.text
    assert len(await one.query(CALL, store, Query(vector=vector(1.0)))) == 3
    await one.stop()


async def test_filters_that_keep_many_go_by_the_index(
    vectors: OnStandIn, store: Store, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await vectors.insert(CALL, store, many(20, attributes={"a": 1}))
    filter = parse({"type": "eq", "key": "a", "value": 1})

    async def asked() -> str:
        driver.told.clear()
        await vectors.query(CALL, store, Query(vector=vector(1.0), filter=filter))
        return " ".join(driver.told)

    assert "FETCH APPROX" not in await asked()
    monkeypatch.setattr("apps.vector_io.providers.remote.oci.rows.FEW", 10)
    assert "FETCH EXACT" not in await asked()


async def test_what_no_column_has_room_for_is_refused(vectors: OnStandIn, store: Store) -> None:
    longest = "é" * 2000
    named: dict[str, Any] = {"file_id": longest, "filename": longest, "attributes": {longest: "x" * 3999}}
    await vectors.insert(CALL, store, [chunk(longest, **named)])
    assert [one.id for one in await vectors.chunks(CALL, store, longest)] == [longest]
    for wrong, param in (
        (chunk(""), "chunks[1].id"),
        (chunk(longest + "x"), "chunks[1].id"),
        (chunk("a", file_id=longest + "x"), "chunks[1].file_id"),
        (chunk("a", filename=longest + "x"), "chunks[1].filename"),
        (chunk("a", attributes={"a": longest}), "chunks[1].attributes"),
    ):
        with pytest.raises(BadRequest) as refused:
            await vectors.insert(CALL, store, [chunk("b"), wrong])
        assert refused.value.param == param
    with pytest.raises(BadRequest, match="at most 3999 bytes"):
        await vectors.set_attributes(CALL, store, longest, {"a": longest})
    with pytest.raises(BadRequest, match="at most 3999 bytes"):
        await vectors.query(
            CALL, store, Query(vector=vector(1.0), filter=parse({"type": "gt", "key": "a", "value": longest}))
        )
    with pytest.raises(BadRequest, match="at most 4000 bytes"):
        await vectors.create_store(CALL, Store("k" * 4001, "default", 16))
    assert (await vectors.size(CALL, store)).chunks == 1


async def test_a_filter_of_more_values_than_a_statement_takes_is_refused(
    vectors: OnStandIn, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(where, "MOST_BINDS", 1000)
    filter = parse({"type": "in", "key": "a", "value": list(range(1000))})
    with pytest.raises(BadRequest, match="at most 1,000 values"):
        await vectors.query(CALL, store, Query(vector=vector(1.0), filter=filter))


async def test_long_texts_and_empty_ones_come_back(vectors: OnStandIn, store: Store) -> None:
    given = [chunk("empty", content=""), chunk("long", content="Wörter " * 100_000, metadata={"a": "x" * 50_000})]
    await vectors.insert(CALL, store, given)
    hits = await vectors.query(CALL, store, Query(vector=vector(1.0)))
    assert [hit.chunk for hit in hits] == given
    assert [one.id for one in await vectors.chunks(CALL, store, "")] == ["empty", "long"]


async def test_vectors_may_be_of_double_precision(driver: Driver, tmp_path: Path) -> None:
    one = made(driver, tmp_path, vector_datatype="FLOAT64")
    await one.start()
    store = new_store()
    await one.create_store(CALL, store)
    await one.insert(CALL, store, [chunk("a", 0.6, 0.8)])
    assert any("VECTOR(16, FLOAT64)" in words for words in driver.told)
    [read] = await one.chunks(CALL, store, "", embeddings=True)
    assert read.embedding is not None
    assert read.embedding.tolist()[:2] == pytest.approx([0.6, 0.8])
    await one.stop()


VALUES: list[Scalar] = [
    *(True, False, "", "a", "true", "1", "n1", "Ω", "🙂", 0, -0.0, 1, 1.5, -1, -1.5, 1e-320, 1e300, -1e300),
    *(2**53, 2**53 + 1, 2**53 + 2, -(2**53) - 1, -(2**53), 10**30, 10**30 - 1, 10**30 + 1),
]


@pytest.mark.parametrize("operator", ["eq", "ne", "gt", "gte", "lt", "lte"])
async def test_values_of_all_kinds_compare_exactly(vectors: OnStandIn, store: Store, operator: str) -> None:
    given = [chunk(f"c{n}", attributes={"k": value}) for n, value in enumerate(VALUES)]
    await vectors.insert(CALL, store, [*given, chunk("other", attributes={"k2": 1, "k ": 1}), chunk("none")])
    for value in VALUES:
        if isinstance(value, bool) and operator not in ("eq", "ne"):
            continue
        filter = parse({"type": operator, "key": "k", "value": value})
        hits = await vectors.query(CALL, store, Query(vector=vector(1.0), limit=100, filter=filter))
        kept = {one.id for one in given if matches(filter, one.attributes)}
        assert {hit.chunk.id for hit in hits} == kept, (operator, value)


async def test_every_session_compares_texts_by_their_bytes(vectors: OnStandIn, store: Store) -> None:
    await asyncio.gather(*(vectors.query(CALL, store, Query(vector=vector(1.0))) for _ in range(5)))
    sessions = [connection.session for connection in vectors._pool.free]
    assert all({"NLS_COMP = BINARY", "NLS_SORT = BINARY"} <= session.settings for session in sessions)
    assert [connection.call_timeout for connection in vectors._pool.free] == [60_000] * len(sessions)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("The cats' a_b", "${the} ACCUM ${cats} ACCUM ${a} ACCUM ${b}"),
        ("near ((a)) {or} $x}", "${near} ACCUM ${a} ACCUM ${or} ACCUM ${x}"),
        ("東京 Zoë", "${東京} ACCUM ${zoë}"),
        ("___ !?", ""),
        ("x" * 65, ""),
    ],
)
def test_words_are_no_operators_of_oracle_text(text: str, asked: str) -> None:
    assert any_of(text) == asked


def test_a_search_of_long_words_is_as_long_as_oracle_text_takes() -> None:
    words = " ".join(f"{n:02}{'東' * 60}" for n in range(60))
    assert 3000 < len(any_of(words).encode()) <= 4000


async def test_it_is_kept_for_the_contract_by_the_stand_in(tmp_path: Path) -> None:
    """A provider of this type is made with the stand-in there, and nowhere else."""
    kept = Kept("remote::oci", in_file(tmp_path / "db.oracle"))
    assert type(kept.made()) is OnStandIn
    assert OracleDatabase("vectors", OracleDatabaseConfig(**ORDINARY)).driver().__name__ == "oracledb"
