"""Near matches, for errors that say what was probably meant."""

import difflib
from collections.abc import Iterable


def near(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate closest to `word`, or None where none comes close."""
    by_lower = {candidate.lower(): candidate for candidate in candidates}
    found = difflib.get_close_matches(word.lower()[:255], by_lower, n=1)
    return by_lower[found[0]] if found else None


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """`; did you mean 'base_url'?`, or nothing."""
    found = near(word, candidates)
    return f"; did you mean '{found}'?" if found else ""
