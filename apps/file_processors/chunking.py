"""Pages become chunks: windows of tokens that overlap. Pure functions, so the same document gives the same chunks.

A chunk is a piece of one page as it stands there, so that whoever quotes it can name the page. A window ends where the
text does, if that is not far: at a paragraph's end before a line's, a sentence's, a word's.
"""

import re
import uuid
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from apps.file_processors.protocol import Page

SPACE = uuid.UUID("6f4b3b2e-6a0e-5f0c-9c0e-5b6b8f3f7a55")  # of chunk ids; drawn once
LONGEST_TOKEN = 100  # characters
BLOCK = 200_000  # characters whose tokens are found at once
SOUGHT = 5  # an end is looked for in the last fifth of a window
ENDS = (re.compile(r"\n\s*\n"), re.compile(r"\n"), re.compile(r"[.!?…:;]['\")\]»”’]*\s|[。！？]"), re.compile(r"\s"))
# About what the tokenizers of language models make of text: a short word is one token, a long one several, and so is
# each sign of the scripts that put no blanks between words.
ROUGHLY = re.compile(
    r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]|[^\W\d_]{1,6}|\d{1,3}|[^\w\s]|_+", re.UNICODE
)


class Tokenizer(Protocol):
    """An embedding model's own where it has one: what counts is where its tokens stand in the text."""

    @property
    def name(self) -> str: ...

    def spans(self, text: str) -> Sequence[tuple[int, int]]:
        """Where each token begins and ends, in their order, without those that stand for nothing in the text."""
        ...


class Rough:
    """Counts tokens where no model is named, or its tokenizer is not here."""

    name = "rough"

    def spans(self, text: str) -> Sequence[tuple[int, int]]:
        return [match.span() for match in ROUGHLY.finditer(text)]


@dataclass(frozen=True)
class Strategy:
    """How many tokens a chunk has at most, and how many of them the next one repeats: no more than half."""

    size: int = 800
    overlap: int = 400

    def __post_init__(self) -> None:
        if not 0 <= self.overlap <= self.size // 2:
            raise ValueError(f"the overlap must be from 0 to {self.size // 2} tokens, half of the chunk")


@dataclass(frozen=True)
class TextChunk:
    """`text` is the `page`'s from the character `start`; `tokens` is how many it has."""

    text: str
    page: int | None
    start: int
    tokens: int


def chunk(pages: Sequence[Page], strategy: Strategy, tokenizer: Tokenizer) -> list[TextChunk]:
    """The chunks of all pages, in their order. Pages without text have none."""
    return list(chunked(pages, strategy, tokenizer))


def chunked(pages: Sequence[Page], strategy: Strategy, tokenizer: Tokenizer) -> Iterator[TextChunk]:
    """The same, made as they are asked for: whoever has enough of them spares the rest of a long text."""
    for page in pages:
        yield from _of_page(page, strategy, tokenizer)


def chunk_id(document_id: str, piece: TextChunk) -> str:
    """The same for the same chunk of the same document, whenever and wherever it is made."""
    return str(uuid.uuid5(SPACE, f"{document_id}\n{piece.page}\n{piece.start}\n{piece.text}"))


class _Tokens:
    """Where the tokens of a text begin and end, found as far as they are asked for."""

    def __init__(self, text: str, tokenizer: Tokenizer) -> None:
        self.starts, self.ends = array("L"), array("L")
        self._text, self._tokenizer = text, tokenizer
        self._read = 0

    def reach(self, count: int) -> int:
        """How many there are of the first `count`."""
        while len(self.starts) < count and self._read < len(self._text):
            self._read_on()
        return min(count, len(self.starts))

    def _read_on(self) -> None:
        start, end = self._read, self._read + BLOCK
        if end < len(self._text):  # before a blank, with which some tokens begin
            end = next((place for place in range(end, start, -1) if self._text[place].isspace()), end)
        for begins, ends in self._tokenizer.spans(self._text[start:end]):
            # To some tokenizers a word of any length is one token: data that stands in a text would be one chunk.
            for first in range(begins, ends, LONGEST_TOKEN):
                self.starts.append(start + first)
                self.ends.append(start + min(first + LONGEST_TOKEN, ends))
        self._read = end


def _of_page(page: Page, strategy: Strategy, tokenizer: Tokenizer) -> Iterator[TextChunk]:
    tokens = _Tokens(page.text, tokenizer)
    starts, ends = tokens.starts, tokens.ends
    first = 0
    while (count := tokens.reach(first + strategy.size + 1)) > first:
        last = min(first + strategy.size, count)
        if last < count:
            last = _end(page.text, starts, ends, last, max(first + 1, last - strategy.size // SOUGHT))
        text = page.text[starts[first] : ends[last - 1]]
        if bare := text.strip():
            start = starts[first] + len(text) - len(text.lstrip())
            yield TextChunk(bare, page.number, start, last - first)
        if last == count:
            return
        first = max(_begin(page.text, starts, last - strategy.overlap, last), first + 1)


def _end(text: str, starts: Sequence[int], ends: Sequence[int], last: int, least: int) -> int:
    """The token before which a window ends: `last`, or one from `least` on that is a better place."""
    low, high = ends[least - 1], starts[last]
    for pattern in ENDS:
        found = None
        for found in pattern.finditer(text, max(low - 1, 0), high):  # noqa: B007 - the last one is wanted
            pass
        if found is not None and found.end() > low:
            return max(least, min(last, bisect_left(starts, found.end())))
    return last


def _begin(text: str, starts: Sequence[int], wanted: int, last: int) -> int:
    """The token that the next window begins with: `wanted`, or the first after it that begins a word."""
    for token in range(wanted, last):
        if starts[token] == 0 or text[starts[token]].isspace() or text[starts[token] - 1].isspace():
            return token
    return last if wanted == last else wanted
