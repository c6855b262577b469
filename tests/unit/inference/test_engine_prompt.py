"""What a request may ask of `inline::meta-reference`, and what is refused by name."""

from typing import Any

import pytest
from jinja2 import TemplateError
from pydantic import ValidationError

from apps.inference.providers.inline.meta_reference.config import MetaReferenceConfig
from apps.inference.providers.inline.meta_reference.parameters import (
    honoured,
    refuse_foreign_tokens,
    sampling,
)
from apps.inference.providers.inline.meta_reference.prompt import encode
from apps.inference.providers.inline.meta_reference.tool_forms.talk import PLAIN
from apps.inference.schemas import ChatCompletionRequest
from llamastack.errors import BadRequest, UnsupportedParameter
from llamastack.sampling import Greedy, TopK, TopP

STRICT = MetaReferenceConfig()
DROPPING = MetaReferenceConfig(drop_unsupported=True)
FUNCTION = {"type": "function", "function": {"name": "now"}}
CUSTOM = {"type": "custom", "custom": {"name": "c"}}


def request(**fields: Any) -> ChatCompletionRequest:
    return ChatCompletionRequest.model_validate({"model": "m", "messages": [{"role": "user", "content": "x"}]} | fields)


class Plain:
    """A tokenizer whose template writes `role:content;` and whose tokens are characters."""

    chat_template: str | None = "plain"

    def apply_chat_template(self, turns: list[dict[str, str]], **options: Any) -> str:
        if turns[0]["role"] == "assistant":
            raise TemplateError("must begin with the user")
        return "".join(f"{turn['role']}:{turn['content']};" for turn in turns)

    def encode(self, text: str, **options: Any) -> list[int]:
        assert options == {"add_special_tokens": False}
        return [ord(character) for character in text]


class Picky(Plain):
    """A template that can do nothing with these messages, and does not say so itself."""

    def apply_chat_template(self, turns: list[dict[str, str]], **options: Any) -> str:
        raise TypeError("Can only get item pairs from a mapping.")


def test_what_a_template_cannot_work_with_is_the_clients_to_change() -> None:
    with pytest.raises(BadRequest, match="Can only get item pairs") as refused:
        encode(Picky(), request().messages, PLAIN)
    assert refused.value.param == "messages"


def rendered(*messages: dict[str, Any]) -> str:
    return "".join(map(chr, encode(Plain(), request(messages=list(messages)).messages, PLAIN)))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("modalities", ["text", "audio"]),
        ("functions", []),
        ("function_call", "auto"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(UnsupportedParameter) as refused:
        honoured(request(**{field: value}), STRICT)
    assert refused.value.param == field


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("tools[1]", {"tools": [FUNCTION, CUSTOM]}),
        ("tool_choice", {"tools": [FUNCTION], "tool_choice": {"type": "custom", "custom": {"name": "c"}}}),
        ("messages[0].tool_calls", {"messages": [{"role": "assistant", "tool_calls": [{"id": "1"} | CUSTOM]}]}),
    ],
)
def test_only_functions_can_be_called(field: str, fields: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedParameter, match="function") as refused:
        honoured(request(**fields), DROPPING)
    assert refused.value.param == field


