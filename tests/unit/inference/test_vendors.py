"""The vendors of the OpenAI dialect: where each is found, what it takes otherwise, what its list of models tells."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from apps.inference.providers.remote.cerebras import Cerebras
from apps.inference.providers.remote.databricks import Databricks
from apps.inference.providers.remote.fireworks import Fireworks
from apps.inference.providers.remote.groq import Groq
from apps.inference.providers.remote.llama_cpp_server import LlamaCppServer
from apps.inference.providers.remote.llama_openai_compat import LlamaOpenAICompat
from apps.inference.providers.remote.nvidia import Nvidia
from apps.inference.providers.remote.ollama import Ollama
from apps.inference.providers.remote.openai_compatible import OpenAICompatible
from apps.inference.providers.remote.runpod import RunPod
from apps.inference.providers.remote.sambanova import SambaNova
from apps.inference.providers.remote.together import Together
from apps.inference.providers.remote.vllm import VLLM
from apps.inference.schemas import ChatCompletionRequest, EmbeddingRequest
from apps.registry.schemas import ProviderModel
from llamastack.apis import Api
from llamastack.call import ANONYMOUS_ADMIN, Call
from llamastack.egress.transport import Outgoing, Reply
from llamastack.errors import UnsupportedParameter, UpstreamError
from llamastack.providers import load, specs

CALL = Call(ANONYMOUS_ADMIN)
WORKSPACE = "https://w.cloud.databricks.com"
RUNPOD = "https://api.runpod.ai/v2/abc/openai/v1"


class Answering:
    """A transport with one answer to everything; keeps what it was asked."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.sent: list[Outgoing] = []

    @asynccontextmanager
    async def send(self, outgoing: Outgoing) -> AsyncIterator[Reply]:
        self.sent.append(outgoing)

        async def pieces() -> AsyncIterator[bytes]:
            yield orjson.dumps(self.answer)

        yield Reply(200, "OK", {"content-type": "application/json"}, pieces())

    async def close(self) -> None:
        """Nothing is open."""

    @property
    def body(self) -> Any:
        return orjson.loads(self.sent[-1].body or b"")


def made(kind: type[OpenAICompatible], **config: Any) -> OpenAICompatible:
    return kind("one", kind.config_class.model_validate(config))


def keyed(kind: type[OpenAICompatible], **config: Any) -> OpenAICompatible:
    return made(kind, api_key="k", **config)


@asynccontextmanager
async def answering(provider: OpenAICompatible, answer: Any) -> AsyncIterator[Answering]:
    await provider.start()
    transport = Answering(answer)
    await provider.egress.transport.close()
    provider.egress.transport = transport
    yield transport
    await provider.stop()


def chat(**fields: Any) -> ChatCompletionRequest:
    messages = [{"role": "user", "content": "Hi"}]
    return ChatCompletionRequest.model_validate({"model": "m", "messages": messages, **fields})


def chat_answer(**choice: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "Hello"}
    choices = [{"index": 0, "message": message, "finish_reason": "stop", **choice}]
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": choices}


EMBEDDED: dict[str, Any] = {"object": "list", "model": "m", "data": [{"index": 0, "embedding": [0.5]}]}


# --- where a vendor is found: as 0.3.5 writes it, as OGX does, and where nothing is said ---


