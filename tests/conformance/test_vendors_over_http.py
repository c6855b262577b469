"""Vendors' wire formats through the whole server, read by the official client and by LangChain: statuses and bodies as
users see them. One vendor of each kind stands for the others, which test_vendors.py holds to the same contract.
"""

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import openai
import pytest
import yaml
from anyio.from_thread import BlockingPortal, start_blocking_portal
from langchain_core.messages import AIMessageChunk
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from tests.conformance.vendors import (
    AZURE,
    CEREBRAS,
    DATABRICKS,
    GEMINI,
    LLAMA_STACK,
    NATIVES,
    PASSTHROUGH,
    TGI,
    TOGETHER,
    VLLM,
)
from tests.conformance.vendors.script import ARGUMENTS, HELLO, RETRY_AFTER, SAID, TOOL, Script, scripted
from tests.conformance.vendors.vendor import USAGE, WRONG_KEY, Vendor, sentence
from tests.conversations import meaning
from tests.servers import Server, serving

READ_SECONDS = 0.4  # health checks keep to it too, on a busy machine
ONE_OF_EACH = {type(vendor): vendor for vendor in reversed(NATIVES)}.values()
KINDS = (AZURE, CEREBRAS, DATABRICKS, GEMINI, LLAMA_STACK, PASSTHROUGH, TGI, TOGETHER, VLLM, *ONE_OF_EACH)
# Outages, `failing` and `slow`, are each at a provider of its own: five of them, and it is left alone for a while.
MODELS = ("sky", "unknown", "busy", "blocked", "contrary", "broken", "cut", "endless")
OF_EACH = pytest.mark.parametrize("vendor", KINDS, ids=lambda vendor: vendor.name)


@dataclass
class Gateway:
    """Our server before the scripted servers of the vendors, which live in a thread of their own."""

    server: Server
    scripts: dict[str, Script]
    portal: BlockingPortal
    client: openai.OpenAI

    def chat(self, vendor: Vendor, model: str = "sky", **fields: Any) -> Any:
        return self.client.chat.completions.create(model=f"{vendor.name}/{model}", messages=HELLO, **fields)


