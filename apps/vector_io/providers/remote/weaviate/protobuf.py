"""Protocol buffers' wire format, as far as a search needs it. https://protobuf.dev/programming-guides/encoding

Messages are mappings by the numbers of their fields.
"""

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

Message: TypeAlias = Mapping[int, Any]  # numbers, texts, bytes, messages, and lists of them
Read: TypeAlias = dict[int, list[int | bytes]]
VARINT, EIGHT, BYTES, FOUR = 0, 1, 2, 5


class Broken(ValueError):
    """No message of this format."""


def encoded(message: Message) -> bytes:
    return b"".join(_field(number, value) for number, value in message.items())


def _field(number: int, value: Any) -> bytes:
    if isinstance(value, list):
        return b"".join(_field(number, each) for each in value)
    if isinstance(value, int):
        return _varint(number << 3 | VARINT) + _varint(value)
    if isinstance(value, Mapping):
        value = encoded(value)
    data: bytes = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | BYTES) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*written, number])


def decoded(data: bytes) -> Read:
    """Each field with all of its values: numbers of any sign as unsigned ones, those of a fixed length as bytes."""
    found: Read = {}
    for number, value in _fields(data):
        found.setdefault(number, []).append(value)
    return found


def message(found: Read, number: int) -> Read:
    """The message that a field has; an empty one where there is none."""
    return decoded(data(found, number))


def data(found: Read, number: int) -> bytes:
    last = found.get(number, [b""])[-1]
    if not isinstance(last, bytes):
        raise Broken
    return last


def number(found: Read, field: int) -> int:
    """Of 64 bits, with its sign."""
    last = found.get(field, [0])[-1]
    if not isinstance(last, int):
        raise Broken
    return last - (1 << 64) if last >> 63 else last


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    place = 0
    while place < len(data):
        key, place = _number(data, place)
        kind = key & 7
        if kind == VARINT:
            value, place = _number(data, place)
            yield key >> 3, value
            continue
        length, place = _number(data, place) if kind == BYTES else (_length(kind), place)
        if place + length > len(data):
            raise Broken
        yield key >> 3, data[place : place + length]
        place += length


def _length(kind: int) -> int:
    if kind not in (EIGHT, FOUR):
        raise Broken
    return 8 if kind == EIGHT else 4


def _number(data: bytes, place: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            raise Broken
        byte = data[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place
    raise Broken
