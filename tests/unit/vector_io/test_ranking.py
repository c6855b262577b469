import pytest

from apps.vector_io.ranking import Ranking, best, joined, squashed

NEAR = {"a": 0.9, "b": 0.8, "c": 0.1}
WORDED = {"b": 0.6, "a": 0.2, "d": 0.1}


def order(ranking: Ranking) -> list[str]:
    return [id for id, _ in best(joined(ranking, NEAR, WORDED), 10)]


def test_rrf_counts_places_alone() -> None:
    scores = joined(Ranking(), NEAR, WORDED)
    assert scores["a"] == scores["b"] == pytest.approx((1 + 61 / 62) / 2)
    assert scores["c"] == scores["d"] == pytest.approx(61 / 63 / 2)
    assert order(Ranking()) == ["a", "b", "c", "d"]


def test_what_is_first_in_both_lists_scores_one() -> None:
    for by in ("rrf", "weighted", "normalized"):
        assert joined(Ranking(by), {"a": 0.5, "b": 0.1}, {"a": 0.7, "b": 0.2})["a"] == pytest.approx(1)


def test_weights_move_the_order() -> None:
    assert order(Ranking("weighted", vector_weight=0.9, keyword_weight=0.1))[0] == "a"
    assert order(Ranking("weighted", vector_weight=0.1, keyword_weight=0.9))[0] == "b"
    assert order(Ranking("rrf", vector_weight=1, keyword_weight=0))[:3] == ["a", "b", "c"]


def test_weighted_spreads_each_list_and_normalized_does_not() -> None:
    assert joined(Ranking("weighted"), NEAR, {})["c"] == 0
    assert joined(Ranking("normalized"), NEAR, {})["c"] == pytest.approx(0.5 * 0.1 / 0.9)


def test_lists_that_are_empty_or_all_alike_are_no_trouble() -> None:
    assert joined(Ranking("weighted"), {}, {}) == {}
    assert joined(Ranking("weighted"), {"a": 0.5}, {}) == {"a": 0.5}
    assert joined(Ranking("normalized"), {"a": -0.5}, {"a": 0.0}) == {"a": 0}
    assert joined(Ranking(vector_weight=0, keyword_weight=0), {"a": 0.5}, {}) == {"a": 0}


def test_equal_scores_stand_by_their_ids_and_a_threshold_keeps_what_reaches_it() -> None:
    assert best({"b": 0.5, "a": 0.5, "c": 0.4}, 10, 0.5) == [("a", 0.5), ("b", 0.5)]
    assert best({"b": 0.5, "a": 0.5}, 1) == [("a", 0.5)]


def test_a_keyword_score_without_an_end_is_squashed() -> None:
    assert squashed(0) == 0
    assert squashed(-1) == 0
    assert squashed(3) == 0.75
