"""Providers, as operators edit and delete them, and whose secrets may go where."""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any

from django.db import transaction

from apps.access.models import SnapshotVersion
from apps.registry import homes
from apps.registry.config_classes import by_own_names
from apps.registry.effective import environment, is_operators, not_theirs, of_the_server
from apps.registry.models import Model, Origin, Provider
from apps.registry.origins import class_of
from apps.registry.secrets import Leaf, addresses, at, detours, leaves, sealed
from apps.registry.service.refusals import refuse_declared, refuse_duplicate
from llamastack.apis import Api
from llamastack.config import ConfigError, expand, references
from llamastack.encryption import PREFIX
from llamastack.errors import BadRequest


@transaction.atomic
def edit_provider(row: Provider, changes: Mapping[str, Any], enabled: bool, reset: Collection[str] = ()) -> Provider:
    """Save a provider, edited as `changed_provider` says; its health is asked and its models are listed anew."""
    SnapshotVersion.lock()  # two may take one name at once
    row = changed_provider(row, changes, enabled, reset)
    row.discovered_at = row.checked_at = None
    row.save()
    return row


def changed_provider(row: Provider, changes: Mapping[str, Any], enabled: bool, reset: Collection[str] = ()) -> Provider:
    """The row, unsaved, with `changes` to its config laid over what it has.

    None takes a value back to its default; the edits of the fields named in `reset` are forgotten, so that the YAML's
    values hold again. Raises Conflict where another provider of this API has the identifier.
    """
    refuse_duplicate(row, Provider.objects.filter(api=row.api))
    before, kind = row.merged, class_of(row)
    changes = by_own_names(kind, changes)
    _refuse_what_is_not_theirs(row, given_anew(row, changes))
    edits = by_own_names(kind, row.override.get("config", {}))
    stored = {name: value for name, value in edits.items() if name not in reset}
    row.override = row.override | {"config": stored | sealed(kind, changes, stored), "enabled": enabled}
    if moved := [name for name, written in moved_secrets(before, row, changes).items() if not references(written)]:
        raise BadRequest(
            f"'{moved[0]}' was given for another address, proxy or trust in certificates. Give it again to send it on.",
            param=f"config.{moved[0]}",
        )
    if (changes or reset or row.pk is None) and not is_operators(row) and (used := of_the_server(row)):
        name, told = not_theirs(used)
        raise BadRequest(f"{told}.", param=f"config.{name}")
    return row


def given_anew(row: Provider, changes: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> list[Leaf]:
    """What of `changes` is not what stood at its place already. `before`: what the row had merged, if not now."""
    held = (row.merged if before is None else before).get("config", {})
    return [leaf for leaf in leaves(class_of(row), changes) if leaf.value != at(held, leaf.place)]


def _refuse_what_is_not_theirs(row: Provider, given: Iterable[Leaf]) -> None:
    """Text in the form of stored secrets would be decrypted and shown, or sent somewhere else. The server's files,
    such as the key of a client certificate, are its operator's, and no tenant's."""
    for leaf in given:
        place = ".".join(map(str, ("config", *leaf.place)))
        if isinstance(leaf.value, str) and leaf.value.startswith(PREFIX):
            raise BadRequest(f"'{place}': no value may begin with '{PREFIX}'.", param=place, code="invalid_value")
        if leaf.file and leaf.place[0] == "network" and not environment(row):
            theirs = "only a provider of the run.yaml, or one that a superuser adds in the admin, may name a file"
            raise BadRequest(f"'{place}': {theirs}.", param=place)


def moved_secrets(before: Mapping[str, Any], row: Provider, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The secrets, as written, that an edited row lets others have than before and than the YAML does.

    Whoever may edit a provider could otherwise have them sent to a server or a proxy of their own, and read them there.
    `before` is what the row had merged; what is among `changes`, and was not there before, was given anew.
    """
    config: dict[str, Any] = row.merged.get("config", {})
    kind = class_of(row)
    known = [by_own_names(kind, held.get("config", {})) for held in (before, row.declared)]
    given = {leaf.place for leaf in given_anew(row, changes, before)}
    kept = [leaf for leaf in leaves(kind, config) if leaf.kept_secret and leaf.place not in given]
    return {
        ".".join(map(str, leaf.place)): leaf.value
        for leaf in sorted(kept, key=lambda leaf: str(leaf.place))
        if _is_set(leaf.value, row) and not any(_goes_as(leaf, was, config) for was in known)
    }


def lent(before: Provider, row: Provider) -> str | None:
    """A setting by which an edited row uses what is the server's own, where it did not so before, or not for there."""
    was, used = of_the_server(before), of_the_server(row)
    old, new = (held.merged.get("config", {}) for held in (before, row))
    same = was == used and addresses(old) == addresses(new) and detours(new) <= detours(old)
    return min(used) if used and not same else None


def _goes_as(leaf: Leaf, was: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether a secret was the same before, and went to the same servers, with no fewer able to read it."""
    same = at(was, leaf.place) == leaf.value and addresses(was) == addresses(config)
    return same and detours(config) <= detours(was)


def _is_set(written: Any, row: Provider) -> bool:
    with suppress(ConfigError):  # a variable that is missing
        return bool(expand(written, environment(row)))
    return False


@transaction.atomic
def delete_provider(row: Provider) -> None:
    """Remove a provider, and the models discovered on it that have no home elsewhere. One that the YAML declares can
    only be disabled, and one that is a model's only home stays.
    """
    SnapshotVersion.lock()  # a model may be given a home there at once
    refuse_declared(row)
    found = discovered_on(row)
    homes.refuse_to_strand(row, found)
    for model in found:
        model.delete()
    row.delete()


def models_on(provider: Provider) -> Any:
    """The models that are registered on a provider, in any way, or have a home there."""
    rows = Model.objects.filter(tenant=provider.tenant)
    return homes.at(rows, provider.identifier) if provider.api == Api.inference else rows.none()


def discovered_on(provider: Provider) -> list[Model]:
    """The models that were discovered on a provider and go with it: they have no home elsewhere."""
    found = models_on(provider).filter(origin=Origin.discovered)
    return [row for row in found if not homes.lives_elsewhere(row, provider.identifier)]
