"""The homes of a model as they are written, and what is wrong with a list of them: the same check at every door."""

from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from llamastack.config.source import Place
from llamastack.near import did_you_mean

MOST_HOMES = 16
# References, one after the other, and the providers' models that are reached by all of them.
DEEPEST = 4
MOST_REACHED = 64
SHOWN = 200

Name = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f]*$")]
LONGEST_AFFINITY, AFFINITY_FORM = 80, r"^([A-Za-z_][A-Za-z0-9_.-]*)?$"
Affinity = Annotated[str, Field(max_length=LONGEST_AFFINITY, pattern=AFFINITY_FORM)]
Fault = tuple[Place, str]


def _absent(value: object) -> bool:
    return value is None


class ModelHome(BaseModel):
    """One place that serves a model: a provider, with its own name of the model, or another registered model.

    Of the homes those with the lowest `order` are tried first; among equals one is drawn by `weight`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    provider_id: Name | None = Field(None, exclude_if=_absent)
    provider_model_id: Name | None = Field(
        None, exclude_if=_absent, description="The provider's own name; where it is not given, the model's."
    )
    model: Name | None = Field(None, exclude_if=_absent, description="Another registered model, with all its homes.")
    weight: int = Field(1, ge=1, le=1000, strict=True, description="Its share of the calls among equals by order.")
    order: int = Field(0, ge=0, le=100, strict=True, description="Lower ones are tried first.")


@dataclass(frozen=True)
class Registered:
    """A model that homes may name: what a list of homes has to agree with. A tenant sees others that are `shared`."""

    identifier: str
    model_type: str = "llm"
    dimension: int | None = None
    homes: tuple[ModelHome, ...] = ()
    shared: bool = False

    @property
    def key(self) -> tuple[str, bool]:
        return self.identifier, self.shared


@dataclass(frozen=True)
class Known:
    """What homes may name: providers, and models by all their names.

    `later` are names that may come yet, and providers whose models nobody has listed so far; `of_shared` is what names
    mean to models that all tenants share, which know nothing of a tenant's own.
    """

    providers: Collection[str]
    models: Mapping[str, Registered]
    later: Collection[str] = ()
    of_shared: Mapping[str, Registered] = field(default_factory=dict)

    def named(self, model: Registered, name: str) -> Registered | None:
        """What a model means by a name."""
        return (self.of_shared if model.shared else self.models).get(name)


def first_home(homes: Sequence[ModelHome]) -> ModelHome | None:
    """The home whose provider a model is shown on."""
    return min((home for home in homes if home.provider_id), key=lambda home: home.order, default=None)


def disagreement(homes: Sequence[ModelHome], identifier: str, **given: str | None) -> Fault | None:
    """What of a `provider_id` and a `provider_model_id` that are given with homes is not the first home's."""
    first = first_home(homes) or ModelHome()
    names = {"provider_id": first.provider_id, "provider_model_id": first.provider_model_id or identifier}
    for name, value in given.items():
        if value and value != names[name]:
            return (name,), "with 'homes' it is the first home's: leave it out"
    return None


def faults(model: Registered, homes: Sequence[ModelHome | None], known: Known) -> Iterator[Fault]:
    """What is wrong with the homes of `model`, each with its place below it; None stands for one that is off."""
    if len(homes) > MOST_HOMES:
        yield ("homes",), f"a model has at most {MOST_HOMES} homes; group some of them under a model of their own"
        return
    if not homes:
        yield ("homes",), "the list is empty: name at least one home"
    right = True
    seen: dict[tuple[str, ...], int] = {}
    for index, home in enumerate(homes):
        if home is None:
            continue
        found = next(_faults_of(model, home, known), None)
        first = seen.setdefault(_place(home, model, known), index)
        if found is None and first != index:
            found = (), f"the same as homes[{first}]: list it once, with the weight it shall have"
        if found:
            right = False
            yield ("homes", index, *found[0]), found[1]
    if right and (told := overreach(model, known)):
        yield ("homes",), told


