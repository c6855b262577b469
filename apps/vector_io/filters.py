"""OpenAI's attribute filters as a typed tree: read from JSON, checked once, and then put into each index's own query.

A comparison is true of a chunk only where it has the key; so `ne` and `nin` keep nothing that lacks it. Values of
different types are never equal, and neither is less than the other. Texts are ordered by their code points.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from llamastack.errors import BadRequest

Scalar: TypeAlias = str | float | bool
Attributes: TypeAlias = Mapping[str, Scalar]
Operator = Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"]
Junction = Literal["and", "or"]

ORDERED = ("gt", "gte", "lt", "lte")
MEMBERSHIP = ("in", "nin")
COMPARISONS = ("eq", "ne", *ORDERED, *MEMBERSHIP)
JUNCTIONS = ("and", "or")
DEEPEST = 8
MOST_COMPARISONS = 100
MOST_VALUES = 1000
LONGEST_KEY = 512
SHOWN = 60


@dataclass(frozen=True, slots=True)
class Comparison:
    """`value` is a tuple for `in` and `nin`, and one value for the others."""

    key: str
    operator: Operator
    value: Scalar | tuple[Scalar, ...]

    @property
    def values(self) -> tuple[Scalar, ...]:
        return self.value if isinstance(self.value, tuple) else (self.value,)


@dataclass(frozen=True, slots=True)
class Compound:
    operator: Junction
    filters: "tuple[Filter, ...]"


Filter: TypeAlias = Comparison | Compound


def parse(given: object, param: str = "filters") -> Filter:
    """The filter that a request's JSON means. Raises BadRequest, whose `param` says where it is wrong."""
    return _Reader().filter(given, param, 1)


def matches(filter: Filter | None, attributes: Attributes) -> bool:
    """Whether a chunk with these attributes is kept: what every index must answer alike, and what some ask."""
    if filter is None:
        return True
    if isinstance(filter, Compound):
        several = all if filter.operator == "and" else any
        return several(matches(part, attributes) for part in filter.filters)
    if filter.key not in attributes:
        return False
    return _compared(filter, attributes[filter.key])


def same(one: Scalar, other: Scalar) -> bool:
    """Equal, and of one type: `true` is not 1."""
    return kind(one) == kind(other) and one == other


def kind(value: object) -> str:
    """`boolean`, `number`, `string` or, for what an attribute cannot be, `other`."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "string" if isinstance(value, str) else "other"


def _compared(comparison: Comparison, found: Scalar) -> bool:
    if comparison.operator in ("eq", "in"):
        return any(same(found, value) for value in comparison.values)
    if comparison.operator in ("ne", "nin"):
        return not any(same(found, value) for value in comparison.values)
    value: Any = comparison.value
    return kind(found) == kind(value) and _ordered(comparison.operator, found, value)


def _ordered(operator: Operator, found: Any, value: Any) -> bool:
    if operator in ("gt", "gte"):
        return bool(found > value or (operator == "gte" and found == value))
    return bool(found < value or (operator == "lte" and found == value))


class _Reader:
    """Reads one filter, and counts its comparisons: an index's query has room for so many."""

    def __init__(self) -> None:
        self.comparisons = 0

    def filter(self, given: object, param: str, depth: int) -> Filter:
        if not isinstance(given, Mapping):
            raise BadRequest("A filter is an object with `type`.", param=param)
        operator = given.get("type")
        if operator in JUNCTIONS:
            return self.compound(given, param, depth)
        if operator in COMPARISONS:
            return self.comparison(given, param)
        known = ", ".join((*COMPARISONS, *JUNCTIONS))
        raise BadRequest(f"'{str(operator)[:SHOWN]}' is no filter type. Use one of {known}.", param=f"{param}.type")

    def compound(self, given: Mapping[str, object], param: str, depth: int) -> Compound:
        if depth >= DEEPEST:
            raise BadRequest(f"Filters may be nested {DEEPEST} deep.", param=param)
        _only(given, ("type", "filters"), param)
        parts = given.get("filters")
        if not isinstance(parts, Sequence) or isinstance(parts, str) or not parts:
            raise BadRequest("`filters` is a list of one filter or more.", param=f"{param}.filters")
        read = tuple(self.filter(part, f"{param}.filters[{place}]", depth + 1) for place, part in enumerate(parts))
        return Compound(cast(Junction, given["type"]), read)

    def comparison(self, given: Mapping[str, object], param: str) -> Comparison:
        self.comparisons += 1
        if self.comparisons > MOST_COMPARISONS:
            raise BadRequest(f"A filter has at most {MOST_COMPARISONS} comparisons.", param=param)
        _only(given, ("type", "key", "value"), param)
        operator = cast(Operator, given["type"])
        return Comparison(_key(given.get("key"), f"{param}.key"), operator, _value(given, operator, f"{param}.value"))


def _only(given: Mapping[str, object], known: Sequence[str], param: str) -> None:
    if unknown := next((name for name in given if name not in known), None):
        name = str(unknown)[:SHOWN]
        raise BadRequest(f"This filter has no '{name}': it takes {', '.join(known)}.", param=f"{param}.{name}")


def _key(given: object, param: str) -> str:
    if not isinstance(given, str) or not given or len(given) > LONGEST_KEY:
        raise BadRequest(f"The key is a text of 1 to {LONGEST_KEY} characters.", param=param)
    return storable(given, param)


def _value(given: Mapping[str, object], operator: Operator, param: str) -> Scalar | tuple[Scalar, ...]:
    value = given.get("value")
    if operator in MEMBERSHIP:
        if not isinstance(value, Sequence) or isinstance(value, str) or len(value) > MOST_VALUES:
            raise BadRequest(f"`{operator}` takes a list of at most {MOST_VALUES} values.", param=param)
        return tuple(_scalar(item, f"{param}[{place}]") for place, item in enumerate(value))
    scalar = _scalar(value, param)
    if operator in ORDERED and isinstance(scalar, bool):
        raise BadRequest(f"`{operator}` compares numbers or texts, not booleans.", param=param)
    return scalar


def _scalar(value: object, param: str) -> Scalar:
    if isinstance(value, str):
        return storable(value, param)
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float) and abs(value) < 2**1023 and math.isfinite(value):
        return value
    raise BadRequest("The value is a text, a finite number or a boolean; `in` and `nin` take a list.", param=param)


def storable(text: str, param: str) -> str:
    """No NUL, and no half of a character: no index could hold them."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise BadRequest("This text has a character that nothing can hold.", param=param)
    return text
