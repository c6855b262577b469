"""The one door through which resources are written: for the admin, the APIs, the YAML, the CLI and discovery.

Every function is plain and runs in one transaction; async code reaches it by `db()`. What changed is seen by every
process through its snapshot.
"""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import copy
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from apps.access.models import Owned, SnapshotVersion, Tombstone
from apps.registry import homes
from apps.registry.config_classes import by_own_names, config_class
from apps.registry.effective import (
    environment,
    is_operators,
    listed_metadata,
    model_fields,
    model_record,
    not_theirs,
    of_the_server,
    shown_model,
)
from apps.registry.models import (
    LISTINGS_UNTIL_GONE,
    Model,
    Origin,
    Provider,
    Resource,
    VectorStore,
    from_environment,
    merged_is,
    patch_between,
)
from apps.registry.origins import class_of
from apps.registry.schemas import ProviderModel, RegisterModel, UpdateModel
from apps.registry.secrets import Leaf, addresses, at, detours, leaves, sealed
from llamastack.apis import Api
from llamastack.call import DEFAULT_TENANT, SHARED_TENANT, Principal
from llamastack.config import ConfigError, ModelEntry, ProviderEntry, StackConfig, expand, references
from llamastack.config.expand import strings
from llamastack.config.sections import EmbeddingModelReference, VectorStoreEntry
from llamastack.config.vector_stores import default_provider
from llamastack.encryption import PREFIX
from llamastack.errors import BadRequest, Conflict, NotFound, PermissionDenied
from llamastack.ids import new_id
from llamastack.model_facts import problem_in
from llamastack.providers import Health

KEEP_TOMBSTONES = timedelta(days=1)
LONGEST_IDENTIFIER = 255
SERVED = {"provider_id", "provider_model_id", "homes"}  # where a model is served
logger = logging.getLogger(__name__)


# --- the YAML ---


@transaction.atomic
def apply(config: StackConfig) -> None:
    """Make the YAML's rows say what the YAML says. Rows of other origin, and edits laid over these, stay."""
    SnapshotVersion.lock()
    kept_providers = [_declare_provider(entry) for entries in config.providers.values() for entry in entries]
    preferred = config.vector_stores.default_embedding_model if config.vector_stores else None
    kept_models = [_declare_model(entry, preferred) for entry in config.registered_resources.models]
    first = default_provider(config, on_postgresql=connection.vendor == "postgresql") or ""
    kept_stores = [_declare_vector_store(entry, first) for entry in config.registered_resources.vector_stores]
    for row in Provider.objects.filter(origin=Origin.yaml, gone=False).exclude(pk__in=kept_providers):
        _set_gone(row, True)
    for row in VectorStore.objects.filter(origin=Origin.yaml, gone=False).exclude(pk__in=kept_stores):
        _set_gone(row, True)
    for row in Model.objects.filter(origin=Origin.yaml, gone=False).exclude(pk__in=kept_models):
        _set_gone(row, True)
    homes.warn_of_faults()
    Provider.objects.update(discovered_at=None, checked_at=None)  # each start asks its providers anew
    Tombstone.objects.filter(created_at__lt=timezone.now() - KEEP_TOMBSTONES).delete()


def _declare_provider(entry: ProviderEntry) -> int:
    row = _shared(Provider, entry.provider_id, api=entry.api) or Provider(api=entry.api, identifier=entry.provider_id)
    kind = config_class(entry.api, entry.provider_type, entry.module)
    config = sealed(kind, entry.declared, row.declared.get("config", {}))
    return _declare(row, {"config": config}, {"provider_type": entry.provider_type, "module": entry.module})


def _declare_model(entry: ModelEntry, preferred: EmbeddingModelReference | None = None) -> int:
    """The embedding model that vector stores prefer is the default, unless the entry says otherwise."""
    identifier = entry.model_id or ""
    row = _shared(Model, identifier) or Model(identifier=identifier)
    written = {name: value for name, value in entry.declared.items() if name != "model_id" and value is not None}
    if preferred is not None and preferred.means(entry):
        written.setdefault("default", True)
    return _declare(row, written, {})


