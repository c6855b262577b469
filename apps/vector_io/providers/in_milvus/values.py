"""Attributes as Milvus compares them: each is one text of small letters and digits, under a name of the same.

Milvus' own JSON has types whose comparisons differ between its versions, and between a server and milvus-lite (where
`true` is 1). Texts are compared alike everywhere, by their bytes. So the type is the first letter, and what is behind
it has the order of the values. Nothing in it needs escaping.
"""

import hashlib
import math
import struct

from apps.vector_io.filters import Attributes, Scalar, kind

LETTERS = {"boolean": "b", "number": "n", "string": "s"}
SIGN = 1 << 63


def digest(text: str) -> str:
    """A name for any text: 32 letters and digits."""
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def named(key: str) -> str:
    return f"k{digest(key)}"


def encoded(attributes: Attributes) -> dict[str, str]:
    return {named(key): value_of(value) for key, value in attributes.items()}


def value_of(value: Scalar) -> str:
    letter = LETTERS[kind(value)]
    if isinstance(value, str):
        return letter + value.encode().hex()
    return letter + (str(int(value)) if isinstance(value, bool) else _number(value))


def _number(number: float) -> str:
    """The nearest float that is not greater, and what a whole number has beyond it."""
    near = float(number)
    if near > number:
        near = math.nextafter(near, -math.inf)
    beyond = int(number) - int(near) if isinstance(number, int) else 0
    digits = f"{beyond:x}" if beyond else ""
    return f"{_bits(near):016x}{len(digits):02x}{digits}"


def _bits(number: float) -> int:
    """Of a float, in the order of the floats: IEEE 754 orders them by their bits, the negative ones backwards."""
    bits: int = struct.unpack(">Q", struct.pack(">d", number + 0.0))[0]  # -0.0 + 0.0 is 0.0
    return bits ^ (2 * SIGN - 1) if bits & SIGN else bits | SIGN
