"""Filters as Weaviate's `where`, over the words of tokens.py."""

from collections.abc import Sequence
from typing import Any

from apps.vector_io.filters import Comparison, Filter
from apps.vector_io.providers.remote.weaviate import tokens

Where = dict[str, Any]
WORDS = "words"  # the property


def condition(filter: Filter) -> Where:
    if isinstance(filter, Comparison):
        return _compared(filter)
    return joined(filter.operator.capitalize(), [condition(part) for part in filter.filters])


def joined(operator: str, parts: Sequence[Where]) -> Where:
    return parts[0] if len(parts) == 1 else {"operator": operator, "operands": list(parts)}


def compared(path: str, operator: str, value: str | list[str]) -> Where:
    return {"path": [path], "operator": operator, "valueText": value}


def _compared(comparison: Comparison) -> Where:
    if comparison.operator not in ("eq", "in", "ne", "nin"):
        return compared(WORDS, "ContainsAny", tokens.ordered(comparison))
    same = list(dict.fromkeys(tokens.equal(comparison.key, value) for value in comparison.values))
    if comparison.operator in ("eq", "in"):
        return compared(WORDS, "ContainsAny", same or [tokens.NOTHING])
    present = compared(WORDS, "ContainsAny", [tokens.present(comparison.key)])
    # Of a list, NotEqual keeps what has no such element. `Not` and ContainsNone came with 1.33 only.
    return joined("And", [present, *(compared(WORDS, "NotEqual", word) for word in same)])