def entries(vendor: Vendor, url: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Providers: with the key, with a wrong one, for outages, and one that waits as long as is usual. Their models."""
    config = vendor.config_at(url)
    impatient = {"network": {"timeout": {"read": READ_SECONDS}}}
    kinds: list[tuple[str, dict[str, Any], str, tuple[str, ...]]] = [
        ("", config, "", MODELS),
        ("-failing", config, "", ("failing",)),
        ("-slow", config | impatient, "", ("slow",)),
        ("-locked", vendor.config_at(url, WRONG_KEY), "-locked", ("sky",)),
        ("-patient", config, "-patient", ("slow",)),
    ]
    theirs = vendor.model.removesuffix("sky")
    providers = [
        {"provider_id": vendor.name + kind, "provider_type": vendor.provider_type, "config": config}
        for kind, config, _, _ in kinds
    ]
    models = [
        {
            "model_id": f"{vendor.name}{group}/{name}",
            "provider_id": vendor.name + kind,
            "provider_model_id": theirs + name,
        }
        for kind, _, group, names in kinds
        for name in names
    ]
    return providers, models


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    home = tmp_path_factory.mktemp("vendors")
    with ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal())
        scripts = {
            vendor.name: stack.enter_context(portal.wrap_async_context_manager(scripted(vendor))) for vendor in KINDS
        }
        file = home / "run.yaml"
        file.write_text(run_yaml(scripts))
        server = stack.enter_context(serving(file, home=home))
        client = stack.enter_context(openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0))
        yield Gateway(server, scripts, portal, client)


def run_yaml(scripts: dict[str, Script]) -> str:
    providers, models = [], []
    for script in scripts.values():
        its_providers, its_models = entries(script.vendor, script.url)
        providers += its_providers
        models += its_models
    run = {"version": 2, "image_name": "vendors", "providers": {"inference": providers}}
    return yaml.safe_dump(run | {"registered_resources": {"models": models}})


@OF_EACH
def test_a_chat_with_its_usage(gateway: Gateway, vendor: Vendor) -> None:
    reply = gateway.chat(vendor)
    assert (reply.choices[0].message.content, reply.choices[0].finish_reason) == (SAID, "stop")
    assert (reply.model, reply.usage.total_tokens) == (f"{vendor.name}/sky", USAGE["total_tokens"])


@OF_EACH
def test_the_official_client_adds_a_stream_up_to_the_whole(gateway: Gateway, vendor: Vendor) -> None:
    asked: Any = {"model": f"{vendor.name}/sky", "messages": HELLO, "stream_options": {"include_usage": True}}
    with gateway.client.chat.completions.stream(**asked) as stream:
        reply = stream.get_final_completion()
    [choice] = reply.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", SAID, "stop")
    assert reply.usage
    assert reply.usage.total_tokens == USAGE["total_tokens"]


@OF_EACH
def test_the_official_client_adds_streamed_calls_up_to_the_whole(gateway: Gateway, vendor: Vendor) -> None:
    tools = [TOOL, {"type": "function", "function": {"name": "get_time"}}]
    asked: Any = {"model": f"{vendor.name}/sky", "messages": HELLO, "tools": tools}
    with gateway.client.chat.completions.stream(**asked) as stream:
        [choice] = stream.get_final_completion().choices
    calls = choice.message.tool_calls or ()
    assert choice.finish_reason == "tool_calls"
    assert [call.function.name for call in calls] == ["get_weather", "get_time"]
    for call in calls:
        assert (call.type, json.loads(call.function.arguments)) == ("function", json.loads(ARGUMENTS))
        assert call.id.startswith("call_")
        assert call.id.count("call_") == 1


class Place(BaseModel):
    city: str


@OF_EACH
@pytest.mark.parametrize("stream", [False, True])
def test_a_call_its_result_and_the_answer(gateway: Gateway, vendor: Vendor, stream: bool) -> None:
    """As a client goes on with what it has got, whatever of the vendor's own is in it."""
    asked: Any = {"model": f"{vendor.name}/sky", "tools": [TOOL]}
    if stream:
        with gateway.client.chat.completions.stream(**asked, messages=HELLO) as events:
            message = events.get_final_completion().choices[0].message
    else:
        message = gateway.client.chat.completions.create(**asked, messages=HELLO).choices[0].message
    [call] = message.tool_calls or ()
    result = {"role": "tool", "tool_call_id": call.id, "content": "blue"}
    turns = [*HELLO, said_again(message), result]
    reply = gateway.client.chat.completions.create(**asked, messages=turns)
    assert (reply.choices[0].message.content, reply.choices[0].finish_reason) == (SAID, "stop")
    heard = gateway.scripts[vendor.name].sent["messages"]
    assert meaning({"messages": heard}) == meaning({"messages": turns})


def said_again(message: Any) -> dict[str, Any]:
    """A message of the assistant's without what the client itself has put into it."""
    said: dict[str, Any] = message.model_dump(exclude_none=True, exclude={"parsed"})
    for call in said["tool_calls"]:
        call.pop("index", None)
        call["function"].pop("parsed_arguments", None)
    return said


@OF_EACH
def test_the_official_client_parses_what_follows_a_schema(gateway: Gateway, vendor: Vendor) -> None:
    asked: Any = {"model": f"{vendor.name}/sky", "messages": HELLO, "response_format": Place}
    assert gateway.client.chat.completions.parse(**asked).choices[0].message.parsed == Place(city="Paris")
    with gateway.client.chat.completions.stream(**asked) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == Place(city="Paris")


@OF_EACH
def test_langchain_reads_chats_streams_and_calls(gateway: Gateway, vendor: Vendor) -> None:
    with httpx.Client() as http:
        model = ChatOpenAI(
            base_url=f"{gateway.server.url}/v1",
            api_key="none",
            model=f"{vendor.name}/sky",
            max_retries=0,
            http_client=http,
            stream_usage=True,
        )
        assert model.invoke("Hello").content == SAID
        streamed = None
        for chunk in model.stream("Hello"):
            streamed = chunk if streamed is None else streamed + chunk
        assert isinstance(streamed, AIMessageChunk)
        assert streamed.content == SAID
        assert streamed.usage_metadata
        assert streamed.usage_metadata["total_tokens"] == USAGE["total_tokens"]
        called = None
        for chunk in model.bind_tools([TOOL]).stream("Hello"):
            called = chunk if called is None else called + chunk
    assert isinstance(called, AIMessageChunk)
    assert [(call["name"], call["args"]) for call in called.tool_calls] == [("get_weather", {"city": "Paris"})]


@OF_EACH
@pytest.mark.parametrize("stream", [False, True])
def test_a_wrong_key_is_the_vendors_refusal(gateway: Gateway, vendor: Vendor, stream: bool) -> None:
    model = f"{vendor.name}-locked/sky"
    with pytest.raises(openai.APIStatusError) as caught:
        gateway.client.chat.completions.create(model=model, messages=HELLO, stream=stream)
    assert caught.value.status_code == vendor.unauthorized[0]
    assert f"Provider '{vendor.name}-locked'" in caught.value.message
    assert sentence(vendor.unauthorized) in caught.value.message


ERRORS = {
    "unknown": (404, openai.NotFoundError),
    "busy": (429, openai.RateLimitError),
    "failing": (502, openai.InternalServerError),
    "blocked": (502, openai.InternalServerError),
    "slow": (504, openai.InternalServerError),
}


@OF_EACH
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ERRORS)
def test_what_goes_wrong_has_its_status(gateway: Gateway, vendor: Vendor, model: str, stream: bool) -> None:
    status, kind = ERRORS[model]
    with pytest.raises(kind, match=f"Provider '{vendor.name}[-a-z]*'") as caught:
        gateway.chat(vendor, model, stream=stream)
    assert caught.value.status_code == status
    assert caught.value.body["message"] == caught.value.response.json()["detail"]
    assert caught.value.response.headers.get("Retry-After") == (RETRY_AFTER if model == "busy" else None)


