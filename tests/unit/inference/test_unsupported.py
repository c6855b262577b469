"""What of a request a vendor cannot honour: noted by name, unless no answer would change by it."""

from typing import Any

import pytest

from apps.inference.providers.unsupported import Lacks, is_neutral
from apps.inference.schemas import ChatCompletionRequest, CompletionRequest, EmbeddingRequest, Message, RerankRequest

HELLO = [{"role": "user", "content": "Hi"}]


def noted(lacks: Lacks) -> list[str | None]:
    return [refusal.param for refusal in lacks]


def chat(**fields: Any) -> ChatCompletionRequest:
    return ChatCompletionRequest.model_validate({"model": "sky", "messages": HELLO, **fields})


def test_fields_are_known_or_noted() -> None:
    lacks = Lacks("Acme")
    request = chat(seed=7, n=2, top_k=3, mood="bright")
    assert lacks.fields(request, ("seed", "top_k", "top_p")) == {"seed": 7, "top_k": 3}
    assert noted(lacks) == ["n", "mood"]
    assert lacks[0].message == (
        "Acme does not support 'n'. Leave it out, or set 'drop_unsupported: true' in the provider's config."
    )


def test_fields_have_the_vendors_names() -> None:
    lacks = Lacks("Acme")
    request = EmbeddingRequest.model_validate({"model": "sky", "input": "Hi", "encoding_format": "base64", "size": 3})
    assert lacks.renamed(request, {"size": "outputSize", "dimensions": "outputDimension"}) == {"outputSize": 3}
    assert not lacks


def test_what_a_request_is_about_is_no_field_of_another_kind_of_request() -> None:
    lacks = Lacks("Acme")
    lacks.fields(chat(query="Hi", max_num_results=3), ())
    assert noted(lacks) == ["query", "max_num_results"]
    lacks = Lacks("Acme")
    lacks.fields(RerankRequest(model="sky", query="Hi", items=["a"], max_num_results=3), ())
    assert not lacks


def test_stream_options_are_looked_into() -> None:
    lacks = Lacks("Acme")
    options = {"include_usage": True, "include_obfuscation": False, "mood": "bright"}
    lacks.fields(chat(stream=True, stream_options=options), ())
    assert noted(lacks) == ["stream_options.mood"]


@pytest.mark.parametrize("value", ["x", 7, {"a": 1}, True])
def test_a_hint_is_one_whatever_it_says(value: Any) -> None:
    assert is_neutral("prompt_cache_key", value)
    assert not is_neutral("mood", value)


def test_no_alternatives_are_logprobs_all_the_same() -> None:
    lacks = Lacks("Acme")
    lacks.fields(CompletionRequest(model="sky", prompt="Hi", logprobs=0), ())
    lacks.fields(chat(logprobs=False), ())
    assert noted(lacks) == ["logprobs"]


def test_what_an_answer_had_is_for_the_vendor_that_gave_it() -> None:
    lacks = Lacks("Acme")
    said = Message.model_validate(
        {"role": "assistant", "content": "Hi", "reasoning_content": "Hm.", "thinking_blocks": [1], "mood": "bright"}
    )
    assert lacks.of_message(said, "messages[0]", ("thinking_blocks",)) == {"thinking_blocks": [1]}
    assert noted(lacks) == ["messages[0].mood"]
    asked = Message.model_validate({"role": "user", "content": "Hi", "reasoning_content": "Hm."})
    assert lacks.of_message(asked, "messages[1]") == {}
    assert noted(lacks)[1:] == ["messages[1].reasoning_content"]


def test_a_speakers_name_is_noted_unless_it_is_known() -> None:
    lacks = Lacks("Acme")
    lacks.of_message(Message(role="tool", name="look"), "messages[0]")
    lacks.of_message(Message(role="user", name="Ann"), "messages[1]", ("name",))
    assert not lacks
    lacks.of_message(Message(role="user", name="Ann"), "messages[2]")
    assert noted(lacks) == ["messages[2].name"]
