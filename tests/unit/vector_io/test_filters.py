from typing import Any

import pytest

from apps.vector_io.filters import Comparison, Compound, matches, parse
from llamastack.errors import BadRequest

ATTRIBUTES = {"year": 2024.0, "author": "Zoë", "draft": True, "day": "2024-05-01"}


def comparison(operator: str, key: str, value: Any) -> dict[str, Any]:
    return {"type": operator, "key": key, "value": value}


@pytest.mark.parametrize(
    ("operator", "key", "value", "kept"),
    [
        ("eq", "year", 2024, True),
        ("eq", "year", "2024", False),
        ("eq", "draft", True, True),
        ("eq", "draft", 1, False),
        ("eq", "author", "Zoë", True),
        ("ne", "author", "Ann", True),
        ("ne", "author", 5, True),
        ("ne", "author", "Zoë", False),
        ("gt", "year", 2023, True),
        ("gt", "year", 2024, False),
        ("gte", "year", 2024, True),
        ("lt", "year", 2024.5, True),
        ("lte", "year", 2023, False),
        ("gt", "year", "2023", False),
        ("gt", "draft", 0, False),
        ("lt", "day", "2024-06-01", True),
        ("in", "author", ["Ann", "Zoë"], True),
        ("in", "author", [], False),
        ("nin", "author", ["Ann"], True),
        ("nin", "author", ["Zoë"], False),
        ("eq", "missing", 1, False),
        ("ne", "missing", 1, False),
        ("nin", "missing", [1], False),
        ("lt", "missing", 1, False),
    ],
)
def test_a_comparison_keeps_what_it_says(operator: str, key: str, value: Any, kept: bool) -> None:
    assert matches(parse(comparison(operator, key, value)), ATTRIBUTES) is kept


def test_compounds_are_nested() -> None:
    either = {"type": "or", "filters": [comparison("eq", "author", "Ann"), comparison("gte", "year", 2000)]}
    read = parse({"type": "and", "filters": [comparison("eq", "draft", True), either]})
    assert read == Compound(
        "and",
        (
            Comparison("draft", "eq", True),
            Compound("or", (Comparison("author", "eq", "Ann"), Comparison("year", "gte", 2000))),
        ),
    )
    assert matches(read, ATTRIBUTES)
    assert not matches(read, ATTRIBUTES | {"draft": False})


def test_without_a_filter_everything_is_kept() -> None:
    assert matches(None, {})


def nested(depth: int) -> dict[str, Any]:
    inner = comparison("eq", "a", 1) if depth == 1 else nested(depth - 1)
    return {"type": "and", "filters": [inner]}


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ("year > 3", "filters"),
        ({}, "filters.type"),
        (comparison("like", "a", "b"), "filters.type"),
        ({"type": "eq", "value": 1}, "filters.key"),
        ({"type": "eq", "key": "", "value": 1}, "filters.key"),
        ({"type": "eq", "key": "a"}, "filters.value"),
        (comparison("eq", "a", [1]), "filters.value"),
        (comparison("eq", "a", None), "filters.value"),
        (comparison("eq", "a", float("nan")), "filters.value"),
        (comparison("eq", "a", 10**400), "filters.value"),
        (comparison("eq", "a", "\0"), "filters.value"),
        (comparison("eq", "\ud800", 1), "filters.key"),
        (comparison("gt", "a", True), "filters.value"),
        (comparison("in", "a", "text"), "filters.value"),
        (comparison("in", "a", [1, {}]), "filters.value[1]"),
        (comparison("nin", "a", list(range(1001))), "filters.value"),
        (comparison("eq", "a", 1) | {"values": 2}, "filters.values"),
        ({"type": "and"}, "filters.filters"),
        ({"type": "or", "filters": []}, "filters.filters"),
        ({"type": "or", "filters": "ab"}, "filters.filters"),
        ({"type": "or", "filters": [comparison("eq", "a", 1), comparison("is", "a", 1)]}, "filters.filters[1].type"),
        (nested(8), "filters" + ".filters[0]" * 7),
        ({"type": "or", "filters": [comparison("eq", "a", 1)] * 101}, "filters.filters[100]"),
    ],
)
def test_a_filter_that_means_nothing_is_refused_and_says_where(given: Any, param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse(given)
    assert refused.value.param == param
    assert refused.value.message.endswith(".")


def test_the_deepest_filter_is_read() -> None:
    assert matches(parse(nested(7)), {"a": 1})
