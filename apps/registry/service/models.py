"""Models, as operators and callers of the API register, edit and delete them."""

from collections.abc import Mapping
from copy import copy
from typing import Any

from django.db import transaction
from django.db.models import Q

from apps.access.models import SnapshotVersion
from apps.registry import homes
from apps.registry.effective import listed_metadata, model_fields, model_record, shown_model
from apps.registry.models import Model, Origin, from_environment, merged_is, patch_between
from apps.registry.schemas import RegisterModel, UpdateModel
from apps.registry.service.refusals import may_change, refuse_declared, refuse_duplicate, refuse_sealed
from llamastack.call import SHARED_TENANT, Principal
from llamastack.errors import BadRequest, Conflict, NotFound, PermissionDenied
from llamastack.model_facts import problem_in

SERVED = {"provider_id", "provider_model_id", "homes"}  # where a model is served


@transaction.atomic
def edit_model(row: Model, changes: Mapping[str, Any]) -> Model:
    """Save a model, edited as `changed_model` says. A new default takes the place of the old one."""
    SnapshotVersion.lock()  # two may take one name at once
    row = changed_model(row, changes)
    if row.pk is None or changes.keys() & SERVED:
        row.listed = _listing_of(row)
    row.save()
    if row.merged.get("default"):
        _undefault_others(row)
    return row


def changed_model(row: Model, changes: Mapping[str, Any]) -> Model:
    """The row, unsaved, with `changes` laid over what it has (`Model` lists the names).

    Raises Conflict where its identifier or an alias is another model's, and BadRequest where metadata lacks something
    or a home is wrong. `homes` is replaced as a whole; None leaves the one that `provider_id` names.
    """
    refuse_duplicate(row, Model.objects.all())
    refuse_sealed(changes.get("metadata"), "metadata")
    row.override = row.override | homes.edited(row, changes)
    if "metadata" in changes and (problem := problem_in(model_fields(row).get("metadata", {}))):
        raise BadRequest("'{}': {}.".format(*problem), param=problem[0])
    if row.pk is None or "aliases" in changes:
        _refuse_taken_names(row)
    homes.refuse_faults(row, changes)
    if row.merged.get("model_type", "llm") == "embedding" and not _dimension(row):
        raise BadRequest("An embedding model needs 'embedding_dimension' in its metadata.", param="metadata")
    return row


def _listing_of(row: Model) -> dict[str, Any]:
    """What is listed of a model under the name that its provider has for it, from whichever row knows it."""
    if row.origin == Origin.discovered:
        return {}
    served = model_record(row)
    named = merged_is("provider_id", served.provider_id) & merged_is("provider_model_id", served.provider_model_id)
    others = Model.objects.filter(named, tenant__in=(row.tenant, SHARED_TENANT)).exclude(pk=row.pk)
    return next((listed for other in others if (listed := listed_metadata(other))), {})


def model_changes(row: Model, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What of `wanted`, whole values by field, is otherwise now, as the patch that `edit_model` takes.

    Raises BadRequest for a field that the environment sets: an edit of it would not hold.
    """
    before = shown_model(row) if row.pk else {}
    if wanted.get("homes") is not None:
        wanted = {**wanted, "homes": [home.model_dump() for home in homes.read(wanted["homes"], row.identifier)]}
    changes = {name: value for name, value in wanted.items() if value != before.get(name)}
    if "homes" in changes and wanted["homes"] is None:  # the provider is named again
        changes |= {name: wanted[name] for name in ("provider_id", "provider_model_id") if wanted.get(name)}
    if "metadata" in changes:
        changes["metadata"] = patch_between(row.declared.get("metadata", {}), changes["metadata"])
    edited = copy(row)
    edited.override = row.override | changes
    held = from_environment(row.declared)
    for name in changes.keys() & held.keys():
        if shown_model(edited).get(name) != wanted[name]:
            raise BadRequest(f"'{name}' is set by the environment, and read-only.", param=name, code="read_only")
    return changes


def _refuse_taken_names(row: Model) -> None:
    """A name means one model in its tenant."""
    names = {row.identifier, *row.merged.get("aliases", ())}
    others = Model.objects.filter(Q(identifier__in=names) | homes.HAS_ALIASES, tenant=row.tenant).exclude(pk=row.pk)
    for other in others:
        for name in names & {other.identifier, *other.merged.get("aliases", ())}:
            param = "identifier" if name == row.identifier else "aliases"
            raise Conflict(f"'{name}' is a name of the model '{other.identifier}'; choose another.", param=param)


def _dimension(row: Model) -> bool:
    return isinstance(row.merged.get("metadata", {}).get("embedding_dimension"), int)


def _undefault_others(row: Model) -> None:
    """There is one default a model type."""
    kind = row.merged.get("model_type", "llm")
    for other in Model.objects.filter(tenant=row.tenant).exclude(pk=row.pk):
        if other.merged.get("default") and other.merged.get("model_type", "llm") == kind:
            other.override = other.override | {"default": False}
            other.save()


@transaction.atomic
def delete_model(row: Model) -> None:
    """Remove a model. One that the YAML declares can only be disabled, and one that is another's only home stays."""
    SnapshotVersion.lock()
    refuse_declared(row)
    homes.refuse_to_strand(None, [row])
    row.delete()


def register_model(principal: Principal, provider_id: str | None, asked: RegisterModel) -> None:
    """A model of the caller's tenant. Raises Conflict where the name is taken."""
    row = Model(identifier=asked.model_id, tenant=principal.tenant, owner=principal.name, origin=Origin.api)
    changes = asked.model_dump(exclude={"model_id", "provider_id"}, exclude_unset=True, exclude_none=True)
    edit_model(row, ({"provider_id": provider_id} if provider_id else {}) | changes)


@transaction.atomic
def update_model(principal: Principal, key: int, asked: UpdateModel) -> None:
    """Edit what of a model is given. The names of fields that the environment sets are refused with BadRequest."""
    SnapshotVersion.lock()
    row = _changeable(principal, key)
    edit_model(row, model_changes(row, asked.model_dump(exclude_unset=True)))


def unregister_model(principal: Principal, key: int) -> None:
    delete_model(_changeable(principal, key))


def _changeable(principal: Principal, key: int) -> Model:
    """A model that the principal, an admin, may change."""
    row: Model | None = Model.objects.visible_to(principal).filter(pk=key).first()
    if row is None:
        raise NotFound("This model is gone already.", param="model_id", code="model_not_found")
    if not may_change(principal, row):
        raise PermissionDenied(
            "This model is shared by all tenants; only an admin of the default tenant may change or remove it."
        )
    return row
