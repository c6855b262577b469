"""Azure OpenAI, by its dated API and by v1."""

from typing import Any
from urllib.parse import parse_qs

import pytest
from pydantic import ValidationError

from apps.inference.providers.remote.azure import Azure, AzureConfig
from llamastack.egress import Egress, Timeouts
from llamastack.egress.addresses import Allowed
from llamastack.egress.guard import Guard, GuardedTransport
from llamastack.errors import BadRequest, UpstreamError, UpstreamRejected
from tests.unit.inference.scripted import (
    CALL,
    Line,
    Status,
    Stream,
    chat,
    chunk,
    embedding,
    heard,
    said,
    scripted,
    started,
    with_data,
)

DATED = "2024-10-21"
CHAT = f"POST /openai/deployments/sky/chat/completions?api-version={DATED}"
V1_CHAT = "POST /openai/v1/chat/completions"
TOKEN = "POST /contoso/oauth2/v2.0/token"
ENTRA = {"api_key": None, "tenant_id": "contoso", "client_id": "app", "client_secret": "s3cret"}
FILTERED = {"hate": {"filtered": False}, "violence": {"filtered": True, "severity": "high"}, "x": None}


class OnLoopback(Azure):
    """Callers may name this machine, where the tests' servers are."""

    def named(self, url: str) -> Egress:
        egress = Egress(url, self.upstream)
        egress.transport = GuardedTransport(Timeouts(), Guard(Allowed.of(["127.0.0.1"])))
        return egress


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
            with pytest.raises(UpstreamRejected, match=r"400: filtered Filtered for: hate\.$") as refused:
                await provider.post_chat_completion(CALL, chat())
            with pytest.raises(UpstreamRejected, match="filtered"):
                await heard(await provider.post_chat_completion(CALL, chat(stream=True)))
    assert (refused.value.status, refused.value.code, refused.value.param) == (400, "content_filter", "prompt")


@pytest.mark.parametrize("inner", [None, "x", {"content_filter_result": ["x"]}, {"content_filter_result": {"a": 1}}])
async def test_a_refusal_that_names_no_category_says_what_azure_says(inner: Any) -> None:
    error = {"message": "filtered", "code": "content_filter", "innererror": inner}
    async with scripted({CHAT: Status(400, {"error": error})}) as vendor:
        async with started(azure(base_url=vendor.url, api_version=DATED)) as provider:
            with pytest.raises(UpstreamRejected, match=r"filtered$"):
                await provider.post_chat_completion(CALL, chat())


async def test_an_answer_that_the_filter_cuts_off_says_so_as_a_refusal() -> None:
    choice = {"index": 0, "message": {"role": "assistant"}, "finish_reason": "content_filter"}
    script: dict[str, Line] = {CHAT: said(choices=[choice | {"content_filter_results": FILTERED}])}
    async with scripted(script) as vendor:
        async with started(azure(base_url=vendor.url, api_version=DATED)) as provider:
            reply = await provider.post_chat_completion(CALL, chat())
            ended = chunk(finish="content_filter")
            ended["choices"][0]["content_filter_results"] = FILTERED
            script[CHAT] = Stream([chunk("Bl"), ended])
            chunks = [each async for each in await provider.post_chat_completion(CALL, chat(stream=True))]
            script[CHAT] = said(choices=[choice | {"content_filter_results": {}}])
            silent = await provider.post_chat_completion(CALL, chat())
    told = "Azure's content filter cut the answer off: violence."
    assert (reply.choices[0].finish_reason, reply.choices[0].message.refusal) == ("content_filter", told)
    last = chunks[-1].choices[0]
    assert (last.finish_reason, last.delta.model_dump()["refusal"]) == ("content_filter", told)
    assert "does not say why" in str(silent.choices[0].message.refusal)


