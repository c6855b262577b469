"""A bound on interim answers (1xx), which aiohttp reads without any: a server that sends them for ever stops ours."""

import asyncio
from functools import partial

from aiohttp import TCPConnector
from aiohttp.client_proto import ResponseHandler

MOST_WAITING = 16


class Bounded(ResponseHandler):
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if len(self) > MOST_WAITING and self.transport is not None:
            self.transport.abort()  # which is told as a server that has disconnected


def bounded(connector: TCPConnector) -> TCPConnector:
    kind: type[ResponseHandler] = Bounded
    connector._factory = partial(kind, loop=asyncio.get_running_loop())
    return connector
