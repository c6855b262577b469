"""Attributes' values as texts whose order is theirs, for engines that filter by terms of one field.

A field for each key would be of the type that came first, and there may be only so many.
"""

import struct

from apps.vector_io.filters import Scalar, kind

TYPES = {"boolean": "b", "number": "n", "string": "s"}
SIGN = 1 << 63
NEXT = {"n": "o", "s": "t"}  # behind every value of the type


def type_of(value: Scalar) -> str:
    return TYPES[kind(value)]


def text_of(value: Scalar) -> str:
    """Texts stay what they are: their order is by code points, as that of their UTF-8."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, bool) else _digits(value)


def bits_of(number: float) -> int:
    """Of the nearest double, in the order of doubles: IEEE 754 orders them by their bits, negative ones backwards."""
    bits: int = struct.unpack(">Q", struct.pack(">d", float(number) + 0.0))[0]  # -0.0 + 0.0 is 0.0
    return bits ^ (2 * SIGN - 1) if bits & SIGN else bits | SIGN


def _digits(number: float) -> str:
    """A number such that the order of texts is that of numbers: a double's bits.

    What a whole number is more or less than its double follows, for they are compared exactly.
    """
    rest = number - int(float(number)) if isinstance(number, int) else 0
    return f"{bits_of(number):016x}" + (("a" if rest < 0 else "c") + _digits(rest) if rest else "b")