@OF_EACH
@pytest.mark.parametrize("model", ["broken", "cut"])
def test_a_stream_that_breaks_is_an_error_and_has_no_end(gateway: Gateway, vendor: Vendor, model: str) -> None:
    body = {"model": f"{vendor.name}/{model}", "messages": HELLO, "stream": True}
    answer = httpx.post(f"{gateway.server.url}/v1/chat/completions", json=body)
    assert answer.status_code == 200
    *chunks, last = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert f"Provider '{vendor.name}'" in last["error"]["message"]
    assert not any(choice["finish_reason"] for chunk in chunks for choice in chunk["choices"])
    with pytest.raises(openai.APIError, match=f"Provider '{vendor.name}'"):
        list(gateway.chat(vendor, model, stream=True))


@OF_EACH
def test_an_upstream_that_does_the_contrary_is_understood(gateway: Gateway, vendor: Vendor) -> None:
    assert gateway.chat(vendor, "contrary").choices[0].message.content == SAID
    chunks = list(gateway.chat(vendor, "contrary", stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == SAID


@OF_EACH
def test_a_client_who_leaves_is_gone_at_the_vendor_too(gateway: Gateway, vendor: Vendor) -> None:
    left = gateway.scripts[vendor.name].left
    gateway.portal.call(left.clear)
    stream = gateway.chat(vendor, "endless", stream=True)
    next(iter(stream))
    stream.close()
    gateway.portal.call(is_gone, left)
    gateway.portal.call(left.clear)
    with pytest.raises(openai.APITimeoutError):
        gateway.client.chat.completions.create(model=f"{vendor.name}-patient/slow", messages=HELLO, timeout=1)
    gateway.portal.call(is_gone, left)


async def is_gone(left: asyncio.Event) -> None:
    await asyncio.wait_for(left.wait(), 10)
