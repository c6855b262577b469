"""The openai package against the real server and a real model."""

import math
import time
from typing import Annotated, Any, Literal

import openai
import pytest
from pydantic import BaseModel, Field

from tests.sdk.conftest import CHAT, EMBEDDING
from tests.servers import Server

pytestmark = pytest.mark.local_model
QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]


def test_a_chat(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model=CHAT, messages=QUESTION, temperature=0, max_tokens=30)
    assert "Paris" in reply.choices[0].message.content
    assert reply.model == CHAT
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


def test_a_stream_says_what_the_whole_answer_says(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model=CHAT, messages=QUESTION, temperature=0, max_tokens=30)
    options = {"include_usage": True}
    stream = client.chat.completions.create(
        model=CHAT, messages=QUESTION, temperature=0, max_tokens=30, stream=True, stream_options=options
    )
    chunks = list(stream)
    *body, last = chunks
    assert "".join(chunk.choices[0].delta.content or "" for chunk in body) == whole.choices[0].message.content
    assert last.choices == []
    assert last.usage == whole.usage
    assert len(body) > 5


def test_a_completion_whole_and_streamed(client: openai.OpenAI) -> None:
    given = {"model": CHAT, "prompt": ["The capital of France is", "One, two, three,"], "temperature": 0}
    whole = client.completions.create(**given, echo=True)
    first, second = whole.choices
    assert first.text.startswith("The capital of France is")
    assert "Paris" in first.text
    assert second.text.startswith("One, two, three, four")
    assert whole.usage.completion_tokens == 32
    streamed = ["", ""]
    for chunk in client.completions.create(**given, stream=True):
        streamed[chunk.choices[0].index] += chunk.choices[0].text
    assert [prompt + text for prompt, text in zip(given["prompt"], streamed, strict=True)] == [first.text, second.text]


async def test_leaving_a_stream_leaves_the_server_well(server: Server) -> None:
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        for _ in range(5):
            stream = await client.chat.completions.create(model=CHAT, messages=QUESTION, max_tokens=2000, stream=True)
            async for _chunk in stream:
                break
            await stream.close()
        reply = await client.chat.completions.create(model=CHAT, messages=QUESTION, max_tokens=5)
    assert reply.choices[0].finish_reason == "length"


def test_several_choices_with_a_seed_come_back_the_same(client: openai.OpenAI) -> None:
    def asked() -> list[str]:
        reply = client.chat.completions.create(
            model=CHAT, messages=QUESTION, n=3, seed=7, temperature=1.2, max_tokens=12
        )
        return [choice.message.content for choice in reply.choices]

    first = asked()
    assert first == asked()
    assert len(set(first)) > 1


def test_embeddings_are_near_where_the_meaning_is(client: openai.OpenAI) -> None:
    """The client asks for base64 unless told otherwise."""
    given = ["A cat sits on the mat.", "A kitten rests on a rug.", "Interest rates rose again."]
    cat, kitten, rates = (item.embedding for item in client.embeddings.create(model=EMBEDDING, input=given).data)
    assert len(cat) == 384
    assert math.isclose(math.hypot(*cat), 1, rel_tol=1e-2)
    assert sum(map(float.__mul__, cat, kitten)) > sum(map(float.__mul__, cat, rates)) + 0.2


def test_floats_and_base64_are_the_same_vectors(client: openai.OpenAI) -> None:
    floats = client.embeddings.create(model=EMBEDDING, input="one", encoding_format="float").data[0].embedding
    packed = client.embeddings.create(model=EMBEDDING, input="one").data[0].embedding
    assert packed == pytest.approx(floats, abs=1e-6)


def test_models_are_listed_and_told(client: openai.OpenAI) -> None:
    models = {model.id: model for model in client.models.list()}
    assert {CHAT, EMBEDDING} <= set(models)
    assert models[EMBEDDING].metadata["embedding_dimension"] == 384
    assert client.models.retrieve(CHAT).owned_by == "meta-reference"


