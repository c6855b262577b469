"""What is kept of an input file while it is checked is small, whatever the file holds."""

import json
from typing import Any

from apps.batches.lines import MOST_ERRORS, Checked, Line

CHAT = "/v1/chat/completions"


def checked(*requests: dict[str, Any]) -> Checked:
    found = Checked(CHAT)
    for number, request in enumerate(requests, 1):
        found.add(Line(number, json.dumps(request).encode()))
    return found


def request(custom_id: str, model: str) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": {"model": model}}


def test_a_line_with_thousands_of_unknown_fields_has_no_more_errors_than_a_file() -> None:
    found = checked(request("a", "m") | dict.fromkeys(map(str, range(10_000)), 1))
    assert (len(found.errors), found.full) == (MOST_ERRORS, True)


def test_long_custom_ids_and_models_are_told_apart_and_not_kept() -> None:
    long = "a" * 10_000
    found = checked(*(request(f"{long}{number}", f"{long}{number}") for number in range(5)), request(f"{long}3", "m"))
    assert [(error.code, error.line) for error in found.errors] == [("duplicate_custom_id", 6)]
    assert (found.model, len(found.models), max(map(len, found.custom_ids))) == (None, 2, 32)


def test_it_is_told_where_a_line_is_no_json() -> None:
    found = Checked(CHAT)
    found.add(Line(1, b'{"custom_id": NaN}'))
    told = "This line is not valid JSON: unexpected character, expected a JSON value, at character 15."
    assert [error.message for error in found.errors] == [told]