@pytest.mark.parametrize(
    ("kind", "config", "url"),
    [
        (Cerebras, {}, "https://api.cerebras.ai/v1"),
        (Cerebras, {"base_url": "https://api.cerebras.ai"}, "https://api.cerebras.ai/v1"),
        (Cerebras, {"base_url": "https://api.cerebras.ai/v1"}, "https://api.cerebras.ai/v1"),
        (Groq, {"url": "https://api.groq.com"}, "https://api.groq.com/openai/v1"),
        (Groq, {"url": "https://api.groq.com/"}, "https://api.groq.com/openai/v1"),
        (Groq, {"base_url": "https://api.groq.com/openai/v1"}, "https://api.groq.com/openai/v1"),
        (Groq, {"url": "http://proxy/groq"}, "http://proxy/groq/openai/v1"),
        (Groq, {"url": "http://v1"}, "http://v1/openai/v1"),
        (Groq, {"url": None}, "https://api.groq.com/openai/v1"),
        (Fireworks, {"url": "https://api.fireworks.ai/inference/v1"}, "https://api.fireworks.ai/inference/v1"),
        (Together, {"url": "https://api.together.xyz/v1"}, "https://api.together.xyz/v1"),
        (SambaNova, {"url": "https://api.sambanova.ai/v1"}, "https://api.sambanova.ai/v1"),
        (Nvidia, {"url": "https://integrate.api.nvidia.com"}, "https://integrate.api.nvidia.com/v1"),
        (Nvidia, {"base_url": "http://nim:8000/v1"}, "http://nim:8000/v1"),
        (Nvidia, {"url": "http://nim:8000/door", "append_api_version": False}, "http://nim:8000/door"),
        (Databricks, {"url": WORKSPACE}, f"{WORKSPACE}/serving-endpoints"),
        (Databricks, {"base_url": f"{WORKSPACE}/serving-endpoints"}, f"{WORKSPACE}/serving-endpoints"),
        (RunPod, {"url": RUNPOD}, RUNPOD),
        (RunPod, {"base_url": RUNPOD}, RUNPOD),
        (LlamaCppServer, {}, "http://localhost:8080/v1"),
        (LlamaOpenAICompat, {"openai_compat_api_base": "http://there/v1"}, "http://there/v1"),
        (VLLM, {"url": "http://localhost:8000/v1"}, "http://localhost:8000/v1"),
        (Ollama, {"url": "http://localhost:11434"}, "http://localhost:11434/v1"),
    ],
)
def test_both_generations_of_settings_lead_to_the_same_address(
    kind: type[OpenAICompatible], config: dict[str, Any], url: str
) -> None:
    assert made(kind, **config).url() == url


@pytest.mark.parametrize("name", ["api_key", "api_token", "auth_credential"])
def test_a_key_may_have_the_name_that_another_vendor_gives_it(name: str) -> None:
    assert made(Databricks, url=WORKSPACE, **{name: "k"}).headers() == {"Authorization": "Bearer k"}


@pytest.mark.parametrize(
    "given", [{"url": "http://a/v1", "base_url": "http://b/v1"}, {"api_key": "a", "api_token": "b"}]
)
def test_two_names_of_one_setting_that_differ_are_an_error(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="names of one setting and say different things"):
        made(Groq, **given)


def test_two_names_that_agree_are_none() -> None:
    assert made(Groq, url="http://a/v1", base_url="http://a/v1", api_token=None).url() == "http://a/v1"


@pytest.mark.parametrize("kind", [Databricks, RunPod, VLLM])
def test_a_server_of_ones_own_needs_its_address(kind: type[OpenAICompatible]) -> None:
    with pytest.raises(ValidationError, match="base_url"):
        made(kind, url=None)


def test_the_engine_of_this_process_has_two_names() -> None:
    table = specs(Api.inference)
    assert load(table["inline::transformers"]) is load(table["inline::meta-reference"])


# --- what is sent ---


def test_a_vendor_that_knows_no_developer_gets_a_system_message() -> None:
    said = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert [message["role"] for message in made(Cerebras).body(chat(messages=said))["messages"]] == ["system", "user"]
    assert [message["role"] for message in made(Groq).body(chat(messages=said))["messages"]] == ["developer", "user"]
    vllm = made(VLLM, base_url="http://localhost:8000/v1")
    assert [message["role"] for message in vllm.body(chat(messages=said))["messages"]] == ["system", "user"]


