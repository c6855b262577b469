"""When an upstream is left alone, and when it is tried again: by a clock that stands until it is set."""

import pytest

from llamastack.egress.breaker import FAILURES, FIRST_PAUSE, LONGEST_PAUSE, Breaker
from llamastack.errors import Unavailable


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker("Provider 'sky'", clock)


def fail(breaker: Breaker, times: int = FAILURES) -> None:
    for _ in range(times):
        breaker.failed(breaker.admit(), "it answered 500")


def refusal(breaker: Breaker) -> Unavailable:
    with pytest.raises(Unavailable) as refused:
        breaker.admit()
    return refused.value


def test_five_failures_in_a_row_open_it_and_it_says_why(breaker: Breaker) -> None:
    fail(breaker, FAILURES - 1)
    breaker.failed(breaker.admit(), "it answered 503")
    refused = refusal(breaker)
    assert (refused.status, refused.code, refused.retry_after) == (503, "breaker_open", FIRST_PAUSE)
    assert refused.message == (
        "Provider 'sky' is left alone for another 5 s, since 5 calls in a row failed, the last one because it "
        "answered 503."
    )


def test_a_success_between_them_begins_the_count_anew(breaker: Breaker) -> None:
    fail(breaker, FAILURES - 1)
    breaker.succeeded(breaker.admit())
    fail(breaker, FAILURES - 1)
    breaker.admit()


def test_what_was_abandoned_or_only_answered_changes_no_count(breaker: Breaker) -> None:
    fail(breaker, FAILURES - 1)
    breaker.abandoned(breaker.admit())
    breaker.answered(breaker.admit())
    fail(breaker, 1)
    assert breaker.is_open


def test_after_the_pause_one_call_is_let_through_and_its_success_closes_it(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += FIRST_PAUSE
    probe = breaker.admit()
    for _ in range(10):
        refusal(breaker)
    breaker.answered(probe)
    assert not breaker.admit().probe
    breaker.succeeded(probe)
    fail(breaker, FAILURES - 1)
    assert not breaker.is_open


def test_each_probe_that_fails_doubles_the_pause_up_to_a_bound(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    pauses = []
    for _ in range(5):
        pauses.append(refusal(breaker).retry_after)
        clock.now += breaker.pause
        breaker.failed(breaker.admit(), "it answered 500")
    assert pauses == [5, 10, 20, LONGEST_PAUSE, LONGEST_PAUSE]


def test_once_closed_it_begins_with_the_short_pause_again(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += FIRST_PAUSE
    fail(breaker, 1)
    clock.now += 2 * FIRST_PAUSE
    breaker.succeeded(breaker.admit())
    fail(breaker)
    assert refusal(breaker).retry_after == FIRST_PAUSE


def test_a_probe_that_was_abandoned_makes_the_next_call_one(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += FIRST_PAUSE
    breaker.abandoned(breaker.admit())
    assert breaker.admit().probe
    refusal(breaker)


def test_a_probe_that_takes_long_makes_room_for_another_and_closes_it_all_the_same(
    breaker: Breaker, clock: Clock
) -> None:
    fail(breaker)
    clock.now += FIRST_PAUSE
    slow = breaker.admit()
    clock.now += FIRST_PAUSE
    assert breaker.admit().probe
    breaker.abandoned(slow)
    refusal(breaker)
    breaker.succeeded(slow)
    assert not breaker.is_open


def test_calls_that_began_before_it_opened_do_not_close_it_nor_count(breaker: Breaker) -> None:
    early = [breaker.admit() for _ in range(3)]
    fail(breaker)
    breaker.succeeded(early[0])
    breaker.abandoned(early[1])
    breaker.failed(early[2], "it answered 500")
    assert breaker.is_open
    assert breaker.failures == FAILURES
    refusal(breaker)


def test_it_tells_whether_a_call_would_be_let_through_and_lets_none_through(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, FAILURES - 1)
    assert not breaker.refuses
    fail(breaker, 1)
    assert breaker.refuses
    clock.now += FIRST_PAUSE
    assert not breaker.refuses
    assert not breaker.refuses
    breaker.admit()
    assert breaker.refuses
