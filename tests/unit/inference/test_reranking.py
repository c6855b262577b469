"""Reranking as each provider asks for it, and what it makes of an answer."""

from typing import Any

import pytest
from yarl import URL

from apps.inference.providers.inline.sentence_transformers import SentenceTransformers, SentenceTransformersConfig
from apps.inference.providers.remote.llamastack import LlamaStackConfig, LlamaStackServer
from apps.inference.providers.remote.nvidia import Nvidia, NvidiaConfig
from apps.inference.providers.remote.openai import OpenAI, OpenAIConfig
from apps.inference.providers.remote.vllm import VLLM, VLLMConfig
from apps.inference.schemas import RerankRequest
from llamastack.call import ANONYMOUS_ADMIN, Call
from llamastack.errors import NotSupported, UnsupportedParameter, UpstreamError, UpstreamRejected
from tests.unit.inference.test_remote_providers import started
from tests.unit.inference.test_vendors import Answering
from tests.upstream import answering, serving

CALL = Call(ANONYMOUS_ADMIN)
NIM = "nvidia/llama-3.2-nv-rerankqa-1b-v2"
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}


def asked(**fields: Any) -> RerankRequest:
    return RerankRequest.model_validate({"model": "m", "query": "a cat", "items": ["a dog", "a cat"], **fields})


@pytest.mark.parametrize(
    ("fields", "query", "documents"),
    [
        ({}, "a cat", ["a dog", "a cat"]),
        ({"items": [IMAGE, "a dog"]}, "a cat", {"content": [IMAGE, {"type": "text", "text": "a dog"}]}),
        ({"query": IMAGE}, {"content": [IMAGE]}, ["a dog", "a cat"]),
    ],
)
async def test_vllm_gets_images_in_its_own_form(fields: dict[str, Any], query: Any, documents: Any) -> None:
    async with serving() as upstream:
        async with started(VLLM("gpu", VLLMConfig(base_url=upstream.url))) as provider:
            reply = await provider.rerank(CALL, asked(**fields))
    assert {item.index for item in reply.data} == {0, 1}
    assert upstream.requests[-1] == {"model": "m", "query": query, "documents": documents}


async def test_other_vendors_refuse_images_before_they_are_asked() -> None:
    async with serving() as upstream:
        async with started(OpenAI("sky", OpenAIConfig(base_url=upstream.url))) as provider:
            with pytest.raises(UnsupportedParameter, match="leave the image out"):
                await provider.rerank(CALL, asked(query=IMAGE))
    assert upstream.requests == []


async def test_a_server_without_the_path_is_told_from_one_without_the_model() -> None:
    async with serving() as upstream:
        async with started(OpenAI("sky", OpenAIConfig(base_url=f"{upstream.url}/nowhere"))) as provider:
            with pytest.raises(NotSupported, match="'sky' does not rerank with 'm'"):
                await provider.rerank(CALL, asked())
    missing = {"error": {"message": "no such model", "code": "model_not_found"}}
    async with answering("rerank", missing, 404) as url, started(OpenAI("s", OpenAIConfig(base_url=url))) as sky:
        with pytest.raises(UpstreamRejected, match="no such model") as caught:
            await sky.rerank(CALL, asked())
    assert caught.value.status == 404


async def test_equals_keep_their_order() -> None:
    results = [{"index": i, "relevance_score": score} for i, score in [(3, 0.5), (0, -2.0), (2, 9.5), (1, 0.5)]]
    async with (
        answering("rerank", {"results": results}) as url,
        started(OpenAI("sky", OpenAIConfig(base_url=url))) as provider,
    ):
        reply = await provider.rerank(CALL, asked(items=list("abcd")))
    assert [item.index for item in reply.data] == [2, 1, 3, 0]


@pytest.mark.parametrize(
    "answer",
    [
        {"results": [{"index": 2, "relevance_score": 1}]},
        {"results": [{"index": -1, "relevance_score": 1}]},
        {"results": [{"index": 0, "relevance_score": 1}, {"index": 0, "relevance_score": 2}]},
        {"results": [{"index": 0}]},
        {"results": [{"index": 0, "relevance_score": None}]},
        {"results": [{"index": 0, "relevance_score": "nan"}]},
        {"results": {}},
        {"data": []},
        {"ranking": [{"index": 0, "score": 1}]},
        [],
        "fine",
        None,
    ],
)
async def test_an_answer_that_is_no_ranking_is_a_bad_gateway(answer: Any) -> None:
    async with (
        answering("rerank", answer) as url,
        started(OpenAI("sky", OpenAIConfig(base_url=url))) as provider,
    ):
        with pytest.raises(UpstreamError) as caught:
            await provider.rerank(CALL, asked())
    assert caught.value.status == 502


