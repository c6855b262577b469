"""What is shown of an upstream's error: little of it, and read in little time."""

import pytest

from llamastack.egress.sentences import LONGEST_BEGINNING, beginning, sentence


def test_markup_is_left_out() -> None:
    assert beginning(b"<style>p {}</style><p>Down for <b>repairs</b>.") == "Down for repairs ."


@pytest.mark.parametrize("tag", [b"<", b"<script", b"<style>"])
def test_tags_without_an_end_hold_nobody_up(tag: bytes) -> None:
    """Whoever answers with megabytes of them, such as a server that a caller names, would stop the loop for hours."""
    assert len(beginning(tag * 2**20)) <= LONGEST_BEGINNING


def test_a_sentence_beside_the_name_of_an_error_is_what_is_shown() -> None:
    assert sentence({"error": "InvalidArgumentError", "message": "Database [x] does not exist"}).startswith("Database")
    assert sentence({"error": "It is down.", "message": "no"}) == "It is down."
    assert sentence({"error": "overloaded", "message": None}) == "overloaded"


def test_what_moves_a_terminals_cursor_is_left_out() -> None:
    assert beginning(b"\x00no\x1b[2J\r\nroom\x9b here\xc2\x85.") == "no [2J room\ufffd here ."
