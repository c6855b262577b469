"""Vector stores of OGX beside ours, through the API that both have: `make bench-peers` tells them.

An upstream on the loopback has the vectors of all texts ready, so that neither server computes any: chunks are inserted
with theirs by POST /v1/vector-io/insert, and a search, by POST /v1/vector_stores/{id}/search, asks it for the query's.
"""

import asyncio
import base64
import json
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
from aiohttp import web

from benchmarks._corpus import PARTS, Corpus
from benchmarks._figures import Figure
from benchmarks._peers import JSON, OGX, UV, Started
from benchmarks._python import Missing, run
from tests.servers import environment, free_port, starting

MODEL = "vectors"
NAME = f"sky/{MODEL}"
KINDS = {"inline::faiss": "faiss-cpu", "inline::sqlite-vec": "sqlite-vec"}
TOKENIZER = "litellm==1.106.2"  # a package that has the file of tiktoken, without which OGX does not start
WORDS = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"  # which tiktoken names so: of cl100k_base
INSERTED = 500  # chunks of a request
SEARCHES = 100
READY_SECONDS = 90.0
ID = "as-chunk"  # of a chunk's metadata: OGX's answers have no chunk_id
COLUMNS = ("", "", "chunks/s inserted", "search p50 ms", "p95 ms", "recall@10", "recall@5 of 1 %")
LEAST = 0.95
RUN = """
version: 2
image_name: vectors
apis: [inference, vector_io]
providers:
  inference:
  - {{provider_id: sky, provider_type: remote::openai, config: {{base_url: "{url}", api_key: any}}}}
  vector_io:
  - {{provider_id: faiss, provider_type: inline::faiss}}
  - {{provider_id: sqlite-vec, provider_type: inline::sqlite-vec}}
models:
- {{model_id: {name}, provider_id: sky, provider_model_id: {model}, model_type: embedding,
   metadata: {{embedding_dimension: {dimension}}}}}
"""


class OGXVectors(OGX):
    """With its two providers that need no server, and what they import."""

    name: ClassVar[str] = "OGX-vectors"
    packages = ("ogx==1.5.0", "faiss-cpu", "sqlite-vec", "chardet", "pypdf", "numpy")
    dimension = 0

    def fetch(self) -> None:
        version = run([*self.python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]).strip()
        where = ["--target", str(self.folder / "site"), "--python-version", version]
        run([UV, "pip", "install", "--quiet", "--only-binary", ":all:", *where, *self.packages])
        run([UV, "pip", "install", "--quiet", "--no-deps", "--target", str(self.folder / "litellm"), TOKENIZER])

    def started(self, url: str, port: int, state: Path) -> Started:
        started = super().started(url, port, state)
        [words] = (self.folder / "litellm").rglob(WORDS)
        return Started(started.command, {**started.variables, "TIKTOKEN_CACHE_DIR": str(words.parent)})

    def _config(self, url: str, port: int, state: Path) -> JSON:
        config = super()._config(url, port, state)
        kept = {name: {"backend": "kv_default", "namespace": f"vector_io::{name}"} for name in ("faiss", "sqlite_vec")}
        sqlite = {"db_path": str(state / "sqlite_vec.db"), "persistence": kept["sqlite_vec"]}
        config["apis"] = ["inference", "vector_io"]
        config["providers"]["vector_io"] = [
            {"provider_id": "faiss", "provider_type": "inline::faiss", "config": {"persistence": kept["faiss"]}},
            {"provider_id": "sqlite-vec", "provider_type": "inline::sqlite-vec", "config": sqlite},
        ]
        model = {"model_id": MODEL, "provider_id": "sky", "provider_model_id": MODEL, "model_type": "embedding"}
        config["registered_resources"]["models"] = [{**model, "metadata": {"embedding_dimension": self.dimension}}]
        return config


@dataclass
class Measured:
    """What one server's store has shown."""

    rate: float = 0.0
    milliseconds: list[float] = field(default_factory=list)
    found: list[float] = field(default_factory=list)
    kept: list[float] = field(default_factory=list)

    @property
    def p50(self) -> float:
        return statistics.median(self.milliseconds)

    def row(self, name: str, kind: str) -> str:
        p95 = sorted(self.milliseconds)[int(0.95 * len(self.milliseconds))]
        recalls = [f"{statistics.mean(one):.3f}" for one in (self.found, self.kept)]
        return f"| {' | '.join([name, kind, f'{self.rate:,.0f}', f'{self.p50:.1f}', f'{p95:.1f}', *recalls])} |"


