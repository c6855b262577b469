"""What a run.yaml changes in the registry: found out by applying it, in a transaction that a dry run takes back."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from apps.access.models import SnapshotVersion
from apps.registry import service
from apps.registry.models import Model, Origin, Provider, Resource, VectorStore
from llamastack.call import SHARED_TENANT
from llamastack.config import StackConfig

Key = tuple[str, str]


@dataclass(frozen=True)
class Change:
    """`verb` is added, changed, enabled or disabled; `fields` are the names of what is declared otherwise now."""

    verb: str
    kind: str
    identifier: str
    fields: tuple[str, ...] = ()


@dataclass(frozen=True)
class _State:
    enabled: bool
    declared: dict[str, Any]
    holds: dict[str, Any]


@transaction.atomic
def apply(config: StackConfig, *, dry_run: bool = False) -> list[Change]:
    """Apply a run.yaml and tell what changed, or, in a dry run, what would."""
    SnapshotVersion.lock()
    before = _registry()
    service.apply(config)
    after = _registry()
    if dry_run:
        transaction.set_rollback(True)
    return [change for key, state in after.items() if (change := _change(key, before.get(key), state))]


def _registry() -> dict[Key, _State]:
    """Every row that a run.yaml may speak of."""
    providers = Provider.objects.filter(tenant=SHARED_TENANT)
    models = Model.objects.filter(tenant=SHARED_TENANT)
    stores = VectorStore.objects.filter(tenant=SHARED_TENANT)
    found = {(f"{row.api} provider", row.identifier): _provider(row) for row in providers}
    found |= {("model", row.identifier): _resource(row) for row in models}
    return found | {("vector store", row.identifier): _resource(row) for row in stores}


def _provider(row: Provider) -> _State:
    columns = {"provider_type": row.provider_type, "module": row.module, "origin": _origin(row)}
    declared = dict(_flat(row.declared.get("config", {}), "config"))
    return _State(row.enabled, columns | declared, columns | dict(_flat(row.merged.get("config", {}), "config")))


def _resource(row: Resource) -> _State:
    columns = {"origin": _origin(row)}
    return _State(row.enabled, columns | dict(_flat(row.declared)), columns | dict(_flat(row.merged)))


def _origin(row: Resource) -> str:
    return Origin(row.origin).label


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """`{"config": {"url": 1}}` as `config.url`, 1."""
    if not isinstance(value, dict):
        yield name, value
        return
    for key, item in value.items():
        yield from _flat(item, f"{name}.{key}" if name else key)


def _change(key: Key, before: _State | None, after: _State) -> Change | None:
    if before is None:
        return Change("added", *key)
    fields = tuple(_fields(before, after))
    if before.enabled != after.enabled:
        return Change("enabled" if after.enabled else "disabled", *key, fields)
    return Change("changed", *key, fields) if fields else None


def _fields(before: _State, after: _State) -> Iterator[str]:
    """The names whose declared value differs; of one that an edit lies over it is said that the edit holds."""
    for name in dict.fromkeys([*before.declared, *after.declared]):
        if before.declared.get(name) != after.declared.get(name):
            edited = before.holds.get(name) == after.holds.get(name)
            yield f"{name} (an edit of it holds)" if edited else name
