"""Documents on their way to a parser lie in a file that is gone afterwards, whatever happens."""

import asyncio
import errno
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

from llamastack.errors import DiskFull

PIECES = 1 << 20
FULL = (errno.ENOSPC, errno.EDQUOT)


@asynccontextmanager
async def spooled(pieces: AsyncIterator[bytes]) -> AsyncIterator[Path]:
    """The file that holds these bytes. Raises DiskFull where there is no room for it."""
    file = await asyncio.to_thread(_made)
    try:
        held = bytearray()
        async for piece in pieces:
            held += piece
            if len(held) >= PIECES:
                await asyncio.to_thread(_write, file, bytes(held))
                held.clear()
        await asyncio.to_thread(_write, file, bytes(held))
        yield Path(file.name)
    except OSError as error:
        if error.errno in FULL:
            raise DiskFull("There is no room for this document on the server's disk.") from error
        raise
    finally:
        await asyncio.to_thread(file.close)


def _made() -> Any:
    return tempfile.NamedTemporaryFile(prefix="llamastack-")


def _write(file: IO[bytes], data: bytes) -> None:
    file.write(data)
    file.flush()
