"""IBM's watsonx.ai: its chats, completions, embeddings and rankings, and the tokens that it asks for."""

import base64
import struct
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from pydantic import ValidationError

from apps.inference.providers.remote.watsonx import WatsonX
from apps.inference.providers.remote.watsonx.provider import VERSION, WatsonXConfig
from apps.inference.schemas import ChatCompletionRequest, CompletionRequest, RerankRequest
from llamastack.egress import Egress
from llamastack.errors import (
    AuthenticationError,
    BadRequest,
    UnsupportedParameter,
    UpstreamError,
    UpstreamRejected,
)
from tests.conformance.vendors.vendor import CHAT as CHAT_OPERATION
from tests.conformance.vendors.watsonx import WATSONX
from tests.conversations import meaning, requests
from tests.unit.inference.scripted import (
    CALL,
    Line,
    Status,
    Stream,
    Vendor,
    chat,
    chunk,
    embedding,
    heard,
    rerouted,
    said,
    scripted,
    started,
    with_data,
)

HOST = "/us-south.ml.cloud.ibm.com"
IAM = "POST /iam.cloud.ibm.com/identity/token"
TOKEN = {"access_token": "eyJ0", "expires_in": 3600, "token_type": "Bearer", "refresh_token": "not_supported"}
CHAT, CHAT_STREAM, GENERATION, GENERATION_STREAM, EMBEDDINGS, RERANK = (
    f"POST {HOST}/ml/v1/text/{name}?version={VERSION}"
    for name in ("chat", "chat_stream", "generation", "generation_stream", "embeddings", "rerank")
)
SPECS = f"GET {HOST}/ml/v1/foundation_model_specs?version={VERSION}&limit=200"
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
OTHER = {"type": "function", "function": {"name": "hear", "parameters": {"type": "object"}}}


class OnPaper(WatsonX):
    vendor: Vendor

    def new_egress(self, base_url: str, headers: Mapping[str, str] | None = None) -> Egress:
        return rerouted(super().new_egress(base_url, headers), self.vendor)


def watsonx(vendor: Vendor, **config: Any) -> OnPaper:
    whole = {"api_key": "ours", "project_id": "p1", **config}
    provider = OnPaper("watsonx", WatsonXConfig.model_validate(whole))
    provider.vendor = vendor
    return provider


def prompt(**fields: Any) -> CompletionRequest:
    return CompletionRequest.model_validate({"model": "sky", "prompt": "The sky", **fields})


def bodied(request: ChatCompletionRequest, **config: Any) -> dict[str, Any]:
    """What a chat is translated into, without the model and the project."""
    provider = WatsonX("watsonx", WatsonXConfig.model_validate({"project_id": "p1", **config}))
    body: dict[str, Any] = provider.translated(request).body
    return {name: value for name, value in body.items() if name not in ("model_id", "project_id", "messages")}


@given(requests(without=("user", "parallel_tool_calls")))
def test_a_conversation_there_and_back_keeps_its_meaning(asked: dict[str, Any]) -> None:
    sent = (
        WatsonX("watsonx", WatsonXConfig(project_id="p1")).translated(ChatCompletionRequest.model_validate(asked)).body
    )
    assert meaning(WATSONX.question(CHAT_OPERATION, sent)) == meaning(asked)


async def test_a_chat_has_the_model_the_project_and_a_token_for_the_key() -> None:
    async with scripted({IAM: TOKEN, CHAT: said()}) as vendor, started(watsonx(vendor)) as provider:
        reply = await provider.post_chat_completion(CALL, chat(temperature=0.5, stop="x", user=None))
        await provider.post_chat_completion(CALL, chat())
    issued, first, second = vendor.asked
    grant = {"grant_type": ["urn:ibm:params:oauth:grant-type:apikey"], "apikey": ["ours"]}
    assert parse_qs(issued.body) == grant
    assert "Authorization" not in issued.headers
    assert first.body == {
        "model_id": "sky",
        "project_id": "p1",
        "messages": [{"role": "user", "content": "Hi"}],
        "temperature": 0.5,
        "stop": ["x"],
    }
    assert first.headers["Authorization"] == second.headers["Authorization"] == "Bearer eyJ0"
    assert reply.choices[0].message.content == "Blue."


