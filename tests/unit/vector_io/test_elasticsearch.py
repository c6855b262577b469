"""What the contract does not reach: addresses and keys, other versions, refusals of parts, writers that meet."""

import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from apps.vector_io.filters import Scalar, matches, parse
from apps.vector_io.protocol import Query, Store
from apps.vector_io.providers.remote.elasticsearch import documents, provider
from apps.vector_io.providers.remote.elasticsearch.provider import Elasticsearch, ElasticsearchConfig
from apps.vector_io.providers.remote.elasticsearch.where import terms
from llamastack.errors import BadRequest, Conflict, NotFound, Unavailable, UpstreamError
from llamastack.providers import ProviderUnavailable
from tests.conformance.vector_stores import CALL, chunk, many, new_store, vector
from tests.elasticsearch.index import Index
from tests.elasticsearch.server import KEY, Failure, ScriptedElasticsearch, in_thread


@pytest.fixture(scope="module")
def running() -> Iterator[ScriptedElasticsearch]:
    with in_thread() as server:
        yield server


@pytest.fixture
def server(running: ScriptedElasticsearch) -> ScriptedElasticsearch:
    running.number, running.distribution = "8.17.0", None
    for kept in (running.failures, running.refused_items, running.meanwhile, running.asked):
        kept.clear()
    return running


def made(server: ScriptedElasticsearch, **config: Any) -> Elasticsearch:
    given = {"elasticsearch_url": server.url, "elasticsearch_api_key": KEY, **config}
    return Elasticsearch("vectors", ElasticsearchConfig(**given))


@pytest.fixture
async def vectors(server: ScriptedElasticsearch) -> AsyncIterator[Elasticsearch]:
    one = made(server)
    await one.start()
    yield one
    await one.stop()


@pytest.fixture
async def store(vectors: Elasticsearch) -> Store:
    made = new_store()
    await vectors.create_store(CALL, made)
    return made


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("localhost:9200", "http://localhost:9200"),
        ("https://search.example:9243/below/", "https://search.example:9243/below"),
        ("", "http://localhost:9200"),
        (None, "http://localhost:9200"),
    ],
)
def test_an_address_may_have_no_scheme(given: Any, address: str) -> None:
    assert Elasticsearch("vectors", ElasticsearchConfig(elasticsearch_url=given)).address() == address
    assert Elasticsearch("vectors", ElasticsearchConfig()).address() == "http://localhost:9200"


def test_upstreams_config_is_taken_and_a_key_is_not_shown() -> None:
    stored = {"backend": "kv_default", "namespace": "vector_io::elasticsearch"}
    config = ElasticsearchConfig(elasticsearch_api_key="secret", persistence=stored)
    assert "secret" not in repr(config)
    with pytest.raises(ValidationError):
        ElasticsearchConfig(elasticsearch_url=9200)


async def test_a_server_that_is_not_there_is_told_at_the_start() -> None:
    one = Elasticsearch("vectors", ElasticsearchConfig(elasticsearch_url="localhost:1"))
    with pytest.raises(ProviderUnavailable, match="cannot be reached at http://localhost:1"):
        await one.start()


@pytest.mark.parametrize("key", ["wrong", None])
async def test_a_wrong_key_is_told_at_the_start_and_not_repeated(server: ScriptedElasticsearch, key: Any) -> None:
    with pytest.raises(ProviderUnavailable, match="401") as refused:
        await made(server, elasticsearch_api_key=key).start()
    assert "wrong" not in refused.value.message


async def test_a_key_that_may_not_ask_for_the_version_is_no_hindrance(server: ScriptedElasticsearch) -> None:
    server.failures.append(Failure("/", 403, {"error": {"type": "security_exception", "reason": "unauthorized"}}))
    one = made(server)
    await one.start()
    assert (await one.health()).ok
    await one.stop()


@pytest.mark.parametrize(
    ("number", "distribution", "why"),
    [("8.15.3", None, "8.16 or later"), ("7.17.9", None, "8.16"), ("2.17.0", "opensearch", "no Elasticsearch")],
)
async def test_another_server_or_an_old_one_is_refused(
    server: ScriptedElasticsearch, number: str, distribution: str | None, why: str
) -> None:
    server.number, server.distribution = number, distribution
    with pytest.raises(ProviderUnavailable, match=why):
        await made(server).start()


