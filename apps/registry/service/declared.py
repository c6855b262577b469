"""What a run.yaml declares, as rows."""

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from apps.access.models import SnapshotVersion, Tombstone
from apps.registry import homes
from apps.registry.config_classes import config_class
from apps.registry.models import Model, Origin, Provider, Resource, VectorStore
from apps.registry.secrets import sealed
from llamastack.call import SHARED_TENANT
from llamastack.config import ModelEntry, ProviderEntry, StackConfig
from llamastack.config.sections import EmbeddingModelReference, VectorStoreEntry
from llamastack.config.vector_stores import default_provider
from llamastack.ids import new_id

KEEP_TOMBSTONES = timedelta(days=1)
logger = logging.getLogger(__name__)


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
