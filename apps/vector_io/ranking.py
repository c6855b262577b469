"""Hybrid search: a list of hits by vectors and one by keywords become one. All scores are between 0 and 1."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

IMPACT_FACTOR = 60.0  # as Cormack, Clarke and Büttcher have it (SIGIR 2009), and everyone since
HIGHEST = 1 - 1e-9
Scores = Mapping[str, float]  # by a chunk's id


@dataclass(frozen=True, slots=True)
class Ranking:
    """How two lists are joined.

    `rrf` counts places: 1 / (impact_factor + place). `weighted` adds the scores after each list's lowest is made 0 and
    its highest 1; `normalized` adds them after each is divided by its list's highest, keywords' as they were before
    they were `squashed`. Both lists have their weight.
    """

    by: Literal["rrf", "weighted", "normalized"] = "rrf"
    impact_factor: float = IMPACT_FACTOR
    vector_weight: float = 0.5
    keyword_weight: float = 0.5


RRF = Ranking()


def candidates(limit: int) -> int:
    """How many hits of each list are asked for, so that the best `limit` of both are among them."""
    return max(4 * limit, 50)


def joined(ranking: Ranking, vector: Scores, keyword: Scores) -> dict[str, float]:
    """The joined score of every id in either list: 1 for one that is first in both."""
    scaled = {"rrf": _by_place, "weighted": _spread, "normalized": _relative}[ranking.by]
    near = _weighted(scaled(vector, ranking), ranking.vector_weight)
    worded = _weighted(scaled(_spread_out(keyword), ranking), ranking.keyword_weight)
    whole = (ranking.vector_weight + ranking.keyword_weight) or 1.0
    return {id: (near.get(id, 0.0) + worded.get(id, 0.0)) / whole for id in {**near, **worded}}


def best(scores: Scores, limit: int, threshold: float | None = None) -> list[tuple[str, float]]:
    """The highest first; equal scores by id, so that the order is always the same."""
    kept: Iterable[tuple[str, float]] = scores.items()
    if threshold is not None:
        kept = (item for item in kept if item[1] >= threshold)
    return sorted(kept, key=lambda item: (-item[1], item[0]))[:limit]


def squashed(score: float) -> float:
    """A keyword score, which has no upper end, between 0 and 1."""
    return score / (1.0 + score) if score > 0 else 0.0


def _spread_out(scores: Scores) -> dict[str, float]:
    """What `squashed` has made of keyword scores: those of good hits are all near 1, and tell little."""
    return {id: score / (1.0 - min(score, HIGHEST)) for id, score in scores.items()}


def _by_place(scores: Scores, ranking: Ranking) -> dict[str, float]:
    first = ranking.impact_factor + 1
    return {id: first / (first + place) for place, (id, _) in enumerate(best(scores, len(scores)))}


def _spread(scores: Scores, ranking: Ranking) -> dict[str, float]:
    lowest, highest = min(scores.values(), default=0.0), max(scores.values(), default=0.0)
    if highest == lowest:
        return dict.fromkeys(scores, 1.0)
    return {id: (score - lowest) / (highest - lowest) for id, score in scores.items()}


def _relative(scores: Scores, ranking: Ranking) -> dict[str, float]:
    highest = max(scores.values(), default=0.0)
    return {id: max(score, 0.0) / highest if highest > 0 else 0.0 for id, score in scores.items()}


def _weighted(scores: Scores, weight: float) -> dict[str, float]:
    return {id: weight * score for id, score in scores.items()}
