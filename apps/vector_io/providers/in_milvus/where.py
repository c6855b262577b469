"""Filters as Milvus' expressions over the dynamic fields that hold the attributes."""

from collections.abc import Iterable

from apps.vector_io.filters import Comparison, Filter
from apps.vector_io.providers.in_milvus.values import named, value_of

SIGNS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
NOTHING = 'key == ""'
HAS = '{0} >= "b"'  # what no value is less than; a key that is missing is not greater than anything


def condition(filter: Filter | None) -> str:
    """Empty where all are kept."""
    if filter is None:
        return ""
    if isinstance(filter, Comparison):
        return _compared(filter)
    return _joined(filter.operator, [condition(part) for part in filter.filters])


def one_of(field: str, values: Iterable[str]) -> str:
    quoted = ", ".join(f'"{value}"' for value in values)
    return f"{field} in [{quoted}]"


def _compared(comparison: Comparison) -> str:
    field = f'$meta["{named(comparison.key)}"]'
    values = [value_of(value) for value in comparison.values]
    if sign := SIGNS.get(comparison.operator):
        return _ordered(field, sign, values[0])
    if comparison.operator in ("ne", "nin"):
        return _joined("and", [HAS.format(field), *(f'{field} != "{value}"' for value in values)])
    # milvus-lite has no `in` for dynamic fields
    return _joined("or", [f'{field} == "{value}"' for value in values]) if values else NOTHING


def _ordered(field: str, sign: str, value: str) -> str:
    """Among the values of one type: those whose texts begin with its letter."""
    letter = value[0]
    end = f'{field} < "{chr(ord(letter) + 1)}"' if sign.startswith(">") else f'{field} >= "{letter}"'
    return _joined("and", [f'{field} {sign} "{value}"', end])


def _joined(operator: str, parts: list[str]) -> str:
    return f"({f' {operator} '.join(parts)})"
