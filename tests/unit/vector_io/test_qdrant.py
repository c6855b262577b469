"""What the contract does not reach, of Qdrant's server and of its engine here."""

import asyncio
import itertools
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from apps.vector_io.filters import COMPARISONS, ORDERED, Comparison, Scalar, matches, parse
from apps.vector_io.protocol import Query, Store
from apps.vector_io.providers.inline.qdrant.provider import Qdrant as Here
from apps.vector_io.providers.inline.qdrant.provider import QdrantConfig as HereConfig
from apps.vector_io.providers.qdrant import sparse, where
from apps.vector_io.providers.remote.qdrant import server as remote
from apps.vector_io.providers.remote.qdrant.config import QdrantConfig
from apps.vector_io.providers.remote.qdrant.provider import Qdrant
from apps.vector_io.providers.stems import stem
from llamastack.errors import BadRequest, Conflict, NotFound, Unavailable
from llamastack.providers import ProviderUnavailable
from tests.conformance.vector_stores import CALL, chunk, many, new_store, vector
from tests.qdrant import KEY, ScriptedQdrant, serving
from tests.servers import ROOT

HOLDING = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
async def server() -> AsyncIterator[ScriptedQdrant]:
    async with serving() as running:
        yield running


def made(server: ScriptedQdrant, **config: Any) -> Qdrant:
    return Qdrant("vectors", QdrantConfig(**{"url": server.url, "api_key": KEY, **config}))


@pytest.fixture
async def vectors(server: ScriptedQdrant) -> AsyncIterator[Qdrant]:
    one = made(server)
    await one.start()
    yield one
    await one.stop()


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Here]:
    one = Here("vectors", HereConfig(path=str(tmp_path / "kept")))
    await one.start()
    yield one
    await one.stop()


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ({}, "http://localhost:6333"),
        ({"url": "https://cloud.example"}, "https://cloud.example:6333"),
        ({"url": "https://cloud.example:443/behind/"}, "https://cloud.example:443/behind"),
        ({"location": "http://qdrant:7000", "prefix": "/there"}, "http://qdrant:7000/there"),
        ({"host": "qdrant", "port": 7000}, "http://qdrant:7000"),
        ({"host": "qdrant", "api_key": "key"}, "https://qdrant:6333"),
        ({"host": "qdrant", "api_key": "key", "https": False, "url": ""}, "http://qdrant:6333"),
    ],
)
def test_the_server_is_named_as_qdrants_client_is_told_it(given: dict[str, Any], address: str) -> None:
    config = QdrantConfig(**given, grpc_port=1, prefer_grpc=True)
    assert str(Qdrant("vectors", config).address()).removesuffix(":443") == address.replace(":443", "")


