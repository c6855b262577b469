"""A text's words as a sparse vector: BM25, of which Qdrant adds how rare each word is (`modifier: idf`)."""

import zlib
from collections import Counter
from typing import Any

from apps.vector_io.providers.stems import stems
from apps.vector_io.providers.words import MOST_WORDS

SATURATION = 1.2  # how soon more of a word tells no more: BM25's k1
BY_LENGTH = 0.75  # how far a long text's words count less: its b
USUAL_LENGTH = 256  # words of a chunk. The true average changes with each insertion, and a vector does not
Sparse = dict[str, list[Any]]


def of_chunk(text: str) -> Sparse:
    """Empty for a text without words."""
    counts = Counter(_numbers(text))
    length = SATURATION * (1 - BY_LENGTH + BY_LENGTH * counts.total() / USUAL_LENGTH)
    weights = {word: count * (SATURATION + 1) / (count + length) for word, count in counts.items()}
    return {"indices": list(weights), "values": list(weights.values())}


def of_query(text: str) -> Sparse:
    words = list(dict.fromkeys(_numbers(text)))[:MOST_WORDS]
    return {"indices": words, "values": [1.0] * len(words)}


def _numbers(text: str) -> list[int]:
    """Each word's: of two in four billion that share one, each would find the other's chunks too."""
    return [zlib.crc32(word.encode()) for word in stems(text)]
