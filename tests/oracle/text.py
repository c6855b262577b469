"""Oracle Text's CONTEXT index with its defaults: words, their stems, and scores by Salton's formula.

https://docs.oracle.com/en/database/oracle/oracle-database/23/ccref/oracle-text-scoring-algorithm.html
"""

import math
import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

from apps.vector_io.providers.stems import stem
from tests.oracle.errors import ora

WORD = re.compile(r"[^\W_]+")
# Part of what its default list has: a word of it is in no index, and a query of such words alone finds nothing.
STOPWORDS = frozenset(
    WORD.findall("a all also an and any are as at be but by for from has he in is it its of on or the to with")
)
TERM = re.compile(r"\$\{((?:[^{}]|\}\})*)\}")
LONGEST_QUERY = 4000


class Corpus:
    """All texts of a column, as they were committed."""

    def __init__(self, texts: Iterable[str | None]) -> None:
        counted = [counts(text or "") for text in texts]
        self.size = len(counted)
        self.having = Counter(word for each in counted for word in each)

    def score(self, text: str | None, query: str | None) -> int:
        """From 0 to 100. ACCUM has more for a text with more of the words, whatever each of them scores."""
        asked = parsed(query)
        known = [self._of(word, counts(text or "")) for word in asked]
        found = [score for score in known if score]
        if not found:
            return 0
        return max(1, math.ceil((len(found) - 1 + sum(found) / len(found) / 100) * 100 / len(asked)))

    def _of(self, word: str, found: Counter[str]) -> float:
        if not found[word]:
            return 0.0
        return min(100.0, 3 * found[word] * (1 + math.log10(max(1, self.size) / max(1, self.having[word]))))


@lru_cache(maxsize=4096)
def counts(text: str) -> Counter[str]:
    return Counter(stem(word) for word in WORD.findall(text.lower()) if word not in STOPWORDS)


def parsed(query: str | None) -> list[str]:
    """The stems of a query of `${word}`s and ACCUM: that is all of its language which is known here."""
    if query is None:
        raise ora(29902, "error in executing ODCIIndexStart() routine: DRG-10837: no query")
    if len(query.encode()) > LONGEST_QUERY:
        raise ora(20000, "Oracle Text error: DRG-50943: query token too long")
    words = []
    for part in query.split(" ACCUM "):
        term = TERM.fullmatch(part)
        if term is None or not WORD.search(term[1]):
            raise ora(
                29902, f"error in executing ODCIIndexStart() routine: DRG-50901: text query parser syntax error: {part}"
            )
        words += [word for word in WORD.findall(term[1].lower()) if word not in STOPWORDS]
    return [stem(word) for word in words]
