"""Filters as Qdrant's, by one list of each point that says what its attributes are.

Qdrant tells neither 1.0 from 1 nor orders texts, reads the whole payload for what no index answers, and would need an
index for every key that somebody invents. So a point has, beside its attributes, `matched`, which is indexed for all
keys at once: a text for each key, one for the key with its value, and, so that values have an order, one for each
beginning of the value, written as hexadecimal digits, and one for where they end. What is more than a value has a
greater digit where both first differ: so it has one of at most fifteen beginnings for each of the value's digits.
"""

import hashlib
from collections.abc import Iterator

from apps.vector_io.filters import Attributes, Comparison, Filter, Scalar
from apps.vector_io.providers.ordered import bits_of, type_of
from apps.vector_io.providers.qdrant.fields import Condition
from llamastack.errors import BadRequest

ORDERED_BYTES = 64  # of a text: for more of them a filter would ask for too much
LONGEST = 60  # characters in `matched`; what is longer is its hash
MATCHED = "matched"
NOTHING: Condition = {"key": MATCHED, "match": {"value": ""}}
JUNCTIONS = {"and": "must", "or": "should"}
DIGITS, END = "0123456789abcdef", "."


def indexed(attributes: Attributes) -> list[str]:
    """A point's `matched`."""
    return [text for key, value in attributes.items() for text in _all(key, value)]


def condition(filter: Filter) -> Condition:
    if isinstance(filter, Comparison):
        return _compared(filter)
    return {JUNCTIONS[filter.operator]: [condition(part) for part in filter.filters]}


def _compared(comparison: Comparison) -> Condition:
    key, operator, values = comparison.key, comparison.operator, comparison.values
    if operator in ("eq", "in"):
        return _any([_same(key, value) for value in values])
    if operator in ("ne", "nin"):
        there: Condition = {"key": MATCHED, "match": {"value": _there(key)}}
        return {"must": [there], "must_not": [_any([_same(key, value) for value in values])]}
    [value] = values
    if isinstance(value, str) and len(value.encode()) >= ORDERED_BYTES:
        raise BadRequest(f"`{operator}` compares texts of less than {ORDERED_BYTES} bytes here.", param="filters")
    found = list(_more(key, value) if operator in ("gt", "gte") else _less(key, value))
    return _any([*found, _same(key, value)] if operator in ("gte", "lte") else found)


def _any(texts: list[str]) -> Condition:
    return {"key": MATCHED, "match": {"any": texts}} if texts else NOTHING


def _all(key: str, value: Scalar) -> Iterator[str]:
    yield _there(key)
    yield _same(key, value)
    if not isinstance(value, bool):
        digits = _digits(value)
        for length in range(1, len(digits) + 1):
            yield _begun(key, value, digits[:length])
        yield _begun(key, value, digits + END)


def _more(key: str, value: Scalar) -> Iterator[str]:
    """Zeros behind the last digit are digits, too: of a text, those of the byte that each has that goes on."""
    digits = _digits(value).ljust(2 * len(value.encode()) + 2 if isinstance(value, str) else 16, "0")
    for place, digit in enumerate(digits):
        for greater in DIGITS[int(digit, 16) + 1 :]:
            yield _begun(key, value, digits[:place] + greater)


def _less(key: str, value: Scalar) -> Iterator[str]:
    """Or it ends before, where the value has digits yet."""
    digits = _digits(value)
    for place, digit in enumerate(digits):
        for lesser in DIGITS[: int(digit, 16)] + END:
            yield _begun(key, value, digits[:place] + lesser)


def _digits(value: Scalar) -> str:
    """In whose order values are, up to the last that is not zero. UTF-8's bytes are in the order of code points."""
    if isinstance(value, str):
        return value.encode()[:ORDERED_BYTES].hex().rstrip("0")
    return f"{bits_of(value):016x}".rstrip("0")


def _there(key: str) -> str:
    return _short("k", key)


def _same(key: str, value: Scalar) -> str:
    """Equal numbers are written alike. The key's length tells where it ends."""
    plain = int(value) if isinstance(value, float) and value.is_integer() else value
    return _short(f"={type_of(value)}", f"{len(key)}:{key}{plain}")


def _begun(key: str, value: Scalar, digits: str) -> str:
    return _short(f">{type_of(value)}", f"{len(key)}:{key}{digits}")


def _short(mark: str, text: str) -> str:
    """The hash is of 160 bits: nobody finds two texts that share one."""
    return mark + (text if len(text) <= LONGEST else "#" + hashlib.sha256(text.encode()).hexdigest()[:40])
