"""Attributes as terms of one keyword field, and filters as Ickle's conditions on it.

A term is the key, the type and the value, of which keys and texts stand as hex digits: so nothing of a caller's is read
as a query, and the order of terms is that of values. Each value ends in `$`, which is less than any digit, and `%` is
between the two: `between` takes its bounds with it.
"""

from apps.vector_io.filters import Attributes, Comparison, Filter, Scalar
from apps.vector_io.providers.ordered import NEXT, text_of, type_of

FIELD = "i.terms"
NOWHERE = f"{FIELD} = '!'"  # which no term is


def terms(attributes: Attributes) -> list[str]:
    """A term for each key, which says that it is there, and one for its value."""
    return [term for key, value in attributes.items() for term in (_key(key), _value(key, value) + "$")]


def condition(filter: Filter) -> str:
    if isinstance(filter, Comparison):
        return _compared(filter)
    return "(" + f" {filter.operator} ".join(condition(part) for part in filter.filters) + ")"


def _compared(comparison: Comparison) -> str:
    key, values = comparison.key, comparison.values
    if comparison.operator in ("eq", "in"):
        return _any(key, values) if values else NOWHERE
    if comparison.operator in ("ne", "nin"):
        others = f" and not {_any(key, values)}" if values else ""
        return f"({FIELD} = '{_key(key)}'{others})"
    low, high = _bounds(key, comparison.operator, values[0])
    return f"{FIELD} between '{low}' and '{high}'"


def _any(key: str, values: tuple[Scalar, ...]) -> str:
    return "(" + " or ".join(f"{FIELD} = '{_value(key, value)}$'" for value in values) + ")"


def _bounds(key: str, operator: str, value: Scalar) -> tuple[str, str]:
    type, bound = type_of(value), _value(key, value)
    if operator in ("gt", "gte"):
        return bound + ("%" if operator == "gt" else "$"), _key(key) + NEXT[type]
    return _key(key) + type, bound + ("" if operator == "lt" else "$")


def _key(key: str) -> str:
    return f"{key.encode().hex()}."


def _value(key: str, value: Scalar) -> str:
    """A term but for its end."""
    text = text_of(value)
    return _key(key) + type_of(value) + (text.encode().hex() if isinstance(value, str) else text)
