"""Attributes as words of one indexed list, by which Weaviate's `ContainsAny` answers every comparison.

Weaviate compares the elements of a list each on their own, and a chunk's attributes have any names. So a value stands
there under all of its beginnings, as numbers do in Lucene's tries: its sortable form, digit by digit. Less and greater
are then a choice of beginnings, and equal is the whole. Each word is hashed with the attribute's name and type, so that
nothing is trimmed, folded or too long, and true is not 1.
"""

import math
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b

from apps.vector_io.filters import Attributes, Comparison, Scalar, kind
from apps.vector_io.providers.ordered import bits_of
from llamastack.errors import BadRequest

DIGITS = "0123456789abcdef"
LONGEST_BOUND = 64  # bytes of a text that others are compared with: beginnings up to there are indexed, and one more
EXACT = 2**53  # from here on whole numbers stand between two floats
ANY, NOTHING = "any", "none"  # what each chunk has, and none


def words(attributes: Attributes) -> list[str]:
    """All that a chunk with these attributes is found by."""
    return [word for key, value in attributes.items() for word in _of(key, value)]


def present(key: str) -> str:
    return _hashed(key, "", "")


def equal(key: str, value: Scalar) -> str:
    return _hashed(key, kind(value), f"={_digits(value)}")


def ordered(comparison: Comparison) -> list[str]:
    """Of which a chunk has one where its value is greater, or less."""
    key, value = comparison.key, comparison.values[0]
    digits = _digits(value)
    if isinstance(value, str) and len(digits) > 2 * LONGEST_BOUND:
        raise BadRequest(
            f"remote::weaviate compares texts by `{comparison.operator}` with one of at most {LONGEST_BOUND} bytes. "
            "Shorten it.",
            param="filters",
        )
    chosen = _greater if comparison.operator in ("gt", "gte") else _less
    found = [_hashed(key, kind(value), beginning) for beginning in chosen(digits, comparison.operator)]
    return found or [NOTHING]


def _greater(digits: str, operator: str) -> Iterator[str]:
    for place, digit in enumerate(digits):
        yield from (f"<{digits[:place]}{other}" for other in DIGITS if other > digit)
    yield from (f"<{digits}{other}" for other in DIGITS)  # longer texts that begin so
    if operator == "gte":
        yield f"={digits}"


def _less(digits: str, operator: str) -> Iterator[str]:
    for place, digit in enumerate(digits):
        yield from (f"<{digits[:place]}{other}" for other in DIGITS if other < digit)
    yield from (f"={digits[:place]}" for place in range(0, len(digits), 2))  # texts that it begins with
    if operator == "lte":
        yield f"={digits}"


@lru_cache(maxsize=8192, typed=True)
def _of(key: str, value: Scalar) -> tuple[str, ...]:
    type, digits = kind(value), _digits(value)
    found = [present(key), equal(key, value)]
    if type != "boolean":
        deepest = 2 * LONGEST_BOUND + 1 if type == "string" else len(digits)
        beginnings = range(1, min(len(digits), deepest) + 1)
        found += [_hashed(key, type, f"<{digits[:length]}") for length in beginnings]
    return tuple(found)


def _digits(value: Scalar) -> str:
    """In hexadecimal, ordered as the values of one type are."""
    if isinstance(value, str):
        return value.encode().hex()
    return f"{value:02x}" if isinstance(value, bool) else _number(value)


def _number(value: float) -> str:
    """The greatest float that is not greater, and what is left to a whole number, which may have any length."""
    near = float(value)
    if isinstance(value, int) and int(near) > value:
        near = math.nextafter(near, -math.inf)
    sortable = f"{bits_of(near):016x}"
    if abs(near) < EXACT:
        return sortable
    rest = int(value) - int(near)
    length = (rest.bit_length() + 7) // 8
    return f"{sortable}{length:02x}{rest.to_bytes(length, 'big').hex()}"


def _hashed(key: str, type: str, digits: str) -> str:
    """No text holds a NUL."""
    return blake2b(f"{key}\0{type}\0{digits}".encode(), digest_size=10).hexdigest()
