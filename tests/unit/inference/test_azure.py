"""Azure OpenAI, by its dated API and by v1."""

from typing import Any

import pytest
from pydantic import ValidationError

from apps.inference.providers.remote.azure import Azure, AzureConfig
from llamastack.errors import UpstreamRejected
from tests.unit.inference.scripted import CALL, Status, Stream, chat, chunk, embedding, heard, said, scripted, started

DATED = "2024-10-21"
CHAT = f"POST /openai/deployments/sky/chat/completions?api-version={DATED}"
V1_CHAT = "POST /openai/v1/chat/completions"


def azure(**config: Any) -> Azure:
    return Azure("azure", AzureConfig.model_validate({"api_key": "key", **config}))


@pytest.mark.parametrize(
    ("address", "version", "line"),
    [
        ("", DATED, CHAT),
        ("/openai/", DATED, CHAT),
        ("", "2025-01-01-preview", CHAT.replace(DATED, "2025-01-01-preview")),
        ("", None, V1_CHAT),
        ("", "preview", f"{V1_CHAT}?api-version=preview"),
        ("/openai/v1/", None, V1_CHAT),
        ("/openai/v1", DATED, V1_CHAT),
    ],
)
async def test_a_date_asks_for_the_dated_api_unless_the_address_is_that_of_v1(
    address: str, version: str | None, line: str
) -> None:
    async with scripted({line: said()}) as vendor:
        config = {"api_base": vendor.url + address, "api_version": version}
        async with started(azure(**config)) as provider:
            reply = await provider.post_chat_completion(CALL, chat())
    assert reply.choices[0].message.content == "Blue."
    assert vendor.asked[0].headers["api-key"] == "key"
    assert "Authorization" not in vendor.asked[0].headers


async def test_a_deployments_name_is_one_part_of_the_path() -> None:
    line = f"POST /openai/deployments/a%2Fb%3F/embeddings?api-version={DATED}"
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    data = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
    async with scripted({line: {"object": "list", "data": data, "model": "x", "usage": usage}}) as vendor:
        async with started(azure(base_url=vendor.url, api_version=DATED)) as provider:
            reply = await provider.post_embedding(CALL, embedding(model="a/b?"))
    assert reply.data[0].embedding == [0.5]


async def test_a_token_of_entra_id_is_a_bearer() -> None:
    async with scripted({CHAT: said()}) as vendor:
        async with started(azure(base_url=vendor.url, api_version=DATED, api_type="azure_ad")) as provider:
            await provider.post_chat_completion(CALL, chat())
    assert vendor.asked[0].headers["Authorization"] == "Bearer key"
    assert "api-key" not in vendor.asked[0].headers


async def test_what_the_content_filter_tells_in_a_stream_passes() -> None:
    """Events from https://learn.microsoft.com/azure/ai-foundry/openai/concepts/content-streaming."""
    nameless = {"id": "", "object": "", "created": 0, "model": ""}
    prompt = [{"prompt_index": 0, "content_filter_results": {"hate": {"filtered": False, "severity": "safe"}}}]
    offsets = {"check_offset": 44, "start_offset": 44, "end_offset": 198}
    annotation = {"index": 0, "finish_reason": None, "content_filter_offsets": offsets}
    events = [
        nameless | {"choices": [], "prompt_filter_results": prompt},
        chunk("Bl"),
        nameless | {"choices": [annotation], "usage": None},
        chunk("ue."),
        chunk(finish="stop"),
    ]
    async with scripted({CHAT: Stream(events)}) as vendor:
        async with started(azure(base_url=vendor.url, api_version=DATED)) as provider:
            chunks = [each async for each in await provider.post_chat_completion(CALL, chat(stream=True))]
    assert "".join(choice.delta.content or "" for each in chunks for choice in each.choices) == "Blue."
    told = "".join(each.model_dump_json() for each in chunks)
    assert "prompt_filter_results" in told
    assert "content_filter_offsets" in told


async def test_a_prompt_that_the_filter_refuses_is_a_400_with_its_code() -> None:
    inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"hate": {"filtered": True}}}
    error = {"message": "filtered", "type": None, "param": "prompt", "code": "content_filter", "innererror": inner}
    async with scripted({CHAT: Status(400, {"error": error})}) as vendor:
        async with started(azure(base_url=vendor.url, api_version=DATED)) as provider:
            with pytest.raises(UpstreamRejected, match="filtered") as refused:
                await provider.post_chat_completion(CALL, chat())
            with pytest.raises(UpstreamRejected, match="filtered"):
                await heard(await provider.post_chat_completion(CALL, chat(stream=True)))
    assert (refused.value.status, refused.value.code, refused.value.param) == (400, "content_filter", "prompt")


async def test_its_models_are_the_deployments_that_are_named() -> None:
    names = ["gpt-4o", "text-embedding-3-small"]
    async with scripted({f"GET /openai/models?api-version={DATED}": {"data": [{"id": "gpt-4o-2024-11-20"}]}}) as vendor:
        async with started(azure(base_url=vendor.url, api_version=DATED, allowed_models=names)) as provider:
            chats, embeds = await provider.get_models(CALL)
            assert vendor.asked == []
            assert (await provider.health()).ok
    assert (chats.provider_model_id, chats.model_type) == ("gpt-4o", "llm")
    assert (embeds.model_type, embeds.metadata) == ("embedding", {"embedding_dimension": 1536})


async def test_without_names_no_model_is_offered() -> None:
    assert await azure(base_url="http://127.0.0.1:1").get_models(CALL) == []


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({}, "base_url"),
        ({"base_url": "https://x.openai.azure.com/openai/deployments/sky"}, "the resource's address alone"),
        ({"base_url": "https://a", "api_base": "https://b"}, "names of one setting"),
        ({"base_url": "https://a", "api_version": "october"}, "must be a date"),
        ({"base_url": "https://a", "api_type": "openai"}, "azure_ad"),
    ],
)
def test_a_config_that_cannot_work_says_why(config: dict[str, str], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        AzureConfig.model_validate(config)
