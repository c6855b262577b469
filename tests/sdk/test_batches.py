"""Batches, by the methods that the official clients have for them."""

import json
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest
from llama_stack_client import LlamaStackClient
from ogx_client import OgxClient

from tests.sdk.conftest import CHAT, EMBEDDING
from tests.servers import Server

pytestmark = pytest.mark.local_model
ENDED = ("failed", "completed", "expired", "cancelled")
WAIT_SECONDS = 120


def jsonl(url: str, *bodies: dict[str, Any]) -> bytes:
    lines = [{"custom_id": str(n), "method": "POST", "url": url, "body": body} for n, body in enumerate(bodies)]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def chats(count: int) -> bytes:
    messages = [{"role": "user", "content": "Say hello."}]
    bodies = [{"model": CHAT, "messages": messages, "max_completion_tokens": 4} for _ in range(count)]
    return jsonl("/v1/chat/completions", *bodies)


def ended(get: Callable[[], Any]) -> Any:
    over = time.monotonic() + WAIT_SECONDS
    while (batch := get()).status not in ENDED:
        assert time.monotonic() < over, batch
        time.sleep(0.2)
    return batch


def test_openai_uploads_waits_and_reads(client: openai.OpenAI) -> None:
    file = client.files.create(file=("lines.jsonl", chats(3)), purpose="batch")
    made = client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"for": "me"},
        output_expires_after={"anchor": "created_at", "seconds": 3600},
    )
    batch = ended(lambda: client.batches.retrieve(made.id))
    assert (batch.status, batch.metadata, batch.model) == ("completed", {"for": "me"}, CHAT)
    assert batch.request_counts.to_dict() == {"total": 3, "completed": 3, "failed": 0}
    output = client.files.retrieve(batch.output_file_id)
    assert output.expires_at == output.created_at + 3600
    answers = [json.loads(line) for line in client.files.content(output.id).text.splitlines()]
    assert [answer["custom_id"] for answer in answers] == ["0", "1", "2"]
    assert all(answer["response"]["body"]["choices"][0]["message"]["content"] for answer in answers)
    assert made.id in {one.id for one in client.batches.list(limit=5)}
    with pytest.raises(openai.ConflictError):
        client.batches.cancel(made.id)


def test_openai_embeds(client: openai.OpenAI) -> None:
    lines = jsonl("/v1/embeddings", {"model": EMBEDDING, "input": ["a", "b"]}, {"model": EMBEDDING, "input": "c"})
    file = client.files.create(file=("lines.jsonl", lines), purpose="batch")
    made = client.batches.create(input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h")
    batch = ended(lambda: client.batches.retrieve(made.id))
    answers = [json.loads(line) for line in client.files.content(batch.output_file_id).text.splitlines()]
    assert [len(answer["response"]["body"]["data"]) for answer in answers] == [2, 1]


def test_openai_is_told_what_is_wrong(client: openai.OpenAI) -> None:
    file = client.files.create(file=("lines.jsonl", b"{}\nno json\n"), purpose="batch")
    made = client.batches.create(input_file_id=file.id, endpoint="/v1/completions", completion_window="24h")
    batch = ended(lambda: client.batches.retrieve(made.id))
    assert (batch.status, batch.output_file_id) == ("failed", None)
    told = [(error.line, error.code) for error in batch.errors.data]
    assert told == [(1, "missing_required_parameter")] * 4 + [(2, "invalid_json_line")]


def test_ogx_client_1_1(server: Server) -> None:
    with OgxClient(base_url=server.url) as client:
        file = client.files.create(file=("lines.jsonl", chats(2)), purpose="batch")
        fields: dict[str, Any] = {"input_file_id": file.id, "endpoint": "/v1/chat/completions"}
        made = client.batches.create(**fields, completion_window="24h", idempotency_key=file.id)
        again = client.batches.create(**fields, completion_window="24h", idempotency_key=file.id)
        assert again.id == made.id
        batch = ended(lambda: client.batches.retrieve(made.id))
        assert (batch.status, batch.request_counts.completed) == ("completed", 2)
        assert made.id in {one.id for one in client.batches.list()}
        many = client.files.create(file=("lines.jsonl", chats(500)), purpose="batch")
        fields["input_file_id"] = many.id
        cancelled = client.batches.create(**fields, completion_window="24h")
        assert client.batches.cancel(cancelled.id).status in ("cancelling", "cancelled")
        ended(lambda: client.batches.retrieve(cancelled.id))


def test_llama_stack_client_0_2_has_no_method_for_them_but_their_path(server: Server) -> None:
    with LlamaStackClient(base_url=server.url) as client:
        file = client.files.create(file=("lines.jsonl", chats(1)), purpose="batch")  # type: ignore[arg-type]
        body = {"input_file_id": file.id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        made: Any = client.post("/v1/openai/v1/batches", body=body, cast_to=object)
        found: Any = client.get(f"/v1/openai/v1/batches/{made['id']}", cast_to=object)
        assert found["input_file_id"] == file.id
