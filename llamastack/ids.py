"""Public ids: a prefix that tells the kind, and a UUIDv7 in hex, so that ids sort by creation time."""

import os
import time

RANDOM_BYTES = 10
DRAWN = 512  # for so many ids at once: each draw gives up the GIL, and the loop gets it back late from a busy thread
FIXED = 0x7 << 76 | 0x2 << 62
FREE = ~(0xF << 76 | 0x3 << 62)
_drawn: list[bytes] = []
os.register_at_fork(after_in_child=_drawn.clear)


def new_id(prefix: str) -> str:
    """`new_id("resp_")` -> `resp_0199…`: 32 hex digits after the prefix.

    A version 7 UUID: 48 bits of Unix milliseconds, then random bits (RFC 9562, section 5.7).
    """
    value = time.time_ns() // 1_000_000 << 80 | int.from_bytes(_random())
    return f"{prefix}{value & FREE | FIXED:032x}"


def _random() -> bytes:
    """Bytes that no other id gets, in whatever thread: a list's pop is atomic."""
    try:
        return _drawn.pop()
    except IndexError:
        block = os.urandom(DRAWN * RANDOM_BYTES)
        first, *others = (block[start : start + RANDOM_BYTES] for start in range(0, len(block), RANDOM_BYTES))
        _drawn.extend(others)
        return first
