"""`remote::weaviate`, where the contract (tests/conformance/test_vector_io.py) does not reach."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import product
from typing import Any, cast

import numpy
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from graphql import parse_value, value_from_ast_untyped
from pydantic import ValidationError

from apps.vector_io.filters import matches, parse
from apps.vector_io.protocol import Hit, Query, Store
from apps.vector_io.providers.remote.weaviate import collections, protobuf, tokens
from apps.vector_io.providers.remote.weaviate.config import WeaviateConfig
from apps.vector_io.providers.remote.weaviate.graphql import literal
from apps.vector_io.providers.remote.weaviate.grpc_web import GRPCWeb
from apps.vector_io.providers.remote.weaviate.provider import Weaviate
from llamastack.errors import BadRequest, Conflict, NotFound, StackError, Unavailable, UpstreamError, UpstreamRejected
from llamastack.provider_data import ProviderData
from tests.conformance.test_vector_io import ATTRIBUTES, FILTERS
from tests.conformance.vector_stores import CALL, chunk, many, new_store, unit, vector
from tests.servers import free_port
from tests.weaviate.served import ScriptedWeaviate, running

NEAR = Query(vector=vector(1.0))


@pytest.fixture
def weaviate() -> Iterator[ScriptedWeaviate]:
    with running(ScriptedWeaviate()) as server:
        yield server


@asynccontextmanager
async def started(url: str, **config: Any) -> AsyncIterator[Weaviate]:
    provider = Weaviate("vectors", WeaviateConfig.model_validate({"weaviate_cluster_url": url, **config}))
    await provider.start()
    try:
        yield provider
    finally:
        await provider.stop()


@pytest.fixture
async def provider(weaviate: ScriptedWeaviate) -> AsyncIterator[Weaviate]:
    async with started(weaviate.url) as running:
        yield running


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("localhost:8080", "http://localhost:8080"),
        ("127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("name.gcp.weaviate.cloud", "https://name.gcp.weaviate.cloud"),
        ("http://weaviate:8080/v1", "http://weaviate:8080"),
        (" https://weaviate.example ", "https://weaviate.example"),
        (None, "http://localhost:8080"),
    ],
)
def test_an_address_is_taken_with_and_without_its_scheme(given: str | None, meant: str) -> None:
    config = WeaviateConfig.model_validate({"weaviate_cluster_url": given, "persistence": {"backend": "kv_default"}})
    assert config.weaviate_cluster_url == meant


@pytest.mark.parametrize("given", ["", "ftp://host", "http://", "host:port", "https://host/other", "host?key=secret"])
def test_what_is_no_address_is_refused_and_not_repeated(given: str) -> None:
    with pytest.raises(ValidationError, match="write https://host, or localhost:8080"):
        WeaviateConfig(weaviate_cluster_url=given)


VALUES: list[Any] = [
    *(0, -0.0, 1, 1.5, -1, -1.5, 255, 256, 2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1, float(2**60), 2**60 + 1, 10**300),
    *(1e300, -1e300, 5e-324, "", "a", "ab", "b", "B", "é", "🙂", " a", "a" * 64, "a" * 65, "a" * 200, True, False),
]


@pytest.mark.parametrize("operator", ["eq", "ne", "gt", "gte", "lt", "lte"])
def test_the_words_of_a_value_say_what_a_comparison_does(operator: str) -> None:
    """As `ContainsAny` reads them."""
    for found, wanted in product(VALUES, VALUES):
        if operator not in ("eq", "ne") and (isinstance(wanted, bool) or wanted in ("a" * 65, "a" * 200)):
            continue
        filter = cast(Any, parse({"type": operator, "key": "k", "value": wanted}))
        has = set(tokens.words({"k": found, "other": wanted}))
        if operator in ("eq", "ne"):
            kept = (tokens.equal("k", wanted) in has) == (operator == "eq")
        else:
            kept = not has.isdisjoint(tokens.ordered(filter))
        assert kept == matches(filter, {"k": found}), (operator, found, wanted)


def test_a_values_words_are_as_many_as_its_digits() -> None:
    assert len(tokens.words({"year": 2024})) == 2 + 16
    assert len(tokens.words({"text": "x" * 10_000})) == 2 + 2 * tokens.LONGEST_BOUND + 1


async def test_a_bound_that_is_too_long_is_refused(provider: Weaviate) -> None:
    store = new_store()
    await provider.create_store(CALL, store)
    filter = parse({"type": "gt", "key": "k", "value": "é" * 33})
    with pytest.raises(BadRequest, match="64 bytes") as refused:
        await provider.query(CALL, store, replace(NEAR, filter=filter))
    assert refused.value.param == "filters"


@pytest.mark.parametrize("text", ['"', "\\", "a\nb", "\x07", "🙂", "{tenant: 1}", "\u2028", "\x7f", '"""'])
def test_a_text_is_the_same_to_graphql(text: str) -> None:
    given = {"operator": "Equal", "valueText": text, "limit": 1, "list": [0.5, -1e-7], "flag": True}
    assert value_from_ast_untyped(parse_value(literal(given))) == given


