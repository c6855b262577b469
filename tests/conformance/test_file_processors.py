"""/v1alpha/file-processors/process on the real servers, as OGX's specification has it."""

import json
from typing import Any

import httpx
import pytest

from tests import documents
from tests.live import Live

URL = "/v1alpha/file-processors/process"
WORDS = " ".join(f"word{number}" for number in range(400))
LETTER = documents.pdf(["First page."], ["Second page."], title="A letter")


@pytest.fixture
def client(server: Live) -> Any:
    with httpx.Client(base_url=server.url, timeout=120) as client:
        yield client


def processed(client: httpx.Client, name: str, content: bytes, **fields: Any) -> Any:
    response = client.post(URL, files={"file": (name, content)}, data=fields)
    assert response.status_code == 200, response.text
    return response.json()


def refused(response: httpx.Response) -> tuple[int, str, str]:
    error = response.json()["error"]
    return response.status_code, error["param"], error["code"]


def test_a_document_without_a_strategy_is_one_chunk(client: httpx.Client) -> None:
    answer = processed(client, "letter.pdf", LETTER)
    (chunk,) = answer["chunks"]
    assert chunk["content"] == "First page.\n\nSecond page."
    assert chunk["chunk_id"] == chunk["chunk_metadata"]["chunk_id"]
    assert chunk["metadata"] == {"document_id": chunk["chunk_metadata"]["document_id"], "filename": "letter.pdf"}
    assert chunk["chunk_metadata"]["source"] == "letter.pdf"
    told = answer["metadata"]
    assert (told["extraction_method"], told["page_count"], told["title"]) == ("pypdfium2", 2, "A letter")
    assert told["processing_time_ms"] >= 0
    assert told["file_size_bytes"] == len(LETTER)


def test_chunks_are_of_one_page_each_and_the_same_each_time(client: httpx.Client) -> None:
    first = processed(client, "letter.pdf", LETTER, chunking_strategy='{"type": "auto"}')["chunks"]
    again = processed(client, "letter.pdf", LETTER, **{"chunking_strategy[type]": "auto"})["chunks"]
    assert [(chunk["content"], chunk["metadata"]["page_number"]) for chunk in first] == [
        ("First page.", 1),
        ("Second page.", 2),
    ]
    assert [chunk["chunk_id"] for chunk in first] == [chunk["chunk_id"] for chunk in again]


def test_a_static_strategy_has_its_sizes(client: httpx.Client) -> None:
    static = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 0}}
    answer = processed(client, "words.txt", WORDS.encode(), chunking_strategy=json.dumps(static))
    counts = [chunk["chunk_metadata"]["content_token_count"] for chunk in answer["chunks"]]
    assert max(counts) <= 100
    assert " ".join(chunk["content"] for chunk in answer["chunks"]) == WORDS


def test_a_file_that_was_uploaded_is_processed_by_its_id(client: httpx.Client) -> None:
    form = {"purpose": "assistants"}
    uploaded = client.post("/v1/files", files={"file": ("a.md", b"# A title")}, data=form).json()
    # A form without a file is a form all the same.
    answer = client.post(URL, files={"file_id": (None, uploaded["id"])})
    assert answer.status_code == 200, answer.text
    (chunk,) = answer.json()["chunks"]
    assert chunk["content"] == "# A title"
    assert chunk["metadata"] == {"document_id": uploaded["id"], "filename": "a.md", "file_id": uploaded["id"]}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, (400, "file", "invalid_value")),
        ({"file_id": "file-none"}, (404, "file_id", "not_found")),
        ({"chunking_strategy": "{"}, (400, "chunking_strategy", "invalid_value")),
        ({"chunking_strategy": '{"type": "contextual"}'}, (400, "chunking_strategy", "invalid_value")),
        ({"purpose": "batch"}, (400, "purpose", "invalid_value")),
    ],
)
def test_a_form_that_is_wrong_is_refused_with_its_field(
    client: httpx.Client, fields: dict[str, str], reason: tuple[int, str, str]
) -> None:
    parts = {name: (None, value) for name, value in (fields or {"options": "{}"}).items()}
    assert refused(client.post(URL, files=parts)) == reason


def test_a_file_and_the_id_of_one_are_one_too_many(client: httpx.Client) -> None:
    form = {"file": ("a.txt", b"text"), "file_id": (None, "file-1")}
    assert refused(client.post(URL, files=form)) == (400, "file", "invalid_value")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.pdf", documents.scan(), (400, "file", "no_text")),
        ("a.pdf", documents.encrypted(LETTER, "secret"), (400, "file", "encrypted_document")),
        ("a.pdf", LETTER[:200], (400, "file", "broken_document")),
        ("a.bin", bytes(range(256)) * 8, (400, "file", "unsupported_document")),
        ("a.txt", b" ", (400, "file", "empty_document")),
    ],
)
def test_a_document_that_cannot_be_read_is_refused_with_its_reason(
    client: httpx.Client, name: str, content: bytes, reason: tuple[int, str, str]
) -> None:
    assert refused(client.post(URL, files={"file": (name, content)})) == reason


def test_an_option_that_the_provider_does_not_know_is_refused(client: httpx.Client) -> None:
    response = client.post(URL, files={"file": ("a.txt", b"text")}, data={"options": '{"ocr": true}'})
    assert refused(response) == (400, "options.ocr", "unsupported_parameter")
