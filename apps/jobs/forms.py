"""The form of a schedule."""

from typing import TYPE_CHECKING, Any
from zoneinfo import available_timezones

from celery.schedules import ParseException, crontab
from django import forms
from django.conf import settings
from django_celery_beat.models import CrontabSchedule
from pydantic import ValidationError

from apps.access.models import may_act
from apps.jobs import schedules
from apps.jobs.models import Schedule
from llamastack.admin import Select, Switch, Textarea, TextInput
from llamastack.call import ANONYMOUS_ADMIN, DEFAULT_TENANT
from llamastack.errors import StackError

if TYPE_CHECKING:
    Base = forms.ModelForm[Schedule]
else:
    Base = forms.ModelForm

PARTS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
KNOWN = "any"  # a prefix of no key: whoever has neither a user nor a key may not act
NIGHTLY = "0 3 * * *"
CRON = (
    f"Minute, hour, day of the month, month, day of the week (0 is Sunday): '{NIGHTLY}' is every night at three, "
    "'*/15 * * * 1-5' each quarter of an hour from Monday to Friday."
)


class ScheduleForm(Base):
    """A kind of job, what it is given, whose it is, and when it is made."""

    task = forms.ChoiceField(label="Kind of job", widget=Select)
    payload = forms.JSONField(
        required=False,
        initial=dict,
        widget=Textarea(attrs={"rows": 6, "spellcheck": "false"}),
        help_text="What the job is given, as JSON: for a batch what POST /v1/batches takes, for others {}.",
    )
    cron = forms.CharField(label="When", initial=NIGHTLY, widget=TextInput, help_text=CRON)
    timezone = forms.ChoiceField(initial="UTC", widget=Select, help_text="Whose clock is meant.")
    tenant = forms.CharField(initial=DEFAULT_TENANT, max_length=255, widget=TextInput)
    owner = forms.CharField(max_length=255, widget=TextInput, help_text="As whom the job runs.")
    enabled = forms.BooleanField(required=False, initial=True, widget=Switch)

    class Meta:
        model = Schedule
        fields = ("name", "task", "payload", "cron", "timezone", "tenant", "owner", "enabled")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["name"].help_text = "What it is for."
        kinds: Any = self.fields["task"]
        kinds.choices = [(name, name) for name in schedules.offered()]
        zones: Any = self.fields["timezone"]
        zones.choices = [(name, name) for name in sorted(available_timezones())]
        if self.instance.pk:
            turn = schedules.Turn.model_validate_json(self.instance.kwargs)
            self.initial.update(
                turn.model_dump(), cron=cron(self.instance), timezone=str(self.instance.crontab.timezone)
            )

    def clean_cron(self) -> str:
        parts = self.cleaned_data["cron"].split()
        if len(parts) != len(PARTS):
            raise forms.ValidationError(f"Write five parts, as in '{NIGHTLY}'.")
        minute, hour, day, month, weekday = parts
        try:
            crontab(minute, hour, weekday, day, month)
        except (ValueError, ParseException) as error:
            raise forms.ValidationError(f"This is no time: {error}") from error
        return " ".join(parts)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        payload = cleaned["payload"] = cleaned.get("payload") or {}
        if not isinstance(payload, dict):
            self.add_error("payload", "Write a JSON object: {} where the job is given nothing.")
        elif "task" in cleaned and "payload" not in self.errors:
            self._check(cleaned["task"], payload)
        if not {"tenant", "owner"} & self.errors.keys() and not may_own(cleaned["tenant"], cleaned["owner"]):
            told = f"Nobody of this name may act in the tenant '{cleaned['tenant']}': name an active user, or the owner"
            self.add_error("owner", f"{told} of an API key that is not revoked.")
        if not self.errors:
            self._fill(cleaned)
        return cleaned

    def validate_unique(self) -> None:
        """It asks for a time, too, which is not there as long as something else is wrong."""
        if not self.errors:
            super().validate_unique()

    def _check(self, kind: str, payload: dict[str, Any]) -> None:
        try:
            schedules.read(kind, payload)
        except ValidationError as error:
            for problem in error.errors(include_input=False, include_url=False, include_context=False):
                place = ".".join(str(part) for part in problem["loc"])
                self.add_error("payload", f"{place}: {problem['msg']}" if place else problem["msg"])
        except StackError as error:
            self.add_error("task", error.message)

    def _fill(self, cleaned: dict[str, Any]) -> None:
        when = dict(zip(PARTS, cleaned["cron"].split(), strict=True))
        found = CrontabSchedule.objects.filter(timezone=cleaned["timezone"], **when).first()
        self.instance.crontab = found or CrontabSchedule.objects.create(timezone=cleaned["timezone"], **when)
        turn = schedules.Turn(tenant=cleaned["tenant"], owner=cleaned["owner"], payload=cleaned["payload"])
        self.instance.kwargs = turn.model_dump_json()


def may_own(tenant: str, owner: str) -> bool:
    """Whether jobs may run as somebody, who without keys is whoever is let in."""
    anonymous = not settings.AUTH_REQUIRED and (owner, tenant) == (ANONYMOUS_ADMIN.name, ANONYMOUS_ADMIN.tenant)
    return anonymous or may_act(tenant, owner, KNOWN)


def cron(schedule: Schedule) -> str:
    return " ".join(getattr(schedule.crontab, part) for part in PARTS)
