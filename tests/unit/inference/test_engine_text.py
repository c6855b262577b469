"""Tokens become text in whole characters, and stop strings never show."""

from typing import Any

import pytest

from apps.inference.providers.inline.meta_reference.text import Detokenizer, StopFilter


class Bytes:
    """A tokenizer whose tokens are bytes; 0 is a special token."""

    def decode(self, tokens: list[int], **options: Any) -> str:
        return bytes(token for token in tokens if token).decode(errors="replace")


def pieces(text: str | bytes) -> list[str]:
    detokenizer = Detokenizer(Bytes())
    raw = text.encode() if isinstance(text, str) else text
    return [*(detokenizer.feed(token) for token in raw), detokenizer.flush()]


@pytest.mark.parametrize("text", ["plain", "naïve café", "日本語のテキスト", "👩‍👩‍👧‍👦 and 🇩🇪", ""])
def test_characters_arrive_whole(text: str) -> None:
    found = pieces(text)
    assert "".join(found) == text
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in found)


def test_half_a_character_at_the_end_is_left_out() -> None:
    assert "".join(pieces("ab👍".encode()[:-1])) == "ab"


def test_invalid_bytes_do_not_hold_back_what_follows() -> None:
    assert "".join(pieces(b"a\xffb")) == "a\N{REPLACEMENT CHARACTER}b"


def test_an_answer_of_nothing_but_halves_is_shown_as_it_comes() -> None:
    found = pieces(b"\xff" * 100)
    assert "".join(found[:96]) == "\N{REPLACEMENT CHARACTER}" * 96
    assert max(map(len, found)) == 8


def test_special_tokens_say_nothing() -> None:
    assert "".join(pieces(b"a\0b\0")) == "ab"


def filtered(stops: tuple[str, ...], fed: list[str]) -> tuple[list[str], bool]:
    stop_filter = StopFilter(stops)
    shown = []
    for text in fed:
        shown.append(stop_filter.feed(text))
        if stop_filter.found:
            break
    return [*shown, stop_filter.flush()], stop_filter.found


def test_a_stop_string_that_spans_tokens_is_held_back_and_never_shown() -> None:
    assert filtered(("END",), ["ab E", "N", "D more"]) == (["ab ", "", "", ""], True)


def test_what_turns_out_to_be_no_stop_string_is_shown() -> None:
    assert filtered(("END",), ["E", "N", "A", "EN"]) == (["", "", "ENA", "", "EN"], False)


def test_the_earliest_of_several_stop_strings_counts() -> None:
    assert filtered(("later", "late", "x"), ["sooner or later x"]) == (["sooner or ", ""], True)


def test_a_beginning_within_a_beginning_is_found() -> None:
    assert filtered(("aab",), ["a", "a", "a", "b"]) == (["", "", "a", "", ""], True)


def test_without_stop_strings_everything_passes_at_once() -> None:
    assert filtered((), ["a", "b"]) == (["a", "b", ""], False)
