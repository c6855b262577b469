"""Stored chat completions, by the methods that the official clients have for them."""

from typing import Any

import openai
import pytest
from llama_stack_client import LlamaStackClient
from ogx_client import OgxClient

from tests.sdk.conftest import CHAT
from tests.servers import Server

pytestmark = pytest.mark.local_model
MESSAGES: Any = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Say hello."}]
ASKED: dict[str, Any] = {"model": CHAT, "messages": MESSAGES, "temperature": 0, "max_tokens": 8, "store": True}
# These clients know no `store`.
TOLD = {name: value for name, value in ASKED.items() if name != "store"} | {"extra_body": {"store": True}}


def test_openai_stores_lists_changes_and_deletes(client: openai.OpenAI) -> None:
    completions = client.chat.completions
    made = [completions.create(**ASKED, metadata={"test": "openai", "n": str(n)}) for n in range(3)]
    assert completions.retrieve(made[0].id).choices == made[0].choices
    pages = completions.list(limit=2, metadata={"test": "openai"}, order="asc")
    assert [item.id for item in pages] == [item.id for item in made]
    assert [item.id for item in completions.list(metadata={"test": "openai", "n": "1"}, model=CHAT)] == [made[1].id]
    messages = completions.messages.list(made[0].id, limit=1)
    assert [(item.id, item.content) for item in messages] == [
        (f"{made[0].id}-0", "Be short."),
        (f"{made[0].id}-1", "Say hello."),
    ]
    assert completions.update(made[0].id, metadata={"test": "other"}).metadata == {"test": "other"}
    assert [item.id for item in completions.list(metadata={"test": "openai"})] == [made[2].id, made[1].id]
    assert completions.delete(made[0].id).deleted
    with pytest.raises(openai.NotFoundError):
        completions.retrieve(made[0].id)


def test_openai_finds_a_stream_that_has_ended(client: openai.OpenAI) -> None:
    options: Any = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(client.chat.completions.create(**ASKED, **options))
    stored = client.chat.completions.retrieve(chunks[0].id)
    said = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert (stored.choices[0].message.content, stored.usage) == (said, chunks[-1].usage)
    assert {chunk.id for chunk in chunks} == {stored.id}


def test_llama_stack_client_0_2(server: Server) -> None:
    with LlamaStackClient(base_url=server.url) as client:
        made: Any = client.chat.completions.create(**TOLD)
        stored = client.chat.completions.retrieve(made.id)
        assert [message.content for message in stored.input_messages] == ["Be short.", "Say hello."]
        page = client.chat.completions.list(limit=1, model=CHAT)
        assert (page.data[0].id, page.object) == (made.id, "list")
        assert page.data[0].input_messages[1].content == "Say hello."


def test_ogx_client_1_1(server: Server) -> None:
    with OgxClient(base_url=server.url) as client:
        made = [client.chat.completions.create(**TOLD).id for _ in range(3)]
        stored: Any = client.chat.completions.retrieve(made[0])
        assert [message.content for message in stored.input_messages] == ["Be short.", "Say hello."]
        newest: Any = client.chat.completions.list(limit=2)
        older: Any = client.chat.completions.list(limit=1, after=newest.last_id)
        assert [item.id for item in [*newest.data, *older.data]] == made[::-1]
        messages: Any = client.chat.completions.messages.list(made[0], limit=1)
        assert [item.content for item in messages] == ["Be short.", "Say hello."]