@pytest.mark.parametrize("number", ["8.16.0", "9.2.1", "10.0.0-beta1"])
async def test_newer_ones_are_taken(server: ScriptedElasticsearch, number: str) -> None:
    server.number = number
    one = made(server)
    await one.start()
    await one.stop()


async def test_a_tenants_own_provider_reaches_no_private_address(server: ScriptedElasticsearch) -> None:
    one = made(server)
    one.confined = True
    with pytest.raises(ProviderUnavailable, match="LLAMA_STACK_ALLOWED_FETCHES"):
        await one.start()
    assert server.asked == []


async def test_a_server_that_goes_away_or_refuses_the_key_is_unavailable() -> None:
    with in_thread() as server:
        one, store = made(server), new_store()
        await one.start()
        await one.create_store(CALL, store)
        server.key = "another"
        with pytest.raises(Unavailable, match="401"):
            await one.query(CALL, store, Query(vector=vector(1.0)))
    with pytest.raises(Unavailable) as gone:
        await one.query(CALL, store, Query(vector=vector(1.0)))
    assert gone.value.retry_after
    assert not (await one.health()).ok
    await one.stop()


async def test_a_chunk_that_was_refused_among_others_is_an_error(
    vectors: Elasticsearch, store: Store, server: ScriptedElasticsearch
) -> None:
    server.refused_items.append((429, "index blocked: disk usage exceeded flood-stage watermark"))
    with pytest.raises(Unavailable, match="flood-stage") as full:
        await vectors.insert(CALL, store, many(3))
    assert full.value.retry_after
    server.refused_items.append((400, "no such thing"))
    with pytest.raises(UpstreamError, match=r"did not keep a chunk \(400\): no such thing"):
        await vectors.insert(CALL, store, many(3))
    await vectors.insert(CALL, store, many(3))
    assert (await vectors.size(CALL, store)).chunks == 3


async def test_an_index_of_another_dimension_is_no_store_of_this_one(vectors: Elasticsearch, store: Store) -> None:
    wider = replace(store, dimension=32)
    with pytest.raises(Conflict, match="vectors of 16 numbers"):
        await vectors.create_store(CALL, wider)
    for calling in (
        vectors.insert(CALL, wider, [replace(chunk("a"), embedding=vector(1.0, dimension=32))]),
        vectors.query(CALL, wider, Query(vector=vector(1.0, dimension=32))),
    ):
        with pytest.raises(BadRequest, match="vectors of 16 numbers"):
            await calling
    with pytest.raises(BadRequest, match="at most 4096"):
        await vectors.create_store(CALL, new_store(dimension=5000))


async def test_an_insertion_into_a_dropped_store_makes_no_index(
    vectors: Elasticsearch, store: Store, server: ScriptedElasticsearch
) -> None:
    await vectors.drop_store(CALL, store)
    with pytest.raises(NotFound):
        await vectors.insert(CALL, store, [chunk("a")])
    with pytest.raises(NotFound):
        await vectors.insert(CALL, store, [])
    with pytest.raises(NotFound):
        await vectors.delete(CALL, store)
    assert not any(name.startswith(documents.index(store)) for name in server.indices)


async def test_what_another_writes_meanwhile_is_deleted_and_changed_too(
    vectors: Elasticsearch, store: Store, server: ScriptedElasticsearch
) -> None:
    await vectors.insert(CALL, store, many(3))

    def again(index: Index) -> None:
        id = documents.document_id("file-1-1")
        index.write(id, dict(index.live[id].source))

    server.meanwhile.append(again)
    await vectors.set_attributes(CALL, store, "file-1", {"a": 1})
    assert [one.attributes for one in await vectors.chunks(CALL, store, "file-1")] == [{"a": 1}] * 3
    server.meanwhile += [again, again]
    assert await vectors.delete(CALL, store, file_id="file-1") == 3
    await vectors.insert(CALL, store, many(3))
    server.meanwhile += [again] * provider.ATTEMPTS
    with pytest.raises(Conflict, match="try again"):
        await vectors.set_attributes(CALL, store, "file-1", {"a": 1})


