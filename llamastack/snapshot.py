"""What a process knows without asking the database: an immutable picture of the registry, replaced whole."""

import difflib
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, TypeVar

from llamastack.apis import Api
from llamastack.call import SHARED_TENANT, Principal
from llamastack.config.homes import DEEPEST
from llamastack.model_facts import NOTHING, ModelFacts

logger = logging.getLogger(__name__)


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

    `affinity` is the field of a request whose value decides between homes; empty, the usual one. `stated` is what an
    operator says of it, `listed` what its provider does.
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
    stated: ModelFacts = NOTHING
    listed: ModelFacts = NOTHING

    def __post_init__(self) -> None:
        if not self.homes:
            object.__setattr__(self, "homes", (Home(self.provider_id, self.provider_model_id),))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a call can be sent: a provider, and its own id of the model. Callers are told of it by its `name`."""

    provider: ProviderRecord
    provider_model_id: str
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"{self.provider.provider_id}/{self.provider_model_id}")

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Option:
    """A home and what it leads to now: a place, or another model and its options; to neither, where that is gone.

    It is `registered` where a provider is there, and `usable` where that can run; `problem` is for the log.
    """

    home: Home
    place: Place | None = None
    model: ModelRecord | None = None
    options: tuple["Option", ...] = ()
    problem: str = ""
    registered: bool = field(init=False)
    usable: bool = field(init=False)

    def __post_init__(self) -> None:
        runs = self.place is not None and self.place.provider.unavailable is None
        registered = self.place is not None or any(option.registered for option in self.options)
        object.__setattr__(self, "registered", registered)
        object.__setattr__(self, "usable", runs or any(option.usable for option in self.options))


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
    """The registry at a version. The indexes are derived once, when it is built.

    `told` are the problems of homes that are in the log: the next snapshot tells of new ones alone.
    """

    version: int = 0
    providers: Mapping[int, ProviderRecord] = field(default_factory=dict)
    models: Mapping[int, ModelRecord] = field(default_factory=dict)
    keys: Mapping[int, KeyRecord] = field(default_factory=dict)
    told: frozenset[str] = field(default=frozenset(), repr=False, compare=False)
    _names: Mapping[tuple[str, str], ModelRecord] = field(init=False, repr=False, compare=False)
    _options: Mapping[int, tuple[Option, ...]] = field(init=False, repr=False, compare=False)
    _providers: Mapping[tuple[str, str, Api], ProviderRecord] = field(init=False, repr=False, compare=False)
    _digests: Mapping[str, KeyRecord] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_names", _by_name(self.models.values()))
        object.__setattr__(self, "_providers", {(p.tenant, p.provider_id, p.api): p for p in self.providers.values()})
        object.__setattr__(self, "_digests", {key.digest: key for key in self.keys.values()})
        object.__setattr__(self, "_options", self._all_options())
        problems = frozenset(option.problem for options in self._options.values() for option in options) - {""}
        for problem in sorted(problems - self.told):
            logger.warning(problem)
        object.__setattr__(self, "told", problems)

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

    def options(self, model: ModelRecord) -> tuple[Option, ...]:
        """The homes of a model, as they are listed, and what they lead to."""
        return self._options[model.key]

    def api_key(self, digest: str) -> KeyRecord | None:
        return self._digests.get(digest)

    def models_of(self, tenant: str) -> list[ModelRecord]:
        """Every model the tenant may use, none whose providers are all switched off: defaults first, then by name."""
        own = [model for model in self.models.values() if model.tenant in (tenant, SHARED_TENANT)]
        seen = [model for model in own if any(option.registered for option in self._options[model.key])]
        return sorted(seen, key=lambda model: (not model.default, model.identifier))

    def providers_of(self, tenant: str) -> list[ProviderRecord]:
        return [p for p in self.providers.values() if p.tenant in (tenant, SHARED_TENANT)]

    def near(self, tenant: str, name: str) -> list[str]:
        """Up to three names of models that look like `name`, for an error message."""
        names = [n for t, n in self._names if t in (tenant, SHARED_TENANT)]
        tails = {n.rpartition("/")[2].lower(): n for n in names}
        close = difflib.get_close_matches(name.rpartition("/")[2].lower(), tails, n=3, cutoff=0.5)
        return [tails[tail] for tail in close]

    def _all_options(self) -> dict[int, tuple[Option, ...]]:
        """The options of all models by their keys: those first that lead to no other model, then those that lead there.

        What then remains leads back to itself, or too deep, and goes without the homes that do.
        """
        found: dict[int, tuple[Option, ...]] = {}
        waiting = list(self.models.values())
        for _ in range(DEEPEST):
            ready = [model for model in waiting if not any(self._leads_on(model, home, found) for home in model.homes)]
            found |= {model.key: self._options_of(model, found) for model in ready}
            waiting = [model for model in waiting if model.key not in found]
        return found | {model.key: self._options_of(model, found) for model in waiting}

    def _leads_on(self, model: ModelRecord, home: Home, found: Mapping[int, Any]) -> bool:
        other = self.model(model.tenant, home.model) if home.model else None
        return other is not None and other.key not in found

    def _options_of(self, model: ModelRecord, found: Mapping[int, tuple[Option, ...]]) -> tuple[Option, ...]:
        return tuple([self._option(model, home, found) for home in model.homes])

    def _option(self, model: ModelRecord, home: Home, found: Mapping[int, tuple[Option, ...]]) -> Option:
        """Names mean to a model's homes what they mean to its tenant."""
        if not home.model:
            provider = self.provider(model.tenant, home.provider_id, Api.inference)
            return Option(home, Place(provider, home.provider_model_id) if provider else None)
        other = self.model(model.tenant, home.model)
        if other is None:
            problem = "is not registered"
        elif other.model_type != model.model_type:
            problem = f"is of type '{other.model_type}'"
        elif other.key not in found:
            problem = f"leads back to it, or through more than {DEEPEST} models"
        else:
            return Option(home, model=other, options=found[other.key])
        return Option(home, problem=f"Model {model.identifier} goes without its home '{home.model}', which {problem}")


def _by_name(models: Iterable[ModelRecord]) -> dict[tuple[str, str], ModelRecord]:
    """Identifiers win over aliases of the same name."""
    aliased = {(model.tenant, alias): model for model in models for alias in model.aliases}
    return aliased | {(model.tenant, model.identifier): model for model in models}


def _merged(old: Mapping[int, R], new: tuple[R, ...], gone: frozenset[int] | None) -> Mapping[int, R]:
    if not new and not gone:
        return old
    kept: Iterator[tuple[int, R]] = ((key, record) for key, record in old.items() if key not in (gone or ()))
    return MappingProxyType(dict(kept) | {record.key: record for record in new})
