"""`llama key`: the API keys of a stack, in the database that `llama stack run` with the same configuration uses."""

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from llamastack import database
from llamastack.cli import complete, environment
from llamastack.cli.console import table
from llamastack.cli.run import CONFIG_VARIABLES
from llamastack.config import StackConfig
from llamastack.errors import BadRequest, NotFound
from llamastack.near import did_you_mean

if TYPE_CHECKING:
    from apps.access.models import ApiKey

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
LONGEST = timedelta(days=36_500)

Config = Annotated[
    str,
    typer.Option(
        "--config",
        help="The distribution or file whose database is meant.",
        envvar=CONFIG_VARIABLES,
        autocompletion=complete.distributions,
    ),
]
Name = Annotated[str, typer.Argument(help="What the key is for.")]
Owner = Annotated[str | None, typer.Option(help="Who owns what is made with it; the name unless given.")]
Admin = Annotated[bool, typer.Option("--admin", help="It may register and change providers and models.")]
Expires = Annotated[str | None, typer.Option(metavar="30d", help="After minutes (m), hours (h), days (d), weeks (w).")]
Prefix = Annotated[
    str,
    typer.Argument(help="The beginning of the key, as `llama key list` shows it.", autocompletion=complete.keys),
]


def create(
    name: Name, owner: Owner = None, admin: Admin = False, expires: Expires = None, config: Config = "starter"
) -> None:
    """Make a key. It is shown once, alone on a line of stdout."""
    lifetime = duration(expires) if expires else None
    open_database(config)
    from django.utils import timezone

    from apps.access.models import ApiKey

    expires_at = timezone.now() + lifetime if lifetime else None
    _, secret = ApiKey.issue(name, owner or name, admin=admin, expires_at=expires_at)
    print(secret)


def list_keys(config: Config = "starter") -> None:
    """The keys there are; what they begin with tells them apart."""
    open_database(config)
    from apps.access.models import ApiKey

    rows = [
        (
            key.prefix,
            key.name,
            key.owner,
            "yes" if key.admin else "",
            day(key.created_at),
            day(key.expires_at),
            state(key),
        )
        for key in ApiKey.objects.all()
    ]
    table(["Begins with", "Name", "Owner", "Admin", "Created", "Expires", "State"], rows)


def revoke(prefix: Prefix, config: Config = "starter") -> None:
    """End a key's life: within a second every server on this database refuses it."""
    open_database(config)
    from apps.access.models import ApiKey

    keys = {key.prefix: key for key in ApiKey.objects.filter(revoked_at=None)}
    found = [key for known, key in keys.items() if known.startswith(prefix) or prefix.startswith(known)]
    if not found:
        near = did_you_mean(prefix[:10], keys) or ". `llama key list` shows them."
        raise NotFound(f"No key that is in force begins with '{prefix[:10]}'{near}")
    if len(found) > 1:
        raise BadRequest(
            f"Several keys begin with '{prefix}': {', '.join(key.prefix for key in found)}. Give more of it."
        )
    found[0].revoke()
    print(f"The key {found[0].prefix}… ({found[0].name}) is revoked.")


def open_database(config: str) -> StackConfig:
    """Django on the configuration's database, with its tables up to date."""
    stack = environment.read(config)
    database.open_tables(stack)
    return stack


def duration(text: str) -> timedelta:
    """`30d` as a time span. Raises BadRequest."""
    parts = re.fullmatch(r"(\d{1,6})([mhdw])", text)
    span = timedelta(**{UNITS[parts[2]]: int(parts[1])}) if parts else timedelta()
    if not timedelta() < span <= LONGEST:
        raise BadRequest(f"--expires '{text[:40]}' is no time span: write it as 90m, 12h, 30d or 4w.")
    return span


def day(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else ""


def state(key: "ApiKey") -> str:
    from django.utils import timezone

    if key.revoked_at:
        return "revoked"
    return "expired" if key.expires_at and key.expires_at <= timezone.now() else "in force"