def _declare_vector_store(entry: VectorStoreEntry, provider_id: str) -> int:
    """Shared with all. What its index was made for stays: another model's vectors are another store."""
    row = _shared(VectorStore, entry.vector_store_id)
    wanted = {
        "provider_id": entry.provider_id or provider_id,
        "embedding_model": entry.embedding_model,
        "embedding_dimension": entry.embedding_dimension,
    }
    if row is None:
        row = VectorStore(identifier=entry.vector_store_id, key=new_id("vs_"), name=entry.vector_store_id, **wanted)
    elif any(getattr(row, name) != value for name, value in wanted.items()):
        told = "Vector store %s was made for other settings, which stay. Delete it, or give the new one another name"
        logger.warning(told, entry.vector_store_id)
    return _declare(row, entry.model_dump(exclude_none=True), {})


def _declare(row: Resource, declared: dict[str, Any], columns: Mapping[str, Any]) -> int:
    """Save the row if anything about it changed: an unchanged one keeps its version, and its provider runs on."""
    wanted = {"declared": declared, "origin": Origin.yaml, "gone": False, **columns}
    if row.pk is None or any(getattr(row, name) != value for name, value in wanted.items()):
        for name, value in wanted.items():
            setattr(row, name, value)
        row.save()
    return int(row.pk)


def _shared(table: type[Any], identifier: str, **columns: Any) -> Any:
    return table.objects.filter(tenant=SHARED_TENANT, identifier=identifier, **columns).first()


def _set_gone(row: Resource, gone: bool) -> None:
    row.gone = gone
    row.save()


# --- operators ---


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
    _refuse_duplicate(row, Provider.objects.filter(api=row.api))
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
    _refuse_duplicate(row, Model.objects.all())
    _refuse_sealed(changes.get("metadata"), "metadata")
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


def _refuse_duplicate(row: Resource, table: Any) -> None:
    if table.filter(tenant=row.tenant, identifier=row.identifier).exclude(pk=row.pk).exists():
        raise Conflict(f"'{row.identifier}' exists already; choose another identifier.", param="identifier")


@transaction.atomic
def delete_provider(row: Provider) -> None:
    """Remove a provider, and the models discovered on it that have no home elsewhere. One that the YAML declares can
    only be disabled, and one that is a model's only home stays.
    """
    SnapshotVersion.lock()  # a model may be given a home there at once
    _refuse_declared(row)
    found = discovered_on(row)
    homes.refuse_to_strand(row, found)
    for model in found:
        model.delete()
    row.delete()


@transaction.atomic
def delete_model(row: Model) -> None:
    """Remove a model. One that the YAML declares can only be disabled, and one that is another's only home stays."""
    SnapshotVersion.lock()
    _refuse_declared(row)
    homes.refuse_to_strand(None, [row])
    row.delete()


def _refuse_declared(row: Resource) -> None:
    if row.origin == Origin.yaml and not row.gone:
        raise Conflict(f"'{row.identifier}' is declared in the YAML and would come back: disable it instead.")


# --- the API ---


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


def may_change(principal: Principal, row: Owned) -> bool:
    """Whether an admin may change this row: those of the tenant, and in the default tenant what all share."""
    shared = row.tenant == SHARED_TENANT and principal.tenant == DEFAULT_TENANT
    return principal.is_admin and (row.tenant == principal.tenant or shared)


# --- what providers report ---


def models_on(provider: Provider) -> Any:
    """The models that are registered on a provider, in any way, or have a home there."""
    rows = Model.objects.filter(tenant=provider.tenant)
    return homes.at(rows, provider.identifier) if provider.api == Api.inference else rows.none()


def discovered_on(provider: Provider) -> list[Model]:
    """The models that were discovered on a provider and go with it: they have no home elsewhere."""
    found = models_on(provider).filter(origin=Origin.discovered)
    return [row for row in found if not homes.lives_elsewhere(row, provider.identifier)]


@transaction.atomic
def record_listing(provider_key: int, listing: Iterable[ProviderModel]) -> int:
    """Register what a provider says it serves; returns how many models are new.

    A discovered model that three listings lack is disabled, unless it has a home elsewhere, and enabled again when it
    returns.
    """
    SnapshotVersion.lock()  # two processes may list at once
    provider = Provider.objects.filter(pk=provider_key).first()
    if provider is None:
        return 0
    known: set[str] = set()
    models = [model for model in listing if _storable(model)]
    listed = {name: model for model in models for name in (*model.other_names, model.provider_model_id)}
    changed = []
    for row in models_on(provider).each():
        known |= homes.names_at(row, provider.identifier)
    found = Model.objects.filter(origin=Origin.discovered, declared__provider_id=provider.identifier)
    for row in found.filter(tenant=provider.tenant).each():
        name = row.declared.get("provider_model_id", row.identifier)
        known.add(name)
        changed += [row] if _seen(row, listed.get(name), homes.lives_elsewhere(row, provider.identifier)) else []
    changed += [row for row, name in _given_names_on(provider) if _told(row, listed.get(name))]
    for row in changed:
        row.save()
    new = [model for model in models if not known & {model.provider_model_id, *model.other_names}]
    return _discovered(provider, new)


