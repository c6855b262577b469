"""Any request that the fast lane takes: Django's takes it too, and both send and store the same of it."""

import copy
import json
import random
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import pytest

from apps.access.service import Route
from apps.inference import homes, service, stored
from apps.inference.lane import operations
from apps.inference.lane.passage import Operation, Passage
from apps.inference.lane.requests import Chat, Refused, decoded, encode
from apps.inference.providers import PROVIDERS
from apps.inference.providers.remote.openai_compatible import OpenAICompatible
from apps.inference.schemas import ChatCompletionRequest, CompletionRequest, EmbeddingRequest
from llamastack.apis import Api
from llamastack.bodies import json_object
from llamastack.call import ANONYMOUS_ADMIN, Call, Outcome
from llamastack.providers import load
from llamastack.snapshot import ModelRecord, Option, Place, ProviderRecord

EXAMPLES = 1500
SEED = 6
SCHEMAS: Mapping[str, Any] = {
    "chat": ChatCompletionRequest,
    "completion": CompletionRequest,
    "embedding": EmbeddingRequest,
}
PARAMETERS = {"type": "object", "properties": {"city": {"enum": [1, 1.5, None, "a"]}}, "required": ["city"]}
FUNCTION = {"name": "weather", "description": "Tells it", "parameters": PARAMETERS, "strict": True}
OTHER = {"type": "function", "function": {"name": "other-1"}}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}
GENERATION = {
    "model": "m",
    "stream": True,
    "stream_options": {"include_usage": True},
    "max_tokens": 3,
    "temperature": 1,
    "top_p": 0.9,
    "n": 2,
    "stop": ["END"],
    "seed": -7,
    "user": "u",
    "frequency_penalty": 0.1,
    "presence_penalty": -2,
    "logit_bias": {"5": 1},
}
CHAT = GENERATION | {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "ü😀"}, PICTURE], "name": "ada"},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None},
        {"role": "tool", "tool_call_id": "c1", "content": "Sunny"},
        {"role": "developer", "content": "Be kind."},
    ],
    "tools": [{"type": "function", "function": FUNCTION}, OTHER],
    "tool_choice": {"type": "function", "function": {"name": "weather"}},
    "parallel_tool_calls": False,
    "max_completion_tokens": 3,
    "logprobs": True,
    "top_logprobs": 2,
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "integer"}}},
    "reasoning_effort": "low",
    "prompt_cache_key": "k",
    "store": True,
    "metadata": {"a": "b"},
}
TEXT = GENERATION | {"prompt": ["The sky", ""], "echo": False, "suffix": "x", "logprobs": 2, "best_of": 2}
VECTORS = {"model": "m", "input": ["a", ""], "encoding_format": "base64", "dimensions": 2, "user": "u"}
WHOLE: Mapping[str, dict[str, Any]] = {"chat": CHAT, "completion": TEXT, "embedding": VECTORS}
NEEDED = ("model", "messages", "prompt", "input")
# As JSON writes them: bounds and what lies beyond, numbers in several guises, text of every kind.
ODD = [
    *(
        "null",
        "true",
        "false",
        "0",
        "1",
        "-1",
        "-0",
        "1.0",
        "2.0",
        "1e0",
        "0.1e1",
        "2",
        "2.0000000001",
        "5",
        "20",
        "21",
    ),
    *("100", "100.1", "-100", "128", "129", "65536", "65537", "1e400", "-1e400", "1e-400", "NaN", "Infinity", "01"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809"),
    *("18446744073709551615", "18446744073709551616", "1" * 40, "0.1000000000000000055511151231257827021181583404"),
    *('""', '"a"', '"weather"', '"c1"', '"auto"', '"required"', '"user"', '"tool"', '"text"', '"json_object"', '"1"'),
    *(
        '"\\u0000"',
        '"\\ud800"',
        '"\\ud83d\\ude00"',
        '"\\u00e9"',
        '"e\u0301"',
        '"\u202e\u2028"',
        '"\\/"',
        '"a.b"',
        '"a\\n"',
    ),
    *(f'"{"x" * length}"' for length in (64, 65, 100, 101, 255, 256, 512, 513, 1000, 1001)),
    *(
        "[]",
        "{}",
        '[""]',
        '["a", "b"]',
        "[1, 2]",
        "[[1]]",
        '{"a": "b"}',
        '{"type": "function"}',
        '{"include_usage": true}',
    ),
    *("[" + ", ".join(['"s"'] * many) + "]" for many in (16, 17)),
    *("{" + ", ".join(f'"{place}": "s"' for place in range(many)) + "}" for many in (16, 17)),
    *('{"x": ' * many + "1" + "}" * many for many in (55, 60, 61, 62, 70)),
    '{"type": "object", "properties": {"a": true}, "required": ["a"]}',
    '{"type": "object", "properties": {"a": 1}}',
    '{"type": "array"}',
    '{"minimum": 18446744073709551615, "maximum": 1e308}',
    '{"minimum": 18446744073709551616}',
]
SLOT = "@@"  # stands where what json.dumps cannot write is put in
WITH = {"stream_options": "stream", "top_logprobs": "logprobs", "tool_choice": "tools"}  # what goes with what


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each container in a value with each of its keys."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from places(inner)


def bodies(chance: random.Random, operation: str) -> Iterator[bytes]:
    """Good requests with some fields, and something about one or two of them that is odd."""
    whole = WHOLE[operation]
    for _ in range(EXAMPLES):
        names = [name for name in whole if name in NEEDED or chance.random() < 0.4]
        names = [name for name in names if WITH.get(name, name) in names]
        chance.shuffle(names)
        body = {name: copy.deepcopy(whole[name]) for name in names}
        odd = [bent(chance, body) for _ in range(chance.choice((0, 1, 1, 1, 2)))]
        text = json.dumps(body, ensure_ascii=chance.random() < 0.5)
        for one in odd:
            text = text.replace(f'"{SLOT}"', one, 1) if f'"{SLOT}"' in text else text
        yield text.encode()


def bent(chance: random.Random, body: dict[str, Any]) -> str:
    """Do something to a place in a body; what is to be put into the slot there."""
    holder, key = chance.choice(list(places(body)))
    odd = chance.choice(ODD)
    what = chance.random()
    if what < 0.5:
        holder[key] = SLOT
    elif what < 0.65:
        del holder[key]
    elif what < 0.8 and isinstance(holder, dict):
        again = json.dumps(holder.pop(key))
        holder[key] = SLOT  # the same key twice, the odd value before or after the good one
        odd = f"{odd}, {json.dumps(key)}: {again}" if chance.random() < 0.5 else f"{again}, {json.dumps(key)}: {odd}"
    elif what < 0.9 and isinstance(holder, dict):
        holder[chance.choice(("top_k", "detail", "refusal", "index", "served_by", "name", "type"))] = SLOT
    elif isinstance(holder, list):
        chance.shuffle(holder)
    return odd


def vendors() -> Iterator[tuple[str, OpenAICompatible]]:
    for name, spec in PROVIDERS.items():
        kind = load(spec.keyed(Api.inference, name))
        if issubclass(kind, OpenAICompatible):
            config = kind.config_class.model_validate(kind.config_class.sample_run_config())
            yield name, kind(name, config)


@pytest.fixture(scope="module")
def known() -> dict[str, OpenAICompatible]:
    return dict(vendors())


def passage(operation: Operation, request: Any, provider: OpenAICompatible) -> Any:
    record = ProviderRecord(1, "default", provider.provider_id, Api.inference, provider.provider_id, None, {}, "1")
    place = Place(record, "its own")
    model = ModelRecord(1, "default", "", "m", provider.provider_id, "its own", operation.model_type, 1, "")
    route: Any = routed(model, place)
    nobody: Any = None
    outcome = Outcome(operation.name, "m", place, lane="fast")
    return Passage(operation, nobody, Call(ANONYMOUS_ADMIN), request, route, place, nobody, provider, outcome, 0.0)


def routed(model: ModelRecord, place: Place) -> Any:
    return Route(model, (Option(model.homes[0], place),))


def djangos(operation: Operation, request: Any, provider: OpenAICompatible) -> Any:
    inner = service._unstored(request) if operation.name == "chat" else request
    if operation.name != "embedding" and request.stream:
        inner = service._telling_usage(inner)
    return provider._sent(operation.path, inner.model_copy(update={"model": "its own"}))


def text(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


@pytest.mark.parametrize("operation", [operations.CHAT, operations.TEXT, operations.VECTORS], ids=lambda one: one.name)
def test_what_this_lane_takes_the_other_takes_too_and_sends_alike(operation: Operation, known: Any) -> None:
    taken = sent = 0
    for content in bodies(random.Random(SEED), operation.name):
        try:
            request = decoded(operation.request, content)
        except Refused:
            continue
        taken += 1
        there = SCHEMAS[operation.name].model_validate(json_object(content))
        for name, provider in known.items():
            here = passage(operation, request, provider)
            if not here.passes():
                continue
            sent += 1
            asked = djangos(operation, there, provider)
            assert text(orjson.loads(here.outgoing())) == text(asked.body), (name, content)
            assert asked.path == operation.path, name
        assert homes.affinity(here.route.model, request) == homes.affinity(here.route.model, there)
        if isinstance(request, Chat):
            said, kept = (
                orjson.loads(encode(request.messages)),
                stored.MESSAGES.dump_json(there.messages, exclude_unset=True),
            )
            assert text(said) == text(orjson.loads(kept)), content
            assert (request.metadata or {}) == (there.metadata or {})
    assert taken > EXAMPLES / 10
    assert sent > taken * 5
