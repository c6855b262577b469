"""Content parts of OpenAI's as content blocks of Anthropic's."""

import base64
from typing import Any

import pytest

from llamastack.errors import BadRequest, UnsupportedParameter
from tests.unit.inference.anthropic.asking import JSON, turns
from tests.unit.inference.anthropic.saying import text

MARK = {"cache_control": {"type": "ephemeral"}}


def block(part: JSON) -> JSON:
    """What becomes of a part beside a text."""
    first, second = turns({"role": "user", "content": [{"type": "text", "text": "See:"}, part]})[0]["content"]
    assert first == text("See:")
    made: JSON = second
    return made


def image(url: str, **more: Any) -> JSON:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def file(data: Any, **more: Any) -> JSON:
    return {"type": "file", "file": {"file_data": data, **more}}


def encoded(words: bytes) -> str:
    return base64.b64encode(words).decode()


@pytest.mark.parametrize("kind", ["image/png", "image/jpeg", "image/gif", "image/webp"])
def test_an_image_itself_is_sent_as_base64(kind: str) -> None:
    made = block(image(f"data:{kind};base64,AAAA") | MARK)
    assert made == {"type": "image", "source": {"type": "base64", "media_type": kind, "data": "AAAA"}} | MARK


@pytest.mark.parametrize("detail", ["auto", "high"])
def test_an_address_of_an_image_is_anthropics_to_fetch(detail: str) -> None:
    url = "https://images.example/cat.png"
    assert block(image(url, detail=detail)) == {"type": "image", "source": {"type": "url", "url": url}}


@pytest.mark.parametrize(
    "url",
    [
        "data:image/tiff;base64,AAAA",
        "data:image/png,AAAA",
        "data:image/gif;base64",
        "ftp://images.example/cat.png",
        "cat.png",
        "file:///etc/passwd",
    ],
)
def test_what_is_no_image_for_claude_is_refused_by_name_and_not_repeated(url: str) -> None:
    with pytest.raises(BadRequest) as caught:
        block(image(url))
    assert caught.value.param == "messages[0].content[1].image_url.url"
    assert url not in caught.value.message


def test_a_pdf_is_a_document_with_its_name() -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}
    made = block(file("data:application/pdf;base64,AAAA", filename="a.pdf"))
    assert made == {"type": "document", "source": source, "title": "a.pdf"}


def test_a_document_may_be_at_an_address_or_plain_text_and_have_citations() -> None:
    url = "https://files.example/a.pdf"
    assert block(file(url)) == {"type": "document", "source": {"type": "url", "url": url}}
    plain = f"data:text/plain;charset=utf-8;base64,{encoded('grün'.encode())}"
    source = {"type": "text", "media_type": "text/plain", "data": "grün"}
    cited = {"citations": {"enabled": True}} | MARK
    assert block(file(plain) | cited) == {"type": "document", "source": source} | cited


@pytest.mark.parametrize(
    "data",
    [
        "data:application/zip;base64,AAAA",
        f"data:text/plain;base64,{encoded(bytes([255, 254, 253]))}",
        "data:text/plain;base64,no base64",
        "AAAA",
    ],
)
def test_a_file_that_claude_cannot_read_is_refused_by_name(data: str) -> None:
    with pytest.raises(BadRequest) as caught:
        block(file(data))
    assert caught.value.param == "messages[0].content[1].file.file_data"


def test_a_part_without_its_file_is_refused() -> None:
    with pytest.raises(BadRequest) as caught:
        block({"type": "file"})
    assert caught.value.param == "messages[0].content[1].file"


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (image("https://images.example/cat.png", odd=1), "image_url.odd"),
        (image("https://images.example/cat.png") | {"odd": 1}, "odd"),
        ({"type": "text", "text": "Hi", "odd": 1}, "odd"),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, "input_audio"),
        ({"type": "file", "file": {"file_id": "file-1"}}, "file.file_id"),
        (file("https://files.example/a.pdf", odd=1), "file.odd"),
        (file("https://files.example/a.pdf") | {"odd": 1}, "odd"),
    ],
    ids=str,
)
def test_what_a_part_cannot_say_is_refused_by_name(part: JSON, name: str) -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        block(part)
    assert caught.value.param == f"messages[0].content[1].{name}"
