"""What a process holds of the registry's rows, as they mean now, and what the homes of models lead to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from llamastack.apis import Api
from llamastack.call import Principal
from llamastack.model_facts import NOTHING, ModelFacts


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
