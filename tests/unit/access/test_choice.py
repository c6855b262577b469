"""In which order homes are asked: by order, by weight, by affinity."""

import random
from collections import Counter
from collections.abc import Callable

import pytest

from apps.access.choice import Chance, by_affinity, drawn, in_order
from llamastack.apis import Api
from llamastack.snapshot import Home, ModelRecord, Option, Place, ProviderRecord

DRAWS = 4_000


def provider(name: str, unavailable: str | None = None) -> ProviderRecord:
    key = sum(name.encode())
    return ProviderRecord(key, "*", name, Api.inference, "remote::openai", None, {}, "1", unavailable=unavailable)


def at(name: str, weight: float = 1, order: int = 0, unavailable: str | None = None) -> Option:
    home = Home(name, "m", weight=weight, order=order)
    return Option(home, Place(provider(name, unavailable), "m"))


def model_of(name: str, *options: Option, weight: float = 1, order: int = 0) -> Option:
    model = ModelRecord(sum(name.encode()), "*", "system", name, "p", "m", "llm", 0, "yaml")
    return Option(Home(model=name, weight=weight, order=order), model=model, options=options)


def names(options: list[Option], chance: Chance = drawn) -> str:
    return "".join(place.provider.provider_id for place in in_order(options, chance))


def seeded(seed: int) -> Callable[[Home], float]:
    generator = random.Random(seed)
    return lambda _: 1 - generator.random()


def test_a_lower_order_comes_first_whatever_the_weights() -> None:
    options = [at("c", weight=1000, order=2), at("a", weight=0.001), at("b", order=1)]
    assert {names(options) for _ in range(100)} == {"abc"}


def test_equals_are_drawn_by_weight_without_replacement() -> None:
    """Of 1 : 2 : 5 a home is first in an eighth, two and five eighths of the draws; the rest are drawn alike."""
    chance, options = seeded(1), [at("a", 1), at("b", 2), at("c", 5)]
    found = Counter(names(options, chance) for _ in range(DRAWS))
    expected = {"abc": 1 / 8 * 2 / 7, "acb": 1 / 8 * 5 / 7, "bac": 2 / 8 * 1 / 6, "bca": 2 / 8 * 5 / 6}
    expected |= {"cab": 5 / 8 * 1 / 3, "cba": 5 / 8 * 2 / 3}
    assert found.keys() == expected.keys()
    for order, share in expected.items():
        deviation = (share * (1 - share) / DRAWS) ** 0.5
        assert abs(found[order] / DRAWS - share) < 5 * deviation, order


def test_what_chance_draws_is_drawn_by_weight() -> None:
    random.seed(2)
    found = Counter(names([at("a", 3), at("b", 1)]) for _ in range(DRAWS))
    assert abs(found["ab"] / DRAWS - 3 / 4) < 5 * (3 / 16 / DRAWS) ** 0.5


def test_a_home_that_cannot_run_is_left_out() -> None:
    gone = Option(Home("gone", "m"))
    assert names([at("a", unavailable="no torch"), gone, at("b", order=1)]) == "b"


def test_the_homes_of_another_model_stand_in_its_place_in_their_own_order() -> None:
    other = model_of("other", at("y", order=7), at("x", order=3), order=1)
    assert {names([at("a"), other, at("z", order=2)]) for _ in range(50)} == {"axyz"}


def test_another_model_is_drawn_by_its_own_weight_however_many_homes_it_has() -> None:
    chance = seeded(3)
    options = [at("a", 1), model_of("other", at("x"), at("y"), at("z"), weight=1)]
    first = Counter(names(options, chance)[0] for _ in range(DRAWS))
    assert abs(first["a"] / DRAWS - 1 / 2) < 5 * (1 / 4 / DRAWS) ** 0.5


def test_a_place_to_which_several_homes_lead_is_asked_once() -> None:
    inner = model_of("inner", at("x"), at("a", order=1))
    assert names([at("a"), inner, model_of("outer", inner, at("b"), order=1)], seeded(4)) in ("axb", "xab")


def affine(options: list[Option], value: str, model: str = "m", tenant: str = "default") -> str:
    return names(options, by_affinity(tenant, model, value))


def test_the_same_value_finds_the_same_home_each_time_and_in_each_process() -> None:
    options = [at("a"), at("b"), at("c"), at("d")]
    assert affine(options, "session-1") == affine(list(reversed(options)), "session-1")
    assert [affine(options, f"session-{number}") for number in range(4)] == ["bdac", "dcba", "badc", "abdc"]


@pytest.mark.parametrize("other", [{"model": "n"}, {"tenant": "blue"}])
def test_sessions_of_another_model_or_tenant_are_spread_anew(other: dict[str, str]) -> None:
    options = [at("a"), at("b")]
    same = sum(affine(options, str(value)) == affine(options, str(value), **other) for value in range(1000))
    assert 400 < same < 600


def test_values_are_spread_by_weight() -> None:
    options = [at("a", 1), at("b", 2), at("c", 5)]
    found = Counter(affine(options, f"session-{value}")[0] for value in range(DRAWS))
    for name, share in {"a": 1 / 8, "b": 2 / 8, "c": 5 / 8}.items():
        assert abs(found[name] / DRAWS - share) < 5 * (share * (1 - share) / DRAWS) ** 0.5


def test_a_home_that_fails_leaves_its_sessions_to_the_others_and_takes_none_of_theirs() -> None:
    options = [at("a"), at("b", 2), at("c", 3)]
    without = [at("a"), at("b", 2, unavailable="down"), at("c", 3)]
    for value in range(500):
        assert affine(without, str(value)) == affine(options, str(value)).replace("b", "")


def test_a_home_that_is_added_takes_its_share_alone() -> None:
    before, after = [at("a"), at("b")], [at("a"), at("b"), at("c", 2)]
    firsts = [(affine(before, str(value))[0], affine(after, str(value))[0]) for value in range(DRAWS)]
    moved = [new for old, new in firsts if old != new]
    assert set(moved) == {"c"}
    assert abs(len(moved) / DRAWS - 1 / 2) < 5 * (1 / 4 / DRAWS) ** 0.5


def test_any_text_is_a_value() -> None:
    assert affine([at("a"), at("b")], "\ud800\x00é" * 100) in ("ab", "ba")
