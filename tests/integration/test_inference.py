"""What a program asks of a stack by OpenAI's own client, on each provider."""

import json
import math
from typing import Any

import openai
import pytest
from pydantic import BaseModel, Field

QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "unit": {"enum": ["celsius", "fahrenheit"]}},
    "required": ["city", "unit"],
}
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}
NAMED = {"type": "function", "function": {"name": "get_weather"}}
GIVEN: dict[str, Any] = {"temperature": 0, "max_tokens": 16}


def test_a_chat(client: openai.OpenAI, text_model: str) -> None:
    reply = client.chat.completions.create(model=text_model, messages=QUESTION, **GIVEN)
    assert "Paris" in reply.choices[0].message.content
    assert reply.model == text_model
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


def test_a_stream_says_what_the_whole_answer_says(client: openai.OpenAI, text_model: str) -> None:
    asked: dict[str, Any] = {"model": text_model, "messages": QUESTION, **GIVEN}
    whole = client.chat.completions.create(**asked)
    *body, last = client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    assert "".join(chunk.choices[0].delta.content or "" for chunk in body) == whole.choices[0].message.content
    assert body[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert (last.choices, last.usage) == ([], whole.usage)


def test_an_answer_that_is_cut_short_says_so(client: openai.OpenAI, text_model: str) -> None:
    reply = client.chat.completions.create(model=text_model, messages=QUESTION, temperature=0, max_tokens=3)
    assert (reply.choices[0].finish_reason, reply.usage.completion_tokens) == ("length", 3)


def test_a_conversation_goes_on(client: openai.OpenAI, text_model: str) -> None:
    first = client.chat.completions.create(model=text_model, messages=QUESTION, **GIVEN).choices[0].message
    asked = [*QUESTION, first.model_dump(exclude_none=True), {"role": "user", "content": "And of Italy?"}]
    assert client.chat.completions.create(model=text_model, messages=asked, **GIVEN).choices[0].message.content


def test_a_call_its_result_and_the_answer(client: openai.OpenAI, text_model: str) -> None:
    """The call's id, which the upstream drew, comes back in the second request."""
    asked = [{"role": "user", "content": "What's the weather in Paris?"}]
    given: dict[str, Any] = {"model": text_model, "tools": [WEATHER], "temperature": 0, "max_tokens": 60}
    first = client.chat.completions.create(**given, messages=asked, tool_choice=NAMED).choices[0].message
    [call] = first.tool_calls
    assert call.function.name == "get_weather"
    assert set(json.loads(call.function.arguments)) == {"city", "unit"}
    result = {"role": "tool", "tool_call_id": call.id, "content": "Rain, 12 degrees"}
    talk = [*asked, first.model_dump(exclude_none=True), result]
    last = client.chat.completions.create(**given, messages=talk, tool_choice="none").choices[0]
    assert last.message.content
    assert last.message.tool_calls is None


def test_a_streamed_call_comes_in_pieces(client: openai.OpenAI, text_model: str) -> None:
    asked = [{"role": "user", "content": "What's the weather in Rome?"}]
    stream = client.chat.completions.create(
        model=text_model, messages=asked, tools=[WEATHER], tool_choice=NAMED, temperature=0, stream=True
    )
    choices = [chunk.choices[0] for chunk in stream if chunk.choices]
    first, *rest = [call for choice in choices for call in choice.delta.tool_calls or ()]
    assert first.function.name == "get_weather"
    assert set(json.loads("".join(call.function.arguments or "" for call in (first, *rest)))) == {"city", "unit"}


def test_an_answer_of_a_given_form(client: openai.OpenAI, text_model: str) -> None:
    class City(BaseModel):
        name: str = Field(max_length=20)
        inhabitants: int = Field(ge=0, le=10_000_000)

    reply = client.chat.completions.parse(
        model=text_model, messages=QUESTION, response_format=City, temperature=0, max_tokens=60
    )
    assert isinstance(reply.choices[0].message.parsed, City)


def test_embeddings_are_near_where_the_meaning_is(client: openai.OpenAI, embedding_model: str) -> None:
    given = ["A cat sits on the mat.", "A kitten rests on a rug.", "Interest rates rose again."]
    cat, kitten, rates = (one.embedding for one in client.embeddings.create(model=embedding_model, input=given).data)
    assert len(cat) == len(rates)
    assert cosine(cat, kitten) > cosine(cat, rates) + 0.2


def cosine(one: list[float], other: list[float]) -> float:
    return sum(map(float.__mul__, one, other)) / math.hypot(*one) / math.hypot(*other)


def test_models_are_listed(client: openai.OpenAI, text_model: str) -> None:
    assert text_model in {model.id for model in client.models.list()}


def test_a_model_the_stack_does_not_know(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="nobody/knows-it", messages=QUESTION)
    assert caught.value.code == "model_not_found"
