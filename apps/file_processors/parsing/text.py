"""Plain text: which encoding it is in, and what of it a database can hold."""

import codecs
import re

from apps.file_processors.parsing import latin

SAMPLE = 64 * 1024  # bytes that the encoding is guessed from
# UTF-32 first: its mark begins with that of UTF-16.
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What no text needs: NUL and its like (PostgreSQL holds no NUL), and surrogates that stand alone.
UNHELD = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


class NoText(ValueError):
    """The bytes are not text of any encoding."""


def decoded(content: bytes) -> tuple[str, str]:
    """The text and the name of its encoding: what its mark says, else UTF-8, else the most likely one."""
    for mark, encoding in MARKS:
        if content.startswith(mark):
            return held(content.decode(encoding, "replace")), encoding.removesuffix("-sig")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return _guessed(content)
    if "\x00" in text[:SAMPLE]:
        return _guessed(content)
    return held(text), "utf-8"


def _guessed(content: bytes) -> tuple[str, str]:
    encoding = _encoding(content[:SAMPLE])
    text = content.decode(encoding, "replace")
    if "\x00" in text[:SAMPLE]:
        raise NoText("its bytes are no text of any known encoding.")
    return held(text), encoding.replace("_", "-")


def _encoding(sample: bytes) -> str:
    from charset_normalizer import from_bytes

    if _is_nearly_utf8(sample):
        return "utf-8"
    if (encoding := latin.guessed(sample)) is not None:
        return encoding
    best = from_bytes(sample).best()
    if best is None:
        raise NoText("its bytes are no text of any known encoding.")
    return best.encoding


def _is_nearly_utf8(sample: bytes) -> bool:
    """With a fault somewhere, or cut off: of what stands beyond ASCII, most can be read."""
    beyond = [character for character in sample.decode("utf-8", "replace") if character > "\x7f"]
    return 2 * beyond.count("\ufffd") < len(beyond)


def held(text: str) -> str:
    """The text without what a database or JSON cannot hold, and with one sign for the end of a line."""
    return UNHELD.sub("", text.replace("\r\n", "\n").replace("\r", "\n").replace("\x0c", "\n"))
