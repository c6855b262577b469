"""Answers that are cut and mutated: none of them looks whole to our client or its record, and none of them hangs.

    python -m tests.chaos.test_faults [--cuts 1000] [--mutations 10000] [--lane fast]

A tenth of that runs as a test of the fast lane, and less of Django's, which the answers of the other one come by too
where they fail before their first byte.
"""

import argparse
import asyncio
import json
import platform
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest

from tests.chaos import faults
from tests.chaos.test_kill import until_listed
from tests.servers import serving

PROVIDERS = 16  # each with a breaker of its own, which a good answer after every third trial keeps closed
IDLE_SECONDS = 2.0
HANG_SECONDS = IDLE_SECONDS + 10  # what hangs has no end
URL = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]


@dataclass
class Findings:
    """How trials ended, and the seeds of those that ended as none may."""

    ends: Counter[str] = field(default_factory=Counter)
    false_completions: list[tuple[int, bool]] = field(default_factory=list)
    hangs: list[tuple[int, bool]] = field(default_factory=list)
    defects: list[tuple[int, bool]] = field(default_factory=list)  # of ours: a 500, an open breaker
    lanes: Counter[str] = field(default_factory=Counter)
    said: dict[str, tuple[int, bool, bool]] = field(
        default_factory=dict
    )  # by requests: the trial, whether it was whole
    misrecorded: list[tuple[int, bool]] = field(default_factory=list)

    @property
    def trials(self) -> int:
        return sum(self.ends.values())

    def told(self) -> str:
        ends, lanes = (", ".join(f"{name} {n}" for name, n in sorted(c.items())) for c in (self.ends, self.lanes))
        return (
            f"{self.trials} trials ({ends}; by lane: {lanes}): {len(self.false_completions)} false completions, "
            f"{len(self.hangs)} hangs, {len(self.misrecorded)} records amiss"
        )

    def compare(self, records: Iterator[tuple[str, bool]]) -> None:
        """Each answer has one record, which says what the client was told: whether it was whole.

        So is one that is no stream where it has come at all, whatever its reason to end was.
        """
        found: dict[str, list[bool]] = {}
        for request, whole in records:
            found.setdefault(request, []).append(bool(whole))
        for request, (seed, streamed, whole) in self.said.items():
            if found.get(request) != [whole]:
                self.misrecorded.append((seed, streamed))


class Trials:
    def __init__(self, http: aiohttp.ClientSession) -> None:
        self.http = http
        self.findings = Findings()

    async def run(self, seeds: Iterator[tuple[int, bool]]) -> Findings:
        await asyncio.gather(*(self.client(f"p{number}/sky", seeds) for number in range(PROVIDERS)))
        return self.findings

    async def client(self, model: str, seeds: Iterator[tuple[int, bool]]) -> None:
        for number, (seed, streamed) in zip(count(1), seeds):
            await self.trial(model, seed, streamed)
            if number % 3 == 0:
                ended, how = await self.asked(model, 0, streamed)
                assert ended, f"a good answer was told as {how}"

    async def trial(self, model: str, seed: int, streamed: bool) -> None:
        began = time.monotonic()
        ended, how = await self.asked(model, seed, streamed)
        if time.monotonic() - began > HANG_SECONDS:
            self.findings.hangs.append((seed, streamed))
        if ended and not faults.answer(seed, streamed).may_complete:
            self.findings.false_completions.append((seed, streamed))
        self.findings.ends[how] += 1

    async def asked(self, model: str, seed: int, streamed: bool) -> tuple[bool, str]:
        """Whether our server's answer said that it was whole, and in a word how it ended."""
        body: dict[str, Any] = {"model": model, "messages": HELLO, "seed": seed, "stream": streamed}
        body |= {} if seed % 4 == 1 else {"store": False}
        async with self.http.post(URL, json=body) as answer:
            text = (await answer.read()).decode()
        ended, how = judged(answer.status, text, streamed)
        self.findings.lanes[answer.headers["X-LlamaStack-Lane"]] += 1
        whole = ended if streamed else answer.status == 200
        self.findings.said[answer.headers["X-Request-Id"]] = (seed, streamed, whole)
        if answer.status == 500 or "breaker_open" in text:
            self.findings.defects.append((seed, streamed))
        return ended, how


def judged(status: int, text: str, streamed: bool) -> tuple[bool, str]:
    if status != 200:
        return False, str(status)
    ended = says_whole(text) if streamed else json.loads(text)["choices"][0]["finish_reason"] is not None
    return ended, "whole" if ended else "error event"


