"""What a provider is: its base class, and how a class is found by its type."""

import importlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator

from llamastack.apis import SERVED, Api
from llamastack.errors import StackError
from llamastack.provider_data import ProviderData
from llamastack.provider_specs import ProviderSpec as ProviderSpec  # third parties find it here

ENTRY_POINTS = "llamastack.providers"


class ProviderConfig(BaseModel):
    """The base of every provider's configuration. Its fields make the admin's form; SecretStr fields are masked.

    `other_names` are what a run.yaml may call a field instead, such as another version's name: {other: own}.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    other_names: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def by_own_names(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """`values` with each under its field's own name. Where two names say different things, both stay."""
        named = dict(values)
        for other, own in cls.other_names.items():
            if other in named and (named.get(own) is None or named[other] in (None, named[own])):
                value = named.pop(other)
                named[own] = value if named.get(own) is None else named[own]
        return named

    @model_validator(mode="before")
    @classmethod
    def one_name_each(cls, values: Any) -> Any:
        """A setting under its own name; null, as an unset variable leaves it, is no value. Two values are an error."""
        if not isinstance(values, dict) or not cls.other_names:
            return values
        named = cls.by_own_names(values)
        if twice := next((name for name in cls.other_names if name in named), None):
            own = cls.other_names[twice]
            raise ValueError(f"{own} and {twice} are names of one setting and say different things: give one of them")
        several = set(cls.other_names.values())
        return {name: value for name, value in named.items() if value is not None or name not in several}

    @property
    def of_the_server(self) -> Mapping[str, Any]:
        """The settings, outside of `network`, by which the provider uses credentials or files of the server's own.

        Each with its value, an empty one where that is what says it. A tenant's provider may use none of these.
        """
        return {}

    @classmethod
    def sample_run_config(cls) -> dict[str, Any]:
        """Literal values that construct this class: what the docs show."""
        return {}


class ConfigSection(BaseModel):
    """Settings that belong together, none of them required: a group of its own in the admin's form."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ProviderUnavailable(StackError):
    """A provider cannot be loaded or started here; the message says why and what to install or set."""

    status = 503
    type = "service_unavailable"
    code = "provider_unavailable"


@dataclass(frozen=True)
class Health:
    """What a provider says of itself: `ok` and a sentence."""

    ok: bool
    message: str = ""


class Provider:
    """The base of every provider: made with its id, its validated config and the services it `needs`.

    `start` may take long and runs behind readiness; `stop` is called once, after the calls in flight have ended.
    Both are harmless to repeat.
    """

    config_class: ClassVar[type[ProviderConfig]] = ProviderConfig
    confined = False  # to public addresses: a tenant has written its config

    @classmethod
    def reads(cls) -> Mapping[str, Any]:
        """The keys of a request's provider data that it knows, each with its type: `call.provider_data.read`."""
        return {}

    def uses(self, data: ProviderData) -> bool:
        """Whether a call with this provider data is made with something of its caller's own, such as a key."""
        return any(data.get(name) for name in self.reads())

    def __init__(self, provider_id: str, config: Any, **services: Any) -> None:
        self.provider_id = provider_id
        self.config = config

    @property
    def refreshes(self) -> bool:
        """Whether what it serves may change while it runs, so that it is to be asked again from time to time."""
        return False

    @property
    def refuses(self) -> bool:
        """Whether it would fail any call at once, as while its upstream is left alone."""
        return False

    async def start(self) -> None:
        """Open connections, load models. Raises StackError where it cannot serve."""

    async def stop(self) -> None:
        """Release everything `start` took."""

    async def health(self) -> Health:
        """Whether calls would be answered now. The stack gives it three seconds."""
        return Health(True)


@cache
def specs(api: Api) -> Mapping[str, ProviderSpec]:
    """The providers of an API by type: the app's own table, then what other packages offer by entry point."""
    info = SERVED.get(api)
    if info is None or not info.has_providers:
        return {}
    table: dict[str, ProviderSpec] = dict(importlib.import_module(f"apps.{info.app}.providers").PROVIDERS)
    for entry_point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        table.update({kind: spec for kind, spec in entry_point.load().items() if spec.api == api})
    return {kind: spec.keyed(api, kind) for kind, spec in table.items()}


def find(api: Api, provider_type: str, module: str | None = None) -> ProviderSpec | None:
    """The spec of a type: from the PROVIDERS table of `module` where the YAML names one, else from `specs(api)`."""
    if module is None:
        return specs(api).get(provider_type)
    try:
        spec = importlib.import_module(module).PROVIDERS.get(provider_type)
    except Exception as error:  # a third party's module may raise anything
        raise ProviderUnavailable(f"Module '{module}' cannot be imported: {error}.") from error
    return spec.keyed(api, provider_type) if spec else None


def load(spec: ProviderSpec) -> type[Provider]:
    """The provider's class. Needs neither Django's set-up nor the spec's pip_packages."""
    module, _, name = spec.path.rpartition(".")
    loaded: type[Provider] = getattr(importlib.import_module(module), name)
    return loaded
