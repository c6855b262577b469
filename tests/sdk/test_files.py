"""Files, by the methods that the official clients have for them."""

import io
from pathlib import Path
from typing import Any

import openai
import pytest
from llama_stack_client import LlamaStackClient
from ogx_client import OgxClient

from tests.servers import Server

pytestmark = pytest.mark.local_model
LINES = b'{"a": 1}\n{"a": 2}\n'


def test_openai_uploads_lists_reads_and_deletes(client: openai.OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(LINES)
    expiry: Any = {"anchor": "created_at", "seconds": 3600}
    with path.open("rb") as file:
        made = client.files.create(file=file, purpose="evals", expires_after=expiry)
    assert (made.filename, made.bytes, made.purpose) == ("lines.jsonl", len(LINES), "evals")
    assert made.expires_at == made.created_at + 3600
    others = [client.files.create(file=(f"{n}.txt", b"x"), purpose="evals") for n in range(3)]
    pages = client.files.list(purpose="evals", limit=2, order="asc")
    assert [file.id for file in pages] == [made.id, *(other.id for other in others)]
    assert client.files.retrieve(made.id) == made
    assert client.files.content(made.id).content == LINES
    with client.files.with_streaming_response.content(made.id, extra_headers={"Range": "bytes=9-"}) as part:
        assert (part.status_code, part.read()) == (206, LINES[9:])
    for file in [made, *others]:
        assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.content(made.id)


def test_openai_is_told_what_is_wrong(client: openai.OpenAI) -> None:
    fun: Any = "fun"
    with pytest.raises(openai.BadRequestError) as wrong:
        client.files.create(file=("a", b"x"), purpose=fun)
    assert wrong.value.param == "purpose"
    with pytest.raises(openai.BadRequestError) as empty:
        client.files.create(file=io.BytesIO(b""), purpose="batch")
    assert empty.value.param == "file"


def test_llama_stack_client_0_2(server: Server) -> None:
    with LlamaStackClient(base_url=server.url) as client:
        made = client.files.create(file=("a.txt", b"abc"), purpose="assistants")
        assert (made.filename, made.bytes) == ("a.txt", 3)
        assert made.id in {file.id for file in client.files.list(purpose="assistants").data}
        assert client.files.retrieve(made.id).id == made.id
        content: Any = client.files.content(made.id)
        assert content in ("abc", b"abc")
        assert client.files.delete(made.id).deleted


def test_ogx_client_1_1(server: Server) -> None:
    with OgxClient(base_url=server.url) as client:
        made = client.files.create(
            file=("a.txt", b"abc"), purpose="user_data", expires_after={"anchor": "created_at", "seconds": 3600}
        )
        assert (made.filename, made.bytes, made.expires_at) == ("a.txt", 3, made.created_at + 3600)
        assert made.id in {file.id for file in client.files.list(purpose="user_data")}
        assert client.files.retrieve(made.id).id == made.id
        content: Any = client.files.content(made.id)
        assert content in ("abc", b"abc")
        assert client.files.delete(made.id).deleted
