"""Attributes as Milvus compares them: each is one text of small letters and digits, under a name of the same.

Milvus' own JSON has types whose comparisons differ between its versions, and between a server and milvus-lite (where
`true` is 1). Texts are compared alike everywhere, by their bytes. So the type is the first letter, and what is behind
it has the order of the values. Nothing in it needs escaping.
"""

import hashlib
import math

from apps.vector_io.filters import Attributes, Scalar
from apps.vector_io.providers.ordered import bits_of, type_of


def digest(text: str) -> str:
    """A name for any text: 32 letters and digits."""
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def named(key: str) -> str:
    return f"k{digest(key)}"


def encoded(attributes: Attributes) -> dict[str, str]:
    return {named(key): value_of(value) for key, value in attributes.items()}


def value_of(value: Scalar) -> str:
    letter = type_of(value)
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
    return f"{bits_of(near):016x}{len(digits):02x}{digits}"