async def test_a_change_that_has_failed_is_an_error(
    vectors: Elasticsearch, store: Store, server: ScriptedElasticsearch
) -> None:
    failed = {"deleted": 0, "timed_out": False, "version_conflicts": 0, "failures": [{"cause": "no space left"}]}
    server.failures.append(Failure("_delete_by_query", 200, failed))
    with pytest.raises(Unavailable, match="no space left"):
        await vectors.delete(CALL, store, file_id="file-1")


async def test_long_ids_are_kept_and_too_long_ones_refused(vectors: Elasticsearch, store: Store) -> None:
    longest = "é" * (documents.LONGEST_TERM // 2)
    await vectors.insert(CALL, store, [chunk(longest, file_id=longest), chunk("🙂/ \\ \n%")])
    assert [one.id for one in await vectors.chunks(CALL, store, longest)] == [longest]
    assert await vectors.delete(CALL, store, chunk_ids=[longest, "🙂/ \\ \n%"]) == 2
    for wrong, param in (
        (chunk(longest + "x"), "chunks[1].id"),
        (chunk("a", file_id=longest + "x"), "chunks[1].file_id"),
        (chunk("a", attributes={"a": longest}), "chunks[1].attributes"),
    ):
        with pytest.raises(BadRequest, match="at most 32766 bytes") as refused:
            await vectors.insert(CALL, store, [chunk("b"), wrong])
        assert refused.value.param == param
    with pytest.raises(BadRequest, match="at most 32766 bytes"):
        await vectors.set_attributes(CALL, store, "file-1", {"a": longest})
    assert (await vectors.size(CALL, store)).chunks == 0


async def test_a_large_insertion_is_sent_in_parts_and_seen_at_its_end(
    vectors: Elasticsearch, store: Store, server: ScriptedElasticsearch
) -> None:
    chunks = [replace(one, content="word " * 300_000) for one in many(12)]
    await vectors.insert(CALL, store, chunks)
    sent = [asked for asked in server.asked if "_bulk" in asked]
    assert [asked.endswith("refresh=wait_for") for asked in sent] == [False] * (len(sent) - 1) + [True]
    assert len(sent) > 1
    assert (await vectors.size(CALL, store)).chunks == 12


async def test_more_than_a_page_of_a_files_chunks_is_listed(vectors: Elasticsearch, store: Store) -> None:
    await vectors.insert(CALL, store, many(provider.PAGE + 3))
    assert len(await vectors.chunks(CALL, store, "file-1", limit=10_000)) == provider.PAGE + 3
    assert len(await vectors.query(CALL, store, Query(vector=vector(1.0), limit=1_000_000))) == provider.PAGE + 3


VALUES: list[Scalar] = [
    *(True, False, "", "a", "true", "1", "n1", "Ω", "🙂", 0, -0.0, 1, 1.5, -1, -1.5, 1e-320, 1e300, -1e300),
    *(2**53, 2**53 + 1, 2**53 + 2, -(2**53) - 1, -(2**53), 10**30, 10**30 - 1, 10**30 + 1),
]


@pytest.mark.parametrize("operator", ["eq", "ne", "gt", "gte", "lt", "lte"])
async def test_values_of_all_kinds_compare_exactly_in_the_index(
    vectors: Elasticsearch, store: Store, operator: str
) -> None:
    given = [chunk(f"c{n}", attributes={"k": value}) for n, value in enumerate(VALUES)]
    others = [chunk("other", attributes={"k2": 1, "": 2, "k ": 1}), chunk("none")]
    await vectors.insert(CALL, store, [*given, *others])
    for value in VALUES:
        if isinstance(value, bool) and operator not in ("eq", "ne"):
            continue
        filter = parse({"type": operator, "key": "k", "value": value})
        hits = await vectors.query(CALL, store, Query(vector=vector(1.0), limit=100, filter=filter))
        kept = {one.id for one in given if matches(filter, one.attributes)}
        assert {hit.chunk.id for hit in hits} == kept, (operator, value)


def test_the_order_of_terms_is_that_of_numbers() -> None:
    chosen = random.Random(7)
    numbers = [chosen.uniform(-1, 1) * 10 ** chosen.randint(-300, 300) for _ in range(300)]
    numbers += [chosen.randint(-(2**80), 2**80) for _ in range(300)]
    assert sorted(numbers, key=lambda number: terms({"k": number})[1]) == sorted(numbers)
