"""What it adds that a call's first home is left alone and the second one answers.

    python -m benchmarks.homes [--pairs 2000]

One real server, whose upstream is a raw ASGI application in a process of its own that answers at once. One client asks,
in pairs and in turn of either order, a model whose one home is there, and one whose first home has an open breaker and
whose second home is the same upstream. Every answer is read, its text and who served it are compared, and the figure is
the median of the pairs' differences, for whole answers and for streams.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

from benchmarks import _echo
from benchmarks.stored import echoing
from tests.chaos.test_kill import URL, until_listed
from tests.servers import free_port, serving

WARM_UP = 100
MOST_MILLISECONDS = 1.0
DIRECT, FALLBACK, GONE = "direct", "fallback", "gone"
SERVED_BY = {DIRECT: f"sky/{_echo.MODEL}", FALLBACK: f"sky/{_echo.MODEL}"}


def run_of(upstream: str) -> str:
    """A run.yaml with the upstream as `sky`, and `gone`, where nobody listens."""
    urls = {"sky": upstream, GONE: f"http://127.0.0.1:{free_port()}/v1"}
    providers = [
        {"provider_id": name, "provider_type": "remote::openai", "config": {"base_url": url}}
        for name, url in urls.items()
    ]
    there = {"provider_id": "sky", "provider_model_id": _echo.MODEL}
    gone = {"provider_id": GONE, "provider_model_id": _echo.MODEL}
    models = [
        {"model_id": DIRECT, **there},
        {"model_id": GONE, **gone},
        {"model_id": FALLBACK, "homes": [gone, {**there, "order": 1}]},
    ]
    head = {"version": 2, "image_name": "homes", "apis": ["inference"], "providers": {"inference": providers}}
    return json.dumps(head | {"registered_resources": {"models": models}})


async def ask(http: aiohttp.ClientSession, model: str, number: int, stream: bool) -> float:
    """The milliseconds until all of it was there, once it is what it should be."""
    said = f"number {number}"
    body = {"model": model, "messages": [{"role": "user", "content": said}], "store": False, "stream": stream}
    began = time.perf_counter()
    async with http.post(URL, json=body) as answer:
        data = await answer.read()
    took = 1000 * (time.perf_counter() - began)
    assert (answer.status, answer.headers["X-LlamaStack-Served-By"]) == (200, SERVED_BY[model]), data
    assert heard(data, stream) == f"You said: {said}", data
    return took


def heard(data: bytes, stream: bool) -> str:
    if not stream:
        return str(json.loads(data)["choices"][0]["message"]["content"])
    *events, done, _ = data.decode().split("\n\n")
    assert done == "data: [DONE]", done
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    return "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"]).rstrip()


async def opened(http: aiohttp.ClientSession) -> None:
    """Fail at the home that is gone until its breaker is open."""
    body = {"model": GONE, "messages": [{"role": "user", "content": "Hello"}], "store": False}
    while True:
        async with http.post(URL, json=body) as answer:
            if (await answer.json())["error"]["code"] == "breaker_open":
                return


async def pairs(http: aiohttp.ClientSession, count: int, stream: bool) -> float:
    """The median of what the fallback adds to the direct call, in milliseconds."""
    for number in range(WARM_UP):
        await asyncio.gather(*(ask(http, model, number, stream) for model in SERVED_BY))
    taken: dict[str, list[float]] = {DIRECT: [], FALLBACK: []}
    for number in range(count):
        for model in (DIRECT, FALLBACK) if number % 2 else (FALLBACK, DIRECT):
            taken[model].append(await ask(http, model, number, stream))
    added = [after - before for before, after in zip(taken[DIRECT], taken[FALLBACK], strict=True)]
    for model, found in taken.items():
        print(f"{'stream' if stream else 'whole'} {model}: {count} calls, p50 {statistics.median(found):.2f} ms")
    return statistics.median(added)


async def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=2000)
    options = parser.parse_args()
    print(f"cores={os.cpu_count()} load={os.getloadavg()[0]:.1f} python={sys.version.split()[0]}")
    with tempfile.TemporaryDirectory() as folder, echoing() as echo:
        config = Path(folder) / "run.yaml"
        config.write_text(run_of(echo))
        running = serving(config, home=Path(folder) / "home")
        server = await asyncio.to_thread(running.__enter__)
        try:
            async with aiohttp.ClientSession(server.url) as http:
                for model in (DIRECT, FALLBACK, GONE):
                    await until_listed(http, model)
                await opened(http)
                added = {stream: await pairs(http, options.pairs, stream) for stream in (False, True)}
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)
    print(f"homes_whole_adds_ms={added[False]:.3f} (limit {MOST_MILLISECONDS:g})")
    print(f"homes_stream_adds_ms={added[True]:.3f} (limit {MOST_MILLISECONDS:g})")
    return 0 if max(added.values()) <= MOST_MILLISECONDS else 1


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