@pytest.mark.parametrize(
    "given",
    [
        {"location": ":memory:"},
        {"url": "ftp://secret@host"},
        {"url": "http://"},
        {"url": "http://one", "host": "other"},
        {"collection_prefix": "a/b"},
    ],
)
def test_what_names_no_server_is_refused_and_not_repeated(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        QdrantConfig(**given)
    assert "secret" not in str(refused.value.errors(include_input=False, include_context=False))


async def test_a_missing_and_a_wrong_key_are_the_operators_to_mend(server: ScriptedQdrant) -> None:
    for key in (None, "wrong"):
        with pytest.raises(ProviderUnavailable, match="401"):
            await made(server, api_key=key).start()


async def test_a_server_that_is_too_old_or_none_of_qdrants_is_refused(server: ScriptedQdrant) -> None:
    server.version = "1.11.3"
    with pytest.raises(ProviderUnavailable, match=r"1\.12"):
        await made(server).start()
    server.version = "latest"
    with pytest.raises(ProviderUnavailable, match="as no Qdrant does"):
        await made(server).start()


async def test_a_server_that_went_away_is_unavailable(server: ScriptedQdrant) -> None:
    vectors = made(server, url="http://127.0.0.1:9")
    with pytest.raises(ProviderUnavailable, match="vectors"):
        await vectors.start()
    one = made(server)
    await one.start()
    server.api_key = "another now"
    with pytest.raises(Unavailable, match="401"):
        await one.size(CALL, new_store())
    assert "401" in (await one.health()).message
    await one.stop()


async def test_words_are_as_rare_as_in_the_store_where_qdrant_can_tell(server: ScriptedQdrant) -> None:
    """Another tenant's chunks are full of one word."""
    scores = {}
    for version in ("1.18.2", "1.19.0"):
        server.version = version
        one = made(server, collection_prefix=f"of_{version.replace('.', '_')}")
        await one.start()
        mine, other = new_store("mine"), new_store("other")
        await one.create_store(CALL, mine)
        await one.insert(CALL, mine, [chunk("a", content="cat"), chunk("b", content="dog")])
        before = await one.query(CALL, mine, Query("cat", mode="keyword"))
        await one.create_store(CALL, other)
        await one.insert(CALL, other, [chunk(str(n), content="cat") for n in range(20)])
        scores[version] = before == await one.query(CALL, mine, Query("cat", mode="keyword"))
        await one.stop()
    assert scores == {"1.18.2": False, "1.19.0": True}


async def test_a_collection_of_another_shape_is_left_alone(server: ScriptedQdrant, vectors: Qdrant) -> None:
    await vectors.server.put("collections/llama_stack_16", {"vectors": {"embedding": {"size": 8, "distance": "Dot"}}})
    with pytest.raises(Conflict, match="another collection_prefix"):
        await vectors.create_store(CALL, new_store())


async def test_a_creation_that_never_ended_is_ended(server: ScriptedQdrant, vectors: Qdrant) -> None:
    await vectors.create_store(CALL, new_store())
    del server.indexes["llama_stack_16"]["matched"]
    await vectors.create_store(CALL, new_store())
    assert "matched" in server.indexes["llama_stack_16"]
    assert server.indexes["llama_stack_16"]["store"]["is_tenant"]


async def test_what_is_inserted_while_its_store_is_dropped_is_taken_back(
    server: ScriptedQdrant, vectors: Qdrant
) -> None:
    store = new_store()
    await vectors.create_store(CALL, store)
    other = made(server)
    await other.start()

    async def drop() -> None:
        server.before.clear()
        await other.drop_store(CALL, store)

    server.before["llama_stack_16/points"] = drop
    with pytest.raises(NotFound, match=store.key):
        await vectors.insert(CALL, store, [chunk("a")])
    assert (await server.client.count("llama_stack_16")).count == 0
    await other.stop()


async def test_an_insertion_of_many_bytes_is_several_requests(server: ScriptedQdrant, vectors: Qdrant) -> None:
    store = new_store()
    await vectors.create_store(CALL, store)
    server.asked.clear()
    await vectors.insert(CALL, store, [replace(one, content="x" * (remote.MOST_BYTES // 3)) for one in many(5)])
    assert server.asked.count("PUT /collections/llama_stack_16/points?wait=true") == 3
    assert (await vectors.size(CALL, store)).chunks == 5


async def test_an_engine_that_dies_starts_anew_with_what_it_has_answered(here: Here) -> None:
    store = new_store()
    await here.create_store(CALL, store)
    await here.insert(CALL, store, many(5))
    assert here.engine is not None
    assert here.engine.process_id is not None
    os.kill(here.engine.process_id, signal.SIGKILL)
    with pytest.raises(Unavailable, match="Try again"):
        await here.size(CALL, store)
    assert (await here.size(CALL, store)).chunks == 5


async def test_a_folder_that_another_process_has_open_is_refused(tmp_path: Path) -> None:
    """After the time that a process has, whose server was killed, to end what it does."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(tmp_path / "lock")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert await asyncio.to_thread(holder.stdout.readline) == b"held\n"
    one = Here("vectors", HereConfig(path=str(tmp_path)))
    one.lock_seconds = 0.1
    with pytest.raises(ProviderUnavailable, match="Another process has"):
        await one.start()
    await asyncio.to_thread(holder.communicate)
    await one.start()
    await one.stop()


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ProviderUnavailable, match="cannot be used"):
        await Here("vectors", HereConfig(path=str(tmp_path / "file" / "below"))).start()


async def test_ids_may_be_of_any_text_and_length(here: Here, vectors: Qdrant) -> None:
    ids = ["x" * 10_000, "東京 🙂 '\"\\", "", "x" * 9_999]
    for one in (here, vectors):
        store = Store("vs_🙂" + "k" * 500, "tenant/../" + "t" * 500, 16)
        await one.create_store(CALL, store)
        await one.insert(CALL, store, [chunk(id, file_id="f" * 1000, attributes={"k" * 600: id}) for id in ids])
        assert {each.id for each in await one.chunks(CALL, store, "f" * 1000)} == set(ids)
        filter = parse({"type": "eq", "key": "other", "value": 1})
        assert await one.query(CALL, store, Query(vector=vector(1.0), filter=filter)) == []
        assert await one.delete(CALL, store, chunk_ids=ids) == 4
        await one.drop_store(CALL, store)


VALUES: list[Scalar] = [0, -0.0, 1, -1, 2024, 2024.5, 1e300, -1.5e300, 5e-324, 10**30, True, False, 16, 15, 256]
VALUES += ["", "a", "ab", "aa", "Zoë", "zoë", "\x01", "a\x01", "Ω", "p", "p ", "🙂" * 3, "x" * 200, "x" * 63, "1"]


def kept(condition: where.Condition, matched: set[str]) -> bool:
    """As Qdrant reads it (https://qdrant.tech/documentation/concepts/filtering/)."""
    if match := condition.get("match"):
        return not matched.isdisjoint(match["any"]) if "any" in match else match["value"] in matched
    wanted, unwanted = ([kept(part, matched) for part in condition.get(name, [])] for name in ("must", "must_not"))
    return all(wanted) and not any(unwanted)


def test_values_are_compared_as_everywhere() -> None:
    numbers = random.Random(1)
    values = [*VALUES, *(numbers.uniform(-1000, 1000) for _ in range(20))]
    for value, found in itertools.product(values, values):
        matched = set(where.indexed({"key": found, "other": 1}))
        for operator in COMPARISONS:
            if operator in ORDERED and (isinstance(value, bool) or len(str(value)) > 100):
                continue
            comparison = Comparison("key", operator, (value,) if operator in ("in", "nin") else value)
            right = matches(comparison, {"key": found, "other": 1})
            assert kept(where.condition(comparison), matched) is right, (operator, value, found)


def test_a_text_that_is_too_long_to_be_ordered_by_is_refused() -> None:
    with pytest.raises(BadRequest, match="less than 64 bytes"):
        where.condition(Comparison("key", "gt", "x" * 64))


def test_words_lose_their_endings_and_accents() -> None:
    words = [
        "Searching",
        "searches",
        "ponies",
        "relational",
        "hopping",
        "controlling",
        "agreed",
        "sky",
        "Zürich",
        "東京",
    ]
    stems = ["search", "search", "poni", "relat", "hop", "control", "agre", "sky", "zurich", "東京"]
    assert [stem(word) for word in words] == stems


def test_a_word_counts_less_in_a_long_text_and_more_where_it_stands_often() -> None:
    once, twice, long = (sparse.of_chunk(text)["values"][0] for text in ("cat", "cat cat", "cat" + " dog" * 500))
    assert long < once < twice
    assert sparse.of_chunk("?!") == {"indices": [], "values": []}
