"""A server under load does not stop for its garbage collector: what a call took is free when it is answered."""

import gc
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from apps.registry.models import Provider
from llamastack import asgi, settings
from llamastack.cli.on_uvicorn import Http, Server

CHAT = {"model": "sky/sky-1", "messages": [{"role": "user", "content": "Say it."}], "store": False}


@pytest.fixture(autouse=True)
def fast_lane() -> Iterator[None]:
    """Open, whatever lane this run of the tests is for."""
    switched, settings.FAST_LANE = settings.FAST_LANE, True
    yield
    settings.FAST_LANE = switched


@pytest.fixture
async def http(sky: Provider) -> AsyncIterator[httpx.AsyncClient]:
    config = uvicorn.Config(asgi.application, http=Http, port=0, lifespan="off", log_config=None)
    server = Server(config, lambda: None)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    port = server.servers[0].sockets[0].getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        yield client
    await server.shutdown()


@pytest.fixture
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def cycles() -> int:
    """Requests that are in memory. (To ask a lazy class of torch's for more than its type warns.)"""
    return sum(type(one) is RequestResponseCycle for one in gc.get_objects())


@pytest.mark.parametrize("streamed", [False, True])
async def test_nothing_of_a_call_on_the_fast_lane_is_left_for_the_garbage_collector(
    http: httpx.AsyncClient, uncollected: None, streamed: bool
) -> None:
    before = cycles()
    for _ in range(5):
        answer = await http.post("/v1/chat/completions", json=CHAT | {"stream": streamed})
        assert (answer.status_code, answer.headers["x-llamastack-lane"]) == (200, "fast"), answer.text
    assert cycles() == before + 1  # the last one, which its connection still knows
