"""`inline::meta-reference` with the real small model: what a client sees."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from apps.inference.providers.inline.meta_reference import MetaReference
from apps.inference.providers.inline.meta_reference.config import MetaReferenceConfig
from apps.inference.schemas import ChatCompletion, ChatCompletionChunk, ChatCompletionRequest, EmbeddingRequest
from llamastack.call import ANONYMOUS_ADMIN, Call
from llamastack.errors import BadRequest, NotFound, NotSupported, UnsupportedParameter
from llamastack.providers import ProviderUnavailable

SMOLLM = "HuggingFaceTB/SmolLM2-135M-Instruct"
CALL = Call(ANONYMOUS_ADMIN)
local_model = pytest.mark.local_model


def request(content: str = "Count from one to ten.", **fields: Any) -> ChatCompletionRequest:
    messages = [{"role": "user", "content": content}]
    base = {"model": SMOLLM, "messages": messages, "temperature": 0, "max_tokens": 24}
    return ChatCompletionRequest.model_validate(base | fields)


@pytest.fixture
async def provider(local_models: dict[str, Path]) -> AsyncIterator[MetaReference]:
    running = MetaReference("local", MetaReferenceConfig(dtype="float32", device="cpu"))
    await running.start()
    yield running
    await running.stop()


async def whole(provider: MetaReference, **fields: Any) -> ChatCompletion:
    reply = await provider.post_chat_completion(CALL, request(**fields))
    assert isinstance(reply, ChatCompletion)
    return reply


async def stream(provider: MetaReference, **fields: Any) -> list[ChatCompletionChunk]:
    reply = await provider.post_chat_completion(CALL, request(stream=True, **fields))
    assert not isinstance(reply, ChatCompletion)
    return [chunk async for chunk in reply]


def text(chunks: list[ChatCompletionChunk], index: int = 0) -> str:
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    return "".join(choice.delta.content or "" for choice in choices)


@local_model
async def test_an_answer_has_text_usage_and_a_reason(provider: MetaReference) -> None:
    reply = await whole(provider)
    content = reply.choices[0].message.content
    assert content
    assert "<|im_end|>" not in content
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage is not None
    assert (reply.usage.completion_tokens, reply.usage.total_tokens) == (24, reply.usage.prompt_tokens + 24)


@local_model
async def test_a_stream_says_the_same_as_a_whole_answer(provider: MetaReference) -> None:
    reply = await whole(provider)
    chunks = await stream(provider, stream_options={"include_usage": True})
    assert text(chunks) == reply.choices[0].message.content
    assert chunks[-1].usage == reply.usage
    assert chunks[-1].choices == []
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    first = chunks[0].choices[0]
    assert (first.delta.role, first.delta.content) == ("assistant", "")
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason] == ["length"]
    assert len(chunks) > 20


@local_model
async def test_the_end_of_sequence_ends_an_answer_and_counts(provider: MetaReference) -> None:
    reply = await whole(provider, content="Say only: yes", max_tokens=200)
    loaded = await provider._loaded(SMOLLM)
    tokens = loaded.tokenizer.encode(reply.choices[0].message.content, add_special_tokens=False)
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == len(tokens) + 1


@local_model
async def test_a_stop_string_is_neither_shown_nor_passed(provider: MetaReference) -> None:
    content = (await whole(provider)).choices[0].message.content or ""
    stop = content[8:13]
    expected = content[: content.index(stop)]
    reply = await whole(provider, stop=stop)
    chunks = await stream(provider, stop=[stop, "never said"])
    assert (reply.choices[0].message.content, reply.choices[0].finish_reason) == (expected, "stop")
    assert text(chunks) == expected
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason] == ["stop"]


@local_model
async def test_choices_have_seeds_of_their_own(provider: MetaReference) -> None:
    reply = await whole(provider, n=3, seed=5, temperature=1, max_tokens=8)
    contents = [choice.message.content for choice in reply.choices]
    assert [choice.index for choice in reply.choices] == [0, 1, 2]
    assert len(set(contents)) == 3
    assert contents[1] == (await whole(provider, seed=6, temperature=1, max_tokens=8)).choices[0].message.content
    chunks = await stream(provider, n=3, seed=5, temperature=1, max_tokens=8)
    assert [text(chunks, index) for index in range(3)] == contents
    assert reply.usage is not None
    assert reply.usage.prompt_tokens == (await whole(provider, max_tokens=1)).usage.prompt_tokens  # type: ignore[union-attr]


@local_model
async def test_closing_a_stream_frees_the_engine(provider: MetaReference) -> None:
    reply = await provider.post_chat_completion(CALL, request(stream=True, n=2, max_tokens=2000))
    assert not isinstance(reply, ChatCompletion)
    await anext(reply)
    await reply.aclose()  # type: ignore[attr-defined]
    await whole(provider, max_tokens=1)
    engine = (await provider._loaded(SMOLLM)).engine
    assert engine.running == 0


@local_model
async def test_cancelling_a_whole_answer_frees_the_engine(provider: MetaReference) -> None:
    await whole(provider, max_tokens=1)
    answer = asyncio.create_task(whole(provider, max_tokens=2000))
    engine = (await provider._loaded(SMOLLM)).engine
    while not engine.running:
        await asyncio.sleep(0.01)
    answer.cancel()
    await asyncio.gather(answer, return_exceptions=True)
    await whole(provider, max_tokens=1)
    assert engine.running == 0


@local_model
async def test_calls_made_while_the_model_loads_share_one_load(provider: MetaReference) -> None:
    replies = await asyncio.gather(*(whole(provider, max_tokens=2) for _ in range(3)))
    assert len({reply.choices[0].message.content for reply in replies}) == 1
    assert provider._loads.names == [SMOLLM]


@local_model
async def test_health_tells_loading_from_loaded(provider: MetaReference) -> None:
    answer = asyncio.create_task(whole(provider, max_tokens=1))
    while not provider._loads.loading:
        await asyncio.sleep(0)
    assert "loading" in (await provider.health()).message
    await answer
    assert SMOLLM in (await provider.health()).message


@local_model
async def test_too_long_a_prompt_is_refused_with_both_numbers(provider: MetaReference) -> None:
    with pytest.raises(BadRequest, match=r"has \d{4} tokens.*4096"):
        await provider.post_chat_completion(CALL, request("word " * 5000, stream=True))


@local_model
async def test_chats_of_millions_of_characters_are_refused_before_their_tokens_are_counted(
    provider: MetaReference,
) -> None:
    with pytest.raises(BadRequest, match="characters; no more than") as refused:
        await provider.post_chat_completion(CALL, request("word " * 1_000_000))
    assert (refused.value.param, refused.value.code) == ("messages", "context_length_exceeded")


@local_model
async def test_what_is_installed_is_listed_with_its_context(provider: MetaReference) -> None:
    models = {model.provider_model_id: model for model in await provider.get_models(CALL)}
    assert models[SMOLLM].metadata == {"context_length": 4096}
    assert all(model.model_type == "llm" for model in models.values())


@local_model
async def test_a_configured_model_is_the_only_one(local_models: dict[str, Path]) -> None:
    provider = MetaReference("local", MetaReferenceConfig(model=SMOLLM, max_seq_len=64, dtype="float32", device="cpu"))
    await provider.start()
    await provider.start()
    assert [model.metadata for model in await provider.get_models(CALL)] == [{"context_length": 64}]
    with pytest.raises(NotFound, match=SMOLLM):
        await provider.post_chat_completion(CALL, request(model="another"))
    await provider.stop()
    await provider.stop()
    assert not (await provider.health()).ok


async def test_an_absent_model_says_how_to_get_it() -> None:
    provider = MetaReference("local", MetaReferenceConfig(model="nobody/nothing"))
    with pytest.raises(ProviderUnavailable, match="nobody/nothing"):
        await provider.start()


async def test_refusals_and_missing_operations() -> None:
    provider = MetaReference("local", MetaReferenceConfig())
    with pytest.raises(UnsupportedParameter):
        await provider.post_chat_completion(CALL, request(modalities=["text", "audio"]))
    with pytest.raises(NotSupported):
        await provider.post_embedding(CALL, EmbeddingRequest(model=SMOLLM, input="x"))


@local_model
async def test_an_image_for_a_model_that_reads_text_is_refused_before_it_loads(provider: MetaReference) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    with pytest.raises(UnsupportedParameter, match=rf"'{SMOLLM}' does not support.*ask a model that sees") as refused:
        await provider.post_chat_completion(CALL, request(messages=[{"role": "user", "content": [image]}]))
    assert refused.value.param == "messages[0].content[0].image_url"
    assert provider._loads.names == []


@pytest.mark.parametrize(
    "fields",
    [{"model_parallel_size": 2}, {"quantization": {"type": "int4_mixed"}}, {"max_batch_size": 0}, {"unknown": 1}],
)
def test_a_config_it_cannot_follow_is_an_error(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MetaReferenceConfig.model_validate(fields)


def test_the_config_of_older_distributions_is_read() -> None:
    old = {"model_parallel_size": 0, "quantization": {"type": "bf16"}, "checkpoint_dir": "null", "torch_seed": 1}
    assert MetaReferenceConfig.model_validate(old).checkpoint_dir is None
    MetaReferenceConfig.model_validate(MetaReferenceConfig.sample_run_config())


def test_importing_the_provider_imports_no_torch() -> None:
    program = (
        "import sys; from apps.inference.providers.inline.meta_reference import MetaReference as P;"
        "P('a', P.config_class());"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'jinja2', 'django')))"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
