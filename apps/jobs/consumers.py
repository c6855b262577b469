"""Jobs over a WebSocket: what happens, as it happens."""

import asyncio
import logging
import time
from contextlib import aclosing
from typing import Any
from urllib.parse import parse_qs

from apps.access.service import secret_in
from apps.access.sessions import session_in, staff_of
from apps.access.sockets import UNAUTHENTICATED, Socket
from apps.jobs import service
from apps.jobs.models import JobQuerySet
from llamastack import sse
from llamastack.db import db
from llamastack.errors import BadRequest, StackError

ENDED, FAILED, LATER = 1000, 1011, 1013
CODES = {400: 4400, 401: UNAUTHENTICATED, 404: 4404, 429: LATER, 503: LATER}  # by the status of what ends a socket
logger = logging.getLogger(__name__)


class JobConsumer(Socket):
    """The events of GET /v1alpha/jobs/{id}/events as messages; `?after=N` goes on after the event of that number.

        {"object": "job", …}                    the job, whenever it has changed; the last one has ended
        {"object": "job.event", "number": …}    what happened in it
        {"error": {…}, "detail": …}             the HTTP API's error body: nothing comes after it

    Beside a key, the session of one of the staff lets in, who may see what the admin shows them. Closes with 1000 once
    the job has ended, 4404 where there is none, 4400 where `after` is wrong, 1013 where the database is gone or too
    many watch.
    """

    def __init__(self, authenticate_seconds: float = 30, session_seconds: float = 15) -> None:
        super().__init__(authenticate_seconds)
        self.session_seconds = session_seconds  # between two looks whether it is still one of the staff's
        self.watching: asyncio.Task[None] | None = None
        self.shown: JobQuerySet | None = None  # to the person whose session it is
        self.asked = 0.0

    # --- who watches ---

    async def is_known(self) -> bool:
        return await super().is_known() or await self.shown_in_session() is not None

    async def seen(self) -> JobQuerySet:
        """Those that the holder may see: asked for at each look, since keys are revoked and people leave."""
        shown = await self.shown_in_session()
        return await service.of_key(self.headers) if shown is None else shown

    async def shown_in_session(self) -> JobQuerySet | None:
        """A key goes before a session."""
        session = session_in(self.headers)
        if session is None or secret_in(self.headers) is not None:
            return None
        if not self.asked or time.monotonic() - self.asked >= self.session_seconds:
            self.shown = await db(shown_in, session)
            self.asked = time.monotonic()
        return self.shown

    async def enter(self) -> None:
        await self.seen()
        if self.timer:
            self.timer.cancel()
        self.watching = self.watching or asyncio.create_task(self.watch())

    async def obey(self, message: dict[str, Any]) -> None:
        await self.seen()
        raise BadRequest("This socket only tells: the one message it takes is of the type 'auth'.", param="type")

    async def leave(self) -> None:
        if self.watching and self.watching is not asyncio.current_task():
            self.watching.cancel()
            await asyncio.wait([self.watching])

    # --- what happens ---

    async def watch(self) -> None:
        try:
            await self.tell_all()
        except StackError as error:
            await self.refuse(error, close=CODES.get(error.status, FAILED))
        except Exception:  # the client must be told that nothing comes any more, whatever it was
            logger.exception("A job could not be watched any more")
            broken = StackError("The server failed while it told what happens.", code="internal_error")
            await self.refuse(broken, close=FAILED)
        else:
            await self.end(ENDED, "The job has ended.")

    async def tell_all(self) -> None:
        job_id: str = self.scope["url_route"]["kwargs"]["job_id"]
        after = parse_qs(self.scope["query_string"].decode("latin-1"), keep_blank_values=True).get("after", [""])[-1]
        async with aclosing(service.events(self.seen, job_id, service.number(after, "after"))) as happening:
            async for event in happening:
                if event is not None:
                    await self.tell(sse.dump(event).decode())


def shown_in(session: str) -> JobQuerySet | None:
    """What the admin shows in this session; None where it is nobody's of the staff who may look at jobs."""
    person = staff_of(session)
    return service.of_person(person) if person and person.has_perm("jobs.view_job") else None
