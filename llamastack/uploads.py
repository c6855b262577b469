"""Bodies that the view reads itself, once it knows who sends them: uploads. Django would read them whole before."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from llamastack import settings
from llamastack.errors import BadRequest
from llamastack.guards import DISCONNECT, FORM_BYTES, Counted, file_too_large, is_upload

KEY = "llamastack.upload"
NO_BODY = {"type": "http.request", "body": b"", "more_body": False}


class Upload(Counted):
    """`receive` as Django has it: an empty body, and then the client's going away. The view has the body's pieces."""

    def __init__(self, receive: Any) -> None:
        super().__init__(receive)
        self._told = False
        self._read = asyncio.Event()

    async def __call__(self) -> Any:
        if not self._told:
            self._told = True
            return NO_BODY
        await self._read.wait()
        return await super().__call__()

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises TooLarge, and BadRequest where the client goes away in its midst."""
        more = True
        while more:
            message = await super().__call__()
            if message["type"] == DISCONNECT["type"]:
                self.leave()
                raise BadRequest("The upload broke off.")
            if self.total > settings.MAX_FILE_BYTES + FORM_BYTES:
                raise file_too_large()
            more = message.get("more_body", False)
            if body := message.get("body"):
                yield body
        self._read.set()

    def leave(self) -> None:
        super().leave()
        self._read.set()

    @property
    def exceeded(self) -> bool:
        return False  # whoever reads the pieces answers that


def received(scope: Any, receive: Any) -> tuple[Any, Counted]:
    """The request's scope and `receive` for Django; an upload's body stands in the scope."""
    if not is_upload(scope):
        return scope, Counted(receive)
    upload = Upload(receive)
    return {**scope, KEY: upload}, upload
