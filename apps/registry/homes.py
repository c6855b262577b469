"""The homes of models in the registry: as doors give them, as they are shown, and against what else is registered."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db.models import Q
from pydantic import BaseModel, Field, ValidationError

from apps.registry.effective import homes_of, model_fields
from apps.registry.models import Model, Provider, merged_is
from llamastack.apis import Api
from llamastack.call import SHARED_TENANT
from llamastack.config.homes import (
    MOST_HOMES,
    Known,
    ModelHome,
    Registered,
    disagreement,
    faults,
    named_by,
    overreach,
    way_back,
)
from llamastack.config.source import spell
from llamastack.config.validate import problems
from llamastack.errors import BadRequest, Conflict

NAMED = 5
HAS_HOMES = Q(override__homes__isnull=False) | Q(declared__homes__isnull=False)
HAS_ALIASES = Q(override__aliases__isnull=False) | Q(declared__aliases__isnull=False)
logger = logging.getLogger(__name__)


class _Given(BaseModel):
    homes: list[ModelHome] = Field(max_length=MOST_HOMES)


def read(given: Any, identifier: str) -> list[ModelHome]:
    """Homes as a door was given them. Raises BadRequest that names `homes[1].weight`."""
    try:
        homes = _Given.model_validate({"homes": given}).homes
    except ValidationError as error:
        first = problems(error, _Given, {"homes": given})[0]
        raise refused(first.place or ("homes",), first.message) from error
    return [_shortest(home, identifier) for home in homes]


def _shortest(home: ModelHome, identifier: str) -> ModelHome:
    """Without a provider's name that is the model's own."""
    own = home.provider_model_id == identifier and home.model is None
    return home.model_copy(update={"provider_model_id": None}) if own else home


def refused(place: Sequence[str | int], message: str) -> BadRequest:
    where, stop = spell(place), "" if message[-1:] in ".?" else "."
    return BadRequest(f"'{where}': {message}{stop}", param=where, code="invalid_value")


def edited(row: Model, changes: Mapping[str, Any]) -> dict[str, Any]:
    """`changes` to a model with its homes read, and without a provider that only says again what the first home says.

    Raises BadRequest where they say different things.
    """
    rest = dict(changes)
    if rest.get("homes") is not None:
        homes = read(rest["homes"], row.identifier)
        given = {name: rest.pop(name) for name in ("provider_id", "provider_model_id") if name in rest}
        if fault := disagreement(homes, row.identifier, **given):
            raise refused(*fault)
        return rest | {"homes": [home.model_dump(exclude_defaults=True) for home in homes]}
    for name in ("provider_id", "provider_model_id"):
        if name in rest and "homes" not in rest and row.merged.get("homes"):
            raise refused((name,), "this model has a list of homes: change 'homes', or set it to null as well")
    return rest


def refuse_faults(row: Model, changes: Mapping[str, Any]) -> None:
    """Refuse an edited model, unsaved, that has no home, or a wrong one, or is no home any more for those it serves.

    What it names already may have gone since: that is told where the homes themselves are changed.
    """
    merged = model_fields(row)
    listed, changed = merged.get("homes") is not None, "homes" in changes
    if not listed and not merged.get("provider_id") and (row.pk is None or {"homes", "provider_id"} & changes.keys()):
        raise refused(("provider_id",), "name the provider that serves this model, or list its 'homes'")
    if not {"homes", "aliases", "model_type", "metadata"} & changes.keys():
        return  # a model with a wrong home can be disabled
    model, known = _registered(row, merged), known_to(row)
    if listed and changed:
        _refuse(model, read(changes["homes"], row.identifier), known)
    elif model.homes:
        gone = {name for home in model.homes for name in (home.provider_id, home.model) if name}
        _refuse(model, model.homes, Known({*known.providers, *gone}, known.models, gone, known.of_shared))
    _refuse_for_others(model, known)


def _refuse(model: Registered, homes: Sequence[ModelHome], known: Known) -> None:
    for place, message in faults(model, homes, known):
        raise refused(place, message)


def _refuse_for_others(model: Registered, known: Known) -> None:
    """A home of other models keeps their type and dimension, and does not lead them too far."""
    for other in {other.identifier: other for other in known.models.values() if other.homes}.values():
        which = f"'{other.identifier}' has this model as a home"
        direct = model in named_by(other, known)
        if direct and other.model_type != model.model_type:
            raise refused(("model_type",), f"{which}, and is of type '{other.model_type}': take it out there first")
        if direct and other.dimension and model.dimension and other.dimension != model.dimension:
            raise refused(("metadata",), f"{which}, and has {other.dimension} dimensions: take it out there first")
        if way_back(model, other, known) and (told := overreach(other, known)):
            raise refused(("homes",), f"{which}, and {told}")


def known_to(row: Model) -> Known:
    """What the homes of a model may name: what is of its tenant and what all share, and the model itself.

    Models that nobody names, and that name none, are left out, unless a home names what is none: near ones are told.
    """
    rows = Model.objects.filter(tenant__in={row.tenant, SHARED_TENANT}).exclude(pk=row.pk)
    own = _models_named(row)
    named = own.union(*map(_models_named, rows.filter(HAS_HOMES)))
    known = _known(row.tenant, [*rows.filter(HAS_HOMES | HAS_ALIASES | Q(identifier__in=named)), row])
    return known if own <= known.models.keys() else _known(row.tenant, [*rows, row])


def _models_named(row: Model) -> set[str]:
    return {home.model for home in homes_of(model_fields(row)) or () if home.model}


def _known(tenant: str, rows: Sequence[Model]) -> Known:
    """As the names of these rows are known in a tenant, where its own win; but not for what is shared."""
    providers = Provider.objects.filter(api=Api.inference, tenant__in={tenant, SHARED_TENANT})
    shared, own = [_names(row for row in rows if (row.tenant == SHARED_TENANT) is of_all) for of_all in (True, False)]
    return Known(set(providers.values_list("identifier", flat=True)), shared | own, of_shared=shared)


def _names(rows: Iterable[Model]) -> dict[str, Registered]:
    """Models by all their names. Identifiers win over aliases."""
    fields = [(row, model_fields(row)) for row in rows]
    models = [(_registered(row, merged), merged.get("aliases", ())) for row, merged in fields]
    aliases = {alias: model for model, names in models for alias in names}
    return aliases | {model.identifier: model for model, _ in models}


def _registered(row: Model, merged: Mapping[str, Any]) -> Registered:
    dimension = merged.get("metadata", {}).get("embedding_dimension")
    return Registered(
        row.identifier,
        merged.get("model_type", "llm"),
        dimension if isinstance(dimension, int) else None,
        tuple(homes_of(merged) or ()),
        row.tenant == SHARED_TENANT,
    )


# --- which models are where ---


def at(rows: Any, provider_id: str) -> Any:
    """Those of the rows that have a home on a provider of this id."""
    listed = {row.pk: homes_of(model_fields(row)) for row in rows.filter(HAS_HOMES)}
    several = [key for key, homes in listed.items() if homes is not None]
    here = [key for key, homes in listed.items() if any(home.provider_id == provider_id for home in homes or ())]
    return rows.filter(merged_is("provider_id", provider_id) & ~Q(pk__in=several) | Q(pk__in=here))


def providers_of(row: Model) -> set[str]:
    """The providers that serve a model."""
    merged = model_fields(row)
    homes = homes_of(merged)
    named = [merged.get("provider_id")] if homes is None else [home.provider_id for home in homes]
    return {name for name in named if name}


def names_at(row: Model, provider_id: str) -> set[str]:
    """The names that a provider has for a model, by which its homes call it there."""
    merged = model_fields(row)
    homes = homes_of(merged)
    if homes is None:
        return (
            {merged.get("provider_model_id") or row.identifier} if merged.get("provider_id") == provider_id else set()
        )
    return {home.provider_model_id or row.identifier for home in homes if home.provider_id == provider_id}


def lives_elsewhere(row: Model, provider_id: str) -> bool:
    return any(home.provider_id != provider_id for home in homes_of(model_fields(row)) or ())


def left_without(provider: Provider | None, models: Iterable[Model]) -> list[Model]:
    """The other models with a list of homes all of which are on this provider, or are one of these models."""
    gone = list(models)
    lost = next(iter(gone), None) if provider is None else provider
    if lost is None or (provider is not None and provider.api != Api.inference):
        return []
    rows = Model.objects.filter(HAS_HOMES, gone=False).exclude(pk__in=[row.pk for row in gone])
    rows = rows if lost.tenant == SHARED_TENANT else rows.filter(tenant=lost.tenant)
    names = {name for row in gone for name in (row.identifier, *model_fields(row).get("aliases", ()))}
    return [row for row in rows if _all_gone(row, lost.tenant, {provider.identifier} if provider else set(), names)]


def _all_gone(row: Model, tenant: str, providers: set[str], models: set[str]) -> bool:
    """Whether it has no home but these, of `tenant`. A tenant's own of the same name is not the one that is shared."""
    homes = homes_of(model_fields(row)) or ()
    if row.tenant != tenant:
        own = Provider.objects.filter(api=Api.inference, tenant=row.tenant)
        providers = providers.difference(own.values_list("identifier", flat=True))
        models = models.difference(_names(Model.objects.filter(tenant=row.tenant)))
    gone = [home.model in models if home.model else home.provider_id in providers for home in homes]
    return bool(gone) and all(gone)


