"""Near matches, for errors that say what was probably meant."""

import difflib
from collections.abc import Iterable

SHORTEST_PART = 4


def near(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate closest to `word`, else one that contains it, or None."""
    by_lower = {candidate.lower(): candidate for candidate in candidates}
    word = word.lower()[:255]
    found = difflib.get_close_matches(word, by_lower, n=1) or [name for name in by_lower if _is_part(word, name)]
    return by_lower[found[0]] if found else None


def _is_part(word: str, name: str) -> bool:
    """Whether somebody left out the beginning or the end of a name: `minilm` for `all-MiniLM-L6-v2`."""
    return len(word) >= SHORTEST_PART and word in name


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """`; did you mean 'base_url'?`, or nothing."""
    found = near(word, candidates)
    return f"; did you mean '{found}'?" if found else ""
