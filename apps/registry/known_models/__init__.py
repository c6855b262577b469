"""Context lengths and prices of vendors' models, from the files in `data`: no network, read when first asked for.

A name is looked up as it is written, then by what is certain to mean the same (`names.py`). What is known of several
models that a name may mean holds as far as they agree: nobody shall be billed by a guess.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import orjson

from apps.registry.known_models.names import VENDORS, Names
from llamastack.model_facts import FACTS, ModelFacts

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True, slots=True)
class KnownModel:
    """What the data say of a model. `source`: where it is said; `checked`: the day it was last found to be so."""

    facts: ModelFacts
    source: str
    checked: str


@dataclass(frozen=True, slots=True)
class VendorData:
    """A vendor's models by their name in lower case, and by what is left of it without versions and regions."""

    models: Mapping[str, Mapping[str, Any]]
    families: Mapping[str, tuple[str, ...]]
    checked: str


@lru_cache(maxsize=4096)
def known_model(provider_type: str, provider_model_id: str) -> KnownModel | None:
    """What is known of a provider's model under the provider's own name for it; None where that is nothing."""
    names = VENDORS.get(provider_type)
    if names is None:
        return None
    data = vendor_data(names)
    same = names.same(provider_model_id.casefold())
    meant: list[tuple[str, ...]] = [(name,) for name in same if name in data.models]
    meant += [data.families[family] for family in map(names.family, same) if family in data.families]
    return _agreed([data.models[name] for name in meant[0]], data.checked) if meant else None


def _agreed(entries: list[Mapping[str, Any]], checked: str) -> KnownModel | None:
    """What all entries say alike."""
    first = entries[0]
    alike = {name: first[name] for name in FACTS if name in first and all(e.get(name) == first[name] for e in entries)}
    return KnownModel(ModelFacts.model_validate(alike), first["source"], checked) if alike else None


@cache
def vendor_data(names: Names) -> VendorData:
    held = orjson.loads((DATA / f"{names.vendor}.json").read_bytes())
    models = {name.casefold(): entry for name, entry in held["models"].items()}
    families: dict[str, tuple[str, ...]] = {}
    for name in models:
        family = names.family(name)
        families[family] = (*families.get(family, ()), name)
    return VendorData(models, families, held["checked"])
