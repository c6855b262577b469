"""Vector stores, by the methods that the official clients have for them, on real embeddings."""

import io
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest

from tests.sdk.conftest import EMBEDDING

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