class Server:
    """One of the two, with a store of each kind."""

    def __init__(self, name: str, http: aiohttp.ClientSession, known: Corpus) -> None:
        self.name, self.http, self.known = name, http, known
        self.stores: dict[str, str] = {}
        self.measured = {kind: Measured() for kind in KINDS}

    async def asked(self, path: str, body: JSON) -> Any:
        async with self.http.post(path, data=json.dumps(body)) as answer:
            text = await answer.text()
            if answer.status not in (200, 204):
                raise Missing(f"{self.name}'s {path} answered {answer.status}: {text[:300]}")
            return json.loads(text) if text else None

    async def fill(self, kind: str) -> None:
        made = {"embedding_model": NAME, "embedding_dimension": self.known.vectors.shape[1]}
        provider_id = kind.partition("::")[2]
        store = await self.asked("/v1/vector_stores", {"name": kind, "provider_id": provider_id, **made})
        self.stores[kind] = store["id"]
        bodies = [
            {"vector_store_id": store["id"], "chunks": [self._chunk(n, made) for n in range(start, end)]}
            for start, end in pieces(len(self.known.chunks))
        ]
        began = time.perf_counter()
        for body in bodies:
            await self.asked("/v1/vector-io/insert", body)
        self.measured[kind].rate = len(self.known.chunks) / (time.perf_counter() - began)

    def _chunk(self, number: int, made: JSON) -> JSON:
        chunk = self.known.chunks[number]
        metadata = {"document_id": chunk.file_id, ID: chunk.id, **chunk.attributes}
        about = {"chunk_id": chunk.id, "document_id": chunk.file_id}
        vector = [float(value) for value in self.known.vectors[number]]
        given = {"content": chunk.content, "chunk_id": chunk.id, "metadata": metadata, "chunk_metadata": about}
        return {**given, "embedding": vector, **made}

    async def search(self, kind: str, number: int) -> None:
        measured, body = self.measured[kind], {"query": self.known.asked[number], "max_num_results": 10}
        began = time.perf_counter()
        hits = await self._hits(kind, body)
        measured.milliseconds.append((time.perf_counter() - began) * 1000)
        measured.found.append(share(hits, self.known.right(number, 10)))

    async def search_filtered(self, kind: str, number: int) -> None:
        value = number % PARTS
        among = [n for n, chunk in enumerate(self.known.chunks) if chunk.attributes["topic"] == value]
        filters = {"type": "eq", "key": "topic", "value": value}
        hits = await self._hits(kind, {"query": self.known.asked[number], "max_num_results": 5, "filters": filters})
        self.measured[kind].kept.append(share(hits, self.known.right(number, 5, among)))

    async def _hits(self, kind: str, body: JSON) -> set[str]:
        page = await self.asked(f"/v1/vector_stores/{self.stores[kind]}/search", {**body, "search_mode": "vector"})
        return {str(hit["attributes"][ID]) for hit in page["data"]}


def share(found: set[str], right: set[str]) -> float:
    return len(found & right) / len(right)


def pieces(count: int) -> list[tuple[int, int]]:
    return [(start, min(start + INSERTED, count)) for start in range(0, count, INSERTED)]


async def compared(known: Corpus, folder: Path) -> tuple[list[str], list[Figure]]:
    """The table, and the figures. Raises Missing where OGX cannot be had."""
    peer = OGXVectors()
    peer.dimension = known.vectors.shape[1]
    peer.install()
    homes = made(folder)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(upstream(known))
        servers = [
            await stack.enter_async_context(ours(url, homes[0], known)),
            await stack.enter_async_context(theirs(peer, url, homes[1], known)),
        ]
        for kind in KINDS:
            for server in servers:
                await server.fill(kind)
            for number in range(min(SEARCHES, len(known.asked))):
                for server in random.sample(servers, 2):
                    await server.search(kind, number)
                    await server.search_filtered(kind, number)
    rows = [server.measured[kind].row(server.name, kind) for kind in KINDS for server in servers]
    table = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", *rows]
    return table, [figure for kind in KINDS for figure in figures(kind, *(server.measured[kind] for server in servers))]


