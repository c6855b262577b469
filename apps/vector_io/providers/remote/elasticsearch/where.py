"""Attributes as terms of one keyword field, and filters as queries of it.

A term is the key, a NUL, which no key has, the type and the value, so that a term's order is the value's among those
of its key and type. Nested documents would be several for each chunk.
"""

from typing import Any

from apps.vector_io.filters import Attributes, Comparison, Filter, Scalar
from apps.vector_io.providers.ordered import NEXT, text_of, type_of

FIELD = "attributes"
Clause = dict[str, Any]


def terms(attributes: Attributes) -> list[str]:
    """A term for each key, which says that it is there, and one for its value."""
    return [term for key, value in attributes.items() for term in (_key(key), _term(key, value))]


def clause(filter: Filter) -> Clause:
    if isinstance(filter, Comparison):
        return _compared(filter)
    parts = [clause(part) for part in filter.filters]
    return {"bool": {"filter": parts} if filter.operator == "and" else {"should": parts, "minimum_should_match": 1}}


def _compared(comparison: Comparison) -> Clause:
    key, values = comparison.key, comparison.values
    if comparison.operator in ("eq", "in"):
        return _any(key, values) if values else {"match_none": {}}
    if comparison.operator in ("ne", "nin"):
        others = {"must_not": [_any(key, values)]} if values else {}
        return {"bool": {"filter": [{"term": {FIELD: {"value": _key(key)}}}], **others}}
    return {"range": {FIELD: _bounds(key, comparison.operator, values[0])}}


def _any(key: str, values: tuple[Scalar, ...]) -> Clause:
    return {"terms": {FIELD: [_term(key, value) for value in values]}}


def _bounds(key: str, operator: str, value: Scalar) -> dict[str, str]:
    """Between the value and the end of those of its type."""
    type = type_of(value)
    if operator in ("gt", "gte"):
        return {operator: _term(key, value), "lt": _key(key) + NEXT[type]}
    return {operator: _term(key, value), "gte": _key(key) + type}


def _key(key: str) -> str:
    return f"{key}\0"


def _term(key: str, value: Scalar) -> str:
    return _key(key) + type_of(value) + text_of(value)
