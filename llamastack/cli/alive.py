"""For whoever looks after a process without a port: a file that is touched as long as its loop turns."""

import asyncio
import os
from pathlib import Path

EVERY_SECONDS = 5.0


def touch() -> None:
    """Where LLAMA_STACK_ALIVE_FILE names a file."""
    if path := os.environ.get("LLAMA_STACK_ALIVE_FILE"):
        Path(path).touch()


async def touching() -> None:
    """Until it is cancelled."""
    while True:
        touch()
        await asyncio.sleep(EVERY_SECONDS)