async def test_a_stream_goes_to_a_path_of_its_own_and_ends_in_its_usage() -> None:
    """Events from https://github.com/IBM/watsonx-ai-java-sdk, ChatServiceStreamingTest.java."""
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": ""}}
    more = {"index": 0, "function": {"name": "", "arguments": "{}"}}
    own = {"model_id": "sky", "created_at": "2025-06-12T21:45:35.150Z", "system": {"warnings": []}}

    def calling(part: dict[str, Any], finish: str | None) -> dict[str, Any]:
        return chunk(**own, choices=[{"index": 0, "delta": {"tool_calls": [part]}, "finish_reason": finish}])

    events = [
        chunk("", **own),
        calling(call, None),
        calling(more, "tool_calls"),
        chunk(**own, choices=[], usage={"completion_tokens": 49, "prompt_tokens": 319, "total_tokens": 368}),
    ]
    asked = chat(stream=True, stream_options={"include_usage": True}, tools=[TOOL])
    async with scripted({IAM: TOKEN, CHAT_STREAM: Stream(events, done=False)}) as vendor:
        async with started(watsonx(vendor)) as provider:
            *chunks, last = [each async for each in await provider.post_chat_completion(CALL, asked)]
    calls = [one for each in chunks for choice in each.choices for one in choice.delta.tool_calls or ()]
    assert [(one.function.name, one.function.arguments) for one in calls] == [("look", ""), (None, "{}")]
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    assert (last.choices, last.usage and last.usage.total_tokens) == ([], 368)
    assert vendor.asked[1].body.keys() == {"model_id", "project_id", "messages", "tools"}


async def test_a_stream_without_its_end_is_broken() -> None:
    errors = {"errors": [{"code": "internal", "message": "It ran out of memory."}], "trace": "t"}
    script: dict[str, Line] = {IAM: TOKEN, CHAT_STREAM: Stream([chunk("Bl")], done=False)}
    async with scripted(script) as vendor, started(watsonx(vendor)) as provider:
        with pytest.raises(UpstreamError, match="ended before the answer did"):
            await heard(await provider.post_chat_completion(CALL, chat(stream=True)))
        script[CHAT_STREAM] = Stream([chunk("Bl"), errors], done=False)
        with pytest.raises(UpstreamError, match="ran out of memory"):
            await heard(await provider.post_chat_completion(CALL, chat(stream=True)))


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"tool_choice": "required"}, {"tools": [TOOL, OTHER], "tool_choice_option": "required"}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "look"}}},
            {"tools": [TOOL, OTHER], "tool_choice": {"type": "function", "function": {"name": "look"}}},
        ),
        (
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "hear"}}]},
                }
            },
            {"tools": [OTHER], "tool_choice_option": "auto"},
        ),
        ({"parallel_tool_calls": True}, {"tools": [TOOL, OTHER]}),
    ],
)
def test_a_choice_of_tools_has_its_name_there(fields: dict[str, Any], sent: dict[str, Any]) -> None:
    assert bodied(chat(tools=[TOOL, OTHER], **fields)) == sent


def test_fields_that_ibm_names_go_as_they_are() -> None:
    fields = {"time_limit": 60_000, "reasoning_effort": "low", "n": 2, "logprobs": True, "top_logprobs": 3}
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    assert bodied(chat(**fields, response_format=schema)) == fields | {"response_format": schema}


def test_messages_are_openais_but_for_a_developers_and_a_refusal() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    turns = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [image]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}], "name": None},
    ]
    provider = WatsonX("watsonx", WatsonXConfig(project_id="p1"))
    assert provider.translated(chat(messages=turns)).body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [image]},
        {"role": "assistant", "content": [{"type": "text", "text": "No."}]},
    ]


