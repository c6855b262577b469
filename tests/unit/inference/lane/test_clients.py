"""Clients of the fast lane: bodies that are read twice, and leaving."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from apps.inference.lane.clients import Client, Clients
from apps.inference.lane.requests import Refused
from llamastack import settings

GONE = {"type": "http.disconnect"}


def part(body: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def sending(messages: Sequence[dict[str, Any]]) -> Client:
    waiting = iter(messages)

    async def receive() -> dict[str, Any]:
        message = next(waiting, None)
        if message is None:
            await asyncio.Event().wait()
        assert message
        return message

    task = asyncio.current_task()
    assert task
    return Client(receive, task)


async def test_a_body_that_came_in_parts_is_whole_and_can_be_read_again_once() -> None:
    client = sending([part(b"ab", more=True), part(b"c"), GONE])
    assert await client.body() == b"abc"
    assert [await client() for _ in range(3)] == [part(b"ab", more=True), part(b"c"), GONE]


async def test_a_client_that_goes_within_its_body_is_left_to_others_who_hear_of_it_too() -> None:
    client = sending([part(b"ab", more=True), GONE])
    with pytest.raises(Refused):
        await client.body()
    assert [await client() for _ in range(2)] == [part(b"ab", more=True), GONE]


async def test_a_body_that_is_too_large_is_read_no_further() -> None:
    client = sending([part(b" " * settings.MAX_BODY_BYTES, more=True), part(b" ", more=True), part(b"never")])
    with pytest.raises(Refused):
        await client.body()
    assert [len((await client())["body"]) for _ in range(3)] == [settings.MAX_BODY_BYTES, 1, 5]


async def test_who_waits_is_cancelled_when_its_client_goes() -> None:
    client, clients = sending([GONE]), Clients()
    clients.add(client)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.Event().wait()
    client.left()
    clients.remove(client)
    assert client.gone
    assert await client() == GONE
    assert client.task.cancelling() == 0


class Leaving:
    """A client that goes when `gone` is set."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.asked = asyncio.Event()

    async def __call__(self) -> Any:
        self.asked.set()
        await self.gone.wait()
        return GONE


async def test_whoever_has_its_whole_answer_is_not_listened_for_any_more() -> None:
    """A server says of each client that it has gone once its answer has ended, which may be before its request has."""
    leaving, other, clients = Leaving(), Leaving(), Clients()
    leaving.gone.set()
    task, others = (asyncio.create_task(asyncio.Event().wait()) for _ in range(2))
    answered, waits = Client(leaving, task), Client(other, others)
    clients.add(answered)
    clients.add(waits)
    answered.ignore()
    async with asyncio.timeout(30):
        await other.asked.wait()  # both have been looked at by then
    waits.ignore()
    assert not leaving.asked.is_set()
    assert not task.cancelled()
    task.cancel()
    others.cancel()


@pytest.mark.parametrize("listened", [False, True])
async def test_an_ignored_client_may_go(listened: bool) -> None:
    leaving = Leaving()
    task = asyncio.create_task(asyncio.Event().wait())
    client = Client(leaving, task)
    if listened:
        client.listen()
        await leaving.asked.wait()
    client.ignore()
    leaving.gone.set()
    for _ in range(3):
        await asyncio.sleep(0)
    assert not task.cancelling()
    task.cancel()