def _given_names_on(provider: Provider) -> Iterator[tuple[Model, str]]:
    """The models shown on it that somebody named: on a shared one, those of all tenants without such a one of their
    own. Each with the provider's name of it."""
    rows = Model.objects.exclude(origin=Origin.discovered)
    if provider.tenant != SHARED_TENANT:
        rows = rows.filter(tenant=provider.tenant)
    else:
        own = Provider.objects.filter(api=provider.api, identifier=provider.identifier).exclude(tenant=SHARED_TENANT)
        rows = rows.exclude(tenant__in=own.values("tenant"))
    for row in homes.at(rows, provider.identifier).each():
        shown = shown_model(row)
        if shown.get("provider_id") == provider.identifier:
            yield row, shown["provider_model_id"] or row.identifier


def _told(row: Model, model: ProviderModel | None) -> bool:
    """Note what a provider says of a model of which an operator has said where it is; whether that is new."""
    said = model.metadata if model else {}
    new = bool(row.listed != said)
    row.listed = said
    return new


def _storable(model: ProviderModel) -> bool:
    """PostgreSQL keeps no NUL, neither in text nor in JSON."""
    return "\\u0000" not in model.model_dump_json()


def _seen(row: Model, model: ProviderModel | None, lives_elsewhere: bool) -> bool:
    """Note whether a discovered model is still listed, and as what; whether anything about it is new."""
    missed = 0 if model else row.missed + 1
    gone = missed >= LISTINGS_UNTIL_GONE and not lives_elsewhere
    declared = row.declared if model is None else row.declared | {"metadata": model.metadata}
    new = (missed, gone, declared) != (row.missed, row.gone, row.declared)
    row.missed, row.gone, row.declared = missed, gone, declared
    return bool(new)


def _discovered(provider: Provider, models: Sequence[ProviderModel]) -> int:
    """Register models under `provider_id/provider_model_id`, but where that is taken or too long; returns how many."""
    named = {f"{provider.identifier}/{model.provider_model_id}": model for model in models}
    alike = Model.objects.filter(tenant=provider.tenant, identifier__startswith=f"{provider.identifier}/")
    taken = set(alike.values_list("identifier", flat=True))
    rows = []
    for identifier, model in named.items():
        if identifier in taken or len(identifier) > LONGEST_IDENTIFIER:
            told = "Model %.300s of provider %s is not registered: its name is taken or too long"
            logger.warning(told, identifier, provider.identifier)
            continue
        declared = {"provider_id": provider.identifier, **model.model_dump()}
        if model.other_names:
            declared["aliases"] = [f"{provider.identifier}/{name}" for name in model.other_names]
        rows.append(Model(tenant=provider.tenant, identifier=identifier, origin=Origin.discovered, declared=declared))
    Model.objects.add_all(rows)
    return len(rows)


def record_health(provider_key: int, health: Health) -> None:
    """Keep a provider's word on itself. Not a change of the registry: snapshots do not wait for it."""
    row = Provider.objects.filter(pk=provider_key)
    if health.ok:
        row.filter(healthy=False).update(discovered_at=None)  # it is back: ask at once what it serves
    elif name := row.exclude(healthy=False).values_list("identifier", flat=True).first():
        logger.warning("Health check of '%s' failed: %s", name, health.message)
    row.update(healthy=health.ok, health=health.message[:2000].replace("\0", ""))


def _refuse_sealed(value: Any, place: str) -> None:
    """Text in the form of stored secrets would be decrypted and shown, or sent somewhere else."""
    if any(text.startswith(PREFIX) for _, text in strings(value)):
        raise BadRequest(f"'{place}': no value may begin with '{PREFIX}'.", param=place, code="invalid_value")