REFUSED = [
    ({"parallel_tool_calls": False}, "parallel_tool_calls"),
    ({"service_tier": "flex"}, "service_tier"),
    ({"response_format": {"type": "regex", "regex": "x"}}, "response_format"),
    ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0].type"),
    ({"tools": [{"type": "function", "function": {"name": "look", "strict": True}}]}, "tools[0].function.strict"),
]


@pytest.mark.parametrize(("fields", "name"), REFUSED)
def test_what_it_cannot_express_is_refused_by_name_or_left_out_where_the_config_says_so(
    fields: dict[str, Any], name: str
) -> None:
    with pytest.raises(UnsupportedParameter, match="'watsonx'") as refused:
        bodied(chat(**fields))
    assert refused.value.param == name
    left = bodied(chat(**fields), drop_unsupported=True)
    assert left in ({}, {"tools": [{"type": "function", "function": {"name": "look"}}]})


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ({"role": "function", "name": "look", "content": "x"}, "messages[0].role"),
        ({"role": "user", "content": [{"type": "file", "file": {}}]}, "messages[0].content[0]"),
    ],
)
def test_what_it_cannot_read_of_a_conversation_is_never_left_out(message: dict[str, Any], name: str) -> None:
    with pytest.raises(UnsupportedParameter) as refused:
        bodied(chat(messages=[message]), drop_unsupported=True)
    assert refused.value.param == name


async def test_a_deployment_has_its_model_and_its_project_itself() -> None:
    line = f"POST {HOST}/ml/v1/deployments/a1%2F/text/chat?version={VERSION}"
    async with scripted({IAM: TOKEN, line: said()}) as vendor, started(watsonx(vendor)) as provider:
        await provider.post_chat_completion(CALL, chat(model="deployment/a1/"))
    assert vendor.asked[1].body.keys() == {"messages"}


async def test_a_space_may_be_charged_in_place_of_a_project() -> None:
    async with scripted({IAM: TOKEN, CHAT: said()}) as vendor:
        async with started(watsonx(vendor, project_id=None, space_id="s1")) as provider:
            await provider.post_chat_completion(CALL, chat())
    assert vendor.asked[1].body.keys() == {"model_id", "space_id", "messages"}


async def test_a_caller_may_bring_a_key_and_a_project() -> None:
    data = {"watsonx_api_key": "theirs", "watsonx_project_id": "p2"}
    async with scripted({IAM: TOKEN, CHAT: said()}) as vendor:
        async with started(watsonx(vendor, api_key=None)) as provider:
            await provider.post_chat_completion(with_data(**data), chat())
            with pytest.raises(AuthenticationError, match="watsonx_api_key"):
                await provider.post_embedding(CALL, embedding())
            assert (await provider.health()).ok
    assert parse_qs(vendor.asked[0].body)["apikey"] == ["theirs"]
    assert vendor.asked[1].body["project_id"] == "p2"


@pytest.mark.parametrize(
    ("data", "config"),
    [
        ({"watsonx_project_id": "p2"}, {}),
        ({"watsonx_project_id": "p/2", "watsonx_api_key": "k"}, {}),
        ({}, {"project_id": None}),
    ],
)
async def test_without_a_project_that_may_be_charged_nothing_is_asked(
    data: dict[str, str], config: dict[str, Any]
) -> None:
    async with scripted({}) as vendor, started(watsonx(vendor, **config)) as provider:
        with pytest.raises(BadRequest) as refused:
            await provider.post_chat_completion(with_data(**data), chat())
    assert refused.value.param == "watsonx_project_id"
    assert vendor.asked == []


async def test_a_key_that_ibm_does_not_know_is_told_to_whose_it_is() -> None:
    unknown = Status(400, {"errorCode": "BXNIM0415E", "errorMessage": "Provided API key could not be found."})
    async with scripted({IAM: unknown}) as vendor, started(watsonx(vendor)) as provider:
        with pytest.raises(UpstreamRejected, match="could not be found") as theirs:
            await provider.post_chat_completion(with_data(watsonx_api_key="theirs"), chat())
        with pytest.raises(UpstreamError, match=r"No access token was issued: .*could not be found") as ours:
            await provider.post_chat_completion(CALL, chat())
        assert not (await provider.health()).ok
    assert (theirs.value.status, ours.value.status) == (400, 502)


