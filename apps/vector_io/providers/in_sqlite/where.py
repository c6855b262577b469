"""Filters as SQLite's SQL over the attributes' JSON."""

import json
from typing import Any

from apps.vector_io.filters import Comparison, Filter, Scalar, kind

SIGNS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
# Joined by the key, so that an object of many keys is read once; `type` tells true from 1.
VALUE = "EXISTS (SELECT 1 FROM json_each(attributes) WHERE key = ? AND {})"
TYPES = {"number": "type IN ('integer', 'real')", "string": "type = 'text'"}
BOOLEANS = {True: "type = 'true'", False: "type = 'false'"}


def condition(filter: Filter) -> tuple[str, list[Any]]:
    """A condition on the column `attributes`, and its parameters."""
    if isinstance(filter, Comparison):
        return _compared(filter)
    parts = [condition(part) for part in filter.filters]
    joined = f" {filter.operator.upper()} ".join(sql for sql, _ in parts)
    return f"({joined})", [value for _, values in parts for value in values]


def _compared(comparison: Comparison) -> tuple[str, list[Any]]:
    if comparison.operator in SIGNS:
        value = comparison.values[0]
        bound = float(value) if kind(value) == "number" else value  # SQLite takes no integer past 64 bits
        test, values = f"{TYPES[kind(value)]} AND value {SIGNS[comparison.operator]} ?", [bound]
    else:
        test, values = _any(comparison.values)
        if comparison.operator in ("ne", "nin"):
            test = f"NOT ({test})"
    return VALUE.format(test), [comparison.key, *values]


def _any(given: tuple[Scalar, ...]) -> tuple[str, list[Any]]:
    tests = [BOOLEANS[value] for value in given if isinstance(value, bool)]
    values: list[Any] = []
    for type, test in TYPES.items():
        found = [value for value in given if kind(value) == type]
        if found:
            tests.append(f"({test} AND value IN (SELECT value FROM json_each(?)))")
            values.append(json.dumps(found))
    return " OR ".join(tests) or "0", values
