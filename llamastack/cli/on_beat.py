"""Beat until SIGINT or SIGTERM: Celery's on django-celery-beat's rows, but it makes jobs where others send messages."""

import logging
import threading
from datetime import UTC, datetime
from typing import Any

from django.db import DatabaseError, InterfaceError, close_old_connections, transaction
from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler

from apps.jobs import schedules
from llamastack import celery
from llamastack.cli import alive
from llamastack.cli.console import say
from llamastack.cli.signals import Signals
from llamastack.errors import StackError

NEVER = datetime.min.replace(tzinfo=UTC)
LOOKS_SECONDS = 5.0  # for schedules that were changed, and for a database that was gone
logger = logging.getLogger(__name__)


class Scheduler(DatabaseScheduler):
    """A turn and its job are written together, and by one of several beats: whoever comes second reads anew."""

    producer = None  # no broker is asked

    def schedule_changed(self) -> bool:
        """Where nothing had ever been changed, it would find the first schedule minutes later."""
        self._last_timestamp: datetime | None = self._last_timestamp or NEVER
        changed: bool = super().schedule_changed()
        return changed

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        self._dirty.discard(entry.name)
        with transaction.atomic():
            row = PeriodicTask.objects.select_for_update(of=("self",)).filter(pk=entry.model.pk).first()
            if row is None or (row.last_run_at and row.last_run_at > entry.last_run_at):
                self.begin_anew()
                return
            self._schedule[entry.name].save()
            try:
                with transaction.atomic():
                    schedules.make(entry.model)
            except (StackError, ValueError) as error:
                logger.error("Schedule '%s' made no job: %s", entry.name, error)

    def begin_anew(self) -> None:
        """Read what was written: what has failed is due again."""
        self._dirty.clear()
        self._initial_read = True
        self._heap = None


def run(scheduler: Scheduler, over: threading.Event, pause: float = LOOKS_SECONDS) -> None:
    """Make jobs as they are due, until it is over. Without a database it waits for one."""
    wait = 0.0
    while not over.wait(wait):
        alive.touch()
        try:
            wait = min(scheduler.tick() or 0.0, pause)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("The database cannot be used, and no job is made: %s", error)
            close_old_connections()
            scheduler.begin_anew()
            wait = pause


def work() -> None:
    over = threading.Event()
    with Signals(lambda _: over.set()).caught():
        scheduler = Scheduler(app=celery.app)
        say("[green]Beat makes the jobs of the schedules[/green] that stand in the admin. Ctrl-C stops it.")
        run(scheduler, over)