async def test_a_cloud_paks_key_goes_with_each_request() -> None:
    async with scripted({"POST /cpd.example.com" + CHAT.removeprefix(f"POST {HOST}"): said()}) as vendor:
        async with started(watsonx(vendor, base_url="https://cpd.example.com/", username="admin")) as provider:
            await provider.post_chat_completion(CALL, chat())
            await provider.post_chat_completion(with_data(watsonx_api_key="theirs"), chat())
    keys = [asked.headers["Authorization"].removeprefix("ZenApiKey ") for asked in vendor.asked]
    assert [base64.b64decode(key) for key in keys] == [b"admin:ours", b"admin:theirs"]


async def test_an_error_of_its_own_keeps_its_code() -> None:
    error = {"code": "model_not_supported", "message": "Model 'sky' is not supported"}
    async with scripted({IAM: TOKEN, CHAT: Status(404, {"errors": [error], "trace": "t"})}) as vendor:
        async with started(watsonx(vendor)) as provider:
            with pytest.raises(UpstreamRejected, match="Model 'sky' is not supported") as refused:
                await provider.post_chat_completion(CALL, chat())
    assert (refused.value.status, refused.value.code) == (404, "model_not_supported")


async def test_an_answer_that_ibm_cut_off_is_no_whole_one() -> None:
    cut = {"index": 0, "message": {"role": "assistant", "content": "Bl"}, "finish_reason": "time_limit"}
    events = [chunk("Bl"), chunk(finish="time_limit")]
    script: dict[str, Line] = {IAM: TOKEN, CHAT: said(choices=[cut]), CHAT_STREAM: Stream(events, done=False)}
    async with scripted(script) as vendor, started(watsonx(vendor)) as provider:
        whole = await provider.post_chat_completion(CALL, chat())
        streamed = [each async for each in await provider.post_chat_completion(CALL, chat(stream=True))]
    assert whole.choices[0].finish_reason == "length"
    assert [choice.finish_reason for each in streamed for choice in each.choices][-1] == "length"


async def test_an_answer_that_was_cancelled_is_a_bad_gateway() -> None:
    left = {"index": 0, "message": {"role": "assistant", "content": "Bl"}, "finish_reason": "cancelled"}
    async with scripted({IAM: TOKEN, CHAT: said(choices=[left])}) as vendor, started(watsonx(vendor)) as provider:
        with pytest.raises(UpstreamError, match="broke off its answer"):
            await provider.post_chat_completion(CALL, chat())


async def test_a_token_server_that_repeats_the_key_does_not_tell_it() -> None:
    echo = Status(400, {"errorMessage": "not found: apikey=canary-of-ibm%2F1 canary-of-ibm/1"})
    async with scripted({IAM: echo}) as vendor, started(watsonx(vendor, api_key="canary-of-ibm/1")) as provider:
        with pytest.raises(UpstreamError) as told:
            await provider.post_chat_completion(CALL, chat())
        health = await provider.health()
    assert "not found" in told.value.message
    assert not [said for said in (told.value.message, health.message) if "canary" in said]


def generated(text: str, reason: str, prompt: int = 0, tokens: int = 0) -> dict[str, Any]:
    counted = {"input_token_count": prompt, "generated_token_count": tokens}
    result = {"generated_text": text, "stop_reason": reason, **counted}
    return {"model_id": "sky", "created_at": "2025-06-24T15:30:13.500Z", "results": [result]}


