"""In which order the homes of a model are asked."""

import hashlib
import math
import random
from collections.abc import Callable, Iterable

from llamastack.snapshot import Home, Option, Place

Chance = Callable[[Home], float]  # a home's lot: above 0, at most 1


def in_order(options: Iterable[Option], chance: Chance) -> list[Place]:
    """The places that can be asked, each once, the one to ask first at the front.

    By `order`; among equals as if drawn one after another by weight. Another model's places stand where it stands.
    """
    found: dict[tuple[int, str], Place] = {}
    _collect(options, chance, found, set())
    return list(found.values())


def drawn(_: Home) -> float:
    return 1 - random.random()


def by_affinity(*key: str) -> Chance:
    """Lots that are the same for the same key, so that its calls go to one home as long as that answers.

    A home that comes or goes takes from the others, or leaves to them, no more than its own share of the keys
    (rendezvous hashing).
    """
    told = hashlib.blake2b("\0".join(key).encode(errors="surrogatepass")).digest()

    def lot(home: Home) -> float:
        name = "\0".join((home.model, home.provider_id, home.provider_model_id))
        hashed = hashlib.blake2b(name.encode(errors="surrogatepass"), key=told, digest_size=8).digest()
        return (int.from_bytes(hashed) + 1) / 2**64

    return lot


def _collect(options: Iterable[Option], chance: Chance, found: dict[tuple[int, str], Place], seen: set[int]) -> None:
    for option in sorted(options, key=lambda option: _rank(option.home, chance)):
        place, model = option.place, option.model
        if place is not None and option.usable:
            found.setdefault((place.provider.key, place.provider_model_id), place)
        elif model is not None and model.key not in seen:
            seen.add(model.key)
            _collect(option.options, chance, found, seen)


def _rank(home: Home, chance: Chance) -> tuple[int, float]:
    """Waits of these lengths end in the order of a weighted draw without replacement (Efraimidis and Spirakis)."""
    return home.order, -math.log(chance(home)) / home.weight
