"""Calls that nobody waits for come one after another while somebody waits for others."""

import pytest

from apps.inference.pace import GAP_SECONDS, LIVE_SECONDS, Pace
from apps.inference.schemas import ChatCompletionRequest
from apps.registry.models import Provider
from llamastack.call import ANONYMOUS_ADMIN, Call
from llamastack.stack import LlamaStack

HELLO = {"model": "sky/sky-1", "messages": [{"role": "user", "content": "Hello"}], "store": False}
PATH = "/v1/chat/completions"


class Waits:
    """A clock that stands still, and what was waited for by it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    def pace(self) -> Pace:
        return Pace(lambda: self.now, self.sleep)


async def test_they_wait_for_nothing_while_nobody_else_is_there() -> None:
    waits = Waits()
    await waits.pace().turn()
    assert waits.waits == []


async def test_beside_others_each_has_a_turn_of_its_own_until_none_have_come_for_a_while() -> None:
    waits = Waits()
    pace = waits.pace()
    pace.live()
    for _ in range(3):
        await pace.turn()
    assert waits.waits == pytest.approx([GAP_SECONDS, 2 * GAP_SECONDS, 3 * GAP_SECONDS])
    waits.now = LIVE_SECONDS
    await pace.turn()
    assert len(waits.waits) == 3


@pytest.mark.parametrize("background", [True, False])
async def test_the_service_tells_one_from_the_other(running: LlamaStack, sky: Provider, background: bool) -> None:
    waits = Waits()
    running.inference.pace = pace = waits.pace()  # type: ignore[attr-defined]
    call = Call(ANONYMOUS_ADMIN, background=background)
    for _ in range(2):
        await running.inference.post_chat_completion(call, ChatCompletionRequest.model_validate(HELLO))
    await pace.turn()
    assert len(waits.waits) == (0 if background else 1)
