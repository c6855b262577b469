"""The vector indexes that run here: how long a search takes, and how many of the right chunks it finds.

    python -m benchmarks.rag [--chunks 50000] [--searches 200] [--synthetic] [--write] [provider type …]

Documentation of the packages of this Python, embedded by MiniLM (with --synthetic: clustered vectors, at once). What is
right is told by comparing all vectors one by one. `part` is an attribute that a hundredth of the chunks share, `topic`
one that the hundredth has which is farthest from what is asked. Then the same chunks as a hundred stores of a hundred
tenants; how high searches rank what is right (_ranking.py), and how fast files are read by the API (_ingestion.py).
Vectors are kept in the user's cache (`python -m benchmarks._embedded` computes them ahead). Exits with 1 where a figure
misses its aim.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import psycopg

from apps.vector_io.filters import Filter, parse
from apps.vector_io.protocol import Chunk, Hit, Query, Store, VectorIO
from benchmarks import _figures, _ingestion
from benchmarks._corpus import PARTS, Corpus, corpus
from benchmarks._ranking import MODES, Pairs, pairs, told
from benchmarks._texts import texts
from llamastack.apis import Api
from llamastack.call import ANONYMOUS_ADMIN, Call
from llamastack.providers import load, specs
from llamastack.services import Services, start
from tests import chroma, milvus
from tests.servers import ROOT

CALL = Call(ANONYMOUS_ADMIN)
BATCH = 1000
TENANTS = 100
INDEXED = 20_000  # chunks of a store that surely has an index
LONGEST_MS = 10.0
QUICK = ("inline::faiss", "remote::pgvector")  # of which so much is asked
PAGE = ROOT / "docs/performance.md"
SEARCHED = (
    "nearest 10",
    "5 of 1 %",
    "5 of 1 %, the farthest",
    "10 of 50 %",
    "keywords",
    "hybrid",
    f"{TENANTS} tenants",
)
COLUMNS = ("p50 ms, recall", "chunks", "chunks/s inserted", *SEARCHED)
RANKED = ("nDCG@10", *MODES)
OTHERS = "inline::chromadb", "inline::milvus", "remote::chromadb", "remote::milvus"
FEWER, SELDOM = 5000, 50  # chunks and searches of the others, whose engines would take hours here
UNRANKED = ("inline::milvus", "remote::milvus")  # half a second a search by words, of which there are thousands
LEAST_RECALL, LEAST_FILTERED = 0.97, 0.95


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
        self.cells: list[str] = []

    def tell(self, name: str, searches: Searches, least: float = 0.0, longest: float = float("inf")) -> None:
        wrong = searches.p50 > longest or (bool(searches.recalls) and searches.recall < least)
        print(f"{self.provider_type:20} {name:28} {searches.told()}{'   MISSED' if wrong else ''}", flush=True)
        found = f", {100 * searches.recall:.1f} %" if searches.recalls else ""
        self.cells.append(f"{searches.p50:.1f}{found}{' (MISSED)' if wrong else ''}")
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


async def measured(provider_type: str, config: dict[str, Any], known: Corpus, database: str) -> Bench:
    async with started(provider_type, config) as provider:
        bench = Bench(provider_type, provider, known)
        store = Store("vs_bench", "default", known.vectors.shape[1])
        rate = await filled(provider, store, known.chunks)
        print(f"{provider_type:20} {rate:,.0f} chunks/s inserted", flush=True)
        bench.cells.append(f"{rate:,.0f}")
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
        return bench


async def ranked(provider_type: str, config: dict[str, Any], known: Pairs) -> tuple[str, list[str]]:
    async with started(provider_type, config) as provider:
        return await told(provider_type, provider, known)


def of_database(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    return {
        "host": parts.hostname,
        "port": parts.port,
        "db": parts.path[1:],
        "user": parts.username,
        "password": parts.password,
    }


def configs(folder: Path, services: Services, stack: ExitStack) -> dict[str, Callable[[], dict[str, Any]]]:
    """Of those that run here, in the order of their table."""

    def in_folder(name: str, key: str, ending: str = "") -> Callable[[], dict[str, Any]]:
        return lambda: {key: str(folder / f"{name}{ending}")}

    def in_chroma() -> dict[str, Any]:
        return {"url": stack.enter_context(chroma.running()).url}

    def in_milvus() -> dict[str, Any]:
        home = folder / "milvus-server"
        home.mkdir()
        return {"uri": stack.enter_context(milvus.serving(home)).url}

    return {
        "inline::faiss": in_folder("faiss", "storage_dir"),
        "remote::pgvector": lambda: of_database(services.database_url),
        "inline::sqlite-vec": in_folder("sqlite_vec", "db_path", ".db"),
        "inline::chromadb": in_folder("chroma", "db_path", ".db"),
        "inline::qdrant": in_folder("qdrant", "path"),
        "inline::milvus": in_folder("milvus", "db_path", ".db"),
        "remote::chromadb": in_chroma,
        "remote::milvus": in_milvus,
    }


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--chunks", type=int, default=50_000)
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--ingested", type=int, default=5000, help="texts in the files that are read")
    parser.add_argument("--synthetic", action="store_true", help="vectors at once, and neither ranking nor ingestion")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/")
    parser.add_argument("types", nargs="*")
    return parser.parse_args()


async def main() -> int:
    options, machine = parsed(), _figures.machine()
    print(machine, flush=True)
    known = corpus(options.chunks, options.searches, options.synthetic)
    fewer = corpus(min(FEWER, options.chunks), min(SELDOM, options.searches), options.synthetic)
    sections = None if options.synthetic else pairs()
    missed: list[str] = []
    rows, ranks = [], []
    with tempfile.TemporaryDirectory() as name, start(redis=False) as services, ExitStack() as stack:
        folder = Path(name)
        known_configs = configs(folder, services, stack)
        for provider_type in options.types or known_configs:
            config = known_configs[provider_type]()
            asked = fewer if provider_type in OTHERS else known
            bench = await measured(provider_type, config, asked, services.database_url)
            missed += bench.missed
            rows.append(f"| `{provider_type}` | {len(asked.chunks):,} | {' | '.join(bench.cells)} |")
            if sections is not None and provider_type not in UNRANKED:
                row, problems = await ranked(provider_type, config, sections)
                ranks.append(row)
                missed += problems
    told_tables = [*table(COLUMNS, rows), ""]
    if sections is not None:
        told_tables += [*table(RANKED, ranks), ""]
        with tempfile.TemporaryDirectory() as name:
            line, problems = await _ingestion.measured(texts(options.ingested), Path(name))
        told_tables.append(f"{line}.")
        missed += problems
    text = "\n".join([f"{machine}.", "", *told_tables])
    print(text, *missed, sep="\n")
    if options.write:
        _figures.write(PAGE, "rag", text)
    return 1 if missed else 0


def table(columns: Sequence[str], rows: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *rows]


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
