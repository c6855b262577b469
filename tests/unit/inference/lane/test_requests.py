"""The requests of the fast lane, beside the schemas of the other one."""

import msgspec
import pytest
from pydantic import BaseModel

from apps.inference.lane import requests as lane
from apps.inference.schemas import ChatCompletionRequest, CompletionRequest, EmbeddingRequest, StreamOptions

VENDORS = {"prompt_cache_key"}  # passed on by both, though no schema has them
LEFT_TO_DJANGO = {"response_format"}  # vLLM's, of completions


@pytest.mark.parametrize(
    ("struct", "schema"),
    [
        (lane.Chat, ChatCompletionRequest),
        (lane.Prompt, CompletionRequest),
        (lane.Embedded, EmbeddingRequest),
        (lane.StreamOptions, StreamOptions),
    ],
)
def test_a_field_that_one_lane_has_learnt_the_other_has_too(
    struct: type[msgspec.Struct], schema: type[BaseModel]
) -> None:
    known = {field.encode_name for field in msgspec.structs.fields(struct)}
    described = {field.alias or name for name, field in schema.model_fields.items()}
    assert known - described <= VENDORS
    assert described - known <= LEFT_TO_DJANGO
