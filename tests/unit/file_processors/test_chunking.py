"""Windows of tokens: none too large, none lost, each verbatim in its page, the same ones each time."""

import re
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.file_processors.chunking import BLOCK, LONGEST_TOKEN, Rough, Strategy, TextChunk, chunk, chunk_id
from apps.file_processors.chunking import chunked as chunked_lazily
from apps.file_processors.protocol import Page

ROUGH = Rough()
SENTENCE = "The quick brown fox jumps over the lazy dog number {}. "
LONG = "".join(SENTENCE.format(number) for number in range(400))


class Letters:
    """A tokenizer that cuts anywhere: every character is a token."""

    name = "letters"

    def spans(self, text: str) -> list[tuple[int, int]]:
        return [(place, place + 1) for place in range(len(text))]


def chunked(text: str, size: int = 800, overlap: int = 400) -> list[TextChunk]:
    return chunk([Page(None, text)], Strategy(size, overlap), ROUGH)


def test_a_short_text_is_one_chunk() -> None:
    assert chunked("  Hello there.\n") == [TextChunk("Hello there.", None, 2, 3)]


def test_pages_without_text_have_no_chunks() -> None:
    assert chunk([Page(1, ""), Page(2, " \n"), Page(3, "text")], Strategy(), ROUGH) == [TextChunk("text", 3, 0, 1)]


def test_a_chunk_is_of_one_page_and_names_it() -> None:
    pieces = chunk([Page(number, LONG) for number in (1, 2)], Strategy(100, 50), ROUGH)
    assert [piece.page for piece in pieces] == sorted(piece.page or 0 for piece in pieces)
    assert {piece.page for piece in pieces} == {1, 2}


def test_windows_overlap_by_about_what_is_asked_for_and_end_with_a_sentence() -> None:
    pieces = chunked(LONG, 100, 50)
    assert all(80 <= piece.tokens <= 100 for piece in pieces[:-1])
    assert all(piece.text.endswith(".") for piece in pieces)
    for one, other in pairwise(pieces):
        shared = one.start + len(one.text) - other.start
        assert 0.7 * 50 <= len(ROUGH.spans(LONG[other.start : other.start + shared])) <= 50


def test_without_overlap_every_word_stands_once() -> None:
    assert " ".join(piece.text for piece in chunked(LONG, 100, 0)) == LONG.strip()


def test_a_window_ends_with_a_paragraph_rather_than_a_sentence() -> None:
    text = "word " * 90 + "\n\nNext one. " + "word " * 50
    assert chunked(text, 100, 0)[0].text == ("word " * 90).strip()


def test_a_text_without_any_blank_is_cut_all_the_same() -> None:
    pieces = chunk([Page(None, "x" * 1000)], Strategy(100, 50), Letters())
    assert [(piece.start, piece.tokens) for piece in pieces] == [(start, 100) for start in range(0, 950, 50)]


class Words:
    """A tokenizer to which a word of any length is one token. It knows how much it has read."""

    name = "words"

    def __init__(self) -> None:
        self.characters = 0

    def spans(self, text: str) -> list[tuple[int, int]]:
        self.characters += len(text)
        return [match.span() for match in re.finditer(r"\S+", text)]


def test_data_without_blanks_is_no_chunk_of_any_length() -> None:
    pieces = chunk([Page(None, "Data: " + "x" * 100_000)], Strategy(100, 0), Words())
    assert max(len(piece.text) for piece in pieces) <= 100 * LONGEST_TOKEN
    assert "".join(piece.text for piece in pieces) == "Data: " + "x" * 100_000


def test_a_text_of_many_blocks_is_chunked_as_one() -> None:
    words = [f"word{number}" for number in range(100_000)]
    text = " ".join(words)
    assert len(text) > 4 * BLOCK
    pieces = chunk([Page(None, text)], Strategy(100, 0), Words())
    assert [word for piece in pieces for word in piece.text.split()] == words
    assert {piece.tokens for piece in pieces} == {100}
    assert all(text[piece.start :].startswith(piece.text) for piece in pieces)


def test_a_text_is_read_as_far_as_its_chunks_are_asked_for() -> None:
    tokenizer = Words()
    list(islice(chunked_lazily([Page(None, "word " * BLOCK)], Strategy(100, 50), tokenizer), 10))
    assert tokenizer.characters <= BLOCK


@pytest.mark.parametrize("overlap", [-1, 51, 100])
def test_an_overlap_of_more_than_half_is_refused(overlap: int) -> None:
    with pytest.raises(ValueError, match="from 0 to 50"):
        Strategy(100, overlap)


def test_an_id_is_of_the_document_and_the_place() -> None:
    one, other = chunked(LONG, 100, 50)[:2]
    assert chunk_id("file-1", one) == chunk_id("file-1", chunked(LONG, 100, 50)[0])
    assert len({chunk_id("file-1", one), chunk_id("file-2", one), chunk_id("file-1", other)}) == 3


@given(st.text(st.sampled_from("ab.\n 語é1!\U0001f600"), max_size=400), st.integers(1, 40), st.data(), st.booleans())
def test_whatever_the_text_its_chunks_are_small_enough_verbatim_and_leave_nothing_out(
    text: str, size: int, data: st.DataObject, letters: bool
) -> None:
    tokenizer = Letters() if letters else ROUGH
    pieces = chunk([Page(7, text)], Strategy(size, data.draw(st.integers(0, size // 2))), tokenizer)
    covered: set[int] = set()
    for piece in pieces:
        assert text[piece.start : piece.start + len(piece.text)] == piece.text
        assert 1 <= len(tokenizer.spans(piece.text)) <= piece.tokens <= size
        covered.update(range(piece.start, piece.start + len(piece.text)))
    wanted = {place for span in tokenizer.spans(text) for place in range(*span) if not text[place].isspace()}
    assert wanted <= covered
    assert [piece.start for piece in pieces] == sorted(piece.start for piece in pieces)
