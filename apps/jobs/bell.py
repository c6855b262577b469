"""The doorbell of jobs: tells workers of one that was saved. A bell that is not heard costs a moment, and no job."""

import logging
import queue
import threading
from collections.abc import Callable

MOST_WAITING = 1000
STOP_SECONDS = 2.0
Send = Callable[[str, str, int], None]  # a job's id, its kind, its priority
logger = logging.getLogger(__name__)


class Bell:
    """Sends from a thread of its own: no request waits for Redis. What cannot be sent, workers find by themselves."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: queue.Queue[tuple[str, str, int] | None] = queue.Queue(MOST_WAITING)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def ring(self, job_id: str, kind: str, priority: int) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="bell", daemon=True)
                self._thread.start()
        try:
            self._waiting.put_nowait((job_id, kind, priority))
        except queue.Full:
            logger.debug("Job %s is not told to the workers at once: %d others wait", job_id, MOST_WAITING)

    def close(self) -> None:
        """Send what waits, within two seconds."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._waiting.put(None)
            thread.join(STOP_SECONDS)

    def _run(self) -> None:
        failing = False
        while (told := self._waiting.get()) is not None:
            try:
                self._send(*told)
                failing = False
            except Exception as error:  # of Redis' client, its connection or its settings: this thread goes on
                level = logging.DEBUG if failing else logging.WARNING
                logger.log(
                    level, "Redis, at REDIS_URL, tells workers of no job; they find them by themselves: %s", error
                )
                failing = True
