"""Filters as Qdrant's, over what each point says of its attributes in fields that are indexed for all keys at once.

Qdrant tells neither 1.0 from 1 nor orders texts, and would need an index for every key that somebody invents. So a
point has two lists beside its attributes: `matched`, texts that each say a key, or a key with its value and that
value's type; and `ordered`, numbers by which values of one key are more or less than others. A text is as many numbers
as it has pieces of six bytes: UTF-8's bytes are in the order of code points, and a float holds six of them.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

from apps.vector_io.filters import Attributes, Comparison, Filter, Scalar, kind
from apps.vector_io.providers.qdrant.fields import Condition

PIECE = 6  # bytes
LONGEST = 200  # characters of a text in `matched`; a longer one is its hash
NOTHING = {"key": "matched", "match": {"value": ""}}
JUNCTIONS = {"and": "must", "or": "should"}
STRICT = {"gt": "gt", "gte": "gt", "lt": "lt", "lte": "lt"}


def indexed(attributes: Attributes) -> dict[str, Any]:
    """What a point says of its attributes so that filters find it."""
    matched = [text for key, value in attributes.items() for text in (_said(key), _said(key, value))]
    sizes = (size for key, value in attributes.items() for size in _sizes(key, value))
    return {"matched": matched, "ordered": [{"key": name, "value": number} for name, number in sizes]}


def condition(filter: Filter) -> Condition:
    if isinstance(filter, Comparison):
        return _compared(filter)
    return {JUNCTIONS[filter.operator]: [condition(part) for part in filter.filters]}


def _compared(comparison: Comparison) -> Condition:
    key, operator = comparison.key, comparison.operator
    if operator in STRICT:
        return _ordered(key, operator, comparison.values[0])
    same = [_said(key, value) for value in comparison.values]
    any_of = {"key": "matched", "match": {"any": same}} if same else NOTHING
    if operator in ("eq", "in"):
        return any_of
    return {"must": [{"key": "matched", "match": {"value": _said(key)}}], "must_not": [any_of]}


def _ordered(key: str, operator: str, value: Scalar) -> Condition:
    """The first piece that differs decides; where none does, the values are equal."""
    pieces = list(_sizes(key, value))
    equal = [_sized(name, {"gte": number, "lte": number}) for name, number in pieces]
    cases: list[Condition] = [
        {"must": [*equal[:place], _sized(name, {STRICT[operator]: number})]}
        for place, (name, number) in enumerate(pieces)
    ]
    if operator != STRICT[operator]:
        cases.append({"must": equal})
    return {"should": cases}


def _sized(key: str, range: dict[str, float]) -> Condition:
    """Of one element of the list: its key and its number are not another's."""
    own = [{"key": "key", "match": {"value": key}}, {"key": "value", "range": range}]
    return {"nested": {"key": "ordered", "filter": {"must": own}}}


def _sizes(key: str, value: Scalar) -> Iterator[tuple[str, float]]:
    """Keys and numbers that tell whether a value is more than another of its type. A boolean has none."""
    if kind(value) == "number":
        yield short(json.dumps([key, "number"], ensure_ascii=False)), float(value)
    elif isinstance(value, str):
        for place, number in enumerate(_pieces(value)):
            yield short(json.dumps([key, "text", place], ensure_ascii=False)), number


def _pieces(text: str) -> Iterable[float]:
    """A byte that no text has ends it, so that one that goes on is more."""
    data = text.encode() + b"\0"
    for start in range(0, len(data), PIECE):
        yield float(int.from_bytes(data[start : start + PIECE].ljust(PIECE, b"\0")))


def _said(*key_and_value: Scalar) -> str:
    """As JSON, which tells the types apart; equal numbers are written alike."""
    return short(json.dumps([_plain(part) for part in key_and_value], ensure_ascii=False))


def _plain(value: Scalar) -> Scalar:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def short(text: str) -> str:
    return text if len(text) <= LONGEST else hashlib.sha256(text.encode()).hexdigest()