async def test_what_only_embeds_says_so() -> None:
    provider = SentenceTransformers("local", SentenceTransformersConfig())
    with pytest.raises(NotSupported, match="inline::sentence-transformers does not rerank"):
        await provider.rerank(CALL, asked())


RANKINGS = {"rankings": [{"index": 0, "logit": -4.5}, {"index": 1, "logit": 8.25}], "usage": {"total_tokens": 9}}


async def test_nvidia_is_asked_and_answers_in_its_own_words() -> None:
    transport = Answering(RANKINGS)
    provider = Nvidia("nv", NvidiaConfig(api_key="k"))
    async with started(provider):
        provider.egress.transport = transport
        reply = await provider.rerank(CALL, asked(model=NIM, max_num_results=1, truncate="END"))
    assert [(item.index, item.relevance_score) for item in reply.data] == [(1, 8.25)]
    assert transport.body == {
        "model": NIM,
        "query": {"text": "a cat"},
        "passages": [{"text": "a dog"}, {"text": "a cat"}],
        "truncate": "END",
    }
    sent = transport.sent[-1]
    assert sent.url == "https://ai.api.nvidia.com/v1/retrieval/nvidia/llama-3_2-nv-rerankqa-1b-v2/reranking"
    assert sent.headers["Authorization"] == "Bearer k"


@pytest.mark.parametrize(
    ("config", "model", "url"),
    [
        ({}, "other/reranker", "https://integrate.api.nvidia.com/v1/ranking"),
        ({"base_url": "http://nim:8000"}, NIM, "http://nim:8000/v1/ranking"),
        (
            {"base_url": "https://integrate.api.nvidia.com.evil.example"},
            NIM,
            "https://integrate.api.nvidia.com.evil.example/v1/ranking",
        ),
        (
            {"base_url": "http://nim:8000", "rerank_model_to_url": {NIM: "http://other:1/rank"}},
            NIM,
            "http://other:1/rank",
        ),
    ],
)
def test_a_nim_of_ones_own_reranks_at_its_own_address(config: dict[str, Any], model: str, url: str) -> None:
    provider = Nvidia("nv", NvidiaConfig.model_validate(config))
    path = provider.path("rerank", asked(model=model))
    assert url == (path if path.startswith("http") else f"{provider.url()}/{path}")


async def test_nvidia_offers_the_rerankers_that_its_catalog_does_not_list() -> None:
    provider = Nvidia("nv", NvidiaConfig(api_key="k"))
    async with started(provider):
        provider.egress.transport = Answering({"data": [{"id": NIM}, {"id": "meta/llama"}]})
        models = {model.provider_model_id: model.model_type for model in await provider.get_models(CALL)}
    assert models == {
        NIM: "rerank",
        "meta/llama": "llm",
        "nv-rerank-qa-mistral-4b:1": "rerank",
        "nvidia/nv-rerankqa-mistral-4b-v3": "rerank",
    }


@pytest.mark.parametrize("rankings", ["many", [1], [{"index": 0}], [{"index": 5, "logit": 1.0}]])
async def test_rankings_of_nvidia_that_are_none_are_a_bad_gateway(rankings: Any) -> None:
    provider = Nvidia("nv", NvidiaConfig(api_key="k"))
    async with started(provider):
        provider.egress.transport = Answering({"rankings": rankings})
        with pytest.raises(UpstreamError):
            await provider.rerank(CALL, asked())


async def test_nvidia_reranks_no_images() -> None:
    provider = Nvidia("nv", NvidiaConfig(api_key="k"))
    with pytest.raises(UnsupportedParameter, match="leave the image out"):
        provider.body(asked(items=["x", IMAGE]))


@pytest.mark.parametrize("address", ["http://stack:8321", "http://stack:8321/v1/"])
async def test_another_llama_stack_is_asked_as_we_are(address: str) -> None:
    transport = Answering({"data": [{"index": 1, "relevance_score": 0.5}, {"index": 0, "relevance_score": 0.75}]})
    async with started(LlamaStackServer("far", LlamaStackConfig(base_url=address))) as provider:
        provider.egress.transport = transport
        reply = await provider.rerank(CALL, asked(query=IMAGE, max_num_results=1, top=3))
    assert [item.index for item in reply.data] == [0]
    assert URL(transport.sent[-1].url) == URL("http://stack:8321/v1alpha/inference/rerank")
    assert transport.body == {"model": "m", "query": IMAGE, "items": ["a dog", "a cat"], "max_num_results": 1, "top": 3}
