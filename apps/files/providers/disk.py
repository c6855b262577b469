"""Writing what comes piece by piece to a disk of this machine."""

import errno
from collections.abc import AsyncIterator

WRITE_BYTES = 1024 * 1024  # at once
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


async def gathered(content: AsyncIterator[bytes], size: int) -> AsyncIterator[list[bytes]]:
    """The pieces in groups of about so many bytes: to go to a thread for each would cost more than to write it."""
    group: list[bytes] = []
    total = 0
    async for piece in content:
        group.append(piece)
        total += len(piece)
        if total >= size:
            yield group
            group, total = [], 0
    if group:
        yield group
