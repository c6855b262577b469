"""HTTP for google-auth, which asks for it from a thread, by our own egress: its proxy, its CAs and its recording."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llamastack.egress import Egress
from llamastack.errors import StackError

SECONDS = 15.0


@dataclass(frozen=True)
class Response:
    """As google.auth.transport.Response has it."""

    status: int
    headers: Mapping[str, str]
    data: bytes


class Bridge:
    """Stands in for google.auth.transport.Request: called in a thread, it has the loop send the request."""

    def __init__(self, egress: Egress, loop: asyncio.AbstractEventLoop) -> None:
        self.egress, self.loop = egress, loop

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **beyond: Any,
    ) -> Response:
        from google.auth.exceptions import TransportError

        data = body.encode() if isinstance(body, str) else body
        sending = asyncio.run_coroutine_threadsafe(self._send(method, url, data, headers or {}), self.loop)
        try:
            return sending.result(timeout or SECONDS)
        except TimeoutError as error:
            sending.cancel()
            raise TransportError("The token server did not answer in time.") from error  # type: ignore[no-untyped-call]
        except StackError as error:
            raise TransportError(error.message) from error  # type: ignore[no-untyped-call]

    async def _send(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> Response:
        reply, data = await self.egress.exchange(method, url, body, headers)
        return Response(reply.status, reply.headers, data)
