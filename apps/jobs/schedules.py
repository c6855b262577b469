"""What a schedule may ask for, and the job that it makes when it is due."""

from typing import Any, Protocol

from django.utils import timezone
from django.utils.module_loading import import_string
from django_celery_beat.models import PeriodicTask
from pydantic import BaseModel, ConfigDict

from apps.jobs import kinds
from apps.jobs.models import Job
from llamastack.call import Principal
from llamastack.errors import BadRequest
from llamastack.ids import new_id


class Turn(BaseModel):
    """What is kept of a schedule beside its kind and its time: as whom the job runs, and what it is given."""

    tenant: str
    owner: str
    payload: dict[str, Any] = {}


class Scheduled(Protocol):
    """What a kind of job takes from a schedule."""

    def make(self, principal: Principal) -> None:
        """The job of one turn, with what belongs to it."""


class Plain(BaseModel):
    """Of a kind that takes nothing."""

    model_config = ConfigDict(extra="forbid")


def offered() -> list[str]:
    """The kinds that may be scheduled."""
    return [name for name, kind in kinds.KINDS.items() if kind.scheduled or name in kinds.PERIODIC]


def read(kind: str, payload: dict[str, Any]) -> BaseModel:
    """Raises pydantic's ValidationError, and BadRequest where the kind is none that may be scheduled."""
    if kind not in offered():
        raise BadRequest(f"Jobs of the kind '{kind}' cannot be scheduled. These can: {', '.join(offered())}.")
    path = kinds.KINDS[kind].scheduled
    model: type[BaseModel] = import_string(path) if path else Plain
    return model.model_validate(payload)


def make(row: PeriodicTask) -> None:
    """The job of a schedule that is due. Raises ValueError (as pydantic does) and StackError where it says nonsense."""
    turn = Turn.model_validate_json(row.kwargs)
    asked: Any = read(row.task, turn.payload)
    if isinstance(asked, Plain):
        made = Job(id=new_id("job_"), kind=row.task, tenant=turn.tenant, owner=turn.owner, created_at=timezone.now())
        made.save(force_insert=True)
        return
    scheduled: Scheduled = asked
    scheduled.make(Principal(turn.owner, turn.tenant))