def test_a_local_model_tells_its_context_once_it_is_listed(client: openai.OpenAI) -> None:
    """The server is ready before it has asked its own engines what they have."""
    ends = time.monotonic() + 100
    while (model := client.models.retrieve(CHAT)).context_length is None and time.monotonic() < ends:
        time.sleep(0.1)
    assert (model.context_length, model.sources, model.prices) == (4096, {"context_length": "provider"}, None)


def test_an_unknown_model(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match=f"Did you mean '{CHAT}'") as caught:
        client.chat.completions.create(model="SmolLM2-135M-Instrukt", messages=QUESTION)
    assert caught.value.code == "model_not_found"


def test_bad_input(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=CHAT, messages=QUESTION, n=10**6)
    assert caught.value.param == "n"


def test_a_parameter_the_engine_cannot_honour(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=CHAT, messages=QUESTION, modalities=["text", "audio"])
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "modalities")


def test_logprobs(client: openai.OpenAI) -> None:
    """As https://cookbook.openai.com/examples/using_logprobs reads them."""
    asked: Any = {"model": CHAT, "messages": QUESTION, "logprobs": True, "top_logprobs": 2, "max_tokens": 6}
    choice = client.chat.completions.create(**asked).choices[0]
    assert choice.logprobs
    assert choice.logprobs.content
    assert "".join(one.token for one in choice.logprobs.content) == choice.message.content
    assert all(one.top_logprobs[0].logprob >= one.logprob for one in choice.logprobs.content)
    chunks = list(client.chat.completions.create(**asked, stream=True))
    parts = [one.choices[0].logprobs for one in chunks if one.choices and one.choices[0].logprobs]
    assert [one for part in parts for one in part.content or ()] == choice.logprobs.content


def test_a_prompt_is_scored(client: openai.OpenAI) -> None:
    """What evaluations send: the prompt back, no new tokens, and how likely each of its own was."""
    reply = client.completions.create(model=CHAT, prompt="Paris is in France.", echo=True, max_tokens=0, logprobs=1)
    found = reply.choices[0].logprobs
    assert found
    assert found.tokens
    assert found.token_logprobs
    assert "".join(found.tokens) == reply.choices[0].text == "Paris is in France."
    assert found.token_logprobs[0] is None
    assert all(-30 < value < 0 for value in found.token_logprobs[1:])


def test_a_prompt_over_the_context(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="4096"):
        client.chat.completions.create(model=CHAT, messages=[{"role": "user", "content": "word " * 6000}])


def test_the_wrong_type_of_model(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="embedding"):
        client.chat.completions.create(model=EMBEDDING, messages=QUESTION)


class City(BaseModel):
    name: Annotated[str, Field(max_length=30)]
    continent: Literal["Africa", "America", "Asia", "Europe", "Oceania"]
    rivers: Annotated[list[Annotated[str, Field(max_length=20)]], Field(max_length=2)]
    capital_of: Annotated[str, Field(max_length=30)] | None


def test_a_chat_is_parsed_into_a_model(client: openai.OpenAI) -> None:
    given = {"model": CHAT, "messages": QUESTION, "temperature": 0, "max_tokens": 200}
    for chat in (client.chat.completions, client.beta.chat.completions):
        reply = chat.parse(response_format=City, **given)
        assert isinstance(reply.choices[0].message.parsed, City)
        assert reply.choices[0].finish_reason == "stop"
    with client.chat.completions.stream(response_format=City, **given) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == reply.choices[0].message.parsed


def test_a_schema_that_cannot_be_followed_says_why(client: openai.OpenAI) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "set", "schema": {"type": "array", "uniqueItems": True}}}
    with pytest.raises(openai.BadRequestError, match="uniqueItems") as refused:
        client.chat.completions.create(model=CHAT, messages=QUESTION, response_format=form)
    assert refused.value.param == "response_format.json_schema.schema"
