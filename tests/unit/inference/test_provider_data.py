"""Per-request keys, from the header to the vendor: whose key is sent, to whom alone, and what is told without one."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from django.apps import apps
from django.db import connection

from apps.inference.models import StoredCompletion
from apps.registry import service
from apps.registry.models import Model, Provider
from llamastack.apis import Api
from llamastack.db import db
from llamastack.errors import AuthenticationError
from llamastack.providers import load, specs
from llamastack.stack import LlamaStack
from tests.unit.conftest import add_provider
from tests.unit.inference.test_chat_completions import HELLO, URL, events
from tests.unit.inference.test_websocket import messages, socket
from tests.upstream import Upstream, serving

CANARY = "sk-canary-7"
HEADER = "X-LlamaStack-Provider-Data"
Client = httpx.AsyncClient


def carrying(**data: Any) -> dict[str, str]:
    return {HEADER: json.dumps(data)}


@asynccontextmanager
async def vendor(running: LlamaStack, kind: str, **config: Any) -> AsyncIterator[Upstream]:
    """A provider of that type on an upstream of its own, with a model of the same name."""
    async with serving() as upstream:
        await db(add_provider, kind, f"remote::{kind}", **({"base_url": upstream.url} | config))
        await db(service.edit_model, Model(identifier=kind), {"provider_id": kind, "provider_model_id": "sky-1"})
        await running.live.refresh()
        if "base_url" not in config:
            await asked_for_its_models(upstream)
        yield upstream


async def asked_for_its_models(upstream: Upstream) -> None:
    """Wait for what a started provider is asked at once, its listing and its health: no call is cut off at the end."""
    async with asyncio.timeout(10):
        while len(upstream.headers) < 2:
            await asyncio.sleep(0.01)


async def chat(client: Client, model: str, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
    return await client.post(URL, json={"model": model, "messages": HELLO, **fields}, headers=headers)


def sent(upstream: Upstream) -> str | None:
    """The key of the last request with a body: the stack lists models whenever it likes."""
    return [headers for headers in upstream.headers if "Content-Type" in headers][-1].get("Authorization")


KEYS = {
    "cerebras": "cerebras_api_key",
    "databricks": "databricks_api_token",
    "fireworks": "fireworks_api_key",
    "groq": "groq_api_key",
    "llama-openai-compat": "llama_api_key",
    "nvidia": "nvidia_api_key",
    "openai": "openai_api_key",
    "runpod": "runpod_api_token",
    "sambanova": "sambanova_api_key",
    "together": "together_api_key",
    "vllm": "vllm_api_token",
    "azure": "azure_api_key",
    "gemini": "gemini_api_key",
    "passthrough": "passthrough_api_key",
    "vertexai": "vertex_access_token",
    "watsonx": "watsonx_api_key",
}


@pytest.mark.parametrize(("kind", "key"), KEYS.items())
def test_each_vendor_reads_its_key_under_the_name_that_clients_know(kind: str, key: str) -> None:
    assert key in load(specs(Api.inference)[f"remote::{kind}"]).reads()


def test_no_two_types_read_one_key_as_different_things() -> None:
    read: dict[str, Any] = {}
    for spec in specs(Api.inference).values():
        for name, kind in load(spec).reads().items():
            assert read.setdefault(name, kind) == kind


@pytest.mark.parametrize("name", [HEADER, "X-OGX-Provider-Data"])
async def test_a_key_of_the_request_goes_before_the_configured_one(
    client: Client, running: LlamaStack, name: str
) -> None:
    async with vendor(running, "groq", api_key="sk-ours") as upstream:
        await chat(client, "groq", {name: json.dumps({"groq_api_key": CANARY})})
        assert sent(upstream) == f"Bearer {CANARY}"
        await chat(client, "groq")
        assert sent(upstream) == "Bearer sk-ours"


async def test_a_stream_and_a_completion_carry_it_too(client: Client, running: LlamaStack) -> None:
    async with vendor(running, "groq") as upstream:
        answer = await chat(client, "groq", carrying(groq_api_key=CANARY), stream=True)
        assert events(answer.text)[-1] == "[DONE]"
        assert sent(upstream) == f"Bearer {CANARY}"
        body = {"model": "groq", "prompt": "Hi"}
        assert (
            await client.post("/v1/completions", json=body, headers=carrying(groq_api_key="two"))
        ).status_code == 200
        assert sent(upstream) == "Bearer two"


async def test_a_websocket_carries_it_too(running: LlamaStack) -> None:
    async with vendor(running, "groq") as upstream:
        header = (HEADER.lower().encode(), json.dumps({"groq_api_key": CANARY}).encode())
        async with socket("/ws/chat", header) as communicator:
            await communicator.send_json_to({"model": "groq", "messages": HELLO})
            assert (await messages(communicator))[-1] == "[DONE]"
        assert sent(upstream) == f"Bearer {CANARY}"


async def test_a_bad_header_is_told_on_a_websocket(running: LlamaStack) -> None:
    async with socket("/ws/chat", (HEADER.lower().encode(), b"[]")) as communicator:
        [refused] = await messages(communicator)
    assert refused["error"]["code"] == "invalid_provider_data"


async def test_nobody_else_gets_it(
    client: Client, running: LlamaStack, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not another vendor, no log, no table, no answer: also where the call fails."""
    caplog.set_level(logging.DEBUG)
    everything = carrying(groq_api_key=CANARY, unknown_key=CANARY, __test_id=CANARY)
    async with vendor(running, "groq") as groq, vendor(running, "together", api_key="sk-t") as together:
        answers = [await chat(client, "together", everything, store=True), await chat(client, "groq", everything)]
        await db(
            service.edit_model, Model(identifier="bad"), {"provider_id": "groq", "provider_model_id": "status-500"}
        )
        await running.live.refresh()
        answers += [await chat(client, "bad", everything), await chat(client, "nobody", everything)]
        answers.append(await client.get("/v1/models", headers=everything))
        answers.append(await client.get("/v1/providers", headers=everything))
    assert [answer.status_code for answer in answers] == [200, 200, 502, 404, 200, 200]
    assert CANARY in str(groq.headers)
    assert CANARY not in str(together.headers) + str(together.requests) + str(groq.requests)
    assert not [answer for answer in answers if CANARY in answer.text + str(answer.headers)]
    assert CANARY not in caplog.text + "".join(capfd.readouterr())
    assert await db(StoredCompletion.objects.count)
    assert CANARY not in await db(everything_stored)


