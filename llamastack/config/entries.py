"""The entries of `providers` and `registered_resources.models`: which are on, which are wrong, which cannot serve."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from llamastack.apis import SERVED, Api
from llamastack.config.expand import DISABLED, Environment, expand
from llamastack.config.homes import Known, ModelHome, Registered, disagreement, faults, first_home
from llamastack.config.known import KNOWN_APIS, KNOWN_PROVIDER_TYPES, NOT_BUILT, REGISTRY_APIS
from llamastack.config.sections import ModelEntry, ProviderEntry, WrittenHome, WrittenModel, WrittenProvider
from llamastack.config.source import ConfigError, Place, Problem, Source
from llamastack.config.validate import validated
from llamastack.near import did_you_mean
from llamastack.providers import ProviderConfig, ProviderSpec, load

Specs = Callable[[Api], Mapping[str, ProviderSpec]]

# OGX has APIs beside these; their providers are checked and noted, but there is no API to list them under.
OUR_APIS = frozenset(Api)
OFF = (None, "", DISABLED)
MODELS: Place = ("registered_resources", "models")
# OGX's name for "whichever provider has it".
ANY_PROVIDER = "all"
# The seed form gives an address as host and port.
ADDRESSES = {"remote::ollama": "http://{host}:{port}", "remote::vllm": "http://{host}:{port}/v1"}


@dataclass
class Reader:
    """Reads entries one by one and gathers what is wrong with them."""

    source: Source
    env: Environment
    specs: Specs
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    absent: set[str] = field(default_factory=set)
    left_out: set[str] = field(default_factory=set)
    homes: dict[str, tuple[Place, list[ModelHome | None]]] = field(default_factory=dict)

    def providers(self, written: Any) -> dict[str, list[ProviderEntry]]:
        if not isinstance(written, dict | None):
            self.problem("expected a mapping from APIs to lists of providers", ("providers",))
            return {}
        read = {
            api: self.providers_of(api, entries or [])
            for api, entries in (written or {}).items()
            if self.check_api(api, ("providers", api))
        }
        return {api: entries for api, entries in read.items() if api in OUR_APIS}

    def check_api(self, api: str, place: Place) -> bool:
        if api in REGISTRY_APIS:
            self.problem(f"{api} has no providers: it lists what is registered", place)
        elif api not in KNOWN_APIS:
            self.problem("unknown API" + did_you_mean(api, KNOWN_APIS - REGISTRY_APIS), place)
        return api in KNOWN_APIS - REGISTRY_APIS

    def providers_of(self, api: str, written: Any) -> list[ProviderEntry]:
        if not isinstance(written, list):
            self.problem("expected a list of providers", ("providers", api))
            return []
        entries: dict[str, ProviderEntry] = {}
        for index, item in enumerate(written):
            place = ("providers", api, index)
            entry = self.attempt(self.provider, api, item, place)
            if entry is None:
                self.absent.add(_id_as_written(item))
                continue
            if entry.provider_id in entries:
                first = entries[entry.provider_id].line
                self.problem(f"'{entry.provider_id}' is listed twice: first in line {first}", (*place, "provider_id"))
            entries.setdefault(entry.provider_id, entry)
        self.note_unavailable(api, list(entries.values()))
        return list(entries.values())

    def provider(self, api: str, item: Any, place: Place) -> ProviderEntry | None:
        written = self.written(item, place)
        declared = self.with_url(written.provider_type, item.get("config") or {}, place)
        spec = self.spec(api, written, place)
        if written.provider_id in OFF:
            return None
        config, unavailable = self.checked(declared, spec, (*place, "config"))
        if spec is None and not written.module:
            unavailable = NOT_BUILT
        return ProviderEntry(
            api=api,
            provider_id=str(written.provider_id),
            provider_type=written.provider_type,
            config=config,
            declared=declared,
            module=written.module,
            line=self.source.line(place),
            unavailable=NOT_BUILT if api not in SERVED else unavailable,
        )

    def written(self, item: Any, place: Place) -> WrittenProvider:
        """The entry, everything but its config expanded."""
        if not isinstance(item, dict):
            raise ConfigError(Problem("expected a provider with provider_id and provider_type", place))
        if not isinstance(item.get("config"), dict | None):
            raise ConfigError(Problem("expected a mapping", (*place, "config")))
        return validated(WrittenProvider, {k: v for k, v in item.items() if k != "config"}, self.env, place)[0]

    def with_url(self, provider_type: str, declared: dict[str, Any], place: Place) -> dict[str, Any]:
        """The config as written, host and port made a URL where the type has no such keys."""
        form = ADDRESSES.get(provider_type)
        if form is None or not {"host", "port"} <= set(declared):
            return declared
        self.source.move((*place, "config", "host"), (*place, "config", "url"))
        rest = {key: value for key, value in declared.items() if key not in ("host", "port")}
        return {**rest, "url": form.format(host=declared["host"], port=declared["port"])}

    def spec(self, api: str, written: WrittenProvider, place: Place) -> ProviderSpec | None:
        """The spec of a type that is built. A type that nobody knows is an error, unless a module brings it."""
        specs = self.specs(Api(api)) if api in SERVED else {}
        known = KNOWN_PROVIDER_TYPES.get(api, frozenset()) | set(specs)
        if written.module:
            return None
        if written.provider_type in known:
            return specs.get(written.provider_type)
        near = did_you_mean(written.provider_type, known)
        message = f"unknown provider type '{written.provider_type}' for {api}{near}"
        raise ConfigError(Problem(message, (*place, "provider_type")))

    def checked(
        self, declared: dict[str, Any], spec: ProviderSpec | None, place: Place
    ) -> tuple[dict[str, Any], str | None]:
        """The expanded config, checked by the provider's config class; and why that class cannot be had, if so."""
        config_class, unavailable = _config_class(spec)
        if config_class is None:
            return expand(declared, self.env, place), unavailable
        for other, own in config_class.other_names.items():
            if other in declared and own not in declared:
                self.source.move((*place, other), (*place, own))
        return validated(config_class, config_class.by_own_names(declared), self.env, place)[1], None

    def models(self, written: Any, providers: list[ProviderEntry]) -> list[ModelEntry]:
        place = MODELS
        if not isinstance(written, list | None):
            self.problem("expected a list of models", place)
            return []
        read = [self.attempt(self.model, providers, item, (*place, index)) for index, item in enumerate(written or [])]
        models: dict[str, ModelEntry] = {}
        for index, model in enumerate(read):
            if model is not None and model.model_id in models:
                first = models[model.model_id].line
                self.problem(f"'{model.model_id}' is listed twice: first in line {first}", (*place, index, "model_id"))
            elif model is not None:
                models[model.model_id] = model
        self.check_names(list(models.values()))
        for name in ("INFERENCE_MODEL", "SAFETY_MODEL"):
            self.add_from_environment(name, models, providers)
        self.check_homes(list(models.values()), {provider.provider_id for provider in providers})
        return list(models.values())

    def check_names(self, models: list[ModelEntry]) -> None:
        """A name means one model, and a model type has one default."""
        names = {model.model_id: model.model_id for model in models}
        defaults: dict[str, str] = {}
        for model in models:
            for alias in model.aliases:
                if names.setdefault(alias, model.model_id) != model.model_id:
                    self.problem(f"'{alias}' is a name of the model '{names[alias]}'", MODELS)
            if model.default and defaults.setdefault(model.model_type, model.model_id) != model.model_id:
                first = defaults[model.model_type]
                self.problem(f"'{first}' and '{model.model_id}' are both the default {model.model_type}", MODELS)

    def model(self, providers: list[ProviderEntry], item: Any, place: Place) -> ModelEntry | None:
        if not isinstance(item, dict):
            raise ConfigError(Problem("expected a model with model_id and provider_id", place))
        declared = dict(item)
        if "identifier" in declared and "model_id" not in declared:
            declared["model_id"] = declared.pop("identifier")
            self.source.move((*place, "identifier"), (*place, "model_id"))
        model, _ = validated(WrittenModel, declared, self.env, place)
        if model.homes is not None:
            return self.model_with_homes(model, declared, place)
        if "provider_id" not in declared:
            self.notes.append(f"model {model.model_id} is not registered: its entry names no provider_id")
        if model.provider_id in OFF or not model.model_id or not self.has_provider(model, providers, place):
            self.left_out.add(str(model.model_id))
            return None
        values = {**model.model_dump(), "provider_model_id": model.provider_model_id or model.model_id}
        return ModelEntry(**values, declared=declared, line=self.source.line(place))

    def model_with_homes(self, model: WrittenModel, declared: dict[str, Any], place: Place) -> ModelEntry | None:
        if not model.model_id:
            return None
        known = len(self.problems)
        written = declared["homes"]
        homes = [self.attempt(self.home, model, item, (*place, "homes", i)) for i, item in enumerate(written)]
        on = [home for home in homes if home is not None]
        if homes and not on and len(self.problems) == known:
            self.notes.append(f"model {model.model_id} is not registered: none of its homes is enabled")
        if homes and not on:
            self.left_out.add(model.model_id)
            return None
        given = {"provider_id": model.provider_id, "provider_model_id": model.provider_model_id}
        if fault := disagreement(on, model.model_id, **given):
            self.problem(fault[1], (*place, *fault[0]))
        self.homes[model.model_id] = place, homes
        first = first_home(on) or ModelHome()
        shown = {
            "provider_id": first.provider_id or "",
            "provider_model_id": first.provider_model_id or model.model_id,
            "homes": on,
        }
        return ModelEntry(**model.model_dump() | shown, declared=declared, line=self.source.line(place))

    def home(self, model: WrittenModel, item: Any, place: Place) -> ModelHome | None:
        """A home, or None where it is off."""
        if not isinstance(item, dict):
            raise ConfigError(Problem("expected a home with provider_id or model", place))
        if not expand([item], self.env):
            return None
        home, _ = validated(WrittenHome, item, self.env, place)
        if home.provider_id in self.absent:
            self.notes.append(
                f"model {model.model_id}: provider '{home.provider_id}' is not enabled, and no home of it"
            )
            return None
        off = home.provider_id is None and home.model is None and {"provider_id", "model"} & item.keys()
        return None if off else ModelHome(**home.model_dump())

    def check_homes(self, models: list[ModelEntry], providers: set[str]) -> None:
        """What homes name is there, and none of them leads back to its model."""
        registered = {model.model_id: _registered(model) for model in models}
        names = {alias: registered[model.model_id] for model in models for alias in model.aliases} | registered
        known = Known(providers, names, later={*providers, *self.absent, *self.left_out})
        for name, (place, homes) in self.homes.items():
            if name in registered:
                for where, message in faults(registered[name], homes, known):
                    self.problem(message, (*place, *where))

    def has_provider(self, model: WrittenModel, providers: list[ProviderEntry], place: Place) -> bool:
        ids = [provider.provider_id for provider in providers]
        if model.provider_id in ids:
            return True
        if model.provider_id in self.absent or model.provider_id == ANY_PROVIDER:
            self.notes.append(
                f"model {model.model_id} is not registered: provider '{model.provider_id}' is not enabled"
            )
            return False
        near = did_you_mean(str(model.provider_id), ids)
        message = f"no inference provider of the id '{model.provider_id}'{near}"
        raise ConfigError(Problem(message, (*place, "provider_id")))

    def add_from_environment(self, name: str, models: dict[str, ModelEntry], providers: list[ProviderEntry]) -> None:
        """The model that a variable names, on the provider before its first slash, else on the first one listed."""
        model_id = self.env.get(name)
        if not model_id or model_id in models:
            return
        if not providers:
            self.notes.append(f"{name}={model_id} is not registered: there is no inference provider")
            return
        if len(model_id) > 255:
            self.problem(f"{name} is longer than the 255 characters that a model's name may have", ())
            return
        first, slash, rest = model_id.partition("/")
        named = slash and rest and first in {provider.provider_id for provider in providers}
        values: dict[str, Any] = {
            "model_id": model_id,
            "provider_id": first if named else providers[0].provider_id,
            "provider_model_id": rest if named else model_id,
        }
        models[model_id] = ModelEntry(**values, declared=values)

    def attempt(self, read: Callable[..., Any], *arguments: Any) -> Any:
        """What `read` makes of an entry; None where it found problems, which are kept."""
        try:
            return read(*arguments)
        except ConfigError as error:
            self.problems.extend(error.problems)
            return None

    def problem(self, message: str, place: Place) -> None:
        self.problems.append(Problem(message, place))

    def note_unavailable(self, api: str, entries: list[ProviderEntry]) -> None:
        by_reason: dict[str, list[str]] = {}
        for entry in entries:
            if entry.unavailable:
                by_reason.setdefault(entry.unavailable, []).append(entry.provider_id)
        for reason, ids in by_reason.items():
            self.notes.append(f"providers.{api}: unavailable: {', '.join(ids)} ({reason})")


def _registered(model: ModelEntry) -> Registered:
    dimension = model.metadata.get("embedding_dimension")
    return Registered(model.model_id, model.model_type, dimension, tuple(model.homes or ()))


def _id_as_written(item: Any) -> str:
    """The id that an entry has, or would have if `${env.X:+id}` were on: models may name it all the same."""
    written = str(item.get("provider_id")) if isinstance(item, dict) else ""
    return written.partition(":+")[2].removesuffix("}") or written


def _config_class(spec: ProviderSpec | None) -> tuple[type[ProviderConfig] | None, str | None]:
    if spec is None:
        return None, None
    try:
        return load(spec).config_class, None
    except ImportError as error:
        remedy = f": pip install -r {spec.requirements}" if spec.requirements else ""
        return None, f"the package {error.name or error} is missing{remedy}"