async def test_a_server_that_is_down_is_an_error_that_says_where() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    async with started(url) as provider:
        with pytest.raises(StackError, match=url) as failed:
            await provider.create_store(CALL, new_store())
        assert failed.value.status in (502, 503, 504)
        health = await provider.health()
        assert not health.ok
        assert url in health.message


async def test_a_key_is_the_configs_or_the_callers_own() -> None:
    store = new_store()
    with running(ScriptedWeaviate(keys=("right", "callers"))) as server:
        async with started(server.url, weaviate_api_key="right") as provider:
            assert (await provider.health()).ok
            await provider.create_store(CALL, store)
        async with started(server.url) as provider:
            with pytest.raises(UpstreamRejected, match="401") as refused:
                await provider.query(CALL, store, NEAR)
            assert refused.value.status == 401
            assert (await provider.health()).ok
            assert await provider.query(_brings("callers"), store, NEAR) == []
            with pytest.raises(UpstreamRejected, match="401"):
                await provider.query(_brings("wrong"), store, NEAR)
            with pytest.raises(BadRequest, match="weaviate_api_key"):
                await provider.query(_brings("a\nb"), store, NEAR)
        async with started(server.url, weaviate_api_key="wrong") as provider:
            assert "401" in (await provider.health()).message


def _brings(key: str) -> Any:
    return replace(CALL, provider_data=ProviderData({"weaviate_api_key": key}))


async def test_a_tenants_provider_reaches_no_address_of_this_machine(weaviate: ScriptedWeaviate) -> None:
    provider = Weaviate("vectors", WeaviateConfig(weaviate_cluster_url=weaviate.url))
    provider.confined = True
    await provider.start()
    with pytest.raises(StackError, match="public address"):
        await provider.create_store(CALL, new_store())
    await provider.stop()
    assert weaviate.asked == []


async def test_where_nothing_searches_a_store_is_refused_with_what_to_do() -> None:
    with running(ScriptedWeaviate(graphql=False)) as server:
        async with started(server.url) as provider:
            with pytest.raises(Unavailable, match="neither by GraphQL nor by gRPC-Web"):
                await provider.create_store(CALL, new_store())
            assert [each.tenants for each in server.collections.values()] == [{}]


