"""What a search by keywords looks for: some words of a text, any of which is enough."""

import re
from collections.abc import Iterable

MOST_WORDS = 64
COMMON = (
    0.2  # a share of the chunks: a word that so many have tells them little apart, and takes most of a search's time
)
WORD = re.compile(r"\w+")


def distinct(text: str) -> list[str]:
    """Each word once: nothing in it is an operator to any index."""
    return list(dict.fromkeys(word.lower() for word in WORD.findall(text)))[:MOST_WORDS]


def any_of(words: Iterable[str]) -> str:
    """A query of FTS5."""
    return " OR ".join(f'"{word}"' for word in words)
