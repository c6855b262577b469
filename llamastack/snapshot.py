"""What a process knows without asking the database: an immutable picture of the registry, replaced whole."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, TypeVar

from llamastack.apis import Api
from llamastack.call import SHARED_TENANT, Principal


@dataclass(frozen=True, slots=True)
class ProviderRecord:
    """A provider as it shall run. `config` is effective: merged, expanded, decrypted; `unavailable` says why it cannot.

    `revision` changes exactly when the provider has to be started anew.
    """

    key: int
    tenant: str
    provider_id: str
    api: Api
    provider_type: str
    module: str | None
    config: Mapping[str, Any] = field(repr=False)  # it holds secrets
    revision: str
    unavailable: str | None = None
    health: str = ""


@dataclass(frozen=True, slots=True)
class Home:
    """A place that serves a model: a provider's own model, or the homes of another registered `model`.

    Those of a lower `order` are tried first; among equals it falls to chance, by `weight`.
    """

    provider_id: str = ""
    provider_model_id: str = ""
    model: str = ""
    weight: float = 1.0
    order: int = 0


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """`homes` is never empty: it is the one that `provider_id` and `provider_model_id` name, where no others are given.

    `affinity` is the field of a request whose value decides between homes; empty, the usual one.
    """

    key: int
    tenant: str
    owner: str
    identifier: str
    provider_id: str
    provider_model_id: str
    model_type: str
    created: int
    origin: str
    aliases: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    default: bool = False
    homes: tuple[Home, ...] = ()
    affinity: str = ""

    def __post_init__(self) -> None:
        if not self.homes:
            object.__setattr__(self, "homes", (Home(self.provider_id, self.provider_model_id),))


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """An API key that is not revoked. `digest` is the SHA-256 of the secret in hex."""

    key: int
    digest: str
    principal: Principal
    expires_at: datetime | None = None


Record = ProviderRecord | ModelRecord | KeyRecord
R = TypeVar("R", ProviderRecord, ModelRecord, KeyRecord)


@dataclass(frozen=True)
class Changes:
    """Rows changed since a version: those to hold now, and the ids of those that are gone or disabled."""

    version: int
    providers: tuple[ProviderRecord, ...] = ()
    models: tuple[ModelRecord, ...] = ()
    keys: tuple[KeyRecord, ...] = ()
    gone: Mapping[str, frozenset[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Snapshot:
    """The registry at a version. The indexes are derived once, when it is built."""

    version: int = 0
    providers: Mapping[int, ProviderRecord] = field(default_factory=dict)
    models: Mapping[int, ModelRecord] = field(default_factory=dict)
    keys: Mapping[int, KeyRecord] = field(default_factory=dict)
    _names: Mapping[tuple[str, str], ModelRecord] = field(init=False, repr=False, compare=False)
    _providers: Mapping[tuple[str, str, Api], ProviderRecord] = field(init=False, repr=False, compare=False)
    _digests: Mapping[str, KeyRecord] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_names", _by_name(self.models.values()))
        object.__setattr__(self, "_providers", {(p.tenant, p.provider_id, p.api): p for p in self.providers.values()})
        object.__setattr__(self, "_digests", {key.digest: key for key in self.keys.values()})

    def after(self, changes: Changes) -> "Snapshot":
        """The next snapshot."""
        return replace(
            self,
            version=changes.version,
            providers=_merged(self.providers, changes.providers, changes.gone.get("provider")),
            models=_merged(self.models, changes.models, changes.gone.get("model")),
            keys=_merged(self.keys, changes.keys, changes.gone.get("apikey")),
        )

    def model(self, tenant: str, name: str) -> ModelRecord | None:
        """The model of that identifier or alias: the tenant's own first, then a shared one."""
        return self._names.get((tenant, name)) or self._names.get((SHARED_TENANT, name))

    def provider(self, tenant: str, provider_id: str, api: Api) -> ProviderRecord | None:
        own = self._providers.get((tenant, provider_id, api))
        return own or self._providers.get((SHARED_TENANT, provider_id, api))

    def api_key(self, digest: str) -> KeyRecord | None:
        return self._digests.get(digest)

    def models_of(self, tenant: str) -> list[ModelRecord]:
        """Every model the tenant may use, none whose provider is switched off: defaults first, then by name."""
        own = [model for model in self.models.values() if model.tenant in (tenant, SHARED_TENANT)]
        seen = [model for model in own if self.provider(model.tenant, model.provider_id, Api.inference)]
        return sorted(seen, key=lambda model: (not model.default, model.identifier))

    def providers_of(self, tenant: str) -> list[ProviderRecord]:
        return [p for p in self.providers.values() if p.tenant in (tenant, SHARED_TENANT)]

    def near(self, tenant: str, name: str) -> list[str]:
        """Up to three names of models that look like `name`, for an error message."""
        names = [n for t, n in self._names if t in (tenant, SHARED_TENANT)]
        tails = {n.rpartition("/")[2].lower(): n for n in names}
        close = difflib.get_close_matches(name.rpartition("/")[2].lower(), tails, n=3, cutoff=0.5)
        return [tails[tail] for tail in close]


def _by_name(models: Iterable[ModelRecord]) -> dict[tuple[str, str], ModelRecord]:
    """Identifiers win over aliases of the same name."""
    aliased = {(model.tenant, alias): model for model in models for alias in model.aliases}
    return aliased | {(model.tenant, model.identifier): model for model in models}


def _merged(old: Mapping[int, R], new: tuple[R, ...], gone: frozenset[int] | None) -> Mapping[int, R]:
    if not new and not gone:
        return old
    kept: Iterator[tuple[int, R]] = ((key, record) for key, record in old.items() if key not in (gone or ()))
    return MappingProxyType(dict(kept) | {record.key: record for record in new})
