"""The strict types of the fast lane know the fields of Django's schemas: a new one is to be met on both sides."""

import msgspec
import pytest
from pydantic import BaseModel

from apps.inference import schemas
from apps.inference.lane import requests
from apps.inference.schemas import chat, generation, tools

PAIRS: dict[type[msgspec.Struct], type[BaseModel]] = {
    requests.Chat: schemas.ChatCompletionRequest,
    requests.Prompt: schemas.CompletionRequest,
    requests.Embedded: schemas.EmbeddingRequest,
    requests.StreamOptions: schemas.StreamOptions,
    requests.Message: schemas.Message,
    requests.TextPart: schemas.TextPart,
    requests.ImagePart: schemas.ImagePart,
    requests.ImageUrl: chat.ImageUrl,
    requests.ToolCall: schemas.ToolCall,
    requests.FunctionCall: schemas.FunctionCall,
    requests.Tool: tools.FunctionTool,
    requests.Function: schemas.Function,
    requests.ToolChoice: schemas.NamedToolChoice,
    requests.Named: tools.NamedFunction,
    requests.ResponseFormat: schemas.JsonSchemaFormat,
    requests.JsonSchema: generation.JsonSchema,
}
# With these a request goes to Django's lane.
DJANGOS: dict[type[msgspec.Struct], set[str]] = {requests.Prompt: {"response_format"}}
# These are looked at here, and passed on there as they are, like a vendor's own.
OURS: dict[type[msgspec.Struct], set[str]] = {requests.Message: {"refusal"}, requests.Chat: {"prompt_cache_key"}}


@pytest.mark.parametrize("kind", PAIRS, ids=lambda kind: kind.__name__)
def test_both_lanes_know_the_same_fields(kind: type[msgspec.Struct]) -> None:
    here = {field.encode_name for field in msgspec.structs.fields(kind)} | set(tag_of(kind))
    there = {field.alias or name for name, field in PAIRS[kind].model_fields.items()}
    assert here - OURS.get(kind, set()) == there - DJANGOS.get(kind, set())
    assert not OURS.get(kind, set()) & there
    assert DJANGOS.get(kind, set()) <= there


@pytest.mark.parametrize("kind", PAIRS, ids=lambda kind: kind.__name__)
def test_what_may_be_left_out_there_need_not_be_here_and_no_more(kind: type[msgspec.Struct]) -> None:
    needed = {field.encode_name for field in msgspec.structs.fields(kind) if field.required} | set(tag_of(kind))
    model = PAIRS[kind]
    assert {field.alias or name for name, field in model.model_fields.items() if field.is_required()} - needed <= {
        "json_schema"  # of a format that is none of JSON: Chat.check looks at it
    }


def test_every_type_has_its_schema() -> None:
    found = {one for one in vars(requests).values() if isinstance(one, type) and issubclass(one, requests.Strict)}
    assert found - set(PAIRS) == {requests.Strict, requests.Generation}


def tag_of(kind: type[msgspec.Struct]) -> list[str]:
    """The name of the field that tells a type, where it is no field of its own."""
    told = kind.__struct_config__.tag_field
    return [told] if told else []