def test_neutral_and_harmless_values_pass() -> None:
    asked = request(
            tools=[], tool_choice="auto", response_format={"type": "text"}, logprobs=False, top_logprobs=0, min_p=0,
            frequency_penalty=0, presence_penalty=0.0, logit_bias={}, user="u", store=True, metadata={"a": "b"},
            parallel_tool_calls=True, service_tier="auto", safety_identifier="s", prompt_cache_key="k",
            modalities=["text"], top_k=5, reasoning_effort=None, stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    assert honoured(asked, STRICT) is asked


def test_where_the_config_says_so_it_is_left_out_instead(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    asked = request(modalities=["text", "audio"], functions=[], seed=3, top_k=4)
    taken = honoured(asked, DROPPING)
    left = {"model": "m", "messages": [{"role": "user", "content": "x"}], "seed": 3, "top_k": 4}
    assert taken.model_dump(exclude_unset=True) == left
    assert "functions, modalities" in caplog.text


def test_a_refusal_names_that_way_out() -> None:
    with pytest.raises(UnsupportedParameter, match="Leave it out, or set 'drop_unsupported: true'"):
        honoured(request(modalities=["audio"]), STRICT)


def test_sampling_follows_the_request() -> None:
    assert sampling(request(temperature=0)).strategy == Greedy()
    assert sampling(request()).strategy == TopP(1.0, 1.0)
    assert sampling(request(top_k=7, temperature=0.5, top_p=0.9)).strategy == TopK(7, 0.5, 0.9)
    assert sampling(request(top_p=0)).strategy == Greedy()
    assert sampling(request(max_tokens=5)).max_tokens == 5
    assert sampling(request(max_tokens=6, max_completion_tokens=6)).max_tokens == 6
    assert sampling(request(stop="a", seed=3)).stop == ("a",)
    assert sampling(request(min_p=0.2)).strategy == TopP(1.0, 1.0, 0.2)
    assert sampling(request(min_p=0, top_k=7)).strategy == TopK(7, 1.0, 1.0, 0.0)
    adjusted = sampling(request(frequency_penalty=0.5, presence_penalty=-1, logit_bias={"5": 10}))
    assert (adjusted.frequency_penalty, adjusted.presence_penalty) == (0.5, -1)
    assert adjusted.logit_bias == ((5, 10.0),)
    assert sampling(request(repetition_penalty=1.2)).repetition_penalty == 1.2
    assert (sampling(request()).logprobs, sampling(request(logprobs=True)).logprobs) == (None, 0)
    assert sampling(request(logprobs=True, top_logprobs=3)).logprobs == 3


def test_the_providers_defaults_hold_where_a_request_names_none() -> None:
    assert sampling(request(), max_tokens=9).max_tokens == 9
    assert sampling(request(max_completion_tokens=20), max_tokens=9).max_tokens == 20
    assert sampling(request(), 0.2).strategy == TopP(temperature=0.2, top_p=1.0)
    assert sampling(request(temperature=0), 0.2).strategy == Greedy()
    assert sampling(request()).strategy == TopP(temperature=1.0, top_p=1.0)


@pytest.mark.parametrize(
    "fields",
    [
        {"top_k": 0},
        {"top_k": 2.5},
        {"top_k": True},
        {"stop": ""},
        {"stop": ["x" * 1001]},
        {"min_p": 1.5},
        {"min_p": -0.1},
        {"min_p": True},
        {"min_p": "much"},
        {"repetition_penalty": 0},
        {"repetition_penalty": float("nan")},
        {"logit_bias": {"a": 1}},
        {"logit_bias": {"-1": 1}},
        {"logit_bias": {"9" * 5000: 1}},
    ],
)
def test_bad_values_are_400s_that_name_the_field(fields: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as refused:
        sampling(request(**fields))
    assert refused.value.param in fields


@pytest.mark.parametrize("token", ["128", "99999999999"])
def test_a_biased_token_that_the_model_does_not_have_is_refused(token: str) -> None:
    refuse_foreign_tokens(sampling(request(logit_bias={"127": 1})), 128)
    with pytest.raises(BadRequest, match=f"Token {token} is none") as refused:
        refuse_foreign_tokens(sampling(request(logit_bias={"1": 1, token: 1})), 128)
    assert refused.value.param == "logit_bias"


@pytest.mark.parametrize("bias", [100.5, -101])
def test_a_bias_is_at_most_a_hundred(bias: float) -> None:
    with pytest.raises(ValidationError):
        request(logit_bias={"1": bias})


def test_messages_go_through_the_template() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    said = rendered({"role": "developer", "content": "d"}, {"role": "user", "content": parts}, {"role": "assistant"})
    assert said == "system:d;user:ab;assistant:;"


def test_sound_is_refused_by_its_place() -> None:
    sound = {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}
    with pytest.raises(UnsupportedParameter) as refused:
        rendered({"role": "user", "content": [{"type": "text", "text": "a"}, sound]})
    assert refused.value.param == "messages[0].content[1]"


def test_messages_of_functions_are_refused() -> None:
    with pytest.raises(UnsupportedParameter, match="tool_calls"):
        rendered({"role": "user", "content": "x"}, {"role": "function", "name": "f", "content": "y"})


def test_what_the_template_refuses_is_a_400() -> None:
    with pytest.raises(BadRequest, match="must begin with the user"):
        rendered({"role": "assistant", "content": "x"})


def test_a_model_without_a_template_cannot_chat() -> None:
    tokenizer = Plain()
    tokenizer.chat_template = None
    with pytest.raises(BadRequest, match="chat template"):
        encode(tokenizer, request().messages, PLAIN)