async def test_a_completion_is_generated_as_openai_would() -> None:
    script = {IAM: TOKEN, GENERATION: generated("Blue.", "token_limit", 5, 4)}
    async with scripted(script) as vendor, started(watsonx(vendor)) as provider:
        reply = await provider.post_completion(CALL, prompt(stop="x", seed=7, top_p=0.5, top_k=3, n=1, echo=False))
        await provider.post_completion(CALL, prompt(prompt=["The sky"], temperature=0, top_p=0.5, max_tokens=3))
    choice = reply.choices[0]
    assert (choice.text, choice.finish_reason) == ("Blue.", "length")
    assert reply.created == 1750779013
    assert reply.usage.model_dump() == {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
    assert vendor.asked[1].body == {
        "model_id": "sky",
        "project_id": "p1",
        "input": "The sky",
        "parameters": {
            "decoding_method": "sample",
            "include_stop_sequence": False,
            "max_new_tokens": 16,
            "random_seed": 7,
            "stop_sequences": ["x"],
            "top_k": 3,
            "top_p": 0.5,
        },
    }
    assert vendor.asked[2].body["parameters"] == {"decoding_method": "greedy", "max_new_tokens": 3}


async def test_a_streamed_completion_counts_its_tokens_up() -> None:
    events = [
        generated("", "not_finished", 68),
        generated("Bl", "not_finished", 0, 1),
        generated("ue.", "eos_token", 0, 2),
    ]
    script: dict[str, Line] = {IAM: TOKEN, GENERATION_STREAM: Stream(events, done=False)}
    asked = prompt(stream=True, stream_options={"include_usage": True})
    async with scripted(script) as vendor, started(watsonx(vendor)) as provider:
        *chunks, last = [each async for each in await provider.post_completion(CALL, asked)]
        script[GENERATION_STREAM] = Stream(events[:-1], done=False)
        with pytest.raises(UpstreamError, match="ended before the answer did"):
            [each async for each in await provider.post_completion(CALL, asked)]
        script[GENERATION_STREAM] = Stream([generated("", "cancelled")], done=False)
        with pytest.raises(UpstreamError, match="broke off its answer"):
            [each async for each in await provider.post_completion(CALL, asked)]
    assert "".join(each.choices[0].text for each in chunks) == "Blue."
    assert [each.choices[0].finish_reason for each in chunks] == [None, None, "stop"]
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (68, 2)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"n": 2}, "n"),
        ({"echo": True}, "echo"),
        ({"logprobs": 1}, "logprobs"),
        ({"suffix": "x"}, "suffix"),
        ({"frequency_penalty": 1.0}, "frequency_penalty"),
    ],
)
async def test_what_a_completion_cannot_have_is_refused_by_name(fields: dict[str, Any], name: str) -> None:
    async with scripted({}) as vendor, started(watsonx(vendor)) as provider:
        with pytest.raises(UnsupportedParameter) as refused:
            await provider.post_completion(CALL, prompt(**fields))
    assert refused.value.param == name


@pytest.mark.parametrize(
    "answer",
    [
        {"results": "x"},
        {"results": [1]},
        {"results": [{"generated_text": "x", "stop_reason": 1}]},
        {"results": [{"generated_text": "x", "input_token_count": "x"}]},
        {"model_id": "x"},
    ],
)
async def test_a_completion_that_is_none_is_a_bad_gateway(answer: Any) -> None:
    async with scripted({IAM: TOKEN, GENERATION: answer}) as vendor, started(watsonx(vendor)) as provider:
        with pytest.raises(UpstreamError, match="'watsonx'"):
            await provider.post_completion(CALL, prompt())


async def test_texts_are_embedded_in_their_order() -> None:
    answer = {"model_id": "sky", "results": [{"embedding": [0.5]}, {"embedding": [1]}], "input_token_count": 7}
    asked = embedding(input=["a", "b"], encoding_format="base64", truncate_input_tokens=512)
    async with scripted({IAM: TOKEN, EMBEDDINGS: answer}) as vendor, started(watsonx(vendor)) as provider:
        reply = await provider.post_embedding(CALL, asked)
        with pytest.raises(UnsupportedParameter, match="dimensions"):
            await provider.post_embedding(CALL, embedding(dimensions=3))
        with pytest.raises(UnsupportedParameter, match="input"):
            await provider.post_embedding(CALL, embedding(input=[1, 2]))
        with pytest.raises(UpstreamError, match="another number of texts"):
            await provider.post_embedding(CALL, embedding())
    assert [struct.unpack("<f", base64.b64decode(one.embedding)) for one in reply.data] == [(0.5,), (1.0,)]
    assert reply.usage.total_tokens == 7
    body = {"model_id": "sky", "project_id": "p1", "inputs": ["a", "b"], "parameters": {"truncate_input_tokens": 512}}
    assert vendor.asked[1].body == body


