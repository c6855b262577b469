"""Attributes' values as texts whose order is theirs, for engines that filter by terms of one field.

A field for each key would be of the type that came first, and there may be only so many.
"""

import struct

from apps.vector_io.filters import Scalar, kind

TYPES = {"boolean": "b", "number": "n", "string": "s"}
NEXT = {"n": "o", "s": "t"}  # behind every value of the type


def type_of(value: Scalar) -> str:
    return TYPES[kind(value)]


def text_of(value: Scalar) -> str:
    """Texts stay what they are: their order is by code points, as that of their UTF-8."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, bool) else _digits(value)


def _digits(number: float) -> str:
    """A number such that the order of texts is that of numbers: a double's bits, with negative ones turned round.

    What a whole number is more or less than its double follows, for they are compared exactly.
    """
    double = float(number) + 0.0  # which makes -0.0 the same as 0.0
    [bits] = struct.unpack(">Q", struct.pack(">d", double))
    ordered = ~bits & (1 << 64) - 1 if bits >> 63 else bits | 1 << 63
    rest = number - int(double) if isinstance(number, int) else 0
    return f"{ordered:016x}" + (("a" if rest < 0 else "c") + _digits(rest) if rest else "b")
