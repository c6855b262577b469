"""Vector stores, by the methods that the official clients have for them, on real embeddings."""

import io
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ogx_client
import openai
import pytest
from llama_stack_client import LlamaStackClient
from ogx_client import OgxClient

from tests import documents
from tests.sdk.conftest import EMBEDDING, ON_ONE
from tests.servers import ROOT, Server

pytestmark = pytest.mark.local_model
WAIT_SECONDS = 120
TEXTS = {
    "sky.txt": "The sky looks blue because molecules of the air scatter short waves of light more than long ones.",
    "sea.txt": "Sea water is salt since rivers carry dissolved minerals from rocks into it for ages.",
    "bread.txt": "Yeast makes dough rise: it eats sugar and gives off carbon dioxide, which the gluten holds.",
}
ASKED = {
    "Why isn't daylight overhead some other colour?": "sky.txt",
    "Where does the ocean's taste come from?": "sea.txt",
    "What makes a loaf fluffy?": "bread.txt",
}


def until(get: Callable[[], Any]) -> Any:
    over = time.monotonic() + WAIT_SECONDS
    while (found := get()).status == "in_progress":
        assert time.monotonic() < over, found
        time.sleep(0.1)
    return found


def test_openai_stores_files_and_finds_what_answers(client: openai.OpenAI) -> None:
    store = client.vector_stores.create(name="facts", metadata={"for": "me"})
    for name, text in TEXTS.items():
        file = client.vector_stores.files.upload_and_poll(
            vector_store_id=store.id, file=(name, io.BytesIO(text.encode())), poll_interval_ms=100
        )
        assert (file.status, file.last_error) == ("completed", None)
        assert file.chunking_strategy is not None
        assert file.chunking_strategy.to_dict()["static"] == {"max_chunk_size_tokens": 254, "chunk_overlap_tokens": 127}
    for query, name in ASKED.items():
        first = client.vector_stores.search(store.id, query=query, max_num_results=2).data[0]
        assert (first.filename, first.content[0].text) == (name, TEXTS[name])
        assert 0.2 < first.score <= 1
    found = client.vector_stores.retrieve(store.id)
    assert (found.status, found.file_counts.completed, found.metadata) == ("completed", 3, {"for": "me"})
    assert found.usage_bytes > sum(map(len, TEXTS.values()))
    assert found.to_dict()["embedding_model"] == EMBEDDING
    assert client.vector_stores.delete(store.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.vector_stores.search(store.id, query="anything")


def test_openai_attaches_many_files_and_filters_by_their_attributes(client: openai.OpenAI) -> None:
    store = client.vector_stores.create(expires_after={"anchor": "last_active_at", "days": 2})
    files = [
        {
            "file_id": client.files.create(file=(name, text.encode()), purpose="assistants").id,
            "attributes": {"name": name},
        }
        for name, text in TEXTS.items()
    ]
    batch = client.vector_stores.file_batches.create(store.id, files=files)  # type: ignore[arg-type]
    done = until(lambda: client.vector_stores.file_batches.retrieve(batch.id, vector_store_id=store.id))
    assert (done.status, done.file_counts.completed) == ("completed", 3)
    listed = client.vector_stores.file_batches.list_files(batch.id, vector_store_id=store.id, limit=2)
    assert {file.status for file in listed} == {"completed"}
    only = {"type": "eq", "key": "name", "value": "sea.txt"}
    found = client.vector_stores.search(store.id, query="bread", filters=only, ranking_options={"ranker": "auto"})  # type: ignore[arg-type]
    assert [result.filename for result in found.data] == ["sea.txt"]
    file_id = found.data[0].file_id
    content = client.vector_stores.files.content(file_id, vector_store_id=store.id)
    assert [part.text for part in content] == [TEXTS["sea.txt"]]
    changed = client.vector_stores.files.update(file_id, vector_store_id=store.id, attributes={"name": "ocean"})
    assert changed.attributes == {"name": "ocean"}
    assert client.vector_stores.search(store.id, query="salt", filters=only).data == []  # type: ignore[arg-type]
    assert client.vector_stores.files.delete(file_id, vector_store_id=store.id).deleted
    assert file_id not in {file.id for file in client.vector_stores.files.list(store.id)}
    with pytest.raises(openai.BadRequestError, match="odd"):
        client.vector_stores.search(store.id, query="x", filters={"type": "odd", "key": "a", "value": 1})  # type: ignore[arg-type]
    client.vector_stores.delete(store.id)


def test_openai_does_all_else_that_it_can_with_stores_files_and_batches(client: openai.OpenAI) -> None:
    stores = client.vector_stores
    store = stores.create(name="old")
    changed = stores.update(store.id, name="new", metadata={"a": "b"}, expires_after=None)
    assert (changed.name, changed.metadata, changed.expires_after) == ("new", {"a": "b"}, None)
    assert store.id in {one.id for one in stores.list(limit=1)}  # one a page, and all pages
    sky, sea, bread = (client.files.create(file=(n, t.encode()), purpose="assistants").id for n, t in TEXTS.items())
    made = stores.files.create(store.id, file_id=sky, attributes={"of": "sky"})
    assert (made.id, made.attributes, made.vector_store_id) == (sky, {"of": "sky"}, store.id)
    assert stores.files.poll(sky, vector_store_id=store.id, poll_interval_ms=100).status == "completed"
    assert stores.files.create_and_poll(sea, vector_store_id=store.id, poll_interval_ms=100).status == "completed"
    assert stores.files.retrieve(sea, vector_store_id=store.id).last_error is None
    sent = stores.files.upload(vector_store_id=store.id, file=("more.txt", io.BytesIO(b"More.")))
    batch = stores.file_batches.create_and_poll(store.id, file_ids=[bread, sent.id], poll_interval_ms=100)
    assert (batch.status, batch.file_counts.total) == ("completed", 2)
    files = [("a.txt", b"A text."), ("blank.txt", b" ")]
    batch = stores.file_batches.upload_and_poll(store.id, files=files, poll_interval_ms=100)  # type: ignore[arg-type]
    assert (batch.file_counts.completed, batch.file_counts.failed) == (1, 1)
    (failed,) = stores.files.list(store.id, filter="failed").data
    assert failed.last_error is not None
    assert (failed.last_error.code, "empty" in failed.last_error.message) == ("invalid_file", True)
    with pytest.raises(openai.ConflictError):
        stores.file_batches.cancel(batch.id, vector_store_id=store.id)
    shown = stores.files.list(store.id, order="asc", after=sky, limit=2).data
    assert [file.id for file in shown] == [sea, sent.id]
    assert [file.id for file in stores.files.list(store.id, order="asc", before=sea).data] == [sky]
    client.files.delete(sky)
    with pytest.raises(openai.NotFoundError):
        stores.files.retrieve(sky, vector_store_id=store.id)
    stores.delete(store.id)


def test_openais_batches_keep_files_that_others_have_too(client: openai.OpenAI) -> None:
    stores = client.vector_stores
    store = stores.create(name="shared")
    sky, sea, bread = (client.files.create(file=(n, t.encode()), purpose="assistants").id for n, t in TEXTS.items())
    first = stores.file_batches.create_and_poll(store.id, file_ids=[sky, sea], poll_interval_ms=100)
    attributes = {"of": "second"}
    second = stores.file_batches.create_and_poll(
        store.id, files=[{"file_id": sea, "attributes": attributes}, {"file_id": bread}], poll_interval_ms=100
    )
    assert stores.files.delete(sky, vector_store_id=store.id).deleted
    for batch, ids in ((first, {sea}), (second, {sea, bread})):
        told = stores.file_batches.retrieve(batch.id, vector_store_id=store.id)
        assert (told.status, told.file_counts.completed, told.file_counts.total) == ("completed", 2, 2)
        files = {file.id: file for file in stores.file_batches.list_files(batch.id, vector_store_id=store.id)}
        assert (files.keys(), files[sea].attributes) == (ids, attributes)
        with pytest.raises(openai.ConflictError):
            stores.file_batches.cancel(batch.id, vector_store_id=store.id)
    stores.delete(store.id)


def test_llama_stack_client_0_2_registers_a_vector_database_and_queries_it(server: Server) -> None:
    with LlamaStackClient(base_url=server.url) as client:
        made = client.vector_dbs.register(
            vector_db_id="client-0-2", embedding_model=EMBEDDING, embedding_dimension=384, provider_id="faiss"
        )
        assert (made.identifier, made.type) == ("client-0-2", "vector_db")
        chunks: Any = [{"content": text, "metadata": {"document_id": name}} for name, text in TEXTS.items()]
        client.vector_io.insert(vector_db_id="client-0-2", chunks=chunks)
        found = client.vector_io.query(vector_db_id="client-0-2", query="What makes a loaf fluffy?")
        assert found.chunks[0].metadata["document_id"] == "bread.txt"
        assert len(found.chunks[0].embedding or []) == 384
        assert found.scores == sorted(found.scores, reverse=True)
        assert "client-0-2" in {one.identifier for one in client.vector_dbs.list()}
        assert client.vector_dbs.retrieve("client-0-2").embedding_dimension == 384
        client.vector_dbs.unregister("client-0-2")


def test_llama_stack_client_0_2_has_vector_stores_too(server: Server) -> None:
    with LlamaStackClient(base_url=server.url) as client:
        store = client.vector_stores.create(name="old", embedding_model=EMBEDDING, embedding_dimension=384)
        file = client.files.create(file=("sky.txt", TEXTS["sky.txt"].encode()), purpose="assistants")
        client.vector_stores.files.create(store.id, file_id=file.id)
        until(lambda: client.vector_stores.retrieve(store.id))
        found = client.vector_stores.search(store.id, query="Why is it blue up there?", max_num_results=1)
        assert (found.data[0].file_id, found.data[0].filename) == (file.id, "sky.txt")
        assert store.id in {one.id for one in client.vector_stores.list().data}
        assert client.vector_stores.update(store.id, name="new").name == "new"
        assert client.vector_stores.delete(store.id).deleted


def test_ogx_client_1_1(server: Server) -> None:
    with OgxClient(base_url=server.url) as client:
        store = client.vector_stores.create(name="ogx", extra_body={"embedding_model": EMBEDDING})
        file = client.files.create(file=("sky.txt", TEXTS["sky.txt"].encode()), purpose="assistants")
        client.vector_stores.files.create(store.id, file_id=file.id, attributes={"of": "ogx"})
        done = until(lambda: client.vector_stores.files.retrieve(file.id, vector_store_id=store.id))
        assert done.status == "completed"
        found = client.vector_stores.search(store.id, query="blue", search_mode="hybrid", max_num_results=3)
        assert found.data[0].file_id == file.id
        files, batches = client.vector_stores.files, client.vector_stores.file_batches
        assert files.update(file.id, vector_store_id=store.id, attributes={"of": "me"}).attributes == {"of": "me"}
        assert [one.id for one in files.list(store.id)] == [file.id]
        content = files.content(file.id, vector_store_id=store.id, include_embeddings=True, include_metadata=True)
        assert (content.data[0].text, len(content.data[0].embedding or [])) == (TEXTS["sky.txt"], 384)
        batch = batches.create(store.id, file_ids=[file.id])
        done = until(lambda: batches.retrieve(batch.id, vector_store_id=store.id))
        assert (done.status, done.file_counts.completed) == ("completed", 1)
        assert [one.id for one in batches.list_files(batch.id, vector_store_id=store.id)] == [file.id]
        with pytest.raises(ogx_client.ConflictError):
            batches.cancel(batch.id, vector_store_id=store.id)
        assert client.vector_stores.update(store.id, name="other").name == "other"
        assert client.vector_stores.retrieve(store.id).name == "other"
        assert store.id in {one.id for one in client.vector_stores.list()}
        assert files.delete(file.id, vector_store_id=store.id).deleted
        chunk: Any = {
            "content": TEXTS["sea.txt"],
            "chunk_id": "sea",
            "chunk_metadata": {"document_id": "sea"},
            "embedding": [0.1] * 384,
            "embedding_dimension": 384,
            "embedding_model": EMBEDDING,
        }
        client.vector_io.insert(vector_store_id=store.id, chunks=[chunk])
        answer = client.vector_io.query(vector_store_id=store.id, query="salt", params={"mode": "keyword"})
        (found_chunk,) = answer.chunks
        assert (found_chunk.chunk_id, found_chunk.chunk_metadata.document_id) == ("sea", "sea")
        assert found_chunk.embedding == pytest.approx([384**-0.5] * found_chunk.embedding_dimension, abs=1e-3)
        assert client.vector_stores.delete(store.id).deleted


PAGES = {
    "air.pdf": [
        "Air is mostly nitrogen and oxygen. Its pressure falls with height.",
        "The sky looks blue because air scatters short waves of light more than long ones.",
    ],
    "water.pdf": [
        "Sea water is salt since rivers carry dissolved minerals from rocks into the ocean for ages.",
        "Water boils at a lower temperature on a mountain.",
    ],
}
QUOTED = re.compile(r"^\[(\S+), page (\d+), [\d.]+\] (.+)$", re.MULTILINE)


@ON_ONE
def test_the_example_quotes_what_stands_in_the_file_and_on_the_page_that_it_names(
    server: Server, tmp_path: Path
) -> None:
    for name, pages in PAGES.items():
        (tmp_path / name).write_bytes(documents.pdf(*pages))
    command = [sys.executable, "examples/07_rag.py", server.url, *map(str, sorted(tmp_path.iterdir()))]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert ran.returncode == 0, ran.stderr
    assert "air.pdf: completed" in ran.stdout
    quotes = QUOTED.findall(ran.stdout)
    assert quotes[0][:2] == ("water.pdf", "1")
    assert len(quotes) == 2
    for name, page, text in quotes:
        assert text in PAGES[name][int(page) - 1]
