"""PDFs: each page's text under its number, whichever parser reads it, or a reason."""

import pytest

from apps.file_processors.providers.inline.auto import Auto
from apps.file_processors.providers.inline.pypdf import Pypdf
from apps.file_processors.providers.inline.reading import Reader
from llamastack.errors import StackError
from tests import documents
from tests.unit.file_processors.conftest import parsed

pytestmark = pytest.mark.asyncio(loop_scope="module")
TWO = documents.pdf(["A con-", "tainer, (well-known).", "Dinner at Zoë's"], "Page two", title="On containers")
READ = ["A container, (well-known).\nDinner at Zoë's", "Page two"]


@pytest.fixture(params=["auto", "pypdf"])
def provider(request: pytest.FixtureRequest, auto: Auto, pypdf: Pypdf) -> Reader:
    return auto if request.param == "auto" else pypdf


async def refused(provider: Reader, content: bytes) -> tuple[int, str | None]:
    with pytest.raises(StackError) as caught:
        await parsed(provider, "a.pdf", content)
    assert "'a.pdf'" in caught.value.message
    return caught.value.status, caught.value.code


async def test_pages_have_their_numbers_their_text_and_the_parsers_name(provider: Reader) -> None:
    answer = await parsed(provider, "a.pdf", TWO)
    assert [(page.number, page.text) for page in answer.pages] == list(enumerate(READ, 1))
    assert answer.parser == ("pypdf" if isinstance(provider, Pypdf) else "pypdfium2")
    assert answer.mime_type == "application/pdf"
    assert answer.metadata == {"page_count": 2, "title": "On containers"}


async def test_a_pdf_under_another_name_is_a_pdf(provider: Reader) -> None:
    assert (await parsed(provider, "a.txt", TWO, "text/plain")).mime_type == "application/pdf"


async def test_a_page_without_text_keeps_its_place(provider: Reader) -> None:
    answer = await parsed(provider, "a.pdf", documents.pdf("one", "", "three"))
    assert [(page.number, page.text) for page in answer.pages] == [(1, "one"), (2, ""), (3, "three")]


async def test_one_that_asks_for_a_password_is_refused(provider: Reader) -> None:
    assert await refused(provider, documents.encrypted(TWO, "secret")) == (400, "encrypted_document")


async def test_one_whose_password_is_empty_is_read(provider: Reader) -> None:
    assert [page.text for page in (await parsed(provider, "a.pdf", documents.encrypted(TWO, ""))).pages] == READ


async def test_a_scan_has_no_text(provider: Reader) -> None:
    assert await refused(provider, documents.scan()) == (400, "no_text")


async def test_one_without_a_page_is_empty(provider: Reader) -> None:
    assert await refused(provider, documents.pdf()) == (400, "empty_document")


@pytest.mark.parametrize("content", [TWO[: len(TWO) // 2], b"%PDF-1.7\n" + bytes(1000), b"%PDF-"])
async def test_one_that_is_cut_or_nonsense_is_broken(provider: Reader, content: bytes) -> None:
    assert await refused(provider, content) == (400, "broken_document")


async def test_one_of_too_many_pages_is_too_large(pypdf: Pypdf) -> None:
    assert await refused(pypdf, documents.pdf(*"four")) == (413, "document_too_large")


async def test_a_page_that_unpacks_to_too_much_is_too_large(pypdf: Pypdf) -> None:
    assert await refused(pypdf, documents.packed_pdf(bytes(90 << 20))) == (413, "document_too_large")


async def test_hundreds_of_thousands_of_objects_are_no_trouble(auto: Auto) -> None:
    many = documents.pdf("text", objects=[b"<< >>"] * 300_000)
    assert [page.text for page in (await parsed(auto, "a.pdf", many)).pages] == ["text"]
