"""What goes between the server and the engine's process: JSON, and before it eight bytes that say how long it is."""

import socket
import struct
from typing import Any

import orjson

LENGTH = struct.Struct("!Q")


class Missing(Exception):
    """There is no such store."""


class OtherDimension(Exception):
    """There is one whose vectors have so many numbers."""


def send(to: socket.socket, value: Any) -> None:
    data = orjson.dumps(value)
    to.sendall(LENGTH.pack(len(data)) + data)


def received(come_by: socket.socket) -> Any:
    """None where the other has gone."""
    head = _exactly(come_by, LENGTH.size)
    data = _exactly(come_by, LENGTH.unpack(head)[0]) if head else None
    return None if data is None else orjson.loads(data)


def _exactly(come_by: socket.socket, size: int) -> bytearray | None:
    data = bytearray(size)
    view, got = memoryview(data), 0
    while got < size:
        count = come_by.recv_into(view[got:])
        if not count:
            return None
        got += count
    return data