@pytest.mark.parametrize(("home", "status"), [("status-500", 200), ("status-429", 200), ("status-401", 401)])
async def test_of_several_homes_each_gets_its_own_key_alone(
    client: Client, running: LlamaStack, home: str, status: int
) -> None:
    """And a key of the caller's that is refused is the caller's to mend: nobody else is asked, at another's cost."""
    everything = carrying(groq_api_key=CANARY, together_api_key="sk-mine")
    async with vendor(running, "groq") as groq, vendor(running, "together", api_key="sk-t") as together:
        homes = [{"provider_id": "groq", "provider_model_id": home}, {"provider_id": "together", "order": 1}]
        homes[1]["provider_model_id"] = "sky-1"
        await db(service.edit_model, Model(identifier="best"), {"homes": homes})
        await running.live.refresh()
        answer = await chat(client, "best", everything)
        assert answer.status_code == status, answer.text
        assert sent(groq) == f"Bearer {CANARY}"
        assert CANARY not in str(together.headers)
        if status == 200:
            assert sent(together) == "Bearer sk-mine"
            await chat(client, "best")
            assert sent(together) == "Bearer sk-t"


def everything_stored() -> str:
    with connection.cursor() as cursor:
        found = []
        for table in (model._meta.db_table for model in apps.get_models()):
            cursor.execute(f'SELECT * FROM "{table}"')
            found.append(str(cursor.fetchall()))
    return "".join(found)


