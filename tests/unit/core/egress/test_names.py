"""The names of upstreams are looked up apart from one another."""

import asyncio
import socket
import threading
from typing import Any

import pytest

from llamastack.egress.names import AT_ONCE, Names
from llamastack.errors import UpstreamError
from tests.unit.core.egress.speaking import asking

pytestmark = pytest.mark.usefixtures("each_transport")


async def test_a_name_is_found_with_its_port() -> None:
    names = Names()
    found = await names.resolve("localhost", 8080)
    await names.close()
    assert ("127.0.0.1", 8080, socket.AF_INET) in [(place["host"], place["port"], place["family"]) for place in found]


async def test_a_name_server_that_hangs_holds_up_no_other_upstream() -> None:
    released = threading.Event()

    def hang(*_: Any) -> list[Any]:
        released.wait(30)
        return []

    slow, healthy = Names(hang), Names()
    waiting = [asyncio.create_task(slow.resolve(f"{i}.example")) for i in range(64)]
    try:
        assert await healthy.resolve("localhost")
        assert len([task for task in waiting if not task.done()]) == 64 > AT_ONCE
        assert await asyncio.to_thread(str, "the loop's own threads are free") != ""
    finally:
        released.set()
        await asyncio.gather(*waiting)
        await slow.close()
        await healthy.close()


async def test_a_name_that_nobody_has_is_a_bad_gateway() -> None:
    egress = asking("http://no-such-host.invalid")
    with pytest.raises(UpstreamError, match="cannot be reached"):
        await egress.get("models")
    await egress.close()