def says_whole(events: str) -> bool:
    """Whether `[DONE]` or any finish_reason stands in it. Everything else has to end in an error."""
    *said, rest = events.split("\n\n")
    chunks = [json.loads(event.removeprefix("data: ")) for event in said if event != "data: [DONE]"]
    reasons = [choice["finish_reason"] for chunk in chunks for choice in chunk.get("choices", ())]
    whole = "data: [DONE]" in said or any(reasons)
    assert rest == ""
    assert whole or '"error"' in said[-1], events
    return whole


async def tried(cuts: int, mutations: int, folder: Path, lane: str) -> Findings:
    """So many of each, and a tenth as many of answers that are no streams."""
    streams = [(seed, True) for seed in [*range(1, cuts + 1), *range(1_000_000, 1_000_000 + mutations)]]
    whole = [(seed, False) for seed in [*range(1, cuts // 10 + 1), *range(1_000_000, 1_000_000 + mutations // 10)]]
    async with faults.serving() as upstream:
        config = folder / "run.yaml"
        config.write_text(run_of(upstream))
        database = folder / "faults.db"
        env = {"LLAMA_STACK_FAST_LANE": str(int(lane == "fast")), "DATABASE_URL": f"sqlite:///{database}"}
        running = serving(config, home=folder / "home", env=env)
        server = await asyncio.to_thread(running.__enter__)
        try:
            async with aiohttp.ClientSession(server.url) as http:
                for number in range(PROVIDERS):
                    await until_listed(http, f"p{number}/sky")
                findings = await Trials(http).run(iter([*streams, *whole]))
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)
        if "Traceback" in server.output:
            print(server.output)
    with closing(sqlite3.connect(database)) as connection:
        findings.compare(connection.execute("SELECT request_id, whole FROM access_usage"))
    return findings


def run_of(upstream: str) -> str:
    network = {"timeout": {"connect": IDLE_SECONDS, "read": IDLE_SECONDS}}
    config = {"base_url": upstream, "network": network}
    rows = [
        {"provider_id": f"p{number}", "provider_type": "remote::openai", "config": config}
        for number in range(PROVIDERS)
    ]
    return json.dumps({"version": 2, "image_name": "faults", "apis": ["inference"], "providers": {"inference": rows}})


@pytest.mark.slow
@pytest.mark.parametrize(("lane", "cuts", "mutations"), [("fast", 100, 1000), ("django", 10, 100)])
async def test_no_answer_that_is_cut_or_mutated_looks_whole_or_hangs(
    lane: str, cuts: int, mutations: int, tmp_path: Path
) -> None:
    findings = await tried(cuts, mutations, tmp_path, lane)
    assert findings.false_completions == []
    assert findings.hangs == []
    assert findings.defects == []
    assert findings.misrecorded == []
    assert findings.trials == (cuts + mutations) * 11 // 10
    assert findings.lanes[lane] > findings.trials / 2
    assert {"whole", "error event", "502"} <= set(findings.ends)


def test_the_judge_takes_a_good_answer_for_whole_and_no_beginning_of_it() -> None:
    for frame in faults.FRAMES:
        wire = faults.framed(faults.events(), frame, Random(0))
        assert faults.Answer(wire, "close", True).may_complete
        # After `[DONE]` an empty line, the end of the chunk, the last chunk, and what gzip has at its end.
        short = [faults.Answer(wire[:length], "close", True).may_complete for length in range(0, len(wire) - 25, 7)]
        assert not any(short)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cuts", type=int, default=1000)
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--lane", choices=("fast", "django"), default="fast")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        findings = asyncio.run(tried(options.cuts, options.mutations, Path(folder), options.lane))
    print(f"{options.cuts} cuts and {options.mutations} mutated streams, and a tenth as many answers that are none")
    print(findings.told())
    named = (
        ("false completion", findings.false_completions),
        ("hang", findings.hangs),
        ("defect", findings.defects),
        ("record amiss", findings.misrecorded),
    )
    print(f"{time.monotonic() - began:.0f} s, python={platform.python_version()}")
    for name, seeds in named:
        for seed, streamed in seeds[:20]:
            print(f"{name}: seed {seed}, {'stream' if streamed else 'whole'}")
    return 1 if any(seeds for _, seeds in named) else 0


if __name__ == "__main__":
    raise SystemExit(main())
