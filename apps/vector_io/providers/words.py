"""A text as a search for any of its words, in the words of FTS5 and of PostgreSQL's websearch_to_tsquery alike."""

import re

MOST_WORDS = 64
WORD = re.compile(r"\w+")


def any_of(text: str) -> str:
    """Each word once and quoted: what would be an operator is a word here. Empty where there is none."""
    words = dict.fromkeys(word.lower() for word in WORD.findall(text))
    return " OR ".join(f'"{word}"' for word in list(words)[:MOST_WORDS])