def made(folder: Path) -> list[Path]:
    homes = [folder / "ours", folder / "ogx"]
    for home in homes:
        home.mkdir()
    return homes


def figures(kind: str, mine: Measured, other: Measured) -> list[Figure]:
    kept, others = statistics.mean(mine.kept), statistics.mean(other.kept)
    return [
        Figure(f"{kind}: chunks/s inserted, of OGX's", 1, None, mine.rate / other.rate, "×", more=True),
        Figure(f"{kind}: search p50, of OGX's", 1, None, mine.p50 / other.p50, "×"),
        Figure(f"{kind}: recall@5 of 1 %, OGX has {others:.3f}", max(LEAST, others), None, kept, more=True),
    ]


@asynccontextmanager
async def upstream(known: Corpus) -> AsyncIterator[str]:
    """POST /v1/embeddings, of the texts that are known. It is in this process, which waits meanwhile."""
    contents = [chunk.content for chunk in known.chunks]
    vectors = dict(zip([*contents, *known.asked], [*known.vectors, *known.wanted], strict=True))

    async def answered(request: web.Request) -> web.Response:
        asked = await request.json()
        texts = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
        found = [vectors.get(text, known.wanted[0]) for text in texts]
        rows = [encoded(vector, asked.get("encoding_format")) for vector in found]
        data = [{"object": "embedding", "index": place, "embedding": row} for place, row in enumerate(rows)]
        usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
        return web.json_response({"object": "list", "model": MODEL, "data": data, "usage": usage})

    async def listed(request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0}]})

    app = web.Application()
    app.router.add_post("/v1/embeddings", answered)
    app.router.add_get("/v1/models", listed)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        await runner.cleanup()


def encoded(vector: Any, form: str | None) -> Any:
    row = vector.astype("<f4")
    return base64.b64encode(row.tobytes()).decode() if form == "base64" else row.tolist()


def written(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text)
    return path


@asynccontextmanager
async def ours(url: str, folder: Path, known: Corpus) -> AsyncIterator[Server]:
    config = written(folder, RUN.format(url=url, name=NAME, model=MODEL, dimension=known.vectors.shape[1]))
    port = free_port()
    command = [sys.executable, "-m", "llamastack.cli", "stack", "run", str(config), "--port", str(port)]
    variables = {"LLAMA_STACK_MAX_BODY_BYTES": str(64 * 1024 * 1024)}
    async with started("ours", command, environment(folder / "home", **variables), port, known, folder) as server:
        yield server


@asynccontextmanager
async def theirs(peer: OGXVectors, url: str, folder: Path, known: Corpus) -> AsyncIterator[Server]:
    port = free_port()
    how: Started = peer.started(url, port, folder)
    env = environment(folder / "home", **how.variables)
    async with started(f"OGX ({peer.package})", how.command, env, port, known, folder) as server:
        yield server


@asynccontextmanager
async def started(
    name: str, command: Sequence[str], env: dict[str, str], port: int, known: Corpus, folder: Path
) -> AsyncIterator[Server]:
    timeout = aiohttp.ClientTimeout(total=600)
    headers = {"Content-Type": "application/json"}
    with starting(command, env, port, folder) as running:
        async with aiohttp.ClientSession(running.url, timeout=timeout, headers=headers) as http:
            await until_embedding(http, running)
            yield Server(name, http, known)


async def until_embedding(http: aiohttp.ClientSession, running: Any) -> None:
    """Ready is who answers with a vector."""
    until, said = time.monotonic() + READY_SECONDS, "nothing"
    while time.monotonic() < until:
        if running.process.poll() is not None:
            break
        try:
            async with http.post("/v1/embeddings", json={"model": NAME, "input": ["ready?"]}) as answer:
                if answer.status == 200:
                    return
                said = (await answer.text())[:300]
        except aiohttp.ClientError as error:
            said = str(error)
        await asyncio.sleep(0.5)
    raise Missing(f"a server was not ready: {said}; {running.output[-3000:]}")
