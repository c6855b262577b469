"""A text as a query of FTS5: any of its words, of which BM25 then counts the rare ones most."""

import re

MOST_WORDS = 64
WORD = re.compile(r"\w+")


def any_of(text: str) -> str:
    """Each word once and quoted: what FTS5 reads as an operator is a word here. Empty where there is none."""
    words = dict.fromkeys(word.lower() for word in WORD.findall(text))
    return " OR ".join(f'"{word}"' for word in list(words)[:MOST_WORDS])