async def test_grpc_web_finds_what_graphql_does(provider: Weaviate, weaviate: ScriptedWeaviate) -> None:
    """The same of each search, list and size. What is asked first is what worked last."""
    store = new_store()
    await provider.create_store(CALL, store)
    given = [chunk(f"c{n}", 1, n, content=f"text {n} ü", attributes=each) for n, each in enumerate(ATTRIBUTES)]
    await provider.insert(CALL, store, [*given, *many(300, "file-1"), chunk("zero", 0.0)])
    by_graphql = await asked_of(provider, store)
    weaviate.graphql, weaviate.grpc_web = False, True
    assert await asked_of(provider, store) == by_graphql
    listed = await provider.chunks(CALL, store, "file-1", limit=300, embeddings=True)
    assert [one.embedding is not None for one in listed] == [True] * 300
    assert numpy.allclose(cast(Any, listed[7].embedding), unit(cast(Any, many(8)[7].embedding)), atol=1e-6)
    await provider.set_attributes(CALL, store, "file-1", {"a": 1})
    assert await provider.delete(CALL, store, file_id="file-1") == 300
    asked = len(weaviate.asked)
    await provider.query(CALL, store, NEAR)
    assert weaviate.asked[asked:] == [("POST", "/v1/grpc-web/weaviate.v1.Weaviate/Search")]
    other = new_store()
    await provider.create_store(CALL, other)
    assert (await provider.size(CALL, other)).chunks == 0
    weaviate.graphql, weaviate.grpc_web = True, False
    assert await provider.query(CALL, other, NEAR) == []


async def asked_of(provider: Weaviate, store: Store) -> list[Any]:
    answers: list[Any] = [await provider.size(CALL, store)]
    for query in (NEAR, Query("text ü", mode="keyword"), Query("text 3", vector(0.5, 1), "hybrid")):
        for filter in (None, *map(parse, FILTERS)):
            answers.append(rounded(await provider.query(CALL, store, replace(query, filter=filter, limit=50))))
    for after in (None, (7, "file-1-7")):
        answers.append(await provider.chunks(CALL, store, "file-1", after=after, limit=20))
    return answers


def rounded(hits: list[Hit]) -> list[Any]:
    """gRPC has scores of single precision."""
    return sorted((hit.chunk.id, round(hit.score, 5), hit.chunk) for hit in hits)


async def test_errors_of_grpc_are_errors_too() -> None:
    with running(ScriptedWeaviate(keys=("right",), graphql=False, grpc_web=True)) as server:
        store = new_store()
        async with started(server.url, weaviate_api_key="right") as provider:
            await provider.create_store(CALL, store)
            with pytest.raises(UpstreamError, match="query maximum results exceeded"):
                await GRPCWeb(cast(Any, provider.egress), {}).get(*collections.names(store), {"limit": 10_001}, (), ())
            with pytest.raises(UpstreamRejected, match="401: invalid api key") as refused:
                await provider.query(_brings("wrong"), store, NEAR)
            assert refused.value.status == 401
            server.collections["LlamaStackChunks16"].tenants.clear()
            with pytest.raises(NotFound, match=store.key):
                await provider.query(CALL, store, NEAR)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00", b"\x00\x00\x00\x00\x05abc", b"\x00\x00\x00\x00\x00", b"\x80\x00\x00\x00\x0dgrpc-status:x"],
)
async def test_an_answer_of_grpc_that_was_cut_is_an_error(data: bytes) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=data, content_type="application/grpc-web+proto")

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    async with TestServer(app) as server, started(str(server.make_url(""))) as provider:
        with pytest.raises(UpstreamError, match="something that Weaviate does not"):
            await GRPCWeb(cast(Any, provider.egress), {}).size("A", "b", "bytes")


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**31, 2**63 - 1])
def test_numbers_are_read_as_they_are_written(number: int) -> None:
    data = protobuf.encoded({1: number, 300: "ü", 3: {1: b"\x00"}, 4: ["a", "b"]})
    read = protobuf.decoded(data)
    assert protobuf.number(read, 1) == number
    assert (read[300], read[4]) == (["ü".encode()], [b"a", b"b"])
    assert protobuf.message(read, 3) == {1: [b"\x00"]}
    for cut in range(1, len(data)):
        with contextlib.suppress(protobuf.Broken):
            protobuf.decoded(data[:cut])


