"""What the library client adds to calling the service directly, and how soon it has answered in a new process.

    python -m benchmarks.library

Calls: one chat completion after another, alternating between the service (its time taken on the Stack's own loop) and
each client, all of the same body, with the same upstream in a process of its own. The figure is the difference of the
medians. Start: a new process with remote providers only and its database in place, from before the import of the client
to the first answered call; what the process says of its construction alone is told too.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.servers import ROOT, environment
from tests.upstream import WORDS, serving

ROUNDS = 300
WARM_UP = 30
STARTS = 5
MOST_MILLISECONDS = 2.0
MOST_SECONDS = 3.0
SERVICE = "service"
MODEL = "openai/sky-1"
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "What colour is the sky?"}]}
FIRST_CALL = """
import time
before = time.perf_counter()
from llamastack import LlamaStackAsLibraryClient
imported = time.perf_counter()
with LlamaStackAsLibraryClient("remote-only") as client:
    client.models.list()
    answered = time.perf_counter()
print(answered - before, answered - imported)
"""


def serve_upstream() -> None:
    """In a process of its own: its work must not hold up ours."""

    async def serve() -> None:
        async with serving() as upstream:
            print(upstream.url, flush=True)
            await asyncio.Event().wait()

    asyncio.run(serve())


@contextmanager
def upstream() -> Iterator[str]:
    command = [sys.executable, "-c", "from benchmarks.library import serve_upstream; serve_upstream()"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def added(url: str) -> dict[str, list[float]]:
    """Seconds of each call, by who made it."""
    os.environ |= {"OPENAI_API_KEY": "any", "OPENAI_BASE_URL": url}
    from llamastack import AsyncLlamaStackAsLibraryClient, LlamaStackAsLibraryClient

    with LlamaStackAsLibraryClient("remote-only") as client, asyncio.Runner() as runner:
        other = runner.run(AsyncLlamaStackAsLibraryClient.create("remote-only"))
        as_openai = client.as_openai()
        wait_until_listed(as_openai)
        ways: dict[str, Callable[[], float]] = {
            SERVICE: service,
            "client": lambda: blocking(client.chat.completions.create),
            "async client": lambda: runner.run(awaited(other.chat.completions.create)),
            "as_openai": lambda: blocking(as_openai.chat.completions.create),
        }
        for _ in range(WARM_UP):
            for way in ways.values():
                way()
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, way in ways.items():
                taken[name].append(way())
        runner.run(other.close())
    return taken


def wait_until_listed(client: Any) -> None:
    """The upstream's models have been discovered."""
    while MODEL not in {model.id for model in client.models.list()}:
        time.sleep(0.1)


def service() -> float:
    from apps.inference.schemas import ChatCompletionRequest
    from llamastack import stack
    from llamastack.call import ANONYMOUS_ADMIN, Call

    async def ask(running: Any) -> float:
        started = time.perf_counter()
        request = ChatCompletionRequest.model_validate(BODY)
        reply = await running.inference.post_chat_completion(Call(ANONYMOUS_ADMIN), request)
        return checked(reply, started)

    return stack.run(ask)


def blocking(create: Callable[..., Any]) -> float:
    started = time.perf_counter()
    return checked(create(**BODY), started)


async def awaited(create: Callable[..., Any]) -> float:
    started = time.perf_counter()
    return checked(await create(**BODY), started)


def checked(reply: Any, started: float) -> float:
    taken = time.perf_counter() - started
    if reply.choices[0].message.content != "".join(WORDS):
        raise RuntimeError(f"A wrong answer: {reply}")
    return taken


def seconds_to_answer(home: Path) -> tuple[float, float]:
    ran = subprocess.run(
        [sys.executable, "-c", FIRST_CALL], cwd=ROOT, env=environment(home), capture_output=True, text=True, check=True
    )
    whole, constructed = map(float, ran.stdout.split())
    return whole, constructed


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        first = seconds_to_answer(Path(folder))
        again = [seconds_to_answer(Path(folder)) for _ in range(STARTS)]
        os.environ["LLAMA_STACK_HOME"] = folder
        os.environ.pop("DATABASE_URL", None)
        with upstream() as url:
            taken = added(url)
    print(f"cores={os.cpu_count()} python={sys.version.split()[0]}")
    medians = {name: statistics.median(seconds) * 1000 for name, seconds in taken.items()}
    adds = {name: median - medians[SERVICE] for name, median in medians.items()}
    for name, median in medians.items():
        late = statistics.quantiles(taken[name], n=20)[-1] * 1000
        print(f"{name:<14} p50 {median:.2f} ms, p95 {late:.2f} ms, adds {adds[name]:.2f} ms")
    whole, constructed = (statistics.median(part) for part in zip(*again, strict=True))
    print(f"first start, database empty: {first[0]:.2f} s with the import, {first[1]:.2f} s from construction")
    print(f"later starts: {whole:.2f} s with the import, {constructed:.2f} s from construction")
    print(f"added_milliseconds={max(adds.values()):.2f} (limit {MOST_MILLISECONDS:g})")
    print(f"start_seconds={whole:.2f} (limit {MOST_SECONDS:g})")
    return 0 if max(adds.values()) <= MOST_MILLISECONDS and whole <= MOST_SECONDS else 1


if __name__ == "__main__":
    raise SystemExit(main())