@pytest.mark.parametrize(("kind", "config"), [(Together, {}), (Databricks, {"url": WORKSPACE}), (Ollama, {})])
def test_a_vendor_that_knows_max_tokens_alone_gets_that(kind: type[OpenAICompatible], config: dict[str, Any]) -> None:
    sent = made(kind, **config).body(chat(max_completion_tokens=7))
    assert sent["max_tokens"] == 7
    assert "max_completion_tokens" not in sent


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (Groq, {"logit_bias": {"5": 1.0}}),
        (Groq, {"n": 2}),
        (Groq, {"logprobs": True}),
        (Groq, {"logprobs": True, "top_logprobs": 2}),
        (Together, {"logprobs": True}),
    ],
)
def test_what_a_vendor_refuses_is_named_or_left_out(kind: type[OpenAICompatible], field: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedParameter) as refused:
        made(kind).body(chat(**field))
    assert refused.value.param in field
    assert not field.keys() & made(kind, drop_unsupported=True).body(chat(**field)).keys()


@pytest.mark.parametrize("field", [{"n": 1}, {"logprobs": False}, {"logit_bias": {}}])
def test_what_asks_for_nothing_passes(field: dict[str, Any]) -> None:
    assert made(Groq).body(chat(**field)).items() >= field.items()


def test_together_cuts_no_embedding() -> None:
    with pytest.raises(UnsupportedParameter):
        made(Together).body(EmbeddingRequest.model_validate({"model": "m", "input": "x", "dimensions": 8}))


@pytest.mark.parametrize(("given", "sent"), [({}, "query"), ({"input_type": "passage"}, "passage")])
def test_nvidia_is_told_what_a_text_is_for(given: dict[str, str], sent: str) -> None:
    request = EmbeddingRequest.model_validate({"model": "m", "input": "x", **given})
    assert made(Nvidia).body(request)["input_type"] == sent
    assert "input_type" not in made(Nvidia).body(chat())


def waits(provider: OpenAICompatible) -> float:
    network = provider.network_config()
    assert network is not None
    return network.timeouts().total


def test_nvidia_has_a_time_limit_of_its_own() -> None:
    assert waits(made(Nvidia, timeout=60)) == 60
    assert waits(made(Nvidia, timeout=60, network={"timeout": 5})) == 5
    assert made(Nvidia).network_config() is None


# --- what comes back ---


async def test_together_says_eos_where_the_dialect_says_stop() -> None:
    provider = keyed(Together)
    async with answering(provider, chat_answer(finish_reason="eos")):
        reply = await provider.post_chat_completion(CALL, chat())
    assert reply.choices[0].finish_reason == "stop"  # type: ignore[union-attr]


@pytest.mark.parametrize("usage", [{}, {"usage": None}])
async def test_an_embedding_may_come_without_usage(usage: dict[str, None]) -> None:
    provider = keyed(Together)
    async with answering(provider, EMBEDDED | usage):
        request = EmbeddingRequest.model_validate({"model": "m", "input": "x"})
        reply = await provider.post_embedding(CALL, request)
    assert reply.usage is None


# --- what lists of models tell ---


def listed(name: str, kind: str = "llm", **metadata: int) -> ProviderModel:
    return ProviderModel.model_validate({"provider_model_id": name, "model_type": kind, "metadata": metadata})


