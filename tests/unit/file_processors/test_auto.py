"""inline::auto: a document of any kind goes to the parser for its kind."""

from pathlib import Path
from typing import Any

import pytest

from apps.file_processors.protocol import Document, Page, Parsed
from apps.file_processors.providers.inline.auto import Auto, AutoConfig
from llamastack.call import ANONYMOUS_ADMIN, Call
from llamastack.errors import StackError

CALL = Call(ANONYMOUS_ADMIN)


async def parsed(name: str, content: bytes | Path, **config: Any) -> Parsed:
    return await Auto("auto", AutoConfig(**config)).parse(CALL, Document(name, content))


async def refused(name: str, content: bytes | Path, **config: Any) -> tuple[int, str | None]:
    with pytest.raises(StackError) as caught:
        await parsed(name, content, **config)
    assert caught.value.param == "file"
    return caught.value.status, caught.value.code


async def test_text_is_one_page_without_a_number() -> None:
    answer = await parsed("note.txt", b"Hello.\r\nYou.")
    assert answer == Parsed((Page(None, "Hello.\nYou."),), "text", "text/plain", {"encoding": "utf-8"})


async def test_a_file_is_read_from_its_path(tmp_path: Path) -> None:
    path = tmp_path / "bytes"
    path.write_text("# Title")
    answer = await parsed("readme.md", path)
    assert (answer.pages[0].text, answer.mime_type) == ("# Title", "text/markdown")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("none.txt", b"", (400, "empty_document")),
        ("blank.txt", b" \n\t ", (400, "empty_document")),
        ("program.bin", bytes(range(256)) * 8, (400, "unsupported_document")),
        ("picture.txt", b"\x89PNG\r\n\x1a\n" + bytes(64), (400, "unsupported_document")),
    ],
)
async def test_what_is_no_document_is_refused_with_its_reason(
    name: str, content: bytes, reason: tuple[int, str]
) -> None:
    assert await refused(name, content) == reason


async def test_a_document_may_be_so_large_and_no_larger(tmp_path: Path) -> None:
    path = tmp_path / "bytes"
    path.write_bytes(b"abcd")
    for content in (b"abcd", path):
        assert (await parsed("a.txt", content, max_file_bytes=4)).pages[0].text == "abcd"
        assert await refused("a.txt", content, max_file_bytes=3) == (413, "document_too_large")


async def test_an_option_that_it_does_not_know_is_an_error() -> None:
    with pytest.raises(StackError) as caught:
        await Auto("auto", AutoConfig()).parse(CALL, Document("a.txt", b"a"), {"ocr": True})
    assert (caught.value.param, caught.value.code) == ("options.ocr", "unsupported_parameter")
