"""How fast files become chunks that are found, through the API, beside the embedding engine's own rate on these chunks.

Files are uploaded, a store is made with all of them as one batch, and it is looked at until the batch is completed.
Then the engine alone embeds the texts of the same chunks, as many at once as ingestion asks for; both again.
"""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp

from apps.inference.local_models import fetch
from apps.inference.providers.inline.sentence_transformers import SentenceTransformers, SentenceTransformersConfig
from apps.inference.schemas import EmbeddingRequest
from apps.vector_io.batching import AT_ONCE, MOST_TEXTS
from benchmarks._embedded import DIMENSION, MODEL
from llamastack.call import ANONYMOUS_ADMIN, Call
from tests.servers import serving

LEAST = 0.8  # of the engine's rate
IN_A_FILE = 25  # texts
LOOK_SECONDS = 0.25
RUN = """
version: 2
image_name: ingestion
apis: [inference, files, file_processors, vector_io]
providers:
  inference:
  - {{provider_id: here, provider_type: inline::sentence-transformers}}
  files:
  - {{provider_id: local, provider_type: inline::localfs, config: {{}}}}
  file_processors:
  - {{provider_id: auto, provider_type: inline::auto}}
  vector_io:
  - {{provider_id: faiss, provider_type: inline::faiss}}
models:
- {{model_id: minilm, provider_id: here, provider_model_id: {model}, model_type: embedding,
   metadata: {{embedding_dimension: {dimension}}}}}
"""


async def measured(texts: Sequence[str], folder: Path) -> tuple[str, list[str]]:
    """What is told, and what has missed its aim."""
    documents = ["\n\n".join(texts[start : start + IN_A_FILE]) for start in range(0, len(texts), IN_A_FILE)]
    config = await asyncio.to_thread(written, folder)
    engine = SentenceTransformers("bench", SentenceTransformersConfig(model=MODEL))
    await asyncio.to_thread(fetch, MODEL)
    await engine.start()
    running = serving(config, home=folder / "home")
    server = await asyncio.to_thread(running.__enter__)
    try:
        async with aiohttp.ClientSession(server.url, timeout=aiohttp.ClientTimeout(None)) as http:
            await embedded(engine, texts[:1])
            await ingested(http, documents[:2])  # whatever is loaded once is loaded
            rates, chunks = await ingested(http, documents)
            alone = [await embedded(engine, chunks), await embedded(engine, chunks)]
            again, _ = await ingested(http, documents)
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)
        await engine.stop()
    share = (rates + again) / sum(alone)
    line = (
        f"ingestion: {len(documents)} files, {len(chunks)} chunks: {rates:.0f} and {again:.0f} chunks/s by the API, "
        f"{alone[0]:.0f} and {alone[1]:.0f} by the engine alone: {100 * share:.0f} % (at least {100 * LEAST:.0f} %)"
    )
    return line, [line] if share < LEAST else []


def written(folder: Path) -> Path:
    path = folder / "run.yaml"
    path.write_text(RUN.format(model=MODEL, dimension=DIMENSION))
    return path


async def ingested(http: aiohttp.ClientSession, documents: Sequence[str]) -> tuple[float, list[str]]:
    """Chunks a second from the batch's creation until it is completed, and the chunks."""
    files = [await uploaded(http, f"{number}.txt", text) for number, text in enumerate(documents)]
    store = (await asked(http, "/v1/vector_stores", embedding_model="minilm"))["id"]
    began = time.perf_counter()
    batch = await asked(http, f"/v1/vector_stores/{store}/file_batches", file_ids=files)
    while batch["status"] == "in_progress":
        await asyncio.sleep(LOOK_SECONDS)
        batch = await read(http, f"/v1/vector_stores/{store}/file_batches/{batch['id']}")
    seconds = time.perf_counter() - began
    if batch["file_counts"]["completed"] != len(files):
        raise SystemExit(f"Not all files were read: {batch}")
    pages = [await read(http, f"/v1/vector_stores/{store}/files/{file}/content") for file in files]
    chunks = [item["text"] for page in pages for item in page["data"]]
    async with http.delete(f"/v1/vector_stores/{store}") as answer:
        assert answer.status == 200
    return len(chunks) / seconds, chunks


async def embedded(engine: SentenceTransformers, texts: Sequence[str]) -> float:
    """Texts a second."""
    batches = [list(texts[start : start + MOST_TEXTS]) for start in range(0, len(texts), MOST_TEXTS)]
    call, waiting = Call(ANONYMOUS_ADMIN), iter(batches)

    async def worker() -> None:
        for batch in waiting:
            request = EmbeddingRequest(model=MODEL, input=batch, encoding_format="base64")
            await engine.post_embedding(call, request)

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return len(texts) / (time.perf_counter() - began)


async def uploaded(http: aiohttp.ClientSession, name: str, text: str) -> str:
    form = aiohttp.FormData()
    form.add_field("purpose", "assistants")
    form.add_field("file", text.encode(), filename=name)
    async with http.post("/v1/files", data=form) as answer:
        assert answer.status == 200, await answer.text()
        return str((await answer.json())["id"])


async def asked(http: aiohttp.ClientSession, path: str, **body: Any) -> Any:
    async with http.post(path, json=body) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def read(http: aiohttp.ClientSession, path: str) -> Any:
    async with http.get(path) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()
