"""Amazon's binary frames, as a server of AWS writes them."""

import json
import struct
from typing import Any
from zlib import crc32

MEDIA_TYPE = "application/vnd.amazon.eventstream"


def frame(name: str, said: Any, kind: str = "event") -> bytes:
    """An event; or with `kind` an `exception`, or an `error`, whose headers hold all that it says."""
    if kind == "error":
        return packed({":message-type": kind, ":error-code": name, ":error-message": str(said)}, b"")
    headers = {f":{kind}-type": name, ":content-type": "application/json", ":message-type": kind}
    return packed(headers, json.dumps(said).encode())


def packed(headers: dict[str, str], payload: bytes) -> bytes:
    head = b"".join(
        bytes([len(name.encode())]) + name.encode() + b"\x07" + struct.pack(">H", len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    return sealed(head, payload)


def sealed(head: bytes, payload: bytes) -> bytes:
    """The frame of headers that are written already."""
    prelude = struct.pack(">II", 16 + len(head) + len(payload), len(head))
    message = prelude + struct.pack(">I", crc32(prelude)) + head + payload
    return message + struct.pack(">I", crc32(message))
