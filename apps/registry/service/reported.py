"""What providers report: which models they serve, and how they are."""

import logging
from collections.abc import Iterable, Iterator, Sequence

from django.db import transaction

from apps.access.models import SnapshotVersion
from apps.registry import homes
from apps.registry.effective import shown_model
from apps.registry.models import LISTINGS_UNTIL_GONE, Model, Origin, Provider
from apps.registry.schemas import ProviderModel
from apps.registry.service.providers import models_on
from llamastack.call import SHARED_TENANT
from llamastack.providers import Health

LONGEST_IDENTIFIER = 255
logger = logging.getLogger(__name__)


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
