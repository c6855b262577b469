"""How fast a batch goes: what was done between two looks, which grow rarer."""

from apps.batches.pace import Pace


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_was_done_since_the_last_look_is_told() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.add(3, 30)
    assert pace.due() is None
    clock.now += 2
    pace.add(1, 10)
    assert pace.due() == {"lines_per_second": 2, "tokens_per_second": 20}
    assert pace.due() is None
    clock.now += 2
    assert pace.due() == {"lines_per_second": 0, "tokens_per_second": 0}


def test_a_day_has_hundreds_of_looks_and_no_thousands() -> None:
    clock = Clock()
    pace = Pace(clock)
    looks = 0
    for _ in range(2 * 86_400):
        clock.now += 0.5
        looks += pace.due() is not None
    assert 500 < looks < 1000
