"""Near matches, for errors that say what was probably meant."""

import difflib
from bisect import bisect_left
from collections.abc import Iterable
from typing import TypeVar

SHORTEST_PART = 4
LONGEST = 255
FEW = 64
LOOKED_AT = 16  # in each of two orders: to compare two names takes up to 80 µs
E = TypeVar("E", str, tuple[bool, str, int])


def near(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate closest to `word`, else one that contains it, or None."""
    by_lower = {candidate.lower(): candidate for candidate in candidates}
    word = word.lower()[:LONGEST]
    found = difflib.get_close_matches(word, by_lower, n=1) or [name for name in by_lower if _is_part(word, name)]
    return by_lower[found[0]] if found else None


def _is_part(word: str, name: str) -> bool:
    """Whether somebody left out the beginning or the end of a name: `minilm` for `all-MiniLM-L6-v2`."""
    return len(word) >= SHORTEST_PART and word in name


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """`; did you mean 'base_url'?`, or nothing."""
    found = near(word, candidates)
    return f"; did you mean '{found}'?" if found else ""


def tail(name: str) -> str:
    """What a model is compared by: not by the provider or the maker before its own name."""
    return name.rpartition("/")[2].lower()


def alike(word: str, names: Iterable[str], count: int) -> list[str]:
    """Up to `count` of the names that look like `word`, the most alike first."""
    tails = {tail(name): name for name in names}
    return [tails[found] for found in difflib.get_close_matches(tail(word)[:LONGEST], tails, n=count, cutoff=0.5)]


class Neighbours:
    """Names by their tails, in order from the front and from the back.

    To compare a word with each of 10,000 names takes 280 ms. Who mistypes a name has most of its beginning right, or of
    its end: it stands near to the word in one of the two orders.
    """

    def __init__(self, forth: list[str], back: list[str]) -> None:
        self._forth, self._back = forth, back

    def exchanged(self, gone: Iterable[str], new: Iterable[str]) -> "Neighbours":
        gone, new = list(gone), list(new)
        forth = in_order(self._forth, map(_forth, gone), map(_forth, new))
        return Neighbours(forth, in_order(self._back, map(_back, gone), map(_back, new)))

    def __len__(self) -> int:
        return len(self._forth)

    def around(self, word: str) -> list[str]:
        """All where they are few."""
        if len(self) <= FEW:
            found = self._forth
        else:
            found = [*_around(self._forth, tail(word)), *_around(self._back, tail(word)[::-1])]
        return [entry.partition("\0")[2] for entry in found]


def _forth(name: str) -> str:
    return f"{tail(name)}\0{name}"


def _back(name: str) -> str:
    return f"{tail(name)[::-1]}\0{name}"


def in_order(order: list[E], gone: Iterable[E], new: Iterable[E]) -> list[E]:
    """A list that is in order, without these and with those."""
    following = order.copy()
    for entry in gone:
        place = bisect_left(following, entry)
        if following[place : place + 1] == [entry]:
            del following[place]
    following += new
    following.sort()  # what is in order already costs next to nothing
    return following


def _around(order: list[str], word: str) -> list[str]:
    place = bisect_left(order, word)
    return order[max(0, place - LOOKED_AT // 2) : place + LOOKED_AT // 2]
