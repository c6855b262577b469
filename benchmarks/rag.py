"""The vector indexes that run here: how long a search takes, and how many of the right chunks it finds.

    python -m benchmarks.rag [--chunks 50000] [--searches 200] [--synthetic] [provider type …]

Documentation of the packages of this Python, embedded by MiniLM (with --synthetic: clustered vectors, at once). What is
right is told by comparing all vectors one by one. `part` is an attribute that a hundredth of the chunks share, `topic`
one that the hundredth has which is farthest from what is asked. Then the same chunks as a hundred stores of a hundred
tenants. Exits with 1 where a figure misses its aim.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import numpy
import psycopg

from apps.vector_io.filters import Filter, parse
from apps.vector_io.protocol import Chunk, Hit, Query, Store, VectorIO
from benchmarks._embedded import Vectors, embedded
from benchmarks._texts import clustered, composed, texts
from llamastack.apis import Api
from llamastack.call import ANONYMOUS_ADMIN, Call
from llamastack.providers import load, specs
from llamastack.services import start

CALL = Call(ANONYMOUS_ADMIN)
BATCH = 1000
PARTS = 100
TENANTS = 100
INDEXED = 20_000  # chunks of a store that surely has an index
LONGEST_MS = 10.0
QUICK = ("inline::faiss", "remote::pgvector")  # of which so much is asked
LEAST_RECALL, LEAST_FILTERED = 0.97, 0.95


@dataclass
class Corpus:
    chunks: list[Chunk]
    vectors: Vectors  # of the chunks, at length 1
    asked: list[str]
    wanted: Vectors

    def right(self, search: int, limit: int, among: Sequence[int] | None = None) -> set[str]:
        """The ids of the nearest, of all or of those places."""
        places = numpy.arange(len(self.chunks)) if among is None else numpy.asarray(among)
        scores = self.vectors[places] @ self.wanted[search]
        return {self.chunks[places[place]].id for place in numpy.argsort(-scores)[:limit]}


def corpus(count: int, searches: int, synthetic: bool) -> Corpus:
    found = composed(count + searches) if synthetic else texts(count + searches)
    vectors = clustered(len(found)) if synthetic else embedded(found)
    vectors = vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True)
    topics = numpy.argsort(vectors[:count] @ vectors[0])  # how near each is to one of them
    topic = {int(place): rank * PARTS // count for rank, place in enumerate(topics)}
    chunks = [
        Chunk(
            f"chunk-{n}",
            found[n],
            file_id=f"file-{n // 50}",
            position=n % 50,
            attributes={"part": n % PARTS, "topic": topic[n]},
            embedding=vectors[n],
        )
        for n in range(count)
    ]
    return Corpus(chunks, vectors[:count], found[count:], vectors[count:])


@asynccontextmanager
async def started(provider_type: str, config: dict[str, Any]) -> AsyncIterator[VectorIO]:
    kind = load(specs(Api.vector_io)[provider_type])
    provider = kind("bench", kind.config_class.model_validate(config))
    await provider.start()
    try:
        yield cast(VectorIO, provider)
    finally:
        await provider.stop()


async def filled(provider: VectorIO, store: Store, chunks: Sequence[Chunk]) -> float:
    """Chunks a second."""
    await provider.create_store(CALL, store)
    began = time.perf_counter()
    for place in range(0, len(chunks), BATCH):
        await provider.insert(CALL, store, chunks[place : place + BATCH])
    return len(chunks) / (time.perf_counter() - began)


async def until_indexed(database: str) -> float:
    """Seconds until PostgreSQL has built what was begun behind the insertions."""
    began = time.perf_counter()
    found = "SELECT count(*) FILTER (WHERE NOT indisvalid), count(*) FROM pg_index JOIN pg_class ON oid = indexrelid "
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        while True:
            answer = await connection.execute(found + "WHERE relname LIKE 'store_%_near'")
            if await answer.fetchone() == (0, 1):
                return time.perf_counter() - began
            await asyncio.sleep(0.5)


class Searches:
    """Some searches one by one: the milliseconds of each, and what was found."""

    def __init__(self) -> None:
        self.milliseconds: list[float] = []
        self.recalls: list[float] = []

    async def ask(self, provider: VectorIO, store: Store, query: Query) -> list[Hit]:
        began = time.perf_counter()
        hits = await provider.query(CALL, store, query)
        self.milliseconds.append((time.perf_counter() - began) * 1000)
        return hits

    def found(self, hits: Sequence[Hit], right: set[str]) -> None:
        self.recalls.append(len({hit.chunk.id for hit in hits} & right) / len(right))

    @property
    def p50(self) -> float:
        return statistics.median(self.milliseconds)

    @property
    def recall(self) -> float:
        return statistics.mean(self.recalls)

    def told(self) -> str:
        p95 = sorted(self.milliseconds)[int(0.95 * len(self.milliseconds))]
        recall = f", recall {self.recall:.4f}" if self.recalls else ""
        return f"p50 {self.p50:6.2f} ms, p95 {p95:6.2f} ms{recall}"


class Bench:
    def __init__(self, provider_type: str, provider: VectorIO, known: Corpus) -> None:
        self.provider_type, self.provider, self.known = provider_type, provider, known
        self.missed: list[str] = []

    def tell(self, name: str, searches: Searches, least: float = 0.0, longest: float = float("inf")) -> None:
        wrong = searches.p50 > longest or (bool(searches.recalls) and searches.recall < least)
        print(f"{self.provider_type:20} {name:28} {searches.told()}{'   MISSED' if wrong else ''}", flush=True)
        if wrong:
            self.missed.append(f"{self.provider_type}, {name}: {searches.told()}")

    async def nearest(self, store: Store) -> None:
        searches = Searches()
        for number, vector in enumerate(self.known.wanted):
            hits = await searches.ask(self.provider, store, Query(vector=vector))
            searches.found(hits, self.known.right(number, 10))
        self.tell("nearest 10", searches, LEAST_RECALL, LONGEST_MS if self.provider_type in QUICK else float("inf"))

    async def filtered(self, store: Store, key: str) -> None:
        searches = Searches()
        for number, vector in enumerate(self.known.wanted):
            value = number % PARTS
            among = [n for n, chunk in enumerate(self.known.chunks) if chunk.attributes[key] == value]
            hits = await searches.ask(self.provider, store, Query(vector=vector, limit=5, filter=same(key, value)))
            searches.found(hits, self.known.right(number, 5, among))
        self.tell(f"nearest 5 of 1 %, by {key}", searches, LEAST_FILTERED)

    async def half(self, store: Store) -> None:
        """A filter that keeps many: too many to be compared one by one."""
        searches = Searches()
        among = [n for n, chunk in enumerate(self.known.chunks) if cast(int, chunk.attributes["part"]) < PARTS // 2]
        filter = parse({"type": "lt", "key": "part", "value": PARTS // 2})
        for number, vector in enumerate(self.known.wanted):
            hits = await searches.ask(self.provider, store, Query(vector=vector, filter=filter))
            searches.found(hits, self.known.right(number, 10, among))
        self.tell("nearest 10 of 50 %", searches, LEAST_FILTERED)

    async def worded(self, store: Store, mode: Any) -> None:
        searches = Searches()
        for text, vector in zip(self.known.asked, self.known.wanted, strict=True):
            asked = " ".join(text.split()[:12])
            await searches.ask(self.provider, store, Query(asked, vector, mode))
        self.tell(f"{mode}, 12 words", searches)

    async def tenants(self) -> None:
        """A hundred stores of one key, each with its part of the chunks."""
        stores = [Store("vs_same", f"tenant-{n}", self.known.vectors.shape[1]) for n in range(TENANTS)]
        for n, store in enumerate(stores):
            await filled(self.provider, store, self.known.chunks[n::TENANTS])
        searches = Searches()
        for number, vector in enumerate(self.known.wanted):
            n = number % TENANTS
            among = range(n, len(self.known.chunks), TENANTS)
            hits = await searches.ask(self.provider, stores[n], Query(vector=vector))
            searches.found(hits, self.known.right(number, 10, among))
        self.tell(f"nearest 10, {TENANTS} tenants", searches, LEAST_RECALL)
        for store in stores:
            await self.provider.drop_store(CALL, store)


def same(key: str, value: int) -> Filter:
    return parse({"type": "eq", "key": key, "value": value})


async def measured(provider_type: str, config: dict[str, Any], known: Corpus, database: str) -> list[str]:
    async with started(provider_type, config) as provider:
        bench = Bench(provider_type, provider, known)
        store = Store("vs_bench", "default", known.vectors.shape[1])
        rate = await filled(provider, store, known.chunks)
        print(f"{provider_type:20} {rate:,.0f} chunks/s inserted", flush=True)
        if provider_type == "remote::pgvector" and len(known.chunks) >= INDEXED:
            print(f"{provider_type:20} the index {await until_indexed(database):.1f} s later", flush=True)
        await bench.provider.query(CALL, store, Query(vector=known.wanted[0]))  # an index in memory is made now
        await bench.nearest(store)
        for key in ("part", "topic"):
            await bench.filtered(store, key)
        await bench.half(store)
        for mode in ("keyword", "hybrid"):
            await bench.worded(store, mode)
        again = [replace(chunk, content=f"{chunk.content}.") for chunk in known.chunks[:BATCH]]
        began = time.perf_counter()
        await provider.insert(CALL, store, again)
        print(f"{provider_type:20} {BATCH / (time.perf_counter() - began):,.0f} chunks/s replaced", flush=True)
        await bench.tenants()
        return bench.missed


def of_database(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    return {
        "host": parts.hostname,
        "port": parts.port,
        "db": parts.path[1:],
        "user": parts.username,
        "password": parts.password,
    }


async def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--chunks", type=int, default=50_000)
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--synthetic", action="store_true")
    parser.add_argument("types", nargs="*", default=["inline::faiss", "remote::pgvector", "inline::sqlite-vec"])
    options = parser.parse_args()
    known = corpus(options.chunks, options.searches, options.synthetic)
    missed: list[str] = []
    with tempfile.TemporaryDirectory() as folder, start(redis=False) as services:
        configs = {
            "inline::faiss": {"storage_dir": str(Path(folder) / "faiss")},
            "inline::sqlite-vec": {"db_path": str(Path(folder) / "sqlite_vec.db")},
            "remote::pgvector": of_database(services.database_url),
        }
        for provider_type in options.types:
            missed += await measured(provider_type, configs[provider_type], known, services.database_url)
    print("\n".join(missed))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