async def test_an_error_in_an_answer_of_status_200_is_an_error(provider: Weaviate, weaviate: ScriptedWeaviate) -> None:
    store = new_store()
    await provider.create_store(CALL, store)
    weaviate.fails = "store is read-only, no space left on device"
    with pytest.raises(UpstreamError, match="store is read-only"):
        await provider.insert(CALL, store, many(3))
    await provider.insert(CALL, store, many(3))
    assert len(await provider.query(CALL, store, NEAR)) == 3
    weaviate.graphql_fails = "shard is not ready"
    for asked in (provider.query(CALL, store, NEAR), provider.size(CALL, store), provider.chunks(CALL, store, "f")):
        with pytest.raises(UpstreamError, match="shard is not ready"):
            await asked


async def test_nothing_is_inserted_into_a_collection_that_is_not_there(
    provider: Weaviate, weaviate: ScriptedWeaviate
) -> None:
    """Weaviate would make one up."""
    store = new_store()
    with pytest.raises(NotFound, match=store.key):
        await provider.insert(CALL, store, many(1))
    await provider.create_store(CALL, store)
    weaviate.collections["LlamaStackChunks16"].tenants.clear()
    with pytest.raises(NotFound, match=store.key):
        await provider.insert(CALL, store, many(1))
    assert weaviate.made_up == []


async def test_a_store_of_another_dimension_is_told_from_none(provider: Weaviate) -> None:
    store = new_store()
    await provider.create_store(CALL, store)
    other = replace(store, dimension=8)
    with pytest.raises(Conflict, match="16 numbers"):
        await provider.create_store(CALL, other)
    with pytest.raises(BadRequest, match="16 numbers"):
        await provider.query(CALL, other, Query(vector=vector(1.0, dimension=8)))
    await provider.drop_store(CALL, other)
    with pytest.raises(NotFound):
        await provider.size(CALL, store)
    with pytest.raises(BadRequest, match="at most"):
        await provider.create_store(CALL, replace(store, dimension=100_000))


async def test_a_collection_of_the_same_name_without_tenants_is_left_alone(
    provider: Weaviate, weaviate: ScriptedWeaviate
) -> None:
    await provider.create_store(CALL, new_store())
    weaviate.collections["LlamaStackChunks16"].given["multiTenancyConfig"] = {"enabled": False}
    with pytest.raises(Unavailable, match="without multi-tenancy"):
        await provider.create_store(CALL, new_store())


async def test_more_are_deleted_than_one_request_deletes() -> None:
    store = new_store()
    with running(ScriptedWeaviate(most=100)) as server:
        async with started(server.url) as provider:
            await provider.create_store(CALL, store)
            await provider.insert(CALL, store, [*many(450), *many(5, "file-2")])
            assert await provider.delete(CALL, store, chunk_ids=["file-2-1", "none"], file_id="file-1") == 451
            assert (await provider.size(CALL, store)).chunks == 4


async def test_ids_and_names_may_be_long_and_of_any_letters(provider: Weaviate) -> None:
    store = replace(new_store("Mieter ü/\\ 🙂"), key="vs_" + "ü/ " * 80)
    await provider.create_store(CALL, store)
    ids = ["x" * 5000, "x" * 5000 + " ", "ü" * 255, " ", "A", "a", '"', "𝒳"]
    given = [chunk(id, file_id=" File/ü ", content="ü") for id in ids]
    await provider.insert(CALL, store, [*given, chunk("other", file_id=" file/ü ")])
    listed = [one.id for one in await provider.chunks(CALL, store, " File/ü ")]
    assert listed == sorted(ids)
    assert await provider.delete(CALL, store, chunk_ids=["A", " "]) == 2
    found = {hit.chunk.id for hit in await provider.query(CALL, store, NEAR)}
    assert found == {*ids, "other"} - {"A", " "}
