"""Office documents and web pages become markdown: headings, tables, slides; or a reason why not."""

import pytest

from apps.file_processors.providers.inline.auto import Auto
from apps.file_processors.providers.inline.markitdown import Markitdown
from llamastack.errors import StackError
from tests import documents
from tests.documents import archive, docx, paragraph, slides, table, xlsx
from tests.unit.file_processors.conftest import parsed

pytestmark = pytest.mark.asyncio(loop_scope="module")
LETTER = docx(paragraph("A title", "Heading1") + paragraph("Some text.") + table(["year", "sum"], ["2026", "7"]))
BOOK = xlsx(Sums=[["year", "sum"], [2026, None], [None, "a|b"]], Empty=[], Last=[["end"]])
DECK = slides(("First", "one"), ("Second", "two"), cells=[["year", "sum"], ["2026", "7"]])
LAUGHS = '<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;">]>'
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504)


async def text(provider: Auto | Markitdown, name: str, content: bytes) -> str:
    answer = await parsed(provider, name, content)
    assert answer.parser == "markitdown"
    return "\n\n".join(page.text for page in answer.pages)


async def refused(provider: Auto | Markitdown, name: str, content: bytes) -> tuple[str | None, str]:
    with pytest.raises(StackError) as caught:
        await parsed(provider, name, content)
    assert caught.value.status in (400, 413)
    return caught.value.code, caught.value.message


@pytest.mark.parametrize("name", ["a.docx", "a", "a.zip"])
async def test_a_word_document_keeps_its_headings_and_tables(auto: Auto, name: str) -> None:
    assert await text(auto, name, LETTER) == (
        "# A title\n\nSome text.\n\n|  |  |\n| --- | --- |\n| year | sum |\n| 2026 | 7 |"
    )


async def test_slides_are_pages_of_their_numbers(auto: Auto) -> None:
    answer = await parsed(auto, "a.pptx", DECK)
    assert [(page.number, page.text) for page in answer.pages] == [
        (1, "# First\none"),
        (2, "# Second\ntwo\n| year | sum |\n| --- | --- |\n| 2026 | 7 |"),
    ]


async def test_sheets_are_tables_with_their_names_and_without_what_is_empty(auto: Auto) -> None:
    answer = await parsed(auto, "a.xlsx", BOOK)
    assert answer.parser == "openpyxl"
    assert [(page.number, page.text) for page in answer.pages] == [
        (1, "## Sums\n\n| year | sum |\n| --- | --- |\n| 2026 |  |\n|  | a\\|b |"),
        (2, ""),
        (3, "## Last\n\n| end |\n| --- |"),
    ]


async def test_a_sheet_by_markitdown_has_no_words_of_a_machine(markitdown: Markitdown) -> None:
    found = await text(markitdown, "a.xlsx", BOOK)
    assert "NaN" not in found
    assert "| year | sum |" in found


async def test_a_table_of_commas_becomes_one_by_markitdown_and_stays_by_auto(
    auto: Auto, markitdown: Markitdown
) -> None:
    content = "größe,farbe\n1,rot\n".encode("utf-16")
    assert await text(markitdown, "a.csv", content) == "| größe | farbe |\n| --- | --- |\n| 1 | rot |"
    assert (await parsed(auto, "a.csv", content)).pages[0].text == "größe,farbe\n1,rot\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
async def test_a_web_page_is_its_text_in_whatever_encoding(auto: Auto, encoding: str) -> None:
    page = (
        "<html><head><title>T</title><script>no()</script></head><body><h1>Über Äpfel</h1><p>Schöne <b>rote</b> Äpfel"
    )
    page += (
        " für große Leute und kleine Mädchen</p><img src='data:image/png;base64,AAAA' alt='Ein Apfel'></body></html>"
    )
    answer = await parsed(auto, "a.html", page.encode(encoding))
    assert (
        answer.pages[0].text == "# Über Äpfel\n\nSchöne **rote** Äpfel für große Leute und kleine Mädchen\n\nEin Apfel"
    )
    assert answer.metadata == {"title": "T"}


@pytest.mark.parametrize("encoding", ["koi8-r", "shift_jis", "utf-8"])
async def test_a_web_page_says_itself_which_encoding_it_is_in(auto: Auto, encoding: str) -> None:
    page = f"<meta http-equiv='Content-Type' content='text/html; charset={encoding}'><p>Да</p>"
    assert await text(auto, "a.html", page.encode(encoding)) == "Да"
    assert await text(auto, "a.html", page.replace(encoding, "rot13").encode()) == "Да"


async def test_a_web_page_nested_without_end_is_read_as_text(auto: Auto) -> None:
    assert await text(auto, "a.html", b"<div>" * 20_000 + b"deep") == "deep"


@pytest.mark.parametrize(
    ("name", "content", "code", "said"),
    [
        ("a.docx", docx(paragraph("x"), {"media/a.bin": bytes(300 << 20)}), "document_too_large", "unpacks to 314"),
        ("a.docx", docx(paragraph("x"), {"word/media/a.bin": bytes(9 << 20)}), "document_too_large", "200 times"),
        ("a.docx", docx("<w:p>" * 9999 + "</w:p>" * 9999), "document_too_large", "nested more than 256 deep"),
        ("a.docx", docx(paragraph("&c;"), head=LAUGHS), "broken_document", "document type definition"),
        ("a.docx", docx("<w:p>"), "broken_document", "word/document.xml is no XML"),
        ("a.docx", LETTER[: len(LETTER) // 2], "broken_document", "archive is damaged"),
        ("a.docx", archive({"word/document.xml": b"<a/>"}), "broken_document", ""),
        ("a.docx", docx(""), "no_text", "holds no text"),
        ("a.pptx", DECK[:-100], "broken_document", "archive is damaged"),
        ("a.docx", OLE + "EncryptedPackage".encode("utf-16-le"), "encrypted_document", "password"),
        ("a.doc", OLE, "unsupported_document", "application/x-ole-storage"),
        ("a.zip", archive({"a.txt": b"text"}), "unsupported_document", "application/zip"),
    ],
    ids=[
        "unpacks to too much", "packed too well", "nested", "laughs", "no XML", "half", "no document", "empty", "torn",
        "encrypted", "of before 2007", "zip",
    ],
)  # fmt: skip
async def test_what_cannot_or_must_not_be_read_is_refused(
    auto: Auto, name: str, content: bytes, code: str, said: str
) -> None:
    found, message = await refused(auto, name, content)
    assert (found, said in message) == (code, True), message


async def test_a_pdf_is_not_for_markitdown(markitdown: Markitdown) -> None:
    assert (await refused(markitdown, "a.pdf", documents.pdf("text")))[0] == "unsupported_document"
