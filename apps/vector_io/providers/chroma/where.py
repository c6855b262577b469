"""Filters as Chroma's `where`, over keys that are made of a chunk's attributes.

Chroma orders numbers alone, does not tell a key that is missing from one of another value, and reads decimal digits
with an error of its own. So an attribute `year` is kept as: `has:year`; `is:year`, its value and type as a text, for
what is equal; and for what is ordered whole numbers, whose order is that of the values: `number:year`, or for a text
`order0:year`, `order1:year` … of seven bytes each, with `start1:year` … that tells of what came before them.

https://docs.trychroma.com/docs/querying-collections/metadata-filtering
"""

import hashlib
import struct
from collections.abc import Iterator
from typing import Any

from apps.vector_io.filters import Attributes, Comparison, Filter, Scalar, kind
from apps.vector_io.providers.chroma.engine import Where

BYTES = 7  # of a text in one number: Chroma's have 64 bits, with a sign
SIGNS = {"gt": "$gt", "gte": "$gte", "lt": "$lt", "lte": "$lte"}
NEVER: Where = {"has": {"$eq": True}}  # a key that no chunk has
PREFIXES = ("has:", "is:", "number:", "order", "start")


def keys(attributes: Attributes) -> dict[str, Any]:
    """What a chunk's metadata has of its attributes, for filters."""
    made: dict[str, Any] = {}
    for key, value in attributes.items():
        made |= {f"has:{key}": True, f"is:{key}": tagged(value)}
        if kind(value) == "number":
            made[f"number:{key}"] = ordered(float(value))
        if isinstance(value, str):
            for place, start, part in _parts(value):
                made[f"order{place}:{key}"] = part
                if place:
                    made[f"start{place}:{key}"] = start
    return made


def is_key(name: str) -> bool:
    """Whether it is one of those that `keys` makes."""
    return ":" in name and name.startswith(PREFIXES)


def where(filter: Filter) -> Where:
    if isinstance(filter, Comparison):
        return _compared(filter)
    return joined(f"${filter.operator}", *(where(part) for part in filter.filters))


def joined(operator: str, *parts: Where) -> Where:
    """Chroma joins two parts or more."""
    return parts[0] if len(parts) == 1 else {operator: list(parts)}


def tagged(value: Scalar) -> str:
    """A text that is the same for equal values of one type, and for no others."""
    if isinstance(value, str):
        return f"text {value}"
    if isinstance(value, bool):
        return f"boolean {value}"
    return f"number {int(value) if value == int(value) else value!r}"


def ordered(number: float) -> int:
    """The bits of a number as a whole one: the greater, the greater. Whole numbers past 2^53 are taken as floats."""
    bits: int = struct.unpack(">q", struct.pack(">d", number))[0]
    return bits if bits >= 0 else -(bits & 0x7FFF_FFFF_FFFF_FFFF)


def _compared(comparison: Comparison) -> Where:
    key, values = comparison.key, comparison.values
    same = sorted({tagged(value) for value in values})
    if comparison.operator in ("eq", "in"):
        return {f"is:{key}": {"$in": same}} if same else NEVER
    if comparison.operator in ("ne", "nin"):
        has: Where = {f"has:{key}": {"$eq": True}}
        return joined("$and", has, *([{f"is:{key}": {"$nin": same}}] if same else []))
    value, sign = values[0], SIGNS[comparison.operator]
    if isinstance(value, str):
        return _ordered_text(key, sign, value)
    return {f"number:{key}": {sign: ordered(float(value))}}


def _ordered_text(key: str, sign: str, value: str) -> Where:
    """Two texts differ in the first part that is not the same, which both have: each ends within its last."""
    differing = sign.removesuffix("e")
    tests = []
    for place, start, part in _parts(value):
        test: Where = {f"order{place}:{key}": {differing: part}}
        tests.append(joined("$and", {f"start{place}:{key}": {"$eq": start}}, test) if place else test)
    if sign != differing:
        tests.append({f"is:{key}": {"$eq": tagged(value)}})
    return joined("$or", *tests)


def _parts(text: str) -> Iterator[tuple[int, int, int]]:
    """Each part's place, a number that tells of all before it, and its own, which orders as its bytes do.

    UTF-8 orders as code points do. The last part has room left, which is filled with zeros: no text has one.
    """
    encoded = text.encode()
    for place in range(len(encoded) // BYTES + 1):
        start, end = place * BYTES, (place + 1) * BYTES
        before = hashlib.sha256(encoded[:start]).digest()[:BYTES]
        yield place, int.from_bytes(before), int.from_bytes(encoded[start:end].ljust(BYTES, b"\0"))
