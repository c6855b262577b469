"""Answers of a given form from the real small model: what a client of `inline::meta-reference` sees."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from apps.inference.providers.inline.meta_reference import MetaReference
from apps.inference.providers.inline.meta_reference.config import MetaReferenceConfig
from apps.inference.schemas import ChatCompletion, ChatCompletionRequest, Choice, Completion, CompletionRequest
from llamastack.call import ANONYMOUS_ADMIN, Call
from llamastack.errors import BadRequest

pytestmark = [pytest.mark.local_model, pytest.mark.timeout(300)]

SMOLLM = "HuggingFaceTB/SmolLM2-135M-Instruct"
CALL = Call(ANONYMOUS_ADMIN)


def closed(**properties: Any) -> dict[str, Any]:
    """An object of these properties and no others."""
    names = list(properties)
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}


WORD = {"type": "string", "maxLength": 20}
PERSON = closed(name=WORD, age={"type": "integer", "minimum": 0, "maximum": 120})
SCHEMAS = [
    PERSON,
    closed(people={"type": "array", "items": {"$ref": "#/$defs/person"}, "minItems": 1, "maxItems": 2})
    | {"$defs": {"person": PERSON}},
    closed(colour={"enum": ["red", "green", "blue"]}, shade={"type": ["null", "boolean"]}),
    closed(when={"type": "string", "format": "date"}, id={"type": "string", "format": "uuid"}),
    closed(size={"anyOf": [{"type": "integer", "minimum": 1, "maximum": 99}, {"enum": ["groß", "小"]}]}),
    closed(share={"type": "number", "minimum": 0, "maximum": 1, "multipleOf": 0.01}),
    closed(code={"type": "string", "pattern": "^[A-Z]{3}-[0-9]{2}$"}),
    {"type": "array", "items": {"type": "boolean"}, "minItems": 3, "maxItems": 3},
    {"const": "done"},
]


def named(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}


def chat(content: str = "Describe a person in JSON.", **fields: Any) -> ChatCompletionRequest:
    messages = [{"role": "user", "content": content}]
    base = {"model": SMOLLM, "messages": messages, "temperature": 0, "max_tokens": 200}
    return ChatCompletionRequest.model_validate(base | fields)


@pytest.fixture
async def provider(local_models: dict[str, Path]) -> AsyncIterator[MetaReference]:
    running = MetaReference("local", MetaReferenceConfig(dtype="float32", device="cpu"))
    await running.start()
    yield running
    await running.stop()


async def choices(provider: MetaReference, **fields: Any) -> list[Choice]:
    reply = await provider.post_chat_completion(CALL, chat(**fields))
    assert isinstance(reply, ChatCompletion)
    return reply.choices


def text(choice: Choice) -> str:
    return choice.message.content or ""


async def test_every_answer_of_a_mixed_batch_fits_its_schema(provider: MetaReference) -> None:
    bound = [choices(provider, response_format=named(schema)) for schema in SCHEMAS]
    warm = [choices(provider, response_format=named(schema), temperature=1, seed=7) for schema in SCHEMAS]
    free = choices(provider, content="Say only: yes", max_tokens=12)
    alone, *answers = await asyncio.gather(free, *bound, *warm)
    assert alone == await choices(provider, content="Say only: yes", max_tokens=12)
    for schema, (answer,) in zip(SCHEMAS * 2, answers, strict=True):
        assert answer.finish_reason == "stop"
        jsonschema.validate(json.loads(text(answer)), schema, format_checker=jsonschema.FormatChecker())


async def test_any_json_object_will_do(provider: MetaReference) -> None:
    wanted = 'Repeat this JSON: {"ok": true}'
    (answer,) = await choices(provider, content=wanted, response_format={"type": "json_object"})
    assert answer.finish_reason == "stop"
    assert json.loads(text(answer)) == {"ok": True}


async def test_a_stream_says_the_same_and_each_choice_fits(provider: MetaReference) -> None:
    fields: dict[str, Any] = {"response_format": named(PERSON), "n": 3, "seed": 5, "temperature": 1}
    whole = await choices(provider, **fields)
    chunks = await provider.post_chat_completion(CALL, chat(stream=True, **fields))
    assert not isinstance(chunks, ChatCompletion)
    streamed = ["", "", ""]
    async for chunk in chunks:
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert streamed == [text(choice) for choice in whole]
    assert len(set(streamed)) > 1
    for answer in streamed:
        jsonschema.validate(json.loads(answer), PERSON)


async def test_a_stop_string_and_the_limit_cut_as_they_do_elsewhere(provider: MetaReference) -> None:
    (stopped,) = await choices(provider, response_format=named(PERSON), stop='"age"')
    assert (stopped.finish_reason, '"age"' in text(stopped)) == ("stop", False)
    assert '"name"' in text(stopped)
    (cut,) = await choices(provider, response_format=named(PERSON), max_tokens=5)
    assert cut.finish_reason == "length"
    with pytest.raises(json.JSONDecodeError):
        json.loads(text(cut))


async def test_a_completion_follows_vllms_fields(provider: MetaReference) -> None:
    forms: list[tuple[dict[str, Any], str]] = [
        ({"structured_outputs": {"choice": ["Paris", "Rome (Italy)"]}}, r"Paris|Rome \(Italy\)"),
        ({"structured_outputs": {"regex": r" \d{2} km"}}, r" \d{2} km"),
        ({"guided_grammar": 'start: " a" | " b"'}, " [ab]"),
        ({"guided_json": {"enum": [1, 2]}}, "1|2"),
    ]
    for fields, pattern in forms:
        given = {"model": SMOLLM, "prompt": "The capital of France is", "temperature": 0, **fields}
        reply = await provider.post_completion(CALL, CompletionRequest.model_validate(given))
        assert isinstance(reply, Completion)
        assert reply.choices[0].finish_reason == "stop"
        assert re.fullmatch(pattern, reply.choices[0].text)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_unusable_schema_is_refused_before_anything_is_said(provider: MetaReference, stream: bool) -> None:
    unique = named({"type": "array", "uniqueItems": True})
    asking = provider.post_chat_completion(CALL, chat(response_format=unique, stream=stream))
    with pytest.raises(BadRequest, match="uniqueItems") as refused:
        await (anext(await asking) if stream else asking)  # type: ignore[arg-type]
    assert refused.value.param == "response_format.json_schema.schema"
