"""Requests that are signed: headers that depend on what is sent, and on when."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

from llamastack.egress.transport import Outgoing, Reply, Transport

Signer = Callable[[Outgoing], Awaitable[Mapping[str, str]]]


class Signing:
    """Signs each try anew: an old signature is refused. The signer raises StackErrors, where it has no credentials."""

    def __init__(self, live: Transport, signer: Signer) -> None:
        self.live = live
        self.signer = signer

    @asynccontextmanager
    async def send(self, outgoing: Outgoing) -> AsyncIterator[Reply]:
        signature = await self.signer(outgoing)
        async with self.live.send(replace(outgoing, headers={**outgoing.headers, **signature})) as reply:
            yield replace(reply, signature=signature)

    async def close(self) -> None:
        await self.live.close()
