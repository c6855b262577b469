"""Public ids: a prefix that tells the kind, and a UUIDv7 in hex, so that ids sort by creation time."""

import os
import time
from uuid import UUID


def uuid7() -> UUID:
    """A version 7 UUID: 48 bits of Unix milliseconds, then random bits (RFC 9562, section 5.7)."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & (1 << 48) - 1) << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)


def new_id(prefix: str) -> str:
    """`new_id("resp_")` -> `resp_0199…` (32 hex digits after the prefix)."""
    return prefix + uuid7().hex
