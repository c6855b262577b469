"""Filters as PostgreSQL's SQL over the attributes' jsonb.

Containment is what its index answers. Order is jsonpath's, which compares texts by their code points and finds that
nothing of one type is less than something of another.
"""

import json
from typing import Any

from apps.vector_io.filters import Comparison, Filter, Scalar

SIGNS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def condition(filter: Filter | None) -> tuple[str, list[Any]]:
    """A condition on the column `attributes`, and its parameters."""
    if filter is None:
        return "true", []
    if isinstance(filter, Comparison):
        return _compared(filter)
    parts = [condition(part) for part in filter.filters]
    joined = f" {filter.operator.upper()} ".join(sql for sql, _ in parts)
    return f"({joined})", [value for _, values in parts for value in values]


def _compared(comparison: Comparison) -> tuple[str, list[Any]]:
    if sign := SIGNS.get(comparison.operator):
        path = f"$.{json.dumps(comparison.key)} {sign} {json.dumps(comparison.values[0])}"
        return "attributes @@ %s::jsonpath", [path]
    same = [_with(comparison.key, value) for value in comparison.values]
    any_of = f"({' OR '.join(['attributes @> %s::jsonb'] * len(same)) or 'false'})"
    if comparison.operator in ("ne", "nin"):
        return f"(attributes ? %s AND NOT {any_of})", [comparison.key, *same]
    return any_of, same


def _with(key: str, value: Scalar) -> str:
    return json.dumps({key: value})