async def test_a_caller_may_bring_a_resource_with_a_key_for_it() -> None:
    data = {"azure_api_key": "theirs", "azure_api_version": DATED, "azure_api_type": "azure_ad"}
    async with scripted({CHAT: Stream([chunk("Blue."), chunk(finish="stop")])}) as theirs, scripted({}) as ours:
        async with started(OnLoopback("azure", azure(base_url=ours.url).config)) as provider:
            call = with_data(azure_api_base=f"{theirs.url}/openai/", **data)
            assert await heard(await provider.post_chat_completion(call, chat(stream=True))) == "Blue."
    assert ours.asked == []
    assert theirs.asked[0].headers["Authorization"] == "Bearer theirs"
    assert "api-key" not in theirs.asked[0].headers


async def test_a_callers_version_is_asked_for_at_the_configured_resource() -> None:
    async with scripted({CHAT: said(), V1_CHAT: said()}) as vendor:
        async with started(azure(base_url=vendor.url)) as provider:
            await provider.post_chat_completion(with_data(azure_api_version=DATED), chat())
            await provider.post_chat_completion(CALL, chat())
    assert [asked.line for asked in vendor.asked] == [CHAT, V1_CHAT]


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"azure_api_base": "https://their.openai.azure.com"}, "azure_api_base"),
        ({"azure_api_base": "http://127.0.0.1:9", "azure_api_key": "k"}, "azure_api_base"),
        ({"azure_api_base": "https://x/openai/deployments/sky", "azure_api_key": "k"}, "azure_api_base"),
        ({"azure_api_version": "october"}, "azure_api_version"),
        ({"azure_api_type": "openai"}, "azure_api_type"),
    ],
)
async def test_what_a_caller_may_not_name_is_refused_by_its_name(data: dict[str, str], field: str) -> None:
    async with scripted({}) as vendor:
        async with started(azure(base_url=vendor.url)) as provider:
            with pytest.raises(BadRequest) as refused:
                await provider.post_chat_completion(with_data(**data), chat())
    assert refused.value.param == field
    assert vendor.asked == []


async def test_entra_id_issues_a_token_for_the_applications_secret() -> None:
    script: dict[str, Line] = {
        TOKEN: {"token_type": "Bearer", "expires_in": 3599, "access_token": "eyJ0"},
        V1_CHAT: said(),
        "GET /openai/v1/models": {"data": []},
    }
    async with scripted(script) as server:
        async with started(azure(base_url=server.url, authority_host=server.url, **ENTRA)) as provider:
            await provider.post_chat_completion(CALL, chat())
            assert (await provider.health()).ok
            await provider.post_chat_completion(with_data(azure_api_key="theirs"), chat())
    issued, first, health, last = server.asked
    assert parse_qs(issued.body) == {
        "grant_type": ["client_credentials"],
        "client_id": ["app"],
        "client_secret": ["s3cret"],
        "scope": ["https://cognitiveservices.azure.com/.default"],
    }
    assert {asked.headers["Authorization"] for asked in (first, health)} == {"Bearer eyJ0"}
    assert last.headers["api-key"] == "theirs"
    assert "Authorization" not in last.headers


async def test_a_secret_that_entra_id_refuses_is_not_the_callers_fault() -> None:
    error = {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided."}
    async with scripted({TOKEN: Status(401, error)}) as server:
        async with started(azure(base_url=server.url, authority_host=server.url, **ENTRA)) as provider:
            with pytest.raises(UpstreamError, match="No access token was issued") as refused:
                await provider.post_chat_completion(CALL, chat())
            health = await provider.health()
    assert refused.value.status == 502
    assert not health.ok
    assert "s3cret" not in refused.value.message


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
        ({"base_url": "https://a", "tenant_id": "contoso", "client_id": "app"}, "belong together"),
        ({"base_url": "https://a", "tenant_id": "a/b"}, "tenant_id"),
        ({"base_url": "https://a", "authority_host": "login.microsoftonline.com"}, "no address of a server"),
        ({"base_url": "https://a", "api_key": "k"} | {k: v for k, v in ENTRA.items() if v}, "and not both"),
    ],
)
def test_a_config_that_cannot_work_says_why(config: dict[str, str], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        AzureConfig.model_validate(config)
