"""The fields of a chat as the fields of the Messages API."""

from typing import Any

import pytest

from apps.inference.providers.unsupported import GeneratesConfig
from llamastack.errors import BadRequest, UnsupportedParameter
from tests.unit.inference.anthropic.asking import body

DROPPING = GeneratesConfig(drop_unsupported=True)


def test_what_is_not_asked_for_is_not_sent() -> None:
    assert body().keys() == {"model", "max_tokens", "messages"}


@pytest.mark.parametrize(
    ("model", "limit"),
    [
        ("claude-3-haiku-20240307", 4096),
        ("claude-3-5-haiku-latest", 8192),
        ("claude-opus-4-1-20250805", 32_000),
        ("claude-sonnet-4-5", 64_000),
        ("claude-opus-4-8", 128_000),
        ("a-model-of-somebody-else", 4096),
    ],
)
def test_without_a_limit_the_most_that_the_model_gives_is_asked_for(model: str, limit: int) -> None:
    assert body(model=model)["max_tokens"] == limit


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_limit_is_kept_by_each_of_its_names(name: str) -> None:
    assert body(**{name: 7})["max_tokens"] == 7


def test_a_stream_is_asked_for_and_its_usage_comes_by_itself() -> None:
    made = body(stream=True, stream_options={"include_usage": True, "include_obfuscation": False})
    assert (made["stream"], "stream_options" in made, "stream" in body(stream=False)) == (True, False, False)


@pytest.mark.parametrize(("stop", "made"), [("a", ["a"]), (["a", "b"], ["a", "b"]), ("", None), ([], None)])
def test_stops_are_a_list(stop: Any, made: Any) -> None:
    assert body(stop=stop).get("stop_sequences") == made


@pytest.mark.parametrize("name", ["user", "safety_identifier"])
def test_who_asks_is_told(name: str) -> None:
    assert body(**{name: "u-1"})["metadata"] == {"user_id": "u-1"}


def test_of_two_names_of_the_user_the_newer_is_sent() -> None:
    assert body(user="u", safety_identifier="v")["metadata"] == {"user_id": "v"}


def test_a_user_that_is_too_long_for_anthropic_is_not_sent() -> None:
    assert body(user="u" * 513) == body()
    assert body(user="u", safety_identifier="v" * 513)["metadata"] == {"user_id": "u"}


@pytest.mark.parametrize(("tier", "made"), [("auto", "auto"), ("default", "standard_only"), (None, None)])
def test_a_tier_is_in_anthropics_words(tier: Any, made: Any) -> None:
    assert body(service_tier=tier).get("service_tier") == made


def test_anthropics_own_fields_are_sent_as_they_are() -> None:
    own = {
        "top_k": 5,
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "container": "container_1",
        "inference_geo": "us",
        "cache_control": {"type": "ephemeral"},
        "output_config": {"effort": "low"},
    }
    made = body(**own)
    assert {name: made[name] for name in own} == own


def test_what_is_told_in_anthropics_words_too_is_told_once() -> None:
    config = {"effort": "low"}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"properties": {"b": {}}}}}
    assert body(output_config=config, response_format=form)["output_config"].keys() == {"effort", "format"}
    assert config == {"effort": "low"}
    for name, given in (("effort", {"reasoning_effort": "low"}), ("format", {"response_format": form})):
        with pytest.raises(BadRequest, match="give one of them") as caught:
            body(model="claude-opus-4-8", output_config={name: None}, **given)
        assert caught.value.param == "output_config"


def test_what_is_for_our_own_store_stays_here() -> None:
    assert body(store=True, metadata={"topic": "sky"}).keys() == {"model", "max_tokens", "messages"}


LACKING: dict[str, Any] = {
    "n": 2,
    "logprobs": True,
    "logit_bias": {"50256": -100},
    "presence_penalty": 0.5,
    "frequency_penalty": -0.5,
    "seed": 7,
    "modalities": ["text", "audio"],
    "audio": {"voice": "ash", "format": "mp3"},
    "verbosity": "low",
    "web_search_options": {"search_context_size": "low"},
    "service_tier": "flex",
    "functions": [{"name": "look"}],
    "repetition_penalty": 1.1,
    "stream_options": {"odd": True},
    "response_format": {"type": "grammar", "grammar": "root ::= x"},
}
NAMES = {"stream_options": "stream_options.odd"}


@pytest.mark.parametrize(("name", "value"), LACKING.items(), ids=LACKING)
def test_what_cannot_be_expressed_is_refused_by_name_or_left_out(name: str, value: Any) -> None:
    given = {name: value} | ({"stream": True} if name == "stream_options" else {})
    with pytest.raises(UnsupportedParameter, match="'claude' does not support") as caught:
        body(**given)
    assert caught.value.param == NAMES.get(name, name)
    assert body(config=DROPPING, **given) == body(stream=given.get("stream"))


NEUTRAL: dict[str, Any] = {
    "n": 1,
    "logprobs": False,
    "top_logprobs": 0,
    "logit_bias": {},
    "presence_penalty": 0,
    "frequency_penalty": 0.0,
    "modalities": ["text"],
    "verbosity": "medium",
    "audio": None,
    "functions": [],
    "temperature": 1,
    "top_p": 1,
    "response_format": {"type": "text"},
}


@pytest.mark.parametrize(("name", "value"), NEUTRAL.items(), ids=NEUTRAL)
def test_what_asks_for_nothing_is_left_out_in_silence(name: str, value: Any) -> None:
    assert body(**{name: value}) == body()


def test_the_first_of_several_is_told() -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        body(n=2, seed=7)
    assert caught.value.param == "n"
