"""remote::docling-serve and remote::unstructured-api, against servers that answer as theirs do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from apps.file_processors.protocol import Document, Page, Parsed
from apps.file_processors.providers.remote.converting import Converting
from apps.file_processors.providers.remote.docling_serve import BREAK, DoclingServe, DoclingServeConfig
from apps.file_processors.providers.remote.unstructured_api import Unstructured, UnstructuredConfig
from llamastack.call import ANONYMOUS_ADMIN, Call
from llamastack.errors import StackError
from tests.upstream import on_loopback

DOCUMENT = Document('a "letter".pdf', b"%PDF-1.7 and so on")
MARKDOWN = f"# A title\n\nOne.\n\n{BREAK}\n\n<!-- image -->\n\nTwo."
DOCLING = {"document": {"filename": "a", "md_content": MARKDOWN}, "status": "success", "errors": [], "timings": {}}
ELEMENTS = [
    {"type": "Title", "element_id": "1", "text": "A title", "metadata": {"page_number": 1, "languages": ["eng"]}},
    {"type": "NarrativeText", "element_id": "2", "text": "One.", "metadata": {"page_number": 1}},
    {"type": "PageBreak", "element_id": "3", "text": "", "metadata": {"page_number": 1}},
    {"type": "ListItem", "element_id": "4", "text": "Two\x00.", "metadata": {"page_number": 2}},
]


@dataclass
class Reader:
    """A server that gives one answer, and what it was asked."""

    answer: Any
    status: int = 200
    fields: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        keys = request.headers.get("X-Api-Key", "") + request.headers.get("unstructured-api-key", "")
        self.asked.append((request.path, keys))
        if request.method == "POST":
            for name, value in (await request.post()).items():
                self.fields[name] = (value.filename, value.file.read()) if isinstance(value, web.FileField) else value
        return web.json_response(self.answer, status=self.status)


@asynccontextmanager
async def reading(kind: str, reader: Reader, suffix: str = "") -> AsyncIterator[Converting]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", reader.handle)
    async with on_loopback(app) as url:
        config: dict[str, Any] = {"base_url": url + suffix, "api_key": "ours"}
        provider: Converting = (
            DoclingServe("remote", DoclingServeConfig(**config))
            if kind == "docling"
            else Unstructured("remote", UnstructuredConfig(**config))
        )
        await provider.start()
        try:
            yield provider
        finally:
            await provider.stop()


async def parsed(provider: Converting, document: Document = DOCUMENT) -> Parsed:
    return await provider.parse(Call(ANONYMOUS_ADMIN), document)


async def refused(kind: str, reader: Reader, document: Document = DOCUMENT) -> tuple[int, str | None, str]:
    async with reading(kind, reader) as provider:
        with pytest.raises(StackError) as caught:
            await parsed(provider, document)
    return caught.value.status, caught.value.code, caught.value.message


@pytest.mark.parametrize("suffix", ["", "/v1", "/"])
async def test_docling_is_sent_the_document_and_its_markdown_comes_back_by_pages(suffix: str) -> None:
    reader = Reader(DOCLING)
    async with reading("docling", reader, suffix) as provider:
        answer = await parsed(provider)
        assert (await provider.health()).ok
    assert answer.pages == (Page(1, "# A title\n\nOne."), Page(2, "Two."))
    assert (answer.parser, answer.mime_type, answer.metadata) == ("docling-serve", "application/pdf", {"page_count": 2})
    assert reader.asked == [("/v1/convert/file", "ours"), ("/health", "ours")]
    assert reader.fields["files"] == ("a %22letter%22.pdf", DOCUMENT.content)
    assert reader.fields["to_formats"] == "md"


async def test_unstructured_is_sent_the_document_and_its_elements_come_back_by_pages() -> None:
    reader = Reader(ELEMENTS)
    async with reading("unstructured", reader) as provider:
        answer = await parsed(provider)
    assert answer.pages == (Page(1, "# A title\n\nOne."), Page(2, "- Two."))
    assert answer.parser == "unstructured-api"
    assert reader.asked == [("/general/v0/general", "ours")]
    assert reader.fields["strategy"] == "auto"


async def test_a_document_without_pages_is_one_page_without_a_number() -> None:
    answer = {"document": {"md_content": "text"}, "status": "success"}
    async with reading("docling", Reader(answer)) as provider:
        assert (await parsed(provider)).pages == (Page(None, "text"),)
    async with reading("unstructured", Reader([{"type": "Text", "text": "text", "metadata": {}}])) as provider:
        assert (await parsed(provider)).pages == (Page(None, "text"),)


@pytest.mark.parametrize(
    ("kind", "answer"),
    [("docling", {"document": {"md_content": None}, "status": "success"}), ("unstructured", [])],
)
async def test_a_document_in_which_nothing_was_found_has_no_text(kind: str, answer: Any) -> None:
    assert (await refused(kind, Reader(answer)))[:2] == (400, "no_text")


async def test_what_docling_failed_to_read_is_broken_with_its_reason() -> None:
    answer = {"document": {}, "status": "failure", "errors": [{"error_message": "Invalid PDF"}]}
    status, code, message = await refused("docling", Reader(answer))
    assert (status, code) == (400, "broken_document")
    assert "Invalid PDF" in message


@pytest.mark.parametrize("kind", ["docling", "unstructured"])
@pytest.mark.parametrize(
    ("status", "reason"),
    [(422, (400, "broken_document")), (401, (401, None)), (503, (502, "upstream_error"))],
)
async def test_a_status_of_the_server_says_whose_fault_it_is(
    kind: str, status: int, reason: tuple[int, str | None]
) -> None:
    found = await refused(kind, Reader({"detail": "no"}, status))
    assert found[0] == reason[0]
    assert reason[1] in (None, found[1])


@pytest.mark.parametrize("kind", ["docling", "unstructured"])
async def test_nonsense_is_the_upstreams_fault(kind: str) -> None:
    assert (await refused(kind, Reader({"so": "what"})))[0] == 502


async def test_an_empty_document_is_not_sent() -> None:
    reader = Reader(DOCLING)
    assert (await refused("docling", reader, Document("a.pdf", b"")))[:2] == (400, "empty_document")
    assert reader.asked == []
