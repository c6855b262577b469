"""The server: the lifespan starts and stops the Stack; requests pass the guards, then take a lane or go to Channels."""

import asyncio
import logging
import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "llamastack.settings")

from django.core.asgi import get_asgi_application

django = get_asgi_application()  # sets Django up: what follows needs its apps

from channels.routing import URLRouter  # noqa: E402
from django.core.signals import request_started  # noqa: E402
from django.db import close_old_connections, reset_queries  # noqa: E402
from django.urls import path  # noqa: E402

from apps.console.static import static  # noqa: E402
from apps.inference.consumers import ChatConsumer  # noqa: E402
from apps.inference.lane.clients import Client  # noqa: E402
from apps.inference.lane.operations import OPERATIONS  # noqa: E402
from apps.jobs.consumers import JobConsumer  # noqa: E402
from llamastack import collector, guards, metrics, settings, stack, uploads  # noqa: E402
from llamastack.call import AT_ONCE  # noqa: E402
from llamastack.errors import NotFound, StackError  # noqa: E402
from llamastack.middleware import is_api  # noqa: E402
from llamastack.threads import Threads  # noqa: E402

WEBSOCKETS = [path("ws/chat", ChatConsumer.as_asgi()), path("ws/jobs/<str:job_id>", JobConsumer.as_asgi())]
websockets = URLRouter(WEBSOCKETS)
threads = Threads()
logger = logging.getLogger(__name__)
# A request's connections are closed when it ends (CONN_MAX_AGE is 0). To look for old ones when it begins, too, would
# take each request to a thread and back before it is read.
for receiver in (close_old_connections, reset_queries):
    request_started.disconnect(receiver)


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await websocket(scope, receive, send)
    else:
        await http(scope, receive, send)


async def http(scope: Any, receive: Any, send: Any) -> None:
    """One request. A body that turns out too large is refused while Django still reads it."""
    send = guards.readable(scope, send)
    at_once = scope.pop(AT_ONCE, None)  # which holds the scope: each request would be garbage to be looked for
    try:
        told = guards.check_head(scope)
        if guards.is_preflight(scope):
            await guards.permit(scope, send)
            return
        if scope["path"].startswith("/static/"):
            await static(scope, receive, send)
            return
        running = await stack.start()  # for servers without a lifespan; done already elsewhere
        if settings.FAST_LANE and scope["path"] in OPERATIONS and scope["method"] == "POST":
            task = asyncio.current_task(running.loop)
            assert task is not None
            receive = Client(receive, task, at_once)
            if await running.gateway.carries(scope, told, receive, send):
                return
        scope, counted = uploads.received(scope, receive)
        await answer(scope, counted, send)
        if counted.exceeded:
            raise guards.too_large()
    except StackError as error:
        metrics.answered("django", "refused", error.status)
        await guards.refuse(error, send)


async def answer(scope: Any, counted: guards.Counted, send: Any) -> None:
    """Have Django answer, in a task of its own, since it leaves its view running when it is cancelled itself.

    A server that stops cancels what takes too long. Django is told then that the client has gone, and ends the view.
    """
    answering = asyncio.create_task(threads.run(django, scope, counted, send, here=is_api(scope["path"])))
    try:
        await asyncio.shield(answering)
    except asyncio.CancelledError:
        counted.leave()
        await answering


async def websocket(scope: Any, receive: Any, send: Any) -> None:
    try:
        guards.check_head(scope)
        if not any(route.resolve(scope["path"][1:]) for route in WEBSOCKETS):
            raise NotFound(f"There is no WebSocket at {scope['path'][:200]}, but at /ws/chat and /ws/jobs/{{id}}.")
        await stack.start()
    except StackError as error:
        logger.info("A WebSocket was refused: %s", error.message)
        await receive()
        await send({"type": "websocket.close", "code": 4403, "reason": error.message[:120]})
        return
    await websockets(scope, receive, send)


async def lifespan(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            collector.serve()
            await _report(start, "startup", send)
        else:
            await _report(stack.stop, "shutdown", send)
            return


async def start() -> None:
    (await stack.start()).watch.start()


async def _report(step: Any, name: str, send: Any) -> None:
    try:
        await step()
    except Exception as error:  # the server must be told, whatever it was, and then refuses to serve
        logger.exception("The %s failed", name)
        await send({"type": f"lifespan.{name}.failed", "message": str(error)})
    else:
        await send({"type": f"lifespan.{name}.complete"})