@pytest.mark.parametrize(
    ("value", "param"),
    [
        ('{"groq_api_key": 5}', "groq_api_key"),
        ('{"groq_api_key": ["k"]}', "groq_api_key"),
        ('{"groq_api_key": "a", "groq_api_key": "b"}', "groq_api_key"),
        ('{"__user": "root"}', "__user"),
        ("[]", None),
        ("", None),
    ],
)
async def test_what_is_wrong_with_it_is_a_400_that_names_the_key(
    client: Client, running: LlamaStack, value: str, param: str | None
) -> None:
    async with vendor(running, "groq") as upstream:
        answer = await chat(client, "groq", {HEADER: value})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
        assert answer.json()["error"]["code"] == "invalid_provider_data"
        assert not upstream.requests


async def test_a_header_given_twice_is_a_400(client: Client, sky: Provider) -> None:
    twice = [(HEADER, '{"a": 1'), (HEADER, '"b": 2}')]
    answer = await client.post(URL, json={"model": "sky/sky-1", "messages": HELLO}, headers=twice)
    assert answer.status_code == 400
    both = carrying(a=1) | {"X-OGX-Provider-Data": "{}"}
    assert (await client.get("/v1/models", headers=both)).status_code == 400


async def test_a_wrong_value_for_another_vendor_hinders_nobody(client: Client, running: LlamaStack) -> None:
    async with vendor(running, "groq"):
        assert (await chat(client, "groq", carrying(later_key={"a": 1}, openai_api_key=5))).status_code == 200


async def test_who_brings_no_key_is_told_which_one_to_send(client: Client, running: LlamaStack) -> None:
    async with vendor(running, "groq", base_url="https://api.groq.com/openai/v1") as upstream:
        answer = await chat(client, "groq")
        told = answer.json()["error"]
        assert (answer.status_code, told["code"]) == (401, "no_provider_key")
        assert '{"groq_api_key": "…"}' in told["message"]
        assert "api_key in the provider's config" in told["message"]
        streamed = await chat(client, "groq", stream=True)
        assert streamed.status_code == 401
        assert not upstream.requests


async def test_such_a_provider_is_well_and_lists_nothing(client: Client, running: LlamaStack) -> None:
    row = await db(add_provider, "groq", "remote::groq")
    await running.live.refresh()
    with pytest.raises(AuthenticationError):
        await running.live.discover(row.pk)
    health = await running.live.check_health(row.pk)
    assert health.ok
    assert "groq_api_key" in health.message
    answer = (await client.get("/v1/providers/groq")).json()
    assert answer["health"]["status"] == "OK"


async def test_a_server_of_ones_own_needs_no_key(client: Client, running: LlamaStack) -> None:
    async with vendor(running, "openai") as upstream:
        assert (await chat(client, "openai")).status_code == 200
        assert sent(upstream) is None


async def test_a_proxy_key_among_the_network_headers_will_do(running: LlamaStack) -> None:
    provider_class = load(specs(Api.inference)["remote::openai"])
    config = {"network": {"headers": {"authorization": "Bearer x"}}}
    provider: Any = provider_class("one", provider_class.config_class.model_validate(config))
    await provider.start()
    assert not provider.lacks_key
    await provider.stop()


@pytest.mark.parametrize("stream", [False, True])
async def test_an_address_of_the_callers_leads_to_no_private_place(
    client: Client, running: LlamaStack, stream: bool
) -> None:
    kind, key = "vllm", "vllm_url"
    async with vendor(running, kind, api_key="sk-ours") as upstream, serving() as canary:
        port = canary.url.rpartition(":")[2]
        for address in (canary.url, f"http://localhost:{port}", "http://169.254.169.254/v1", "file:///etc/passwd"):
            answer = await chat(client, kind, carrying(**{key: address}), stream=stream)
            assert answer.status_code == 400, answer.text
            assert answer.json()["error"]["param"] == key
        assert (await chat(client, kind, carrying(**{key: ["http://a"]}), stream=stream)).status_code == 400
        assert not canary.headers
        assert not upstream.requests
        assert (await chat(client, kind, stream=stream)).status_code == 200


async def test_the_description_of_the_api_mentions_it(client: Client) -> None:
    schema = (await client.get("/openapi.json")).json()
    assert HEADER in schema["info"]["description"]
