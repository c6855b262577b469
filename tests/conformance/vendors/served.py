"""A vendor's provider on the vendor's scripted server, and what tests ask of it."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from apps.inference.schemas import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    CompletionRequest,
)
from llamastack.apis import Api
from llamastack.call import ANONYMOUS_ADMIN, Call
from llamastack.egress.retries import Retries
from llamastack.providers import load, specs
from tests.conformance.vendors import VENDORS
from tests.conformance.vendors.script import HELLO, TOOL, Script, scripted
from tests.conformance.vendors.vendor import KEY, Vendor
from tests.conversations import meaning

CALL = Call(ANONYMOUS_ADMIN)
READ_SECONDS = 0.1
SCHEMA = {"type": "json_schema", "json_schema": {"name": "place", "schema": TOOL["function"]["parameters"]}}
PNG = "data:image/png;base64,iVBORw0KGgo="


def provider_class(vendor: Vendor) -> Any:
    return load(specs(Api.inference)[vendor.provider_type])


@dataclass
class Served:
    """A vendor's provider, started on the vendor's scripted server."""

    vendor: Vendor
    script: Script
    provider: Any

    def model(self, name: str = "sky") -> str:
        """A model of the vendor's; the name says what its server does wrong."""
        return self.vendor.model.removesuffix("sky") + name

    def chat(self, model: str = "sky", **fields: Any) -> ChatCompletionRequest:
        return ChatCompletionRequest.model_validate({"model": self.model(model), "messages": HELLO, **fields})

    def prompt(self, model: str = "sky", **fields: Any) -> CompletionRequest:
        return CompletionRequest.model_validate({"model": self.model(model), "prompt": "The sky", **fields})

    async def whole(self, model: str = "sky", **fields: Any) -> ChatCompletion:
        reply = await self.provider.post_chat_completion(CALL, self.chat(model, **fields))
        assert isinstance(reply, ChatCompletion)
        return reply

    async def streamed(self, model: str = "sky", **fields: Any) -> list[ChatCompletionChunk]:
        chunks = await self.provider.post_chat_completion(CALL, self.chat(model, stream=True, **fields))
        return [chunk async for chunk in chunks]


@asynccontextmanager
async def serving(vendor: Vendor, key: str = KEY, read: float | None = None) -> AsyncIterator[Served]:
    async with AsyncExitStack() as stack:
        script = await stack.enter_async_context(scripted(vendor))
        kind = provider_class(vendor)
        config = vendor.config_at(script.url, key) | {"network": {"timeout": {"read": read}}}
        provider: Any = kind("under-test", kind.config_class.model_validate(config))
        await provider.start()
        stack.push_async_callback(provider.stop)
        provider.egress.retries = Retries(first_pause=0)
        yield Served(vendor, script, provider)


def each(demanded: Callable[[Vendor], bool] = lambda vendor: True) -> Any:
    vendors = [pytest.param(vendor, id=vendor.name) for vendor in VENDORS if demanded(vendor)]
    return pytest.mark.parametrize("served", vendors, indirect=True)


def offering(operation: str) -> Any:
    return each(lambda vendor: operation in vendor.offers)


CALLERS = [pytest.param(False, id="whole"), pytest.param(True, id="streamed")]


async def asked(served: Served, model: str, *, stream: bool, **fields: Any) -> Any:
    return await (served.streamed if stream else served.whole)(model, **fields)


def heard(served: Served) -> Any:
    """The messages of the last call as they were sent; of a native dialect, what they mean."""
    return spoken(served, served.script.sent["messages"])


def spoken(served: Served, messages: Any) -> Any:
    return meaning({"messages": messages}) if served.vendor.native else messages


def given(served: Served, arguments: str) -> Any:
    """The arguments of a call as they came; of a native dialect, which may have them as an object, what they mean."""
    return json.loads(arguments) if served.vendor.native else arguments


def text(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def reasons(chunks: list[Any]) -> list[str]:
    return [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
