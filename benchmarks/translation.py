"""What it takes to translate: requests into a vendor's own dialect, and the events of its streams into OpenAI's chunks.

    python -m benchmarks.translation [--rounds 7]

The request is a conversation of 20 turns with 5 tools, and one with an image of 100 KB; it is timed from the request
that was validated to the body that is sent. An event is timed from the vendor's JSON to the ChatCompletionChunk, with
all that stands between: the translation, the dialect's mending, and pydantic. No network, and no JSON of bytes.
OpenAI's dialect stands beside the others, for what is not translated costs too. What is made is checked with the
readers of tests/conformance/vendors: exits with 1 where a conversation lost its meaning, or a stream its text. Times
are those of the processor, the least of the rounds.
"""

import argparse
import asyncio
import base64
import copy
import json
import math
import random
import sys
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from apps.inference.providers.remote.translation import JSON, Translation
from apps.inference.schemas import ChatCompletionChunk, ChatCompletionRequest
from llamastack.apis import Api
from llamastack.call import ANONYMOUS_ADMIN, Call
from llamastack.egress import Egress
from llamastack.providers import load, specs
from tests.conformance.vendors import NATIVES, OPENAI, WATSONX
from tests.conformance.vendors.script import answered
from tests.conformance.vendors.vendor import CHAT, Vendor
from tests.conversations import meaning

REQUEST_MICROSECONDS, EVENT_MICROSECONDS = 150, 30  # asked for
REQUESTS, WORDS = 200, 1000
CALL = Call(ANONYMOUS_ADMIN)
SENTENCE = "The quick brown fox jumps over the lazy dog while seventeen engineers watch in silence. "
CITY = {"type": "string", "description": "A city and its country, such as Paris, France"}
UNITS = {"type": "string", "enum": ["metric", "imperial"], "description": "How to measure"}
DAYS = {"type": "array", "items": {"type": "object", "properties": {"day": {"type": "string"}, "at": CITY}}}
PARAMETERS = {"type": "object", "properties": {"city": CITY, "units": UNITS, "days": DAYS}, "required": ["city"]}


class Recorded:
    """A provider whose vendor has sent its stream already."""

    recorded: list[JSON]

    async def events(
        self, egress: Egress, translation: Translation, headers: Mapping[str, str]
    ) -> AsyncGenerator[JSON, None]:
        for event in self.recorded:
            yield event

    async def call_headers(self, call: Call) -> Mapping[str, str]:
        return {}


@dataclass
class Measured:
    """Microseconds, but for `events`, their count; `wrong` says what was lost."""

    request: float
    image: float
    event: float
    translation: float
    events: int
    wrong: list[str]


def conversation() -> JSON:
    tools = [
        {"type": "function", "function": {"name": f"tool_{i}", "description": SENTENCE * 2, "parameters": PARAMETERS}}
        for i in range(5)
    ]
    messages: list[JSON] = [{"role": "system", "content": SENTENCE * 5}]
    for turn in range(5):
        function = {"name": f"tool_{turn}", "arguments": json.dumps({"city": "Paris, France", "units": "metric"})}
        call = {"id": f"call_{turn}", "type": "function", "function": function}
        messages += [
            {"role": "user", "content": SENTENCE * 3},
            {"role": "assistant", "content": SENTENCE, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": f"call_{turn}", "content": json.dumps({"degrees": 20, "sky": SENTENCE})},
            {"role": "assistant", "content": SENTENCE * 4},
        ]
    last = {"role": "user", "content": [{"type": "text", "text": SENTENCE}]}
    return {"messages": [*messages[:-1], last], "tools": tools, "max_tokens": 1000}


def with_image() -> JSON:
    data = base64.b64encode(b"\x89PNG\r\n\x1a\n" + random.Random(0).randbytes(100_000)).decode()
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    parts = [{"type": "text", "text": "What is this?"}, image]
    return {"messages": [{"role": "user", "content": parts}], "max_tokens": 1000}


def microseconds(run: Callable[[], object], count: int, rounds: int) -> float:
    """Of one of `count` that `run` does; the first round warms up."""
    spent = []
    for _ in range(rounds + 1):
        began = time.process_time()
        run()
        spent.append(time.process_time() - began)
    return min(spent[1:]) / count * 1e6


def request_of(vendor: Vendor, body: JSON) -> ChatCompletionRequest:
    return ChatCompletionRequest.model_validate({"model": vendor.model, **body})


def asking(provider: Any, vendor: Vendor, body: JSON, rounds: int) -> tuple[float, bool]:
    """How long a request takes, and whether what is sent means the same."""
    request = request_of(vendor, body)

    def run() -> None:
        for _ in range(REQUESTS):
            provider.translated(request)

    sent = json.loads(json.dumps(provider.translated(request).body))
    same = meaning({"messages": [], **vendor.question(CHAT, sent)}) == meaning(body)
    return microseconds(run, REQUESTS, rounds), same


async def streaming(provider: Any, vendor: Vendor, rounds: int) -> tuple[float, float, int, bool]:
    """How long an event takes, of which in the translation; how many there are; whether the chunks are the text."""
    body = {"model": vendor.model, "messages": [{"role": "user", "content": "Tell me."}], "stream": True}
    words = [f"word{i} " for i in range(WORDS)]
    events = vendor.events(replace(answered(body, vendor), words=words))
    request = ChatCompletionRequest.model_validate(body)
    chunks: list[ChatCompletionChunk] = []
    spent, alone = [], []
    for _ in range(rounds + 1):
        provider.recorded = copy.deepcopy(events)
        began = time.process_time()
        chunks = [chunk async for chunk in await provider.post_chat_completion(CALL, request)]
        spent.append(time.process_time() - began)
        translation, recorded = provider.translated(request), copy.deepcopy(events)
        began = time.process_time()
        for event in recorded:
            list(translation.chunks(event))
        alone.append(time.process_time() - began)
    said = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    each = 1e6 / len(events)
    return min(spent[1:]) * each, min(alone[1:]) * each, len(events), said == "".join(words)


async def measured(vendor: Vendor, rounds: int) -> Measured:
    provider_class = load(specs(Api.inference)[vendor.provider_type])
    config = provider_class.config_class.model_validate(vendor.config_at("http://vendor.example"))
    provider: Any = type("Measured", (Recorded, provider_class), {})("measured", config)
    await provider.start()
    try:
        request, same = asking(provider, vendor, conversation(), rounds)
        image, same_image = asking(provider, vendor, with_image(), rounds) if vendor.sees else (math.nan, True)
        event, translation, events, whole = await streaming(provider, vendor, rounds)
    finally:
        await provider.stop()
    checks = {"the conversation": same, "the image": same_image, "the stream": whole}
    return Measured(request, image, event, translation, events, [name for name, right in checks.items() if not right])


def row(*cells: object) -> str:
    first, *rest = map(str, cells)
    return f"{first:<24}" + "".join(f"{cell:>16}" for cell in rest)


async def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print(row("µs", "request", "image 100 KB", "event", "of it translated", "events"))
    print(row("asked for", REQUEST_MICROSECONDS, "", EVENT_MICROSECONDS, "", ""))
    wrong = False
    for vendor in (OPENAI, WATSONX, *NATIVES):
        took = await measured(vendor, options.rounds)
        times = (f"{one:.1f}" for one in (took.request, took.image, took.event, took.translation))
        print(row(vendor.name, *times, took.events))
        if took.wrong:
            wrong = True
            print(f"    LOST ITS MEANING: {', '.join(took.wrong)}")
    return int(wrong)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