def overreach(model: Registered, known: Known) -> str:
    """What is to be said of a model whose homes lead too far through other models, or nothing."""
    level, reached = Counter({model: 1}), 0
    for _ in range(DEEPEST + 1):
        reached += sum(times * _own(each) for each, times in level.items())
        below: Counter[Registered] = Counter()
        for each, times in level.items():
            for named in named_by(each, known):
                below[named] += times
        level = below
    if level:
        return f"'{model.identifier}' would lead through more than {DEEPEST} models, one after the other: name fewer"
    if reached > MOST_REACHED:
        return f"'{model.identifier}' would reach {reached} homes through other models; at most {MOST_REACHED} may be"
    return ""


def _own(model: Registered) -> int:
    """How many homes of its own a model has; one that lists none has one."""
    return sum(home.model is None for home in model.homes) if model.homes else 1


def _faults_of(model: Registered, home: ModelHome, known: Known) -> Iterator[Fault]:
    if home.model is None:
        yield from _provider_faults(home, known)
        return
    for name in ("provider_id", "provider_model_id"):
        if getattr(home, name) is not None:
            yield (name,), f"a home is a provider's model or another model: leave out '{name}' or 'model'"
    named = known.named(model, home.model)
    if named is not None:
        yield from _disagreements(model, home, named, known)
    elif not {home.model, home.model.partition("/")[0]} & set(known.later):
        near = did_you_mean(home.model, known.models) or ". Name a registered one."
        yield ("model",), f"there is no model '{home.model[:SHOWN]}'{near}"


def _provider_faults(home: ModelHome, known: Known) -> Iterator[Fault]:
    if home.provider_id is None:
        yield ("provider_id",), "a home names a provider (provider_id) or another model (model)"
    elif home.provider_id not in known.providers:
        near = did_you_mean(home.provider_id, known.providers) or ". Name a registered one."
        yield ("provider_id",), f"there is no inference provider '{home.provider_id[:SHOWN]}'{near}"


def _disagreements(model: Registered, home: ModelHome, named: Registered, known: Known) -> Iterator[Fault]:
    place = ("model",)
    if named.key == model.key:
        yield place, f"'{home.model}' is this model itself: name its providers, or another model"
        return
    if path := way_back(model, named, known):
        yield place, f"{' -> '.join(path)} goes round in a circle: take one of these homes out"
        return
    if named.model_type != model.model_type:
        yield place, f"'{named.identifier}' is of type '{named.model_type}', and this model '{model.model_type}'"
    if model.dimension and named.dimension and named.dimension != model.dimension:
        told = f"'{named.identifier}' gives {named.dimension} dimensions, and this model {model.dimension}"
        yield place, f"{told}: such embeddings cannot stand for each other"


def _place(home: ModelHome, model: Registered, known: Known) -> tuple[str, ...]:
    """What makes two homes the same."""
    if home.model is not None:
        named = known.named(model, home.model)
        return ("model", named.identifier if named else home.model)
    return ("provider", home.provider_id or "", home.provider_model_id or model.identifier)


def named_by(model: Registered, known: Known) -> Iterator[Registered]:
    """The models that homes of this one are."""
    for home in model.homes:
        if home.model is not None and (named := known.named(model, home.model)):
            yield named


def way_back(start: Registered, model: Registered, known: Known) -> tuple[str, ...]:
    """The shortest way from `start` by `model` and what its homes name back to `start`; nothing where there is none."""
    seen = {model.key}
    paths: deque[tuple[tuple[str, ...], Registered]] = deque([((start.identifier, model.identifier), model)])
    while paths:
        path, here = paths.popleft()
        for named in named_by(here, known):
            if named.key == start.key:
                return (*path, start.identifier)
            if named.key not in seen:
                seen.add(named.key)
                paths.append(((*path, named.identifier), named))
    return ()
