"""What the contract does not reach: passwords and how they are proven, addresses, refusals, long names."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from apps.vector_io.filters import Scalar, matches, parse
from apps.vector_io.protocol import Query, Store
from apps.vector_io.providers.remote.infinispan import entries, provider
from apps.vector_io.providers.remote.infinispan.digest import Challenge, challenges
from apps.vector_io.providers.remote.infinispan.provider import Infinispan, InfinispanConfig
from llamastack.egress.network import NetworkConfig, TLSConfig
from llamastack.errors import BadRequest, Conflict, NotFound, Unavailable, UpstreamRejected
from llamastack.providers import ProviderUnavailable
from tests.conformance.vector_stores import CALL, chunk, many, new_store, vector
from tests.infinispan.digest import Guard
from tests.infinispan.server import PASSWORD, USERNAME, Failure, ScriptedInfinispan, in_thread


@pytest.fixture(scope="module")
def running() -> Iterator[ScriptedInfinispan]:
    with in_thread() as server:
        yield server


@pytest.fixture
def server(running: ScriptedInfinispan) -> ScriptedInfinispan:
    running.version, running.guard, running.refused = "Infinispan Server 15.0.8.Final", Guard(USERNAME, PASSWORD), 0
    running.failures.clear()
    running.asked.clear()
    return running


def made(server: ScriptedInfinispan, **config: Any) -> Infinispan:
    given = {"url": server.url, "username": USERNAME, "password": PASSWORD, **config}
    return Infinispan("vectors", InfinispanConfig(**given))


@pytest.fixture
async def vectors(server: ScriptedInfinispan) -> AsyncIterator[Infinispan]:
    one = made(server)
    await one.start()
    yield one
    await one.stop()


@pytest.fixture
async def store(vectors: Infinispan) -> Store:
    made = new_store()
    await vectors.create_store(CALL, made)
    return made


def test_ogxs_config_is_taken_and_the_password_not_shown() -> None:
    config = InfinispanConfig(
        url="http://localhost:11222/",
        username="ann",
        password="secret",
        use_https=True,
        auth_mechanism="basic",
        verify_tls=False,
        persistence={"backend": "kv_default", "namespace": "vector_io::infinispan"},
    )
    assert "secret" not in repr(config)
    one = Infinispan("vectors", config)
    assert one.address() == "https://localhost:11222"
    assert one.section() == NetworkConfig(tls=TLSConfig(verify=False))
    with pytest.raises(ValidationError, match="https://host:11222"):
        InfinispanConfig(url="localhost:11222")
    with pytest.raises(ValidationError):
        InfinispanConfig(auth_mechanism="scram")


def test_the_network_section_says_more_of_certificates_than_verify_tls() -> None:
    section = NetworkConfig(tls=TLSConfig(verify=True))
    assert Infinispan("vectors", InfinispanConfig(verify_tls=False, network=section)).section() == section
    assert Infinispan("vectors", InfinispanConfig()).section() is None


@pytest.mark.parametrize("asks", [("MD5",), ("SHA-256",), ("Basic", "MD5"), ("SHA-256", "MD5", "Basic")])
async def test_a_digest_is_answered_in_each_way_that_is_asked_for(
    server: ScriptedInfinispan, asks: tuple[str, ...]
) -> None:
    server.guard = Guard(USERNAME, PASSWORD, asks)
    one = made(server)
    await one.start()
    await one.create_store(CALL, new_store())
    await one.stop()
    assert server.refused == 1  # the first request alone, which asks for the challenge


async def test_basic_sends_the_password_and_an_open_server_wants_none(server: ScriptedInfinispan) -> None:
    for asks, config in ((("Basic",), {"auth_mechanism": "basic"}), (None, {}), (None, {"username": None})):
        server.guard = Guard(USERNAME, PASSWORD, asks) if asks else None
        one = made(server, **config)
        await one.start()
        assert (await one.health()).ok
        await one.stop()


async def test_a_server_that_asks_for_no_digest_is_told(server: ScriptedInfinispan) -> None:
    server.guard = Guard(USERNAME, PASSWORD, ("Basic",))
    with pytest.raises(ProviderUnavailable, match="auth_mechanism"):
        await made(server).start()


@pytest.mark.parametrize("config", [{"password": "wrong-password"}, {"username": None}, {"auth_mechanism": "basic"}])
async def test_a_wrong_password_is_told_at_the_start_and_not_repeated(
    server: ScriptedInfinispan, config: dict[str, Any]
) -> None:
    server.guard = Guard(USERNAME, PASSWORD, ("MD5",))
    with pytest.raises(ProviderUnavailable, match="401") as refused:
        await made(server, **config).start()
    assert "wrong-password" not in refused.value.message


async def test_a_challenge_that_is_too_old_is_answered_anew(vectors: Infinispan, server: ScriptedInfinispan) -> None:
    assert server.guard is not None
    server.guard.nonces.clear()
    assert (await vectors.health()).ok
    server.guard.password = "another"
    assert "401" in (await vectors.health()).message


async def test_no_challenge_is_answered_twice_at_once(vectors: Infinispan, server: ScriptedInfinispan) -> None:
    """A count that comes after a higher one is refused."""
    for _ in range(3):
        assert all(one.ok for one in await asyncio.gather(*(vectors.health() for _ in range(20))))
    assert server.refused <= 20


def test_a_digest_is_that_of_the_rfc() -> None:
    """The example of RFC 7616, 3.9.1."""
    header = (
        'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={}, '
        'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
    )
    own = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    both = ", ".join(("Basic realm=\"a, Digest b='c'\"", *(header.format(one) for one in ("MD5", "SHA-256", "NONE"))))
    answers = [one.answer("Mufasa", "Circle of Life", "GET", "/dir/index.html", own) for one in challenges(both)]
    assert [f'response="{right}"' in answer for answer, right in zip(answers, RIGHT, strict=True)] == [True, True]
    assert "nc=00000001" in answers[0]


RIGHT = ("8ca523f5e9506fed4657c9700eebdbec", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1")


def test_a_challenge_without_qop_is_answered_as_it_was_before() -> None:
    [one] = challenges('Digest realm="r", nonce="n"')
    assert one == Challenge("r", "n", "MD5", "", None)
    answer = one.answer("a", "b", "GET", "/")
    assert "cnonce" not in answer
    assert "nc=" not in answer


async def test_a_server_that_is_not_there_is_told_at_the_start() -> None:
    with pytest.raises(ProviderUnavailable, match="cannot be reached at http://localhost:1"):
        await Infinispan("vectors", InfinispanConfig(url="http://localhost:1")).start()


@pytest.mark.parametrize("version", ["Infinispan Server 14.0.27.Final", 5])
async def test_another_server_or_an_old_one_is_refused(server: ScriptedInfinispan, version: Any) -> None:
    server.version = version
    with pytest.raises(ProviderUnavailable, match="Infinispan"):
        await made(server).start()


@pytest.mark.parametrize("version", ["Infinispan Server 16.0.1", "Red Hat Data Grid 8.5.3.GA"])
async def test_newer_ones_and_their_other_name_are_taken(server: ScriptedInfinispan, version: str) -> None:
    server.version = version
    one = made(server)
    await one.start()
    await one.stop()


async def test_a_tenants_own_provider_reaches_no_private_address(server: ScriptedInfinispan) -> None:
    one = made(server)
    one.confined = True
    with pytest.raises(ProviderUnavailable, match="LLAMA_STACK_ALLOWED_FETCHES"):
        await one.start()
    assert server.asked == []


async def test_a_server_that_goes_away_is_unavailable() -> None:
    with in_thread() as server:
        one, store = made(server), new_store()
        await one.start()
        await one.create_store(CALL, store)
    with pytest.raises(Unavailable) as gone:
        await one.query(CALL, store, Query(vector=vector(1.0)))
    assert gone.value.retry_after
    assert not (await one.health()).ok
    await one.stop()


async def test_a_store_of_another_dimension_is_a_conflict(vectors: Infinispan, store: Store) -> None:
    with pytest.raises(Conflict, match="vectors of 16 numbers"):
        await vectors.create_store(CALL, replace(store, dimension=32))


async def test_a_schema_is_described_once_and_one_with_errors_is_told(
    vectors: Infinispan, server: ScriptedInfinispan
) -> None:
    for _ in range(2):
        await vectors.create_store(CALL, new_store(dimension=24))
    assert [asked.split()[0] for asked in server.asked if "chunk-24" in asked] == ["GET", "PUT", "GET"]
    server.failures.append(Failure("chunk-25", 404))
    server.failures.append(Failure("chunk-25", 200, '{"name": "x", "error": {"message": "it has errors"}}'))
    with pytest.raises(Unavailable, match="it has errors"):
        await vectors.create_store(CALL, new_store(dimension=25))
    server.failures.append(Failure("rest/v2/caches/llamastack", 403, "no"))
    with pytest.raises(Unavailable, match="403"):
        await vectors.create_store(CALL, new_store(dimension=24))
    server.failures.append(Failure("rest/v2/caches/llamastack", 400, "no"))
    with pytest.raises(UpstreamRejected, match="400"):
        await vectors.create_store(CALL, new_store(dimension=24))


async def test_an_insertion_that_fails_in_part_is_an_error_and_can_be_repeated(
    vectors: Infinispan, store: Store, server: ScriptedInfinispan
) -> None:
    server.failures.append(Failure(entries.key("file-1-7"), 500, "no room"))
    with pytest.raises(Unavailable, match="no room"):
        await vectors.insert(CALL, store, many(20))
    await vectors.insert(CALL, store, many(20))
    assert (await vectors.size(CALL, store)).chunks == 20
    assert await vectors.delete(CALL, store, chunk_ids=["missing"], file_id="file-1") == 20
    with pytest.raises(NotFound):
        await vectors.insert(CALL, new_store(), [])


async def test_a_failed_deletion_is_an_error(vectors: Infinispan, store: Store, server: ScriptedInfinispan) -> None:
    await vectors.insert(CALL, store, many(3))
    server.failures.append(Failure(entries.key("file-1-1"), 500))
    with pytest.raises(Unavailable):
        await vectors.delete(CALL, store, file_id="file-1")
    server.failures.append(Failure(entries.cache(store), 400))
    with pytest.raises(UpstreamRejected):
        await vectors.drop_store(CALL, store)


async def test_long_ids_are_kept_and_too_long_ones_refused(vectors: Infinispan, store: Store) -> None:
    longest = "é" * (entries.LONGEST_ID // 2)
    await vectors.insert(CALL, store, [chunk(longest, file_id="f" * 100_000), chunk("🙂/ \\ \n%'\"")])
    assert [one.id for one in await vectors.chunks(CALL, store, "f" * 100_000)] == [longest]
    assert await vectors.delete(CALL, store, chunk_ids=[longest, "🙂/ \\ \n%'\""]) == 2
    for wrong, param in (
        (chunk(longest + "x"), "chunks[1].id"),
        (chunk("a", attributes={"a": "é" * 9000}), "chunks[1].attributes"),
    ):
        with pytest.raises(BadRequest, match="at most 16000 bytes") as refused:
            await vectors.insert(CALL, store, [chunk("b"), wrong])
        assert refused.value.param == param
    with pytest.raises(BadRequest, match="at most 16000 bytes"):
        await vectors.set_attributes(CALL, store, "file-1", {"a": "é" * 9000})
    assert (await vectors.size(CALL, store)).chunks == 0


async def test_positions_before_the_first_are_listed_first(vectors: Infinispan, store: Store) -> None:
    given = [chunk(f"c{n}", file_id="file-1", position=n) for n in (10, -3, 0, 9, -10)]
    await vectors.insert(CALL, store, given)
    listed = await vectors.chunks(CALL, store, "file-1")
    assert [one.position for one in listed] == [-10, -3, 0, 9, 10]


async def test_more_than_a_page_of_a_files_chunks_is_listed(vectors: Infinispan, store: Store) -> None:
    await vectors.insert(CALL, store, many(provider.PAGE + 3))
    assert len(await vectors.chunks(CALL, store, "file-1", limit=10_000)) == provider.PAGE + 3
    await vectors.set_attributes(CALL, store, "file-1", {"a": "b"})
    filter = parse({"type": "eq", "key": "a", "value": "b"})
    hits = await vectors.query(CALL, store, Query(vector=vector(1.0), limit=1_000_000, filter=filter))
    assert len(hits) == provider.PAGE + 3


VALUES: list[Scalar] = [
    *(True, False, "", "a", "ab", "b", "true", "1", "n1", "Ω", "🙂", 0, -0.0, 1, 1.5, -1, -1.5, 1e-320, 1e300, -1e300),
    *(2**53, 2**53 + 1, 2**53 + 2, -(2**53) - 1, -(2**53), 10**30, 10**30 - 1, 10**30 + 1),
]


@pytest.mark.parametrize("operator", ["eq", "ne", "gt", "gte", "lt", "lte"])
async def test_values_of_all_kinds_compare_exactly_in_the_index(
    vectors: Infinispan, store: Store, operator: str
) -> None:
    given = [chunk(f"c{n}", attributes={"k": value}) for n, value in enumerate(VALUES)]
    await vectors.insert(CALL, store, [*given, chunk("other", attributes={"k2": 1, "": 2, "k ": 1}), chunk("none")])
    for value in VALUES:
        if isinstance(value, bool) and operator not in ("eq", "ne"):
            continue
        filter = parse({"type": operator, "key": "k", "value": value})
        hits = await vectors.query(CALL, store, Query(vector=vector(1.0), limit=100, filter=filter))
        kept = {one.id for one in given if matches(filter, one.attributes)}
        assert {hit.chunk.id for hit in hits} == kept, (operator, value)
