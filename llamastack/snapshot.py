"""What a process knows without asking the database: an immutable picture of the registry, replaced whole."""

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from llamastack.apis import Api
from llamastack.call import SHARED_TENANT
from llamastack.lookups import Lookups, copied
from llamastack.near import alike
from llamastack.options import is_registered, options_of, problems_of
from llamastack.records import Changes as Changes  # all that a snapshot holds is found here
from llamastack.records import Home as Home
from llamastack.records import KeyRecord as KeyRecord
from llamastack.records import ModelRecord as ModelRecord
from llamastack.records import Option as Option
from llamastack.records import Place as Place
from llamastack.records import ProviderRecord as ProviderRecord
from llamastack.records import R

NEAR = 3
NONE: frozenset[int] = frozenset()
UNKNOWN = Lookups()
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snapshot:
    """The registry at a version. What follows it after a change shares with it all that has not changed."""

    version: int = 0
    providers: Mapping[int, ProviderRecord] = field(default_factory=dict)
    models: Mapping[int, ModelRecord] = field(default_factory=dict)
    keys: Mapping[int, KeyRecord] = field(default_factory=dict)
    lookups: Lookups = field(default=UNKNOWN, repr=False, compare=False)

    def __post_init__(self) -> None:
        """One that is given its records alone is what follows one that is empty."""
        if self.lookups is UNKNOWN:
            known = Lookups().with_providers((), self.providers.values()).with_keys((), self.keys.values())
            object.__setattr__(self, "lookups", _with_models(known, (), self.models.values(), self.models))

    def after(self, changes: Changes) -> "Snapshot":
        """The next snapshot."""
        known = self.lookups
        providers, old_providers = _exchanged(self.providers, changes.providers, changes.gone.get("provider", NONE))
        if providers is not self.providers:
            known = known.with_providers(old_providers, changes.providers)
        keys, old_keys = _exchanged(self.keys, changes.keys, changes.gone.get("apikey", NONE))
        if keys is not self.keys:
            known = known.with_keys(old_keys, changes.keys)
        models, old_models = _exchanged(self.models, changes.models, changes.gone.get("model", NONE))
        if models is not self.models:
            known = _with_models(known, old_models, changes.models, models)
        return Snapshot(changes.version, providers, models, keys, known)

    def model(self, tenant: str, name: str) -> ModelRecord | None:
        """The model of that identifier or alias: the tenant's own first, then a shared one."""
        return self.lookups.model(tenant, name)

    def provider(self, tenant: str, provider_id: str, api: Api) -> ProviderRecord | None:
        return self.lookups.provider(tenant, provider_id, api)

    def options(self, model: ModelRecord) -> tuple[Option, ...]:
        """The homes of a model, as they are listed, and what they lead to."""
        found = self.lookups.options.get(model.key)
        return options_of(self.models[model.key], self.lookups) if found is None else found

    def api_key(self, digest: str) -> KeyRecord | None:
        return self.lookups.digests.get(digest)

    def models_of(self, tenant: str) -> list[ModelRecord]:
        """Every model the tenant may use, none whose providers are all switched off: defaults first, then by name."""
        return list(self.each_model_of(tenant))

    def each_model_of(self, tenant: str) -> Iterator[ModelRecord]:
        """The same, one by one: to look at 10,000 takes a while."""
        for *_, key in self.lookups.ordered:
            model = self.models[key]
            if model.tenant in (tenant, SHARED_TENANT) and is_registered(model, self.lookups):
                yield model

    def providers_of(self, tenant: str) -> list[ProviderRecord]:
        return [p for p in self.providers.values() if p.tenant in (tenant, SHARED_TENANT)]

    def near(self, tenant: str, name: str) -> list[str]:
        """Up to three names of models that look like `name`, for an error message."""
        tables = [self.lookups.neighbours.get(one) for one in (SHARED_TENANT, tenant)]
        return alike(name, [found for table in tables if table for found in table.around(name)], NEAR)


def _exchanged(
    held: Mapping[int, R], new: Collection[R], gone: Collection[int]
) -> tuple[Mapping[int, R], tuple[R, ...]]:
    """The records to hold now, and those of before that are gone or otherwise now."""
    added: dict[int, R] = {record.key: record for record in new}
    old: dict[int, R] = {key: held[key] for key in (*gone, *added) if key in held}
    if not added and not old:
        return held, ()
    following = copied(held)
    for key in old.keys() - added.keys():  # what is otherwise now stays where it stood
        del following[key]
    following.update(added)
    return MappingProxyType(following), tuple(old.values())


def _with_models(
    known: Lookups, old: Collection[ModelRecord], new: Collection[ModelRecord], models: Mapping[int, ModelRecord]
) -> Lookups:
    """The lookups after models changed: `old` are those of before, `models` all there are. New problems are logged."""
    following = known.with_models(old, new)
    affected = following.leading_to((*old, *new), models)
    following = following.forgetting(affected)
    problems = {key: told for key in affected if key in models and (told := problems_of(models[key], following))}
    if problems:
        before = {problem for told in known.problems.values() for problem in told}
        for problem in sorted({problem for told in problems.values() for problem in told} - before):
            logger.warning(problem)
    return replace(following, problems={**following.problems, **problems})