def stranded(provider: Provider | None, models: Iterable[Model]) -> str:
    """A sentence about the models that live nowhere else, or nothing. Of what is shared, tenants' are not named."""
    left = left_without(provider, models)
    shared = provider or next(iter(models), None)
    named = [repr(row.identifier) for row in left if shared and row.tenant == shared.tenant]
    told = [", ".join(named[:NAMED]) + (" …" if len(named) > NAMED else "")] if named else []
    if others := len(left) - len(named):
        told.append(f"{others} of the tenants' models")
    return f"It is the only home of {' and of '.join(told)}: give what is named another home" if left else ""


def refuse_to_strand(provider: Provider | None, models: Iterable[Model]) -> None:
    if told := stranded(provider, models):
        raise Conflict(f"{told}, or delete it, first.")


def warn_of_faults() -> None:
    """Tell of shared models that came by a wrong home together with edits made before, which no door could see."""
    rows = list(Model.objects.filter(tenant=SHARED_TENANT))
    known = _known(SHARED_TENANT, rows)
    known = Known(known.providers, known.models, known.providers, known.of_shared)
    for model in (known.models[row.identifier] for row in rows):
        for place, message in faults(model, model.homes, known) if model.homes else ():
            logger.warning("Model '%s' passes over a home: %s: %s", model.identifier, spell(place), message)