@pytest.mark.parametrize("answer", [{"results": {}}, {"results": [1]}, {"results": [{"embedding": "x"}]}, {}])
async def test_embeddings_that_are_none_are_a_bad_gateway(answer: Any) -> None:
    async with scripted({IAM: TOKEN, EMBEDDINGS: answer}) as vendor, started(watsonx(vendor)) as provider:
        with pytest.raises(UpstreamError, match="'watsonx'"):
            await provider.post_embedding(CALL, embedding())


async def test_items_are_ranked() -> None:
    answer = {"results": [{"index": 0, "score": -1.5}, {"index": 1, "score": 0.25}], "input_token_count": 9}
    asked = {"model": "sky", "query": "sky", "items": ["cats", "blue"], "max_num_results": 5}
    async with scripted({IAM: TOKEN, RERANK: answer}) as vendor, started(watsonx(vendor)) as provider:
        reply = await provider.rerank(CALL, RerankRequest.model_validate(asked))
    assert [(one.index, one.relevance_score) for one in reply.data] == [(1, 0.25), (0, -1.5)]
    assert vendor.asked[1].body["inputs"] == [{"text": "cats"}, {"text": "blue"}]
    assert vendor.asked[1].body["parameters"] == {"return_options": {"top_n": 2}}


async def test_its_models_are_listed_page_by_page_with_their_types() -> None:
    def model(name: str, *functions: str, **more: Any) -> dict[str, Any]:
        return {"model_id": name, "functions": [{"id": each} for each in functions], **more}

    first = [
        model("ibm/granite", "text_generation", "text_chat", model_limits={"max_sequence_length": 131072}),
        model("ibm/slate", "embedding", model_limits={"max_sequence_length": 512, "embedding_dimension": 768}),
        model("ibm/ttm", "time_series_forecast"),
    ]
    second = [
        model("ms-marco", "rerank"),
        model("old", "text_chat", lifecycle=[{"id": "withdrawn", "start_date": "2024-01-01"}]),
        model("leaving", "text_chat", lifecycle=[{"id": "withdrawn", "start_date": "9999-01-01"}], model_limits="x"),
    ]
    href = f"https://us-south.ml.cloud.ibm.com/ml/v1/foundation_model_specs?limit=200&start=g1AA%2B&version={VERSION}"
    script: dict[str, Line] = {
        IAM: TOKEN,
        SPECS: {"resources": first, "next": {"href": href}},
        f"{SPECS}&start=g1AA%2B": {"resources": second},
    }
    async with scripted(script) as vendor, started(watsonx(vendor)) as provider:
        models = await provider.get_models(CALL)
        script[SPECS] = {"resources": "x"}
        with pytest.raises(UpstreamError, match="not a list"):
            await provider.get_models(CALL)
    assert [(one.provider_model_id, one.model_type, dict(one.metadata)) for one in models] == [
        ("ibm/granite", "llm", {"context_length": 131072}),
        ("ibm/slate", "embedding", {"context_length": 512, "embedding_dimension": 768}),
        ("ms-marco", "rerank", {}),
        ("leaving", "llm", {}),
    ]


async def test_an_older_names_time_is_the_networks() -> None:
    async with scripted({}) as vendor:
        async with started(watsonx(vendor, timeout=7)) as provider:
            assert provider.egress.timeouts.total == 7
        async with started(watsonx(vendor, timeout=7, network={"timeout": {"read": 9}})) as provider:
            assert provider.egress.timeouts.total == 9


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"project_id": "p", "space_id": "s"}, "and not both"),
        ({"project_id": "a/b"}, "project_id"),
        ({"url": "x"}, "no address"),
        ({"iam_url": "iam.cloud.ibm.com"}, "no address"),
        ({"timeout": 0}, "timeout"),
    ],
)
def test_a_config_that_cannot_work_says_why(config: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        WatsonXConfig.model_validate(config)