@pytest.mark.parametrize(
    ("kind", "answer", "found"),
    [
        (
            Together,
            [
                {"id": "moon/llama", "type": "chat", "context_length": 131072},
                {"id": "BAAI/bge-large-en-v1.5", "type": "embedding", "context_length": 512},
                {"id": "moon/embed", "type": "embedding", "context_length": 0},
                {"id": "Salesforce/Llama-Rank-V1", "type": "rerank"},
                {"id": "black-forest-labs/FLUX.1-schnell", "type": "image"},
            ],
            [
                listed("moon/llama", context_length=131072),
                listed("BAAI/bge-large-en-v1.5", "embedding", context_length=512, embedding_dimension=1024),
                listed("moon/embed", "embedding"),
                listed("Salesforce/Llama-Rank-V1", "rerank"),
            ],
        ),
        (
            Groq,
            {
                "data": [
                    {"id": "llama-3.3-70b-versatile", "active": True, "context_window": 131072},
                    {"id": "gone", "active": False, "context_window": 8192},
                ]
            },
            [listed("llama-3.3-70b-versatile", context_length=131072)],
        ),
        (
            Fireworks,
            {
                "data": [
                    {"id": "accounts/fireworks/models/qwen3-embedding-8b", "kind": "EMBEDDING_MODEL"},
                    {"id": "accounts/fireworks/models/moon", "kind": "HF_BASE_MODEL", "context_length": 4096},
                    {"id": "accounts/fireworks/models/flux", "kind": "FLUMINA_BASE_MODEL"},
                ]
            },
            [
                listed("accounts/fireworks/models/qwen3-embedding-8b", "embedding", embedding_dimension=4096),
                listed("accounts/fireworks/models/moon", context_length=4096),
            ],
        ),
        (
            LlamaCppServer,
            {"data": [{"id": "sky.gguf", "meta": {"n_ctx_train": 8192, "n_embd": 2048}}, {"id": "two", "meta": None}]},
            [listed("sky.gguf", context_length=8192), listed("two")],
        ),
        (
            Nvidia,
            {"data": [{"id": "nvidia/nv-embedqa-e5-v5"}, {"id": "nv-rerank-qa-mistral-4b:1"}, {"id": "meta/llama"}]},
            [
                listed("nvidia/nv-embedqa-e5-v5", "embedding", embedding_dimension=1024),
                listed("nv-rerank-qa-mistral-4b:1", "rerank"),
                listed("meta/llama"),
                listed("nvidia/nv-rerankqa-mistral-4b-v3", "rerank"),
                listed("nvidia/llama-3.2-nv-rerankqa-1b-v2", "rerank"),
            ],
        ),
        (
            SambaNova,
            {"data": [{"id": "E5-Mistral-7B-Instruct", "context_length": 4096}]},
            [listed("E5-Mistral-7B-Instruct", "embedding", context_length=4096, embedding_dimension=4096)],
        ),
        (VLLM, {"data": [{"id": "sky", "max_model_len": 2048}]}, [listed("sky", context_length=2048)]),
    ],
)
async def test_a_listed_model_has_its_type_and_sizes(
    kind: type[OpenAICompatible], answer: Any, found: list[ProviderModel]
) -> None:
    provider = keyed(kind, **({"base_url": "http://localhost/v1"} if kind is VLLM else {}))
    async with answering(provider, answer) as transport:
        assert await provider.get_models(CALL) == found
    assert transport.sent[-1].url == f"{provider.url()}/models"


async def test_databricks_lists_its_endpoints_by_their_task() -> None:
    endpoints = [
        {"name": "databricks-meta-llama-3-3-70b-instruct", "task": "llm/v1/chat"},
        {"name": "databricks-gte-large-en", "task": "llm/v1/embeddings"},
        {"name": "a-forest"},
    ]
    provider = keyed(Databricks, url=WORKSPACE)
    async with answering(provider, {"endpoints": endpoints}) as transport:
        found = await provider.get_models(CALL)
    assert transport.sent[-1].url == f"{WORKSPACE}/api/2.0/serving-endpoints"
    assert found == [
        listed("databricks-meta-llama-3-3-70b-instruct"),
        listed("databricks-gte-large-en", "embedding", embedding_dimension=1024),
    ]


async def test_a_workspace_without_endpoints_has_no_models() -> None:
    provider = keyed(Databricks, url=WORKSPACE)
    async with answering(provider, {}):
        assert await provider.get_models(CALL) == []


@pytest.mark.parametrize("answer", [{"endpoints": "many"}, {"endpoints": ["one"]}, {"endpoints": [{}]}, "x"])
async def test_a_list_of_endpoints_that_is_none_is_a_bad_gateway(answer: Any) -> None:
    provider = keyed(Databricks, url=WORKSPACE)
    async with answering(provider, answer):
        with pytest.raises(UpstreamError):
            await provider.get_models(CALL)
